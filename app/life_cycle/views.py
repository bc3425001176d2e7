"""Applications, agreements and disputes as their readers see them: how each stands, what is due, every step."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Table

from app.life_cycle import agreements, applications, disputes
from app.life_cycle.desk import Act, Desk, is_steward, side_of
from app.log import tables
from app.registry import ledger
from app.registry.agreement_document import signers, unsigned_by
from app.registry.ledger import Page


def application(desk: Desk, act: Act, identifier: str) -> dict[str, Any]:
    """One application with its document and its history, disputes included. Raises `Refusal` not-found."""
    with desk.store.reading() as connection:
        row = applications.found(connection, act, identifier)
        over = ledger.disputes_of(connection, row.id)
        return {
            **application_line(desk, row, act.at),
            "application": ledger.document(connection, row.digest),
            "digest": row.digest,
            "disputes": [item.id for item in over],
            "steps": _steps(connection, [row.id, *(item.id for item in over)]),
        }


def agreement(desk: Desk, act: Act, identifier: str) -> dict[str, Any]:
    """One agreement with its canonical bytes for signing, its signatures and its history. Raises `Refusal`."""
    with desk.store.reading() as connection:
        row = agreements.found(connection, act, identifier)
        content = ledger.content_of(connection, row.digest)
        since = _approved_at(connection, row)
        # Who applied, and with what words, is the business of the provider's steward (`applications.found`).
        hidden = side_of(act.caller, row) == "provider" and not is_steward(act.caller)
        about = [row.id, *([row.application] if row.application and not hidden else [])]
        steps = _steps(connection, about)
    required, signatures = signers(row.provider, row.consumer), orjson.loads(row.signatures)
    awaited = unsigned_by(desk.departments, required, content, signatures) if row.state == "approved" else ()
    return {
        **_agreement_line(row),
        "document": orjson.loads(content),
        "canonical": content.decode(),
        "signatures": signatures,
        "awaiting": list(awaited),
        "deadline": desk.deadline("delivery", since, act.at) if since else None,
        "steps": steps,
    }


def dispute(desk: Desk, act: Act, identifier: str) -> dict[str, Any]:
    """One dispute with its history. Raises `Refusal` not-found."""
    with desk.store.reading() as connection:
        row = disputes.found(connection, act, identifier)
        return {**dispute_line(row), "steps": _steps(connection, [row.id])}


def applications_page(desk: Desk, act: Act, page: Page) -> dict[str, Any]:
    """A page of the applications that concern the caller."""
    if _sees_nothing_of_others(act, page):
        page = _own(page, "consumer", act)
    rows = _rows(desk, tables.application, page)
    return _page(rows, page, [application_line(desk, row, act.at) for row in rows])


def agreements_page(desk: Desk, page: Page) -> dict[str, Any]:
    """A page of the agreements that concern the caller, and of all signed standing terms, which are published."""
    rows = _rows(desk, tables.agreement, page)
    return _page(rows, page, [_agreement_line(row) for row in rows])


def disputes_page(desk: Desk, act: Act, page: Page) -> dict[str, Any]:
    """A page of the disputes that concern the caller."""
    if _sees_nothing_of_others(act, page):
        page = _own(page, "consumer", act)
    rows = _rows(desk, tables.dispute, page)
    return _page(rows, page, [dispute_line(row) for row in rows])


def deadlines(desk: Desk, act: Act, party: str | None) -> dict[str, Any]:
    """Every open clock of one department, or of all, the one that runs out first at the top."""
    with desk.store.reading() as connection:
        waiting = ledger.open_applications(connection, party)
        undelivered = ledger.undelivered(connection, party)
    found = [
        {
            "about": "application",
            "id": row.id,
            "service": row.service,
            "provider": row.provider,
            "consumer": row.consumer,
            **desk.deadline("decision", since, act.at),
        }
        for row in waiting
        if (since := applications.waits_since(row))
    ]
    found += [
        {
            "about": "agreement",
            "id": row.id,
            "service": row.service,
            "provider": row.provider,
            "consumer": row.consumer,
            **desk.deadline("delivery", _moment(row.decided_at), act.at),
        }
        for row in undelivered
    ]
    return {"items": sorted(found, key=lambda item: (item["due"], item["id"]))}


def application_line(desk: Desk, row: Any, now: datetime) -> dict[str, Any]:
    """One application in a list."""
    since = applications.waits_since(row)
    return {
        "id": row.id,
        "state": row.state,
        "service": row.service,
        "provider": row.provider,
        "consumer": row.consumer,
        "client": row.client,
        "submitted_at": _text(row.submitted_at),
        "agreement": row.agreement,
        "deadline": desk.deadline("decision", since, now) if since else None,
    }


def dispute_line(row: Any) -> dict[str, Any]:
    """One dispute in a list."""
    return {
        "id": row.id,
        "state": row.state,
        "application": row.application,
        "provider": row.provider,
        "consumer": row.consumer,
        "opened_at": _text(row.opened_at),
    }


def _agreement_line(row: Any) -> dict[str, Any]:
    names = ("id", "state", "kind", "digest", "service", "provider", "consumer", "application")
    return {name: getattr(row, name) for name in names} | {"valid_until": _text(row.valid_until)}


def _approved_at(connection: Connection, row: Any) -> datetime | None:
    """When the clock of delivery began: for an agreement that waits for signatures, at the decision."""
    if row.state != "approved" or row.application is None:
        return None
    source = ledger.application(connection, row.application)
    return _moment(source.decided_at) if source is not None else None


def _sees_nothing_of_others(act: Act, page: Page) -> bool:
    """A consuming system of the provider learns nothing of who applies: that is its steward's business."""
    return page.party is not None and not is_steward(act.caller)


def _own(page: Page, column: str, act: Act) -> Page:
    return Page(page.size, page.after, {**page.wanted, column: act.department}, page.party)


def _rows(desk: Desk, table: Table, page: Page) -> list[Any]:
    with desk.store.reading() as connection:
        return list(ledger.listed(connection, table, page))


def _page(rows: list[Any], page: Page, lines: list[dict[str, Any]]) -> dict[str, Any]:
    more = len(rows) > page.size
    return {"items": lines[: page.size], "next": rows[page.size - 1].id if more else None}


def _steps(connection: Connection, about: Iterable[str]) -> list[dict[str, Any]]:
    return [{**step, "at": _text(step["at"] / 1_000)} for step in ledger.history(connection, about)]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _text(seconds: float) -> str:
    """A time as the interface writes it, in UTC to the second."""
    return _moment(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")
