from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.errors import ConsistencyNotVerified, InclusionNotVerified
from evidence.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

SIZE = 23
ROW = [leaf_hash(bytes([i])) for i in range(SIZE)]
ROOT = root_of(ROW)


def read(level: int, tile: int, width: int) -> list[bytes]:
    assert (level, tile) == (0, 0)
    return ROW[:width]


def flipped(hashes: list[bytes], bit: int) -> list[bytes]:
    data = bytearray(b"".join(hashes))
    bit %= 8 * len(data)
    data[bit // 8] ^= 1 << bit % 8
    return [bytes(data[i : i + 32]) for i in range(0, len(data), 32)]


@dataclass(frozen=True)
class Inclusion:
    leaf: bytes
    index: int
    size: int
    proof: list[bytes]
    root: bytes = ROOT

    def check(self) -> None:
        verify_inclusion(self.leaf, self.index, self.size, self.proof, self.root)


def inclusion(index: int) -> Inclusion:
    return Inclusion(ROW[index], index, SIZE, inclusion_proof(index, SIZE, read))


@settings(deadline=None)
@given(st.integers(0, SIZE - 1), st.integers(0, 10_000))
def test_flipped_bit_of_an_inclusion_proof_leaf_or_root_is_noticed(index: int, bit: int) -> None:
    good = inclusion(index)
    good.check()
    for bad in (
        replace(good, proof=flipped(good.proof, bit)),
        replace(good, leaf=flipped([good.leaf], bit)[0]),
        replace(good, root=flipped([good.root], bit)[0]),
    ):
        with pytest.raises(InclusionNotVerified):
            bad.check()


@given(st.integers(0, SIZE - 1), st.integers(-2, SIZE + 2))
def test_entry_claimed_at_another_index_is_refused(index: int, claimed: int) -> None:
    if claimed != index:
        with pytest.raises(InclusionNotVerified):
            replace(inclusion(index), index=claimed).check()


@pytest.mark.parametrize("index", [0, 7, 16, 22])
def test_proof_cut_or_lengthened_is_refused(index: int) -> None:
    good = inclusion(index)
    for proof in (good.proof[:-1], good.proof[1:], [*good.proof, ROOT], [ROOT, *good.proof], []):
        with pytest.raises(InclusionNotVerified):
            replace(good, proof=proof).check()


def test_proof_for_a_tree_of_one_leaf_is_empty() -> None:
    verify_inclusion(ROW[0], 0, 1, [], ROW[0])
    with pytest.raises(InclusionNotVerified, match="longer"):
        verify_inclusion(ROW[0], 0, 1, [ROW[1]], node_hash(ROW[0], ROW[1]))


def test_inner_node_passed_off_as_a_leaf_is_refused() -> None:
    good = inclusion(6)
    parent = node_hash(ROW[6], ROW[7])
    with pytest.raises(InclusionNotVerified):
        replace(good, leaf=parent, index=3, proof=good.proof[1:]).check()
    # An entry whose bytes are two hashes is no inner node: leaves and nodes have prefixes of their own.
    assert leaf_hash(ROW[6] + ROW[7]) != parent


@pytest.mark.parametrize("size", [-1, 0, 6, 2**63, 2**200])
def test_proof_for_an_impossible_size_is_refused(size: int) -> None:
    with pytest.raises(InclusionNotVerified):
        replace(inclusion(6), size=size).check()


def test_something_that_is_no_hash_is_refused() -> None:
    with pytest.raises(InclusionNotVerified, match="not a hash"):
        replace(inclusion(6), leaf=b"short").check()
    with pytest.raises(InclusionNotVerified, match="not a hash"):
        replace(inclusion(6), proof=[b"", *inclusion(6).proof]).check()
    with pytest.raises(ConsistencyNotVerified, match="not a hash"):
        verify_consistency(3, SIZE, [b"x"], root_of(ROW[:3]), ROOT)


@settings(deadline=None)
@given(st.integers(1, SIZE - 1), st.integers(0, 10_000))
def test_flipped_bit_of_a_consistency_proof_or_root_is_noticed(old: int, bit: int) -> None:
    proof, old_root = consistency_proof(old, SIZE, read), root_of(ROW[:old])
    verify_consistency(old, SIZE, proof, old_root, ROOT)
    for nodes, first, second in (
        (flipped(proof, bit), old_root, ROOT),
        (proof, flipped([old_root], bit)[0], ROOT),
        (proof, old_root, flipped([ROOT], bit)[0]),
    ):
        with pytest.raises(ConsistencyNotVerified):
            verify_consistency(old, SIZE, nodes, first, second)


@pytest.mark.parametrize("old", [1, 2, 3, 8, 16, 22])
def test_history_rewritten_before_the_old_head_is_noticed(old: int) -> None:
    forged = [leaf_hash(b"forged"), *ROW[1:]]
    frontier = Frontier().extend(forged).frontier
    proof = consistency_proof(old, SIZE, lambda _level, _tile, width: forged[:width])
    verify_consistency(old, SIZE, proof, root_of(forged[:old]), frontier.root())
    with pytest.raises(ConsistencyNotVerified):
        verify_consistency(old, SIZE, proof, root_of(ROW[:old]), frontier.root())


@pytest.mark.parametrize("old", [1, 5, 8, 16, 22])
def test_consistency_proof_cut_or_lengthened_is_refused(old: int) -> None:
    proof, old_root = consistency_proof(old, SIZE, read), root_of(ROW[:old])
    for nodes in (proof[:-1], [*proof, ROOT], [ROOT, *proof], []):
        with pytest.raises(ConsistencyNotVerified):
            verify_consistency(old, SIZE, nodes, old_root, ROOT)


def test_log_that_shrank_is_refused() -> None:
    with pytest.raises(ConsistencyNotVerified, match="no prefix"):
        verify_consistency(SIZE, SIZE - 1, [], ROOT, root_of(ROW[:-1]))
    with pytest.raises(ConsistencyNotVerified, match="no prefix"):
        verify_consistency(-1, SIZE, [], ROOT, ROOT)


def test_two_roots_of_one_size_are_refused() -> None:
    verify_consistency(SIZE, SIZE, [], ROOT, ROOT)
    with pytest.raises(ConsistencyNotVerified, match="Two roots"):
        verify_consistency(SIZE, SIZE, [], ROW[0], ROOT)
    with pytest.raises(ConsistencyNotVerified, match="nothing to prove"):
        verify_consistency(SIZE, SIZE, [ROOT], ROOT, ROOT)


def test_empty_log_is_a_prefix_of_every_log_under_its_one_root() -> None:
    verify_consistency(0, SIZE, [], EMPTY_ROOT, ROOT)
    verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    with pytest.raises(ConsistencyNotVerified, match="Two roots"):
        verify_consistency(0, SIZE, [], ROOT, ROOT)
    with pytest.raises(ConsistencyNotVerified, match="empty log"):
        verify_consistency(0, 0, [], ROOT, ROOT)
    with pytest.raises(ConsistencyNotVerified, match="nothing to prove"):
        verify_consistency(0, SIZE, [ROOT], EMPTY_ROOT, ROOT)
