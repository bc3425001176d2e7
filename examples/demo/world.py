"""Everything the source registers are to say, in one value: the fixed cast and the population of a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from examples.demo import cast
from examples.demo.claimants import Claims, choose
from examples.demo.employment import Situation, Spell, spells
from examples.demo.housing import Contract, contracts
from examples.demo.population import TODAY, Enterprise, Person, Population, Role, generate

SEED = "hangzhou"


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the demonstration is; by default a month of the pilot (杭州, March to November 2008).

    In nine months there were 574 hits and 289 were confirmed: 64 and 32 a month, of about 11,000 compared.
    """

    people: int = 100_000
    enterprises: int = 20_000
    claimants: int = 11_000
    hits: int = 64
    confirmable: int = 32


@dataclass(frozen=True, slots=True)
class World:
    """All residents, enterprises, roles, employments and contracts, the cast first; the month's claims."""

    people: Sequence[Person]
    enterprises: Sequence[Enterprise]
    roles: Sequence[Role]
    spells: Sequence[Spell]
    contracts: Sequence[Contract]
    claims: Claims


def make(scale: Scale, seed: str = SEED) -> World:
    """Return the world of a seed and scale. Raises `ValueError` if the scale contradicts itself."""
    population = generate(seed, people=scale.people, enterprises=scale.enterprises)
    claims = choose(seed, population, count=scale.claimants, hits=scale.hits, confirmable=scale.confirmable)
    return World(
        people=(*cast.PEOPLE, *population.people),
        enterprises=(*cast.ENTERPRISES, *population.enterprises),
        roles=(*cast.ROLES, *population.roles),
        spells=(*cast.SPELLS, *_employments(seed, population, claims)),
        contracts=(*cast.CONTRACTS, *contracts(Random(f"{seed}:contracts"), population.adults())),
        claims=claims,
    )


def _employments(seed: str, population: Population, claims: Claims) -> list[Spell]:
    rng = Random(f"{seed}:employments")
    employers = [e for e in population.enterprises if e.kind == "company"]
    found: list[Spell] = []
    for person in population.people:
        if person.age_on(TODAY) < 20:
            continue
        situation = claims.situations.get(person.id_number) or _situation(rng, person)
        found += spells(rng, person, situation, employers)
    return found


def _situation(rng: Random, person: Person) -> Situation:
    if person.died_on is not None:
        return Situation.NEVER
    weights = (0, 45, 100) if person.age_on(TODAY) >= 60 else (70, 92, 100)
    return rng.choices((Situation.ONGOING, Situation.PAST, Situation.NEVER), cum_weights=weights)[0]
