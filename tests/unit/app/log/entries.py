"""Log entries for tests of the decision log: a record that says its number, and the index row beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select

from app.log import tables
from app.log.sequencer import Entry
from app.log.storage import TILE, Store
from evidence.record import seal

SIZE = TILE + 10  # entries of the long log: a full tile and a bit


def charge(account: str, amount: int, **members: Any) -> dict[str, Any]:
    """A charge as a reservation brings it, without its place in the log."""
    others = {"question": None, "attribute": None, "ceiling": 4_000, "fingerprint": None, "renewed": False}
    return {"account": account, "amount": amount, **others, **members}


def entry(number: int, **members: Any) -> Entry:
    """An entry about decision `number`; `members` are the entry's own."""
    identifier = f"decision-{number:08d}"
    who = {"consumer": "c", "client": "c"}
    record = {"kind": "question", "id": identifier, "at": "2026-11-22T06:00:00Z", "state": "malformed", **who}
    row: dict[str, Any] = {column.name: None for column in tables.decision.columns if column.name != "idx"}
    row |= {"id": identifier, "at": number, "kind": "question", **who, "state": "malformed", "limit_reached": "none"}
    return Entry(body=seal(record, {}, bytes(32)).body, index_row=row, **members)


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Another process is writing to the log."""
    with store.writing() as connection:
        if not store.sqlite:
            connection.execute(select(tables.log_head.c.id).with_for_update())
        yield
