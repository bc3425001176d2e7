"""Proposals about clients, and registered clients themselves: rows of `client_change` and `client`.

Every write is made in the transaction of the record that tells of it, and holds only while what it rests on is as it
was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from app.log import tables
from app.registry import lockouts
from app.registry.ledger import Moved

REGISTER, CHANGE, RESUME = "register", "change", "resume"
PROPOSED, APPROVED, REJECTED = "proposed", "approved", "rejected"


def find(connection: Connection, identifier: str) -> Any | None:
    """The row of one proposal, or None."""
    return connection.execute(select(tables.client_change).where(tables.client_change.c.id == identifier)).first()


def propose(connection: Connection, values: Mapping[str, Any]) -> None:
    """Keep a new proposal."""
    connection.execute(insert(tables.client_change).values(state=PROPOSED, **values))


def decide(connection: Connection, identifier: str, state: str, by: str) -> None:
    """Approve or reject a proposal that nobody has decided on. Raises `Moved`."""
    row = tables.client_change
    waiting = (row.c.id == identifier) & (row.c.state == PROPOSED)
    if connection.execute(update(row).where(waiting).values(state=state, decided_by=by)).rowcount != 1:
        raise Moved


def register(connection: Connection, client: str, department: str, *, digest: str, epoch: int) -> None:
    """Register a client by its archived document. Raises `Moved` where the id is taken, or was locked out."""
    row = tables.client
    values = {"department": department, "digest": digest, "epoch": epoch, "suspended": False}
    if lockouts.row_of(connection, client) is None:
        connection.execute(insert(row).values(id=client, **values))
        return
    # Of a client that was the directory's once, and was resumed after its suspension.
    free = (row.c.id == client) & row.c.digest.is_(None) & ~row.c.suspended
    if connection.execute(update(row).where(free).values(**values)).rowcount != 1:
        raise Moved


def replace(connection: Connection, client: str, *, old: str, new: str, epoch: int) -> None:
    """Give a registered client another archived document in place of the old one. Raises `Moved`."""
    row = tables.client
    same = (row.c.id == client) & (row.c.digest == old)
    if connection.execute(update(row).where(same).values(digest=new, epoch=epoch)).rowcount != 1:
        raise Moved
