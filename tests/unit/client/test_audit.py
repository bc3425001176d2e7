from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from client.audit import Fault, FolderSource, HttpSource, LogReport, verify_log
from client.errors import RequestRefused
from client.http import NodeClient
from evidence.canonical import canonical
from evidence.checkpoint import Checkpoint
from evidence.errors import CheckpointNotVerified, SignatureNotVerified
from evidence.merkle import EMPTY_ROOT
from evidence.tiles import decode_entries, encode_entries
from tests.unit.client.servers import Asked, HttpsServer, MemoryNode, Told, told
from tests.unit.evidence.issuer import ORIGIN, Issuer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.client.pki import Pki


class MemorySource:
    """A log's files in a dictionary: an attack on the log is one assignment."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    issuer = Issuer()
    issuer.tokens(599)
    issuer.answer()
    return issuer


@pytest.fixture
def log(issuer: Issuer) -> MemorySource:
    return MemorySource(issuer.files())


def fault(issuer: Issuer, log: MemorySource) -> tuple[int | None, str]:
    report = verify_log(log, issuer.verifier)
    assert report.fault is not None
    assert not report.holds
    return report.fault.index, report.fault.text


def test_empty_log_holds() -> None:
    empty = Issuer()
    report = verify_log(MemorySource(empty.files()), empty.verifier)
    assert report == LogReport(Checkpoint(ORIGIN, 0, EMPTY_ROOT), {})
    assert report.holds


def test_whole_log_holds_and_its_records_are_counted(issuer: Issuer, log: MemorySource) -> None:
    told: list[tuple[int, int]] = []
    report = verify_log(log, issuer.verifier, lambda done, size: told.append((done, size)))
    assert report.holds
    assert report.records == {"question": 1, "token": 599}
    assert report.checkpoint.root == issuer.frontier.root()
    assert told == [(256, 600), (512, 600), (600, 600)]


def test_log_of_two_tile_levels_holds() -> None:
    big = Issuer()
    big.tokens(256 * 256 + 300)
    log = MemorySource(big.files())
    assert verify_log(log, big.verifier).holds
    log.files["tile/2/000.p/1"] = bytes(32)
    assert fault(big, log) == (None, "Hash 0 of tile 2/0 is not that of the entries below it.")


def test_log_without_checkpoint_is_none() -> None:
    with pytest.raises(CheckpointNotVerified, match="no checkpoint"):
        verify_log(MemorySource({}), Issuer().verifier)


def test_log_of_another_key_is_not_taken_for_this_one(issuer: Issuer, log: MemorySource) -> None:
    with pytest.raises(CheckpointNotVerified, match="no signature"):
        verify_log(log, Issuer(seed=2).verifier)
    log.files["checkpoint"] = log.files["checkpoint"].replace(b"\n600\n", b"\n599\n")
    with pytest.raises(SignatureNotVerified):
        verify_log(log, issuer.verifier)


@pytest.mark.parametrize("index", [0, 255, 256, 599])
def test_altered_entry_is_named(issuer: Issuer, log: MemorySource, index: int) -> None:
    number = index // 256
    path = f"tile/entries/{number:03d}" + (".p/88" if number == 2 else "")
    entries = decode_entries(log.files[path])
    entries[index % 256] = entries[index % 256].replace(b"2026-03-05", b"2026-03-06")
    log.files[path] = encode_entries(entries)
    assert fault(issuer, log) == (index, f"Entry {index} is not the one whose hash the log's tile holds.")


def test_altered_tile_is_noticed_where_it_differs(issuer: Issuer, log: MemorySource) -> None:
    tile = log.files["tile/0/001"]
    log.files["tile/0/001"] = tile[: 32 * 7] + bytes(32) + tile[32 * 8 :]
    assert fault(issuer, log)[0] == 256 + 7


def test_altered_entry_with_its_tile_is_noticed_by_the_root(issuer: Issuer, log: MemorySource) -> None:
    forged = Issuer()
    forged.tokens(600)
    files = forged.files()
    files["checkpoint"] = log.files["checkpoint"]
    index, text = fault(issuer, MemorySource(files))
    assert index is None
    assert "another root" in text


def test_altered_upper_tile_is_noticed(issuer: Issuer, log: MemorySource) -> None:
    tile = log.files["tile/1/000.p/2"]
    log.files["tile/1/000.p/2"] = tile[:32] + bytes(32)
    assert fault(issuer, log) == (None, "Hash 1 of tile 1/0 is not that of the entries below it.")
    del log.files["tile/1/000.p/2"]
    assert fault(issuer, log) == (None, "Hash 0 of tile 1/0 is not that of the entries below it.")


@pytest.mark.parametrize(
    ("spoil", "index", "says"),
    [
        (lambda files: files.pop("tile/entries/001"), 256, "Entry 256 is missing."),
        (lambda files: files.pop("tile/0/001"), 256, "hash the log's tile holds"),
        (lambda files: files.update({"tile/0/001": files["tile/0/001"] + bytes(32)}), 512, "tile holds"),
        (lambda files: files.update({"tile/entries/001": b"\xff\xff"}), 256, "cannot be read"),
        (lambda files: files.update({"tile/entries/001": files["tile/entries/001"][:-1]}), 256, "cut short"),
        (
            lambda files: files.update(
                {"tile/entries/001": encode_entries(decode_entries(files["tile/entries/001"])[:-1])}
            ),
            511,
            "Entry 511 is missing.",
        ),
        (
            lambda files: files.update({"tile/entries/002.p/88": files["tile/entries/002.p/88"] + b"\x00\x00"}),
            600,
            "Entry 600 is beyond",
        ),
    ],
    ids=["no bundle", "no tile", "long tile", "bad bundle", "cut bundle", "short bundle", "long bundle"],
)
def test_missing_or_unreadable_file_is_named(
    *,
    issuer: Issuer,
    log: MemorySource,
    spoil: Callable[[dict[str, bytes]], object],
    index: int,
    says: str,
) -> None:
    spoil(log.files)
    found = fault(issuer, log)
    assert found[0] == index
    assert says in found[1]


def test_entry_that_is_no_record_is_named() -> None:
    odd = Issuer()
    odd.tokens(3)
    odd.append(b'{"v":1}')
    odd.append(canonical({"v": 1, "kind": "token", "id": "x" * 16, "commitments": {}}))
    report = verify_log(MemorySource(odd.files()), odd.verifier)
    assert report.fault is not None
    assert report.fault.index == 3
    assert report.fault.text == "Entry 3 is no record: The record is of a kind unknown here."
    assert report.records == {"token": 3}


def test_full_tile_serves_where_the_partial_one_is_gone(issuer: Issuer, log: MemorySource) -> None:
    grown = Issuer()
    grown.tokens(599)
    grown.answer()
    checkpoint = grown.checkpoint().encode()
    grown.tokens(256)
    files = grown.files() | {"checkpoint": checkpoint}
    assert "tile/0/002.p/88" not in files
    assert verify_log(MemorySource(files), issuer.verifier).records == {"question": 1, "token": 599}


def test_log_in_a_folder_holds(issuer: Issuer, tmp_path: Path) -> None:
    issuer.publish(tmp_path)
    assert verify_log(FolderSource(tmp_path), issuer.verifier).holds
    (tmp_path / "tile/0/002.p/88").unlink()
    (tmp_path / "tile/0/002.p").rmdir()
    (tmp_path / "tile/0/002.p").write_bytes(b"a file where a folder was")
    report = verify_log(FolderSource(tmp_path), issuer.verifier)
    assert report.fault is not None
    assert report.fault.index == 512


def client(server: HttpsServer, pki: Pki) -> NodeClient:
    return NodeClient(
        server.url,
        ca=pki.ca,
        certificate=pki.client.certificate,
        key=pki.client.key,
        client_id="hz-hrss-benefits",
    )


def test_log_of_a_node_holds_over_https(server: HttpsServer, node: MemoryNode, pki: Pki) -> None:
    with client(server, pki) as connection:
        report = verify_log(HttpSource(connection), node.issuer.verifier)
    assert report.records == {"token": 300}
    assert report.holds


def test_entry_that_a_node_does_not_show_is_named(server: HttpsServer, node: MemoryNode, pki: Pki) -> None:
    server.answer = lambda asked: told(404, {}) if "entries/001" in asked.path else node(asked)
    with client(server, pki) as connection:
        report = verify_log(HttpSource(connection), node.issuer.verifier)
    assert report.fault == Fault(256, "Entry 256 is missing.")


def test_refusal_to_show_entries_is_no_missing_entry(server: HttpsServer, node: MemoryNode, pki: Pki) -> None:
    def refuse(asked: Asked) -> Told:
        if "entries" in asked.path:
            return told(403, {"title": "The access token lacks a scope"})
        return node(asked)

    server.answer = refuse
    with client(server, pki) as connection, pytest.raises(RequestRefused, match="lacks a scope"):
        verify_log(HttpSource(connection), node.issuer.verifier)
