"""The statements that a source is asked with: built once by the dialect, run on the driver's own cursor.

Going through SQLAlchemy's execution would double the price of a question; what it is used for here is quoting, syntax
and pools.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Dialect,
    FromClause,
    PoolProxiedConnection,
    Select,
    bindparam,
    column,
    false,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.sql import quoted_name

Rows: TypeAlias = "Sequence[Sequence[Any]]"
Fetch: TypeAlias = "Callable[[PoolProxiedConnection, Sequence[str]], Rows]"


def relation_of(name: str, columns: Iterable[str]) -> FromClause:
    """Return a relation (`table` or `schema.table`) with its columns, names quoted as they stand."""
    schema, _, relation = name.rpartition(".")
    return table(
        quoted_name(relation, quote=True),
        *(column(quoted_name(item, quote=True)) for item in dict.fromkeys(columns)),
        schema=quoted_name(schema, quote=True) if schema else None,
    )


def lookup(dialect: Dialect, relation: str, key: str, columns: Sequence[str]) -> Fetch:
    """Return a function that fetches key and columns, in this order, of all rows with one of the keys.

    Its statement is built when it is first used: a node of hundreds of services would start late otherwise.
    """
    built = cache(partial(_lookup, dialect, relation, key, tuple(columns)))

    def fetched(connection: PoolProxiedConnection, keys: Sequence[str]) -> Rows:
        return built()(connection, keys)

    return fetched


def _lookup(dialect: Dialect, relation: str, key: str, columns: Sequence[str]) -> Fetch:
    # Columns stand qualified by their relation: SQLite would take a quoted name of no column for a text.
    source = relation_of(relation, (key, *columns))
    wanted = [source.c[key], *(source.c[item].label(f"c{place}") for place, item in enumerate(columns))]
    if dialect.name == "sqlite":
        each = func.json_each(bindparam("keys")).table_valued("value")
        return _held(dialect, select(*wanted).where(source.c[key].in_(select(each.c.value))), json.dumps)
    if dialect.name == "postgresql":
        return _held(dialect, select(*wanted).where(source.c[key] == func.any(bindparam("keys"))), _array)

    def expanded(connection: PoolProxiedConnection, keys: Sequence[str]) -> Rows:
        return fetch(connection, *_text_of(dialect, select(*wanted).where(source.c[key].in_(keys))))

    return expanded


def fetch(connection: PoolProxiedConnection, text: str, parameters: Any = ()) -> Rows:
    """Run a statement on a cursor of its own and return all rows. Raises what the driver raises."""
    cursor = connection.cursor()
    try:
        cursor.execute(text, parameters)
        return cursor.fetchall()
    finally:
        cursor.close()


def newest(dialect: Dialect, relation: str, column: str) -> str:
    """Return the statement that reads the greatest value of a column."""
    return _text_of(dialect, select(func.max(relation_of(relation, (column,)).c[column])))[0]


def nothing_of(dialect: Dialect, relation: str, columns: Iterable[str]) -> str:
    """Return the statement that names a relation and columns (or none) and reads no row."""
    source = relation_of(relation, columns)
    wanted: list[ColumnElement[Any]] = [*source.c] or [literal_column("1")]
    return _text_of(dialect, select(*wanted).select_from(source).where(false()))[0]


def _text_of(dialect: Dialect, statement: Select[Any]) -> tuple[str, Any]:
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    if compiled.positional:
        return str(compiled), tuple(compiled.params[name] for name in compiled.positiontup or ())
    return str(compiled), dict(compiled.params)


def _held(dialect: Dialect, statement: Select[Any], encode: Callable[[Sequence[str]], str]) -> Fetch:
    compiled = statement.compile(dialect=dialect)
    text, positional = str(compiled), compiled.positional

    def held(connection: PoolProxiedConnection, keys: Sequence[str]) -> Rows:
        encoded = encode(keys)
        return fetch(connection, text, (encoded,) if positional else {"keys": encoded})

    return held


def _array(keys: Sequence[str]) -> str:
    """Write keys as an untyped PostgreSQL array: the column gives the type, so char(18) keeps its index."""
    quoted = (key.replace("\\", "\\\\").replace('"', '\\"') for key in keys)
    return "{" + ",".join(f'"{key}"' for key in quoted) + "}"
