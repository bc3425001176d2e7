"""Accounts that begin anew: only under other values, once, and with what is under way still drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import redis

from app.limits.account import Account, Exhausted, Reservation
from app.limits.limiter import SETTLED_AT_ONCE, Limiter
from app.limits.rebuild import STATE
from app.log.sequencer import RegistryChanged
from app.log.storage import Store
from app.refusals import Refusal

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
ACCOUNT = Account("budget/AAAA", 1_000, 2_000, question="q1", attribute="hz-tax/wages.start", column="start")
OLD, NEW, NEWER = "k:old", "k:new", "k:newer"


def asked(question: str) -> Account:
    return replace(ACCOUNT, question=question)


def answered(limiter: Limiter, identifier: str, question: str, values: str, *, index: int = 1) -> Reservation:
    """A question that was reserved, recorded and settled."""
    reservation = limiter.reserve(identifier, [asked(question)], -1, NOW)
    limiter.settle(reservation, index, {ACCOUNT.name: values})
    return reservation


def exhausted(limiter: Limiter, identifier: str, question: str) -> Exhausted:
    with pytest.raises(Exhausted) as refused:
        limiter.reserve(identifier, [asked(question)], -1, NOW)
    return refused.value


def test_settled_question_is_free_and_tells_its_answer_and_the_values_known(limiter: Limiter) -> None:
    first = answered(limiter, "one", "q1", OLD, index=7)
    assert (first.known, first.paid_at) == ({}, None)
    again = limiter.reserve("two", [ACCOUNT], -1, NOW)
    assert (again.charges, again.spent) == ((), (1_000,))
    assert (again.known, again.paid_at) == ({ACCOUNT.name: OLD}, 7)


def test_free_repeat_that_was_recorded_has_the_newer_answer(limiter: Limiter) -> None:
    answered(limiter, "one", "q1", OLD, index=7)
    limiter.settle(limiter.reserve("two", [ACCOUNT], -1, NOW), 9)
    assert limiter.reserve("three", [ACCOUNT], -1, NOW).paid_at == 9


def test_question_is_paid_only_where_every_budget_was_paid_for(limiter: Limiter) -> None:
    """Its stored answer tells of all its attributes, so one account that is not paid for asks the source."""
    other = replace(ACCOUNT, name="budget/BBBB")
    answered(limiter, "one", "q1", OLD)
    both = limiter.reserve("two", [ACCOUNT, other], -1, NOW)
    assert [charge["account"] for charge in both.charges] == [other.name]
    assert both.paid_at is None


def test_question_that_draws_on_a_quota_alone_was_never_paid_for(limiter: Limiter) -> None:
    quota = Account("quota/a", 1, 5)
    limiter.settle(limiter.reserve("one", [quota], -1, NOW), 1)
    assert limiter.reserve("two", [quota], -1, NOW).paid_at is None


def test_values_of_answers_add_up(limiter: Limiter) -> None:
    """One that was asked before a change and recorded after it must not hide what became known since."""
    late = limiter.reserve("late", [asked("q0")], -1, NOW)
    answered(limiter, "one", "q1", NEW)
    limiter.settle(late, 2, {ACCOUNT.name: OLD})
    assert limiter.reserve("two", [asked("q1")], -1, NOW).known == {ACCOUNT.name: "k:new,old"}


@pytest.mark.parametrize(
    ("values", "known"),
    [("other-key:new", "+"), ("+", "+"), ("k:old", "k:old"), ("k:" + ",".join(map(str, range(32))), "+")],
)
def test_values_that_cannot_be_told_apart_stay_many(limiter: Limiter, values: str, known: str) -> None:
    answered(limiter, "one", "q1", OLD)
    answered(limiter, "two", "q2", values, index=2)
    assert limiter.reserve("three", [asked("q1")], -1, NOW).known == {ACCOUNT.name: known}


def test_exhausted_account_tells_what_is_known_on_it(limiter: Limiter) -> None:
    answered(limiter, "one", "q1", OLD)
    answered(limiter, "two", "q2", OLD, index=2)
    refusal = exhausted(limiter, "three", "q3")
    assert (refusal.account.name, refusal.known) == (ACCOUNT.name, OLD)


def test_renewed_account_has_its_budget_again_and_forgets_what_was_free(limiter: Limiter) -> None:
    answered(limiter, "one", "q1", OLD)
    answered(limiter, "two", "q2", OLD, index=2)
    assert limiter.renew(ACCOUNT, OLD, NEW)
    again = limiter.reserve("three", [asked("q1")], -1, NOW)
    assert ([charge["amount"] for charge in again.charges], again.spent) == ([1_000], (1_000,))
    assert again.known == {ACCOUNT.name: NEW}
    limiter.reserve("four", [asked("q2")], -1, NOW)
    exhausted(limiter, "five", "q3")


def test_account_renews_only_once_for_one_change(limiter: Limiter) -> None:
    """Of many that find the values changed, the first begins the account anew and the others find it begun."""
    answered(limiter, "one", "q1", OLD)
    assert limiter.renew(ACCOUNT, OLD, NEW)
    answered(limiter, "two", "q2", NEW, index=2)
    for values in (NEW, NEWER):
        assert not limiter.renew(ACCOUNT, OLD, values)
    assert limiter.reserve("three", [asked("q2")], -1, NOW).spent == (1_000,)


@pytest.mark.parametrize("known", ["", NEW, "+", "k:old,new"])
def test_account_of_which_other_values_are_known_is_left_alone(limiter: Limiter, known: str) -> None:
    answered(limiter, "one", "q1", OLD)
    limiter.refund(limiter.reserve("news", [], -1, NOW))
    assert not limiter.renew(ACCOUNT, known, NEWER)
    assert limiter.reserve("two", [asked("q1")], -1, NOW).spent == (1_000,)


def test_what_is_under_way_stays_drawn_when_the_account_begins_anew(limiter: Limiter) -> None:
    """T16: else every renewal would hand out what is reserved a second time."""
    answered(limiter, "one", "q1", OLD)
    pending = limiter.reserve("pending", [asked("q2")], -1, NOW)
    assert limiter.renew(ACCOUNT, OLD, NEW)
    limiter.reserve("three", [asked("q3")], -1, NOW)
    exhausted(limiter, "four", "q4")
    limiter.refund(pending)
    assert limiter.reserve("five", [asked("q4")], -1, NOW).spent == (2_000,)


def test_both_that_pay_for_one_question_stay_drawn(limiter: Limiter) -> None:
    """The question's field names one of them; refunding that one must not lose the other."""
    answered(limiter, "one", "q0", OLD)
    limiter.reserve("first", [asked("q1")], -1, NOW)
    limiter.refund(limiter.reserve("second", [replace(ACCOUNT, limit=9_000)], -1, NOW))
    assert limiter.renew(ACCOUNT, OLD, NEW)
    assert limiter.reserve("three", [asked("q2")], -1, NOW).spent == (2_000,)
    exhausted(limiter, "four", "q3")


