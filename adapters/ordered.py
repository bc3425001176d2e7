"""Comparators of days, amounts and existence. Pure; tolerance and grid are the provider's."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

from adapters import normalise
from adapters.base import AttributeBinding
from adapters.columns import EXACT, amount_of, day_of
from adapters.comparison import Comparison, Row, Value
from adapters.normalise import ValueInvalid

_CENT = Decimal("0.01")
_PERCENT = re.compile(r"((?:0|[1-9][0-9]?)(?:\.[0-9]{1,4})?)%")
_DATE_SCHEMA = {"type": "string", "format": "date", "pattern": f"^{normalise.DATE}$"}


class Day(Comparison):
    """The column holds the declared day."""

    name = "date"

    def parse(self, raw: object) -> date:
        """Return the declared day."""
        return _parsed_day(raw)

    def matches(self, declared: Value, row: Row) -> bool:
        """Say whether the column holds that day."""
        try:
            return day_of(row["column"]) == declared
        except ValueInvalid:
            return False

    def source_key(self, row: Row) -> str:
        """Return the column's day, ISO 8601, marked as null, normal or odd."""
        return _day_key(row["column"])

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of a date."""
        return {**_DATE_SCHEMA, "description": "A day, YYYY-MM-DD, in Asia/Shanghai. 日期。"}

    def describe(self) -> dict[str, Any]:
        """Add the normaliser."""
        return super().describe() | {"normaliser": "date: ISO 8601, Asia/Shanghai"}


class CoversDate(Comparison):
    """The period from one column to another covers the declared day; both ends belong to it."""

    name = "covers_date"
    roles = ("from", "to")

    def parse(self, raw: object) -> date:
        """Return the declared day."""
        return _parsed_day(raw)

    def matches(self, declared: Value, row: Row) -> bool:
        """Say whether the period covers the day; without an end it is open, without a start it is none."""
        if not isinstance(declared, date):
            return False
        try:
            start, end = day_of(row["from"]), day_of(row["to"])
        except ValueInvalid:
            return False
        return start is not None and start <= declared and (end is None or declared <= end)

    def source_key(self, row: Row) -> str:
        """Return both days."""
        return f"{_day_key(row['from'])}\n{_day_key(row['to'])}"

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of a date."""
        return {
            **_DATE_SCHEMA,
            "description": "A day, YYYY-MM-DD, that the record's period covers. 有效期内的日期。",
        }

    def describe(self) -> dict[str, Any]:
        """Add the ends and the rule for an empty one."""
        return {
            "comparator": self.name,
            "normaliser": "date: ISO 8601, Asia/Shanghai",
            "ends": "both included",
            "null": "an empty start never matches, an empty end is open",
        }


