"""What is asked of a trial authority: names that are sound, and certificate signing requests (RFC 2986) of others.

Of a request the public key is taken, once its signature shows who holds the private one, and names that a person has
approved. Nothing else that stands in it reaches a certificate.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from app.registry.departments import CLIENT_ID
from app.trial.register import PkiInvalid

RESERVED = frozenset({"root", "issuing", "server", "ca", "crls"})  # names of other files of the folder
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DNS = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+{_LABEL}")
_URL = re.compile(r"https?://[!-~]+")
_HOST = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}")


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A request's public key, the DNS names that it asks for, and whatever else it asks for, for people."""

    key: CertificatePublicKeyTypes
    names: tuple[str, ...]
    others: tuple[str, ...]


def read_request(content: bytes) -> SigningRequest:
    """Read a request in PEM. Raises `PkiInvalid`: unreadable, not signed by its own key, a key that is too weak."""
    try:
        found = x509.load_pem_x509_csr(content)
        key, is_signed = found.public_key(), found.is_signature_valid
        names, others = _asked(found)
    except (ValueError, UnsupportedAlgorithm):
        raise PkiInvalid("the request cannot be read: make one with openssl req -new (PEM)") from None
    if not is_signed:
        raise PkiInvalid("the request is not signed by its own key: whoever sent it may not hold that key")
    if not _is_strong(key):
        raise PkiInvalid("the request's key must be P-256, P-384, or RSA of 2048 to 8192 bits")
    return SigningRequest(key, names, others)


def check_client(client: str) -> None:
    """Raise `PkiInvalid` unless it is a client id as the register of a node has them, and no file of ours."""
    if not CLIENT_ID.fullmatch(client) or client in RESERVED:
        raise PkiInvalid(f"{client} is no client id: lower-case letters, digits and hyphens, such as hz-food-permits")


def check_dns(names: tuple[str, ...]) -> None:
    """Raise `PkiInvalid` unless there are names, each one that a client can be known by, and none twice."""
    if not names:
        raise PkiInvalid("a certificate needs a name: --dns hz-food-permits.clients.hangzhou.example")
    for name in names:
        if not _DNS.fullmatch(name):
            raise PkiInvalid(f"{name} is no DNS name: lower-case, with a dot, without wildcards")
    if len(set(names)) < len(names):
        raise PkiInvalid("a name is given twice")


def check_hosts(names: tuple[str, ...]) -> None:
    """Raise `PkiInvalid` unless each is a host name or an address, none twice."""
    for name in names:
        with suppress(ValueError):
            ip_address(name)
            continue
        if not _HOST.fullmatch(name):
            raise PkiInvalid(f"{name} is neither a host name nor an address")
    if not names or len(set(names)) < len(names):
        raise PkiInvalid("a server needs names, and each once")


def check_url(url: str | None) -> None:
    """Raise `PkiInvalid` unless a list can be fetched there."""
    host = None
    with suppress(ValueError):
        host = urlsplit(url).hostname if url is not None and _URL.fullmatch(url) else None
    if url is not None and not host:
        raise PkiInvalid("--crl-url takes the http or https URL under which the list is served")


def _asked(found: x509.CertificateSigningRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names: list[str] = []
    others = [f"subject {found.subject.rfc4514_string()}"]
    for extension in found.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names += extension.value.get_values_for_type(x509.DNSName)
            others += [repr(name) for name in extension.value if not isinstance(name, x509.DNSName)]
        else:
            others.append(type(extension.value).__name__)
    return tuple(names), tuple(others)


def _is_strong(key: CertificatePublicKeyTypes) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return isinstance(key, rsa.RSAPublicKey) and 2_048 <= key.key_size <= 8_192
