"""The history of keys is read strictly: what it says decides which key signs, and what is verified for good."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.keys import key_history
from app.keys.key_files import KeyInvalid
from app.keys.key_history import KeyHistory
from evidence.jwk import MAX_KEYS, ValidKey, thumbprint

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
KEYS = [ec.derive_private_key(number, ec.SECP256R1()).public_key() for number in range(1, 5)]


def edit(folder: Path, change: Any) -> None:
    path = folder / key_history.HISTORY
    document = json.loads(path.read_bytes())
    change(document["keys"])
    path.write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two receipt keys were retired, a third is current; of tokens there was one only."""
    history = KeyHistory().known("receipt", KEYS[0]).begun("receipt", KEYS[1], NOW, NOW + DAY)
    history = history.begun("receipt", KEYS[2], NOW + 2 * DAY, NOW + 3 * DAY).begun("token", KEYS[3], NOW, NOW)
    key_history.write(tmp_path, history)
    return tmp_path


def test_folder_without_a_history_has_an_empty_one(tmp_path: Path) -> None:
    history = key_history.read(tmp_path)
    assert (history.entries, history.past, history.current("receipt")) == ((), (), None)


def test_history_is_read_as_it_was_written(folder: Path) -> None:
    history = key_history.read(folder)
    past = [(key.use, key.kid, key.valid_from, key.valid_until) for key in history.past]
    assert past == [
        ("receipt", thumbprint(KEYS[0]), None, NOW + DAY),
        ("receipt", thumbprint(KEYS[1]), NOW, NOW + 3 * DAY),
    ]
    current = history.current("receipt")
    assert current is not None
    assert (thumbprint(current.key), current.valid_from) == (thumbprint(KEYS[2]), NOW + 2 * DAY)


def test_key_is_retired_from_its_own_use_only(folder: Path) -> None:
    history = key_history.read(folder)
    assert history.retired("receipt", KEYS[0]) == NOW + DAY
    assert history.retired("token", KEYS[0]) is None
    assert history.retired("receipt", KEYS[2]) is None


def test_history_that_others_may_change_is_refused(folder: Path) -> None:
    """Whoever moves an end makes receipts of a stolen key good."""
    (folder / key_history.HISTORY).chmod(0o622)
    with pytest.raises(KeyInvalid, match=r"key-history\.json is open to others"):
        key_history.read(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda keys: keys.clear() or keys.append("key"),
        lambda keys: keys[0].pop("kid"),
        lambda keys: keys[0].update(kid=keys[1]["kid"]),
        lambda keys: keys[0].update(d="AQ"),
        lambda keys: keys[0].update(x="AQ"),
        lambda keys: keys[0].update(hecha_until="2026-11-22"),
        lambda keys: keys[0].update(hecha_until="2026-02-30T00:00:00Z"),
        lambda keys: keys[0].update(hecha_until="2026-11-22T08:00:00+08:00"),
        lambda keys: keys[0].update(hecha_until=None),
        lambda keys: keys[1].update(hecha_from=1_795_000_000),
    ],
)
def test_history_that_was_tampered_with_is_refused_as_a_whole(folder: Path, change: Any) -> None:
    edit(folder, change)
    with pytest.raises(KeyInvalid, match=r"key-history\.json: .* Restore it from the backup"):
        key_history.read(folder)


def test_two_current_keys_of_one_use_are_refused(folder: Path) -> None:
    edit(folder, lambda keys: next(key for key in keys if key["hecha_use"] == "receipt").pop("hecha_until"))
    with pytest.raises(KeyInvalid, match="two current keys for receipt"):
        key_history.read(folder)


def test_history_that_no_verifier_could_read_is_not_written(tmp_path: Path) -> None:
    entry = ValidKey(KEYS[0], None, NOW)
    full = KeyHistory((("receipt", entry),) * (MAX_KEYS - 2))
    key_history.write(tmp_path, full)
    with pytest.raises(KeyInvalid, match=f"is full: verifiers read {MAX_KEYS} keys at most"):
        key_history.write(tmp_path, replace(full, entries=(*full.entries, ("receipt", entry))))
