"""The public halves of keys that were the node's own, with their times: `key-history.json`, a JWK set (RFC 7517).

For tokens and for receipts the entry without an end is the current key. INVARIANT: the history decides which key is
current; it is replaced in one step, so a rotation has happened or it has not, wherever it was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from app.keys.key_files import KeyInvalid, read_private, write_whole
from evidence.errors import KeyNotVerified
from evidence.jwk import MAX_KEYS, ValidKey, dated_keys, thumbprint, to_dated_jwk

HISTORY = "key-history.json"
USES = ("token", "receipt")  # those that can be rotated


@dataclass(frozen=True, slots=True)
class PastKey:
    """A key that signed tokens or receipts (`use`) until `valid_until`; from when on may be unknown."""

    use: str
    kid: str
    key: ec.EllipticCurvePublicKey
    valid_from: datetime | None
    valid_until: datetime


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """Every entry, oldest first, each with its use; at most one of a use has no end."""

    entries: tuple[tuple[str, ValidKey], ...] = ()

    def current(self, use: str) -> ValidKey | None:
        """The entry of this use that has no end; None where it is not known since when a key is used."""
        return next((key for name, key in self.entries if name == use and key.valid_until is None), None)

    @property
    def past(self) -> tuple[PastKey, ...]:
        """The keys that were retired, oldest first."""
        return tuple(
            PastKey(use, thumbprint(key.key), key.key, key.valid_from, key.valid_until)
            for use, key in self.entries
            if key.valid_until is not None
        )

    def retired(self, use: str, key: ec.EllipticCurvePublicKey) -> datetime | None:
        """When this key was retired from this use; None if it never was."""
        kid = thumbprint(key)
        return next((past.valid_until for past in self.past if (past.use, past.kid) == (use, kid)), None)

    def begun(self, use: str, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime) -> KeyHistory:
        """The history in which `key` is current from `now`, and the one before it ends at `until`."""
        kept = tuple(
            (name, replace(entry, valid_until=until) if name == use and entry.valid_until is None else entry)
            for name, entry in self.entries
        )
        return KeyHistory((*kept, (use, ValidKey(key, valid_from=now))))

    def known(self, use: str, key: ec.EllipticCurvePublicKey) -> KeyHistory:
        """The history in which `key` is current, since an unknown time if it had none yet."""
        return self if self.current(use) else KeyHistory((*self.entries, (use, ValidKey(key))))


def read(folder: Path) -> KeyHistory:
    """The history of a keys folder, empty without a file. Raises `KeyInvalid`."""
    path = folder / HISTORY
    if not path.exists():
        return KeyHistory()
    content = read_private(path)
    try:
        entries = [(use, key) for use in USES for key in dated_keys(content, use).values()]
    except KeyNotVerified as error:
        raise KeyInvalid(f"{path}: {error} Restore it from the backup of the keys") from None
    for use in USES:
        if sum(name == use and key.valid_until is None for name, key in entries) > 1:
            raise KeyInvalid(f"{path} names two current keys for {use}: restore it from the backup of the keys")
    return KeyHistory(tuple(entries))


def write(folder: Path, history: KeyHistory) -> None:
    """Replace the history of a keys folder, durably, in one step. Raises `KeyInvalid` if it is full."""
    if len(history.entries) > MAX_KEYS - len(USES):
        # The next keys stand beside these in what the node publishes, and verifiers read no more.
        raise KeyInvalid(f"{folder / HISTORY} is full: verifiers read {MAX_KEYS} keys at most")
    keys = [to_dated_jwk(key, use) for use, key in history.entries]
    write_whole(folder / HISTORY, orjson.dumps({"keys": keys}, option=orjson.OPT_INDENT_2) + b"\n")
