"""The atomic front: reserved, refunded, settled, renewed; never open when it cannot be trusted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from sqlalchemy import insert, select

from app.limits.account import SHANGHAI, Account, Reservation, charges_of
from app.limits.limiter import RECORDED_WITHIN_S, SWEPT_AFTER_S, Limiter, _run_id
from app.limits.rebuild import STATE
from app.log import tables
from app.log.sequencer import Sequencer
from app.log.storage import Store
from app.refusals import Refusal
from evidence.note import NoteSigner
from tests.unit.app.log.entries import charge as charge_row
from tests.unit.app.log.entries import entry

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=SHANGHAI)
QUOTA = Account("quota/hz-hrss/terms/2026-11", 1, 3, resets_at=END)
BUDGET = Account("budget/AAAA", 1_585, 4_000, question="q1", attribute="hz-tax/wages.start", column="start")


def reserve(limiter: Limiter, identifier: str, *accounts: Account) -> tuple[dict[str, Any], ...]:
    return tuple(dict(charge) for charge in limiter.reserve(identifier, accounts, -1, NOW).charges)


def stopped(limiter: Limiter, identifier: str, *accounts: Account) -> Refusal:
    with pytest.raises(Refusal) as refused:
        limiter.reserve(identifier, accounts, -1, NOW)
    return refused.value


def test_question_that_draws_on_nothing_is_reserved_with_nothing(limiter: Limiter) -> None:
    reservation = limiter.reserve("none", [], -1, NOW)
    assert (reservation.charges, reservation.accounts) == ((), ())


def test_limit_of_zero_lets_nothing_through(limiter: Limiter, names: Iterator[str]) -> None:
    assert stopped(limiter, next(names), replace(QUOTA, limit=0)).slug == "quota-exceeded"
    assert stopped(limiter, next(names), replace(BUDGET, limit=0)).slug == "budget-exhausted"


def test_charges_are_what_was_drawn(limiter: Limiter) -> None:
    assert reserve(limiter, "one", QUOTA, BUDGET) == (
        charge_row(QUOTA.name, 1, ceiling=3),
        charge_row(BUDGET.name, 1_585, question="q1", attribute="hz-tax/wages.start"),
    )


def test_reservation_says_what_each_account_stands_at(limiter: Limiter, names: Iterator[str]) -> None:
    assert limiter.reserve(next(names), [QUOTA, BUDGET], -1, NOW).spent == (1, 1_585)
    again = limiter.reserve(next(names), [QUOTA, replace(BUDGET, question="q2")], -1, NOW)
    assert again.spent == (2, 3_170)


def test_last_unit_is_granted_and_the_next_is_not(limiter: Limiter, names: Iterator[str]) -> None:
    for _ in range(3):
        assert reserve(limiter, next(names), QUOTA)
    refusal = stopped(limiter, next(names), QUOTA)
    assert refusal.slug == "quota-exceeded"
    assert refusal.headers["Retry-After"] == str(int((END - NOW).total_seconds()))


def test_budget_may_be_used_up_to_the_last_bit(limiter: Limiter, names: Iterator[str]) -> None:
    half = replace(BUDGET, amount=2_000)
    assert reserve(limiter, next(names), half)
    assert reserve(limiter, next(names), replace(half, question="q2"))
    assert stopped(limiter, next(names), replace(half, amount=1, question="q3")).slug == "budget-exhausted"


def test_all_accounts_are_drawn_on_or_none(limiter: Limiter, names: Iterator[str]) -> None:
    """A question that one account stops leaves no trace on the others."""
    for _ in range(5):
        assert stopped(limiter, next(names), QUOTA, replace(BUDGET, limit=0)).slug == "budget-exhausted"
    for _ in range(3):
        assert reserve(limiter, next(names), QUOTA)


def test_question_is_paid_for_once(limiter: Limiter, names: Iterator[str]) -> None:
    limiter.settle(limiter.reserve(next(names), [BUDGET], -1, NOW), 1)
    assert reserve(limiter, next(names), BUDGET) == ()
    assert reserve(limiter, next(names), replace(BUDGET, limit=0)) == (), "free under a tighter limit, too"


def test_question_that_is_only_reserved_is_not_free(limiter: Limiter, names: Iterator[str]) -> None:
    """Its source may yet fail, and then nobody would have paid for the answer that another one got."""
    first = limiter.reserve(next(names), [BUDGET], -1, NOW)
    assert reserve(limiter, next(names), BUDGET) == tuple(map(dict, first.charges))
    limiter.refund(first)
    assert reserve(limiter, next(names), BUDGET) == tuple(map(dict, first.charges))


def test_refund_of_one_leaves_what_another_paid(limiter: Limiter, names: Iterator[str]) -> None:
    failed = limiter.reserve(next(names), [BUDGET], -1, NOW)
    limiter.settle(limiter.reserve(next(names), [BUDGET], -1, NOW), 1)
    assert reserve(limiter, next(names), BUDGET) == ()
    limiter.refund(failed)
    assert reserve(limiter, next(names), BUDGET) == ()


def test_tightest_limit_wins(limiter: Limiter, names: Iterator[str]) -> None:
    assert reserve(limiter, next(names), BUDGET)
    other = replace(BUDGET, question="q2")
    assert stopped(limiter, next(names), replace(other, limit=3_000)).slug == "budget-exhausted"
    assert reserve(limiter, next(names), replace(other, limit=4_000))


def test_reserving_again_under_the_same_id_changes_nothing(limiter: Limiter, names: Iterator[str]) -> None:
    first = reserve(limiter, "same", QUOTA, BUDGET)
    for _ in range(5):
        assert reserve(limiter, "same", QUOTA, BUDGET) == first
    assert reserve(limiter, next(names), QUOTA)
    assert reserve(limiter, next(names), QUOTA)
    assert stopped(limiter, next(names), QUOTA).slug == "quota-exceeded"


def test_refund_gives_everything_back_once(limiter: Limiter, names: Iterator[str]) -> None:
    single, three = replace(QUOTA, limit=1), replace(BUDGET, limit=1_585)
    reservation = limiter.reserve("refunded", [single, three], -1, NOW)
    for _ in range(3):
        limiter.refund(reservation)
    charges = reserve(limiter, next(names), single, three)
    assert [charge["amount"] for charge in charges] == [1, 1_585]
    assert stopped(limiter, next(names), single).slug == "quota-exceeded"


def test_quotas_counter_is_forgotten_a_day_after_its_period_but_no_budget(limiter: Limiter, url: str) -> None:
    limiter.reserve("one", [QUOTA, BUDGET], -1, NOW)
    with closing(redis.Redis.from_url(url)) as client:
        assert client.ttl(f"hecha:account:{QUOTA.name}") == pytest.approx((END - NOW).total_seconds() + 86_400, abs=5)
        assert client.ttl(f"hecha:account:{BUDGET.name}") == -1


def test_of_many_at_once_exactly_the_limit_passes(limiter: Limiter) -> None:
    account = replace(QUOTA, limit=40)

    def attempt(number: int) -> int:
        try:
            return len(limiter.reserve(f"id-{number}", [account], -1, NOW).charges)
        except Refusal:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(100))) == 40


def charge(store: Store, index: int, account: str, amount: int, *, question: str | None = None) -> None:
    """Write one charge as the sequencer does."""
    with store.writing() as connection:
        connection.execute(insert(tables.charge), [{"idx": index, **charge_row(account, amount, question=question)}])


def test_rebuilt_accounts_are_the_sums_of_their_charges(limiter: Limiter, store: Store, names: Iterator[str]) -> None:
    for index in range(2):
        charge(store, index, QUOTA.name, 1)
    charge(store, 3, BUDGET.name, 1_585, question="q1")
    limiter.rebuild(at_start=True)
    assert reserve(limiter, next(names), BUDGET) == ()
    assert stopped(limiter, next(names), replace(BUDGET, limit=2_000, question="q2")).slug == "budget-exhausted"
    assert reserve(limiter, next(names), QUOTA)
    assert stopped(limiter, next(names), QUOTA).slug == "quota-exceeded"


def test_rebuild_at_start_raises_the_generation_of_the_log(limiter: Limiter, store: Store, url: str) -> None:
    def generations() -> tuple[int, int]:
        with store.reading() as connection, closing(redis.Redis.from_url(url)) as client:
            known = connection.execute(select(tables.log_head.c.generation)).scalar_one()
            return known, int(client.hget(STATE, "generation") or 0)

    limiter.rebuild(at_start=True)
    first = generations()
    limiter.rebuild(at_start=True)
    assert generations() == (first[0] + 1, first[1] + 1)
    assert first[0] == first[1]


def test_rebuild_leaves_what_another_process_rebuilt(limiter: Limiter, store: Store, url: str) -> None:
    limiter.rebuild(at_start=True)
    generation = limiter.reserve("a", [], -1, NOW).generation
    Limiter(url, store).rebuild()
    assert limiter.reserve("b", [], -1, NOW).generation == generation


def test_distrusted_accounts_are_rebuilt_before_the_next_question(limiter: Limiter, names: Iterator[str]) -> None:
    """What was reserved and never recorded is gone after it."""
    single = replace(QUOTA, limit=1)
    before = limiter.reserve(next(names), [single], -1, NOW).generation
    limiter.distrust()
    assert limiter.reserve(next(names), [single], -1, NOW).generation == before + 1


@pytest.mark.parametrize("url", ["unix:///nowhere/valkey.sock", "redis://127.0.0.1:1/0"])
def test_redis_that_cannot_be_reached_stops_everything(store: Store, url: str) -> None:
    """T16: zero pass, never unlimited."""
    limiter = Limiter(url, store)
    for _ in range(2):
        refusal = stopped(limiter, "one", QUOTA)
        assert (refusal.slug, refusal.headers) == ("limiter-unavailable", {"Retry-After": "1"})
    with pytest.raises(Refusal, match="try again shortly"):
        limiter.rebuild()
    limiter.distrust()
    limiter.refund(Reservation("one", (), (), 1))


def test_connection_that_was_cut_is_made_anew_unnoticed(limiter: Limiter, url: str, names: Iterator[str]) -> None:
    assert reserve(limiter, next(names), QUOTA)
    with closing(redis.Redis.from_url(url)) as client:
        for connected in client.client_list():
            if connected["id"] != str(client.client_id()):
                client.client_kill_filter(_id=connected["id"])
        client.script_flush()
    assert reserve(limiter, next(names), QUOTA)


def test_redis_that_may_evict_accounts_is_not_trusted(limiter: Limiter, url: str) -> None:
    with closing(redis.Redis.from_url(url)) as client:
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(Refusal) as refused:
                limiter.rebuild(at_start=True)
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert refused.value.slug == "limiter-unavailable"


def test_process_that_knows_of_later_commits_distrusts_an_older_redis(store: Store, url: str) -> None:
    limiter = Limiter(url, store)
    limiter.reserve("a", [], 7, NOW)
    limiter.reserve("b", [], 7, NOW)
    with closing(redis.Redis.from_url(url)) as client:
        client.hset(STATE, "applied", 5)
    other = Limiter(url, store)
    assert other.reserve("c", [], -1, NOW)
    refusal = stopped(limiter, "d")
    assert refusal.slug == "limiter-unavailable"


def test_redis_that_does_not_answer_in_time_stops_the_question_and_hears_the_news_later(
    limiter: Limiter, url: str
) -> None:
    """Whether it drew or not nobody knows: what was recorded is told again, and told twice does no harm."""
    first = limiter.reserve("first", [BUDGET], -1, NOW)
    waiting = limiter.reserve("waiting", [], -1, NOW)
    limiter.settle(first, 1, {BUDGET.name: "k:v"})
    with closing(redis.Redis.from_url(url)) as client:
        client.client_pause(2_300)
    refusal = stopped(limiter, "second", BUDGET)
    assert (refusal.slug, refusal.headers) == ("limiter-unavailable", {"Retry-After": "1"})
    time.sleep(0.5)
    again = limiter.reserve("third", [BUDGET], -1, NOW)
    assert (again.charges, again.known, again.paid_at) == ((), {BUDGET.name: "k:v"}, 1)
    limiter.refund(waiting)


def test_server_that_does_not_say_which_run_it_is_cannot_be_trusted() -> None:
    """Without it nobody would see that it was started again over an older state."""
    assert _run_id(b"# Server\r\nredis_version:7\r\nrun_id:abc\r\n") == "abc"
    assert _run_id({"run_id": "abc"}) == "abc"
    says_nothing: list[Any] = [b"", b"# Server\r\nredis_version:7\r\n", {}]
    for info in says_nothing:
        with pytest.raises(redis.RedisError):
            _run_id(info)


LATER = 10**11  # long after what is reserved now can be recorded no more


def spent(url: str, account: str, field: str = "spent") -> int:
    """What Redis holds of an account."""
    with closing(redis.Redis.from_url(url)) as client:
        found: Any = client.hget(f"hecha:account:{account}", field)
    return int(found or 0)


def test_twenty_copies_of_one_question_at_once_cost_one(limiter: Limiter, url: str, names: Iterator[str]) -> None:
    """As in the charge rows, where a question counts once: else copies would use up somebody's budget."""
    wide = replace(BUDGET, limit=10**6)
    copies = [limiter.reserve(next(names), [wide], -1, NOW) for _ in range(20)]
    assert copies[-1].spent == (20 * 1_585,), "any of them may be the only one that is answered"
    for index, copy in enumerate(copies):
        limiter.settle(copy, index)
    again = limiter.reserve(next(names), [wide], -1, NOW)
    assert (again.charges, again.spent, again.paid_at) == ((), (1_585,), 19)
    assert spent(url, BUDGET.name, "h") == 0


