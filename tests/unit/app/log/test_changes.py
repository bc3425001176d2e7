"""Steps with changes in one history with decisions: what a decision rests on has not changed behind its back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, func, insert, select

from app.log import tables
from app.log.check import check
from app.log.sequencer import Entry, NotWritten, Place, RegistryChanged, ReservationStale, Sequencer
from app.log.storage import Store, archive
from app.refusals import Refusal
from evidence.note import NoteSigner
from tests.unit.app.log.entries import entry, locked

REFUSED = Refusal("conflict", "It stands otherwise by now.")


@pytest.fixture
def store(either_store: Store) -> Store:
    return either_store


@pytest.fixture
def sequencer(store: Store, signer: NoteSigner) -> Sequencer:
    return Sequencer(store, signer)


@pytest.fixture(autouse=True)
def log_stays_sound(store: Store, signer: NoteSigner) -> Iterator[None]:
    """Whatever a test did, the whole log verifies after it."""
    yield
    assert check(store, signer.vkey).sound


def documents(store: Store) -> list[bytes]:
    with store.reading() as connection:
        return sorted(bytes(content) for content in connection.execute(select(tables.archive.c.content)).scalars())


def size(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.log_entry)).scalar_one())


def epoch(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(tables.log_head.c.epoch)).scalar_one())


def step(number: int, change: Callable[[Connection, Place], None] | None = None, *, moves: bool = True) -> Entry:
    """A step that says its number in the archive, and moves the epoch."""

    def keep(connection: Connection, place: Place) -> None:
        archive(connection, "test", b"document %d" % number)
        if change is not None:
            change(connection, place)

    row = {"about": "x", "kind": "agreement", "state": "active", "at": number}
    row |= {"department": None, "client": None, "digest": None}
    return entry(number, change=keep, moves_epoch=moves, step=row)


def refuse(_connection: Connection, _place: Place) -> None:
    raise REFUSED


def together(store: Store, sequencer: Sequencer, entries: list[Entry]) -> list[Exception | int]:
    """Append all as one group, in this order, behind an entry at index 0; what came of each."""
    results: dict[int, Exception | int] = {}

    def append(place: int, item: Entry) -> None:
        try:
            results[place] = sequencer.append(item)
        except Exception as error:  # noqa: BLE001 - what came of it is the result
            results[place] = error

    threads = []
    with locked(store):
        # On PostgreSQL the first waits for the head with nobody but itself in its group.
        for place, item in enumerate([entry(9_999), *entries]):
            before = len(sequencer._queue)
            threads.append(threading.Thread(target=append, args=(place, item)))
            threads[-1].start()
            deadline = time.monotonic() + (10 if place else 0.1)
            while len(sequencer._queue) <= before and time.monotonic() < deadline:
                time.sleep(0.002)
    for thread in threads:
        thread.join(20)
    assert results[0] == 0
    return [results[place] for place in range(1, len(threads))]


def test_step_is_written_with_its_change_and_its_row(store: Store, sequencer: Sequencer) -> None:
    seen: list[Place] = []
    sequencer.append(entry(0))
    assert sequencer.append(step(1, lambda _, place: seen.append(place))) == 1
    assert seen == [Place(index=1, epoch=1)]
    assert documents(store) == [b"document 1"]
    with store.reading() as connection:
        row = connection.execute(select(tables.step)).one()
    assert (row.idx, row.about, row.kind, row.state, row.at) == (1, "x", "agreement", "active", 1)


def test_notice_stands_beside_its_record(store: Store, sequencer: Sequencer) -> None:
    sequencer.append(entry(0))
    sequencer.append(entry(1, notice="hz-tax"))
    with store.reading() as connection:
        assert [tuple(row) for row in connection.execute(select(tables.notice))] == [(1, "hz-tax")]


def test_epoch_moves_with_what_decisions_rest_on_and_with_nothing_else(store: Store, sequencer: Sequencer) -> None:
    for number, moves, expected in ((0, True, 1), (1, False, 1), (2, True, 2)):
        sequencer.append(step(number, moves=moves))
        assert epoch(store) == expected
    sequencer.append(entry(3))
    assert epoch(store) == 2


def test_refused_change_is_not_written_and_leaves_nothing(store: Store, sequencer: Sequencer) -> None:
    with pytest.raises(Refusal) as refused:
        sequencer.append(step(0, refuse))
    assert refused.value is REFUSED
    assert (size(store), epoch(store), documents(store)) == (0, 0, [])
    assert sequencer.last_index == -1
    assert sequencer.append(entry(1)) == 0


def test_refused_change_leaves_the_others_of_its_group_in(store: Store, sequencer: Sequencer) -> None:
    results = together(store, sequencer, [step(0), step(1, refuse), step(2), entry(3)])
    assert results == [1, REFUSED, 2, 3]
    assert documents(store) == [b"document 0", b"document 2"]
    assert epoch(store) == 2


def test_change_that_breaks_a_constraint_is_not_written_and_leaves_the_others_in(
    store: Store, sequencer: Sequencer
) -> None:
    """Two agreements for one place: the second loses, whatever it read before."""

    def claim(connection: Connection, _place: Place) -> None:
        row = {"party": "a", "service": "s", "purpose": "p", "agreement": "x"}
        connection.execute(insert(tables.agreement_active), [row])

    first, second, third = together(store, sequencer, [step(0, claim), step(1, claim), step(2)])
    assert (first, third) == (1, 2)
    assert isinstance(second, NotWritten)
    assert str(second) == "IntegrityError"
    assert documents(store) == [b"document 0", b"document 2"]
    assert epoch(store) == 2


def test_change_that_fails_otherwise_is_not_written_and_tells_no_value(store: Store, sequencer: Sequencer) -> None:
    def broken(_connection: Connection, _place: Place) -> None:
        raise KeyError("canary")

    with pytest.raises(NotWritten, match=r"^KeyError$"):
        sequencer.append(step(0, broken))
    assert (size(store), documents(store), epoch(store)) == (0, [], 0)


def test_decision_of_another_epoch_is_not_written(store: Store, sequencer: Sequencer) -> None:
    sequencer.append(step(0))
    for number, old in ((1, 0), (2, 2)):
        with pytest.raises(RegistryChanged):
            sequencer.append(entry(number, epoch=old))
    assert size(store) == 1
    assert sequencer.append(entry(3, epoch=1)) == 1
    assert sequencer.append(entry(4)) == 2, "a refusal before any decision rests on nothing"


def test_no_decision_is_written_behind_a_change_of_its_own_group(store: Store, sequencer: Sequencer) -> None:
    """The revocation and the permit travel in one transaction: order in the log decides."""
    before, changed, after, anew = together(
        store, sequencer, [entry(0, epoch=0), step(1), entry(2, epoch=0), entry(3, epoch=1)]
    )
    assert (before, changed, anew) == (1, 2, 3)
    assert isinstance(after, RegistryChanged)


def test_change_that_was_refused_outdates_nothing(store: Store, sequencer: Sequencer) -> None:
    results = together(store, sequencer, [step(0, refuse), entry(1, epoch=0)])
    assert results == [REFUSED, 1]


def test_decision_that_has_run_out_is_not_written(store: Store, sequencer: Sequencer) -> None:
    """Expiry is exact: the moment is held against the clock of the transaction, not of the decision."""
    now = time.time()
    for number, until in enumerate((now - 0.001, now - 86_400, 0.0)):
        with pytest.raises(RegistryChanged):
            sequencer.append(entry(number, until=until))
    assert size(store) == 0
    assert sequencer.append(entry(9, until=now + 60)) == 0


def test_decision_that_runs_out_while_it_waits_is_not_written(store: Store, sequencer: Sequencer) -> None:
    with ThreadPoolExecutor(1) as pool:
        with locked(store):
            waiting = pool.submit(sequencer.append, entry(0, until=time.time() + 0.2))
            time.sleep(0.3)
        with pytest.raises(RegistryChanged):
            waiting.result(10)
    assert size(store) == 0


def test_stale_reservation_is_told_before_its_change_is_made(store: Store, sequencer: Sequencer) -> None:
    item = step(0)
    item.generation = 99
    with pytest.raises(ReservationStale):
        sequencer.append(item)
    assert documents(store) == []


def test_no_permit_follows_its_revocation_however_many_race(store: Store, sequencer: Sequencer) -> None:
    """Asserted on order: each decision of an epoch stands before the change that ended it."""
    made_under: dict[int, int] = {}

    def ask(number: int) -> None:
        for attempt in range(6):
            try:
                made_under[sequencer.append(entry(1_000 + number, epoch=attempt))] = attempt
            except RegistryChanged:
                continue
            return

    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(ask, number) for number in range(40)]
        moved = [pool.submit(sequencer.append, step(number)) for number in range(5)]
        for future in asked:
            future.result(60)
        assert sorted(future.result(60) for future in moved) == sorted({future.result(60) for future in moved})
    with store.reading() as connection:
        changes = sorted(connection.execute(select(tables.step.c.idx)).scalars())
    assert len(changes) == 5
    assert made_under
    for index, made in made_under.items():
        assert sum(change < index for change in changes) == made


def test_thousands_that_go_along_are_written_with_it_or_not_at_all(store: Store, sequencer: Sequencer) -> None:
    """A revision with all its agreements: more rows than one statement takes."""
    count = 2_500
    first = step(0)
    first.also = tuple(step(number) for number in range(1, count))
    assert sequencer.append(first) == 0
    assert [one.index for one in first.also] == list(range(1, count))
    assert (size(store), epoch(store), len(documents(store))) == (count, 1, count)
    again = step(count)
    again.also = (*(step(count + number) for number in range(1, 40)), step(count + 40, refuse))
    with pytest.raises(Refusal):
        sequencer.append(again)
    assert (size(store), epoch(store), len(documents(store))) == (count, 1, count)


def test_what_goes_along_is_written_right_behind_with_places_of_its_own(store: Store, sequencer: Sequencer) -> None:
    """One agreement takes another's place: neither record stands without the other, and the epoch moves once."""
    places: list[Place] = []

    def seen(_connection: Connection, place: Place) -> None:
        places.append(place)

    first = step(0, seen)
    first.also = (step(1, seen), entry(2))
    assert sequencer.append(first) == 0
    assert places == [Place(0, 1), Place(1, 1)]
    assert [one.index for one in first.also] == [1, 2]
    assert (size(store), epoch(store), documents(store)) == (3, 1, [b"document 0", b"document 1"])
    assert sequencer.append(entry(3)) == 3


def test_what_goes_along_is_refused_with_the_whole(store: Store, sequencer: Sequencer) -> None:
    first = step(0)
    first.also = (step(1, refuse),)
    assert together(store, sequencer, [first, entry(2)]) == [REFUSED, 1]
    assert documents(store) == []
