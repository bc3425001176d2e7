"""Pools of read-only connections, one per source and process, shared by all services bound to that source.

SQLite files are opened with `mode=ro`; PostgreSQL sessions default to read-only transactions. Other
dialects rely on the rights of the account in their URL.
"""

from __future__ import annotations

import math
import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

import psycopg
from psycopg.adapt import Loader
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader
from sqlalchemy import URL, Dialect, Engine, PoolProxiedConnection, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError
from sqlalchemy.pool import QueuePool

from adapters.base import BindingInvalid, SourceUnavailable

CONNECT_TIMEOUT_S: Final = 3
"""How long opening a connection, or waiting for one of the pool, may take."""

_POOL = {"hide_parameters": True, "pool_timeout": CONNECT_TIMEOUT_S, "pool_use_lifo": True}
# Where each statement is a transaction of its own there is nothing to roll back when a connection is given back.
_NO_RESET = {"pool_reset_on_return": None}
# PostgreSQL waits for locks and works; SQLite waits for locks, its work is watched by `_Deadline`.
_LIMITS = {"postgresql": "SET statement_timeout = {}", "sqlite": "PRAGMA busy_timeout = {}"}
# Beyond the deadline, so that a server which keeps its own limit is heard, and its connection kept.
_SILENCE_S = 0.5
_STEPS_BETWEEN_LOOKS = 2000  # of SQLite's virtual machine: some tens of microseconds


@dataclass(slots=True)
class _Shared:
    engine: Engine
    users: int


_shared: dict[str, _Shared] = {}
_lock = Lock()


def open_engine(url: str) -> Engine:
    """Return the engine of a source, the same for the same URL until all who opened it closed it.

    It connects when first used. Raises `BindingInvalid` for what is no URL of an installed dialect; its
    text does not repeat the URL.
    """
    with _lock:
        if url not in _shared:
            _shared[url] = _Shared(_build(url), 0)
        _shared[url].users += 1
        return _shared[url].engine


def close_engine(url: str) -> None:
    """Give back one use of an engine; the last one closes its connections."""
    with _lock:
        shared = _shared.get(url)
        if shared is None:
            return
        shared.users -= 1
        if shared.users == 0:
            _shared.pop(url).engine.dispose()


def _forget_connections() -> None:
    # A connection must not be used on both sides of a fork; the parent keeps it.
    for shared in _shared.values():
        shared.engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_connections)


def limit(connection: PoolProxiedConnection, dialect: Dialect, deadline: float) -> None:
    """Make the next statement give up at `deadline` (of `time.monotonic`), to a tenth of the time left.

    Raises `SourceUnavailable` if it has passed.
    """
    left_ms = math.ceil((deadline - monotonic()) * 1000)
    if left_ms <= 0:
        raise SourceUnavailable("the source took too long")
    if dialect.name not in _LIMITS:
        return
    info = connection.info
    info["deadline"].at = deadline
    # Setting it costs as much as the question: a limit that is at most a tenth too long is left as it stands.
    if not left_ms <= info.get("limit_ms", 0) <= left_ms * 1.1:
        info["limit_ms"] = math.ceil(left_ms * 1.05)
        connection.cursor().execute(_LIMITS[dialect.name].format(info["limit_ms"]))


def _build(url: str) -> Engine:
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql(parsed)
    with suppress(ImportError):
        return create_engine(parsed, pool_recycle=1800, **_POOL)
    raise BindingInvalid(f"url: the driver of {parsed.drivername} is not installed")


def _parsed(url: str) -> URL:
    with suppress(ArgumentError):
        parsed = make_url(url)
        with suppress(ArgumentError, ImportError):  # NoSuchModuleError is an ArgumentError
            parsed.get_dialect()
            return parsed
    raise BindingInvalid("url: no SQLAlchemy URL of an installed dialect")


class _Deadline:
    """When the statements of one connection must have ended; it never refers to its connection."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = math.inf

    def passed(self) -> bool:
        return monotonic() > self.at


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise BindingInvalid("url: a SQLite source is the path of a file")
    path = Path(url.database).absolute()
    address = f"file:{quote(str(path))}?mode=ro"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=32, **_POOL, **_NO_RESET)

    @event.listens_for(engine, "connect")
    def watch(connection: sqlite3.Connection, record: Any) -> None:
        record.info["file"] = _identity(path)
        record.info["deadline"] = deadline = _Deadline()
        connection.set_progress_handler(deadline.passed, _STEPS_BETWEEN_LOOKS)

    @event.listens_for(engine, "checkout")
    def stay_with_the_file(connection: Any, record: Any, proxy: Any) -> None:  # noqa: ARG001 - the event's signature
        # A file that is replaced over night would be read in its old state for as long as it is open.
        if record.info["file"] != _identity(path):
            raise DisconnectionError

    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


class _OpenEnds(Loader):
    """Reads days and times outside Python's calendar (`infinity`, an open end) as its last or first day."""

    def load(self, data: Any) -> Any:
        try:
            return super().load(data)  # type: ignore[safe-super] # mixed in before a loader of psycopg
        except psycopg.DataError:
            text = bytes(data)
            return date.min if text.startswith(b"-") or text.endswith(b"BC") else date.max


_LOADERS = {
    "date": type("_Date", (_OpenEnds, DateLoader), {}),
    "timestamp": type("_Timestamp", (_OpenEnds, TimestampLoader), {}),
    "timestamptz": type("_Timestamptz", (_OpenEnds, TimestamptzLoader), {}),
}


class _BoundedConnection(psycopg.Connection[Any]):
    """Gives up on a server that does not even say that its time is up: frozen, or cut off without a word."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline = _Deadline()

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        left = max(self.deadline.at - monotonic(), 0.0) + _SILENCE_S
        if math.isfinite(left):
            timeout = left if timeout is None else min(left, timeout)
        return super().wait(gen, interval, timeout)


def _postgresql(url: URL) -> Engine:
    if url.get_driver_name() != "psycopg":
        raise BindingInvalid("url: PostgreSQL is read by psycopg: postgresql+psycopg://")
    options = url.query.get("options", "")
    given = options if isinstance(options, str) else " ".join(options)
    defaults = {"connect_timeout": str(CONNECT_TIMEOUT_S), "application_name": "hecha"}
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    arguments["options"] = f"{given} -c default_transaction_read_only=on".strip()
    # Every statement is a transaction of its own, read-only by the session's default: no BEGIN, no COMMIT.
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        connect_args=arguments,
        pool_size=8,
        max_overflow=8,
        **_POOL,
        **_NO_RESET,
    )

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, parameters: Any) -> Any:  # noqa: ARG001 - the signature
        return _BoundedConnection.connect(*args, **parameters)

    @event.listens_for(engine, "connect")
    def watch(connection: _BoundedConnection, record: Any) -> None:
        record.info["deadline"] = connection.deadline
        for kind, loader in _LOADERS.items():
            connection.adapters.register_loader(kind, loader)

    return engine