def test_question_paid_for_at_two_prices_costs_the_dearer(limiter: Limiter, url: str, names: Iterator[str]) -> None:
    for prices in ((1_000, 3_000), (3_000, 1_000)):
        name = f"budget/{prices[0]}"
        copies = [
            limiter.reserve(next(names), [replace(BUDGET, name=name, amount=amount)], -1, NOW) for amount in prices
        ]
        for index, copy in enumerate(copies):
            limiter.settle(copy, index)
        assert spent(url, name) == 3_000


def test_refunded_copy_unpays_nothing_that_another_paid(limiter: Limiter, names: Iterator[str]) -> None:
    """Whichever of the two came last."""
    for question in ("q1", "q2"):
        account = replace(BUDGET, limit=10**6, question=question)
        first, second = (limiter.reserve(next(names), [account], -1, NOW) for _ in range(2))
        paid, failed = (first, second) if question == "q1" else (second, first)
        limiter.settle(paid, 1)
        limiter.refund(failed)
        again = limiter.reserve(next(names), [account], -1, NOW)
        assert (again.charges, again.paid_at) == ((), 1)


def test_answer_is_not_free_where_a_refund_was_lost_and_the_question_draws_on_others(
    limiter: Limiter, url: str
) -> None:
    """The registry changed meanwhile: what is drawn now counts, what was drawn before is given back."""
    limiter.reserve("redone", [QUOTA, BUDGET], -1, NOW)
    other = replace(BUDGET, name="budget/BBBB", question="q2", amount=1_000)
    redone = limiter.reserve("redone", [QUOTA, other], -1, NOW)
    assert [(charge["account"], charge["amount"]) for charge in redone.charges] == [
        (QUOTA.name, 1),
        (other.name, 1_000),
    ]
    assert redone.spent == (1, 1_000)
    limiter.settle(redone, 1)
    assert (spent(url, BUDGET.name), spent(url, BUDGET.name, "h")) == (0, 0)
    assert reserve(limiter, "not paid", BUDGET), "the rows know of no payment for it"


