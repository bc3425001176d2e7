"""The verdict on one question, from the rows that a source holds of its subject. Pure, for every adapter.

INVARIANT: of a row nothing leaves but codes, keyed fingerprints and the masks that were asked for and
matched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from adapters.base import (
    EXISTENCE,
    Answer,
    AttributeAnswer,
    AttributeBinding,
    Binding,
    BindingInvalid,
    Code,
    Question,
    SourceMisbehaved,
)
from adapters.columns import text_of
from adapters.compare import build
from adapters.comparison import Comparison
from adapters.fingerprints import Fingerprints, Record
from adapters.mask import mask


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A bound attribute: comparison, the columns it reads, and their places in a record."""

    name: str
    comparison: Comparison
    columns: tuple[str, ...]
    places: tuple[tuple[str, int], ...]
    mask: str | None

    def agrees(self, declared: Any, record: Record) -> bool:
        return self.comparison.matches(declared, {role: record[place] for role, place in self.places})

    def key(self, record: Record) -> str:
        return self.comparison.source_key({role: record[place] for role, place in self.places})

    def masked(self, record: Record) -> str | None:
        text = text_of(record[self.places[0][1]])
        return None if text is None or self.mask is None else mask(self.mask, text)


class Judge:
    """Judges questions of one bound service, on records in the order of its columns.

    Raises `BindingInvalid` for a binding that cannot be judged, `ValueError` for a key of less than 32 bytes.
    """

    def __init__(self, binding: Binding, fingerprint_key: bytes) -> None:
        if not binding.confirm:
            raise BindingInvalid("confirm: a number alone never yields a match, something must confirm the subject")
        if binding.many not in ("any", "all", "latest"):
            raise BindingInvalid(f"many: {binding.many!r} is none of any, all, latest")
        if (binding.many == "latest") != (binding.latest_by is not None):
            raise BindingInvalid("latest_by: names the column of many: latest, and stands only there")
        self.single = (binding.register, binding.register_column) == (
            binding.relation,
            binding.subject_column,
        )
        """Whether the register's rows are the rows of the relation asked."""
        confirm, asked = _columns(binding.confirm), _columns(binding.attributes)
        if binding.latest_by is not None:
            asked[binding.latest_by] = None
        if self.single:
            confirm = asked = confirm | asked
        self.register_columns, self.asked_columns = tuple(confirm), tuple(asked)
        self._confirm = _bound(binding.confirm, self.register_columns)
        self._attributes = _bound(binding.attributes, self.asked_columns)
        self._fingerprints = Fingerprints(binding.relation, self.asked_columns, fingerprint_key)
        self._confirming = Fingerprints(binding.register, self.register_columns, fingerprint_key)
        # Another relation than the one asked, or its rows by another subject: a name of its own for each column.
        self._confirmed_by = {name: f"{binding.register}.{name}" for name in _columns(binding.confirm)}
        self._many = binding.many
        self._latest = None if binding.latest_by is None else self.asked_columns.index(binding.latest_by)

    def answer(self, question: Question, register: Sequence[Record], asked: Sequence[Record]) -> Answer:
        """Return the verdict on a question, from all rows of its subject in both relations.

        Raises `SourceMisbehaved` where what is read of a row has a type that its binding excludes, and
        `ValueError` where the question names what the service does not bind. Both sets of rows are judged
        even if the first decides, and where there are none a made-up row is, so that time says little of either.
        """
        self._check(question)
        confirmed = any(
            all(self._confirm[name].agrees(value, record) for name, value in question.confirm.items())
            for record in register
        )
        # One attribute alone agrees with some row or with none, whatever their order.
        judged = self._judged(asked, in_order=len(question.declared) > 1 or bool(question.masks))
        agreement, decisive = self._compare(question.declared, judged)
        named = _named(question)
        read = dict.fromkeys([column for name in named for column in self._attributes[name].columns]) or (EXISTENCE,)
        values = {**self._fingerprints.of(asked, read), **self._confirm_values(register)}
        if not (register and asked):
            self._pretend(question, read, register=not register, asked=not asked)
        if not confirmed:
            return Answer(Code.NOT_FOUND, {name: AttributeAnswer(Code.NOT_FOUND) for name in named}, values)
        result = Code.MATCH if all(agreement.values()) else Code.NO_MATCH
        masks = self._masks(question, decisive) if result is Code.MATCH else {}
        return Answer(
            result,
            {
                name: AttributeAnswer(
                    Code.MATCH if agreement.get(name, result is Code.MATCH) else Code.NO_MATCH, masks.get(name)
                )
                for name in named
            },
            values,
        )

    def _confirm_values(self, register: Sequence[Record]) -> Mapping[str, frozenset[bytes]]:
        found = self._confirming.of(register, self._confirmed_by)
        return {self._confirmed_by[column]: values for column, values in found.items()}

    def _pretend(self, question: Question, read: Iterable[str], *, register: bool, asked: bool) -> None:
        """Do with a made-up row what is done with a real one, and forget what comes of it."""
        text = _made_up(question.subject)
        with suppress(SourceMisbehaved):
            if register:
                decoy = [text] * len(self.register_columns)
                self._confirm_values([decoy])
                all(self._confirm[name].agrees(value, decoy) for name, value in question.confirm.items())
            if asked:
                decoy = [text] * len(self.asked_columns)
                self._compare(question.declared, [decoy])
                self._fingerprints.of([decoy], read)

    def _check(self, question: Question) -> None:
        if question.confirm.keys() != self._confirm.keys():
            raise ValueError(
                "the question must confirm the subject by all that the service binds, and by nothing else"
            )
        if not question.declared.keys() | question.masks <= self._attributes.keys():
            raise ValueError("the question names an attribute that the service does not bind")
        if any(self._attributes[name].mask is None for name in question.masks):
            raise ValueError("the question asks for a mask that the service does not bind")

    def _judged(self, asked: Sequence[Record], *, in_order: bool) -> Sequence[Record]:
        """Return the rows that count, if need be in an order that depends on their values only."""
        if self._latest is not None and len(asked) > 1:
            place = self._latest
            newest = max(_moment(record[place]) for record in asked)
            asked = [record for record in asked if _moment(record[place]) == newest]
        if len(asked) < 2 or not in_order:
            return asked
        return sorted(asked, key=lambda record: [item.key(record) for item in self._attributes.values()])

    def _compare(
        self, declared: Mapping[str, Any], records: Sequence[Record]
    ) -> tuple[Mapping[str, bool], Sequence[Record]]:
        """Which attributes agree, and the row (none or one) that the masks are taken from."""
        table = [
            {name: self._attributes[name].agrees(value, record) for name, value in declared.items()}
            for record in records
        ]
        if not table:
            return dict.fromkeys(declared, False), ()
        if self._many == "all":
            return {name: all(row[name] for row in table) for name in declared}, records[:1]
        # The row that agrees in most attributes; among equals the first, which depends on the source alone.
        best = max(range(len(table)), key=lambda row: sum(table[row].values()))
        return table[best], records[best : best + 1]

    def _masks(self, question: Question, decisive: Sequence[Record]) -> Mapping[str, str | None]:
        return {name: self._attributes[name].masked(record) for record in decisive for name in question.masks}


