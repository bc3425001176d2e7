"""The twin of a certificate: an ECDSA signature (r, s) verifies as (r, n - s) too (SEC 1 §4.1.4).

Whoever holds a certificate can make its twin without any key: names, key, serial number and path are the same, and
the SHA-256 of the whole is another. What is locked out by its thumbprint must be locked out with its twin.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

# SPEC: SEC 2 §2.4.2, §2.5.1, §2.6.1: the orders of the curves that an authority's key may be on.
_ORDERS = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
    "secp521r1": int("1FF" + "F" * 63 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}
_SEQUENCE, _BIT_STRING = 0x30, 0x03


def twin_of(certificate: x509.Certificate, issuer: x509.Certificate) -> bytes | None:
    """The other encoding (DER) under which the issuer's signature verifies; None where the signature is not ECDSA."""
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _ORDERS:
        return None
    r, s = decode_dss_signature(certificate.signature)
    other = encode_dss_signature(r, _ORDERS[key.curve.name] - s)
    signed = certificate.tbs_certificate_bytes
    content = certificate.public_bytes(Encoding.DER)
    algorithm = content[_head(content) + len(signed) : -len(_element(_BIT_STRING, b"\0" + certificate.signature))]
    return _element(_SEQUENCE, signed + algorithm + _element(_BIT_STRING, b"\0" + other))


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _head(der: bytes) -> int:
    """How many bytes tag and length take."""
    return 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
