"""A column's value as one text: no spelling of a value makes it another one, no other value makes it the same."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import SourceMisbehaved
from adapters.columns import plain
from tests.unit.adapters.values import credit_codes, hostile, resident_ids

recent = st.dates(date(1800, 1, 1), date(9999, 12, 30))
cents = st.integers(-(10**15), 10**15)


def wide(text: str) -> str:
    """The text in full width, with blanks around it."""
    return " " + "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text) + "\u3000"


@given(recent)
def test_day_is_one_value_in_every_form(day: date) -> None:
    noon = datetime(day.year, day.month, day.day, 12)  # noqa: DTZ001 - as a source holds it
    number = int(f"{day:%Y%m%d}")
    forms = [day, noon, day.isoformat(), noon.isoformat(), f" {day.isoformat()} 12:00:00", number, f"{number}"]
    assert {plain(form) for form in forms} == {day.isoformat()}
    assert plain(noon.replace(tzinfo=UTC)) == day.isoformat(), "20:00 in Shanghai"
    assert plain(day + timedelta(days=1)) != plain(day)


@given(cents, cents)
def test_amount_is_one_value_in_every_type(amount: int, other: int) -> None:
    exact = Decimal(amount).scaleb(-2)
    forms: list[object] = [exact, f"{exact:f}", f" {exact:.4f}", exact.normalize(), wide(f"{exact:f}")]
    if abs(amount) < 10**13:
        forms.append(float(exact))
    assert len({plain(form) for form in forms}) == 1
    assert (plain(Decimal(other).scaleb(-2)) == plain(exact)) == (amount == other)


@given(resident_ids(), resident_ids())
def test_id_number_is_one_value_in_its_old_and_its_new_form(one: str, other: str) -> None:
    forms = [one, one.lower(), wide(one), *([one[:6] + one[8:17]] if one[6:8] == "19" else [])]
    assert {plain(form) for form in forms} == {one}
    assert (plain(other) == one) == (one == other)


@given(credit_codes(), credit_codes())
def test_credit_code_is_one_value_in_either_case(one: str, other: str) -> None:
    assert plain(one.lower()) == plain(wide(one)) == plain(one)
    assert (plain(one) == plain(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, ""),
        (None, "\u3000"),
        ("杭州瑞丰达(浙江)物流有限公司", " 杭州瑞丰达（浙江）物流有限公司"),
        ("杭州瑞丰达(浙江)物流有限公司", "杭州瑞丰达【浙江】物流 有限公司"),
        ("买买提·吐尔逊", "买买提．吐尔逊"),
        (7, "007"),
        (True, "true"),
        (0, "-0.00"),
        (0, -0.0),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Decimal("1E+3"), 1000),
    ],
)
def test_spelling_makes_no_other_value(one: object, other: object) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, "null"),
        (None, 0),
        (None, False),
        ("张伟", "张玮"),
        (1, -1),
        (20200101, -20200101),
        ("2020-02-30", "2020-02-29"),
        ("10", "1"),
        (10, Decimal("10.01")),
        (float("inf"), float("-inf")),
        ("330106199003070117", "330106199003070118"),
        ("20200101 12:00", "20200102 12:00"),
    ],
)
def test_other_values_stay_apart(one: object, other: object) -> None:
    assert plain(one) != plain(other)


@given(
    hostile
    | st.none()
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(UTC))
)
def test_everything_that_a_column_may_hold_is_some_text(raw: object) -> None:
    assert plain(raw) == plain(raw)
    assert bool(plain(raw)) or raw is None or not str(raw).isprintable() or not str(raw).strip()


@pytest.mark.parametrize("raw", [b"x", ["a"], {"a": 1}, timedelta(1), memoryview(b"x")])
def test_type_that_no_column_may_have_is_misbehaviour(raw: object) -> None:
    with pytest.raises(SourceMisbehaved, match=f"^a column holds {type(raw).__name__}$"):
        plain(raw)