def _made_up(subject: str) -> str:
    """Return a day, which most comparisons take some trouble with; another for most subjects, as real rows have."""
    chance = hash(subject)
    return f"{1950 + chance % 70}-{chance // 70 % 12 + 1:02d}-{chance // 840 % 28 + 1:02d}"


def _named(question: Question) -> tuple[str, ...]:
    """Name the attributes of an answer: those declared, then those only masked, whatever the result."""
    return (*question.declared, *sorted(question.masks - question.declared.keys()))


def _columns(attributes: Iterable[AttributeBinding]) -> dict[str, None]:
    """List the columns that attributes read, each once, in a fixed order."""
    return dict.fromkeys(column for attribute in attributes for column in attribute.columns.values())


def _bound(attributes: Iterable[AttributeBinding], columns: Sequence[str]) -> Mapping[str, _Attribute]:
    return {item.name: _attribute(item, columns) for item in attributes}


def _attribute(binding: AttributeBinding, columns: Sequence[str]) -> _Attribute:
    comparison = build(binding)
    return _Attribute(
        name=binding.name,
        comparison=comparison,
        columns=binding.reads,
        places=tuple((role, columns.index(binding.columns[role])) for role in comparison.roles),
        mask=binding.mask,
    )


def _moment(raw: object) -> tuple[int, Any]:
    """Return what orders rows by time: null, then numbers, then texts (as ISO 8601 orders)."""
    if raw is None:
        return 0, 0
    if isinstance(raw, (int, float, Decimal)):
        return 1, raw
    return 2, raw.isoformat() if isinstance(raw, date) else str(raw)
