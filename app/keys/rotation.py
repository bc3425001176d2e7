"""Rotation of the keys that sign tokens and receipts: prepare the next, then make it the current one.

INVARIANT: a node can be started after any step of it, whole or not: first the history is replaced, in one step, and
only then are files moved. What was interrupted is finished by the next command.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.keys import key_history
from app.keys.key_files import MAKE_KEYS, KeyInvalid, changing, check_folder, move, sync_folder, write_whole
from app.keys.key_history import PastKey
from app.keys.signing_keys import NEXT, Pair, named, new_signing_key, pair, pem
from evidence.jwk import thumbprint


@dataclass(frozen=True, slots=True)
class Rotated:
    """The key that is current by its kid, the former one with its end, and whether another run had begun it."""

    kid: str
    former: PastKey
    was_begun: bool


def prepare(folder: Path, use: str) -> tuple[str, bool]:
    """Make the next key of this use unless it is there; its kid, and whether it was made now.

    The next key signs nothing; a node that is started with it publishes it. Raises `KeyInvalid`.
    """
    check_folder(folder, MAKE_KEYS)
    with changing(folder):
        found = _pair(folder, use)
        if found.is_unfinished:
            settle(folder, use)
            found = _pair(folder, use)
        if found.following is None:
            return _make(folder, use), True
        return thumbprint(found.following.public_key()), False


def rotate(folder: Path, use: str, now: datetime, until: datetime, *, unprepared: bool = False) -> Rotated:
    """Make the next key the current one from `now` on; the private half of the former is destroyed, if it is a file.

    A node that runs with the former key signs with it until `until`; what it dates later counts as forged. With
    `unprepared` a key is made if there is none. Raises `KeyInvalid`.
    """
    check_folder(folder, MAKE_KEYS)
    with changing(folder):
        found = _pair(folder, use)
        if not found.is_unfinished:
            if found.following is None:
                _refuse_unprepared(use, unprepared=unprepared)
                _make(folder, use)
            commit(folder, use, now.replace(microsecond=0), until.replace(microsecond=0))
        settle(folder, use)
        history = key_history.read(folder)
        former = next((past for past in reversed(history.past) if past.use == use), None)
        if former is None:
            raise KeyInvalid(
                f"the current key of {use} stood in the place of the next one; it is put back: run again"
            )
        return Rotated(thumbprint(_pair(folder, use).current.public_key()), former, found.is_unfinished)


def commit(folder: Path, use: str, now: datetime, until: datetime) -> None:
    """Make the prepared key current in the history: from here on the rotation has happened."""
    found = _pair(folder, use)
    if found.following is None:
        raise KeyInvalid(f"{folder}: no key was prepared for {use}")
    history = key_history.read(folder).known(use, found.current.public_key())
    key_history.write(folder, history.begun(use, found.following.public_key(), now, until))


def settle(folder: Path, use: str) -> None:
    """Put the file of the key that has become current in the place of the former one."""
    source = named(folder, use + NEXT)
    target = folder / f"{use}{source.suffix}"
    # A module's key may follow a file's, or a file's a module's: the former one goes first, since both are refused.
    for other in {folder / f"{use}.pem", folder / f"{use}.uri"} - {target}:
        other.unlink(missing_ok=True)
        sync_folder(folder)
    move(source, target)


def _pair(folder: Path, use: str) -> Pair:
    return pair(folder, use, key_history.read(folder))


def _make(folder: Path, use: str) -> str:
    if (current := named(folder, use)).suffix == ".uri":
        raise KeyInvalid(
            f"{current} names a key of a hardware module: make the next key there and name it in {use}{NEXT}.uri"
        )
    key = new_signing_key()
    write_whole(folder / f"{use}{NEXT}.pem", pem(key))
    return thumbprint(key.public_key())


def _refuse_unprepared(use: str, *, unprepared: bool) -> None:
    if not unprepared:
        raise KeyInvalid(
            f"no key was prepared for {use}: `python -m app keys rotate {use} --prepare`, restart the node, and "
            "rotate when everybody has fetched /.well-known/jwks.json; or --now, and whoever keeps a copy of that "
            f"file cannot verify a new {use} until it is fetched again"
        )
