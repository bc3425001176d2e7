"""The contract between a node and a source.

INVARIANT: no raw source value crosses this border. What comes out of an adapter is a result code per
attribute, opaque fingerprints of the source's values and, if agreed, a masked string. No record type is
defined here, so none can be returned. Sources are read-only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

Option: TypeAlias = "str | int | bool | Sequence[str]"

EXISTENCE: Final = "*"
"""Stands for a column where none is read: that there is a row."""


class Code(StrEnum):
    """The result of a comparison: of one attribute, or of the whole question."""

    MATCH = "match"
    NO_MATCH = "no_match"
    NOT_FOUND = "not_found"


class SourceError(Exception):
    """A source gave no usable answer. Its text names the source and the kind of fault, never a value."""


class SourceUnavailable(SourceError):
    """The source could not be reached, or not in time."""


class SourceMisbehaved(SourceError):
    """The source answered with something its binding does not describe."""


class BindingInvalid(ValueError):
    """A service file binds something that the adapter cannot compare. Its text says which member and why."""


@dataclass(frozen=True, slots=True)
class AttributeBinding:
    """One attribute of a service: the comparator, the columns it reads and its options.

    `columns` maps the comparator's roles to column names (`{"column": "full_name"}`,
    `{"from": "start_date", "to": "end_date"}`); `options` holds tolerance, grid, values and the like.
    """

    name: str
    compare: str
    columns: Mapping[str, str]
    options: Mapping[str, Option] = field(default_factory=dict)
    mask: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns it reads, sorted, each once; `EXISTENCE` where it reads none."""
        return tuple(sorted(set(self.columns.values()))) or (EXISTENCE,)


@dataclass(frozen=True, slots=True)
class Binding:
    """How one service is bound to one source. Built from the service file by `app.registry.catalogue`.

    `subject_field` is the member of the question's `subject` (`id_number`), `subject_type` its type
    (`resident_id`, `credit_code`, `code`). `register` is the relation that confirms who the subject is; it
    holds the subject in `register_column` and every column that `confirm` names. Where `register` is the
    relation asked itself, `register == relation`. `many` says how several rows of one subject are judged:
    `any` (one row that agrees in every declared attribute), `all`, or `latest` by `latest_by`.
    """

    service: str
    relation: str
    subject_field: str
    subject_type: str
    subject_column: str
    register: str
    register_column: str
    confirm: tuple[AttributeBinding, ...]
    attributes: tuple[AttributeBinding, ...]
    many: str = "any"
    latest_by: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a source is asked about one subject, already normalised and snapped by the node.

    `confirm` and `declared` map attribute names to values parsed by the attribute's comparison
    (`adapters.compare.Comparison.parse`, then `.snap`). `masks` names the attributes whose masked source
    value the agreement discloses on a match.
    """

    subject: str
    confirm: Mapping[str, object]
    declared: Mapping[str, object]
    masks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AttributeAnswer:
    """The verdict on one declared or masked attribute; `masked` is set only if asked for and matched."""

    code: Code
    masked: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The verdict on one question.

    NOT_FOUND: the register did not confirm the subject. NO_MATCH: confirmed, but no row of the relation asked
    agrees in every declared attribute (or there is no row). MATCH: confirmed and agreeing; with nothing
    declared, confirmation alone.

    `values` holds, whatever the result, the fingerprints of each column that the declared and masked attributes read,
    or of `*` (that there is a row) where they read none; and, as `register.column`, those of the columns that confirm
    the subject: see `adapters.fingerprints`. They are for the disclosure budget inside the node and are never
    disclosed. An account may be renewed only where the fingerprints of then and of now are both not empty and have
    none in common; a column that is missing counts as empty.
    """

    result: Code
    attributes: Mapping[str, AttributeAnswer]
    values: Mapping[str, frozenset[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """Health of a source: reachable, schema as the bindings expect, and its last update (UTC)."""

    reachable: bool
    schema_problems: tuple[str, ...]
    as_of: datetime | None


class Adapter(Protocol):
    """What a node needs of a source. One adapter object serves one bound service; it is shared by threads."""

    def answer(self, questions: Sequence[Question], *, timeout_s: float) -> list[Answer]:
        """Answer all questions in order, in bulk. Raises `SourceError`; never answers a part."""
        ...

    def probe(self) -> Probe:
        """Look at the source without asking about anyone. Never raises."""
        ...

    def as_of(self) -> datetime | None:
        """Time of the source's last update (aware, UTC), cached for a few seconds; None if it keeps none.

        Raises `SourceError`.
        """
        ...

    def close(self) -> None:
        """Give back connections. The adapter is not used afterwards."""
        ...
