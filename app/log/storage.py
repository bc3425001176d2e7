"""The node database opened for durable, serialised writing, and the reads that proofs, tiles and audits need.

SQLite runs in WAL mode with synchronous FULL: a commit returns when the bytes are on disk. Writers of one machine
queue on a lock file, because SQLite itself only polls; PostgreSQL locks the head row.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from app.log import tables
from evidence.checkpoint import Checkpoint
from evidence.merkle import EMPTY_ROOT, Frontier
from evidence.note import NoteSigner

TILE = 256


class StoreUnavailable(Exception):
    """The node database could not be read or written. The text names the kind of error, never a value."""


class Store:
    """One node database; shared by threads. `writing` is the only way to change it."""

    def __init__(self, url: str, lock: Path) -> None:
        parsed = make_url(url)
        self.sqlite = parsed.get_backend_name() == "sqlite"
        if self.sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            # Case numbers and operators stand in it in clear; its WAL inherits the mode.
            os.close(os.open(parsed.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self.engine = _engine(url, sqlite=self.sqlite)
        lock.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._threads = threading.Lock()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is durable when the block ends. Raises `StoreUnavailable`; then nothing was kept."""
        try:
            if not self.sqlite:
                with self.engine.begin() as connection:
                    yield connection
                return
            # The thread lock goes first: flock is held per process, so threads would pass it together.
            with self._threads:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX)
                try:
                    with self.engine.begin() as connection:
                        yield connection
                finally:
                    fcntl.flock(self._lock_file, fcntl.LOCK_UN)
        except SQLAlchemyError as error:
            raise StoreUnavailable(type(error).__name__) from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A consistent view for reading. Raises `StoreUnavailable`."""
        try:
            with self.engine.connect() as connection:
                if not self.sqlite:
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")  # noqa: PLW2901
                yield connection
        except SQLAlchemyError as error:
            raise StoreUnavailable(type(error).__name__) from None

    def close(self) -> None:
        """Give back every connection and the lock file."""
        self.engine.dispose()
        os.close(self._lock_file)


def _engine(url: str, *, sqlite: bool) -> Engine:
    if not sqlite:
        return create_engine(
            url,
            pool_size=16,
            max_overflow=48,
            pool_pre_ping=True,
            hide_parameters=True,
            # Whatever the server's default is: a commit returns when it is on disk.
            connect_args={"options": "-c synchronous_commit=on"},
        )
    engine = create_engine(
        url,
        pool_size=16,
        max_overflow=112,
        hide_parameters=True,
        connect_args={"timeout": 10, "check_same_thread": False, "isolation_level": None, "cached_statements": 600},
    )
    event.listen(engine, "connect", _configure_sqlite)
    # Reads use plain BEGIN too: writers never wait for readers in WAL, and the lock file orders the writers.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    for pragma in ("synchronous=FULL", "foreign_keys=OFF", "wal_autocheckpoint=4000"):
        connection.execute(f"PRAGMA {pragma}")
    if mode != "wal":
        raise sqlite3.OperationalError("this SQLite database cannot be written ahead (WAL)")


def prepare(store: Store, signer: NoteSigner) -> None:
    """Write the empty tree's head into a new database; a database that has one is left as it is."""
    with store.writing() as connection:
        if connection.execute(select(tables.log_head.c.id)).first() is None:
            empty = Checkpoint(signer.name, 0, EMPTY_ROOT)
            connection.execute(
                insert(tables.log_head).values(
                    id=1,
                    size=0,
                    frontier=Frontier().to_bytes(),
                    checkpoint=signer.sign(empty.text()),
                    generation=1,
                    epoch=0,
                )
            )


def log_name(store: Store) -> str | None:
    """The name (origin) of the log that a database holds, None before it holds one. Raises `StoreUnavailable`."""
    with store.reading() as connection:
        note = connection.execute(select(tables.log_head.c.checkpoint)).scalar()
    # SPEC: c2sp.org/tlog-checkpoint: the origin is the first line.
    return note.partition("\n")[0] if note is not None else None


def archive(connection: Connection, kind: str, content: bytes) -> str:
    """Keep a document under its digest (`sha256-<hex>`), which is returned; one that is kept already stays."""
    digest = "sha256-" + hashlib.sha256(content).hexdigest()
    made = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {"digest": digest, "kind": kind, "content": content}
    connection.execute(made(tables.archive).on_conflict_do_nothing(), values)
    return digest


def archived(connection: Connection, digest: str) -> bytes | None:
    """The document of that digest; None if there is none, or its bytes are not those that were kept."""
    content = connection.execute(select(tables.archive.c.content).where(tables.archive.c.digest == digest)).scalar()
    if content is None or "sha256-" + hashlib.sha256(content).hexdigest() != digest:
        return None
    return bytes(content)


def checkpoint(connection: Connection) -> tuple[int, str]:
    """Size and signed note of the newest durable tree head."""
    row = connection.execute(select(tables.log_head.c.size, tables.log_head.c.checkpoint)).one()
    return row.size, row.checkpoint


def tile(connection: Connection, level: int, index: int, width: int) -> Sequence[bytes]:
    """The first `width` hashes of a tile; fewer where the tree ends before."""
    low = index * TILE
    if level == 0:
        entry = tables.log_entry.c
        query = select(entry.leaf_hash).where(entry.idx >= low, entry.idx < low + width).order_by(entry.idx)
    else:
        node = tables.log_node.c
        query = (
            select(node.hash).where(node.level == level, node.idx >= low, node.idx < low + width).order_by(node.idx)
        )
    return [bytes(value) for value in connection.execute(query).scalars()]


def entries(connection: Connection, index: int, width: int) -> Sequence[bytes]:
    """The first `width` canonical records of entry bundle `index`."""
    entry = tables.log_entry.c
    query = select(entry.body).where(entry.idx >= index * TILE, entry.idx < index * TILE + width).order_by(entry.idx)
    return [bytes(value) for value in connection.execute(query).scalars()]


def find_decision(connection: Connection, identifier: str) -> Any | None:
    """The index row of one decision joined with its record, or None."""
    query = (
        select(tables.decision, tables.log_entry.c.body, tables.log_entry.c.leaf_hash)
        .join(tables.log_entry, tables.log_entry.c.idx == tables.decision.c.idx)
        .where(tables.decision.c.id == identifier)
    )
    return connection.execute(query).first()


def sealed_answer(connection: Connection, index: int) -> Any | None:
    """Id, record and sealed salt with the answer behind it of one entry; None where the salt was erased."""
    entry, decision, salt = tables.log_entry.c, tables.decision.c, tables.salt.c
    query = (
        select(decision.id, entry.body, salt.sealed)
        .join_from(tables.log_entry, tables.decision, decision.idx == entry.idx)
        .join(tables.salt, salt.idx == entry.idx)
        .where(entry.idx == index)
    )
    return connection.execute(query).first()
