"""Statements: names quoted, keys bound, and a form for every dialect."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import nullcontext
from time import monotonic
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Dialect, PoolProxiedConnection
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.default import DefaultDialect

from adapters.base import SourceUnavailable
from adapters.engines import limit
from adapters.lookup import Fetch, lookup, newest, nothing_of

ANY = DefaultDialect(paramstyle="qmark")
NAMED = DefaultDialect(paramstyle="named")
SQLITE: Dialect = SQLiteDialect_pysqlite()
POSTGRESQL: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]

HOSTILE = ["a", "A", "order", 'a"b', "a'b", "a b", "%s", "?", ":keys", "号码", "a;--"]


class Recorder:
    """A connection that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def cursor(self) -> Recorder:
        return self

    def execute(self, text: str, parameters: Any) -> None:
        self.asked.append((text, parameters))

    def fetchall(self) -> list[Any]:
        return []

    def close(self) -> None: ...


def asked(fetch: Fetch, keys: Sequence[str]) -> tuple[str, Any]:
    recorder = Recorder()
    fetch(cast("PoolProxiedConnection", recorder), keys)
    (only,) = recorder.asked
    return only


SELECT = 'SELECT "tax"."wages"."id_no", "tax"."wages"."full name" AS c0 \nFROM "tax"."wages" \nWHERE '
KEYS = "IN (SELECT anon_1.value \nFROM json_each(?) AS anon_1)"


@pytest.mark.parametrize(
    ("dialect", "condition", "parameters"),
    [
        (SQLITE, KEYS, ('["1", "2"]',)),
        (POSTGRESQL, "= any(%(keys)s)", {"keys": '{"1","2"}'}),
        (ANY, "IN (?, ?)", ("1", "2")),
    ],
    ids=["sqlite", "postgresql", "any"],
)
def test_statement_names_only_what_is_bound(dialect: Dialect, condition: str, parameters: Any) -> None:
    text = f'{SELECT}"tax"."wages"."id_no" {condition}'
    assert asked(lookup(dialect, "tax.wages", "id_no", ["full name"]), ["1", "2"]) == (text, parameters)


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRESQL, ANY], ids=["sqlite", "postgresql", "any"])
@given(keys=st.lists(st.text(), min_size=1, max_size=5))
def test_no_key_ever_stands_in_the_statement(dialect: Dialect, keys: list[str]) -> None:
    usual, _ = asked(lookup(dialect, "wages", "id_no", ["a"]), ["1"] * len(keys))
    text, _ = asked(lookup(dialect, "wages", "id_no", ["a"]), keys)
    assert text == usual


@pytest.mark.parametrize("dialect", [SQLITE, ANY, NAMED], ids=["sqlite", "positional", "named"])
@pytest.mark.parametrize("name", HOSTILE)
def test_name_of_any_characters_is_a_name(dialect: Dialect, name: str) -> None:
    connection = sqlite3.connect(":memory:")
    quoted = '"' + name.replace('"', '""') + '"'
    connection.execute(f"CREATE TABLE {quoted} (key TEXT, {quoted} TEXT)")
    connection.executemany(f"INSERT INTO {quoted} VALUES (?, ?)", [(key, "value") for key in (*HOSTILE, "other")])
    source = cast("PoolProxiedConnection", connection)
    rows = lookup(dialect, name, "key", [name])(source, HOSTILE)
    assert {tuple(row) for row in rows} == {(key, "value") for key in HOSTILE}
    assert connection.execute(newest(dialect, name, name)).fetchall() == [("value",)]
    assert connection.execute(nothing_of(dialect, name, [name])).fetchall() == []
    assert connection.execute(nothing_of(dialect, name, [])).fetchall() == []
    connection.close()


def test_name_of_no_column_is_not_taken_for_a_text_by_sqlite() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE wages (id_no TEXT, name TEXT)")
    connection.execute("INSERT INTO wages VALUES ('1', '张伟')")
    source = cast("PoolProxiedConnection", connection)
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        lookup(SQLITE, "wages", "id_no", ["alias"])(source, ["1"])
    for statement in (newest(SQLITE, "wages", "alias"), nothing_of(SQLITE, "wages", ["alias"])):
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(("left_s", "in_time"), [(5.0, True), (0.0, False), (-1.0, False)])
def test_dialect_without_a_limit_of_its_own_starts_nothing_too_late(left_s: float, *, in_time: bool) -> None:
    recorder = Recorder()
    connection = cast("PoolProxiedConnection", recorder)
    with nullcontext() if in_time else pytest.raises(SourceUnavailable):
        limit(connection, ANY, monotonic() + left_s)
    assert recorder.asked == []