def test_beginning_anew_is_told_to_every_reservation_until_a_record_says_so(limiter: Limiter) -> None:
    """The request that found the change may fail: then the next record is the one to say it."""
    answered(limiter, "one", "q1", OLD)
    assert limiter.renew(ACCOUNT, OLD, NEW)
    limiter.refund(limiter.reserve("failed", [asked("q2")], -1, NOW))
    second = limiter.reserve("second", [asked("q2")], -1, NOW)
    assert second.renewed == {ACCOUNT.name}
    assert [charge["renewed"] for charge in second.charges] == [True]
    limiter.settle(second, 2, {ACCOUNT.name: NEW})
    third = limiter.reserve("third", [asked("q2")], -1, NOW)
    assert third.renewed == frozenset()


def test_record_without_values_does_not_end_that(limiter: Limiter) -> None:
    """The rows begin an account anew only under values that they know."""
    answered(limiter, "one", "q1", OLD)
    assert limiter.renew(ACCOUNT, OLD, NEW)
    limiter.settle(limiter.reserve("blind", [asked("q2")], -1, NOW), 2, {})
    assert limiter.reserve("next", [asked("q2")], -1, NOW).renewed == {ACCOUNT.name}


def test_record_of_a_reservation_from_before_does_not_end_that(limiter: Limiter) -> None:
    early = limiter.reserve("early", [asked("q0")], -1, NOW)
    answered(limiter, "one", "q1", OLD)
    limiter.refund(limiter.reserve("news", [], -1, NOW))
    assert limiter.renew(ACCOUNT, OLD, NEW)
    limiter.settle(early, 2, {ACCOUNT.name: OLD})
    assert limiter.reserve("next", [asked("q2")], -1, NOW).renewed == {ACCOUNT.name}


