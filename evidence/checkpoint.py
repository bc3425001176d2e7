"""C2SP tlog-checkpoint: the signed statement of a log's origin, size and root.

Extension lines are tolerated when read and never written; the origin must be the name of the log's key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evidence.base64s import decode, encode
from evidence.errors import CheckpointNotVerified
from evidence.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from evidence.note import NoteSigner, NoteVerifier, open_note

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Checkpoint", "NoteSigner", "NoteVerifier", "open_checkpoint", "parse_decimal"]

_DECIMAL = re.compile("0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head: `origin` (its identity), `size` in leaves, `root` hash of 32 bytes."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or "\n" in self.origin:
            raise ValueError("a checkpoint's origin is one line of text")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_SIZE:
            raise ValueError("a checkpoint has a size between 0 and 2**63 - 1 and a root of 32 bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise ValueError("a log without entries has only one root")

    def text(self) -> str:
        """Return the three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Return the checkpoint in a note's text; raises `CheckpointNotVerified`."""
        lines = text.removesuffix("\n").split("\n")
        if not text.endswith("\n") or len(lines) < 3 or not all(lines):
            raise CheckpointNotVerified("The checkpoint is not three lines: origin, size, root.")
        try:
            return cls(lines[0], parse_decimal(lines[1]), decode(lines[2]))
        except ValueError as error:
            raise CheckpointNotVerified(f"The checkpoint is malformed: {error}.") from None


def parse_decimal(text: str) -> int:
    """Return a number below 2**63 written in ASCII digits without leading zeroes; raises `ValueError`."""
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise ValueError(f"{text[:24]!r} is not a plain decimal number")
    return int(text)


def open_checkpoint(note: str | bytes, verifiers: Iterable[NoteVerifier]) -> Checkpoint:
    """Return the checkpoint of a note signed by the log's own key, one of `verifiers`.

    Raises `CheckpointNotVerified`, also if only other keys than the origin's signed, `SignatureNotVerified`.
    """
    opened = open_note(note, verifiers)
    checkpoint = Checkpoint.parse(opened.text)
    if checkpoint.origin not in opened.signed_by:
        raise CheckpointNotVerified("The checkpoint's origin is not the name of a key that signed it.")
    return checkpoint