def test_answer_is_not_free_where_a_refund_was_lost_and_its_terms_ask_more(limiter: Limiter) -> None:
    """The same account, another question at another price."""
    limiter.reserve("redone", [BUDGET], -1, NOW)
    redone = limiter.reserve("redone", [replace(BUDGET, question="q2", amount=3_000)], -1, NOW)
    assert ([charge["amount"] for charge in redone.charges], redone.spent) == ([3_000], (3_000,))


def test_question_that_is_stopped_the_second_time_holds_nothing(limiter: Limiter, url: str) -> None:
    limiter.reserve("redone", [QUOTA, BUDGET], -1, NOW)
    assert stopped(limiter, "redone", QUOTA, replace(BUDGET, limit=0)).slug == "budget-exhausted"
    assert (spent(url, QUOTA.name), spent(url, BUDGET.name)) == (0, 0)


def test_what_a_killed_worker_left_reserved_is_given_back_once(
    limiter: Limiter, store: Store, url: str, names: Iterator[str]
) -> None:
    """By whichever process looks, and however many look."""
    left = [limiter.reserve(next(names), [QUOTA, replace(BUDGET, question=f"q{n}")], -1, NOW) for n in range(2)]
    kept = limiter.reserve(next(names), [QUOTA], -1, NOW)
    limiter.settle(kept, 1)
    limiter.reserve("news", [], -1, NOW)
    others = [Limiter(url, store) for _ in range(3)]
    for other in others:
        other.sweep(time.time())
    assert spent(url, QUOTA.name) == 3, "as long as they may be recorded, they stay drawn"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda other: other.sweep(LATER), others))
    assert (spent(url, QUOTA.name), spent(url, BUDGET.name), spent(url, BUDGET.name, "h")) == (1, 0, 0)
    for reservation in left:
        limiter.refund(reservation)
    assert spent(url, QUOTA.name) == 1


