"""An auditor's check of a whole log: every record parses and the entries lead to the signed root.

Every tile is compared with what the entries make of it, so that witnesses were shown the same log.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Protocol

from client.errors import RequestRefused
from evidence.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from evidence.errors import CheckpointNotVerified, NotVerified, TileNotVerified
from evidence.merkle import HASH_SIZE, TILE_WIDTH, Frontier, leaf_hash
from evidence.record import parse_record
from evidence.tiles import decode_entries, entries_path, tile_path, tile_width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from client.http import NodeClient


class LogSource(Protocol):
    """Where a log's files are read from, by their tlog-tiles paths."""

    def read(self, path: str) -> bytes | None:
        """Return the bytes at `checkpoint` or `tile/…`, None if there are none."""


class HttpSource:
    """A node's log over HTTPS; other refusals than 404 raise `RequestRefused`."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client

    def read(self, path: str) -> bytes | None:
        """Return the bytes at `/log/<path>`."""
        try:
            return self._client.get_bytes(f"/log/{path}")
        except RequestRefused as error:
            if error.status == 404:
                return None
            raise


class FolderSource:
    """A log's files in a folder, as an archive or a mirror keeps them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> bytes | None:
        """Return the bytes of the file at `path` below the folder."""
        try:
            return (self._folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing wrong with a log: `index` of the entry, None if no single entry is to blame."""

    index: int | None
    text: str


@dataclass(frozen=True, slots=True)
class LogReport:
    """What the audit found: `records` by kind that were read and hold, and the first `fault`, if any."""

    checkpoint: Checkpoint
    records: dict[str, int]
    fault: Fault | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault is None


class _Found(Exception):
    """Carries a finding out of the walk."""

    def __init__(self, index: int | None, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(index, text)


@dataclass(slots=True)
class _Audit:
    source: LogSource
    size: int
    frontier: Frontier = field(default_factory=Frontier)
    records: Counter[str] = field(default_factory=Counter)
    upper: dict[int, list[bytes]] = field(default_factory=dict)

    def bundle(self, number: int) -> None:
        """Read one entry bundle and its tile, check each entry against both, and grow the tree."""
        first, width = TILE_WIDTH * number, tile_width(self.size, 0, number)
        entries = self._entries(number, width)
        leaves = [leaf_hash(entry) for entry in entries]
        self.compare(0, number, leaves)
        for index, entry in enumerate(entries, first):
            try:
                self.records[parse_record(entry)["kind"]] += 1
            except NotVerified as error:
                raise _Found(index, f"Entry {index} is no record: {error}") from None
        extended = self.frontier.extend(leaves)
        self.frontier = extended.frontier
        for level, _, node in extended.nodes:
            self.upper.setdefault(level, []).append(node)

    def compare(self, level: int, number: int, made: Sequence[bytes]) -> None:
        """Compare the hashes made from the entries with the served tile."""
        served = self.source.read(tile_path(level, number, len(made)))
        if served is None:
            # SPEC: tlog-tiles "Partial Tiles": once the full tile is there, the partial one may be gone.
            full = self.source.read(tile_path(level, number)) or b""
            served = full[: HASH_SIZE * len(made)]
        if served == b"".join(made):
            return
        pairs = enumerate(zip_longest(made, _hashes(served)))
        at = next(i for i, (own, other) in pairs if own != other)
        if level:
            raise _Found(None, f"Hash {at} of tile {level}/{number} is not that of the entries below it.")
        index = TILE_WIDTH * number + at
        raise _Found(index, f"Entry {index} is not the one whose hash the log's tile holds.")

    def _entries(self, number: int, width: int) -> list[bytes]:
        first = TILE_WIDTH * number
        try:
            data = self.source.read(entries_path(number, width))
            if data is None:  # as with tiles, only the full bundle may be left
                entries = decode_entries(self.source.read(entries_path(number)) or b"")[:width]
            else:
                entries = decode_entries(data)
        except TileNotVerified as error:
            raise _Found(first, f"The entries from {first} on cannot be read: {error}") from None
        if len(entries) < width:
            raise _Found(first + len(entries), f"Entry {first + len(entries)} is missing.")
        if len(entries) > width:
            raise _Found(first + width, f"Entry {first + width} is beyond the bundle that holds it.")
        return entries


def _hashes(data: bytes) -> list[bytes]:
    return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]


def verify_log(
    source: LogSource, verifier: NoteVerifier, progress: Callable[[int, int], None] | None = None
) -> LogReport:
    """Return the report on the log that `verifier`'s key signs; `progress(done, size)` is told of entries.

    Raises a `NotVerified` if there is no checkpoint that this key signed: then there is no log to report on.
    """
    note = source.read("checkpoint")
    if note is None:
        raise CheckpointNotVerified("The log has no checkpoint.")
    checkpoint = open_checkpoint(note, [verifier])
    audit = _Audit(source, checkpoint.size)
    try:
        _check(audit, checkpoint, progress)
    except _Found as found:
        return LogReport(checkpoint, dict(audit.records), found.fault)
    return LogReport(checkpoint, dict(audit.records))


def _check(audit: _Audit, checkpoint: Checkpoint, progress: Callable[[int, int], None] | None) -> None:
    size = checkpoint.size
    for number in range(-(-size // TILE_WIDTH)):
        audit.bundle(number)
        if progress:
            progress(audit.frontier.size, size)
    if audit.frontier.root() != checkpoint.root:
        raise _Found(None, "The entries lead to another root than the one that the log signed.")
    for level, hashes in sorted(audit.upper.items()):
        for start in range(0, len(hashes), TILE_WIDTH):
            audit.compare(level, start // TILE_WIDTH, hashes[start : start + TILE_WIDTH])
