"""Inserts of many rows as one statement: one call into the driver for a whole group, whatever its size.

Inside a group's transaction every call gives up the interpreter lock and has to win it back from all request threads,
while the other processes wait for the writer's lock: with one call a row, that waiting was most of a commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table

KEPT = 1_024  # texts by table and number of rows
VALUES = 20_000  # a statement: SQLite takes 32,766, PostgreSQL 65,535


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, each with a value for every column of the table; no rows, no statement."""
    if rows:
        names, values = _columns(table)
        # One statement for any group of decisions; a revision may bring thousands of agreements.
        most = VALUES // len(names)
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            text = _text(table.name, names, len(part), connection.dialect.paramstyle)
            connection.exec_driver_sql(text, tuple(chain.from_iterable(map(values, part))))


@lru_cache(KEPT)
def _columns(table: Table) -> tuple[tuple[str, ...], itemgetter[Any]]:
    names = tuple(column.name for column in table.columns)
    return names, itemgetter(*names)


@lru_cache(KEPT)
def _text(table: str, names: tuple[str, ...], rows: int, paramstyle: str) -> str:
    mark = "?" if paramstyle == "qmark" else "%s"
    row = f"({', '.join([mark] * len(names))})"
    columns = ", ".join(f'"{name}"' for name in names)
    # Table and column names are this module's callers' own, from app.log.tables.
    return f'INSERT INTO "{table}" ({columns}) VALUES {", ".join([row] * rows)}'  # noqa: S608
