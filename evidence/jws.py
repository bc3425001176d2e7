"""Compact JWS with ES256 (RFC 7515, RFC 7518 §3.4), whole or with its payload detached (RFC 7515 appendix F).

The header is exactly alg, kid and typ in canonical JSON, base64url is strict and signatures have 64 bytes, so one
document has one spelling but for the signature itself. Key references in a header (jku, jwk, x5u) are never
followed: any further header member refuses the document. `typ` keeps a signature from standing for another document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from evidence.base64s import decode_url, encode_url
from evidence.canonical import NotCanonical, canonical, parse_canonical
from evidence.errors import JwsNotVerified, SignatureNotVerified
from evidence.jwk import thumbprint

if TYPE_CHECKING:
    from collections.abc import Mapping

AGREEMENT = "hecha-agreement+jws"
REVISION = "hecha-revision+jws"

MAX_JWS = 16_777_216  # characters
_ECDSA = ec.ECDSA(SHA256())
# RFC 6979: the same payload gives the same bytes, and no bad random source can leak the key.
_DETERMINISTIC = ec.ECDSA(SHA256(), deterministic_signing=True)
_HALF = 32  # bytes of r and of s


@dataclass(frozen=True, slots=True)
class Signed:
    """What a JWS whose signature held says: the key's id and the signed bytes."""

    kid: str
    payload: bytes


class Signer:
    """Signs payloads of one `typ` under one P-256 key, named by its thumbprint (RFC 7638) unless `kid` is given.

    Raises `ValueError` for a key on another curve.
    """

    def __init__(self, private_key: ec.EllipticCurvePrivateKey, typ: str, kid: str | None = None) -> None:
        if not isinstance(private_key.curve, ec.SECP256R1):
            raise ValueError("an ES256 key is on the curve P-256")  # noqa: TRY004 - a wrong value
        self.kid = kid or thumbprint(private_key.public_key())
        self._private_key = private_key
        self._header = encode_url(canonical({"alg": "ES256", "kid": self.kid, "typ": typ}))

    def sign(self, payload: bytes, *, detached: bool = False) -> str:
        """Return the JWS of `payload` (RFC 7515 §7.1); the same payload gives the same text."""
        body = encode_url(payload)
        signature = self._private_key.sign(f"{self._header}.{body}".encode(), _DETERMINISTIC)
        r, s = decode_dss_signature(signature)
        text = encode_url(r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big"))
        return f"{self._header}.{'' if detached else body}.{text}"


def sign(private_key: ec.EllipticCurvePrivateKey, typ: str, payload: bytes, *, detached: bool = False) -> str:
    """Return the JWS of `payload` under the key's thumbprint; raises `ValueError` for a key on another curve."""
    return Signer(private_key, typ).sign(payload, detached=detached)


def verify(
    jws: str,
    keys: Mapping[str, ec.EllipticCurvePublicKey],
    typ: str,
    *,
    payload: bytes | None = None,
    named: str = "signed document",
) -> Signed:
    """Return what a JWS of `typ` by one of `keys` (by kid) says; with `payload`, it must be detached and over that.

    `named` is what error texts call the document. Raises `JwsNotVerified` for what is no such JWS, and
    `SignatureNotVerified` for an unknown key or a signature that does not hold.
    """
    if len(jws) > MAX_JWS:
        raise JwsNotVerified(f"The {named} is too large to be one.")
    parts = jws.split(".")
    if len(parts) != 3:
        raise JwsNotVerified(f"The {named} is not a compact JWS of three parts.")
    try:
        header, body, signature = map(decode_url, parts)
    except ValueError:
        raise JwsNotVerified(f"A part of the {named} is not base64url.") from None
    kid = _checked_kid(header, typ, named)
    if (payload is None) != bool(body):
        raise JwsNotVerified(f"The {named} must {'carry its payload' if payload is None else 'be detached'}.")
    if kid not in keys:
        raise SignatureNotVerified(f"The {named} is signed by a key that is not trusted here.")
    middle = parts[1] if payload is None else encode_url(payload)
    _check_signature(keys[kid], signature, f"{parts[0]}.{middle}".encode(), named)
    return Signed(kid, body if payload is None else payload)


def _checked_kid(header: bytes, typ: str, named: str) -> str:
    try:
        value = parse_canonical(header)
    except NotCanonical:
        raise JwsNotVerified(f"The header of the {named} is not canonical JSON.") from None
    if not isinstance(value, dict) or value.keys() != {"alg", "kid", "typ"}:
        raise JwsNotVerified(f"The header of the {named} is not exactly alg, kid and typ.")
    if value["alg"] != "ES256" or value["typ"] != typ or not isinstance(value["kid"], str):
        raise JwsNotVerified(f"The document is not a {named} signed with ES256.")
    return value["kid"]


def _check_signature(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes, named: str) -> None:
    wrong = SignatureNotVerified(f"The signature of the {named} is wrong: it was forged or altered.")
    # SPEC: RFC 7518 §3.4: r and s as 32 bytes each, leading zeroes included.
    if len(signature) != 2 * _HALF:
        raise wrong
    r, s = int.from_bytes(signature[:_HALF], "big"), int.from_bytes(signature[_HALF:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed, _ECDSA)
    except InvalidSignature:
        raise wrong from None
