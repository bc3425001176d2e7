from __future__ import annotations

from random import Random

import pytest

from adapters import normalise
from examples.demo import cast
from examples.demo.claimants import choose
from examples.demo.employment import BENEFIT_DATE, MONTH_END, Situation, Spell, spells, wage_bases
from examples.demo.identifiers import DISTRICTS, PERSONA_REGION
from examples.demo.names import misspelt, personal_name
from examples.demo.population import TODAY, Population, generate
from examples.demo.world import Scale, make


@pytest.fixture(scope="module")
def population() -> Population:
    return generate("test", people=3_000, enterprises=200)


def test_nobody_cannot_hold_enterprises() -> None:
    with pytest.raises(ValueError, match="too few people"):
        generate("test", people=0, enterprises=1)


def test_same_seed_makes_the_same_world() -> None:
    scale = Scale(people=600, enterprises=50, claimants=60, hits=6, confirmable=3)
    assert make(scale, "a") == make(scale, "a")
    assert make(scale, "a") != make(scale, "b")


def test_numbers_and_names_of_enterprises_never_repeat(population: Population) -> None:
    everyone = (*population.people, *population.strangers)
    assert len({person.id_number for person in everyone}) == len(everyone) == 3_200
    assert len({e.credit_code for e in population.enterprises}) == 200
    assert len({e.name for e in population.enterprises}) == 200


def test_only_the_cast_has_the_region_of_the_personas(population: Population) -> None:
    assert {person.id_number[:6] for person in population.people} == set(DISTRICTS)
    assert {person.id_number[:6] for person in cast.PEOPLE} == {PERSONA_REGION}


def test_roles_end_after_they_begin(population: Population) -> None:
    for role in population.roles:
        assert role.since <= (role.until or TODAY)
        assert role.since >= role.person.born


@pytest.mark.parametrize("seed", range(200))
def test_misspelt_name_never_compares_equal(seed: int) -> None:
    rng = Random(seed)
    name = personal_name(rng, rng.choice(("M", "F")))
    assert normalise.name(misspelt(rng, name)) != normalise.name(name)


@pytest.mark.parametrize("situation", Situation)
def test_employments_are_true_to_the_situation(population: Population, situation: Situation) -> None:
    employers = population.enterprises
    for number, person in enumerate(population.adults()):
        found = spells(Random(number), person, situation, employers)
        covering = [spell for spell in found if spell.covers(BENEFIT_DATE)]
        assert bool(covering) == (situation in {Situation.ONGOING, Situation.TAIL})
        for spell in covering:
            assert (spell.end is None or spell.end > MONTH_END) == (situation is Situation.ONGOING)
        for spell in found:
            assert spell.start <= (spell.end or TODAY)
            assert spell.start.year - person.born.year >= 16
        assert found or situation is Situation.NEVER


def test_wage_base_is_on_file_for_months_touched_by_a_day() -> None:
    assert [month for month, _ in wage_bases(cast.SPELLS[0])] == ["2026-07", "2026-08", "2026-09", "2026-10"]
    assert [month for month, _ in wage_bases(cast.SPELLS[3])] == ["2026-07", "2026-08", "2026-09"]
    first_of_october = Spell(cast.TAIL, cast.MILL, MONTH_END, MONTH_END.replace(month=10, day=1), 5_000)
    assert [month for month, _ in wage_bases(first_of_october)] == ["2026-09", "2026-10"]


def test_more_hits_than_claimants_are_refused(population: Population) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        choose("test", population, count=10, hits=10, confirmable=5)
    with pytest.raises(ValueError, match="do not fit"):
        choose("test", population, count=100, hits=10, confirmable=11)
    with pytest.raises(ValueError, match="do not fit"):
        choose("test", population, count=100_000, hits=64, confirmable=32)
