"""The contract of a comparison: how a declared value is read, published and held against a row. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

from adapters.base import AttributeBinding, BindingInvalid

Value: TypeAlias = "str | Decimal | date | bool"
"""A declared value after `Comparison.parse`."""
Row: TypeAlias = Mapping[str, object]
"""The columns of one row that a comparison reads, by role."""


class Comparison(ABC):
    """One attribute's comparator with its options. Immutable; `adapters.compare.build` makes it."""

    name: ClassVar[str]
    """The comparator's name in service files and match contracts."""
    roles: ClassVar[tuple[str, ...]] = ("column",)
    """The columns it reads, by role."""
    required: ClassVar[frozenset[str]] = frozenset()
    """Options that the binding must have."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """Options that the binding may have."""

    def __init__(self, binding: AttributeBinding) -> None:
        self.attribute = binding.name

    @abstractmethod
    def parse(self, raw: object) -> Value:
        """Return the typed value of what a consumer declared in JSON; raises `ValueInvalid`, value-free."""

    def snap(self, value: Value) -> Value:
        """Return the value on the provider's grid; unordered values are returned as they are."""
        return value

    @abstractmethod
    def matches(self, declared: Value, row: Row) -> bool:
        """Say whether the row agrees with the declared value.

        Null and text of an odd form agree with nothing. Raises `SourceMisbehaved` only for a type that the
        column must not have.
        """

    @abstractmethod
    def source_key(self, row: Row) -> str:
        """Return the normalised source value as text, equal for equal values only. It stays inside."""

    @abstractmethod
    def json_schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of the declared value. It admits all that `parse` takes."""

    def describe(self) -> dict[str, Any]:
        """Return what a match contract publishes: rules and options, no column names."""
        return {"comparator": self.name, "null": "never matches"}

    def canonical(self, value: Value) -> str:
        """Return a parsed value as text, equal exactly for equal values."""
        return value.isoformat() if isinstance(value, date) else str(value)

    def refuse(self, reason: str) -> BindingInvalid:
        """Return the error that says what is wrong with this attribute's binding."""
        return BindingInvalid(f"{self.attribute}: {reason}")
