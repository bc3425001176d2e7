"""Signed questions as another implementation would send them: the signature base is written by hand, from RFC 9421.

Nothing here is the project's own code for signatures, so that both can be wrong in different ways only. Every part of
a signature is a place for a flaw, named by keyword.
"""

from __future__ import annotations

import secrets
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from evidence.base64s import encode_url
from tests.nodes.consumer import Consumer
from tests.nodes.running import ISSUER

PrivateKey: TypeAlias = "ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey"
COVERED = ("@method", "@target-uri", "content-digest", "content-type", "authorization")


@dataclass(frozen=True, slots=True)
class Pen:
    """A key that signs requests, and what the node knows it as."""

    key: PrivateKey
    keyid: str

    @classmethod
    def of(cls, pki: Path, name: str) -> Pen:
        """The pen of a client of the demonstration: its certificate's key."""
        key: Any = load_pem_private_key((pki / f"{name}.key").read_bytes(), None)
        return cls(key, x5t(x509.load_pem_x509_certificate((pki / f"{name}.pem").read_bytes())))

    def sign(self, base: str) -> bytes:
        """The signature over a base, in the form of RFC 9421 §3.3."""
        message = base.encode()
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PSS(padding.MGF1(hashes.SHA512()), 64), hashes.SHA512())
        size = (self.key.curve.key_size + 7) // 8
        digest = {32: hashes.SHA256(), 48: hashes.SHA384()}.get(size, hashes.SHA512())
        r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def x5t(certificate: x509.Certificate) -> str:
    """The x5t#S256 thumbprint of a certificate (RFC 8705 §3.1)."""
    return encode_url(sha256(certificate.public_bytes(Encoding.DER)).digest())


def digest(body: bytes, algorithm: str = "sha-256") -> str:
    """Content-Digest of a body (RFC 9530)."""
    made = {"sha-256": sha256, "sha-512": sha512}[algorithm](body).digest()
    return f"{algorithm}=:{b64encode(made).decode()}:"


def path_of(service: str) -> str:
    """Where questions to a service go."""
    return f"/v1/services/{service}/verifications"


def nonce() -> str:
    """One that nobody has used."""
    return secrets.token_urlsafe(18)


def written(value: Any) -> str:
    """A parameter's value as a structured field; text in angle brackets stands as it is."""
    if isinstance(value, str):
        return value[1:-1] if value.startswith("<") else f'"{value}"'
    return str(value)


def signature(
    pen: Pen,
    values: Mapping[str, str],
    *,
    covered: Sequence[str] = COVERED,
    label: str = "sig",
    only: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> dict[str, str]:
    """The fields of one signature over these values of components.

    A parameter of None is left out; `only` are all parameters there are, in their order.
    """
    usual = {"created": int(time.time()), "nonce": nonce(), "keyid": pen.keyid, "tag": "hecha"}
    given = usual | parameters if only is None else only
    names = [name if name.startswith('"') else f'"{name}"' for name in covered]
    said = "".join(f";{name}={written(value)}" for name, value in given.items() if value is not None)
    input_ = f"({' '.join(names)}){said}"
    lines = [f"{name}: {values[name.split(';')[0].strip(chr(34))]}" for name in names]
    made = pen.sign("\n".join([*lines, f'"@signature-params": {input_}']))
    return {"Signature-Input": f"{label}={input_}", "Signature": f"{label}=:{b64encode(made).decode()}:"}


def values_of(consumer: Consumer, service: str, body: bytes, **fields: str) -> dict[str, str]:
    """What a question's components are, by name; `fields` are further fields of the request."""
    return {
        "@method": "POST",
        "@target-uri": ISSUER + path_of(service),
        "@authority": ISSUER.removeprefix("https://"),
        "@path": path_of(service),
        "content-type": "application/json",
        "content-digest": digest(body),
        "authorization": f"Bearer {consumer.token()}",
        **fields,
    }


def signed(pen: Pen, consumer: Consumer, service: str, body: bytes, **flaws: Any) -> dict[str, str]:
    """The fields of a signed question; `values` replaces what is signed, the rest is `signature`'s."""
    values = values_of(consumer, service, body) | flaws.pop("values", {})
    fields = {"Content-Digest": digest(body), "Authorization": f"Bearer {consumer.token()}"}
    return fields | signature(pen, values, **flaws)
