from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from client.__main__ import main
from client.signing import KeyInvalid, accept, accepted_by, read_document, read_private_key, read_public_key
from evidence import jws
from evidence.canonical import NotCanonical, canonical
from evidence.errors import NotVerified
from evidence.jwk import thumbprint

KEY = ec.generate_private_key(ec.SECP256R1())
AGREEMENT: dict[str, Any] = {
    "agreement": "hz-hrss-employment-status-unemployment-benefit",
    "legal_basis": "失业保险条例 第十五条",
    "batch": {"rows": 20_000},
}
CONTENT = canonical(AGREEMENT)


def pem(key: Any, protection: KeySerializationEncryption | None = None) -> bytes:
    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption())
    return content


def never() -> bytes:
    raise AssertionError("no password is needed")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "agreement.json").write_text(json.dumps(AGREEMENT, indent=2, ensure_ascii=False), "utf-8")
    (tmp_path / "dept.key").write_bytes(pem(KEY))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "dept.pub").write_bytes(public)
    return tmp_path


def run(folder: Path, *arguments: str, key: str = "dept.key", text: str | None = None) -> Result:
    call = ["sign", str(folder / "agreement.json"), "--key", str(folder / key), *arguments]
    return CliRunner().invoke(main, call, input=text)


def test_command_prints_digest_and_a_signature_that_the_node_accepts(files: Path) -> None:
    result = run(files)
    digest, signature = result.output.splitlines()
    assert result.exit_code == 0
    assert digest == "sha256-" + hashlib.sha256(CONTENT).hexdigest()
    keys = {thumbprint(KEY.public_key()): KEY.public_key()}
    assert jws.verify(signature, keys, jws.AGREEMENT, payload=CONTENT).payload == CONTENT


@pytest.mark.parametrize("key", ["dept.key", "dept.pub"])
def test_command_verifies_with_either_half_of_the_key(files: Path, key: str) -> None:
    signature = run(files).output.splitlines()[1]
    result = run(files, "--verify", signature, key=key)
    assert result.exit_code == 0
    assert f"signed by {thumbprint(KEY.public_key())}" in result.output


def test_command_refuses_a_signature_over_another_document(files: Path) -> None:
    signature = run(files).output.splitlines()[1]
    (files / "agreement.json").write_text(json.dumps({**AGREEMENT, "batch": {"rows": 20_001}}))
    result = run(files, "--verify", signature)
    assert result.exit_code == 1
    assert "forged or altered" in result.output


def test_command_refuses_a_signature_by_another_key(files: Path) -> None:
    signature = run(files).output.splitlines()[1]
    (files / "dept.key").write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    result = run(files, "--verify", signature)
    assert result.exit_code == 1
    assert "not trusted" in result.output


def test_public_key_signs_nothing(files: Path) -> None:
    result = run(files, key="dept.pub")
    assert result.exit_code == 2
    assert "must hold a P-256 private key" in result.output


def test_password_is_asked_where_the_key_is_encrypted(files: Path) -> None:
    (files / "dept.key").write_bytes(pem(KEY, BestAvailableEncryption(b"correct horse")))
    result = run(files, text="correct horse\n")
    assert result.exit_code == 0
    assert "correct horse" not in result.output
    wrong = run(files, text="battery staple\n")
    assert wrong.exit_code == 2
    assert "the password must be its own" in wrong.output


def test_file_that_is_no_agreement_is_wrong_usage(files: Path) -> None:
    (files / "agreement.json").write_text('{"items": []}')
    result = run(files)
    assert result.exit_code == 2
    assert "it is no agreement" in result.output


def test_spaces_and_order_do_not_matter() -> None:
    one = read_document(json.dumps(AGREEMENT, indent=3).encode())
    other = read_document(json.dumps(dict(reversed(AGREEMENT.items())), ensure_ascii=False).encode())
    assert one == other == read_document(CONTENT)
    assert one.content == CONTENT


BAD = {
    "empty": b"",
    "no JSON": b"agreement: x",
    "list": b"[]",
    "without an id": b"{}",
    "id no text": b'{"agreement": 1}',
    "member twice": b'{"agreement": "a", "fold": true, "fold": false}',
    "member twice deep down": b'{"agreement": "a", "budget": {"bits": 1, "bits": 2}}',
    "fraction": b'{"agreement": "a", "budget": {"bits": 1.5}}',
    "not a number": b'{"agreement": "a", "budget": NaN}',
    "half a character": b'{"agreement": "a", "legal_basis": "\\ud800"}',
    "endless depth": b'{"agreement": ' + b"[" * 100_000,
    "not UTF-8": b'{"agreement": "\xff"}',
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_document_that_has_no_one_meaning_is_not_signed(content: bytes) -> None:
    with pytest.raises(NotCanonical):
        read_document(content)


def test_signature_says_the_same_wherever_it_is_kept() -> None:
    document = read_document(CONTENT)
    signature = accept(document, KEY)
    assert accept(document, KEY) == signature
    assert accepted_by(document, f"  {signature}\n", KEY.public_key()) == thumbprint(KEY.public_key())
    with pytest.raises(NotVerified):
        accepted_by(document, jws.sign(KEY, jws.AGREEMENT, CONTENT), KEY.public_key())


WRONG_KEYS = {
    "no PEM": b"key",
    "another curve": pem(ec.generate_private_key(ec.SECP384R1())),
    "Ed25519": pem(ed25519.Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize("content", WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
def test_key_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(KeyInvalid):
        read_private_key(content, never)
    with pytest.raises(KeyInvalid):
        read_public_key(content, never)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_public_key_of_another_kind_is_refused(key: Any) -> None:
    content = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(KeyInvalid):
        read_public_key(content, never)
    with pytest.raises(KeyInvalid):
        read_public_key(content.replace(b"M", b"N"), never)
