"""Rotation: whatever was signed stays verifiable, and a node starts wherever the command was killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.keys import key_history, rotation
from app.keys import node_keys as keys
from app.keys.key_files import KeyInvalid
from app.keys.node_keys import NodeKeys, published
from evidence.errors import SignatureNotVerified
from evidence.jwk import thumbprint, valid_keys_from_jwks
from evidence.receipt import ReceiptSigner, payload, verify_receipt
from evidence.record import seal

ROOT = Path(__file__).parents[4]
NOW = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
WITHIN = timedelta(minutes=10)
LIFETIME = timedelta(minutes=10)
USES = ("token", "receipt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.create(tmp_path / "keys")
    return tmp_path / "keys"


def kid(loaded: NodeKeys, use: str) -> str:
    return thumbprint(getattr(loaded, use).public_key())


def receipt(loaded: NodeKeys, at: datetime) -> str:
    """A receipt of an instance that runs with these keys, dated at this moment."""
    record = seal({"kind": "token", "id": "token-0000000001", "at": "2026-11-22T00:00:00Z"}, {}, bytes(32)).body
    signer = ReceiptSigner(loaded.receipt, kid(loaded, "receipt"))
    issued = int(at.timestamp())
    return signer.sign(payload(issuer="https://n", issued_at=issued, record=record, origin="o", index=0, openings={}))


def verified(folder: Path, jws: str) -> str:
    """The key that a verifier with today's JWK set finds the receipt signed by."""
    return verify_receipt(jws, valid_keys_from_jwks(published(keys.load(folder), LIFETIME, NOW))).kid


def test_nothing_is_rotated_that_was_not_prepared(folder: Path) -> None:
    before = keys.load(folder)
    with pytest.raises(KeyInvalid, match=r"no key was prepared for receipt: .*--prepare.*; or --now, and whoever"):
        rotation.rotate(folder, "receipt", NOW, NOW + WITHIN)
    with pytest.raises(KeyInvalid, match="no key was prepared for receipt"):
        rotation.commit(folder, "receipt", NOW, NOW + WITHIN)
    assert kid(keys.load(folder), "receipt") == kid(before, "receipt")


@pytest.mark.parametrize("use", USES)
def test_prepared_key_is_published_and_signs_nothing(folder: Path, use: str) -> None:
    before = keys.load(folder)
    prepared, is_new = rotation.prepare(folder, use)
    loaded = keys.load(folder)
    following = getattr(loaded, f"{use}_next")
    assert (thumbprint(following), is_new) == (prepared, True)
    assert kid(loaded, use) == kid(before, use)
    (entry,) = (key for key in published(loaded, LIFETIME, NOW)["keys"] if key["kid"] == prepared)
    assert entry["hecha_use"] == use
    assert entry.keys().isdisjoint({"hecha_from", "hecha_until", "d"})
    assert rotation.prepare(folder, use) == (prepared, False)


@pytest.mark.parametrize("use", USES)
def test_prepared_key_becomes_current_and_the_former_one_is_destroyed(folder: Path, use: str) -> None:
    before = keys.load(folder)
    prepared, _ = rotation.prepare(folder, use)
    done = rotation.rotate(folder, use, NOW, NOW + WITHIN)
    loaded = keys.load(folder)
    assert (done.kid, done.former.kid, done.was_begun) == (prepared, kid(before, use), False)
    assert (kid(loaded, use), getattr(loaded, f"{use}_next"), getattr(loaded, f"{use}_from")) == (prepared, None, NOW)
    (past,) = loaded.history
    assert (past.use, past.kid, past.valid_until) == (use, kid(before, use), NOW + WITHIN)
    assert past.valid_from == getattr(before, f"{use}_from")
    other = next(name for name in USES if name != use)
    assert kid(loaded, other) == kid(before, other)
    assert not (folder / f"{use}-next.pem").exists()
    private = getattr(before, use).private_numbers().private_value.to_bytes(32, "big")
    assert not any(private in path.read_bytes() for path in folder.iterdir())


