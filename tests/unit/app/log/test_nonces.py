"""A nonce is good once for its client, and the table holds those of the last minutes only."""

from __future__ import annotations

import threading
from hashlib import sha256

import pytest
from sqlalchemy import func, select

from app.log import tables
from app.log.nonces import SWEPT, Nonce, is_spent, spend
from app.log.storage import Store

NOW = 1_800_000_000.0


@pytest.fixture
def store(either_store: Store) -> Store:
    return either_store


def nonce(word: str, client: str = "hz-hrss-benefits", expires_at: float = NOW + 120) -> Nonce:
    return Nonce(client, sha256(word.encode()).digest(), int(expires_at))


def spent(store: Store, one: Nonce, now_s: float = NOW) -> bool:
    with store.writing() as connection:
        return spend(connection, one, now_s)


def count(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.nonce)).scalar_one())


def test_no_nonce_is_spent_at_first(store: Store) -> None:
    assert not is_spent(store, nonce("a"))


def test_nonce_is_good_once(store: Store) -> None:
    assert spent(store, nonce("a"))
    assert is_spent(store, nonce("a"))
    assert not spent(store, nonce("a"))
    assert not spent(store, nonce("a", expires_at=NOW + 999)), "whatever else is said of it"
    assert count(store) == 1


def test_nonce_of_one_client_is_not_that_of_another(store: Store) -> None:
    assert spent(store, nonce("a"))
    assert not is_spent(store, nonce("a", client="hz-tax-levy"))
    assert spent(store, nonce("a", client="hz-tax-levy"))
    assert not is_spent(store, nonce("b"))


def test_nonce_whose_record_was_not_written_is_good_again(store: Store) -> None:
    def fail() -> None:
        with store.writing() as connection:
            assert spend(connection, nonce("a"), NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not is_spent(store, nonce("a"))
    assert spent(store, nonce("a"))


def test_nonce_is_kept_until_its_time_is_over(store: Store) -> None:
    spent(store, nonce("a", expires_at=NOW + 120))
    spent(store, nonce("b", expires_at=NOW + 240), NOW + 120)
    assert is_spent(store, nonce("a")), "to the second"
    spent(store, nonce("c", expires_at=NOW + 241), NOW + 121)
    assert not is_spent(store, nonce("a"))
    assert count(store) == 2


def test_one_spending_takes_a_bounded_number_away(store: Store) -> None:
    with store.writing() as connection:
        for number in range(3 * SWEPT):
            spend(connection, nonce(f"old-{number}", expires_at=NOW + number), NOW - 1)
    spent(store, nonce("new", expires_at=NOW + 9_999), NOW + 1_000)
    assert count(store) == 2 * SWEPT + 1
    assert is_spent(store, nonce(f"old-{SWEPT}")), "the oldest go first"
    assert not is_spent(store, nonce(f"old-{SWEPT - 1}"))


def test_table_stays_as_large_as_the_nonces_of_two_minutes(store: Store) -> None:
    """100 signed questions a second for five minutes: 30,000 nonces, of which those of 121 seconds remain."""
    per_second, most = 100, 0
    for second in range(300):
        with store.writing() as connection:
            for number in range(per_second):
                one = nonce(f"{second}/{number}", expires_at=NOW + second + 120)
                assert spend(connection, one, NOW + second + number / per_second)
        most = max(most, count(store))
    assert most == 121 * per_second


def test_of_many_at_once_one_is_the_first(store: Store) -> None:
    start, won = threading.Barrier(16), []

    def attempt() -> None:
        start.wait()
        if spent(store, nonce("same")):
            won.append(threading.get_ident())

    threads = [threading.Thread(target=attempt) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
