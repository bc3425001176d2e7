"""Clocks of the sharing rules: due dates in working days of the Chinese calendar, pure: dates in, dates out.

Working days know make-up Saturdays and Sundays 调休 from the State Council's yearly notice: from the package
`holidays`, or from a file `calendar/<year>.yaml` of the node directory, which goes first. A year that neither knows
is counted by weekends and statutory holidays alone, and a date that rests on it is marked provisional.
A clock only tells: nothing is granted, and nothing is refused, because time ran out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from holidays import country_holidays

from app.registry.files import Members
from policies.facts import CHINA

ONE_DAY = timedelta(days=1)
# The notice for a year may move weekends of the December before it: 31 December 2011 was worked for New Year 2012.
MOVED_FROM = (12, 24)


@dataclass(frozen=True, slots=True)
class Clock:
    """How long somebody has, in working days, or by which day of each year; `basis` names the articles."""

    title: Mapping[str, str]
    basis: tuple[str, ...]
    working_days: int = 0
    yearly: tuple[int, int] | None = None


def _clock(en: str, zh: str, *basis: str, working_days: int = 0, yearly: tuple[int, int] | None = None) -> Clock:
    return Clock({"en": en, "zh": zh}, basis, working_days, yearly)


CLOCKS: Mapping[str, Clock] = {
    "decision": _clock(
        "The provider accepts or refuses an application",
        "提供部门受理或答复共享申请",
        "四川 第二十三条",
        "海珠 第三十三条",
        working_days=10,
    ),
    "delivery": _clock(
        "The provider delivers after approval", "提供部门对确认的信息予以提供", "海珠 第三十三条", working_days=5
    ),
    "doubt": _clock(
        "The consumer reports a doubt or an obvious error",
        "使用部门反馈疑义或明显错误",
        "四川 第二十四条",
        working_days=5,
    ),
    "reply": _clock(
        "The provider checks the report and replies", "提供部门校核、处理和回复", "四川 第二十四条", working_days=10
    ),
    "review": _clock(
        "The platform checks a review request", "平台管理机构核查复核申请", "海珠 第四十条", working_days=3
    ),
    "technical-correction": _clock(
        "The platform corrects a technical difference", "更正技术原因产生的信息差异", "海珠 第四十条", working_days=3
    ),
    "correction": _clock(
        "The collecting department corrects another difference",
        "责任采集部门核查更正非技术差异",
        "海珠 第四十条",
        working_days=3,
    ),
    "catalogue": _clock(
        "The catalogue follows a change of duties or law", "职能或法规变动后更新目录", "四川 第十条", working_days=15
    ),
    "usage-report": _clock("The yearly usage report", "上报年度使用情况", "四川 第三十四条", yearly=(1, 31)),
}
"""Every clock by name."""


@dataclass(frozen=True, slots=True)
class Year:
    """The days off and the make-up working days that the notice for one year names, and where it was read.

    Raises ValueError where a date belongs to no such notice.
    """

    year: int
    holidays: frozenset[date]
    workdays: frozenset[date]
    source: str

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ValueError("source must name the State Council's notice")
        if date(self.year, 1, 1) not in self.holidays:
            raise ValueError(f"holidays must hold {self.year}-01-01: a file replaces the whole year")
        for day in self.holidays | self.workdays:
            if day.year != self.year and (day.year != self.year - 1 or (day.month, day.day) < MOVED_FROM):
                raise ValueError(f"{day} is not of the notice for {self.year}")
        if both := self.holidays & self.workdays:
            raise ValueError(f"{min(both)} is both a holiday and a workday")
        if weekdays := [day for day in self.workdays if day.weekday() < 5]:
            raise ValueError(f"workdays names make-up days: {min(weekdays)} is no Saturday or Sunday")


class WorkCalendar:
    """Working days; the years given go before those of the package. Never changes, so threads may share it."""

    def __init__(self, given: Iterable[Year] = ()) -> None:
        self._given = {year.year: year for year in given}

    def is_working_day(self, day: date) -> bool:
        """Whether a department works on this day, as far as is known."""
        # The next year's notice first: it is the younger one, and only it moves the last days of December.
        for number in (day.year + 1, day.year):
            notice = self._given.get(number)
            if notice and day in notice.holidays | notice.workdays:
                return day in notice.workdays
        if day.year in self._given:
            return day.weekday() < 5
        packaged = _packaged(day.year)
        return day in packaged.workdays if day.weekday() >= 5 else day not in packaged.holidays

    def is_published(self, day: date) -> bool:
        """Whether the notices that this day hangs on are known: its year's, and for late December the next one's."""
        years = [day.year] if (day.month, day.day) < MOVED_FROM else [day.year, day.year + 1]
        return all(year in self._given or _packaged(year).published for year in years)


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a clock that began at `since` runs out: at the end of the day `due`, Asia/Shanghai.

    `provisional`: the date rests on a year whose notice is not known yet.
    """

    clock: str
    since: datetime
    due: date
    provisional: bool

    def overdue(self, now: datetime) -> bool:
        """Whether the last day is over."""
        return day_of(now) > self.due

    def days_left(self, now: datetime, calendar: WorkCalendar) -> int:
        """Working days after today up to the last one: 0 on the last day, and after it."""
        left, day = 0, day_of(now)
        while day < self.due:
            day += ONE_DAY
            left += calendar.is_working_day(day)
        return left