def test_what_was_recorded_before_its_worker_was_killed_stays_drawn(
    limiter: Limiter, store: Store, signer: NoteSigner, url: str
) -> None:
    """T16: it never told Redis, but the charge rows know. Its question is paid for from now on."""
    name = "decision-00000001"
    reservation = limiter.reserve(name, [QUOTA, BUDGET], -1, NOW)
    with closing(redis.Redis.from_url(url)) as client:
        client.hset(f"hecha:account:{BUDGET.name}", "r", "1")
    rows = [dict(charge) for charge in reservation.charges]
    rows[1] |= {"fingerprint": "k:v", "renewed": True}
    index = Sequencer(store, signer).append(entry(1, charges=rows, generation=reservation.generation))
    other = Limiter(url, store)
    other.sweep(LATER)
    again = other.reserve("again", [QUOTA, BUDGET], -1, NOW)
    assert (again.spent, again.paid_at, again.known) == ((2, 1_585), index, {BUDGET.name: "k:v"})
    assert again.renewed == frozenset(), "the record says that the account began anew"
    assert spent(url, BUDGET.name, "h") == 0


def test_what_a_refused_question_left_reserved_was_not_recorded(
    limiter: Limiter, store: Store, signer: NoteSigner, url: str
) -> None:
    """Its record names the accounts, but draws on none."""
    reservation = limiter.reserve("decision-00000001", [QUOTA, BUDGET], -1, NOW)
    Sequencer(store, signer).append(entry(1, charges=charges_of(reservation.accounts, ())))
    limiter.sweep(LATER)
    limiter.reserve("news", [], -1, NOW)
    assert (spent(url, QUOTA.name), spent(url, BUDGET.name)) == (0, 0)
    assert reserve(limiter, "paid by nobody", BUDGET)


