"""Writes one SQLite database for each provider department: read by the node, never written by it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from examples.demo.registers import Table, registers
from examples.demo.world import World

LOADED_AT = "2026-11-16T06:00:00+08:00"
"""When the synthetic registers were last loaded; fixed, so that the same seed gives the same bytes."""


def write_sources(world: World, folder: Path) -> list[Path]:
    """Write `<department>.db` for every provider into an existing folder and return the paths.

    A file appears under its name only when it is complete; files of an earlier build are replaced.
    """
    found = []
    for department, tables in registers(world).items():
        path = folder / f"{department}.db"
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
            _load(connection, tables)
        partial.replace(path)
        found.append(path)
    return found


def _load(connection: sqlite3.Connection, tables: Sequence[Table]) -> None:
    # A build that dies is built again from nothing, so neither journal nor fsync is worth its time here.
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    for table in tables:
        _fill(connection, table)
    connection.execute("CREATE TABLE load_status (relation TEXT NOT NULL, loaded_at TEXT NOT NULL)")
    connection.executemany("INSERT INTO load_status VALUES (?, ?)", [(t.name, LOADED_AT) for t in tables])
    connection.execute("COMMIT")


def _fill(connection: sqlite3.Connection, table: Table) -> None:
    columns = ", ".join(f"{column} TEXT" for column in table.columns)
    connection.execute(f"CREATE TABLE {table.name} ({columns})")
    marks = ", ".join("?" for _ in table.columns)
    # Names of relations are this package's own; only values come from outside the statement.
    connection.executemany(f"INSERT INTO {table.name} VALUES ({marks})", table.rows)  # noqa: S608
    indexes = [("UNIQUE ", table.unique)] if table.unique else []
    indexes += [("", columns) for columns in table.indexes]
    for number, (kind, keys) in enumerate(indexes, start=1):
        name = f"{table.name}_{number}"
        connection.execute(f"CREATE {kind}INDEX {name} ON {table.name} ({', '.join(keys)})")
