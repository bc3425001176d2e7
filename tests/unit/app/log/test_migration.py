"""Migrations: a database of an older version keeps all that it holds, and every new one is what the tables say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, MetaData, Table, insert, inspect, select

from app.limits.rebuild import budgets, quotas
from app.log import storage, tables
from app.log.check import check
from app.log.migration import configuration, upgrade
from app.log.sequencer import Sequencer
from app.log.storage import Store
from evidence.checkpoint import Checkpoint
from evidence.merkle import Frontier, leaf_hash
from evidence.note import NoteSigner
from tests.servers.postgres import PostgresServer
from tests.unit.app.log.entries import entry


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A database without any table."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.create_database(f"migration_{abs(hash(tmp_path))}")
    store = Store(url, tmp_path / "old.lock")
    yield store
    store.close()


def at(store: Store, revision: str) -> MetaData:
    """Bring the database to an older version; its tables as they were."""
    with store.writing() as connection:
        command.upgrade(configuration(connection), revision)
        found = MetaData()
        found.reflect(connection)
    return found


def fill(store: Store, signer: NoteSigner, old: MetaData) -> None:
    """Two decisions as version 0001 wrote them, the second with charges, salt and a stored reply."""
    bodies = [entry(number).body for number in range(2)]
    frontier = Frontier().extend([leaf_hash(body) for body in bodies]).frontier
    note = signer.sign(Checkpoint(signer.name, 2, frontier.root()).text())
    rows: dict[str, list[dict[str, Any]]] = {
        "log_head": [{"id": 1, "size": 2, "frontier": frontier.to_bytes(), "checkpoint": note, "generation": 4}],
        "log_entry": [
            {"idx": index, "leaf_hash": leaf_hash(body), "body": body} for index, body in enumerate(bodies)
        ],
        "decision": [
            {name: value for name, value in entry(number).index_row.items() if name != "facts"} | {"idx": number}
            for number in range(2)
        ],
        "salt": [{"idx": 1, "sealed": b"sealed"}],
        "charge": [
            {"idx": 1, "account": "quota/a", "amount": 1, "question": None},
            {"idx": 1, "account": "budget/b", "amount": 1_585, "question": "q"},
        ],
        "idempotency": [
            {"client": "c", "key": "k", "request_digest": b"d", "decision_id": "decision-00000001"}
            | {"claimed_at": 1, "sealed_reply": b"reply"}
        ],
    }
    with store.writing() as connection:
        for name, content in rows.items():
            connection.execute(insert(old.tables[name]), content)


def content(store: Store, columns: dict[str, list[str]]) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of these columns."""
    found = {}
    with store.reading() as connection:
        for table, names in columns.items():
            read = Table(table, MetaData(), *(Column(name) for name in names))
            found[table] = sorted(map(tuple, connection.execute(select(read))), key=str)
    return found


def test_migration_of_a_used_database_loses_nothing(empty: Store, signer: NoteSigner) -> None:
    old = at(empty, "0001")
    fill(empty, signer, old)
    columns = {
        table.name: [column.name for column in table.columns]
        for table in old.tables.values()
        if table.name != "alembic_version"
    }
    before = content(empty, columns)
    upgrade(empty)
    assert content(empty, columns) == before
    assert sum(map(len, before.values())) == 9


def test_migrated_log_is_sound_and_goes_on(empty: Store, signer: NoteSigner) -> None:
    fill(empty, signer, at(empty, "0001"))
    upgrade(empty)
    storage.prepare(empty, signer)
    assert check(empty, signer.vkey).text() == "2 entries: the log is sound"
    assert Sequencer(empty, signer).append(entry(2, epoch=0, generation=4)) == 2
    assert check(empty, signer.vkey).text() == "3 entries: the log is sound"


def test_migrated_charges_count_as_they_did(empty: Store, signer: NoteSigner) -> None:
    """What was spent before stays spent; of which source values is unknown, and begins no account anew."""
    fill(empty, signer, at(empty, "0001"))
    upgrade(empty)
    with empty.reading() as connection:
        row = connection.execute(select(tables.charge).where(tables.charge.c.question == "q")).one()
        assert (row.ceiling, row.fingerprint, bool(row.renewed), row.attribute) == (0, None, False, None)
        assert list(quotas(connection)) == [("quota/a", 1)]
        assert [(name, spent.total, spent.known) for name, spent in budgets(connection)] == [("budget/b", 1_585, "")]


def test_migrated_database_is_what_the_tables_say(empty: Store) -> None:
    upgrade(empty)
    with empty.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []


def test_difference_between_migrations_and_tables_would_be_seen(empty: Store) -> None:
    """The comparison above can fail: a database one version behind is another one."""
    at(empty, "0001")
    with empty.reading() as connection:
        found = compare_metadata(MigrationContext.configure(connection), tables.metadata)
    assert {operation[1].name for operation in found if operation[0] == "add_table"} >= {"agreement", "archive"}


def test_migrating_twice_is_migrating_once(empty: Store) -> None:
    upgrade(empty)
    upgrade(empty)
    with empty.reading() as connection:
        assert set(inspect(connection).get_table_names()) == {*tables.metadata.tables, "alembic_version"}
