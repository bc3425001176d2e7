from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from app.log import storage, tables
from app.log.migration import upgrade
from app.log.sequencer import Sequencer
from app.log.storage import TILE, Store, StoreUnavailable, prepare
from evidence.checkpoint import open_checkpoint
from evidence.merkle import inclusion_proof, leaf_hash, verify_inclusion
from evidence.note import NoteSigner, NoteVerifier
from tests.unit.app.log.entries import SIZE, entry

CHARGE = {"idx": 0, "account": "a", "amount": 1, "question": None}


def charges(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.charge)).scalar_one())


def test_database_without_tables_is_unavailable(tmp_path: Path, signer: NoteSigner) -> None:
    store = Store(f"sqlite:///{tmp_path / 'empty.db'}", tmp_path / "lock")
    with pytest.raises(StoreUnavailable, match=r"^OperationalError$"):
        prepare(store, signer)
    store.close()


def test_folders_of_database_and_lock_are_made(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/deep/down/node.db", tmp_path / "other" / "writer.lock")
    upgrade(store)
    assert (tmp_path / "deep" / "down" / "node.db").is_file()
    assert (tmp_path / "other" / "writer.lock").stat().st_mode & 0o777 == 0o600
    store.close()


def test_sqlite_is_durable(store: Store) -> None:
    """Promise 2: a commit returns when the bytes are on disk."""
    with store.reading() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2, "FULL"


def test_migrating_again_changes_nothing(store: Store) -> None:
    upgrade(store)
    upgrade(store)
    with store.reading() as connection:
        names = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars())
    assert names == {*tables.metadata.tables, "alembic_version"}


def test_migrations_make_what_the_tables_say(store: Store, tmp_path: Path) -> None:
    def columns(path: Path) -> dict[str, list[tuple[str, str, int, int]]]:
        with closing(sqlite3.connect(path)) as connection:
            return {
                table: [
                    (name, kind, not_null, key)
                    for _, name, kind, not_null, _, key in connection.execute(f"PRAGMA table_info({table})")
                ]
                for table in tables.metadata.tables
            }

    declared = Store(f"sqlite:///{tmp_path / 'declared.db'}", tmp_path / "lock")
    with declared.writing() as connection:
        tables.metadata.create_all(connection)
    declared.close()
    assert columns(tmp_path / "node.db") == columns(tmp_path / "declared.db")


def test_prepared_head_is_that_of_the_empty_tree_and_stays(store: Store, signer: NoteSigner) -> None:
    with store.reading() as connection:
        size, note = storage.checkpoint(connection)
    assert size == 0
    assert open_checkpoint(note, [NoteVerifier.parse(signer.vkey)]).size == 0
    Sequencer(store, signer).append(entry(0))
    prepare(store, signer)
    with store.reading() as connection:
        assert storage.checkpoint(connection)[0] == 1


def test_block_that_fails_leaves_nothing(store: Store) -> None:
    def write_half() -> None:
        with store.writing() as connection:
            connection.execute(insert(tables.charge), [CHARGE])
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert charges(store) == 0


def test_database_error_names_its_kind_and_no_value(store: Store) -> None:
    with pytest.raises(StoreUnavailable) as error, store.writing() as connection:
        connection.execute(insert(tables.charge), [CHARGE | {"account": "canary"}] * 2)
    assert str(error.value) == "IntegrityError"
    assert error.value.__cause__ is None
    assert charges(store) == 0


def test_statement_errors_hide_their_parameters(store: Store) -> None:
    """SQLAlchemy would put the row into the text of its exception."""
    with store.engine.connect() as connection, pytest.raises(IntegrityError) as error:
        connection.execute(insert(tables.charge), [CHARGE | {"account": "canary"}] * 2)
    assert "canary" not in str(error.value)


def test_writers_wait_for_each_other(store: Store) -> None:
    order: list[str] = []
    inside = threading.Event()

    def second() -> None:
        inside.wait(10)
        with store.writing():
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store.writing():
        inside.set()
        threading.Event().wait(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_readers_see_what_was_committed_while_somebody_writes(store: Store) -> None:
    with store.writing() as writer:
        writer.execute(insert(tables.charge), [CHARGE])
        assert charges(store) == 0
    assert charges(store) == 1


def test_failed_writer_lets_the_next_one_in(store: Store) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError), store.writing():
            raise RuntimeError
    with store.writing() as connection:
        connection.execute(insert(tables.charge), [CHARGE])
    assert charges(store) == 1


def test_tiles_and_entries_are_those_of_the_tree(log: Store) -> None:
    with log.reading() as connection:
        size, _ = storage.checkpoint(connection)
        assert size == SIZE
        bodies = [entry(number).body for number in range(size)]
        assert storage.entries(connection, 0, TILE) == bodies[:TILE]
        assert storage.entries(connection, 1, 10) == bodies[TILE:]
        assert storage.entries(connection, 1, TILE) == bodies[TILE:], "fewer where the tree ends"
        assert storage.tile(connection, 0, 0, 3) == [leaf_hash(body) for body in bodies[:3]]
        assert storage.tile(connection, 0, 1, TILE) == [leaf_hash(body) for body in bodies[TILE:]]
        assert len(storage.tile(connection, 1, 0, TILE)) == 1
        assert storage.tile(connection, 2, 0, TILE) == []
        assert storage.entries(connection, 2, TILE) == []


def test_every_entry_is_proved_under_the_head(log: Store, signer: NoteSigner) -> None:
    with log.reading() as connection:
        size, note = storage.checkpoint(connection)
        head = open_checkpoint(note, [NoteVerifier.parse(signer.vkey)])

        def read(level: int, index: int, width: int) -> list[bytes]:
            return list(storage.tile(connection, level, index, width))

        for index in (0, 1, TILE - 1, TILE, size - 1):
            hashes = inclusion_proof(index, size, read)
            verify_inclusion(leaf_hash(entry(index).body), index, size, hashes, head.root)


def test_decision_is_found_with_its_record_or_not_at_all(store: Store, signer: NoteSigner) -> None:
    Sequencer(store, signer).append(entry(5))
    with store.reading() as connection:
        found = storage.find_decision(connection, "decision-00000005")
        assert found is not None
        assert (found.idx, bytes(found.body)) == (0, entry(5).body)
        assert storage.find_decision(connection, "decision-00000006") is None
        assert storage.find_decision(connection, "decision-0000000%") is None


def test_document_is_archived_once_under_its_digest(either_store: Store) -> None:
    content = b'{"agreement":"a"}'
    with either_store.writing() as connection:
        digest = storage.archive(connection, "agreement", content)
        assert storage.archive(connection, "another-kind", content) == digest
    assert digest == "sha256-" + sha256(content).hexdigest()
    with either_store.reading() as connection:
        assert storage.archived(connection, digest) == content
        rows = connection.execute(select(tables.archive.c.kind, tables.archive.c.content)).all()
    assert [(row.kind, bytes(row.content)) for row in rows] == [("agreement", content)]


def test_document_that_nobody_archived_is_none(either_store: Store) -> None:
    with either_store.reading() as connection:
        assert storage.archived(connection, "sha256-" + sha256(b"").hexdigest()) is None


def test_altered_document_is_not_handed_out(either_store: Store) -> None:
    """Who can write to the database must not be able to change what a record names."""
    with either_store.writing() as connection:
        digest = storage.archive(connection, "rules", b"permit(principal, action, resource);")
        connection.execute(update(tables.archive).values(content=b"permit(principal, action, resource) ;"))
    with either_store.reading() as connection:
        assert storage.archived(connection, digest) is None


def test_empty_document_is_a_document(either_store: Store) -> None:
    with either_store.writing() as connection:
        digest = storage.archive(connection, "rules", b"")
    with either_store.reading() as connection:
        assert storage.archived(connection, digest) == b""


def test_kept_answer_is_found_by_its_index_until_its_salt_is_erased(either_store: Store, signer: NoteSigner) -> None:
    Sequencer(either_store, signer).append(entry(5, sealed_salt=b"sealed"))
    with either_store.reading() as connection:
        found = storage.sealed_answer(connection, 0)
        assert found is not None
        assert (found.id, bytes(found.body), bytes(found.sealed)) == ("decision-00000005", entry(5).body, b"sealed")
        assert storage.sealed_answer(connection, 1) is None
    with either_store.writing() as connection:
        connection.execute(delete(tables.salt))
    with either_store.reading() as connection:
        assert storage.sealed_answer(connection, 0) is None
