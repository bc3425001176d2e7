"""Public keys as JSON Web Keys (RFC 7517, RFC 7518 §6.2): P-256 for ES256 and nothing else.

Certificates and references in a key (`x5c`, `x5u`) are neither followed nor read: a key is trusted for standing in
the document, and for nothing else. A node that has rotated a key says from when until when each was its own.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from evidence.base64s import decode_url, encode_url
from evidence.canonical import canonical
from evidence.errors import KeyNotVerified

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = TypeVar("Value")

MAX_KEYS = 256  # twenty years of monthly rotation
MAX_DOCUMENT = 131_072
PURPOSE = "hecha_use"  # a node says which of its keys signs receipts; absent, a key may
FROM, UNTIL = "hecha_from", "hecha_until"  # RFC 3339, UTC, seconds; absent, there is no such bound
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_COORDINATE = 32
_PRIVATE = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})


@dataclass(frozen=True, slots=True)
class ValidKey:
    """A public key and the time in which its holder signed with it; None where there is no bound."""

    key: ec.EllipticCurvePublicKey
    valid_from: datetime | None = None
    valid_until: datetime | None = None


def _point(public_key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    if not isinstance(public_key.curve, ec.SECP256R1):
        raise ValueError("an ES256 key is on the curve P-256")  # noqa: TRY004 - a wrong value
    numbers = public_key.public_numbers()
    x, y = (encode_url(number.to_bytes(_COORDINATE, "big")) for number in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def thumbprint(public_key: ec.EllipticCurvePublicKey) -> str:
    """Return the base64url SHA-256 thumbprint of a P-256 key (RFC 7638)."""
    # SPEC: RFC 7638 §3.2 names exactly these members, in this order, which is that of RFC 8785 too.
    return encode_url(sha256(canonical(_point(public_key))).digest())


def to_jwk(public_key: ec.EllipticCurvePublicKey, kid: str | None = None) -> dict[str, str]:
    """Return the public JWK of a P-256 signature key; `kid` is its thumbprint unless given."""
    return {**_point(public_key), "alg": "ES256", "kid": kid or thumbprint(public_key), "use": "sig"}


def to_dated_jwk(key: ValidKey, purpose: str) -> dict[str, str]:
    """Return the public JWK of a node's key that says what for, and from when until when, it was used."""
    bounds = ((FROM, key.valid_from), (UNTIL, key.valid_until))
    return {
        **to_jwk(key.key),
        PURPOSE: purpose,
        **{name: moment.strftime("%Y-%m-%dT%H:%M:%SZ") for name, moment in bounds if moment is not None},
    }


def keys_from_jwks(document: str | bytes | Mapping[str, Any]) -> dict[str, ec.EllipticCurvePublicKey]:
    """Return the ES256 keys of a JWK set that verify receipts now, by `kid`; keys for anything else are skipped.

    A key that was retired is left out too: whoever looks at no times must not trust it (`valid_keys_from_jwks`).
    Raises `KeyNotVerified`: malformed set or key, repeated kid, private member, or no usable key.
    """
    found = dated_keys(document).items()
    return _some({kid: dated.key for kid, dated in found if dated.valid_until is None})


def valid_keys_from_jwks(document: str | bytes | Mapping[str, Any]) -> dict[str, ValidKey]:
    """Return the keys that receipts are or were signed with, by `kid`, each with its time.

    Raises `KeyNotVerified` as `keys_from_jwks`, and for a time that is malformed.
    """
    return _some(dated_keys(document))


def dated_keys(document: str | bytes | Mapping[str, Any], purpose: str = "receipt") -> dict[str, ValidKey]:
    """Return the ES256 keys of a JWK set for this purpose of a node, by `kid`, perhaps none.

    Raises `KeyNotVerified`: malformed set, key or time, repeated kid, or private member.
    """
    keys: dict[str, ValidKey] = {}
    for entry in _entries(document):
        if not isinstance(entry, dict) or _PRIVATE & entry.keys():
            raise KeyNotVerified("The key document holds something other than public keys.")
        if not _is_for_es256(entry, purpose):
            continue
        kid = entry.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= 256 or kid in keys:
            raise KeyNotVerified("The key document has a key without a name of its own.")
        keys[kid] = ValidKey(_public_key(entry), _moment(entry, FROM), _moment(entry, UNTIL))
    return keys


def _some(keys: dict[str, Value]) -> dict[str, Value]:
    if not keys:
        raise KeyNotVerified("The key document holds no ES256 key to verify receipts with.")
    return keys


def _moment(entry: Mapping[str, Any], name: str) -> datetime | None:
    if name not in entry:
        return None
    moment = None
    with suppress(TypeError, ValueError):  # no text, or no day of the calendar
        moment = datetime.fromisoformat(entry[name]) if _TIME.fullmatch(entry[name]) else None
    if moment is None:
        raise KeyNotVerified("A key of the key document has a time that cannot be read.")
    return moment


def _entries(document: str | bytes | Mapping[str, Any]) -> list[Any]:
    if isinstance(document, (str, bytes)):
        if len(document) > MAX_DOCUMENT:
            raise KeyNotVerified("The key document is too large to be one.")
        try:
            document = orjson.loads(document)
        except orjson.JSONDecodeError:
            raise KeyNotVerified("The key document is not JSON.") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise KeyNotVerified("The key document is not a JWK set.")
    return entries


def _is_for_es256(entry: Mapping[str, Any], purpose: str) -> bool:
    """Return whether RFC 7517 §4 lets this key verify ES256; an absent member forbids nothing."""
    operations = entry.get("key_ops", ["verify"])
    return (
        (entry.get("kty"), entry.get("crv")) == ("EC", "P-256")
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", "ES256") == "ES256"
        and entry.get(PURPOSE, purpose) == purpose
        and isinstance(operations, list)
        and "verify" in operations
    )


def _public_key(entry: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    try:
        point = b"\x04" + _coordinate(entry["x"]) + _coordinate(entry["y"])
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except (KeyError, AttributeError, ValueError):
        raise KeyNotVerified("A key of the key document is no point on the curve P-256.") from None


def _coordinate(text: str) -> bytes:
    # SPEC: RFC 7518 §6.2.1.2: the full 32 bytes, leading zeroes included.
    data = decode_url(text)
    if len(data) != _COORDINATE:
        raise ValueError("a coordinate of P-256 is 32 bytes")
    return data
