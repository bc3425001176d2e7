from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from app.identity import keys
from app.identity.keys import KeyInvalid

FILES = {
    "token.pem",
    "receipt.pem",
    "log.pem",
    "seal.key",
    "index.key",
    "account.key",
    "fingerprint.key",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.create(tmp_path / "keys")
    return tmp_path / "keys"


def rewrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def test_empty_folder_holds_no_keys(tmp_path: Path) -> None:
    with pytest.raises(KeyInvalid, match="keys --init"):
        keys.load(tmp_path)


def test_every_key_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    assert set(keys.create(tmp_path / "deep" / "keys")) == FILES
    folder = tmp_path / "deep" / "keys"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == FILES
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert keys.create(folder) == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_only_missing_keys_are_made(folder: Path) -> None:
    kept = (folder / "seal.key").read_bytes()
    (folder / "token.pem").unlink()
    assert keys.create(folder) == ["token.pem"]
    assert (folder / "seal.key").read_bytes() == kept


def test_loaded_keys_are_distinct(folder: Path) -> None:
    """One key for one use: whoever learns the index key must not open salts."""
    loaded = keys.load(folder)
    secrets = {loaded.seal, loaded.index, loaded.account, loaded.fingerprint}
    assert len(secrets) == 4
    assert {len(secret) for secret in secrets} == {32}
    assert loaded.token.private_numbers() != loaded.receipt.private_numbers()


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_key_that_others_may_read_is_refused(folder: Path, name: str, mode: int) -> None:
    (folder / name).chmod(mode)
    with pytest.raises(KeyInvalid, match=rf"{name} is open to others \(mode {mode:04o}\): chmod 600"):
        keys.load(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_missing_key_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(KeyInvalid, match=rf"{name}: No such file"):
        keys.load(folder)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize(
    "content", [b"", b"no key", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_file_that_holds_no_key_is_named(folder: Path, name: str, content: bytes) -> None:
    rewrite(folder / name, content)
    with pytest.raises(KeyInvalid, match=name):
        keys.load(folder)


@pytest.mark.parametrize("name", ["token.pem", "receipt.pem", "log.pem"])
def test_key_of_another_kind_is_refused(folder: Path, name: str) -> None:
    for other in (rsa.generate_private_key(65_537, 2_048), ec.generate_private_key(ec.SECP384R1())):
        rewrite(folder / name, other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with pytest.raises(KeyInvalid, match=f"{name} must hold"):
            keys.load(folder)


@pytest.mark.parametrize("name", ["token.pem", "receipt.pem", "log.pem"])
def test_encrypted_key_is_refused(folder: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    rewrite(folder / name, encrypted)
    with pytest.raises(KeyInvalid, match=f"{name} must hold a private key in PEM, not encrypted"):
        keys.load(folder)


@pytest.mark.parametrize("name", ["seal.key", "index.key", "account.key", "fingerprint.key"])
@pytest.mark.parametrize("content", [b"00" * 31, b"00" * 33, b"zz" * 32, b"0" * 63])
def test_secret_of_another_length_is_refused(folder: Path, name: str, content: bytes) -> None:
    rewrite(folder / name, content)
    with pytest.raises(KeyInvalid, match="hexadecimal digits"):
        keys.load(folder)


def test_keys_are_not_shown_by_mistake(folder: Path) -> None:
    loaded = keys.load(folder)
    shown = repr(loaded)
    assert "seal" not in shown
    assert repr(loaded.seal) not in shown
