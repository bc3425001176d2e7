"""Public keys as JSON Web Keys (RFC 7517, RFC 7518 §6.2): P-256 for ES256 and nothing else."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from evidence.base64s import decode_url, encode_url
from evidence.canonical import canonical
from evidence.errors import KeyNotVerified

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_KEYS = 64
MAX_DOCUMENT = 65_536
PURPOSE = "hecha_use"  # a node says which of its keys signs receipts; absent, a key may
_COORDINATE = 32
_PRIVATE = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})


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


def keys_from_jwks(document: str | bytes | Mapping[str, Any]) -> dict[str, ec.EllipticCurvePublicKey]:
    """Return the ES256 keys of a JWK set that verify receipts, by `kid`; keys for anything else are skipped.

    Raises `KeyNotVerified`: malformed set or key, repeated kid, private member, or no usable key.
    """
    keys: dict[str, ec.EllipticCurvePublicKey] = {}
    for entry in _entries(document):
        if not isinstance(entry, dict) or _PRIVATE & entry.keys():
            raise KeyNotVerified("The key document holds something other than public keys.")
        if not _is_for_es256(entry):
            continue
        kid = entry.get("kid")
        if not isinstance(kid, str) or not 0 < len(kid) <= 256 or kid in keys:
            raise KeyNotVerified("The key document has a key without a name of its own.")
        keys[kid] = _public_key(entry)
    if not keys:
        raise KeyNotVerified("The key document holds no ES256 key to verify receipts with.")
    return keys


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


def _is_for_es256(entry: Mapping[str, Any]) -> bool:
    """Return whether RFC 7517 §4 lets this key verify ES256; an absent member forbids nothing."""
    operations = entry.get("key_ops", ["verify"])
    return (
        (entry.get("kty"), entry.get("crv")) == ("EC", "P-256")
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", "ES256") == "ES256"
        and entry.get(PURPOSE, "receipt") == "receipt"
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
