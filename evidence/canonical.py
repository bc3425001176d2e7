"""RFC 8785 canonical JSON, restricted to values that have one spelling in every language.

Objects with text keys, arrays, text, true, false, null and integers within ±(2**53 - 1). Floats, other
types, lone surrogates and nesting over 64 levels are refused, never rounded or replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JSON: TypeAlias = "Mapping[str, JSON] | Sequence[JSON] | str | int | bool | None"

MAX_DEPTH = 64
_SCALARS = frozenset({str, int, bool, type(None)})
_ARRAYS = frozenset({list, tuple})
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


class NotCanonical(ValueError):
    """The value has no canonical form here, or the bytes are not in it."""


def canonical(value: JSON) -> bytes:
    """Return the RFC 8785 bytes of `value`; raises `NotCanonical` for any type not named above."""
    try:
        if type(value) in _SCALARS or _orders_agree(value, 1):
            return orjson.dumps(value, option=_SORTED)
        return orjson.dumps(_in_utf16_order(value), option=orjson.OPT_STRICT_INTEGER)
    except (TypeError, UnicodeEncodeError) as error:
        raise NotCanonical(f"a value cannot be written as canonical JSON: {error}") from None


def parse_canonical(data: bytes) -> Any:
    """Return the value of canonical bytes; raises `NotCanonical` for any other spelling of it, or none."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise NotCanonical(f"the bytes are not JSON: {error}") from None
    if canonical(value) != data:
        raise NotCanonical("the bytes are JSON but not in canonical form")
    return value


def _orders_agree(value: Any, depth: int) -> bool:
    """Check every type below a container; false when some key may sort differently in UTF-16 and UTF-8."""
    if depth > MAX_DEPTH:
        raise NotCanonical(f"a value is nested deeper than {MAX_DEPTH} levels")
    agree = True
    kind = type(value)
    if kind is dict:
        for key, member in value.items():
            if type(key) is not str:
                raise NotCanonical(f"an object key is of type {type(key).__name__}, not text")
            # ASCII sorts alike in every encoding; anything else takes the slow way.
            if not key.isascii():
                agree = False
            if type(member) not in _SCALARS and not _orders_agree(member, depth + 1):
                agree = False
    elif kind in _ARRAYS:
        for item in value:
            if type(item) not in _SCALARS and not _orders_agree(item, depth + 1):
                agree = False
    else:
        raise NotCanonical(f"a value of type {kind.__name__} has no canonical form")
    return agree


def _in_utf16_order(value: Any) -> Any:
    """Rebuild a checked value with the members of each object in the order of RFC 8785 §3.2.3."""
    if type(value) is dict:
        ordered = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return {key: _in_utf16_order(member) for key, member in ordered}
    if type(value) in _ARRAYS:
        return [_in_utf16_order(item) for item in value]
    return value
