"""The caller's certificate: its path, its revocation, its names and its key (RFC 8705 §2.1), the same behind a proxy.

A connection may outlive its certificate, so validity and revocation are looked at again on every request; what a
certificate says is read once.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.identity.connection import Connection
from app.refusals import Refusal
from app.trust.authorities import Authorities, Path, PathInvalid
from app.trust.revocation import RevocationLists
from app.trust.twins import twin_of

CACHED = 4_096
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="hecha"'}
# What `cryptography` raises, beside ValueError, for a certificate that OpenSSL's handshake let pass.
_UNREADABLE = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


@dataclass(frozen=True, slots=True)
class Presented:
    """A certificate whose path is valid: its thumbprint (RFC 8705 §3.1), its names (§2.1.2) and its key's digest.

    `key` is `sha256-` and the SHA-256 of the SubjectPublicKeyInfo in hexadecimal. `twin` is the thumbprint of what
    its holder can make of it (`app.trust.twins`), empty if nothing.
    """

    thumbprint: str
    key: str
    names: tuple[tuple[str, str], ...]
    path: Path
    twin: str = ""


class Certificates:
    """Reads presented certificates; the last few thousand are remembered, since a path costs 300 µs."""

    def __init__(self, authorities: Authorities, lists: RevocationLists) -> None:
        self._authorities = authorities
        self._lists = lists
        self._seen: dict[tuple[bytes, tuple[bytes, ...]], Presented] = {}
        self._generation = authorities.generation
        self._lock = Lock()

    def of(self, connection: Connection, now: datetime) -> Presented:
        """The certificate of the connection, valid and not revoked at `now`.

        Raises `Refusal`: certificate-required without one, certificate-not-trusted where its path is not valid now,
        certificate-revoked, revocation-unknown.
        """
        if connection.certificate is None:
            raise Refusal(
                "certificate-required",
                "Present a client certificate in the TLS handshake; docs/certificates.md shows how to enrol.",
                headers=dict(CHALLENGE),
            )
        presented = self._remembered(connection.certificate, connection.chain)
        # Another path may still be valid where the remembered one is no more: an authority can be certified twice.
        if presented is None or not presented.path.not_before <= now <= presented.path.not_after:
            presented = self._read(connection.certificate, connection.chain, now)
        self._lists.check(presented.path, now)
        return presented

    def close(self) -> None:
        """Stop looking after revocation lists."""
        self._lists.close()

    def _remembered(self, der: bytes, chain: tuple[bytes, ...]) -> Presented | None:
        if self._generation != self._authorities.generation:
            with self._lock:
                # In this order: whoever finds the new generation finds nothing of the old one.
                generation = self._authorities.generation
                self._seen.clear()
                self._generation = generation
        return self._seen.get((der, chain))

    def _read(self, der: bytes, chain: tuple[bytes, ...], now: datetime) -> Presented:
        generation = self._generation
        try:
            path = self._authorities.verify(der, chain, now)
            presented = _presented(der, path)
        except PathInvalid as error:
            raise not_trusted(str(error)) from None
        except (ValueError, *_UNREADABLE):
            raise not_trusted("The certificate cannot be read.") from None
        with self._lock:
            if len(self._seen) >= CACHED:
                self._seen.clear()
            if generation == self._generation:
                self._seen[der, chain] = presented
        return presented


def not_trusted(detail: str) -> Refusal:
    """The `certificate-not-trusted` refusal with its challenge."""
    return Refusal("certificate-not-trusted", detail, headers=dict(CHALLENGE))


def thumbprint_of(der: bytes) -> str:
    """`x5t#S256` of a certificate: base64url of its SHA-256 without padding (RFC 8705 §3.1)."""
    return urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def key_digest(certificate: x509.Certificate) -> str:
    """`sha256-<hex>` of the certificate's SubjectPublicKeyInfo."""
    info = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256-" + hashlib.sha256(info).hexdigest()


def _presented(der: bytes, path: Path) -> Presented:
    certificate, issuer = path.certificates[:2]
    twin = twin_of(certificate, issuer)
    return Presented(
        thumbprint=thumbprint_of(der),
        key=key_digest(certificate),
        names=tuple(names_of(certificate)),
        path=path,
        twin=thumbprint_of(twin) if twin is not None else "",
    )


def names_of(certificate: x509.Certificate) -> list[tuple[str, str]]:
    """The names of RFC 8705 §2.1.2 that the certificate holds."""
    names = [("tls_client_auth_subject_dn", certificate.subject.rfc4514_string())]
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return names
    names += [("tls_client_auth_san_dns", value) for value in san.get_values_for_type(x509.DNSName)]
    uris = san.get_values_for_type(x509.UniformResourceIdentifier)
    names += [("tls_client_auth_san_uri", value) for value in uris]
    names += [("tls_client_auth_san_ip", str(value)) for value in san.get_values_for_type(x509.IPAddress)]
    names += [("tls_client_auth_san_email", value) for value in san.get_values_for_type(x509.RFC822Name)]
    return names
