from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from examples.demo.departments import client_names
from examples.demo.pki import is_fresh, write_pki

NOW = datetime.now(UTC).replace(microsecond=0)
CLIENTS = client_names()


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    write_pki(folder, CLIENTS, NOW)
    return folder


def certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def verify_client(pki: Path, path: Path) -> x509.verification.VerifiedClient:
    leaf, *chain = certificates(path)
    root = certificates(pki / "ca.pem")[0]
    return PolicyBuilder().store(Store([root])).time(NOW).build_client_verifier().verify(leaf, chain)


def test_empty_folder_is_not_fresh(tmp_path: Path) -> None:
    assert not is_fresh(tmp_path, CLIENTS, NOW)


def test_freshness_ends_with_the_certificates_the_names_or_a_key(pki: Path, tmp_path: Path) -> None:
    assert is_fresh(pki, CLIENTS, NOW)
    assert not is_fresh(pki, CLIENTS, NOW + timedelta(days=380))
    assert not is_fresh(pki, {**CLIENTS, "hz-audit": "other.clients.hangzhou.example"}, NOW)
    assert not is_fresh(pki, {**CLIENTS, "hz-new": "hz-new.clients.hangzhou.example"}, NOW)
    for path in pki.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "hz-audit.key").unlink()
    assert not is_fresh(tmp_path, CLIENTS, NOW)


@pytest.mark.parametrize("client", CLIENTS)
def test_client_certificates_verify_and_name_their_client(pki: Path, client: str) -> None:
    verified = verify_client(pki, pki / f"{client}.pem")
    assert verified.subjects is not None
    assert [name.value for name in verified.subjects] == [CLIENTS[client]]
    leaf = certificates(pki / f"{client}.pem")[0]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_server_certificate_is_for_this_machine_only(pki: Path, name: str) -> None:
    leaf, *chain = certificates(pki / "server.pem")
    root = certificates(pki / "ca.pem")[0]
    names: dict[str, x509.verification.Subject] = {
        "localhost": x509.DNSName("localhost"),
        "127.0.0.1": x509.IPAddress(ip_address("127.0.0.1")),
        "::1": x509.IPAddress(ip_address("::1")),
    }
    policy = PolicyBuilder().store(Store([root])).time(NOW)
    assert policy.build_server_verifier(names[name]).verify(leaf, chain)[-1] == root
    with pytest.raises(VerificationError):
        policy.build_server_verifier(x509.DNSName("node.hangzhou.example")).verify(leaf, chain)


def test_server_certificate_is_no_client_certificate(pki: Path) -> None:
    with pytest.raises(VerificationError):
        verify_client(pki, pki / "server.pem")


def test_issuing_authority_may_issue_leaves_only(pki: Path) -> None:
    root, issuing = certificates(pki / "ca.pem")
    root.verify_directly_issued_by(root)
    issuing.verify_directly_issued_by(root)
    constraints = issuing.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)


def test_private_keys_are_readable_by_their_owner_alone(pki: Path) -> None:
    keys = list(pki.rglob("*.key"))
    assert len(keys) == len(CLIENTS) + 1 + 3
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}


def test_no_key_of_an_authority_is_written(pki: Path) -> None:
    authorities = [certificate.public_key() for certificate in certificates(pki / "ca.pem")]
    for path in pki.rglob("*.key"):
        certificate = path.with_suffix(".pem")
        assert certificates(certificate)[0].public_key() not in authorities
        ssl.create_default_context().load_cert_chain(certificate, path)  # refuses a key that does not fit


def test_expired_certificate_is_refused(pki: Path) -> None:
    with pytest.raises(VerificationError):
        verify_client(pki, pki / "bad" / "expired.pem")
    leaf = certificates(pki / "bad" / "expired.pem")[0]
    leaf.verify_directly_issued_by(certificates(pki / "ca.pem")[1])
    assert leaf.not_valid_after_utc < NOW


def test_foreign_certificate_with_a_client_name_is_refused(pki: Path) -> None:
    with pytest.raises(VerificationError):
        verify_client(pki, pki / "bad" / "foreign.pem")
    leaf = certificates(pki / "bad" / "foreign.pem")[0]
    leaf.verify_directly_issued_by(certificates(pki / "bad" / "foreign-ca.pem")[0])
    with pytest.raises((InvalidSignature, ValueError)):
        leaf.verify_directly_issued_by(certificates(pki / "ca.pem")[1])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName)[0] in CLIENTS.values()


def test_unregistered_certificate_is_trusted_but_names_nobody(pki: Path) -> None:
    verified = verify_client(pki, pki / "bad" / "unregistered.pem")
    assert verified.subjects is not None
    assert [name.value for name in verified.subjects if name.value in CLIENTS.values()] == []
