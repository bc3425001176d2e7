"""Working days of the Chinese calendar: against an independent calendar, year by year, and against laws."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import chinese_calendar
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.registry.deadlines import (
    CLOCKS,
    WorkCalendar,
    Year,
    day_of,
    deadline,
    due,
    read_calendar,
)
from app.registry.files import Members, NodeFileInvalid
from policies.facts import CHINA

PACKAGED = WorkCalendar()
ORACLE = range(2015, 2027)
DAYS = st.dates(date(2015, 1, 1), date(2026, 11, 1))

LAST = max(year for year in range(2026, 2100) if PACKAGED.is_published(date(year, 6, 1)))
"""The last year that the package knows; it learns another one each November."""

# A made-up notice for a year that no package knows for long; its weekdays are those of 2027.
NOTICE = {
    "year": 2094,
    "holidays": ["2094-01-01", "2094-02-05", "2094-02-08", "2094-02-09", "2094-02-10", "2094-10-01"],
    "workdays": ["2093-12-26", "2094-02-14"],
    "source": "made up for tests",
}


def at(day: str, hour: int = 10) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time(), CHINA).replace(hour=hour)


def calendar(**changes: object) -> WorkCalendar:
    return read_calendar([Members("calendar/2094.yaml", NOTICE | changes)])


@pytest.mark.parametrize("year", ORACLE)
def test_working_days_of_a_published_year_equal_those_of_another_calendar(year: int) -> None:
    day = date(year, 1, 1)
    while day.year == year:
        assert PACKAGED.is_working_day(day) is chinese_calendar.is_workday(day), day
        assert PACKAGED.is_published(day) is (year < LAST or (day.month, day.day) < (12, 24))
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("start", "working_days", "last"),
    [
        ("2026-11-23", 1, "2026-11-24"),  # a Monday: its own day does not count
        ("2026-11-20", 1, "2026-11-23"),  # over a weekend
        ("2026-09-18", 1, "2026-09-20"),  # a make-up Sunday before the National Day is worked
        ("2026-09-18", 10, "2026-10-09"),  # Mid-Autumn, National Day week, and the make-up Sunday
        ("2026-10-08", 2, "2026-10-10"),  # a make-up Saturday after it
        ("2026-02-13", 6, "2026-02-28"),  # two make-up Saturdays round the Spring Festival
        ("2025-12-31", 1, "2026-01-04"),  # New Year 2026: a make-up Sunday in the new year
        ("2024-02-09", 1, "2024-02-18"),
    ],
)
def test_due_date_by_hand(start: str, working_days: int, last: str) -> None:
    assert due(at(start), working_days, PACKAGED) == date.fromisoformat(last)


@given(DAYS, st.integers(1, 30))
def test_due_date_is_a_working_day_with_as_many_working_days_up_to_it(start: date, working_days: int) -> None:
    last = due(at(start.isoformat()), working_days, PACKAGED)
    assert chinese_calendar.is_workday(last)
    counted = (start + timedelta(days=number) for number in range(1, (last - start).days + 1))
    assert sum(map(chinese_calendar.is_workday, counted)) == working_days


@given(DAYS, DAYS, st.integers(1, 30))
def test_later_event_is_never_due_earlier(one: date, other: date, working_days: int) -> None:
    first, second = (due(at(day.isoformat()), working_days, PACKAGED) for day in sorted((one, other)))
    assert first <= second


def test_day_of_the_event_is_that_of_shanghai() -> None:
    late = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)  # half past midnight on Tuesday
    assert day_of(late) == date(2026, 11, 24)
    assert due(late, 1, PACKAGED) == date(2026, 11, 25)


def test_time_without_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        due(datetime(2026, 11, 23, 10), 1, PACKAGED)  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize("working_days", [0, -1])
def test_clock_without_a_working_day_is_refused(working_days: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        due(at("2026-11-23"), working_days, PACKAGED)


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("decision", "2026-12-07"),
        ("delivery", "2026-11-30"),
        ("doubt", "2026-11-30"),
        ("reply", "2026-12-07"),
        ("review", "2026-11-26"),
        ("technical-correction", "2026-11-26"),
        ("correction", "2026-11-26"),
        ("catalogue", "2026-12-14"),
        ("usage-report", "2027-01-31"),
    ],
)
def test_every_clock_runs_as_long_as_its_article_says(name: str, last: str) -> None:
    found = deadline(name, at("2026-11-23"), PACKAGED)
    assert found.due == date.fromisoformat(last)
    assert not found.provisional


def test_every_clock_names_its_articles_in_two_languages() -> None:
    assert len(CLOCKS) == 9
    for clock in CLOCKS.values():
        assert clock.basis
        assert all(clock.title[language] for language in ("en", "zh"))
        assert bool(clock.working_days) is (clock.yearly is None)


@pytest.mark.parametrize(
    ("since", "last"), [("2026-01-31", "2026-01-31"), ("2026-02-01", "2027-01-31"), ("2027-12-31", "2028-01-31")]
)
def test_yearly_clock_ends_on_the_next_such_day(since: str, last: str) -> None:
    assert deadline("usage-report", at(since), PACKAGED).due == date.fromisoformat(last)


def test_last_day_is_not_overdue_and_the_next_second_is() -> None:
    found = deadline("decision", at("2026-11-23"), PACKAGED)
    end = datetime(2026, 12, 8, tzinfo=CHINA)
    assert not found.overdue(end - timedelta(seconds=1))
    assert found.overdue(end)
    assert found.days_left(end - timedelta(seconds=1), PACKAGED) == 0
    assert found.days_left(end, PACKAGED) == 0
    assert found.days_left(at("2026-11-23"), PACKAGED) == 10
    assert found.days_left(at("2026-12-04"), PACKAGED) == 1


def test_days_left_count_make_up_days() -> None:
    found = deadline("decision", at("2026-09-18"), PACKAGED)
    assert found.days_left(at("2026-09-19"), PACKAGED) == 10
    assert found.days_left(at("2026-09-20"), PACKAGED) == 9


@pytest.mark.parametrize(
    ("since", "provisional"),
    [
        (date(LAST, 12, 1), False),
        (date(LAST, 12, 20), True),
        (date(LAST + 1, 3, 1), True),
        (date(LAST - 1, 12, 20), False),
    ],
)
def test_date_that_rests_on_a_notice_to_come_is_provisional(since: date, *, provisional: bool) -> None:
    """From 24 December on the next year's notice may still move a weekend, as it did on 31 December 2011."""
    assert deadline("decision", at(since.isoformat()), PACKAGED).provisional is provisional


