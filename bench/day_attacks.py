"""What a department could add up about the days of an employment, under the example's own agreements, in two years.

No band is published for a day, as there is for an amount: what is left is measured, not held against a limit. What is
held is the budget: never more different answers about one person than it pays for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import cycle
from random import Random
from statistics import median

from app.accounts import question_price
from app.limits.account import MILLIBITS
from bench.attackers import DayHunter, labels, spellings
from bench.simulated import Employed, Rewrite, Simulated, months, simulated, workers

MONTHS, THREADS, TRIES = 24, 32, 2
SERVICE = "employment-status"
WITHIN = date(2020, 1, 1)  # everybody was employed then
SPAN = 3_653  # days: what is known beforehand of either end is the decade


@dataclass(frozen=True, slots=True)
class Terms:
    """An agreement of the example node directory, and the client that attacks under it."""

    agreement: str
    client: str
    purpose: str


FOLDED = Terms("hz-civil-employment-status-low-income-household", "hz-civil-dibao", "low-income-household")
DETAILED = Terms("hz-hrss-employment-status-benefit-review", "hz-hrss-review", "benefit-review")


@dataclass(slots=True)
class Days:
    """What came of it: how many days the first and the last one may still be, one pair a person."""

    agreement: str
    budget: int  # bits
    most_paid: int  # different answers about one person that the budget pays for
    left: list[tuple[int, int]] = field(default_factory=list)
    slugs: Counter[str] = field(default_factory=Counter)
    most_answers: int = 0

    @property
    def held(self) -> bool:
        """Whether nobody was answered more often about one person than the budget pays for."""
        return self.most_answers <= self.most_paid

    def text(self) -> str:
        """The line that counts."""
        ends = [end for pair in self.left for end in pair]
        pinned = sum(pair == (1, 1) for pair in self.left)
        return (
            f"days under {self.agreement}: {self.budget} bits pay for {self.most_paid} answers about a person, at "
            f"most {self.most_answers} were given; {median(ends):g} of {SPAN:,} days are left for either end "
            f"(median; smallest {min(ends)}); both days pinned for {pinned:,} of {len(self.left):,} people"
        )


class _Attack:
    """One attacker of one person, with another spelling, case and operator each time."""

    def __init__(self, target: Simulated, terms: Terms, person: Employed, seed: int) -> None:
        beyond = timedelta(days=SPAN)
        self.hunter = DayHunter(WITHIN - beyond, WITHIN, WITHIN + beyond)
        self.slugs: Counter[str] = Counter()
        self._target, self._terms, self._person = target, terms, person
        self._rng = Random(seed)
        self._spellings = cycle(spellings(person.id_number))

    def month(self) -> None:
        """Ask until both days are known, or every try of this month was refused."""
        refused = 0
        while refused < TRIES and (day := self.hunter.next()) is not None:
            reply = self._target.ask(self._terms.client, self._question(day), SERVICE)
            self.slugs[reply.slug] += 1
            if reply.slug == "answered":
                self.hunter.learn(day, covered=reply.document["result"] == "match")
            else:
                refused += 1

    def left(self) -> tuple[int, int]:
        """The days that are left of either end; the truth must be among them."""
        hunter, person = self.hunter, self._person
        first, last = hunter.remaining
        assert hunter.before < person.first <= hunter.before + timedelta(days=first), "the attacker reckons wrongly"
        assert hunter.after - timedelta(days=last) <= person.last < hunter.after, "the attacker reckons wrongly"
        return first, last

    def _question(self, day: date) -> Mapping[str, object]:
        return {
            "purpose": self._terms.purpose,
            **labels(self._rng),
            "subject": {"id_number": next(self._spellings)},
            "confirm": {"name": self._person.name},
            "declared": {"employed_on": day.isoformat()},
        }


def bisect_days(count: int, terms: Terms, *, bits: int | None = None) -> Days:
    """Let `count` attackers work for two years under an agreement, with its own budget or another."""
    edits = {} if bits is None else {f"agreements/{terms.agreement}.yaml": _budget_of(bits)}
    people = workers(count, Random(20261124), WITHIN, SPAN)
    with simulated([], edits, people) as target, ThreadPoolExecutor(THREADS) as pool:
        found = _paid(target, terms)
        attacks = [_Attack(target, terms, person, place) for place, person in enumerate(people)]
        for moment in months(MONTHS):
            target.clock.turn(moment)
            list(pool.map(_Attack.month, attacks))
    _add_up(found, attacks)
    return found


def _paid(target: Simulated, terms: Terms) -> Days:
    agreement = target.node.registry.agreements.find(terms.agreement)
    assert agreement is not None
    assert agreement.budget is not None
    bits = agreement.budget.bits
    return Days(terms.agreement, bits, bits * MILLIBITS // question_price(agreement, 1))


def _budget_of(bits: int) -> Rewrite:
    return lambda text: re.sub(r"budget: {.*}", f"budget: {{bits: {bits}}}", text) + "# As attacked.\n"


def _add_up(found: Days, attacks: Sequence[_Attack]) -> None:
    for attack in attacks:
        found.left.append(attack.left())
        found.slugs += attack.slugs
        found.most_answers = max(found.most_answers, attack.slugs["answered"])
