from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from app.identity import certificate as module
from app.identity.certificate import PEER_CERTIFICATE, Certificates
from app.refusals import Refusal
from app.registry.departments import CERTIFICATE_NAMES, Departments
from app.registry.files import read

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
KEY = ec.derive_private_key(7, ec.SECP256R1())
NAME = x509.Name(
    [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "HRSS"), x509.NameAttribute(NameOID.COMMON_NAME, "benefits")]
)
SAN: dict[str, tuple[str, x509.GeneralName]] = {
    "tls_client_auth_san_dns": ("a.clients.example", x509.DNSName("a.clients.example")),
    "tls_client_auth_san_uri": ("urn:client:a", x509.UniformResourceIdentifier("urn:client:a")),
    "tls_client_auth_san_ip": ("10.1.2.3", x509.IPAddress(ip_address("10.1.2.3"))),
    "tls_client_auth_san_email": ("a@clients.example", x509.RFC822Name("a@clients.example")),
}
CLIENT_AUTH, SERVER_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def der(
    *names: x509.GeneralName,
    usage: tuple[ObjectIdentifier, ...] | None = (CLIENT_AUTH,),
    life: tuple[datetime, datetime] = (NOW - timedelta(days=1), NOW + timedelta(days=1)),
) -> bytes:
    """A certificate with these alternative names."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(life[0])
        .not_valid_after(life[1])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def registered(folder: Path, *clients: tuple[str, str, str]) -> Certificates:
    """Certificates over clients, each with its name, its RFC 8705 member and the value."""
    lines = ["department: hz-hrss", 'name: {en: "a", zh: "b"}', "clients:"]
    for name, member, value in clients:
        lines += [f"  - client: {name}", '    title: {en: "a", zh: "b"}', "    roles: [consumer]"]
        lines += [f"    certificate: {{{member}: '{value}'}}"]
    path = folder / "department.yaml"
    path.write_text("\n".join(lines), "utf-8")
    departments = Departments([read(path)])
    return Certificates(lambda: departments)


@pytest.fixture
def one(tmp_path: Path) -> Certificates:
    return registered(tmp_path, ("a", "tls_client_auth_san_dns", "a.clients.example"))


A = SAN["tls_client_auth_san_dns"][1]


def refused(certificates: Certificates, environ: dict[str, Any], now: datetime = NOW) -> Refusal:
    with pytest.raises(Refusal) as error:
        certificates.of(environ, now)
    assert error.value.headers == {"WWW-Authenticate": 'Bearer realm="hecha"'}
    return error.value


def test_no_certificate_is_required(one: Certificates) -> None:
    assert refused(one, {}).slug == "certificate-required"
    assert refused(one, {PEER_CERTIFICATE: None}).slug == "certificate-required"


def test_registered_client_is_found_with_its_thumbprint(one: Certificates) -> None:
    sent = der(A)
    client, thumbprint = one.of({PEER_CERTIFICATE: sent}, NOW)
    assert client.name == "a"
    # SPEC: RFC 8705 §3.1: base64url of the SHA-256 of the DER, without padding.
    assert thumbprint == urlsafe_b64encode(hashlib.sha256(sent).digest()).rstrip(b"=").decode()


@pytest.mark.parametrize("member", CERTIFICATE_NAMES)
def test_client_is_known_by_any_of_the_names_of_the_standard(tmp_path: Path, member: str) -> None:
    """RFC 8705 §2.1.2."""
    value, name = SAN.get(member, ("CN=benefits,O=HRSS", A))
    certificates = registered(tmp_path, ("a", member, value))
    assert certificates.of({PEER_CERTIFICATE: der(name)}, NOW)[0].name == "a"


@pytest.mark.parametrize("member", SAN)
def test_value_under_another_kind_of_name_is_no_match(tmp_path: Path, member: str) -> None:
    """A URI that reads like a host name is no host name."""
    value, _ = SAN[member]
    certificates = registered(tmp_path, ("a", member, value))
    other = x509.DNSName(value) if member != "tls_client_auth_san_dns" else x509.UniformResourceIdentifier(value)
    assert refused(certificates, {PEER_CERTIFICATE: der(other)}).slug == "certificate-not-trusted"


@pytest.mark.parametrize(
    "name", ["*.clients.example", "a.clients.example.", "A.CLIENTS.EXAMPLE", "clients.example", "xa.clients.example"]
)
def test_names_are_compared_exactly(one: Certificates, name: str) -> None:
    assert refused(one, {PEER_CERTIFICATE: der(x509.DNSName(name))}).slug == "certificate-not-trusted"


def test_common_name_is_no_alternative_name(tmp_path: Path) -> None:
    certificates = registered(tmp_path, ("a", "tls_client_auth_san_dns", "benefits"))
    assert refused(certificates, {PEER_CERTIFICATE: der()}).slug == "certificate-not-trusted"


def test_certificate_that_names_two_clients_is_nobodys(tmp_path: Path) -> None:
    certificates = registered(
        tmp_path,
        ("a", "tls_client_auth_san_dns", "a.clients.example"),
        ("b", "tls_client_auth_san_uri", "urn:client:a"),
    )
    both = der(A, SAN["tls_client_auth_san_uri"][1])
    assert refused(certificates, {PEER_CERTIFICATE: both}).slug == "certificate-not-trusted"


@pytest.mark.parametrize("usage", [None, (SERVER_AUTH,), (ExtendedKeyUsageOID.EMAIL_PROTECTION,)])
def test_certificate_not_meant_for_clients_is_refused(
    one: Certificates, usage: tuple[ObjectIdentifier, ...] | None
) -> None:
    assert "clientAuth" in refused(one, {PEER_CERTIFICATE: der(A, usage=usage)}).detail


def test_certificate_for_clients_and_servers_is_taken(one: Certificates) -> None:
    assert one.of({PEER_CERTIFICATE: der(A, usage=(SERVER_AUTH, CLIENT_AUTH))}, NOW)


def test_validity_is_looked_at_on_every_request(one: Certificates) -> None:
    """A kept connection may outlive its certificate."""
    sent = {PEER_CERTIFICATE: der(A)}
    assert one.of(sent, NOW + timedelta(days=1))
    assert "not valid" in refused(one, sent, NOW + timedelta(days=1, seconds=1)).detail
    assert "not valid" in refused(one, sent, NOW - timedelta(days=1, seconds=1)).detail


class TlsSocket:
    """gunicorn's socket, as far as it tells of the peer."""

    def __init__(self, certificate: bytes | None) -> None:
        self._certificate = certificate

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        """The peer's certificate as DER."""
        assert binary_form
        return self._certificate


