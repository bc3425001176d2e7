"""Opaque fingerprints of source values, as text: which values the answers on one disclosure account were about.

An account renews only when none of the values that earlier answers were ever about stands in the source any more
(design: the budget renews when the source value has changed): a value that comes back renews nothing. A subject
with several records renews with the last of them. Values that are unknown, too many to tell, or fingerprinted under
another key never renew.
"""

from __future__ import annotations

from collections.abc import Iterable

from evidence.base64s import encode_url

MOST = 32
MANY = "+"  # more than can be told apart: such an account never renews


def text_of(values: Iterable[bytes], key_id: str) -> str:
    """Fingerprints as they are kept: the id of their key, a colon, base64url joined by commas; none, no text."""
    found = {encode_url(value) for value in values}
    return _joined(key_id, found) if found else ""


def disjoint(known: str, values: str) -> bool:
    """Whether both are known, under one key, and have nothing in common: the account may begin anew."""
    if not known or not values or MANY in (known, values):
        return False
    (one_key, one), (other_key, other) = _parts(known), _parts(values)
    return one_key == other_key and not one & other


def merged(known: str, values: str) -> str:
    """Both together."""
    if MANY in (known, values):
        return MANY
    if not known or not values:
        return known or values
    (one_key, one), (other_key, other) = _parts(known), _parts(values)
    return _joined(one_key, one | other) if one_key == other_key else MANY


def _parts(text: str) -> tuple[str, set[str]]:
    key_id, _, values = text.partition(":")
    return key_id, set(values.split(","))


def _joined(key_id: str, values: set[str]) -> str:
    return MANY if len(values) > MOST else f"{key_id}:{','.join(sorted(values))}"