def test_reservation_is_recorded_long_before_it_may_be_given_back(limiter: Limiter, url: str) -> None:
    reservation = limiter.reserve("slow", [QUOTA], -1, NOW)
    with closing(redis.Redis.from_url(url)) as client:
        found: Any = client.zrange("hecha:reservations", 0, -1, withscores=True)
    ((key, swept_at),) = found
    assert key == b"hecha:reservation:slow"
    assert reservation.until is not None
    assert reservation.until == pytest.approx(time.time() + RECORDED_WITHIN_S, abs=5)
    assert swept_at - reservation.until == pytest.approx(SWEPT_AFTER_S - RECORDED_WITHIN_S, abs=5)


def test_reservation_made_again_while_it_is_swept_stays_drawn(limiter: Limiter, store: Store, url: str) -> None:
    """Between finding it and giving it back, its question was reserved anew under the same id."""
    limiter.reserve("slow", [QUOTA], -1, NOW)
    limiter._give_back("slow", left_by=time.time())
    assert spent(url, QUOTA.name) == 1
    limiter._give_back("slow", left_by=LATER)
    assert spent(url, QUOTA.name) == 0


def test_every_process_sweeps_by_itself_from_time_to_time(limiter: Limiter, store: Store, url: str) -> None:
    limiter.reserve("left", [replace(QUOTA, limit=1)], -1, NOW)
    with closing(redis.Redis.from_url(url)) as client:
        client.zadd("hecha:reservations", {"hecha:reservation:left": time.time() - 1})
    assert stopped(limiter, "too early", replace(QUOTA, limit=1)).slug == "quota-exceeded"
    limiter._sweep_due = 0.0
    assert limiter.reserve("in time", [replace(QUOTA, limit=1)], -1, NOW).spent == (1,)