def due(start: datetime, working_days: int, calendar: WorkCalendar) -> date:
    """The last of `working_days` working days after the day of `start`, which does not count itself.

    Raises ValueError for less than one working day and for a time without its offset.
    """
    if working_days < 1:
        raise ValueError("a clock has at least one working day")
    day = day_of(start)
    while working_days:
        day += ONE_DAY
        working_days -= calendar.is_working_day(day)
    return day


def deadline(name: str, since: datetime, calendar: WorkCalendar) -> Deadline:
    """The deadline of the clock `name` that began at `since`. Raises KeyError for an unknown clock."""
    clock, first = CLOCKS[name], day_of(since)
    if clock.yearly is not None:
        # A fixed day needs no calendar: it holds whether or not anybody works on it.
        this_year = date(first.year, *clock.yearly)
        last = this_year if first <= this_year else date(first.year + 1, *clock.yearly)
        return Deadline(name, since, last, provisional=False)
    last = due(since, clock.working_days, calendar)
    days = (first + ONE_DAY * number for number in range(1, (last - first).days + 1))
    return Deadline(name, since, last, provisional=not all(map(calendar.is_published, days)))


def day_of(moment: datetime) -> date:
    """The day in Asia/Shanghai. Raises ValueError for a time without its offset."""
    if moment.utcoffset() is None:
        raise ValueError("a time needs its offset from UTC")
    return moment.astimezone(CHINA).date()


def read_year(document: Members) -> Year:
    """The year that a file `calendar/<year>.yaml` holds. Raises `NodeFileInvalid`."""
    number = document.integer("year")
    if not 2001 <= number <= 2100:
        raise document.refuse("year must be one from 2001 to 2100")
    holidays, workdays = _dates(document, "holidays"), _dates(document, "workdays")
    source = document.text("source")
    document.done()
    try:
        return Year(number, holidays, workdays, source)
    except ValueError as error:
        raise document.refuse(str(error)) from None


def read_calendar(documents: Iterable[Members]) -> WorkCalendar:
    """The calendar of a node directory: its files, and the package for every other year. Raises `NodeFileInvalid`."""
    given: dict[int, Year] = {}
    for document in documents:
        year = read_year(document)
        if year.year in given:
            raise document.refuse(f"the year {year.year} stands twice")
        given[year.year] = year
    return WorkCalendar(given.values())


def _dates(document: Members, name: str) -> frozenset[date]:
    found = []
    for text in document.texts(name):
        try:
            found.append(date.fromisoformat(text))
        except ValueError:
            raise document.refuse(f"{name} must be dates such as 2027-02-06") from None
    if len(set(found)) != len(found):
        raise document.refuse(f"{name} names a date twice")
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Packaged:
    holidays: frozenset[date]
    workdays: frozenset[date]
    published: bool


@lru_cache(64)
def _packaged(year: int) -> _Packaged:
    """A year as the package knows it.

    For a year without a notice it gives the statutory holidays by its own reckoning and no make-up day; every
    notice since 2001 has named some, so a year without any is one that is not published.
    """
    found = country_holidays("CN", years=year)
    workdays = frozenset(day for day in found.weekend_workdays if day.year == year)
    return _Packaged(frozenset(found), workdays, published=any(day.month < 12 for day in workdays))
