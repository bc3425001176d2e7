"""Fields of the published schemas: what the OpenAPI document says of a value is what the node holds it to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import ValidationError, fields, validate

UNPRINTABLE = "must be printable, on one line"
# Control and format characters, and every blank but one: with what Unicode assigns to nobody, all that is no
# `str.isprintable`. Patterns with its classes would say so in full, but few readers of JSON Schema know them.
_UNSEEN = r"\x00-\x1f\x7f-\xa0\xad\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
PRINTABLE = f"^[^{_UNSEEN}]*$"
WORDED = f"^ *[^{_UNSEEN} ][^{_UNSEEN}]*$"
"""Printable, and more than blanks."""
CURSOR = "^[A-Za-z0-9_-]*$"
"""What `next` of a list may be; which of these are, that list alone knows."""
KEY = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]*$"}
"""JSON Schema of an Idempotency-Key: visible ASCII."""


def matching(pattern: str, **kwargs: Any) -> fields.String:
    """A text that a pattern matches as a whole; `kwargs` are those of a field."""

    def check(value: str) -> None:
        # Unlike a validator by `$`, this takes no newline behind it.
        if not re.fullmatch(pattern, value):
            raise ValidationError("does not have the form that is published")

    metadata = {"pattern": f"^(?:{pattern})$", **kwargs.pop("metadata", {})}
    return fields.String(validate=check, metadata=metadata, **kwargs)


def printable(most: int, **kwargs: Any) -> fields.String:
    """A text of at most so many characters, without control characters and the like; it may be blank."""
    metadata = {"pattern": PRINTABLE, **kwargs.pop("metadata", {})}
    return fields.String(validate=[validate.Length(1, most), _check_printable], metadata=metadata, **kwargs)


def either(*cases: Mapping[str, Any]) -> dict[str, Any]:
    """The rule of a schema that exactly one of these cases holds."""
    return {"oneOf": list(cases)}


def where(
    member: str, values: Sequence[object], *, needs: Sequence[str] = (), lacks: str = "", **others: Mapping[str, Any]
) -> dict[str, Any]:
    """The case that a member has one of these values: what is needed then, and not taken, and how others narrow."""
    case: dict[str, Any] = {"properties": {member: {"enum": list(values)}, **others}}
    if needs:
        case["required"] = list(needs)
    if lacks:
        case["not"] = {"required": [lacks]}
    return case


class Distinct(fields.List[Any]):
    """A list in which nothing stands twice."""

    def __init__(self, item: fields.Field[Any], **kwargs: Any) -> None:
        super().__init__(item, metadata={"uniqueItems": True, **kwargs.pop("metadata", {})}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        found = super()._deserialize(value, attr, data, **kwargs)
        twice = {number: ["stands twice"] for number, item in enumerate(found) if item in found[:number]}
        if twice:
            raise ValidationError(twice)
        return found


def _check_printable(value: str) -> None:
    if not value.isprintable():
        raise ValidationError(UNPRINTABLE)
