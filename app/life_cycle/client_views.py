"""Clients and proposals about them as security administrators and auditors see them: how each stands, every step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from app.life_cycle.clients import client_in
from app.life_cycle.desk import Desk
from app.life_cycle.proposals import found
from app.log import tables
from app.registry import ledger, lockouts
from app.registry.current import Registry
from app.registry.departments import Client
from app.registry.ledger import Page
from app.registry.registration import document_of

ACTIVE, SUSPENDED = "active", "suspended"
DIRECTORY, REGISTERED = "directory", "registered"


def clients_page(desk: Desk, page: Page) -> dict[str, Any]:
    """A page of all clients in the order of ids, of one `department` or `state` if wanted."""
    registry = desk.current.registry
    lines = (_line(registry, client) for _, client in sorted(registry.departments.clients.items()))
    wanted = (line for line in lines if all(line[name] == value for name, value in page.wanted.items()))
    rest = [line for line in wanted if line["client"] > page.after]
    return {
        "items": rest[: page.size],
        "next": rest[page.size - 1]["client"] if len(rest) > page.size else None,
    }


def client(desk: Desk, identifier: str) -> dict[str, Any]:
    """One client: its document, where that comes from, its suspended certificates, its history. Raises `Refusal`."""
    registry = desk.current.registry
    one = client_in(registry, identifier)
    with desk.store.reading() as connection:
        row = lockouts.row_of(connection, identifier)
        certificates = lockouts.suspended_certificates(connection, identifier)
        steps = list(_steps(connection, identifier))
    return {
        **_line(registry, one),
        "document": document_of(one),
        "digest": row.digest if row is not None else None,
        "suspended_certificates": [
            {"certificate": item.thumbprint, "since": _text(item.since)} for item in certificates
        ],
        "steps": steps,
    }


def changes_page(desk: Desk, page: Page) -> dict[str, Any]:
    """A page of proposals in the order of ids."""
    with desk.store.reading() as connection:
        rows = list(ledger.listed(connection, tables.client_change, page))
    more = len(rows) > page.size
    return {
        "items": [_change_line(row) for row in rows[: page.size]],
        "next": rows[page.size - 1].id if more else None,
    }


def change(desk: Desk, identifier: str) -> dict[str, Any]:
    """One proposal with its document, and the steps that it came to. Raises `Refusal` not-found."""
    with desk.store.reading() as connection:
        row = found(connection, identifier)
        steps = [step for step in _steps(connection, row.client) if step["document"].get("proposal") == identifier]
        return {**_change_line(row), "document": ledger.document(connection, row.digest), "steps": steps}


def _line(registry: Registry, one: Client) -> dict[str, Any]:
    return {
        "client": one.name,
        "department": one.department,
        "title": dict(one.title),
        "roles": sorted(one.roles),
        "source": DIRECTORY if one.name in registry.directory.departments.clients else REGISTERED,
        "state": SUSPENDED if one.suspended else ACTIVE,
    }


def _change_line(row: Any) -> dict[str, Any]:
    names = ("id", "client", "department", "action", "state", "digest", "proposed_by", "decided_by")
    return {name: getattr(row, name) for name in names} | {"proposed_at": _text(row.proposed_at)}


def _steps(connection: Connection, identifier: str) -> Iterator[dict[str, Any]]:
    for step in ledger.history(connection, [lockouts.about(identifier)]):
        yield {**step, "at": _text(step["at"] / 1_000)}


def _text(seconds: float) -> str:
    """A time as the interface writes it, in UTC to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
