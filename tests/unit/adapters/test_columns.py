"""Columns: the time of the last update, whatever type a driver reads it as."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import SourceMisbehaved
from adapters.columns import SHANGHAI, day_of, instant_of

WESTWARD = timezone(timedelta(hours=-8))


def test_null_is_no_time() -> None:
    assert instant_of(None) is None


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(SHANGHAI)))  # noqa: DTZ001 - bounds
def test_time_is_the_same_instant_in_every_form(time: datetime) -> None:
    naive = time.replace(tzinfo=None)
    forms = [time, naive, time.isoformat(), naive.isoformat(), naive.isoformat(" "), time.astimezone(UTC)]
    assert {instant_of(form) for form in forms} == {time}
    assert {str(instant_of(form)) for form in forms} == {str(time.astimezone(UTC))}


@given(st.dates(date(1900, 1, 1), date(2100, 1, 1)))
def test_day_begins_in_shanghai(day: date) -> None:
    begin = instant_of(day)
    assert begin == instant_of(day.isoformat())
    assert begin is not None
    assert begin.astimezone(SHANGHAI).isoformat() == f"{day}T00:00:00+08:00"


@pytest.mark.parametrize("raw", ["", "soon", "2026-13-01", 20261120, 1.5, b"2026", True, date.min, "0001-01-01"])
def test_what_is_no_time_is_misbehaviour(raw: object) -> None:
    with pytest.raises(SourceMisbehaved, match="no time"):
        instant_of(raw)


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        (datetime(2026, 11, 19, 16, tzinfo=UTC), date(2026, 11, 20)),
        (datetime(2026, 11, 19, 15, 59, tzinfo=UTC), date(2026, 11, 19)),
        (datetime(9999, 12, 31, 23, tzinfo=WESTWARD), date(9999, 12, 31)),
    ],
)
def test_day_of_an_instant_is_the_one_in_shanghai(raw: datetime, day: date) -> None:
    assert day_of(raw) == day
