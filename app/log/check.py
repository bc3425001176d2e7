"""fsck for the decision log: re-derives all that its storage says, from leaf hashes to what is in force by it.

Salts, charges, subject tags and results stand in no clear member of a record, so they cannot be re-derived here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select

from app.log import tables
from app.log.check_clients import check_clients
from app.log.storage import TILE, Store
from evidence.checkpoint import open_checkpoint
from evidence.errors import NotVerified
from evidence.merkle import Frontier, leaf_hash
from evidence.note import NoteVerifier
from evidence.record import parse_record

# Columns of the search index by the member of the record that they repeat.
INDEXED = {
    "id": "id",
    "kind": "kind",
    "consumer": "consumer",
    "client": "client",
    "provider": "provider",
    "service": "service",
    "purpose": "purpose",
    "decision": "decision",
    "limit_reached": "limit",
    "state": "state",
}

# Where an agreement stands after a step of it; a signature alone moves nothing.
STANDS = {state: state for state in ("active", "suspended", "revoked", "expired", "superseded")} | {
    "resumed": "active"
}


@dataclass(slots=True)
class Report:
    """What a check found: entries read, and every damage in words; sound where there is none."""

    entries: int = 0
    damage: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damage

    def text(self) -> str:
        """The report for people: the first twenty damages, and how many more there are."""
        if self.sound:
            return f"{self.entries} entries: the log is sound"
        more = [f"… and {len(self.damage) - 20} more"] if len(self.damage) > 20 else []
        return "\n".join([f"{self.entries} entries: {len(self.damage)} damaged", *self.damage[:20], *more])


def check(store: Store, vkey: str) -> Report:
    """Re-derive everything that the signed head covers. Raises `StoreUnavailable`."""
    report = Report()
    with store.reading() as connection:
        frontier = _entries(connection, report)
        _head(connection, report, frontier, vkey)
        _index(connection, report)
    return report


def _entries(connection: Connection, report: Report) -> Frontier:
    frontier = Frontier()
    for rows in _bundles(connection):
        hashes = []
        for index, stored, body in rows:
            if index != report.entries:
                report.damage.append(f"entry {report.entries} is missing")
            report.entries = index + 1
            try:
                parse_record(body)
            except NotVerified as error:
                report.damage.append(f"entry {index}: {error}")
            hashes.append(leaf_hash(body))
            if hashes[-1] != stored:
                report.damage.append(f"entry {index} does not have its leaf hash")
        extended = frontier.extend(hashes)
        frontier = extended.frontier
        for level, index, value in extended.nodes:
            node = tables.log_node.c
            query = select(node.hash).where(node.level == level, node.idx == index)
            if connection.execute(query).scalar() != value:
                report.damage.append(f"tree node {index} of level {level} is not the hash of its leaves")
    return frontier


def _bundles(connection: Connection) -> Iterator[list[tuple[int, bytes, bytes]]]:
    entry = tables.log_entry.c
    query = select(entry.idx, entry.leaf_hash, entry.body).order_by(entry.idx)
    for rows in connection.execute(query.execution_options(yield_per=TILE)).partitions(TILE):
        yield [(row.idx, bytes(row.leaf_hash), bytes(row.body)) for row in rows]


def _head(connection: Connection, report: Report, frontier: Frontier, vkey: str) -> None:
    row = connection.execute(select(tables.log_head)).first()
    if row is None:
        report.damage.append("the log has no head")
        return
    try:
        head = open_checkpoint(row.checkpoint, [NoteVerifier.parse(vkey)])
    except NotVerified as error:
        report.damage.append(f"the signed head: {error}")
        return
    if (head.size, head.root) != (frontier.size, frontier.root()):
        report.damage.append(f"the signed head covers {head.size} entries with another root")
    if row.size != frontier.size or bytes(row.frontier) != frontier.to_bytes():
        report.damage.append("the stored head is not that of the entries")


def _index(connection: Connection, report: Report) -> None:
    """Hold every row of the search index against the clear members of its record."""
    entry, row = tables.log_entry, tables.decision
    query = select(entry.c.body, entry.c.idx.label("place"), row).outerjoin(row, row.c.idx == entry.c.idx)
    query = query.order_by(entry.c.idx).execution_options(yield_per=TILE)
    stands: dict[str, str] = {}
    of_clients: list[tuple[int, Mapping[str, Any]]] = []
    revision: tuple[int, str, int] | None = None
    for found in connection.execute(query):
        if found.id is None:
            report.damage.append(f"entry {found.place} is not in the index")
            continue
        record = json.loads(found.body)
        if record.get("kind") == "agreement" and record["state"] in STANDS:
            stands[record["about"]] = STANDS[record["state"]]
        if record.get("kind") == "client":
            of_clients.append((found.place, record))
        if (record.get("kind"), record.get("state")) == ("revision", "in-force"):
            revision = record["revision"], record["directory"], found.place
        for column, member in INDEXED.items():
            # A step of the node's own has no consumer and no client, which the index keeps as empty text.
            if (getattr(found, column) or None) != record.get(member, "none" if member == "limit" else None):
                report.damage.append(f"the index has another {column} than entry {found.place}")
    _agreements(connection, report, stands)
    report.damage += check_clients(connection, of_clients)
    _revision(connection, report, revision)
    strays = select(func.count()).select_from(row).where(row.c.idx >= report.entries)
    if stray := connection.execute(strays).scalar_one():
        report.damage.append(f"the index has {stray} decisions that the log does not have")


def _agreements(connection: Connection, report: Report, stands: Mapping[str, str]) -> None:
    """Hold where each agreement stands against the last step of it in the log."""
    row = tables.agreement.c
    for identifier, state in connection.execute(select(row.id, row.state).order_by(row.id)):
        if stands.get(identifier, "approved") != state:
            said = stands.get(identifier, "approved")
            report.damage.append(f"agreement {identifier} stands as {state}, and the log says {said}")


def _revision(connection: Connection, report: Report, said: tuple[int, str, int] | None) -> None:
    """Hold the revision in force against the last record that put one in force."""
    row = tables.registry.c
    held = connection.execute(select(row.revision, row.directory, row.idx)).first()
    if (tuple(held) if held is not None else None) != said:
        names = [f"revision {item[0]}, {item[1]}, by entry {item[2]}" if item else "none" for item in (held, said)]
        report.damage.append(f"in force is {names[0]}, and the log says {names[1]}")
