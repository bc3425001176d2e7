"""Accounts, periods and prices: values only."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.account import (
    MILLIBITS,
    SHANGHAI,
    Account,
    Exhausted,
    charge_of,
    charges_of,
    exceeded,
    keyed,
    period,
    price,
    rate_limit_headers,
)

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
BEGIN, END = datetime(2026, 11, 1, tzinfo=SHANGHAI), datetime(2026, 12, 1, tzinfo=SHANGHAI)
QUOTA = Account("quota/hz-hrss/terms/2026-11", 1, 3, begins_at=BEGIN, resets_at=END)
BUDGET = Account("budget/AAAA", 1_585, 4_000, question="q1", attribute="hz-tax/wages.start", column="start")


LOCAL = [
    ("day", "2026-11-22T15:59:59Z", "2026-11-22", "2026-11-22", "2026-11-23"),
    ("day", "2026-11-22T16:00:00Z", "2026-11-23", "2026-11-23", "2026-11-24"),
    ("month", "2026-11-30T15:59:59Z", "2026-11", "2026-11-01", "2026-12-01"),
    ("month", "2026-11-30T16:00:00Z", "2026-12", "2026-12-01", "2027-01-01"),
    ("month", "2028-02-29T12:00:00Z", "2028-02", "2028-02-01", "2028-03-01"),
    ("month", "2026-01-30T18:00:00Z", "2026-01", "2026-01-01", "2026-02-01"),
    ("year", "2026-12-31T15:59:59Z", "2026", "2026-01-01", "2027-01-01"),
    ("year", "2026-12-31T16:00:00Z", "2027", "2027-01-01", "2028-01-01"),
]


@pytest.mark.parametrize("row", LOCAL, ids=" ".join)
def test_periods_are_those_of_the_calendar_in_shanghai(row: tuple[str, str, str, str, str]) -> None:
    per, at, name, begin, end = row
    midnights = (datetime.fromisoformat(f"{day}T00:00:00+08:00") for day in (begin, end))
    assert period(per, datetime.fromisoformat(at)) == (name, *midnights)


@given(st.sampled_from(["day", "month", "year"]), st.integers(946_684_800, 4_102_444_800))
def test_a_period_holds_its_moment_and_the_next_has_another_name(per: str, epoch_s: int) -> None:
    now = datetime.fromtimestamp(epoch_s, UTC)
    name, begin, end = period(per, now)
    assert begin <= now < end
    assert period(per, begin) == (name, begin, end)
    assert period(per, begin - timedelta(seconds=1))[2] == begin
    assert period(per, end)[0] != name
    assert period(per, end - timedelta(seconds=1))[0] == name


@given(st.integers(1, 10**6))
def test_price_is_at_least_the_information_and_less_than_a_thousandth_more(answers: int) -> None:
    exact = math.log2(answers) * MILLIBITS
    assert exact <= price(answers) < exact + 1


def test_only_holders_of_the_key_can_name_an_account() -> None:
    name = keyed(b"k" * 32, "hz-hrss", "339881197803120013", "hz-tax/wages.start")
    assert name == keyed(b"k" * 32, "hz-hrss", "339881197803120013", "hz-tax/wages.start")
    assert len(name) == 22
    assert name != keyed(b"x" * 32, "hz-hrss", "339881197803120013", "hz-tax/wages.start")
    assert keyed(b"k", "ab", "c") != keyed(b"k", "a", "bc")


def test_row_of_a_charge_is_all_that_a_rebuild_and_an_auditor_need() -> None:
    assert charge_of(BUDGET, 1_585, renewed=True) == {
        "account": "budget/AAAA",
        "amount": 1_585,
        "question": "q1",
        "attribute": "hz-tax/wages.start",
        "ceiling": 4_000,
        "fingerprint": None,
        "renewed": True,
    }


def test_decision_names_every_account_that_it_would_have_drawn_on_and_charges_none_twice() -> None:
    charged = [charge_of(QUOTA, 1, renewed=False)]
    assert charges_of([QUOTA, BUDGET], charged) == [*charged, charge_of(BUDGET, 0, renewed=False)]
    assert charges_of([], charged) == charged


@pytest.mark.parametrize(("spent", "left"), [(0, 3), (1, 2), (3, 0), (4, 0)])
def test_headers_of_a_quota_say_what_is_left_and_until_when(spent: int, left: int) -> None:
    """draft-ietf-httpapi-ratelimit-headers: q, w, r and t in whole units; left is never negative."""
    assert rate_limit_headers(QUOTA, spent, NOW) == {
        "RateLimit-Policy": f'"quota";q=3;w={30 * 86_400}',
        "RateLimit": f'"quota";r={left};t={int((END - NOW).total_seconds())}',
    }


def test_wait_is_rounded_up_and_never_nothing() -> None:
    """Whoever waits as told must find the new period begun."""
    late = END - timedelta(milliseconds=1)
    assert rate_limit_headers(QUOTA, 3, late)["RateLimit"] == '"quota";r=0;t=1'
    assert exceeded(QUOTA, END).headers["Retry-After"] == "1"


def test_headers_of_a_budget_tell_nothing() -> None:
    assert rate_limit_headers(BUDGET, 1, NOW) == {}
    assert rate_limit_headers(replace(BUDGET, begins_at=BEGIN), 1, NOW) == {}


def test_refusal_of_a_quota_says_when_to_come_back_and_which_policy_it_was() -> None:
    refusal = exceeded(QUOTA, NOW)
    assert (refusal.slug, refusal.members) == ("quota-exceeded", {"violated-policies": ["quota"]})
    assert refusal.headers["Retry-After"] == str(int((END - NOW).total_seconds()))
    assert refusal.headers["RateLimit"].startswith('"quota";r=0;')


def test_refusal_of_a_budget_says_to_wait_only_where_time_helps_and_names_nobody() -> None:
    """When the source's value changed is nobody's business, so nothing of it is told."""
    refusal = Exhausted(BUDGET, "key:value", NOW)
    assert (refusal.slug, dict(refusal.headers), refusal.known) == ("budget-exhausted", {}, "key:value")
    assert not {"AAAA", "wages", "key:value"} & set(str(refusal).split())
    yearly = Exhausted(replace(BUDGET, resets_at=END), "", NOW)
    assert yearly.headers == {"Retry-After": str(int((END - NOW).total_seconds()))}
