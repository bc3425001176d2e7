"""One history under any number of threads: no gap, no loss, nobody left waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, insert, select, text, update

from app.log import tables
from app.log.check import check
from app.log.sequencer import GROUP, NotWritten, ReservationStale, Sequencer
from app.log.storage import Store
from evidence.checkpoint import open_checkpoint
from evidence.merkle import Frontier, leaf_hash
from evidence.note import NoteSigner, NoteVerifier
from tests.unit.app.log.entries import charge, entry, locked


@pytest.fixture
def store(either_store: Store) -> Store:
    return either_store


@pytest.fixture
def sequencer(store: Store, signer: NoteSigner) -> Sequencer:
    return Sequencer(store, signer)


def count(store: Store, table: Any) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def bodies(store: Store) -> list[bytes]:
    with store.reading() as connection:
        return [bytes(row) for row in connection.execute(select(tables.log_entry.c.body)).scalars()]


def sound(store: Store, signer: NoteSigner) -> int:
    """Re-read and re-verify the whole log; returns how many entries it has."""
    report = check(store, signer.vkey)
    assert report.sound, report.text()
    return report.entries


def test_empty_log_has_no_entry_and_a_signed_head(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    assert sound(store, signer) == 0
    assert sequencer.last_index == -1


def test_entries_get_their_places_in_turn(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    for number in range(5):
        assert sequencer.append(entry(number)) == number
        assert sequencer.last_index == number
        assert sound(store, signer) == number + 1


def test_head_is_signed_over_every_entry(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    leaves = []
    for number in range(20):
        item = entry(number)
        sequencer.append(item)
        leaves.append(leaf_hash(item.body))
        with store.reading() as connection:
            note = connection.execute(select(tables.log_head.c.checkpoint)).scalar_one()
        head = open_checkpoint(note, [NoteVerifier.parse(signer.vkey)])
        assert (head.size, head.root) == (number + 1, Frontier().extend(leaves).frontier.root())


def test_two_hundred_threads_share_one_history_without_a_gap(
    store: Store, signer: NoteSigner, sequencer: Sequencer
) -> None:
    """More than one group, and more than one tile."""
    ready = threading.Barrier(200)
    places: dict[int, int] = {}

    def append(number: int) -> None:
        item = entry(number)
        ready.wait()
        places[number] = sequencer.append(item)
        assert item.index == places[number]

    threads = [threading.Thread(target=append, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(places.values()) == list(range(200))
    stored = bodies(store)
    for number, index in places.items():
        assert stored[index] == entry(number).body
    with ThreadPoolExecutor(16) as pool:
        more = list(pool.map(lambda number: sequencer.append(entry(number)), range(200, 280)))
    assert sorted(more) == list(range(200, 280))
    assert sound(store, signer) == 280


def test_threads_that_wait_are_written_together(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    """While one transaction holds the lock the others queue; then they go in as few as there can be."""
    commits: list[Connection] = []
    event.listen(store.engine, "commit", commits.append)
    with ThreadPoolExecutor(64) as pool:
        with locked(store):
            waiting = [pool.submit(sequencer.append, entry(number)) for number in range(64)]
            before = -1
            while len(sequencer._queue) > before:
                before = len(sequencer._queue)
                time.sleep(0.1)
        assert sorted(future.result(30) for future in waiting) == list(range(64))
    assert len(commits) <= 4, "the lock's holder, the first that waited, and all others"
    assert sound(store, signer) == 64


def test_two_processes_share_one_history(store: Store, signer: NoteSigner, tmp_path: Path) -> None:
    """Another process opens the same database with a lock file of the same path."""
    url = store.engine.url.render_as_string(hide_password=False)
    other = Store(url, tmp_path / "writer.lock")
    sequencers = [Sequencer(store, signer), Sequencer(other, signer)]
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda number: sequencers[number % 2].append(entry(number)), range(60)))
    assert sorted(places) == list(range(60))
    assert sound(store, signer) == 60
    other.close()


def test_everything_of_one_decision_is_written_together(store: Store, sequencer: Sequencer) -> None:
    charges = [charge("quota/a", 1), charge("budget/b", 1_585, question="q", fingerprint="k:v", renewed=True)]
    index = sequencer.append(entry(1, sealed_salt=b"sealed", charges=charges))
    with store.reading() as connection:
        assert connection.execute(select(tables.salt)).one() == (index, b"sealed")
        found = connection.execute(select(tables.charge).order_by(tables.charge.c.account)).all()
        assert [row._asdict() for row in found] == [{"idx": 0, **item} for item in reversed(charges)]
        assert connection.execute(select(tables.decision.c.idx, tables.decision.c.id)).one() == (
            0,
            "decision-00000001",
        )


def test_stored_reply_is_made_once_the_index_is_known(store: Store, sequencer: Sequencer) -> None:
    with store.writing() as connection:
        row = {"client": "c", "key": "k", "request_digest": b"d", "decision_id": "x", "claimed_at": 1}
        connection.execute(insert(tables.idempotency), [row])
    sequencer.append(entry(0))

    def completed(index: int) -> dict[str, Any]:
        return {"of_client": "c", "of_key": "k", "of_decision": "x", "new_sealed_reply": b"at %d" % index}

    sequencer.append(entry(1, completed=completed))
    with store.reading() as connection:
        assert connection.execute(select(tables.idempotency.c.sealed_reply)).scalar_one() == b"at 1"


def test_claim_that_another_request_took_over_is_left_to_it(store: Store, sequencer: Sequencer) -> None:
    with store.writing() as connection:
        row = {"client": "c", "key": "k", "request_digest": b"d", "decision_id": "successor", "claimed_at": 1}
        connection.execute(insert(tables.idempotency), [row])
    late = {"of_client": "c", "of_key": "k", "of_decision": "x", "new_sealed_reply": b"late"}
    sequencer.append(entry(0, completed=lambda _index: late))
    with store.reading() as connection:
        assert connection.execute(select(tables.idempotency.c.sealed_reply)).scalar_one() is None


def generation(store: Store, number: int) -> None:
    with store.writing() as connection:
        connection.execute(update(tables.log_head).values(generation=number))


def test_reservation_of_an_older_generation_is_stale(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    generation(store, 5)
    for old in (4, 6, 1):
        with pytest.raises(ReservationStale):
            sequencer.append(entry(old, generation=old))
    assert count(store, tables.log_entry) == 0
    assert sequencer.last_index == -1
    assert sequencer.append(entry(9, generation=5)) == 0
    assert sequencer.append(entry(10)) == 1, "a refusal reserves nothing, so it belongs to no generation"
    assert sound(store, signer) == 2


def test_stale_entry_takes_no_neighbour_with_it(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    generation(store, 5)

    def append(number: int) -> int:
        try:
            return sequencer.append(entry(number, generation=4 if number % 3 == 0 else 5))
        except ReservationStale:
            return -1

    with ThreadPoolExecutor(16) as pool:
        places = list(pool.map(append, range(60)))
    assert [place for number, place in enumerate(places) if number % 3 == 0] == [-1] * 20
    assert sorted(place for place in places if place >= 0) == list(range(40))
    assert sound(store, signer) == 40


@contextmanager
def full_disk(store: Store) -> Iterator[None]:
    """Every insert into the log fails."""
    on, off = (
        (
            "CREATE TRIGGER full_disk BEFORE INSERT ON log_entry BEGIN SELECT RAISE(ABORT, 'full'); END",
            "DROP TRIGGER full_disk",
        )
        if store.sqlite
        else (
            "ALTER TABLE log_entry ADD CONSTRAINT full_disk CHECK (false) NOT VALID",
            "ALTER TABLE log_entry DROP CONSTRAINT full_disk",
        )
    )
    with store.writing() as connection:
        connection.execute(text(on))
    yield
    with store.writing() as connection:
        connection.execute(text(off))


def test_followers_wake_when_their_leader_fails(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    def append(number: int) -> str:
        try:
            return f"at {sequencer.append(entry(number))}"
        except NotWritten as error:
            return str(error)

    with full_disk(store), ThreadPoolExecutor(32) as pool:
        futures = [pool.submit(append, number) for number in range(100)]
        results = {future.result(30) for future in futures}
    assert results == {"IntegrityError"}
    assert sequencer.last_index == -1
    assert append(100) == "at 0"
    assert sound(store, signer) == 1


def test_a_reply_that_cannot_be_made_fails_its_group_and_wakes_it(store: Store, sequencer: Sequencer) -> None:
    def broken(_index: int) -> dict[str, Any]:
        raise RuntimeError("canary")

    with pytest.raises(NotWritten, match=r"^RuntimeError$"):
        sequencer.append(entry(0, completed=broken))
    assert count(store, tables.log_entry) == 0
    assert sequencer.append(entry(1)) == 0


def test_same_decision_is_never_written_twice(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    assert sequencer.append(entry(1)) == 0
    with pytest.raises(NotWritten):
        sequencer.append(entry(1))
    assert sound(store, signer) == 1


def test_head_that_moved_meanwhile_is_not_overwritten(store: Store, signer: NoteSigner, sequencer: Sequencer) -> None:
    """Compare-and-swap: a writer that ignored the lock loses, and there are never two histories."""
    on, off = (
        (
            (
                "CREATE TRIGGER rival BEFORE UPDATE OF checkpoint ON log_head WHEN old.size = 0 BEGIN "
                "UPDATE log_head SET size = 7 WHERE id = 1; SELECT RAISE(IGNORE); END"
            ),
            "DROP TRIGGER rival",
        )
        if store.sqlite
        else (
            "CREATE RULE rival AS ON UPDATE TO log_head WHERE old.size = 0 DO INSTEAD NOTHING",
            "DROP RULE rival ON log_head",
        )
    )
    with store.writing() as connection:
        connection.execute(text(on))
    with pytest.raises(NotWritten, match="moved under the writer"):
        sequencer.append(entry(0))
    assert count(store, tables.log_entry) == 0
    with store.writing() as connection:
        connection.execute(text(off))


def test_group_is_bounded() -> None:
    """A transaction holds the lock for at most 50 ms, so a group must not grow with the queue."""
    assert 16 <= GROUP <= 256


def test_body_is_stored_as_it_was_sealed(store: Store, sequencer: Sequencer) -> None:
    item = entry(3)
    sequencer.append(item)
    assert bodies(store) == [item.body]
