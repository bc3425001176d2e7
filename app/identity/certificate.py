"""The caller's certificate as the TLS layer verified it, and the client that is registered for it (RFC 8705 §2.1).

The path to a trusted CA, validity and extended key usage were checked in the handshake. A connection may outlive
its certificate, so validity is looked at again on every request.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from app.refusals import Refusal
from app.registry.departments import Client, Departments

PEER_CERTIFICATE = "hecha.peer_certificate"  # environ: DER bytes, set by the server, never from a header
CACHED = 4_096
# What `cryptography` raises, beside ValueError, for a certificate that OpenSSL's handshake let pass.
_UNREADABLE = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


@dataclass(frozen=True, slots=True)
class Presented:
    """A verified certificate: its thumbprint (RFC 8705 §3.1, base64url without padding), validity and names."""

    thumbprint: str
    not_before: datetime
    not_after: datetime
    names: tuple[tuple[str, str], ...]
    for_clients: bool


class Certificates:
    """Reads presented certificates; the last few thousand are remembered, since parsing one costs 100 µs."""

    def __init__(self, departments: Callable[[], Departments]) -> None:
        self._departments = departments
        self._seen: dict[bytes, Presented] = {}
        self._lock = Lock()

    def of(self, environ: Mapping[str, Any], now: datetime) -> tuple[Client, str]:
        """The registered client and the thumbprint of its certificate.

        Raises `Refusal`: certificate-required without a certificate, certificate-not-trusted for one that is not
        valid now, not meant for clients, or held by no registered client.
        """
        der = _peer_certificate(environ)
        if der is None:
            raise Refusal(
                "certificate-required",
                "Present a client certificate in the TLS handshake; docs/certificates.md shows how to enrol.",
                headers={"WWW-Authenticate": 'Bearer realm="hecha"'},
            )
        try:
            presented = self._seen.get(der) or self._read(der)
        except (ValueError, *_UNREADABLE):
            raise _not_trusted("The certificate cannot be read.") from None
        if not presented.not_before <= now <= presented.not_after:
            raise _not_trusted("The certificate is not valid at this time: renew it.")
        if not presented.for_clients:
            raise _not_trusted("The certificate is not meant for clients (extended key usage clientAuth).")
        # Looked up anew each time: who is registered may change while a certificate is remembered.
        client = self._departments().find(presented.names)
        if client is None or client.suspended:
            raise _not_trusted("The certificate belongs to no active client of this node.")
        return client, presented.thumbprint

    def _read(self, der: bytes) -> Presented:
        certificate = x509.load_der_x509_certificate(der)
        presented = Presented(
            thumbprint=urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            names=tuple(_names(certificate)),
            for_clients=_for_clients(certificate),
        )
        with self._lock:
            if len(self._seen) >= CACHED:
                self._seen.clear()
            self._seen[der] = presented
        return presented


def _peer_certificate(environ: Mapping[str, Any]) -> bytes | None:
    socket = environ.get("gunicorn.socket")
    if socket is not None and hasattr(socket, "getpeercert"):
        der: bytes | None = socket.getpeercert(binary_form=True)
        return der
    return environ.get(PEER_CERTIFICATE)


def _not_trusted(detail: str) -> Refusal:
    return Refusal("certificate-not-trusted", detail, headers={"WWW-Authenticate": 'Bearer realm="hecha"'})


def _names(certificate: x509.Certificate) -> list[tuple[str, str]]:
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


def _for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage
