"""Comparators of text: equal after normalising, or not equal. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from adapters import normalise
from adapters.base import AttributeBinding
from adapters.columns import text_of
from adapters.comparison import Comparison, Row, Value
from adapters.normalise import ValueInvalid


class TextComparison(Comparison):
    """Declared and source value, both normalised, are the same text."""

    normaliser: ClassVar[str]
    """What the match contract calls the normalisation."""
    normal: Callable[[str], str]
    """The normalisation, a static method; raises `ValueInvalid`."""
    schema: ClassVar[dict[str, Any]]
    """The JSON Schema of the declared text, without its type."""

    def parse(self, raw: object) -> str:
        """Return the normalised text."""
        if not isinstance(raw, str):
            raise ValueInvalid("must be a string")
        return self.normal(raw)

    def matches(self, declared: Value, row: Row) -> bool:
        """Say whether the column, normalised, is the declared text."""
        text = text_of(row["column"])
        try:
            return text is not None and self.normal(text.strip()) == declared
        except ValueInvalid:
            return False

    def source_key(self, row: Row) -> str:
        """Return the normalised text of the column, marked as null, normal or odd."""
        text = text_of(row["column"])
        if text is None:
            return "null"
        try:
            return "=" + self.normal(text.strip())
        except ValueInvalid:
            return "?" + text

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        return {"type": "string", **self.schema}

    def describe(self) -> dict[str, Any]:
        """Add the normaliser."""
        return super().describe() | {"normaliser": self.normaliser}


def _as_it_stands(raw: str) -> str:
    if not 1 <= len(raw) <= normalise.MAX_ORGANISATION:
        raise ValueInvalid(f"must have 1 to {normalise.MAX_ORGANISATION} characters")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in raw):
        raise ValueInvalid("holds control characters")
    return raw


class Exact(TextComparison):
    """The same characters; only blanks at the ends of the source's column are overlooked."""

    name = "exact"
    normaliser = "none"
    normal = staticmethod(_as_it_stands)
    schema: ClassVar[dict[str, Any]] = {
        "minLength": 1,
        "maxLength": normalise.MAX_ORGANISATION,
        "description": "Compared character by character. 逐字比对。",
    }


class Name(TextComparison):
    """The same name of a person."""

    name = "name"
    normaliser = "name: NFKC, blanks removed, middle dots unified"
    normal = staticmethod(normalise.name)
    schema: ClassVar[dict[str, Any]] = {
        "minLength": 1,
        "maxLength": normalise.MAX_NAME,
        "description": "Name of a person 姓名; width, blanks and the kind of middle dot do not matter.",
    }


class Organisation(TextComparison):
    """The same name of an organisation."""

    name = "organisation"
    normaliser = "organisation: NFKC, blanks removed, brackets unified"
    normal = staticmethod(normalise.organisation)
    schema: ClassVar[dict[str, Any]] = {
        "minLength": 1,
        "maxLength": normalise.MAX_ORGANISATION,
        "description": "Name of an organisation 单位名称; width, blanks and kinds of brackets do not matter.",
    }


class CreditCode(TextComparison):
    """The same unified social credit code."""

    name = "credit_code"
    normaliser = "credit_code: GB 32100, check character verified, capitals"
    normal = staticmethod(normalise.credit_code)
    schema: ClassVar[dict[str, Any]] = {
        "pattern": "^[0-9A-Za-z０-９Ａ-Ｚａ-ｚ]{18}$",
        "description": "Unified social credit code 统一社会信用代码 (GB 32100) with a right check character.",
    }


class ResidentId(TextComparison):
    """The same resident id number, in its old or its new form."""

    name = "resident_id"
    normaliser = "resident_id: GB 11643, check digit verified, 15 digits converted to 18"
    normal = staticmethod(normalise.resident_id)
    schema: ClassVar[dict[str, Any]] = {
        "pattern": "^(?:[0-9０-９]{15}|[0-9０-９]{17}[0-9０-９XxＸｘ])$",
        "description": "Resident id number 公民身份号码 (GB 11643) with a right check digit.",
    }


class Code(TextComparison):
    """The same code; a binding may close the list of codes or give them a pattern."""

    name = "code"
    optional = frozenset({"values", "pattern"})
    normaliser = "code: NFKC, blanks removed"
    normal = staticmethod(normalise.code)
    schema: ClassVar[dict[str, Any]] = {
        "minLength": 1,
        "maxLength": normalise.MAX_CODE,
        "description": "A code; width and blanks do not matter. 代码。",
    }

    def __init__(self, binding: AttributeBinding) -> None:
        super().__init__(binding)
        self.values = self._read_values(binding) if "values" in binding.options else None
        self.pattern = self._read_pattern(binding) if "pattern" in binding.options else None

    def parse(self, raw: object) -> str:
        """Return the normalised code, which list and pattern, if any, must admit as written."""
        code = super().parse(raw)
        if self.values is not None and raw not in self.values:
            raise ValueInvalid("must be one of the published values")
        if self.pattern is not None and not self.pattern.fullmatch(str(raw)):
            raise ValueInvalid("must have the published pattern")
        return code

    def json_schema(self) -> dict[str, Any]:
        """Add the list and the pattern."""
        schema = super().json_schema()
        if self.values is not None:
            schema["enum"] = list(self.values)
        if self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern.pattern})$"
        return schema

    def describe(self) -> dict[str, Any]:
        """Add the list and the pattern."""
        contract = super().describe()
        if self.values is not None:
            contract["values"] = list(self.values)
        if self.pattern is not None:
            contract["pattern"] = self.pattern.pattern
        return contract

    def _read_values(self, binding: AttributeBinding) -> tuple[str, ...]:
        values = binding.options["values"]
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise self.refuse("values must be a list of texts")
        try:
            normal = {super(Code, self).parse(value) for value in values}
        except ValueInvalid as error:
            raise self.refuse(f"values hold what is no code: {error}") from None
        if len(normal) != len(values):
            raise self.refuse("values name one code twice")
        return tuple(values)

    def _read_pattern(self, binding: AttributeBinding) -> re.Pattern[str]:
        try:
            return re.compile(str(binding.options["pattern"]), re.ASCII)
        except re.error as error:
            raise self.refuse(f"pattern is no regular expression: {error}") from None


class OneOf(Code):
    """The declared value, one of a published list, stands in the column."""

    name = "one_of"
    required = frozenset({"values"})
    optional = frozenset()
