"""What the adapters' contract needs of a source to test against: fill it, break it, and bind an adapter to it.

Another adapter joins the suite by another implementation of `SourceUnderTest`, listed in `conftest.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql

from adapters.base import Adapter, Binding
from adapters.sql import SqlAdapter
from tests.servers.postgres import PostgresServer

KEY = b"a key of fingerprints, for tests"

Rows = Sequence[Sequence[str | None]]


class SourceUnderTest(Protocol):
    """A source whose relations have columns of text."""

    def fill(self, relation: str, columns: Sequence[str], rows: Rows) -> None:
        """Create the relation anew with these rows."""
        ...

    def drop_column(self, relation: str, column: str) -> None: ...

    def drop(self, relation: str) -> None: ...

    def make_slow(self, relation: str) -> None:
        """Let every reading of the relation take half a minute."""
        ...

    def stop(self) -> None:
        """Take the source down, under open connections too."""
        ...

    def resume(self) -> None: ...

    def adapter(self, binding: Binding, *, updated: tuple[str, str] | None = None, key: bytes = KEY) -> Adapter: ...


class _Sql:
    url: str

    def __init__(self) -> None:
        self.opened: list[SqlAdapter] = []

    def adapter(self, binding: Binding, *, updated: tuple[str, str] | None = None, key: bytes = KEY) -> SqlAdapter:
        adapter = SqlAdapter(binding, url=self.url, fingerprint_key=key, updated=updated)
        self.opened.append(adapter)
        return adapter

    def close(self) -> None:
        for adapter in self.opened:
            adapter.close()


class SqliteSource(_Sql):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.url = f"sqlite:///{path}"

    def execute(self, *statements: str) -> None:
        connection = sqlite3.connect(self.path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    def fill(self, relation: str, columns: Sequence[str], rows: Rows) -> None:
        connection = sqlite3.connect(self.path)
        connection.execute(f'DROP TABLE IF EXISTS "{relation}"')
        connection.execute(f'CREATE TABLE "{relation}" ({", ".join(f""""{item}" TEXT""" for item in columns)})')
        connection.execute(f'CREATE INDEX "{relation} key" ON "{relation}" ("{columns[0]}")')
        connection.executemany(f'INSERT INTO "{relation}" VALUES ({", ".join("?" * len(columns))})', rows)
        connection.commit()
        connection.close()

    def drop_column(self, relation: str, column: str) -> None:
        self.execute(f'ALTER TABLE "{relation}" DROP COLUMN "{column}"')

    def drop(self, relation: str) -> None:
        self.execute(f'DROP TABLE "{relation}"')

    def make_slow(self, relation: str) -> None:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e9) SELECT 1 FROM n"
        self.execute(
            f'ALTER TABLE "{relation}" RENAME TO "slow {relation}"',
            f'CREATE VIEW "{relation}" AS SELECT * FROM "slow {relation}" '
            f"WHERE (SELECT count(*) FROM ({numbers})) > 0",
        )

    def stop(self) -> None:
        self.path.rename(self.path.with_suffix(".away"))

    def resume(self) -> None:
        self.path.with_suffix(".away").rename(self.path)


class PostgresSource(_Sql):
    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self.server = server
        self.url = server.url()
        self.execute("DROP SCHEMA IF EXISTS public, tax CASCADE", "CREATE SCHEMA public")

    def execute(self, *statements: str | sql.Composed) -> None:
        with self.server.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode() if isinstance(statement, str) else statement)

    def fill(self, relation: str, columns: Sequence[str], rows: Rows) -> None:
        typed = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(item)) for item in columns)
        name = sql.Identifier(relation)
        self.execute(
            sql.SQL("DROP TABLE IF EXISTS {}").format(name),
            sql.SQL("CREATE TABLE {} ({})").format(name, typed),
            sql.SQL("CREATE INDEX ON {} ({})").format(name, sql.Identifier(columns[0])),
        )
        with (
            self.server.connect() as connection,
            connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def drop_column(self, relation: str, column: str) -> None:
        self.execute(f'ALTER TABLE "{relation}" DROP COLUMN "{column}"')

    def drop(self, relation: str) -> None:
        self.execute(f'DROP TABLE "{relation}"')

    def make_slow(self, relation: str) -> None:
        self.execute(
            f'ALTER TABLE "{relation}" RENAME TO "slow {relation}"',
            f'CREATE VIEW "{relation}" AS SELECT * FROM "slow {relation}" WHERE (SELECT 1 FROM pg_sleep(30)) = 1',
        )

    def stop(self) -> None:
        self.server.stop()

    def resume(self) -> None:
        self.server.start()

    def locked(self, relation: str) -> psycopg.Connection[object]:
        """A connection whose open transaction keeps readers out until it is closed."""
        connection = self.server.connect()
        connection.autocommit = False
        connection.execute(sql.SQL("LOCK TABLE {}").format(sql.Identifier(relation)))
        return connection
