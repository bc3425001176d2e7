"""C2SP tlog-proof: one text that carries an entry's index, its inclusion proof and the log's checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evidence.base64s import decode, encode
from evidence.checkpoint import parse_decimal
from evidence.errors import ProofNotVerified
from evidence.merkle import HASH_SIZE
from evidence.note import MAX_NOTE

if TYPE_CHECKING:
    from collections.abc import Sequence

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63  # the height of a tree of 2**63 - 1 leaves
MAX_PROOF = 2 * MAX_NOTE


@dataclass(frozen=True, slots=True)
class Proof:
    """`index` of the entry, its inclusion `hashes` from the leaf up, the `checkpoint` note as it was signed.

    `extra` is application data; nothing in the proof authenticates it.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None


def format_proof(index: int, hashes: Sequence[bytes], checkpoint_note: str, extra: bytes | None = None) -> str:
    """Return the `tlog-proof@v1` text of an entry under a signed checkpoint."""
    head = [HEADER] if extra is None else [HEADER, f"extra {encode(extra)}"]
    return "\n".join([*head, f"index {index}", *map(encode, hashes), "", checkpoint_note])


def parse_proof(text: str) -> Proof:
    """Return the parts of a `tlog-proof@v1` text, nothing in it verified; raises `ProofNotVerified`."""
    if len(text) > MAX_PROOF:
        raise ProofNotVerified("The proof is too large to be one.")
    head, gap, checkpoint = text.partition("\n\n")
    header, *lines = head.split("\n")
    if not gap or header != HEADER:
        raise ProofNotVerified("The proof is not a tlog-proof of version 1.")
    extra = lines.pop(0).removeprefix("extra ") if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise ProofNotVerified("The proof does not name the index of its entry.")
    try:
        index = parse_decimal(lines[0].removeprefix("index "))
        hashes = tuple(map(decode, lines[1:]))
        return Proof(index, _checked(hashes), checkpoint, None if extra is None else decode(extra))
    except ValueError as error:
        raise ProofNotVerified(f"A line of the proof is malformed: {error}.") from None


def _checked(hashes: tuple[bytes, ...]) -> tuple[bytes, ...]:
    if len(hashes) > MAX_HASHES or any(len(one) != HASH_SIZE for one in hashes):
        raise ValueError("it is not one of at most 63 hashes of 32 bytes")
    return hashes
