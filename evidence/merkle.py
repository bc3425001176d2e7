"""RFC 6962 / RFC 9162 Merkle tree over SHA-256: the growing edge, proofs from stored tiles, and their checks.

A tile level counts heights in units of 8: the hashes of tile level L are the roots of subtrees of 256**L
leaves, as C2SP tlog-tiles stores them; level 0 are the leaf hashes themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import TypeAlias

from evidence.errors import ConsistencyNotVerified, InclusionNotVerified

HASH_SIZE = 32
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = sha256(b"").digest()
TILE_WIDTH = 256
_TILE_HEIGHT = 8
_ROWS_AT_ONCE = 65_536

ReadTile: TypeAlias = Callable[[int, int, int], Sequence[bytes]]
"""`read(tile_level, tile_index, width)` returns the first `width` hashes of a tile."""

Node: TypeAlias = tuple[int, int, bytes]
"""(level, index, hash) of a tile level: the root of the `index`-th run of 256**level leaves."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry (RFC 9162 §2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node from the hashes of its children (RFC 9162 §2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def hash_row(row: Sequence[bytes]) -> list[bytes]:
    """Return the row of parents above an even number of sibling hashes."""
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=True)]


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree of `size` leaves: the roots of its perfect subtrees, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError(f"a tree has between 0 and 2**63 - 1 leaves, not {self.size}")
        if len(self.peaks) != self.size.bit_count() or any(len(peak) != HASH_SIZE for peak in self.peaks):
            raise ValueError(f"the edge of a tree of {self.size} leaves is {self.size.bit_count()} hashes")

    def extend(self, leaf_hashes: Sequence[bytes]) -> Extended:
        """Return the frontier after appending `leaf_hashes`, and the tile hashes that they completed."""
        if any(len(leaf) != HASH_SIZE for leaf in leaf_hashes):
            raise ValueError("a leaf hash is 32 bytes")
        waiting, peaks, nodes = list(self.peaks), list[bytes](), list[Node]()
        row, before, height = list(leaf_hashes), self.size, 0
        # Row by row: `row` holds the new subtrees of this height, `before` counts the older ones.
        while row or before:
            level, rest = divmod(height, _TILE_HEIGHT)
            if level and not rest:
                nodes.extend((level, before + i, root) for i, root in enumerate(row))
            if before & 1:
                row.insert(0, waiting.pop())
            if len(row) & 1:
                peaks.append(row.pop())
            row, before, height = hash_row(row), before >> 1, height + 1
        return Extended(Frontier(self.size + len(leaf_hashes), tuple(reversed(peaks))), tuple(nodes))

    def root(self) -> bytes:
        """Return the Merkle tree hash of all leaves; `EMPTY_ROOT` without any."""
        if not self.peaks:
            return EMPTY_ROOT
        *larger, root = self.peaks
        for peak in reversed(larger):
            root = node_hash(peak, root)
        return root

    def to_bytes(self) -> bytes:
        """Return the size as 8 bytes, big-endian, and the peaks behind it."""
        return self.size.to_bytes(8, "big") + b"".join(self.peaks)

    @classmethod
    def from_bytes(cls, data: bytes) -> Frontier:
        """Return the frontier that `to_bytes` wrote; raises `ValueError` for any other length."""
        if len(data) < 8 or (len(data) - 8) % HASH_SIZE:
            raise ValueError("a frontier is 8 bytes of size and whole hashes")
        return cls(int.from_bytes(data[:8], "big"), split_hashes(data[8:]))


@dataclass(frozen=True, slots=True)
class Extended:
    """The grown `frontier` and, by rising level and index, the `nodes` above level 0 now complete."""

    frontier: Frontier
    nodes: tuple[Node, ...]


