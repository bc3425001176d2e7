"""Where each agreement stands, in the database: rows of `agreement` and of `agreement_active`, inside a transaction.

INVARIANT: at most one agreement is active per department, service and purpose: `claim` takes the places of an
agreement in `agreement_active`, whose primary key they are, and `release` gives them back.
INVARIANT: where the sharing authority has suspended an agreement, no other becomes active (`halts`, `halted`): a new
signature would take back what the authority alone takes back (山东 第六条).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import orjson
from sqlalchemy import Connection, Row, delete, insert, select, tuple_, update

from app.log import tables
from app.registry import ledger
from app.registry.agreement_document import ANYONE, Draft

ACTIVE = "active"
LIVE = ("active", "suspended")

Places: TypeAlias = "Collection[tuple[str, str, str]]"
"""Party, service and purpose of each."""


def find(connection: Connection, identifier: str) -> Row[Any] | None:
    """The agreement's row, or None."""
    return connection.execute(select(tables.agreement).where(tables.agreement.c.id == identifier)).first()


def add(connection: Connection, draft: Draft, state: str, epoch: int, **others: Any) -> None:
    """A new agreement; `others`: `signatures` by department, `due`, `application`."""
    signatures: Mapping[str, str] = others.pop("signatures", {})
    connection.execute(
        insert(tables.agreement).values(
            id=draft.id,
            digest=draft.digest,
            state=state,
            epoch=epoch,
            signatures=orjson.dumps(dict(signatures)).decode(),
            kind=draft.kind,
            service=draft.service,
            provider=draft.provider,
            consumer=draft.consumer,
            valid_until=int(draft.valid_until.timestamp()),
            **others,
        )
    )


def move(connection: Connection, identifier: str, state: str, epoch: int, **others: Any) -> None:
    """Another state; whatever is no longer active gives its places back."""
    row = tables.agreement
    connection.execute(update(row).where(row.c.id == identifier).values(state=state, epoch=epoch, **others))
    if state != ACTIVE:
        release(connection, identifier)


def taken(connection: Connection, draft: Draft) -> list[str]:
    """The agreements that hold places which this one needs, in the order of ids."""
    row = tables.agreement_active.c
    query = select(row.agreement).distinct().where(tuple_(row.party, row.service, row.purpose).in_(places_of(draft)))
    return sorted(connection.execute(query.where(row.agreement != draft.id)).scalars())


def places(connection: Connection) -> set[tuple[str, str, str]]:
    """Every place that is held: party, service, purpose."""
    row = tables.agreement_active.c
    return {tuple(found) for found in connection.execute(select(row.party, row.service, row.purpose))}


def claim(connection: Connection, draft: Draft) -> None:
    """Take the agreement's places. Raises `IntegrityError` where one is taken."""
    rows = [
        {"party": party, "service": service, "purpose": purpose, "agreement": draft.id}
        for party, service, purpose in places_of(draft)
    ]
    connection.execute(insert(tables.agreement_active), rows)


def suspended_by(connection: Connection, identifiers: Sequence[str]) -> dict[str, str]:
    """Which side suspended each of these suspended agreements last, `provider` or `authority`, by its id."""
    steps = ledger.history(connection, identifiers) if identifiers else []
    return {step["about"]: step["document"].get("by", "") for step in steps if step["state"] == "suspended"}


def halts(connection: Connection, service: str | None = None) -> dict[str, Places]:
    """The places of every agreement that the authority has suspended, by its id; of one service or of all."""
    row = tables.agreement.c
    query = select(row.id, row.digest).where(row.state == "suspended")
    rows = connection.execute(query if service is None else query.where(row.service == service)).all()
    by = suspended_by(connection, [found.id for found in rows])
    return {
        found.id: _places_in(ledger.document(connection, found.digest))
        for found in rows
        if by.get(found.id) == "authority"
    }


def halted(draft: Draft, held: Mapping[str, Places]) -> list[str]:
    """Those of the agreements held that stand where this one would be active; terms for everybody do everywhere."""
    mine = places_of(draft)
    return sorted(other for other, theirs in held.items() if other != draft.id and _meet(mine, theirs))


def release(connection: Connection, identifier: str) -> None:
    """Give the agreement's places back."""
    connection.execute(delete(tables.agreement_active).where(tables.agreement_active.c.agreement == identifier))


def places_of(draft: Draft) -> Sequence[tuple[str, str, str]]:
    """The places that the agreement needs to be active."""
    return [(party, draft.service, purpose) for party in draft.parties for purpose in sorted(draft.purposes)]


def _places_in(document: Mapping[str, Any]) -> Places:
    consumer = document.get("consumer")
    parties = [consumer] if consumer else document.get("departments") or [ANYONE]
    return {(party, document["service"], purpose) for party in parties for purpose in document["purposes"]}


def _meet(mine: Places, theirs: Places) -> bool:
    return any(a[1:] == b[1:] and (a[0] == b[0] or ANYONE in {a[0], b[0]}) for a in mine for b in theirs)
