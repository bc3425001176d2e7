"""Rows that lock out and let in, on SQLite and PostgreSQL: each holds while what it rests on is as it was read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, delete, func, insert, select, update

from app.log import tables
from app.log.storage import Store, archive
from app.registry import client_changes, lockouts
from app.registry.departments import Registered
from app.registry.ledger import Moved
from app.registry.lockouts import KEPT_S, Lockouts, held_clients, held_lockouts
from evidence.canonical import canonical
from evidence.merkle import leaf_hash

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
CLIENT = {"client": "hz-new", "roles": ["consumer"]}


def write(connection: Connection, index: int, state: str = "registered", **record: Any) -> str:
    """A step about `hz-new` as the sequencer writes it; returns the digest of its document."""
    document = canonical({"client": CLIENT, "change": state, "number": index})
    digest = archive(connection, "client", document)
    said = {"kind": "client", "state": state, "about": "client:hz-new", "document": digest} | record
    body = canonical(said)
    entry = {"idx": index, "leaf_hash": leaf_hash(body), "body": body}
    connection.execute(insert(tables.log_entry).values(**entry))
    row = {name: said[name] for name in ("kind", "state", "about")} | {"digest": digest, "at": 0, "idx": index}
    connection.execute(insert(tables.step).values(**row))
    return digest


def registered(store: Store) -> str:
    with store.writing() as connection:
        digest = write(connection, 0)
        client_changes.register(connection, "hz-new", "hz-hrss", digest=digest, epoch=1)
    return digest


def clients(store: Store) -> tuple[Registered, ...]:
    with store.reading() as connection:
        return held_clients(connection)


def test_nobody_is_locked_out_at_first(either_store: Store) -> None:
    with either_store.reading() as connection:
        assert held_lockouts(connection) == Lockouts()
        assert held_clients(connection) == ()
        assert lockouts.row_of(connection, "hz-new") is None
        assert lockouts.suspended_certificates(connection, "hz-new") == []


def test_registered_client_is_held_with_its_document(either_store: Store) -> None:
    registered(either_store)
    assert clients(either_store) == (Registered("hz-new", "hz-hrss", CLIENT, suspended=False),)


def altered_document(connection: Connection) -> None:
    row = tables.archive
    content = canonical({"client": CLIENT | {"roles": ["auditor"]}})
    connection.execute(update(row).where(row.c.kind == "client").values(content=content))


def lost_document(connection: Connection) -> None:
    connection.execute(delete(tables.archive).where(tables.archive.c.kind == "client"))


def other_document(connection: Connection) -> None:
    """One that nobody registered, with its own digest."""
    digest = archive(connection, "client", canonical({"client": CLIENT | {"roles": ["auditor"]}}))
    connection.execute(update(tables.client).values(digest=digest))


def proposed_document(connection: Connection) -> None:
    """One that was proposed and never approved."""
    connection.execute(update(tables.client).values(digest=write(connection, 1, "proposed")))


def document_of_another(connection: Connection) -> None:
    digest = write(connection, 1, about="client:hz-else")
    connection.execute(update(tables.step).where(tables.step.c.idx == 1).values(about="client:hz-new"))
    connection.execute(update(tables.client).values(digest=digest))


def step_of_a_question(connection: Connection) -> None:
    """A step row over an entry that is no step about a client."""
    digest = write(connection, 1, kind="question")
    connection.execute(update(tables.step).where(tables.step.c.idx == 1).values(kind="client"))
    connection.execute(update(tables.client).values(digest=digest))


def altered_entry(connection: Connection) -> None:
    """The record is another than its leaf hash."""
    row = tables.log_entry
    body = connection.execute(select(row.c.body)).scalar_one()
    digest = archive(connection, "client", canonical({"client": CLIENT | {"roles": ["auditor"]}}))
    said = orjson.loads(body) | {"document": digest}
    connection.execute(update(row).values(body=canonical(said)))
    connection.execute(update(tables.step).values(digest=digest))
    connection.execute(update(tables.client).values(digest=digest))


def lost_entry(connection: Connection) -> None:
    connection.execute(delete(tables.log_entry))


def lost_step(connection: Connection) -> None:
    connection.execute(delete(tables.step))


FORGERIES: tuple[Callable[[Connection], None], ...] = (
    altered_document,
    lost_document,
    other_document,
    proposed_document,
    document_of_another,
    step_of_a_question,
    altered_entry,
    lost_entry,
    lost_step,
)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_client_whom_no_record_bears_out_is_nobody(store: Store, forgery: Callable[[Connection], None]) -> None:
    registered(store)
    with store.writing() as connection:
        forgery(connection)
    # Empty, not None: it must not pass for a client of the directory, whose suspension the row would be.
    assert clients(store) == (Registered("hz-new", "hz-hrss", {}, suspended=False),)


def test_client_of_the_directory_is_suspended_resumed_and_suspended(either_store: Store) -> None:
    for suspended, epoch in ((True, 1), (False, 2), (True, 3)):
        with either_store.writing() as connection:
            if suspended:
                lockouts.suspend_client(connection, "hz-old", "hz-tax", epoch)
            else:
                lockouts.resume_client(connection, "hz-old", epoch, since=1)
        assert clients(either_store) == (Registered("hz-old", "hz-tax", None, suspended),)
        with either_store.reading() as connection:
            row = lockouts.row_of(connection, "hz-old")
            assert row is not None
            assert row.epoch == epoch


def test_suspension_keeps_a_registered_clients_document(either_store: Store) -> None:
    registered(either_store)
    with either_store.writing() as connection:
        lockouts.suspend_client(connection, "hz-new", "hz-hrss", 2)
    assert clients(either_store) == (Registered("hz-new", "hz-hrss", CLIENT, suspended=True),)


@pytest.mark.parametrize("since", [0, 2])
def test_resumption_of_another_suspension_moves_nothing(store: Store, since: int) -> None:
    with store.writing() as connection:
        lockouts.suspend_client(connection, "hz-old", "hz-tax", 1)
    with store.writing() as connection, pytest.raises(Moved):
        lockouts.resume_client(connection, "hz-old", 3, since=since)
    assert clients(store)[0].suspended


def test_resumption_of_nobody_or_of_an_active_client_moves_nothing(store: Store) -> None:
    registered(store)
    for name in ("hz-new", "hz-nobody"):
        with store.writing() as connection, pytest.raises(Moved):
            lockouts.resume_client(connection, name, 2, since=1)


def test_certificates_of_a_client_are_listed_oldest_first(either_store: Store) -> None:
    with either_store.writing() as connection:
        for number, name in ((2, "b"), (1, "a"), (3, "c")):
            client = "hz-other" if name == "c" else "hz-new"
            lockouts.suspend_certificate(connection, name * 43, client, NOW + timedelta(days=number))
    with either_store.reading() as connection:
        rows = lockouts.suspended_certificates(connection, "hz-new")
        assert [(row.thumbprint[0], row.since) for row in rows] == [
            ("a", int((NOW + timedelta(days=1)).timestamp())),
            ("b", int((NOW + timedelta(days=2)).timestamp())),
        ]
        assert held_lockouts(connection).certificates == {"a" * 43, "b" * 43, "c" * 43}


def test_revoked_token_is_kept_until_no_clock_takes_it(either_store: Store) -> None:
    def revoke(jti: str, ends: datetime, now: datetime) -> None:
        with either_store.writing() as connection:
            at = int(ends.timestamp())
            lockouts.revoke_token(connection, jti, client="hz-new", expires_at=at, now=now)

    revoke("first", NOW, NOW)
    revoke("second", NOW + timedelta(minutes=5), NOW + timedelta(seconds=KEPT_S))
    with either_store.reading() as connection:
        assert held_lockouts(connection).tokens == {"first", "second"}
    revoke("third", NOW + timedelta(hours=2), NOW + timedelta(seconds=KEPT_S + 1))
    with either_store.reading() as connection:
        assert held_lockouts(connection).tokens == {"second", "third"}


def proposal(store: Store, identifier: str = "one") -> None:
    with store.writing() as connection:
        client_changes.propose(
            connection,
            {
                "id": identifier,
                "client": "hz-new",
                "department": "hz-hrss",
                "action": client_changes.REGISTER,
                "digest": "sha256-0",
                "proposed_by": "hz-secadmin",
                "proposed_at": 1,
            },
        )


@pytest.mark.parametrize("state", [client_changes.APPROVED, client_changes.REJECTED])
def test_proposal_is_decided_on_once(either_store: Store, state: str) -> None:
    proposal(either_store)
    proposal(either_store, "other")
    with either_store.writing() as connection:
        client_changes.decide(connection, "one", state, "hz-secadmin-2")
    for late in (client_changes.APPROVED, client_changes.REJECTED):
        with either_store.writing() as connection, pytest.raises(Moved):
            client_changes.decide(connection, "one", late, "hz-third")
    with either_store.reading() as connection:
        one, other = client_changes.find(connection, "one"), client_changes.find(connection, "other")
        assert one is not None
        assert other is not None
        assert (one.state, one.decided_by) == (state, "hz-secadmin-2")
        assert (other.state, other.decided_by) == (client_changes.PROPOSED, None)


def test_proposal_of_nobody_is_not_decided_on(store: Store) -> None:
    with store.writing() as connection, pytest.raises(Moved):
        client_changes.decide(connection, "none", client_changes.APPROVED, "hz-secadmin-2")
    with store.reading() as connection:
        assert client_changes.find(connection, "none") is None


def test_id_is_registered_once(either_store: Store) -> None:
    digest = registered(either_store)
    with either_store.writing() as connection, pytest.raises(Moved):
        client_changes.register(connection, "hz-new", "hz-tax", digest=digest, epoch=2)
    assert [row.department for row in clients(either_store)] == ["hz-hrss"]


@pytest.mark.parametrize("resumed", [True, False])
def test_id_that_was_the_directorys_is_registered_unless_it_is_locked_out(store: Store, *, resumed: bool) -> None:
    with store.writing() as connection:
        digest = write(connection, 0)
        lockouts.suspend_client(connection, "hz-new", "hz-tax", 1)
        if resumed:
            lockouts.resume_client(connection, "hz-new", 2, since=1)
            client_changes.register(connection, "hz-new", "hz-hrss", digest=digest, epoch=3)
        else:
            with pytest.raises(Moved):
                client_changes.register(connection, "hz-new", "hz-hrss", digest=digest, epoch=3)
    expected = Registered("hz-new", "hz-hrss", CLIENT, suspended=False)
    assert clients(store) == (expected if resumed else Registered("hz-new", "hz-tax", None, suspended=True),)


def test_document_is_replaced_only_while_it_is_the_one_that_was_read(either_store: Store) -> None:
    first = registered(either_store)
    with either_store.writing() as connection:
        second = write(connection, 1, "changed")
        client_changes.replace(connection, "hz-new", old=first, new=second, epoch=2)
    with either_store.writing() as connection, pytest.raises(Moved):
        client_changes.replace(connection, "hz-new", old=first, new=first, epoch=3)
    with either_store.reading() as connection:
        row = lockouts.row_of(connection, "hz-new")
        assert row is not None
        assert (row.digest, row.epoch) == (second, 2)
        assert connection.execute(select(func.count()).select_from(tables.client)).scalar() == 1
    assert clients(either_store)[0].document == CLIENT
