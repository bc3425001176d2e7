"""People and enterprises of an invented district, the same for the same seed.

People hold numbers of unissued regions (see `identifiers`); each has one number, numbers never repeat, and
`strangers` hold valid numbers that no register knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Literal, NamedTuple

from examples.demo.identifiers import DISTRICTS, Sex, credit_code, resident_id
from examples.demo.names import company_name, personal_name, shop_name

LAST_BIRTHDAY = date(2026, 6, 30)
FIRST_BIRTHDAY = date(1931, 1, 1)
TODAY = date(2026, 11, 15)
"""The day on which the synthetic registers end."""

WORKING_AGE = (20, 59)
_STRANGERS = 200
_LOCAL_SHARE = 0.85


Status = Literal["in-business", "deregistered", "revoked"]
_STATUSES: tuple[Status, ...] = ("in-business", "deregistered", "revoked")


class Person(NamedTuple):
    """One resident. `household` is empty for a migrant, who lives here but is registered elsewhere."""

    id_number: str
    name: str
    sex: Sex
    born: date
    district: str
    household: str
    died_on: date | None

    def age_on(self, day: date) -> int:
        """Full years of age on a day."""
        return day.year - self.born.year - ((day.month, day.day) < (self.born.month, self.born.day))


class Enterprise(NamedTuple):
    """One registered company (`92` codes: one sole trader) and its legal representative."""

    credit_code: str
    name: str
    kind: Literal["company", "sole_trader"]
    representative: Person
    status: Status
    established_on: date
    district: str


class Role(NamedTuple):
    """What a person is in an enterprise, from a day until a day (`None`: still)."""

    person: Person
    role: Literal["legal_representative", "sole_trader", "shareholder"]
    enterprise: Enterprise
    since: date
    until: date | None


@dataclass(frozen=True, slots=True)
class Population:
    """Everyone: `people` are in the registers, `strangers` hold valid numbers that no register has."""

    people: Sequence[Person]
    strangers: Sequence[Person]
    enterprises: Sequence[Enterprise]
    roles: Sequence[Role]

    def adults(self) -> list[Person]:
        """People of working age who are alive on the last day of the registers, in order."""
        low, high = WORKING_AGE
        return [p for p in self.people if p.died_on is None and low <= p.age_on(TODAY) <= high]


def generate(seed: str, *, people: int, enterprises: int) -> Population:
    """Return the population of a seed. Raises `ValueError` if there are no adults to hold the enterprises."""
    rng = Random(f"{seed}:people")
    everyone = _people(rng, people + _STRANGERS)
    living = Population(everyone[:people], everyone[people:], (), ())
    adults = living.adults()
    if not adults:
        raise ValueError("too few people: nobody of working age")
    companies = _enterprises(Random(f"{seed}:enterprises"), adults, enterprises)
    roles = _roles(Random(f"{seed}:roles"), adults, companies)
    return Population(living.people, living.strangers, companies, roles)


def _people(rng: Random, count: int) -> list[Person]:
    districts = tuple(DISTRICTS)
    first, last = FIRST_BIRTHDAY.toordinal(), LAST_BIRTHDAY.toordinal()
    taken: Counter[tuple[str, date, Sex]] = Counter()
    found: list[Person] = []
    household, left = 0, 0
    for _ in range(count):
        born = date.fromordinal(int(rng.triangular(first, last, last - 14_600)))
        sex: Sex = "M" if rng.random() < 0.51 else "F"
        if left == 0:
            household, left, district = household + 1, rng.randint(1, 5), rng.choice(districts)
            local = rng.random() < _LOCAL_SHARE
        left -= 1
        key = (district, born, sex)
        number = resident_id(district, born, taken[key], sex)
        taken[key] += 1
        home = f"{district}{household:07d}" if local else ""
        found.append(
            Person(number, personal_name(rng, sex), sex, born, district, home, _death(rng, born)),
        )
    return found


def _death(rng: Random, born: date) -> date | None:
    age = TODAY.year - born.year
    if rng.random() >= (0.12 if age > 75 else 0.02 if age > 55 else 0.001):
        return None
    return max(born, TODAY - timedelta(days=rng.randint(1, 3_000)))


def _enterprises(rng: Random, adults: Sequence[Person], count: int) -> list[Enterprise]:
    found: dict[str, Enterprise] = {}
    while len(found) < count:
        enterprise = _enterprise(rng, rng.choice(adults), len(found) + 1)
        found.setdefault(enterprise.name, enterprise)  # within one registry a name is given once
    return list(found.values())


def _enterprise(rng: Random, head: Person, serial: int) -> Enterprise:
    trader = rng.random() < 0.4
    name = shop_name(rng, DISTRICTS[head.district]) if trader else company_name(rng)
    status = rng.choices(_STATUSES, cum_weights=(88, 97, 100))[0]
    earliest = max(head.born + timedelta(days=18 * 366), date(1998, 1, 1))
    founded = date.fromordinal(rng.randint(earliest.toordinal(), TODAY.toordinal() - 60))
    code = credit_code(head.district, serial, "92" if trader else "91")
    kind: Literal["company", "sole_trader"] = "sole_trader" if trader else "company"
    return Enterprise(code, name, kind, head, status, founded, head.district)


def _roles(rng: Random, adults: Sequence[Person], enterprises: Sequence[Enterprise]) -> list[Role]:
    found: list[Role] = []
    for enterprise in enterprises:
        since = enterprise.established_on
        until = None if enterprise.status == "in-business" else TODAY - timedelta(days=rng.randint(1, 59))
        head = enterprise.representative
        if enterprise.kind == "sole_trader":
            found.append(Role(head, "sole_trader", enterprise, since, until))
            continue
        found.append(Role(head, "legal_representative", enterprise, since, until))
        owners = {head, *(p for p in rng.choices(adults, k=rng.randint(0, 2)) if p.age_on(since) >= 18)}
        found.extend(Role(p, "shareholder", enterprise, since, until) for p in sorted(owners))
    return found