def test_unpublished_year_counts_weekends_and_statutory_holidays() -> None:
    assert not PACKAGED.is_working_day(date(2094, 10, 1))
    assert not PACKAGED.is_working_day(date(2094, 3, 6))
    assert PACKAGED.is_working_day(date(2094, 3, 8))


def test_admin_file_goes_before_the_package_and_ends_the_provisional_state() -> None:
    given_2094 = calendar()
    assert deadline("decision", at("2094-01-25"), PACKAGED).provisional
    found = deadline("decision", at("2094-01-25"), given_2094)
    # 26 to 29 January, 1 to 4 and 11 February, then 12 February.
    assert (found.due, found.provisional) == (date(2094, 2, 12), False)
    assert given_2094.is_working_day(date(2094, 2, 14))
    # 3 May: a day in lieu by the package's reckoning, a working day by the notice.
    assert (PACKAGED.is_working_day(date(2094, 5, 3)), given_2094.is_working_day(date(2094, 5, 3))) == (False, True)


def test_notice_of_the_next_year_moves_the_last_days_of_december() -> None:
    assert calendar().is_working_day(date(2093, 12, 26))
    assert not PACKAGED.is_working_day(date(2093, 12, 26))
    new_year = Year(2093, frozenset({date(2093, 1, 1)}), frozenset(), "made up for tests")
    assert not WorkCalendar([new_year]).is_published(date(2093, 12, 31))
    assert WorkCalendar([new_year]).is_published(date(2093, 12, 23))
    next_year = Year(2094, frozenset({date(2094, 1, 1)}), frozenset(), "made up for tests")
    assert WorkCalendar([new_year, next_year]).is_published(date(2093, 12, 31))


def test_file_for_a_published_year_replaces_it_whole() -> None:
    corrected = WorkCalendar([Year(2026, frozenset({date(2026, 1, 1)}), frozenset(), "made up for tests")])
    assert corrected.is_working_day(date(2026, 10, 1))
    assert not corrected.is_working_day(date(2026, 9, 20))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"year": 1999}, "2001 to 2100"),
        ({"year": "2094"}, "wrong type"),
        ({"holidays": ["2094-02-30"]}, "dates such as"),
        ({"holidays": ["2094-01-01", "2094-01-01"]}, "twice"),
        ({"holidays": ["2094-02-05"]}, "2094-01-01"),
        ({"holidays": ["2094-01-01", "2095-01-01"]}, "2095-01-01 is not of the notice"),
        ({"workdays": ["2093-12-20"]}, "2093-12-20 is not of the notice"),
        ({"workdays": ["2094-02-12"]}, "no Saturday or Sunday"),
        ({"holidays": ["2094-01-01", "2094-02-14"]}, "both a holiday and a workday"),
        ({"source": " "}, "source"),
        ({"comment": "?"}, "unknown member comment"),
    ],
)
def test_file_that_is_no_notice_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(NodeFileInvalid, match=reason) as error:
        calendar(**changes)
    assert str(error.value).startswith("calendar/2094.yaml: ")


def test_two_files_for_one_year_are_refused() -> None:
    one, other = (Members(f"calendar/{name}.yaml", dict(NOTICE)) for name in ("2094", "copy"))
    with pytest.raises(NodeFileInvalid, match="2094 stands twice"):
        read_calendar([one, other])