def test_unprepared_key_is_made_on_the_spot_when_asked_for(folder: Path) -> None:
    before = keys.load(folder)
    done = rotation.rotate(folder, "token", NOW, NOW, unprepared=True)
    assert done.kid == kid(keys.load(folder), "token") != kid(before, "token")


def test_keys_of_unknown_age_are_rotated_too(folder: Path) -> None:
    (folder / "key-history.json").unlink()
    rotation.rotate(folder, "receipt", NOW, NOW + WITHIN, unprepared=True)
    loaded = keys.load(folder)
    assert [(past.use, past.valid_from) for past in loaded.history] == [("receipt", None)]
    assert (loaded.receipt_from, loaded.token_from) == (NOW, None)


def test_receipts_of_every_former_key_verify_for_good(folder: Path) -> None:
    kept = []
    for month in range(12):
        at = NOW + timedelta(days=30 * month)
        kept.append((kid(keys.load(folder), "receipt"), receipt(keys.load(folder), at - timedelta(days=1))))
        rotation.rotate(folder, "receipt", at, at + WITHIN, unprepared=True)
    assert [verified(folder, jws) for _, jws in kept] == [name for name, _ in kept]
    assert len({name for name, _ in kept}) == 12


def test_receipt_of_a_former_key_dated_after_its_end_is_forged(folder: Path) -> None:
    """The thief of a former key can date nothing into the time after it."""
    stolen = keys.load(folder)
    rotation.rotate(folder, "receipt", NOW, NOW + WITHIN, unprepared=True)
    end = NOW + WITHIN
    for late in (0, 60):
        assert verified(folder, receipt(stolen, end + timedelta(seconds=late))) == kid(stolen, "receipt")
    with pytest.raises(SignatureNotVerified, match=r"forged: .* a key that the node retired at 20..-..-..T..:..:..Z"):
        verified(folder, receipt(stolen, end + timedelta(seconds=61)))


def test_receipt_dated_before_its_key_was_used_is_refused(folder: Path) -> None:
    rotation.rotate(folder, "receipt", NOW, NOW + WITHIN, unprepared=True)
    loaded = keys.load(folder)
    assert verified(folder, receipt(loaded, NOW - timedelta(seconds=60))) == kid(loaded, "receipt")
    with pytest.raises(SignatureNotVerified, match=r"dated before .*, when the node began to use the key"):
        verified(folder, receipt(loaded, NOW - timedelta(seconds=61)))


def copies(name: str) -> Iterator[str]:
    yield f"{name}.pem"
    yield f"{name}-next.pem"


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_node_starts_after_every_step_and_the_next_run_finishes(folder: Path, use: str, steps: int) -> None:
    before = keys.load(folder)
    rotation.prepare(folder, use)
    following = thumbprint(getattr(keys.load(folder), f"{use}_next"))
    if steps >= 1:
        rotation.commit(folder, use, NOW, NOW + WITHIN)
    if steps == 2:
        rotation.settle(folder, use)
    loaded = keys.load(folder)
    assert kid(loaded, use) == (kid(before, use), following, following)[steps]
    assert len(loaded.history) == min(steps, 1)
    assert keys.create(folder) == []
    if steps == 1:
        assert not (set(copies(use)) - {path.name for path in folder.iterdir()}), "the former file is still there"
    if steps < 2:
        done = rotation.rotate(folder, use, NOW, NOW + WITHIN)
        assert (done.kid, done.was_begun) == (following, steps == 1)
    assert kid(keys.load(folder), use) == following
    assert len(keys.load(folder).history) == 1


def test_preparing_after_an_interrupted_rotation_finishes_that_first(folder: Path) -> None:
    rotation.prepare(folder, "token")
    rotation.commit(folder, "token", NOW, NOW + WITHIN)
    current = kid(keys.load(folder), "token")
    prepared, is_new = rotation.prepare(folder, "token")
    loaded = keys.load(folder)
    assert (kid(loaded, "token"), is_new, prepared != current) == (current, True, True)


