"""Signing requests (RFC 9421), so that a node can show later who asked.

The key is that of the client certificate, or one that is registered beside it. Every signature has a nonce of its own
and is good for a minute: a request is signed when it is sent, and once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from http_message_signatures import HTTPMessageSigner, MappingKeyResolver

from client.signing import KeyInvalid
from evidence.errors import KeyNotVerified
from evidence.jwk import thumbprint
from evidence.signed_request import COMPONENTS, TAG, algorithm_of, certificate_thumbprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_NONCE = 18  # bytes


@dataclass(slots=True)
class _Request:
    method: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class RequestSigner:
    """Signs with one key, which the node knows as `keyid`; may be shared by threads."""

    key: PrivateKey = field(repr=False)
    keyid: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    @classmethod
    def of_certificate(cls, certificate: Path, key: Path) -> Self:
        """The signer with the key of a client certificate; both are PEM files. Raises `KeyInvalid`, `OSError`."""
        try:
            found = x509.load_pem_x509_certificate(certificate.read_bytes())
        except ValueError:
            raise KeyInvalid(f"{certificate} holds no certificate in PEM") from None
        private = _private_key(key)
        if private.public_key() != found.public_key():
            raise KeyInvalid(f"{key} is not the key of {certificate}")
        return cls(private, certificate_thumbprint(found.public_bytes(Encoding.DER)))

    @classmethod
    def of_key(cls, key: Path) -> Self:
        """The signer with a P-256 key that is registered for the client, PEM. Raises `KeyInvalid`, `OSError`."""
        private = _private_key(key)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise KeyInvalid(f"{key} must hold a P-256 key: no other is registered for signing")
        return cls(private, thumbprint(private.public_key()))

    def signed(self, method: str, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        """Return the fields with those of the signature; they must hold Authorization and Content-Type.

        `url` is the node's own address of what is asked: its issuer, the path and the query.
        """
        request = _Request(method, url, dict(headers))
        more = [name.lower() for name in headers if name.lower() == "idempotency-key"]
        resolver = MappingKeyResolver(public_keys={}, private_keys={self.keyid: self.key})
        HTTPMessageSigner(signature_algorithm=algorithm_of(self.key.public_key()), key_resolver=resolver).sign(
            request,
            key_id=self.keyid,
            created=self.clock(),
            nonce=secrets.token_urlsafe(_NONCE),
            label=TAG,
            tag=TAG,
            covered_component_ids=(*COMPONENTS, *more),
            body=body,
        )
        return request.headers


def _private_key(path: Path) -> PrivateKey:
    try:
        key: Any = load_pem_private_key(path.read_bytes(), None)
        algorithm_of(key.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyInvalid(f"{path} must hold a private key in PEM, without a password") from None
    except KeyNotVerified as error:
        raise KeyInvalid(f"{path} cannot be used: {error}") from None
    signing: PrivateKey = key
    return signing
