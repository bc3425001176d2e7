from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update

from app.log import tables
from app.log.idempotency import ABANDONED, LIFETIME, Claim, Idempotency, Stored, check_key
from app.log.sealing import Sealer
from app.log.storage import Store
from app.refusals import Refusal

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
MINE = Claim("hz-hrss-benefits", "key-1", b"digest", "decision-1")
AGAIN = Claim(MINE.client, MINE.key, MINE.digest, "decision-2")


@pytest.fixture
def keys(store: Store) -> Idempotency:
    return Idempotency(store, Sealer(b"k" * 32))


def answer(keys: Idempotency, store: Store, claim: Claim, body: bytes) -> None:
    """Store the reply, as the sequencer does in the record's own transaction."""
    values = keys.completed(claim, body)
    table = tables.idempotency
    with store.writing() as connection:
        mine = (table.c.client == values["of_client"]) & (table.c.key == values["of_key"])
        connection.execute(update(table).where(mine).values(sealed_reply=values["new_sealed_reply"]))


def rows(store: Store) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.idempotency)).scalar_one())


def conflict(keys: Idempotency, claim: Claim, now: datetime = NOW) -> int:
    with pytest.raises(Refusal) as refused:
        keys.claim(claim, now)
    assert refused.value.slug == "idempotency-conflict"
    status: int = refused.value.members["status"]
    return status


def test_new_key_is_claimed(keys: Idempotency, store: Store) -> None:
    assert keys.claim(MINE, NOW) is None
    assert rows(store) == 1


def test_running_request_is_waited_for(keys: Idempotency) -> None:
    keys.claim(MINE, NOW)
    assert conflict(keys, AGAIN) == 409


def test_finished_request_gives_its_reply(keys: Idempotency, store: Store) -> None:
    keys.claim(MINE, NOW)
    answer(keys, store, MINE, b'{"result":"match"}')
    for _ in range(2):
        assert keys.claim(AGAIN, NOW) == Stored("decision-1", b'{"result":"match"}')


def test_other_request_under_the_same_key_is_a_conflict_running_or_not(keys: Idempotency, store: Store) -> None:
    other = Claim(MINE.client, MINE.key, b"other digest", "decision-2")
    keys.claim(MINE, NOW)
    assert conflict(keys, other) == 422
    answer(keys, store, MINE, b"{}")
    assert conflict(keys, other) == 422


def test_another_clients_key_is_another_key(keys: Idempotency, store: Store) -> None:
    keys.claim(MINE, NOW)
    assert keys.claim(Claim("hz-hrss-review", MINE.key, b"other", "decision-2"), NOW) is None
    assert rows(store) == 2


def test_reply_is_kept_for_a_day_and_not_longer(keys: Idempotency, store: Store) -> None:
    keys.claim(MINE, NOW)
    answer(keys, store, MINE, b"{}")
    assert keys.claim(AGAIN, NOW + LIFETIME) == Stored("decision-1", b"{}")
    assert keys.claim(AGAIN, NOW + LIFETIME + timedelta(milliseconds=1)) is None
    assert rows(store) == 1


def test_claim_of_a_process_that_died_lapses(keys: Idempotency) -> None:
    keys.claim(MINE, NOW)
    assert conflict(keys, AGAIN, NOW + ABANDONED) == 409
    assert keys.claim(AGAIN, NOW + ABANDONED + timedelta(milliseconds=1)) is None


def test_released_claim_is_free_again(keys: Idempotency, store: Store) -> None:
    keys.claim(MINE, NOW)
    keys.release(MINE)
    assert rows(store) == 0
    assert keys.claim(AGAIN, NOW) is None


def test_release_takes_nobody_elses_claim_and_no_reply(keys: Idempotency, store: Store) -> None:
    """A slow first request must not free the key of the one that took over."""
    keys.claim(MINE, NOW)
    keys.release(AGAIN)
    assert rows(store) == 1
    answer(keys, store, MINE, b"{}")
    keys.release(MINE)
    assert keys.claim(AGAIN, NOW) == Stored("decision-1", b"{}")


def test_of_many_at_once_one_claims(keys: Idempotency) -> None:
    def attempt(number: int) -> bool:
        try:
            return keys.claim(Claim(MINE.client, MINE.key, MINE.digest, f"decision-{number}"), NOW) is None
        except Refusal as refusal:
            return bool(refusal.members["status"] != 409)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(30))) == 1


def test_broken_database_claims_nothing(keys: Idempotency, store: Store) -> None:
    with store.writing() as connection:
        connection.execute(text("DROP TABLE idempotency"))
    with pytest.raises(Refusal) as refused:
        keys.claim(MINE, NOW)
    assert refused.value.slug == "record-not-written"
    keys.release(MINE)


@given(st.text(max_size=140))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_key_is_1_to_128_visible_ascii_characters(key: str) -> None:
    if 1 <= len(key) <= 128 and all("!" <= character <= "~" for character in key):
        check_key(key)
        return
    with pytest.raises(Refusal) as refused:
        check_key(key)
    assert refused.value.slug == "invalid-request"
