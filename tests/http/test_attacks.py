"""What answers add up to: attackers with every disguise, a full quota and two years learn no more than was agreed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from math import log2
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.attackers import DayHunter, PriceHunter, amounts, spellings
from bench.attacks import BAND, GRID, TOLERANCE, Enumeration, bisect, enumerate_numbers
from bench.day_attacks import DETAILED, FOLDED, MONTHS, SPAN, TRIES, WITHIN, Days, Terms, bisect_days
from bench.simulated import SERVICE, Subject, buyers, id_numbers, simulated

SUBJECTS = 500


def hunted(price: int, *, closed: bool = False, grid: int = GRID, steps: int = 64) -> PriceHunter:
    """An attacker who may ask without end, of a comparison that counts one end of the tolerance, or both."""
    low = max(0, price // GRID - steps // 2) * GRID
    hunter = PriceHunter(TOLERANCE, grid, [(low, low + steps * GRID)], closed=closed)
    for _ in range(10_000):
        point = hunter.next()
        if point is None:
            break
        distance = price - point
        hunter.learn(point, agrees=-TOLERANCE <= distance < TOLERANCE + closed)
    assert any(low <= price < high for low, high in hunter.left)
    return hunter


@given(st.integers(100 * GRID, 400 * GRID))
def test_attacker_without_a_grid_pins_a_price_to_the_fen(price: int) -> None:
    """The attacker is a real one: halving, it needs a search's questions, and no grid leaves it nothing to ask."""
    hunter = PriceHunter(TOLERANCE, 1, [(price - 3 * GRID // 2, price + 3 * GRID // 2)])
    asked = 0
    while hunter.remaining > 1:
        low, high = hunter.left[0][0], hunter.left[-1][1]
        point = (low + high) // 2 + TOLERANCE  # agrees from the middle on
        hunter.learn(point, agrees=-TOLERANCE <= price - point < TOLERANCE)
        asked += 1
    assert asked <= 24
    assert hunter.left == [(price, price + 1)]


def test_comparison_that_counts_both_ends_would_give_round_prices_away() -> None:
    """What the contract's `exactly_tolerance` is for: else three answers pin a price that lies on the grid."""
    assert hunted(64 * GRID, closed=True).remaining / BAND < 0.25


@given(st.integers(100 * GRID, 400 * GRID))
def test_all_answers_on_the_grid_together_leave_half_the_band(price: int) -> None:
    assert hunted(price).remaining / BAND == 0.5


def test_bisection_over_two_years_leaves_a_quarter_of_the_band() -> None:
    """T2: case, operator, purpose, client, spelling and a renewed agreement are varied; the budget is one."""
    found = bisect(SUBJECTS)
    assert len(found.left) == SUBJECTS
    assert min(found.left) >= 0.25
    assert found.most_answers == 6, "16 bits are six questions of log2(5)"
    assert found.slugs.keys() == {"answered", "budget-exhausted"}
    assert max(found.left) > 1, "whoever knew little beforehand is stopped by the budget, not by the grid"


def test_bisection_without_a_budget_is_held_by_the_grid() -> None:
    """The attack works: unhindered it gets as far as the grid lets it, with every subject."""
    found = bisect(12, bits=10_000)
    assert found.left == [0.5] * 12
    assert found.most_answers > 6
    assert found.slugs.keys() == {"answered"}


@pytest.mark.parametrize("quota", [1, 40])
def test_enumeration_learns_a_bit_for_each_question_of_the_quota(quota: int) -> None:
    """T1: of 1,000 valid numbers the quota's are answered, each for one bit."""
    found = enumerate_numbers(1_000, quota)
    assert (found.asked, found.answers, found.bits) == (1_000, quota, quota)
    assert found.slugs == {"answered": quota, "quota-exceeded": 1_000 - quota}
    assert found.held


def test_enumeration_that_is_told_who_is_not_found_pays_for_three_answers() -> None:
    """T1, not folded: the price bounds what anyone learns; a blind one learns far less of one in a hundred."""
    found = enumerate_numbers(1_000, 900, folded=False)
    assert found.results["not_found"] < found.answers == 900, "some of the ten who are registered were met"
    assert found.bits == pytest.approx(900 * log2(3), abs=0.2)
    assert 0 < found.entropy < 0.2 * found.bits
    assert found.held


def test_enumeration_beyond_quota_or_price_is_a_limit_that_did_not_hold() -> None:
    sound = Enumeration(quota=4, asked=9, possible=2, bits=4.0, results={"match": 2, "no_match": 2}, slugs={})
    assert (sound.held, sound.entropy) == (True, 4.0)
    assert not replace(sound, quota=3).held, "one answer more than the quota"
    assert not replace(sound, bits=3.0).held, "told more than was paid for"
    assert not replace(sound, bits=4.1).held, "paid for more than two answers"


@given(st.integers(0, SPAN - 1), st.integers(0, SPAN - 1))
def test_attacker_without_a_budget_pins_both_days_of_an_employment(before: int, after: int) -> None:
    """The attacker is a real one: halving, it needs a search's questions for either end."""
    first, last, beyond = WITHIN - timedelta(before), WITHIN + timedelta(after), timedelta(SPAN)
    hunter, asked = DayHunter(WITHIN - beyond, WITHIN, WITHIN + beyond), 0
    while (day := hunter.next()) is not None:
        hunter.learn(day, covered=first <= day <= last)
        asked += 1
    assert (hunter.before, hunter.after) == (first - timedelta(1), last + timedelta(1))
    assert asked <= 24


@pytest.mark.parametrize(
    ("terms", "bits", "paid"), [(FOLDED, 8, 8), (FOLDED, 1, 1), (DETAILED, 8, 5), (DETAILED, 2, 1)]
)
def test_different_answers_about_one_person_never_exceed_budget_by_price(terms: Terms, bits: int, paid: int) -> None:
    """T2: two years, every spelling; a folded answer costs a bit, one of three log2(3)."""
    found = bisect_days(40, terms, bits=bits)
    assert (found.most_paid, found.most_answers, found.held) == (paid, paid, True)
    assert found.slugs == {"answered": 40 * paid, "budget-exhausted": 40 * TRIES * MONTHS}
    assert min(max(pair) for pair in found.left) >= SPAN >> -(-paid // 2)


def test_one_answer_more_than_is_paid_for_is_a_limit_that_did_not_hold() -> None:
    assert Days("a", budget=8, most_paid=5, most_answers=5).held
    assert not Days("a", budget=8, most_paid=5, most_answers=6).held


def test_number_alone_yields_no_answer_and_a_wrong_name_never_a_match() -> None:
    """T1: one that is registered and one that is not are told apart by nobody who does not know the name."""
    (subject,) = buyers(1, Random(1), GRID)
    stranger = next(number for number in id_numbers(9) if number != subject.id_number)
    with simulated([subject], {}) as target:
        for number in (*spellings(subject.id_number), stranger):
            body = {
                "purpose": "low-income-household",
                "case": "LH-0001",
                "operator": "officer.1",
                "subject": {"id_number": number},
                "declared": {"contract_number": subject.contract},
            }
            assert target.ask("hz-civil-dibao", body).slug == "invalid-request"
            assert target.ask("hz-civil-dibao", body | {"confirm": {}}).slug == "invalid-request"
            wrong = target.ask("hz-civil-dibao", body | {"confirm": {"name": "无名氏"}})
            assert wrong.document["result"] == "no_match"
        right = target.ask("hz-civil-dibao", body | _known(subject))
        assert right.document["result"] == "match", "with the name it would be one"


def _known(subject: Subject) -> dict[str, object]:
    return {"subject": {"id_number": subject.id_number}, "confirm": {"name": subject.name}}


def test_caller_chooses_no_tolerance() -> None:
    """T2: tolerance and grid are the provider's; a caller that sends its own is refused."""
    (subject,) = buyers(1, Random(2), GRID)
    body: dict[str, Any] = {"purpose": "property-tax", "case": "LV-0001", "operator": "officer.1"}
    body |= _known(subject)
    declared: dict[str, Any] = {"contract_number": subject.contract, "price": amounts(Random(3), subject.price, GRID)}
    with simulated([subject], {}) as target:
        assert target.ask("hz-tax-levy", body | {"declared": declared}).slug == "answered"
        finer: list[dict[str, Any]] = [
            {"tolerance": "1.00"},
            {"declared": {**declared, "tolerance": "1.00"}},
            {"grid": "1.00"},
        ]
        for extra in finer:
            assert target.ask("hz-tax-levy", {**body, "declared": declared, **extra}).slug == "invalid-request"
        for price in ({"value": "1.00", "tolerance": "1.00"}, "1280000.00±1", 1_280_000):
            reply = target.ask("hz-tax-levy", body | {"declared": {**declared, "price": price}})
            assert reply.slug == "invalid-request"


def test_constants_of_the_attack_are_those_of_the_published_contract() -> None:
    (subject,) = buyers(1, Random(4), GRID)
    with simulated([subject], {}) as target:
        contract = target.node.registry.catalogue.services[SERVICE].contract["attributes"]["price"]
    assert (contract["tolerance"], contract["grid"]) == (f"{TOLERANCE / 100:.2f}", f"{GRID / 100:.2f}")
    assert contract["exactly_tolerance"] == "matches from below"
