"""The verdict on one question, from the rows that a source holds of its subject. Pure, for every adapter.

INVARIANT: of a row nothing leaves but codes, keyed fingerprints and the masks that were asked for and
matched.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from operator import itemgetter
from typing import Any, TypeAlias

from adapters.base import Answer, AttributeAnswer, AttributeBinding, Binding, BindingInvalid, Code, Question
from adapters.columns import text_of
from adapters.compare import build
from adapters.comparison import Comparison
from adapters.mask import mask

Record: TypeAlias = "Sequence[object]"
"""The values of one row, in the order of `Judge.register_columns` or `Judge.asked_columns`."""

_Keys: TypeAlias = "tuple[str, ...]"
"""The normalised values of one row, attribute by attribute."""

_SHORTEST_KEY = 32


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A bound attribute: comparison, places of its columns in a record, what its fingerprints begin with."""

    name: str
    comparison: Comparison
    places: tuple[tuple[str, int], ...]
    mask: str | None
    mac: hmac.HMAC

    def agrees(self, declared: Any, record: Record) -> bool:
        return self.comparison.matches(declared, {role: record[place] for role, place in self.places})

    def key(self, record: Record) -> str:
        return self.comparison.source_key({role: record[place] for role, place in self.places})

    def fingerprint(self, keys: Iterable[str]) -> bytes:
        mac = self.mac.copy()
        mac.update("".join([f"{len(key)}:{key}" for key in sorted(keys)]).encode("utf-8", "surrogatepass"))
        return mac.digest()

    def masked(self, record: Record) -> str | None:
        text = text_of(record[self.places[0][1]])
        return None if text is None or self.mask is None else mask(self.mask, text)


class Judge:
    """Judges questions of one bound service.

    A fingerprint is an HMAC-SHA256 over the relation, the columns and the normalised values that stand in
    the rows which were judged: it depends on the source alone, not on the question, so that it changes only
    if the source does.
    """

    def __init__(self, binding: Binding, fingerprint_key: bytes) -> None:
        if len(fingerprint_key) < _SHORTEST_KEY:
            raise ValueError(f"the key of fingerprints must have at least {_SHORTEST_KEY} bytes")
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
        self._confirm = _bound(binding.confirm, binding.register, self.register_columns, fingerprint_key)
        self._attributes = _bound(binding.attributes, binding.relation, self.asked_columns, fingerprint_key)
        self._many = binding.many
        self._latest = None if binding.latest_by is None else self.asked_columns.index(binding.latest_by)

    def answer(self, question: Question, register: Sequence[Record], asked: Sequence[Record]) -> Answer:
        """Return the verdict on a question, from all rows of its subject in both relations.

        Raises `SourceMisbehaved` where a row holds a type that its binding excludes, and `ValueError` where
        the question names what the service does not bind. Both sets of rows are judged even if the first
        decides.
        """
        self._check(question)
        confirmed = any(
            all(self._confirm[name].agrees(value, record) for name, value in question.confirm.items())
            for record in register
        )
        judged = self._judged(asked)
        agreement, decisive = self._compare(question.declared, [record for _, record in judged])
        fingerprints = self._fingerprints(question, [keys for keys, _ in judged])
        if not confirmed:
            return Answer(Code.NOT_FOUND, {name: AttributeAnswer(Code.NOT_FOUND) for name in _named(question)})
        result = Code.MATCH if all(agreement.values()) else Code.NO_MATCH
        masks = self._masks(question, decisive) if result is Code.MATCH else {}
        return Answer(
            result,
            {
                name: AttributeAnswer(
                    Code.MATCH if agreement.get(name, result is Code.MATCH) else Code.NO_MATCH,
                    fingerprints.get(name),
                    masks.get(name),
                )
                for name in _named(question)
            },
        )

    def _check(self, question: Question) -> None:
        if question.confirm.keys() != self._confirm.keys():
            raise ValueError(
                "the question must confirm the subject by all that the service binds, and by nothing else"
            )
        if not question.declared.keys() | question.masks <= self._attributes.keys():
            raise ValueError("the question names an attribute that the service does not bind")
        if any(self._attributes[name].mask is None for name in question.masks):
            raise ValueError("the question asks for a mask that the service does not bind")

    def _judged(self, asked: Sequence[Record]) -> Sequence[tuple[_Keys, Record]]:
        """Return the rows that count with their keys, in an order that depends on their values only."""
        if self._latest is not None and len(asked) > 1:
            place = self._latest
            newest = max(_moment(record[place]) for record in asked)
            asked = [record for record in asked if _moment(record[place]) == newest]
        attributes = self._attributes.values()
        judged = [(tuple([item.key(record) for item in attributes]), record) for record in asked]
        return sorted(judged, key=itemgetter(0))

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

    def _fingerprints(self, question: Question, keys: Sequence[_Keys]) -> Mapping[str, bytes]:
        if not keys:
            return {}
        named = _named(question)
        return {
            name: attribute.fingerprint({row[place] for row in keys})
            for place, (name, attribute) in enumerate(self._attributes.items())
            if name in named
        }

    def _masks(self, question: Question, decisive: Sequence[Record]) -> Mapping[str, str | None]:
        return {name: self._attributes[name].masked(record) for record in decisive for name in question.masks}


def _named(question: Question) -> tuple[str, ...]:
    """Name the attributes of an answer: those declared, then those only masked, whatever the result."""
    return (*question.declared, *sorted(question.masks - question.declared.keys()))


def _columns(attributes: Iterable[AttributeBinding]) -> dict[str, None]:
    """List the columns that attributes read, each once, in a fixed order."""
    return dict.fromkeys(column for attribute in attributes for column in attribute.columns.values())


def _bound(
    attributes: Iterable[AttributeBinding], relation: str, columns: Sequence[str], key: bytes
) -> Mapping[str, _Attribute]:
    return {item.name: _attribute(item, relation, columns, key) for item in attributes}


def _attribute(binding: AttributeBinding, relation: str, columns: Sequence[str], key: bytes) -> _Attribute:
    comparison = build(binding)
    read = [binding.columns[role] for role in comparison.roles]
    return _Attribute(
        name=binding.name,
        comparison=comparison,
        places=tuple((role, columns.index(binding.columns[role])) for role in comparison.roles),
        mask=binding.mask,
        # The source attribute first: a value gets another fingerprint in another column.
        mac=hmac.new(key, "\0".join((relation, *read, "\0")).encode(), "sha256"),
    )


def _moment(raw: object) -> tuple[int, Any]:
    """Return what orders rows by time: null, then numbers, then texts (as ISO 8601 orders)."""
    if raw is None:
        return 0, 0
    if isinstance(raw, (int, float, Decimal)):
        return 1, raw
    return 2, raw.isoformat() if isinstance(raw, date) else str(raw)