class Within(Comparison):
    """The declared amount, put on the provider's grid, lies within the provider's tolerance of the column.

    Of one absolute tolerance, the step of the grid is the tolerance or twice it, and the tolerance itself counts at
    one of its two ends. So the true amount always agrees, and the answers to all questions together tell in which
    step an amount lies and no more, not even of a round one. A share of the source value has no such guarantee.
    """

    name = "within"
    required = frozenset({"tolerance", "grid"})

    def __init__(self, binding: AttributeBinding) -> None:
        super().__init__(binding)
        self.tolerance: Decimal
        self.share: Decimal | None
        self.tolerance, self.share = self._read_tolerance(str(binding.options["tolerance"]))
        self.grid = self._read_amount("grid", str(binding.options["grid"]))
        if self.grid <= 0:
            raise self.refuse("grid must be above zero")
        if self.share is None and self.grid < self.tolerance:
            raise self.refuse("grid must have a step of at least the tolerance")
        if self.share is None and self.grid not in (self.tolerance, 2 * self.tolerance or _CENT):
            raise self.refuse("grid must be the tolerance or twice it: else true amounts disagree, or answers add up")

    def parse(self, raw: object) -> Decimal:
        """Return the declared amount in yuan, two decimals."""
        if not isinstance(raw, str):
            raise ValueInvalid("must be a decimal string")
        return normalise.money(raw)

    def snap(self, value: Value) -> Decimal:
        """Return the nearest multiple of the grid; half way, the even one."""
        if not isinstance(value, Decimal):
            raise ValueInvalid("must be an amount")
        step = int(self.grid * 100)
        count, rest = divmod(int(value * 100), step)
        if 2 * rest > step or (2 * rest == step and count % 2):
            count += 1
        return Decimal(count * step).scaleb(-2)

    def matches(self, declared: Value, row: Row) -> bool:
        """Say whether the snapped amount differs from the column's by no more than the tolerance."""
        try:
            amount = amount_of(row["column"])
        except ValueInvalid:
            return False
        if amount is None:
            return False
        snapped = self.snap(declared)
        difference = EXACT.subtract(amount, snapped)
        if self.share is not None:
            return abs(difference) <= EXACT.multiply(abs(amount), self.share)
        if abs(difference) != self.tolerance:
            return abs(difference) < self.tolerance
        if self.grid == 2 * self.tolerance:
            return self.snap(amount) == snapped
        return difference == -self.tolerance

    def source_key(self, row: Row) -> str:
        """Return the column's amount, marked as null, normal or odd."""
        try:
            amount = amount_of(row["column"])
        except ValueInvalid:
            return f"?{row['column']}"
        return "null" if amount is None else f"={EXACT.plus(amount).normalize(EXACT):f}"

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of an amount as a decimal string."""
        return {
            "type": "string",
            "pattern": f"^{normalise.MONEY}$",
            "description": f"An amount in yuan; compared on a grid of {self.grid:f}. 金额（元）。",
        }

    def describe(self) -> dict[str, Any]:
        """Add tolerance, grid and rounding."""
        share = None if self.share is None else f"{self.share.scaleb(2).normalize():f}% of the source value"
        contract = super().describe() | {
            "normaliser": "money: yuan, two decimals",
            "tolerance": share or f"{self.tolerance:f}",
            "grid": f"{self.grid:f}",
            "rounding": "half to even multiple of the grid",
        }
        if self.share is None:
            rounded = self.grid == 2 * self.tolerance
            contract["exactly_tolerance"] = "matches if it rounds there" if rounded else "matches from below"
        return contract

    def canonical(self, value: Value) -> str:
        """Return the amount with two decimals."""
        return f"{value:.2f}"

    def _read_tolerance(self, text: str) -> tuple[Decimal, Decimal | None]:
        """Return the absolute tolerance, or zero and the share of the source value."""
        percent = _PERCENT.fullmatch(text)
        if percent is None:
            return self._read_amount("tolerance", text), None
        return Decimal(0), Decimal(percent.group(1)).scaleb(-2)

    def _read_amount(self, option: str, text: str) -> Decimal:
        try:
            return normalise.money(text)
        except ValueInvalid as error:
            raise self.refuse(f"{option}: {error}") from None


class Exists(Comparison):
    """There is a row."""

    name = "exists"
    roles = ()

    def parse(self, raw: object) -> bool:
        """Return True, the only value that can be declared."""
        if raw is not True:
            raise ValueInvalid("must be true")
        return True

    def matches(self, declared: Value, row: Row) -> bool:  # noqa: ARG002 - that there is a row is the comparison
        """Say that the row exists."""
        return declared is True

    def source_key(self, row: Row) -> str:  # noqa: ARG002 - every row exists alike
        """Return the same text for every row."""
        return "exists"

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of the literal true."""
        return {"type": "boolean", "const": True, "description": "That a record exists. 存在记录。"}

    def describe(self) -> dict[str, Any]:
        """Name the comparator alone: no column, no null."""
        return {"comparator": self.name}

    def canonical(self, value: Value) -> str:
        """Return `true`."""
        return str(value).lower()


def _parsed_day(raw: object) -> date:
    if not isinstance(raw, str):
        raise ValueInvalid("must be a string")
    return normalise.iso_date(raw)


def _day_key(raw: object) -> str:
    try:
        day = day_of(raw)
    except ValueInvalid:
        return f"?{raw}"
    return "null" if day is None else f"={day.isoformat()}"
