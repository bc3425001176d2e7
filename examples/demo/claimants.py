"""The month's benefit claimants and what the cross-check must answer for each of them.

Truth is planted, not measured: who is chosen as a hit works on the benefit date by construction. A few
claimants have a misspelt name or a number that no register knows: `not_found`, as nothing is folded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from examples.demo.employment import BENEFIT_DATE, Situation
from examples.demo.names import misspelt
from examples.demo.population import Person, Population

Expected = Literal["match", "no_match", "not_found"]

_DOTS = "·•・"


@dataclass(frozen=True, slots=True)
class Claimant:
    """One row of the cross-check: who is claimed for under which name, and the answer that is true."""

    person: Person
    stated_name: str
    expected: Expected
    confirmable: bool = False

    def row(self) -> dict[str, dict[str, str]]:
        """Return the row as a line of a batch holds it."""
        return {
            "subject": {"id_number": self.person.id_number},
            "confirm": {"name": self.stated_name},
            "declared": {"employed_on": BENEFIT_DATE.isoformat()},
        }


@dataclass(frozen=True, slots=True)
class Claims:
    """All claimants in file order, and the situation of each one who is a resident, by id number."""

    claimants: Sequence[Claimant]
    situations: Mapping[str, Situation]


def choose(seed: str, population: Population, *, count: int, hits: int, confirmable: int) -> Claims:
    """Return `count` distinct claimants: `hits` of them match, `confirmable` of those also work on later.

    Raises `ValueError` if the population is too small or the counts contradict each other.
    """
    rng = Random(f"{seed}:claimants")
    unknown, wrong = max(1, count * 19 // 11_000), max(1, count * 24 // 11_000)
    adults = population.adults()
    if not 0 <= confirmable <= hits <= count - unknown - wrong or count - unknown > len(adults):
        raise ValueError(f"{count} claimants with {hits} hits do not fit into {len(adults)} adults")
    chosen = rng.sample(adults, count - unknown)
    situations = {p.id_number: _situation(rng, i, confirmable, hits) for i, p in enumerate(chosen)}
    claimants = [_known(rng, p, situations[p.id_number]) for p in chosen]
    for person in chosen[hits : hits + wrong]:
        # In truth at work: whoever compares the number alone gets hits too many.
        situations[person.id_number] = Situation.ONGOING
    claimants[hits : hits + wrong] = [
        Claimant(p, misspelt(rng, p.name), "not_found") for p in chosen[hits : hits + wrong]
    ]
    claimants += [Claimant(p, p.name, "not_found") for p in population.strangers[:unknown]]
    rng.shuffle(claimants)
    return Claims(claimants, situations)


def _situation(rng: Random, index: int, confirmable: int, hits: int) -> Situation:
    if index < confirmable:
        return Situation.ONGOING
    if index < hits:
        return Situation.TAIL
    return Situation.NEVER if rng.random() < 0.05 else Situation.PAST


def _known(rng: Random, person: Person, situation: Situation) -> Claimant:
    # Claimants write the middle dot as they like; the comparison must not care.
    name = person.name.replace("·", rng.choice(_DOTS))
    hit = situation in {Situation.ONGOING, Situation.TAIL}
    return Claimant(person, name, "match" if hit else "no_match", confirmable=situation is Situation.ONGOING)
