from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    Node,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    split_hashes,
    verify_consistency,
    verify_inclusion,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# The leaves and roots that Certificate Transparency implementations test each other with.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(i.to_bytes(4, "big")) for i in range(count)]


def split(count: int) -> int:
    k = 1
    while 2 * k < count:
        k *= 2
    return k


def naive_root(row: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, word for word."""
    if not row:
        return hashlib.sha256(b"").digest()
    if len(row) == 1:
        return row[0]
    k = split(len(row))
    return hashlib.sha256(b"\x01" + naive_root(row[:k]) + naive_root(row[k:])).digest()


def naive_path(index: int, row: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1."""
    if len(row) == 1:
        return []
    k = split(len(row))
    if index < k:
        return [*naive_path(index, row[:k]), naive_root(row[k:])]
    return [*naive_path(index - k, row[k:]), naive_root(row[:k])]


def naive_subproof(old: int, row: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 §2.1.2."""
    if old == len(row):
        return [] if whole else [naive_root(row)]
    k = split(len(row))
    if old <= k:
        return [*naive_subproof(old, row[:k], whole=whole), naive_root(row[k:])]
    return [*naive_subproof(old - k, row[k:], whole=False), naive_root(row[:k])]


class Tiles:
    """Stored tiles of a growing log, and how often each was read."""

    def __init__(self, row: Sequence[bytes], step: int) -> None:
        self.stored: dict[tuple[int, int], bytes] = {(0, i): leaf for i, leaf in enumerate(row)}
        self.reads: Counter[tuple[int, int]] = Counter()
        self.frontier = Frontier()
        for start in range(0, len(row), step):
            extended = self.frontier.extend(row[start : start + step])
            self.frontier = extended.frontier
            for level, index, node in extended.nodes:
                assert (level, index) not in self.stored
                self.stored[level, index] = node

    def read(self, level: int, tile: int, width: int) -> list[bytes]:
        self.reads[level, tile] += 1
        return [self.stored[level, 256 * tile + i] for i in range(width)]


def test_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier().root() == EMPTY_ROOT == root_of([])
    assert EMPTY_ROOT.hex() == CT_ROOTS[0]


@pytest.mark.parametrize("size", range(9))
def test_roots_of_the_certificate_transparency_vectors(size: int) -> None:
    hashes = [leaf_hash(entry) for entry in CT_LEAVES[:size]]
    assert root_of(hashes).hex() == CT_ROOTS[size]
    grown = Frontier()
    for one in hashes:
        grown = grown.extend([one]).frontier
    assert grown.root().hex() == CT_ROOTS[size]


def test_certificate_transparency_proof_verifies() -> None:
    # Leaf 5 of 8 and trees 6 to 8, as the CT test data of RFC 6962 implementations give them.
    proof = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    path = [bytes.fromhex(text) for text in proof]
    verify_inclusion(leaf_hash(CT_LEAVES[5]), 5, 8, path, bytes.fromhex(CT_ROOTS[8]))
    consistency = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    nodes = [bytes.fromhex(text) for text in consistency]
    verify_consistency(6, 8, nodes, bytes.fromhex(CT_ROOTS[6]), bytes.fromhex(CT_ROOTS[8]))


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=12))
def test_root_does_not_depend_on_how_leaves_were_grouped(groups: list[int]) -> None:
    row = leaves(sum(groups))
    frontier = Frontier()
    for count in groups:
        frontier = frontier.extend(row[frontier.size : frontier.size + count]).frontier
    assert frontier.root() == naive_root(row) == root_of(iter(row))


@pytest.mark.parametrize("step", [1, 7, 255, 256, 257, 70_000])
def test_tile_hashes_are_given_once_each_when_complete(step: int) -> None:
    row = leaves(66_000 if step > 1 else 1_000)
    tiles = Tiles(row, step)
    assert {i for level, i in tiles.stored if level == 1} == set(range(len(row) // 256))
    assert {i for level, i in tiles.stored if level == 2} == set(range(len(row) // 65_536))
    assert tiles.stored[1, 2] == naive_root(row[512:768])
    if len(row) > 65_536:
        assert tiles.stored[2, 0] == naive_root(row[:65_536])


def test_root_of_more_leaves_than_are_hashed_at_once() -> None:
    row = leaves(65_536 + 3)
    assert root_of(iter(row)) == naive_root(row)


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 1_400), st.data())
def test_proofs_equal_the_recursive_definition_and_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    row = leaves(size)
    tiles = Tiles(row, 300)
    root = naive_root(row)

    inclusion = inclusion_proof(index, size, tiles.read)
    assert inclusion == naive_path(index, row)
    assert max(tiles.reads.values(), default=1) == 1
    verify_inclusion(row[index], index, size, inclusion, root)

    tiles.reads.clear()
    consistency = consistency_proof(old, size, tiles.read)
    assert consistency == (naive_subproof(old, row, whole=True) if old else [])
    assert max(tiles.reads.values(), default=1) == 1
    verify_consistency(old, size, consistency, naive_root(row[:old]), root)


def test_every_proof_of_every_small_tree_verifies() -> None:
    row = leaves(34)
    tiles = Tiles(row, 5)
    roots = [naive_root(row[:size]) for size in range(len(row) + 1)]
    for size in range(1, len(row) + 1):
        for index in range(size):
            verify_inclusion(row[index], index, size, inclusion_proof(index, size, tiles.read), roots[size])
        for old in range(size + 1):
            proof = consistency_proof(old, size, tiles.read)
            verify_consistency(old, size, proof, roots[old], roots[size])


def test_proofs_in_a_tree_of_three_tile_levels() -> None:
    row = leaves(70_000)
    tiles = Tiles(row, 4_096)
    root = tiles.frontier.root()
    for index in (0, 65_535, 65_536, 69_999):
        proof = inclusion_proof(index, 70_000, tiles.read)
        verify_inclusion(row[index], index, 70_000, proof, root)
    for old in (1, 256, 65_536, 65_537, 69_888):
        proof = consistency_proof(old, 70_000, tiles.read)
        verify_consistency(old, 70_000, proof, root_of(row[:old]), root)
    assert max(level for level, _ in tiles.reads) == 2


def test_frontier_survives_its_bytes() -> None:
    for size in range(20):
        frontier = Frontier().extend(leaves(size)).frontier
        assert Frontier.from_bytes(frontier.to_bytes()) == frontier


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        b"\x00" * 7 + b"\x01",
        b"\x00" * 9,
        b"\x00" * 40,
        b"\xff" * 8,
        b"\xff" * (8 + 64 * 32),
    ],
    ids=["nothing", "short", "no peak", "odd", "peak too many", "no peaks", "size over 2**63 - 1"],
)
def test_bytes_that_are_no_frontier_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"leaves|frontier"):
        Frontier.from_bytes(data)


def test_part_of_a_hash_is_refused() -> None:
    assert split_hashes(bytes(64)) == (bytes(32), bytes(32))
    with pytest.raises(ValueError, match="whole hashes"):
        split_hashes(bytes(33))


def test_tree_beyond_its_largest_size_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves"):
        Frontier(-1)
    full = Frontier(MAX_SIZE, tuple(leaves(63)))
    with pytest.raises(ValueError, match="leaves"):
        full.extend(leaves(1))


def test_leaf_hash_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Frontier().extend([b"short"])


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (0, -1), (0, 2**63), (2**80, 2**81)])
def test_inclusion_proof_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no leaf"):
        inclusion_proof(index, size, Tiles(leaves(5), 5).read)


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5), (0, -1), (0, 2**63)])
def test_consistency_proof_of_impossible_sizes_is_refused(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no prefix"):
        consistency_proof(old, new, Tiles(leaves(5), 5).read)


@pytest.mark.parametrize(
    "spoil",
    [lambda row: row[:-1], lambda row: [*row, row[0]], lambda row: [b"short", *row[1:]]],
    ids=["one short", "one over", "no hash"],
)
def test_storage_that_returns_a_wrong_tile_is_noticed(
    spoil: Callable[[list[bytes]], list[bytes]],
) -> None:
    tiles = Tiles(leaves(300), 300)
    with pytest.raises(ValueError, match="was not read"):
        inclusion_proof(7, 300, lambda level, tile, width: spoil(tiles.read(level, tile, width)))


def test_node_is_a_plain_triple() -> None:
    node: Node = Frontier().extend(leaves(256)).nodes[0]
    assert node == (1, 0, naive_root(leaves(256)))
    assert node_hash(leaves(2)[0], leaves(2)[1]) == naive_root(leaves(2))
