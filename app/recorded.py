"""Recorded questions that were decided, and the documents that their records name by digest.

Nothing is taken for what was decided by that its digest does not bear out: whatever is missing or was altered is
`Flawed`, and named. Documents are read once; one reader is for one task and one thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, func, select

from app.log import tables
from app.registry.agreement_document import Agreement, agreement_of, digest_of
from app.registry.files import Members
from app.steps import digest_of as digest_of_facts
from evidence.merkle import leaf_hash
from policies.decision import RuleSet, RulesInvalid
from policies.facts import Facts, Terms
from policies.facts_document import from_document

PAGE = 500
# The number of a revision is no part of a decision; its digest is, and stands in the record.
ANY_REVISION = 1


class Flawed(Exception):
    """What a decision rests on is missing or was altered. The text says which document."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided: permit or deny, and by which rules."""

    permitted: bool
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One decided question: its record, and from the index what it was decided from, its case and its operator.

    `at_ms` are milliseconds since 1970. Case and operator are None where they were erased.
    """

    id: str
    index: int
    at_ms: int
    record: Mapping[str, Any]
    facts: bytes | None
    case: str | None
    operator: str | None
    unaltered: bool

    @property
    def verdict(self) -> Verdict:
        """What the record says was decided."""
        return Verdict(self.record.get("decision") == "permit", tuple(self.record.get("rules", ())))


def find(connection: Connection, identifier: str) -> Recorded | None:
    """The question of that decision id; None if there is none, or it was refused before it was decided."""
    row = connection.execute(_query().where(tables.decision.c.id == identifier)).first()
    found = _recorded(row) if row is not None else None
    return found if found is not None and "decision" in found.record else None


def count(connection: Connection, since_ms: int) -> int:
    """How many decided questions were recorded since then."""
    query = select(func.count()).select_from(tables.decision).where(*_decided(since_ms))
    return int(connection.execute(query).scalar_one())


def since(connection: Connection, since_ms: int) -> Iterator[Recorded]:
    """Every decided question recorded since then, oldest first, read page by page."""
    after = -1
    while True:
        query = _query().where(*_decided(since_ms), tables.decision.c.idx > after)
        rows = connection.execute(query.order_by(tables.decision.c.idx).limit(PAGE)).all()
        yield from map(_recorded, rows)
        if len(rows) < PAGE:
            return
        after = rows[-1].idx


class Documents:
    """The archived documents that records name; each is read and checked against its digest once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rules: dict[str, RuleSet] = {}
        self._agreements: dict[tuple[str, str, bool], Agreement] = {}
        self._sound: set[str] = set()

    def rules(self, record: Mapping[str, Any]) -> RuleSet:
        """The rule set that decided. Raises `Flawed`."""
        digest = f"sha256-{record.get('policy', '')}"
        if digest not in self._rules:
            try:
                self._rules[digest] = RuleSet.from_archive(self._content(digest, "rule set"), ANY_REVISION)
            except RulesInvalid as error:
                raise Flawed(f"the rule set {digest} cannot be read: {error}") from None
        return self._rules[digest]

    def agreement(self, digest: str, state: str, signed: bool) -> Agreement:  # noqa: FBT001 - as facts name it
        """The agreement of that digest as it stood when the question was decided. Raises `Flawed`."""
        key = digest, state, signed
        if key not in self._agreements:
            content = self._content(digest, "agreement")
            try:
                members = Members(f"agreement {digest}", _object(content))
                self._agreements[key] = agreement_of(members, digest=digest, state=state, signed=signed)
            except ValueError as error:
                raise Flawed(f"the agreement {digest} cannot be read: {error}") from None
        return self._agreements[key]

    def facts(self, recorded: Recorded) -> Facts:
        """What the question was decided from. Raises `Flawed`."""
        if recorded.facts is None:
            raise Flawed("the facts of this decision are missing")
        if digest_of_facts(recorded.facts) != recorded.record.get("facts"):
            raise Flawed("the facts of this decision were altered: they are not those of the record")
        try:
            return from_document(_object(recorded.facts), self._terms)
        except ValueError as error:
            raise Flawed(f"the facts of this decision cannot be read: {error}") from None

    def check(self, digest: str, what: str) -> None:
        """Check that a document is there unaltered. Raises `Flawed`."""
        if digest not in self._sound:
            self._content(digest, what)
            self._sound.add(digest)

    def _terms(self, digest: str, state: str, signed: bool) -> Terms:  # noqa: FBT001 - as facts name it
        return self.agreement(digest, state, signed).terms

    def _content(self, digest: str, what: str) -> bytes:
        table = tables.archive.c
        content = self._connection.execute(select(table.content).where(table.digest == digest)).scalar()
        if content is None:
            raise Flawed(f"the {what} {digest} is missing from the archive")
        if digest_of(bytes(content)) != digest:
            raise Flawed(f"the {what} {digest} was altered in the archive")
        return bytes(content)


def _object(content: bytes) -> dict[str, Any]:
    document = orjson.loads(content)
    if not isinstance(document, dict):
        raise ValueError("a JSON object is needed")  # noqa: TRY004 - as any other fault of a document
    return document


def _query() -> Select[Any]:
    row, entry = tables.decision.c, tables.log_entry.c
    columns = (row.id, row.idx, row.at, row.facts, row.case_number, row.operator, entry.body, entry.leaf_hash)
    query = select(*columns).join_from(tables.decision, tables.log_entry, entry.idx == row.idx)
    return query.where(row.kind == "question")


def _decided(since_ms: int) -> list[ColumnElement[bool]]:
    row = tables.decision.c
    return [row.kind == "question", row.decision.is_not(None), row.at >= since_ms]


def _recorded(row: Any) -> Recorded:
    return Recorded(
        id=row.id,
        index=row.idx,
        at_ms=row.at,
        record=orjson.loads(row.body),
        facts=bytes(row.facts) if row.facts is not None else None,
        case=row.case_number,
        operator=row.operator,
        unaltered=leaf_hash(bytes(row.body)) == bytes(row.leaf_hash),
    )
