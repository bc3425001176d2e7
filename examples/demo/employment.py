"""Who worked where and when, and the monthly wage bases: what employers declared to the tax office.

The benefit date is the day on which a benefit claimant must be without work. Every person is in one
`Situation` on it, and the spells drawn for the person are true to that situation by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from enum import Enum
from random import Random
from typing import NamedTuple

from examples.demo.population import TODAY, Enterprise, Person

BENEFIT_DATE = date(2026, 9, 15)
MONTH_END = date(2026, 9, 30)
WAGE_MONTHS = ("2026-07", "2026-08", "2026-09", "2026-10")
"""The months for which wage bases are on file."""


class Situation(Enum):
    """A person's employment on the benefit date."""

    ONGOING = "works on the date and after the month: a hit that the office can confirm"
    TAIL = "works on the date, but the employment ends within the month: a hit that will not be confirmed"
    PAST = "worked, but not on the date"
    NEVER = "wages were never declared"


class Spell(NamedTuple):
    """One employment; `end` is the last day wages were declared for, `None` while they still are."""

    person: Person
    employer: Enterprise
    start: date
    end: date | None
    monthly_wage: int

    def covers(self, day: date) -> bool:
        """Say whether the employment covers a day."""
        return self.start <= day and (self.end is None or day <= self.end)


def spells(rng: Random, person: Person, situation: Situation, employers: Sequence[Enterprise]) -> list[Spell]:
    """Return the employments of an adult, latest first: true to the situation, none before the age of 16."""
    if situation is Situation.NEVER:
        return []
    sixteen = date(person.born.year + 16, person.born.month, min(person.born.day, 28))
    start, end = _latest(rng, situation)
    start = max(start, sixteen)
    found: list[Spell] = []
    for _ in range(rng.randint(1, 4)):
        employer = employers[int(rng.random() * len(employers))]
        found.append(Spell(person, employer, start, end, 100 * rng.randint(30, 260)))
        # An earlier employment never reaches the date, also before a new job that begins after it.
        end = min(start - timedelta(days=rng.randint(2, 200)), BENEFIT_DATE - timedelta(days=2))
        start = end - timedelta(days=rng.randint(45, 1_500))
        if start < sixteen:
            break
    return found


def _latest(rng: Random, situation: Situation) -> tuple[date, date | None]:
    if situation is Situation.PAST:
        return _beside_the_date(rng)
    start = BENEFIT_DATE - timedelta(days=int(rng.random() * 1_800))
    if situation is Situation.TAIL:
        return start, BENEFIT_DATE + timedelta(days=rng.randint(0, (MONTH_END - BENEFIT_DATE).days))
    if rng.random() < 0.9:
        return start, None
    return start, MONTH_END + timedelta(days=rng.randint(10, (TODAY - MONTH_END).days))


def _beside_the_date(rng: Random) -> tuple[date, date | None]:
    draw = rng.random()
    if draw < 0.03:  # a new job the day after or later: not employed on the date
        return BENEFIT_DATE + timedelta(days=rng.randint(1, 30)), None
    # One in thirty ends on the very eve: an off-by-one in a comparison would be a hit.
    end = BENEFIT_DATE - timedelta(days=1 if draw < 0.06 else rng.randint(2, 700))
    return end - timedelta(days=rng.randint(45, 1_500)), end


def wage_bases(spell: Spell) -> Iterator[tuple[str, int]]:
    """Yield month and wage base in yuan for the months on file that the employment covers on some day."""
    for month in WAGE_MONTHS:
        first = date.fromisoformat(f"{month}-01")
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        if spell.start <= last and (spell.end is None or spell.end >= first):
            yield month, spell.monthly_wage
