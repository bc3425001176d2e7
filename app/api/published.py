"""Fields of the published schemas: what the OpenAPI document says of a value is what the node holds it to.

SPEC: JSON Schema 2020-12 writes patterns as ECMA-262 does, with the classes of Unicode, which Python's `re` has not.
"""

from __future__ import annotations

import re
from typing import Any

from marshmallow import ValidationError, fields, validate

UNPRINTABLE = "must be printable, on one line"
# Letters, marks, numbers, punctuation and symbols: with the blank, all that `str.isprintable` takes.
_SEEN = r"\p{L}\p{M}\p{N}\p{P}\p{S}"
PRINTABLE = f"^[{_SEEN} ]*$"
WORDED = f"^ *[{_SEEN}][{_SEEN} ]*$"
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
