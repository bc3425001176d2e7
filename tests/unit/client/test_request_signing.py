"""What a client signs is the whole question, by the key that it names, under a nonce of its own each time."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from client.__main__ import main
from client.http import NodeClient
from client.request_signing import RequestSigner
from client.signing import KeyInvalid
from evidence.jwk import thumbprint
from evidence.signed_request import COMPONENTS, SignedRequest, certificate_thumbprint, verify
from tests.unit.client.servers import Asked, HttpsServer
from tests.unit.client.test_http import connect
from tests.unit.evidence.issuer import QUESTION, SERVICE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.client.pki import Pki

P256 = ec.derive_private_key(41, ec.SECP256R1())
URL = f"https://node.example/v1/services/{SERVICE}/verifications"
FIELDS = {"Content-Type": "application/json", "Authorization": "Bearer good"}
BODY = orjson.dumps(QUESTION)


def pem(folder: Path, key: Any = P256, password: bytes | None = None) -> Path:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    path = folder / f"{type(key).__name__}-{getattr(key, 'key_size', 0)}-{password is None}.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


def evidence(fields: dict[str, str], url: str = URL, body: bytes = BODY, **holder: Any) -> SignedRequest:
    """The signed request as a node takes it down, its base written by hand."""
    signature_input = fields["signature-input"].removeprefix("hecha=")
    signature = re.fullmatch(r"hecha=:([A-Za-z0-9+/=]+):", fields["signature"])
    assert signature is not None
    values = {"@method": "POST", "@target-uri": url} | fields
    names = re.findall(r'"([^"]+)"', signature_input.partition(")")[0])
    lines = [*(f'"{name}": {values[name]}' for name in names), f'"@signature-params": {signature_input}']
    made = SignedRequest(signature_input, b64decode(signature[1]), "\n".join(lines).encode(), body, **holder)
    made.check()
    return made


def lower(fields: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in fields.items()}


def signed(signer: RequestSigner, **more: str) -> dict[str, str]:
    return lower(signer.signed("POST", URL, FIELDS | more, BODY))


def test_signature_covers_the_whole_question(tmp_path: Path) -> None:
    signer = RequestSigner.of_key(pem(tmp_path))
    fields = signed(signer)
    made = evidence(fields, key=P256.public_key())
    assert made.components == COMPONENTS
    assert fields["content-digest"] == f"sha-256=:{b64encode(sha256(BODY).digest()).decode()}:"
    assert made.parameters.keys() == {"created", "keyid", "alg", "nonce", "tag"}
    assert made.keyid == thumbprint(P256.public_key())
    assert 16 <= len(made.parameters["nonce"]) <= 128
    assert abs(made.parameters["created"] - datetime.now(UTC).timestamp()) < 60
    assert {name: fields[name] for name in lower(FIELDS)} == lower(FIELDS)


def test_idempotency_key_is_covered_where_there_is_one(tmp_path: Path) -> None:
    fields = signed(RequestSigner.of_key(pem(tmp_path)), **{"Idempotency-Key": "key-1"})
    assert evidence(fields, key=P256.public_key()).components == (*COMPONENTS, "idempotency-key")


def test_no_two_signatures_have_one_nonce(tmp_path: Path) -> None:
    signer = RequestSigner.of_key(pem(tmp_path))
    nonces = {evidence(signed(signer), key=P256.public_key()).parameters["nonce"] for _ in range(50)}
    assert len(nonces) == 50


def test_fields_that_are_handed_over_are_left_as_they_were(tmp_path: Path) -> None:
    before = dict(FIELDS)
    RequestSigner.of_key(pem(tmp_path)).signed("POST", URL, before, BODY)
    assert before == FIELDS


def test_key_is_never_shown(tmp_path: Path) -> None:
    assert "PrivateKey" not in repr(RequestSigner.of_key(pem(tmp_path)))


KEYS: dict[str, Any] = {
    "P-256": P256,
    "P-384": ec.derive_private_key(42, ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA": rsa.generate_private_key(65_537, 2_048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_key_of_a_certificate_signs(tmp_path: Path, kind: str) -> None:
    key = KEYS[kind]
    certificate = self_signed(key)
    (tmp_path / "client.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    signer = RequestSigner.of_certificate(tmp_path / "client.pem", pem(tmp_path, key))
    der = certificate.public_bytes(Encoding.DER)
    made = evidence(signed(signer), certificate=der)
    assert made.keyid == signer.keyid == certificate_thumbprint(der)
    verify(key.public_key(), made.signature, made.base)


def self_signed(key: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(end)
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def test_key_of_another_certificate_is_refused(tmp_path: Path, pki: Pki) -> None:
    with pytest.raises(KeyInvalid, match="is not the key of"):
        RequestSigner.of_certificate(pki.client.certificate, pki.server.key)
    with pytest.raises(KeyInvalid, match="holds no certificate"):
        RequestSigner.of_certificate(pki.client.key, pki.client.key)
    with pytest.raises(KeyInvalid, match="must hold a private key"):
        RequestSigner.of_certificate(pki.client.certificate, pki.client.certificate)


@pytest.mark.parametrize("kind", ["P-384", "Ed25519", "RSA"])
def test_no_other_key_than_p256_is_registered_for_signing(tmp_path: Path, kind: str) -> None:
    with pytest.raises(KeyInvalid, match="must hold a P-256 key"):
        RequestSigner.of_key(pem(tmp_path, KEYS[kind]))


@pytest.mark.parametrize(
    "key",
    [
        ec.derive_private_key(43, ec.SECP521R1()),
        rsa.generate_private_key(65_537, 1_024),
        dsa.generate_private_key(1_024),
    ],
)
def test_key_that_signs_no_requests_is_refused(tmp_path: Path, key: Any) -> None:
    with pytest.raises(KeyInvalid, match="cannot be used: Requests are signed with"):
        RequestSigner.of_key(pem(tmp_path, key))


def test_key_with_a_password_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyInvalid, match="without a password"):
        RequestSigner.of_key(pem(tmp_path, password=b"secret"))
    (tmp_path / "garbage.pem").write_bytes(b"garbage")
    with pytest.raises(KeyInvalid, match="in PEM"):
        RequestSigner.of_key(tmp_path / "garbage.pem")
    with pytest.raises(OSError, match="nothing"):
        RequestSigner.of_key(tmp_path / "nothing.pem")


def sent(server: HttpsServer, client: NodeClient, key: str | None = None) -> Asked:
    assert client.ask(SERVICE, QUESTION, key).status == 200
    return server.asked[-1]


def test_client_signs_every_question_with_the_key_of_its_certificate(server: HttpsServer, pki: Pki) -> None:
    der = x509.load_pem_x509_certificate(pki.client.certificate.read_bytes()).public_bytes(Encoding.DER)
    with connect(server.url, pki, sign=True) as client:
        for key in (None, "key-1"):
            asked = sent(server, client, key)
            made = evidence(asked.headers, server.url + asked.path, asked.body, certificate=der)
            assert ("idempotency-key" in made.components) == (key is not None)


def test_client_signs_with_a_key_beside_its_certificate(server: HttpsServer, pki: Pki, tmp_path: Path) -> None:
    with connect(server.url, pki, signing_key=pem(tmp_path)) as client:
        asked = sent(server, client)
    evidence(asked.headers, server.url + asked.path, asked.body, key=P256.public_key())


def test_client_signs_nothing_else(server: HttpsServer, pki: Pki) -> None:
    with connect(server.url, pki, sign=True) as client:
        client.post("/v1/applications", {})
        client.get("/v1/services")
    with connect(server.url, pki) as client:
        sent(server, client)
    assert not any("signature" in asked.headers or "content-digest" in asked.headers for asked in server.asked)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://Node.Example", "https://node.example"),
        ("https://node.example:443", "https://node.example"),
        ("https://node.example:8443", "https://node.example:8443"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]"),
    ],
)
def test_target_is_written_without_the_port_that_https_has(pki: Pki, url: str, target: str) -> None:
    with connect(url, pki, sign=True) as client:
        assert client._target == target


def test_signing_key_that_cannot_sign_makes_no_client(pki: Pki, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold a P-256 key"):
        connect("https://node.example", pki, signing_key=pem(tmp_path, KEYS["RSA"]))


@pytest.mark.parametrize("how", ["--sign", "--signing-key"])
def test_command_signs_its_question(server: HttpsServer, pki: Pki, tmp_path: Path, how: str) -> None:
    (tmp_path / "question.json").write_bytes(BODY)
    arguments = [
        "ask",
        SERVICE,
        "--question",
        str(tmp_path / "question.json"),
        "--save",
        str(tmp_path / "kept.ndjson"),
    ]
    arguments += ["--url", server.url, "--ca", str(pki.ca), "--client-id", "hz-hrss-benefits"]
    arguments += ["--certificate", str(pki.client.certificate), "--key", str(pki.client.key)]
    arguments += [how] if how == "--sign" else [how, str(pem(tmp_path))]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    (asked,) = [one for one in server.asked if one.path.endswith("/verifications")]
    der = x509.load_pem_x509_certificate(pki.client.certificate.read_bytes()).public_bytes(Encoding.DER)
    holder: dict[str, Any] = {"certificate": der} if how == "--sign" else {"key": P256.public_key()}
    evidence(asked.headers, server.url + asked.path, asked.body, **holder)


def test_command_says_what_is_wrong_with_the_key(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "question.json").write_bytes(BODY)
    arguments = ["ask", SERVICE, "--question", str(tmp_path / "question.json"), "--url", "https://127.0.0.1:1"]
    arguments += ["--ca", str(pki.ca), "--client-id", "x", "--certificate", str(pki.client.certificate)]
    arguments += ["--key", str(pki.client.key), "--signing-key", str(pem(tmp_path, KEYS["RSA"]))]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, "must hold a P-256 key" in result.output) == (2, True)
