"""JSON as RFC 8259 writes it and nothing else: no NaN, no Infinity, no duplicate keys, bounded depth and size.

Flask's own reader accepts all of these, and two readers that differ are a way past a check.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from app.refusals import Refusal

MAX_DEPTH = 8


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` holds. Raises the `malformed` refusal: what is wrong, never what was sent."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("the body is not UTF-8") from None
    if _depth(text) > MAX_DEPTH:
        raise _malformed(f"the body nests deeper than {MAX_DEPTH} levels")
    try:
        value = _DECODER.decode(text)
    except Refusal:
        raise
    except (ValueError, ArithmeticError):
        # ArithmeticError: an exponent that no Decimal holds.
        raise _malformed("the body is not JSON (RFC 8259)") from None
    if not isinstance(value, dict):
        raise _malformed("the body must be a JSON object")
    return value


def _depth(text: str) -> int:
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    # Brackets inside strings open and close nothing; counted, closing ones would hide what is nested behind them.
    for character in _STRING.sub("", text):
        if character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _malformed("an object names a member twice")
    return result


def _constant(_name: str) -> Any:
    raise _malformed("NaN and Infinity are not JSON")


def _malformed(reason: str) -> Refusal:
    return Refusal("malformed", f"The request could not be read: {reason}.")


# A string that never ends reaches to the end of the text, so that every character is looked at once only.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
# No member takes a number with a point (money is a string), so it only has to be told from an integer.
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=Decimal)
