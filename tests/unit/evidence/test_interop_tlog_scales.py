"""Our formats against tlog-scales, an independent implementation of C2SP tlog-tiles, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import PlainEd25519Signer, Vkey, VkeySet
from tlog_scales.tiles import tile_path as their_tile_path
from tlog_scales.tlog import Checkpoint as TheirCheckpoint
from tlog_scales.tlog import ConsistencyProof, InclusionProof
from tlog_scales.writer import TilesWriter

from evidence.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from evidence.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    split_hashes,
    verify_consistency,
    verify_inclusion,
)
from evidence.tiles import decode_entries, entries_path, tile_path, tile_width
from tests.unit.evidence.issuer import ORIGIN, Issuer

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (1, 5, 256, 700)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    issuer = Issuer()
    issuer.tokens(700)
    return issuer


@pytest.fixture(scope="module")
def their_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("theirs") / "log"
    writer = TilesWriter.create(folder, ORIGIN)
    signer = PlainEd25519Signer(ORIGIN, b"\x07" * 32)
    for size in SIZES:
        for number in range(writer.size, size):
            writer.add_leaf(f"entry {number}".encode())
        # Without clearing: the partial tiles of every checkpoint stay, as the specification asks.
        writer.commit([signer], gc=False)
    return folder


def test_their_reader_finds_our_root_entries_and_proofs(issuer: Issuer, tmp_path: Path) -> None:
    issuer.publish(tmp_path)
    reader = TilesReader(LocalBackend(tmp_path))
    head: Any = reader.get_checkpoint()
    assert (head.origin, head.size, head.root_hash) == (ORIGIN, 700, reader.calculate_root_hash())
    for index in (0, 255, 256, 699):
        assert reader.get_entry(index) == issuer.entries[index]
        theirs = reader.get_inclusion_proof(index, 700)
        assert theirs.node_hashes == inclusion_proof(index, 700, issuer.read)
    for old in (1, 256, 257, 700):
        assert reader.get_consistency_proof(old, 700).node_hashes == consistency_proof(old, 700, issuer.read)


def test_their_verifiers_accept_our_checkpoint_and_proofs(issuer: Issuer) -> None:
    head: Any = TheirCheckpoint.from_text(issuer.checkpoint())
    key = Vkey.from_string(issuer.log.vkey)
    head.verify(key)
    assert {found.name for found, _ in VkeySet(key).verify(head.signatures, head)} == {ORIGIN}
    proof = InclusionProof(300, 700, inclusion_proof(300, 700, issuer.read))
    proof.check(leaf_hash(issuer.entries[300]), head.root_hash)
    old_root = root_of(issuer.read(0, 0, 250))
    ConsistencyProof(250, 700, consistency_proof(250, 700, issuer.read)).check(old_root, head.root_hash)


def test_our_reader_accepts_their_log(their_log: Path) -> None:
    def read(level: int, tile: int, width: int) -> tuple[bytes, ...]:
        assert width == tile_width(700, level, tile)
        return split_hashes((their_log / tile_path(level, tile, width)).read_bytes())

    theirs: Any = PlainEd25519Signer(ORIGIN, b"\x07" * 32).vkey
    vkey = theirs.serialize()
    head = open_checkpoint((their_log / "checkpoint").read_bytes(), [NoteVerifier.parse(vkey)])
    entries: list[bytes] = []
    for number in range(3):
        bundle = (their_log / entries_path(number, tile_width(700, 0, number))).read_bytes()
        entries += decode_entries(bundle)
    assert (head.size, head.root) == (len(entries), root_of(map(leaf_hash, entries)))

    for index in (0, 256, 699):
        proof = inclusion_proof(index, 700, read)
        verify_inclusion(leaf_hash(entries[index]), index, 700, proof, head.root)
    for old in SIZES:
        old_root = root_of(map(leaf_hash, entries[:old]))
        verify_consistency(old, 700, consistency_proof(old, 700, read), old_root, head.root)


def test_our_verifiers_accept_their_proofs(their_log: Path) -> None:
    reader = TilesReader(LocalBackend(their_log))
    head: Any = reader.get_checkpoint()
    for index in (0, 255, 699):
        proof = reader.get_inclusion_proof(index, 700).node_hashes
        verify_inclusion(leaf_hash(f"entry {index}".encode()), index, 700, proof, head.root_hash)
    proof = reader.get_consistency_proof(5, 700).node_hashes
    old_root = root_of(leaf_hash(f"entry {number}".encode()) for number in range(5))
    verify_consistency(5, 700, proof, old_root, head.root_hash)


def test_checkpoints_and_keys_are_written_alike(issuer: Issuer) -> None:
    signer: Any = PlainEd25519Signer(ORIGIN, b"\x01" * 32)
    assert issuer.log.vkey == signer.vkey.serialize()
    theirs: Any = TheirCheckpoint.make_signed(ORIGIN, 700, issuer.frontier.root(), [signer])
    assert issuer.checkpoint() == theirs.serialize()
    assert Checkpoint(ORIGIN, 700, issuer.frontier.root()).text() == theirs.serialize_body()


def test_tile_paths_are_written_alike() -> None:
    for number in (0, 999, 1_000, 1_234_067, 10**12 + 7):
        assert tile_path(3, number) == "/".join(their_tile_path(3, number))
        assert entries_path(number, 5) == "/".join(their_tile_path(-1, number, 5))
