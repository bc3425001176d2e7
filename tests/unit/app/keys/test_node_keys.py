"""The node's keys: each is made once, loaded only as what it should be, and published with its use and its time."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from app.keys import key_history
from app.keys import node_keys as keys
from app.keys.node_keys import KeyInvalid, published
from evidence.jwk import dated_keys, keys_from_jwks, thumbprint, valid_keys_from_jwks

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
LIFETIME = timedelta(minutes=10)
FILES = {
    "token.pem",
    "receipt.pem",
    "log.pem",
    "seal.key",
    "index.key",
    "account.key",
    "fingerprint.key",
}
HISTORY = "key-history.json"


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
    with pytest.raises(KeyInvalid, match="absent: No such file or directory; `python -m app keys --init`"):
        keys.load(tmp_path / "absent")


def test_every_key_is_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    assert set(keys.create(tmp_path / "deep" / "keys")) == {*FILES, HISTORY}
    folder = tmp_path / "deep" / "keys"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before.keys() == {*FILES, HISTORY, ".lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert keys.create(folder) == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_only_missing_keys_are_made(folder: Path) -> None:
    kept = (folder / "seal.key").read_bytes()
    (folder / "token.pem").unlink()
    assert keys.create(folder) == ["token.pem", HISTORY]
    assert (folder / "seal.key").read_bytes() == kept


def test_key_that_was_lost_is_retired_when_its_successor_is_made(folder: Path) -> None:
    lost = keys.load(folder).receipt.public_key()
    (folder / "receipt.pem").unlink()
    keys.create(folder)
    loaded = keys.load(folder)
    (past,) = loaded.history
    assert (past.use, past.kid) == ("receipt", thumbprint(lost))
    assert past.valid_until == loaded.receipt_from
    assert valid_keys_from_jwks(published(loaded, LIFETIME, NOW)).keys() == {past.kid, kid(loaded.receipt)}


def kid(key: ec.EllipticCurvePrivateKey) -> str:
    return thumbprint(key.public_key())


def test_new_keys_are_known_to_be_used_since_now(folder: Path) -> None:
    loaded = keys.load(folder)
    assert loaded.token_from == loaded.receipt_from is not None
    assert timedelta(0) <= datetime.now(UTC) - loaded.receipt_from < timedelta(minutes=1)
    assert (loaded.history, loaded.token_next, loaded.receipt_next) == ((), None, None)


def test_folder_without_a_history_has_keys_of_unknown_age(folder: Path) -> None:
    (folder / HISTORY).unlink()
    loaded = keys.load(folder)
    assert (loaded.token_from, loaded.receipt_from, loaded.history) == (None, None, ())
    assert keys.create(folder) == []
    members = {"kty", "crv", "x", "y", "alg", "use", "kid", "hecha_use"}
    assert [key.keys() for key in published(loaded, LIFETIME, NOW)["keys"]] == [members, members]


def test_key_that_was_exchanged_by_hand_is_refused_until_the_former_is_given_up(folder: Path, tmp_path: Path) -> None:
    """Else the former one's public half would be gone, and with it every receipt that it signed."""
    keys.create(tmp_path / "other")
    before = keys.load(folder).receipt
    (tmp_path / "other" / "receipt.pem").rename(folder / "receipt.pem")
    with pytest.raises(KeyInvalid, match=r"receipt\.pem is not the key that key-history\.json has as current"):
        keys.load(folder)
    assert keys.create(folder) == [HISTORY]
    assert [past.kid for past in keys.load(folder).history] == [kid(before)]


def test_key_that_was_retired_does_not_come_back(folder: Path) -> None:
    former = (folder / "receipt.pem").read_bytes()
    (folder / "receipt.pem").unlink()
    keys.create(folder)
    rewrite(folder / "receipt.pem", former)
    with pytest.raises(KeyInvalid, match=r"receipt\.pem was retired on 20..-..-..: restore the key that followed"):
        keys.load(folder)


def test_one_key_for_tokens_and_receipts_is_refused(folder: Path) -> None:
    """Whoever steals it from one use must not gain the other."""
    (folder / HISTORY).unlink()
    rewrite(folder / "receipt.pem", (folder / "token.pem").read_bytes())
    with pytest.raises(KeyInvalid, match="one key signs both tokens and receipts"):
        keys.load(folder)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_folder_that_others_can_write_is_refused(folder: Path, mode: int) -> None:
    """They could put a key of their own into it."""
    folder.chmod(mode)
    for action in (keys.load, keys.create):
        with pytest.raises(KeyInvalid, match=rf"keys can be written by others \(mode {mode:04o}\)"):
            action(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_key_of_another_user_is_refused(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(folder / name, 4_321, -1)
        for path in [folder, *(path for path in folder.iterdir() if path.name != name)]:
            os.chown(path, 1_234, -1)
        monkeypatch.setattr(os, "geteuid", lambda: 1_234)
        with pytest.raises(KeyInvalid, match=rf"{name} belongs to user 4321: chown it to user 1234"):
            keys.load(folder)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 1_234)
        with pytest.raises(KeyInvalid, match="belongs to user"):
            keys.load(folder)


@pytest.mark.parametrize("name", sorted(FILES))
def test_key_may_be_a_link_into_a_folder_that_only_the_owner_writes(folder: Path, name: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "secrets"
    elsewhere.mkdir(mode=0o700)
    (folder / name).rename(elsewhere / name)
    (folder / name).symlink_to(elsewhere / name)
    keys.load(folder)
    elsewhere.chmod(0o777)
    with pytest.raises(KeyInvalid, match="secrets can be written by others"):
        keys.load(folder)


def test_published_keys_say_what_for_and_since_when(folder: Path) -> None:
    loaded = keys.load(folder)
    document = published(loaded, LIFETIME, NOW)
    assert [key["hecha_use"] for key in document["keys"]] == ["token", "receipt"]
    assert keys_from_jwks(document).keys() == {kid(loaded.receipt)}
    assert dated_keys(document, "token")[kid(loaded.token)].valid_from == loaded.token_from


def test_former_token_key_is_published_until_its_last_token_has_run_out(folder: Path) -> None:
    history = key_history.read(folder)
    following = ec.generate_private_key(ec.SECP256R1())
    key_history.write(folder, history.begun("token", following.public_key(), NOW, NOW))
    former = kid(keys.read_signing_key(folder / "token.pem"))
    encoded = following.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    rewrite(folder / "token.pem", encoded)
    loaded = keys.load(folder)
    last = NOW + LIFETIME + timedelta(seconds=60)
    for moment, expected in ((NOW, True), (last, True), (last + timedelta(seconds=1), False)):
        assert (former in dated_keys(published(loaded, LIFETIME, moment), "token")) is expected


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
