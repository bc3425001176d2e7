"""A period holds its moment, and ends at the first edge at which a rule could see a change."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.facts import CHINA, Hours
from policies.period import period

if TYPE_CHECKING:
    from policies.facts import Terms

DAY_S = 86_400
WEEK = frozenset(range(1, 8))


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=CHINA).timestamp())


PERIODS = {
    "2026-06-02T10:00:00": ("2026-06-02T08:00:00", "2026-06-02T18:00:00"),
    "2026-06-02T08:00:00": ("2026-06-02T08:00:00", "2026-06-02T18:00:00"),
    "2026-06-02T17:59:59": ("2026-06-02T08:00:00", "2026-06-02T18:00:00"),
    "2026-06-02T18:00:00": ("2026-06-02T18:00:00", "2026-06-03T00:00:00"),
    "2026-06-02T00:00:00": ("2026-06-02T00:00:00", "2026-06-02T08:00:00"),
    "2026-06-02T07:59:59": ("2026-06-02T00:00:00", "2026-06-02T08:00:00"),
    "2026-12-31T23:59:59": ("2026-12-31T18:00:00", "2027-01-01T00:00:00"),
}


@pytest.mark.parametrize("at", PERIODS)
def test_a_day_is_divided_at_the_hours(agreement: Terms, at: str) -> None:
    from_at, until_at = PERIODS[at]
    assert period(agreement, seconds(at), DAY_S) == (seconds(from_at), seconds(until_at))


def test_validity_divides_the_hours(agreement: Terms) -> None:
    terms = replace(
        agreement,
        valid_from=datetime(2026, 6, 2, 9, 0, 1, tzinfo=CHINA),
        valid_until=datetime(2026, 6, 2, 9, 59, 59, tzinfo=CHINA),
    )
    edges = ["2026-06-02T08:00:00", "2026-06-02T09:00:01", "2026-06-02T09:59:59", "2026-06-02T18:00:00"]
    for start, end in pairwise(edges):
        for at in (seconds(start), (seconds(start) + seconds(end)) // 2, seconds(end) - 1):
            assert period(terms, at, DAY_S) == (seconds(start), seconds(end))


@pytest.mark.parametrize(("fineness_s", "length"), [(1, 1), (60, 60), (DAY_S, DAY_S)])
def test_without_terms_only_the_fineness_counts(fineness_s: int, length: int) -> None:
    from_s, until_s = period(None, seconds("2026-06-02T10:00:30"), fineness_s)
    assert until_s - from_s == length
    assert (from_s + 8 * 3600) % fineness_s == 0


@given(
    later=st.integers(0, 4 * DAY_S),
    begins=st.integers(-3 * DAY_S, 3 * DAY_S),
    lasts=st.integers(1, 5 * DAY_S),
    opens=st.integers(0, 1439),
    fineness_s=st.sampled_from([1, 60, DAY_S]),
)
def test_period_reaches_from_edge_to_edge(
    *, agreement: Terms, later: int, begins: int, lasts: int, opens: int, fineness_s: int
) -> None:
    noon = datetime(2026, 6, 2, 12, tzinfo=CHINA)
    valid_from = noon + timedelta(seconds=begins)
    terms = replace(
        agreement,
        hours=Hours(WEEK, opens, 1440),
        valid_from=valid_from,
        valid_until=valid_from + timedelta(seconds=lasts),
    )
    at_s = int(noon.timestamp()) + later
    from_s, until_s = period(terms, at_s, fineness_s)
    assert from_s <= at_s < until_s <= from_s + fineness_s
    days = range(-1, 6)
    midnight_s = seconds("2026-06-02T00:00:00")
    edges = {int(terms.valid_from.timestamp()), int(terms.valid_until.timestamp())}
    edges |= {midnight_s + day * DAY_S + opens * 60 for day in days}
    assert not any(from_s < edge < until_s for edge in edges)
    for end in (from_s, until_s):
        assert end in edges or (end - midnight_s) % fineness_s == 0