def split_hashes(data: bytes) -> tuple[bytes, ...]:
    """Return the hashes that stand end to end in `data`; raises `ValueError` on a part of one."""
    if len(data) % HASH_SIZE:
        raise ValueError("the bytes are not whole hashes of 32 bytes")
    return tuple(data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE))


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash of any number of leaf hashes, in memory that does not grow with them."""
    frontier, leaves = Frontier(), iter(leaf_hashes)
    while rows := list(islice(leaves, _ROWS_AT_ONCE)):
        frontier = frontier.extend(rows).frontier
    return frontier.root()


class _Tree:
    """The tree of `size` leaves as its tiles tell it."""

    def __init__(self, size: int, read: ReadTile) -> None:
        self._size = size
        self._read = read
        self._tiles: dict[tuple[int, int], Sequence[bytes]] = {}

    def hash_of(self, start: int, end: int) -> bytes:
        """Return MTH(D[start:end]), which must be a run that occurs in a proof."""
        count = end - start
        if count & (count - 1) == 0:
            height = count.bit_length() - 1
            return self._subtree(height, start >> height)
        middle = start + _split(count)
        return node_hash(self.hash_of(start, middle), self.hash_of(middle, end))

    def _subtree(self, height: int, index: int) -> bytes:
        level, rest = divmod(height, 8)
        tile, first = divmod(index << rest, TILE_WIDTH)
        row = list(self._tile(level, tile)[first : first + (1 << rest)])
        while len(row) > 1:
            row = hash_row(row)
        return row[0]

    def _tile(self, level: int, index: int) -> Sequence[bytes]:
        if (level, index) not in self._tiles:
            width = min(TILE_WIDTH, (self._size >> (8 * level)) - TILE_WIDTH * index)
            hashes = self._read(level, index, width)
            if len(hashes) != width or any(len(one) != HASH_SIZE for one in hashes):
                raise ValueError(f"tile {level}/{index} was not read as {width} hashes")
            self._tiles[level, index] = hashes
        return self._tiles[level, index]


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, read: ReadTile) -> list[bytes]:
    """Return the hashes from the sibling of leaf `index` up to the child of the root of `size` leaves."""
    if not 0 <= index < size <= MAX_SIZE:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    tree, proof = _Tree(size, read), list[bytes]()
    start, end = 0, size
    while end - start > 1:  # PATH(m, D[n]) of RFC 9162 §2.1.3.1, from the root down
        middle = start + _split(end - start)
        if index < middle:
            proof.append(tree.hash_of(middle, end))
            end = middle
        else:
            proof.append(tree.hash_of(start, middle))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, read: ReadTile) -> list[bytes]:
    """Return the hashes that show the first `old` of `new` leaves unchanged; none if `old` is 0 or `new`."""
    if not 0 <= old <= new <= MAX_SIZE:
        raise ValueError(f"a tree of {old} leaves is no prefix of one of {new}")
    if old in (0, new):
        return []
    tree, proof = _Tree(new, read), list[bytes]()
    start, end = 0, new
    while old < end:  # SUBPROOF(m, D[n], b) of RFC 9162 §2.1.4.1, from the root down
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(tree.hash_of(middle, end))
            end = middle
        else:
            proof.append(tree.hash_of(start, middle))
            start = middle
    if start:  # b is false: the verifier does not hold this subtree yet
        proof.append(tree.hash_of(start, end))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:  # noqa: PLR0917 - RFC 9162's own five inputs
    """Check RFC 9162 §2.1.3.2 for a leaf hash; raises `InclusionNotVerified`."""
    if not 0 <= index < size <= MAX_SIZE:
        raise InclusionNotVerified(f"There is no entry {index} in a log of {size} entries.")
    if any(len(one) != HASH_SIZE for one in (leaf, root, *proof)):
        raise InclusionNotVerified("The proof holds something that is not a hash.")
    at, last, result = index, size - 1, leaf
    for one in proof:
        if last == 0:
            raise InclusionNotVerified("The inclusion proof is longer than the tree is high.")
        if at & 1 or at == last:
            result = node_hash(one, result)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            result = node_hash(result, one)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise InclusionNotVerified("The inclusion proof is shorter than the tree is high.")
    if result != root:
        raise InclusionNotVerified("The inclusion proof does not lead to the log's root: the entry is not in it.")


def verify_consistency(  # noqa: PLR0917 - RFC 9162's own five inputs
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Check RFC 9162 §2.1.4.2, and the trivial cases it leaves out; raises `ConsistencyNotVerified`."""
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise ConsistencyNotVerified(f"A log of {old_size} entries is no prefix of one of {new_size}.")
    if any(len(one) != HASH_SIZE for one in (old_root, new_root, *proof)):
        raise ConsistencyNotVerified("The proof holds something that is not a hash.")
    if old_size in (0, new_size):
        _check_trivial(old_size, proof, old_root, EMPTY_ROOT if old_size != new_size else new_root)
        if old_size == 0 == new_size and new_root != EMPTY_ROOT:
            raise ConsistencyNotVerified("An empty log has another root than this.")
        return
    old, new = _roots_of(old_size, new_size, proof, old_root)
    if old != old_root:
        raise ConsistencyNotVerified("The proof does not lead to the older root: the log was rewritten.")
    if new != new_root:
        raise ConsistencyNotVerified("The proof does not lead to the newer root: the log was rewritten.")


def _check_trivial(old_size: int, proof: Sequence[bytes], old_root: bytes, expected: bytes) -> None:
    if proof:
        raise ConsistencyNotVerified("There is nothing to prove here, yet the proof is not empty.")
    if old_root != expected:
        raise ConsistencyNotVerified(f"Two roots are given for a log of {old_size} entries.")


def _roots_of(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    """Return the older and newer root that a proof for 0 < old < new leads to (RFC 9162 §2.1.4.2)."""
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if len(path) < 2:
        raise ConsistencyNotVerified("The consistency proof is shorter than the trees need.")
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for one in path[1:]:
        if last == 0:
            raise ConsistencyNotVerified("The consistency proof is longer than the trees are high.")
        if at & 1 or at == last:
            old, new = node_hash(one, old), node_hash(one, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, one)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ConsistencyNotVerified("The consistency proof is shorter than the trees need.")
    return old, new
