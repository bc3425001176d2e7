"""Amounts within a tolerance: never beyond it, on the provider's grid, and no finer than that."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adapters.base import AttributeBinding, BindingInvalid, SourceMisbehaved
from adapters.columns import amount_of
from adapters.compare import Comparison, build
from adapters.normalise import ValueInvalid

amounts = st.decimals(0, Decimal("9999999999.99"), places=2, allow_nan=False)
tolerances = st.decimals(Decimal("0.01"), Decimal("100000.00"), places=2)


def within(tolerance: str, grid: str) -> Comparison:
    return build(AttributeBinding("price", "within", {"column": "price"}, {"tolerance": tolerance, "grid": grid}))


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[Comparison, Decimal, Decimal]:
    """A comparison with its tolerance and its grid, one or two times the tolerance."""
    tolerance = draw(tolerances)
    grid = tolerance * draw(st.sampled_from([1, 2]))
    return within(str(tolerance), str(grid)), tolerance, grid


@pytest.mark.parametrize(
    ("tolerance", "grid", "reason"),
    [
        ("5000.00", "4999.99", "at least the tolerance"),
        ("5000.00", "10000.01", "the tolerance or twice it"),
        ("5000.00", "7500.00", "answers add up"),
        ("0.00", "0.00", "above zero"),
        ("0.00", "1.00", "true amounts disagree"),
        ("-1.00", "1.00", "tolerance: an amount"),
        ("1e3", "1000", "tolerance: an amount"),
        ("100%", "1.00", "tolerance: an amount"),
        ("1%", "0.00", "above zero"),
        ("1%", "x", "grid: an amount"),
    ],
)
def test_binding_that_leaks_or_errs_is_refused(tolerance: str, grid: str, reason: str) -> None:
    with pytest.raises(BindingInvalid, match=f"price: .*{reason}"):
        within(tolerance, grid)


def test_exact_amounts_can_be_bound() -> None:
    exact = within("0.00", "0.01")
    assert exact.matches(Decimal("1.23"), {"column": "1.23"})
    assert not exact.matches(Decimal("1.23"), {"column": "1.24"})


@given(comparisons(), amounts, amounts)
def test_never_matches_beyond_the_tolerance(
    bound: tuple[Comparison, Decimal, Decimal], declared: Decimal, stored: Decimal
) -> None:
    comparison, tolerance, grid = bound
    snapped = comparison.snap(declared)
    assert isinstance(snapped, Decimal)
    matched = comparison.matches(snapped, {"column": str(stored)})
    distance = abs(Fraction(snapped) - Fraction(stored))
    assert matched == (distance < tolerance) or distance == tolerance
    assert not matched or abs(declared - stored) <= tolerance + grid / 2


@given(comparisons(), amounts, st.sampled_from([-1, 1]))
def test_exactly_the_tolerance_counts_at_one_end(
    bound: tuple[Comparison, Decimal, Decimal], declared: Decimal, side: int
) -> None:
    comparison, tolerance, grid = bound
    snapped = comparison.snap(declared)
    assert isinstance(snapped, Decimal)
    stored = snapped + side * tolerance
    assume(stored >= 0)
    matched = comparison.matches(snapped, {"column": str(stored)})
    assert matched == (comparison.snap(stored) == snapped if grid > tolerance else side == -1)


@given(comparisons(), amounts)
def test_true_amount_always_matches(bound: tuple[Comparison, Decimal, Decimal], amount: Decimal) -> None:
    comparison, _, _ = bound
    assert comparison.matches(comparison.snap(amount), {"column": str(amount)})


@given(comparisons(), amounts)
def test_snapping_gives_the_nearest_step_and_stays_there(
    bound: tuple[Comparison, Decimal, Decimal], amount: Decimal
) -> None:
    comparison, _, grid = bound
    snapped = comparison.snap(amount)
    assert isinstance(snapped, Decimal)
    assert Fraction(snapped) == round(Fraction(amount) / Fraction(grid)) * Fraction(grid)
    assert comparison.snap(snapped) == snapped


@given(comparisons(), amounts, amounts)
def test_unsnapped_amount_is_judged_like_its_step(
    bound: tuple[Comparison, Decimal, Decimal], declared: Decimal, stored: Decimal
) -> None:
    comparison, _, _ = bound
    row = {"column": str(stored)}
    assert comparison.matches(declared, row) == comparison.matches(comparison.snap(declared), row)


@pytest.mark.parametrize(
    ("amount", "step"),
    [("5000.00", "0.00"), ("15000.00", "20000.00"), ("25000.00", "20000.00"), ("5000.01", "10000.00")],
)
def test_half_way_goes_to_the_even_step(amount: str, step: str) -> None:
    assert within("5000.00", "10000.00").snap(Decimal(amount)) == Decimal(step)
    assert (Decimal(amount) / 10000).quantize(Decimal(1), ROUND_HALF_EVEN) * 10000 == Decimal(step)


@pytest.mark.parametrize(("tolerance", "grid"), [("0.05", "0.10"), ("0.10", "0.10")])
def test_all_answers_together_tell_no_more_than_the_step(tolerance: str, grid: str) -> None:
    # T2: an asker with every question that exists, and every amount of a small world, the round ones too.
    comparison = within(tolerance, grid)
    questions = [Decimal(n) / 10 for n in range(60)]
    told: dict[tuple[bool, ...], int] = {}
    for cents in range(500):
        row = {"column": f"{Decimal(cents) / 100:.2f}"}
        answers = tuple(comparison.matches(question, row) for question in questions)
        told[answers] = told.get(answers, 0) + 1
    candidates = sorted(told.values())
    assert candidates[0] >= 5, "the steps at the ends of the world are cut in half"
    assert candidates[2] >= 9, "half to even takes a cent from every other step"
    assert candidates[-1] <= 11


@given(amounts, amounts)
def test_share_is_taken_of_the_source_value(declared: Decimal, stored: Decimal) -> None:
    comparison = within("2.5%", "0.01")
    matched = comparison.matches(declared, {"column": str(stored)})
    assert matched == (abs(Fraction(declared) - Fraction(stored)) <= Fraction(stored) * Fraction(25, 1000))


@pytest.mark.parametrize("tolerance", ["5000.00", "10000.00", "1%"])
def test_contract_states_tolerance_and_grid(tolerance: str) -> None:
    contract = within(tolerance, "10000.00").describe()
    assert contract["grid"] == "10000.00"
    assert contract["tolerance"].startswith(tolerance)
    assert ("exactly_tolerance" in contract) == (tolerance != "1%")


@pytest.mark.parametrize(
    "stored", ["", "12a", "1,280,000.00", "NaN", "１２", "1e6", "9" * 19, float("nan"), float("inf"), 10**18]
)
def test_what_is_no_amount_agrees_with_nothing(stored: object) -> None:
    comparison = within("5000.00", "10000.00")
    assert not comparison.matches(Decimal(0), {"column": stored})
    assert comparison.source_key({"column": stored}) == f"?{stored}"


def test_snapping_what_is_no_amount_is_refused() -> None:
    with pytest.raises(ValueInvalid):
        within("5000.00", "10000.00").snap("1")


@given(amounts)
def test_binary_float_stands_for_its_two_decimals(amount: Decimal) -> None:
    assume(amount < 10**9)
    assert amount_of(float(amount)) == amount
    exact = within("0.00", "0.01")
    assert exact.source_key({"column": float(amount)}) == exact.source_key({"column": str(amount)})
    assert exact.source_key({"column": amount}) == exact.source_key({"column": f"{amount:.4f}"})


@pytest.mark.parametrize("stored", [True, b"1", [1]])
def test_type_that_is_no_amount_is_misbehaviour(stored: object) -> None:
    with pytest.raises(SourceMisbehaved, match="bound as an amount"):
        amount_of(stored)


@pytest.mark.parametrize("stored", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e-21"), Decimal("1e18")])
def test_decimal_beyond_all_amounts_is_odd(stored: Decimal) -> None:
    with pytest.raises(ValueInvalid):
        amount_of(stored)


def test_zero_is_one_value_whatever_its_sign() -> None:
    exact = within("0.00", "0.01")
    assert {exact.source_key({"column": zero}) for zero in (0, "-0.00", Decimal("-0.0"), "0.000", -0.0)} == {"=0"}