def test_module_follows_file_without_a_moment_in_between(folder: Path) -> None:
    """Moving into a hardware module: at no step are both kinds there under one name."""
    rotation.prepare(folder, "token")
    following = keys.load(folder).token_next
    rotation.commit(folder, "token", NOW, NOW + WITHIN)
    # The move is of names alone, so a file that says nothing can stand for the module's URI.
    (folder / "token-next.pem").rename(folder / "token-next.uri")
    seen = []
    real = os.unlink

    def unlinked(path: os.PathLike[str]) -> None:
        real(path)
        seen.append({entry.name for entry in folder.iterdir() if entry.name.startswith("token")})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: unlinked(path))
        rotation.settle(folder, "token")
    assert following is not None
    assert seen == [{"token-next.uri"}]
    assert {entry.name for entry in folder.iterdir() if entry.name.startswith("token")} == {"token.uri"}


def test_next_key_that_was_retired_or_is_current_is_refused(folder: Path) -> None:
    shutil.copy(folder / "token.pem", folder / "token-next.pem")
    with pytest.raises(KeyInvalid, match=r"token-next\.pem is the current key once more: remove it"):
        keys.load(folder)
    former = (folder / "token-next.pem").rename(folder.parent / "former.pem")
    rotation.rotate(folder, "token", NOW, NOW + WITHIN, unprepared=True)
    shutil.copy(former, folder / "token-next.pem")
    with pytest.raises(KeyInvalid, match=r"token-next\.pem was retired on 20..-..-..: remove it"):
        keys.load(folder)


def test_key_that_was_moved_aside_by_hand_is_put_back(folder: Path) -> None:
    before = kid(keys.load(folder), "token")
    (folder / "token.pem").rename(folder / "token-next.pem")
    assert kid(keys.load(folder), "token") == before
    with pytest.raises(KeyInvalid, match="it is put back: run again"):
        rotation.rotate(folder, "token", NOW, NOW + WITHIN, unprepared=True)
    assert (folder / "token.pem").exists()
    assert kid(keys.load(folder), "token") == before


def test_clock_of_the_history_counts_whole_seconds(folder: Path) -> None:
    rotation.rotate(folder, "token", NOW + timedelta(microseconds=999_999), NOW + WITHIN, unprepared=True)
    assert keys.load(folder).token_from == NOW
    assert key_history.read(folder).past[0].valid_until == NOW + WITHIN


# Ends the process at the n-th call that changes the folder, as a power cut would, and says whether there was one.
KILLED = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from app.keys import rotation

left = int(sys.argv[3])
def counted(real):
    def call(*arguments, **named):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return real(*arguments, **named)
    return call

for name in ("open", "fsync", "fdopen"):
    setattr(os, name, counted(getattr(os, name)))
for name in ("replace", "unlink"):
    setattr(Path, name, counted(getattr(Path, name)))
now = datetime.fromisoformat(sys.argv[4])
rotation.rotate(Path(sys.argv[1]), sys.argv[2], now, now + timedelta(minutes=10), unprepared=True)
"""


def test_node_starts_wherever_rotation_is_killed(folder: Path, tmp_path: Path) -> None:
    """Killed before each single call that changes the disk, until it runs through."""
    before, at = keys.load(folder), NOW.isoformat()
    codes: list[int] = []
    while not codes or codes[-1] == 9:
        copy = Path(shutil.copytree(folder, tmp_path / f"killed-{len(codes)}"))
        command = [sys.executable, "-c", KILLED, str(copy), "receipt", str(len(codes)), at]
        codes.append(subprocess.run(command, cwd=ROOT, check=False).returncode)
        loaded = keys.load(copy)
        is_rotated = kid(loaded, "receipt") != kid(before, "receipt")
        assert len(loaded.history) == int(is_rotated)
        old = receipt(before, NOW - timedelta(days=1))
        new = receipt(loaded, NOW + timedelta(days=1))
        assert {verified(copy, jws) for jws in (old, new)} == {kid(before, "receipt"), kid(loaded, "receipt")}
        done = rotation.rotate(copy, "receipt", NOW, NOW + WITHIN, unprepared=True)
        assert len(keys.load(copy).history) == (2 if is_rotated and not done.was_begun else 1)
    assert codes[-1] == 0
    assert len(codes) > 8