def test_sweep_without_database_or_redis_gives_nothing_back(store: Store, url: str) -> None:
    """What was recorded cannot be told then."""
    limiter = Limiter(url, store)
    limiter.reserve("left", [QUOTA], -1, NOW)
    store.engine.dispose()
    with store.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE charge RENAME TO gone")
    limiter.sweep(LATER)
    assert spent(url, QUOTA.name) == 1
    Limiter("unix:///nowhere/valkey.sock", store).sweep(LATER)


def test_forgotten_counter_of_a_past_period_is_not_made_anew_by_giving_back(limiter: Limiter, url: str) -> None:
    """It would stand below nothing, for ever."""
    reservation = limiter.reserve("left", [QUOTA], -1, NOW)
    with closing(redis.Redis.from_url(url)) as client:
        client.delete(f"hecha:account:{QUOTA.name}")
        limiter.refund(reservation)
        assert not client.exists(f"hecha:account:{QUOTA.name}")


def test_nothing_is_left_of_reservations_that_ended(limiter: Limiter, url: str, names: Iterator[str]) -> None:
    """Redis has no memory to evict from: what nobody needs must go."""
    limiter.reserve(next(names), [], -1, NOW)
    limiter.settle(limiter.reserve(next(names), [QUOTA], -1, NOW), 1)
    limiter.settle(limiter.reserve(next(names), [BUDGET], -1, NOW), 2)
    limiter.settle(limiter.reserve(next(names), [BUDGET], -1, NOW), 3)
    limiter.refund(limiter.reserve(next(names), [QUOTA], -1, NOW))
    stopped(limiter, next(names), replace(QUOTA, limit=0))
    with closing(redis.Redis.from_url(url)) as client:
        assert list(client.scan_iter("hecha:reservation*")) == []
