"""Where applications and disputes stand, and the lists and histories of all: reads and writes in one transaction.

Every write is made in the transaction of the record that tells of it, and holds only while what it rests on is as it
was read: a row that moved meanwhile refuses the step, and the record is not written either. `standing` holds who is
active.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, ScalarSelect, Table, func, insert, or_, select, update

from app.log import tables
from app.log.storage import archived
from app.refusals import Refusal

OPEN_APPLICATION = ("submitted", "reopened")
ENDED = ("expired", "revoked", "superseded")
UNSIGNED = "{}"


class Moved(Refusal):
    """Somebody else's step came first: read again."""

    def __init__(self) -> None:
        super().__init__("conflict", "Another step came first: read the present state, then decide again.")


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows of a list: those after a cursor, up to a number, with these values; `party` sees its own alone."""

    size: int
    after: str
    wanted: Mapping[str, str]
    party: str | None


def application(connection: Connection, identifier: str) -> Any | None:
    """The row of one application, or None."""
    return _row(connection, tables.application, identifier)


def dispute(connection: Connection, identifier: str) -> Any | None:
    """The row of one dispute, or None."""
    return _row(connection, tables.dispute, identifier)


def published(row: Any) -> bool:
    """Whether an agreement is for everybody to read: standing terms, from the provider's signature on."""
    return bool(row.kind == "standing-terms" and row.signatures != UNSIGNED)


def listed(connection: Connection, table: Table, page: Page) -> Sequence[Any]:
    """Rows in the order of ids, one more than the page holds where there are more."""
    query = select(table).where(table.c.id > page.after).order_by(table.c.id).limit(page.size + 1)
    for name, value in page.wanted.items():
        query = query.where(table.c[name] == value)
    if page.party is not None:
        query = query.where(_of_party(table, page.party))
    return connection.execute(query).all()


def document(connection: Connection, digest: str) -> dict[str, Any]:
    """The archived document of that digest."""
    content = content_of(connection, digest)
    found: dict[str, Any] = orjson.loads(content)
    return found


def content_of(connection: Connection, digest: str) -> bytes:
    """The canonical bytes of the archived document of that digest. Raises KeyError where the archive lost it."""
    content = archived(connection, digest)
    if content is None:
        raise KeyError(digest)
    return content


def history(connection: Connection, about: Iterable[str]) -> list[dict[str, Any]]:
    """Every step about these ids, oldest first, with its record's id, its digest and its document."""
    step, record, kept = tables.step, tables.decision, tables.archive
    query = (
        select(step, record.c.id.label("record"), kept.c.content)
        .join(record, record.c.idx == step.c.idx)
        .join(kept, kept.c.digest == step.c.digest)
        .where(step.c.about.in_(list(about)))
        .order_by(step.c.idx)
    )
    return [
        {
            "record": row.record,
            "index": row.idx,
            "about": row.about,
            "kind": row.kind,
            "state": row.state,
            "at": row.at,
            "department": row.department,
            "client": row.client,
            "digest": row.digest,
            "document": orjson.loads(row.content),
        }
        for row in connection.execute(query)
    ]


def disputes_of(connection: Connection, identifier: str) -> Sequence[Any]:
    """The disputes over one application, oldest first."""
    table = tables.dispute
    query = select(table).where(table.c.application == identifier).order_by(table.c.opened_at, table.c.id)
    return connection.execute(query).all()


def open_applications(connection: Connection, party: str | None) -> Sequence[Any]:
    """Applications that wait for a decision, of one department or of all."""
    table = tables.application
    query = select(table).where(table.c.state.in_(OPEN_APPLICATION)).order_by(table.c.submitted_at, table.c.id)
    return connection.execute(query if party is None else query.where(_of_party(table, party))).all()


def undelivered(connection: Connection, party: str | None) -> Sequence[Any]:
    """Approved agreements that are not signed yet, with the time of the decision; of one department or of all."""
    table, source = tables.agreement, tables.application
    query = (
        select(table, source.c.decided_at)
        .join(source, source.c.id == table.c.application)
        .where(table.c.state == "approved")
        .order_by(source.c.decided_at, table.c.id)
    )
    return connection.execute(query if party is None else query.where(_of_party(table, party))).all()


def past_their_end(connection: Connection, now: datetime) -> Sequence[Any]:
    """Agreements whose validity is over and which nothing has ended yet."""
    table = tables.agreement
    query = select(table).where(table.c.state.not_in(ENDED), table.c.valid_until <= int(now.timestamp()))
    return connection.execute(query.order_by(table.c.id)).all()


def add_application(connection: Connection, values: Mapping[str, Any]) -> None:
    """Keep a new application."""
    connection.execute(insert(tables.application).values(**values))


def add_dispute(connection: Connection, values: Mapping[str, Any]) -> None:
    """Keep a new dispute."""
    connection.execute(insert(tables.dispute).values(**values))


def move(connection: Connection, table: Table, row: Any, **values: Any) -> None:
    """Change a row that still stands as it was read, and stood so all the while. Raises `Moved`.

    A state may come back (suspended, resumed, suspended by somebody else): whoever read it the first time decided on
    something else. An agreement's epoch tells, and the last step of an application or a dispute.
    """
    same = (table.c.id == row.id) & (table.c.state == row.state)
    if table is tables.agreement:
        same &= (table.c.signatures == row.signatures) & (table.c.epoch == row.epoch)
    else:
        same &= _last_step(row.id) == row.last_step
    if connection.execute(update(table).where(same).values(**values)).rowcount != 1:
        raise Moved


def _row(connection: Connection, table: Table, identifier: str) -> Any | None:
    """The row, with the index of the last step about it."""
    query = select(table, _last_step(identifier).label("last_step")).where(table.c.id == identifier)
    return connection.execute(query).first()


def _last_step(identifier: str) -> ScalarSelect[Any]:
    step = tables.step.c
    return select(func.coalesce(func.max(step.idx), -1)).where(step.about == identifier).scalar_subquery()


def _of_party(table: Table, party: str) -> ColumnElement[bool]:
    """What a department may see: what it provides, what it uses, and what is published."""
    own = or_(table.c.provider == party, table.c.consumer == party)
    if table is not tables.agreement:
        return own
    return own | ((table.c.kind == "standing-terms") & (table.c.signatures != UNSIGNED))