def test_news_told_twice_changes_nothing(limiter: Limiter) -> None:
    """After a time-out nobody knows whether Redis heard it, so it is told again."""
    first = answered(limiter, "one", "q1", OLD)
    limiter.refund(limiter.reserve("news", [], -1, NOW))
    assert limiter.renew(ACCOUNT, OLD, NEW)
    limiter.settle(replace(first, renewed=frozenset([ACCOUNT.name])), 1, {ACCOUNT.name: OLD})
    again = limiter.reserve("two", [asked("q2")], -1, NOW)
    assert again.known == {ACCOUNT.name: NEW}
    assert again.renewed == {ACCOUNT.name}


def test_renewal_without_redis_is_no_renewal(store: Store) -> None:
    with pytest.raises(Refusal) as refused:
        Limiter("unix:///nowhere/valkey.sock", store).renew(ACCOUNT, OLD, NEW)
    assert refused.value.slug == "limiter-unavailable"


def test_question_decided_under_an_older_epoch_is_told_so_before_anything_is_drawn(
    limiter: Limiter, names: Iterator[str]
) -> None:
    limiter.reserve(next(names), [], -1, NOW)
    limiter.announce(4)
    with pytest.raises(RegistryChanged):
        limiter.reserve(next(names), [ACCOUNT], -1, NOW, epoch=3)
    reserved = limiter.reserve(next(names), [ACCOUNT], -1, NOW, epoch=4)
    assert reserved.spent == (1_000,)
    assert limiter.reserve(next(names), [], -1, NOW), "what no change can outdate names no epoch"


def test_announced_epochs_only_rise(limiter: Limiter, url: str) -> None:
    limiter.reserve("prepared", [], -1, NOW)
    for epoch in (4, 2, 3):
        limiter.announce(epoch)
    with closing(redis.Redis.from_url(url)) as client:
        assert client.hget(STATE, "epoch") == b"4"
    limiter.announce(5)
    with pytest.raises(RegistryChanged):
        limiter.reserve("late", [], -1, NOW, epoch=4)


def test_rebuilt_front_knows_the_epoch_of_the_log(limiter: Limiter, store: Store, url: str) -> None:
    limiter.announce(9)
    limiter.rebuild(at_start=True)
    with closing(redis.Redis.from_url(url)) as client:
        assert client.hget(STATE, "epoch") == b"0"


def test_announcing_without_redis_harms_nobody(store: Store) -> None:
    Limiter("unix:///nowhere/valkey.sock", store).announce(3)


def test_more_news_than_one_call_takes_are_all_told(limiter: Limiter) -> None:
    wide = replace(ACCOUNT, limit=10**9)
    held = [
        limiter.reserve(f"id-{number}", [replace(wide, question=f"q{number}")], -1, NOW)
        for number in range(SETTLED_AT_ONCE + 5)
    ]
    waiting = limiter.reserve("waiting", [], -1, NOW)
    for index, reservation in enumerate(held):
        limiter.settle(reservation, index, {ACCOUNT.name: OLD})
    for _ in range(2):
        limiter.reserve("carries", [], -1, NOW)
    for number in range(SETTLED_AT_ONCE + 5):
        free = limiter.reserve(f"again-{number}", [replace(wide, question=f"q{number}")], -1, NOW)
        assert (free.charges, free.paid_at) == ((), number)
    limiter.refund(waiting)
