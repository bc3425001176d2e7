from __future__ import annotations

import hashlib
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.identity import certificate as module
from app.identity.certificate import Certificates, Presented
from app.identity.connection import Connection
from app.refusals import Refusal
from app.registry.departments import CERTIFICATE_NAMES
from app.trust.authorities import Authorities
from app.trust.revocation import RevocationLists
from tests.unit.app.trust import pki
from tests.unit.app.trust.pki import DAY, NOW, Holder

SAN: dict[str, tuple[str, x509.GeneralName]] = {
    "tls_client_auth_san_dns": ("a.clients.example", x509.DNSName("a.clients.example")),
    "tls_client_auth_san_uri": ("urn:client:a", x509.UniformResourceIdentifier("urn:client:a")),
    "tls_client_auth_san_ip": ("10.1.2.3", x509.IPAddress(ip_address("10.1.2.3"))),
    "tls_client_auth_san_email": ("a@clients.example", x509.RFC822Name("a@clients.example")),
}


@pytest.fixture(scope="module")
def authority() -> Holder:
    return pki.root()


@pytest.fixture
def file(tmp_path: Path, authority: Holder) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.pem)
    return path


@pytest.fixture
def make(file: Path, tmp_path: Path) -> Callable[..., Certificates]:
    """Makes what reads certificates, with these revocation lists."""

    def made(*lists: Path) -> Certificates:
        authorities = Authorities(file)
        sources = [str(path) for path in lists]
        kept = RevocationLists(sources, authorities, check="chain", grace_s=0, folder=tmp_path / "crls")
        return Certificates(authorities, kept)

    return made


@pytest.fixture
def certificates(make: Callable[..., Certificates]) -> Certificates:
    return make()


def shown(der: bytes | None, *chain: bytes) -> Connection:
    return Connection(der, chain, "127.0.0.1")


def refused(certificates: Certificates, der: bytes | None, **at: object) -> Refusal:
    with pytest.raises(Refusal) as error:
        certificates.of(shown(der), at.get("now", NOW))  # type: ignore[arg-type]
    assert error.value.headers == {"WWW-Authenticate": 'Bearer realm="hecha"'}
    return error.value


def test_no_certificate_is_required(certificates: Certificates) -> None:
    assert refused(certificates, None).slug == "certificate-required"


def test_certificate_is_known_by_its_thumbprint_and_its_key(certificates: Certificates, authority: Holder) -> None:
    leaf = pki.leaf(authority)
    presented = certificates.of(shown(leaf.der), NOW)
    # SPEC: RFC 8705 §3.1: base64url of the SHA-256 of the DER, without padding.
    assert presented.thumbprint == urlsafe_b64encode(hashlib.sha256(leaf.der).digest()).rstrip(b"=").decode()
    info = leaf.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert presented.key == "sha256-" + hashlib.sha256(info).hexdigest()
    assert presented.path.certificates == (leaf.certificate, authority.certificate)


@pytest.mark.parametrize("member", CERTIFICATE_NAMES)
def test_names_are_those_of_the_standard(certificates: Certificates, authority: Holder, member: str) -> None:
    """RFC 8705 §2.1.2; the kind of a name counts: a URI that reads like a host name is no host name."""
    value, name = SAN.get(member, ("CN=benefits,O=Hecha tests,C=CN", x509.DNSName("x.example")))
    presented = certificates.of(shown(pki.leaf(authority, names=(name,)).der), NOW)
    assert (member, value) in presented.names
    assert len(presented.names) == 2


def test_common_name_is_no_alternative_name(certificates: Certificates, authority: Holder) -> None:
    presented = certificates.of(shown(pki.leaf(authority, names=()).der), NOW)
    assert [member for member, _ in presented.names] == ["tls_client_auth_subject_dn"]


def test_validity_is_looked_at_on_every_request(certificates: Certificates, authority: Holder) -> None:
    """A kept connection may outlive its certificate."""
    der = pki.leaf(authority, life=(NOW - DAY, NOW + DAY)).der
    assert certificates.of(shown(der), NOW + DAY)
    assert "not valid" in refused(certificates, der, now=NOW + DAY + timedelta(seconds=1)).detail
    assert "not valid" in refused(certificates, der, now=NOW - DAY - timedelta(seconds=1)).detail
    assert certificates.of(shown(der), NOW)


def test_revocation_is_looked_at_on_every_request(
    make: Callable[..., Certificates], authority: Holder, tmp_path: Path
) -> None:
    leaf, other, path = pki.leaf(authority), pki.leaf(authority, "other"), tmp_path / "list.crl"
    path.write_bytes(pki.revocation_list(authority))
    certificates = make(path)
    assert certificates.of(shown(leaf.der), NOW)
    path.write_bytes(pki.revocation_list(authority, leaf, number=2))
    assert soon(certificates, leaf) == "certificate-revoked"
    assert certificates.of(shown(other.der), NOW)


def soon(certificates: Certificates, leaf: Holder) -> str | None:
    """What a certificate is refused with within three seconds: files are looked at once a second."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            certificates.of(shown(leaf.der), NOW)
        except Refusal as refusal:
            return refusal.slug
        time.sleep(0.1)
    return None


def test_authority_that_is_trusted_no_more_takes_its_clients_along(
    certificates: Certificates, authority: Holder, file: Path
) -> None:
    leaf = pki.leaf(authority)
    assert certificates.of(shown(leaf.der), NOW)
    file.write_bytes(pki.root("Another").pem)
    assert soon(certificates, leaf) == "certificate-not-trusted"


@pytest.mark.parametrize("der", [b"", b"\x30\x80", bytes(1_000), b"-----BEGIN CERTIFICATE-----", b"\x30" * 20_000])
def test_certificate_that_cannot_be_read_is_not_trusted(certificates: Certificates, der: bytes) -> None:
    assert refused(certificates, der).slug == "certificate-not-trusted"


def test_remembered_certificates_are_bounded(certificates: Certificates, authority: Holder) -> None:
    presented = certificates.of(shown(pki.leaf(authority).der), NOW)
    assert isinstance(presented, Presented)
    certificates._seen.update({(number.to_bytes(4, "big"), ()): presented for number in range(module.CACHED)})
    certificates.of(shown(pki.leaf(authority, "next").der), NOW)
    assert len(certificates._seen) == 1