def test_certificate_of_the_socket_counts_whatever_else_is_said(one: Certificates) -> None:
    assert one.of({"gunicorn.socket": TlsSocket(der(A))}, NOW)[0].name == "a"
    environ = {"gunicorn.socket": TlsSocket(None), PEER_CERTIFICATE: der(A)}
    assert refused(one, environ).slug == "certificate-required"


def test_plain_socket_has_no_certificate_of_its_own(one: Certificates) -> None:
    assert refused(one, {"gunicorn.socket": object()}).slug == "certificate-required"


def damaged() -> Iterator[bytes]:
    good = der(A)
    yield b""
    yield good[:-1]
    yield b"\x30\x80" + good[2:]
    yield bytes(1_000)
    # A second extension of the same kind, which OpenSSL reads and `cryptography` refuses.
    san = x509.SubjectAlternativeName([A]).public_bytes()
    yield good.replace(san, san[:-1] + b"\xff")


@pytest.mark.parametrize("sent", list(damaged()), ids=range(5))
def test_certificate_that_cannot_be_read_is_not_trusted(one: Certificates, sent: bytes) -> None:
    assert refused(one, {PEER_CERTIFICATE: sent}).slug == "certificate-not-trusted"


def test_remembered_certificates_are_bounded(one: Certificates) -> None:
    presented = one._read(der(A))
    one._seen.update({number.to_bytes(4, "big"): presented for number in range(module.CACHED)})
    one.of({PEER_CERTIFICATE: der(A, life=(NOW, NOW))}, NOW)
    assert len(one._seen) == 1
