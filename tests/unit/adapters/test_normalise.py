"""Normalising: idempotent, bounded, value-free in its errors; check digits as python-stdnum has them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from stdnum import exceptions
from stdnum.cn import ric, uscc

from adapters import normalise
from adapters.normalise import ValueInvalid
from tests.unit.adapters.values import (
    CREDIT_ALPHABET,
    credit_codes,
    hostile,
    issued_regions,
    resident_ids,
    with_check,
)

TEXTS = [
    normalise.resident_id,
    normalise.credit_code,
    normalise.name,
    normalise.organisation,
    normalise.code,
    normalise.phone,
]
WIDE = str.maketrans("0123456789Xx", "０１２３４５６７８９Ｘｘ")


@pytest.mark.parametrize("normal", [*TEXTS, normalise.money, normalise.iso_date])
@pytest.mark.parametrize("empty", ["", " ", "\u3000", "\u200b", "\0"])
def test_nothing_is_no_value(normal: Callable[[str], object], empty: str) -> None:
    with pytest.raises(ValueInvalid):
        normal(empty)


@pytest.mark.parametrize("normal", TEXTS)
@given(raw=hostile | resident_ids() | credit_codes())
@example(raw="a\u0308")
@example(raw="a\u00a8b")
@example(raw="\ufdfa" * 10)
def test_normalising_twice_changes_nothing(normal: Callable[[str], str], raw: str) -> None:
    with suppress(ValueInvalid):
        once = normal(raw)
        assert normal(once) == once


@pytest.mark.parametrize("normal", [item for item in TEXTS if item is not normalise.phone])
@given(raw=hostile | resident_ids() | credit_codes())
@example(raw="Ａ (１)")
@example(raw="买买提．吐尔逊")
@example(raw="杭州【甲】公司")
def test_loose_text_overlooks_all_that_a_normaliser_overlooks(normal: Callable[[str], str], raw: str) -> None:
    with suppress(ValueInvalid):
        once = normal(raw)
        if len(once) == len(raw.strip()) or normal is not normalise.resident_id:  # 15 digits become 18
            assert normalise.loose(once) == normalise.loose(raw)


RULES = {
    "a resident id number has 18 characters (or 15 digits)",
    "the check digit of the resident id number is wrong",
    "the birth date in the resident id number is no real date",
    "a unified social credit code has 18 characters of GB 32100",
    "the check character of the unified social credit code is wrong",
    "a telephone number is a mobile number or begins with its area code",
    "an amount is a decimal string of yuan with at most two decimals",
    "a date is a real day written YYYY-MM-DD",
    "empty",
    "holds control characters",
    *(f"longer than {limit} characters" for limit in (64, 100, 200)),
}


@pytest.mark.parametrize("normal", [*TEXTS, normalise.money, normalise.iso_date])
@given(raw=hostile | resident_ids().map(lambda number: number[:17]))
def test_error_names_a_rule_and_never_the_value(normal: Callable[[str], object], raw: str) -> None:
    error = refusal(normal, raw)
    assert error is None or (str(error) in RULES and error.__context__ is None)


def refusal(normal: Callable[[str], object], raw: str) -> ValueInvalid | None:
    try:
        normal(raw)
    except ValueInvalid as error:
        return error
    return None


@pytest.mark.parametrize("normal", [*TEXTS, normalise.money, normalise.iso_date])
def test_long_text_is_refused_before_it_costs(normal: Callable[[str], object]) -> None:
    with pytest.raises(ValueInvalid):
        normal("1" * 1_000_000)


def is_sound(number: str) -> bool:
    """What python-stdnum says of check digit and birth date; its regions end with the years they were assigned."""
    try:
        ric.get_birth_date(number)
    except exceptions.ValidationError:
        return False
    return bool(ric.calc_check_digit(number) == number[17])


class TestResidentId:
    @given(resident_ids(issued_regions))
    def test_valid_number_is_valid_for_stdnum_too(self, number: str) -> None:
        assert normalise.resident_id(number) == number
        assert is_sound(number)

    @given(st.from_regex(r"\A(?:110101|330106)(?:18|19|20)[0-9]{9}[0-9X]\Z"))
    def test_any_row_of_digits_is_judged_as_stdnum_does(self, number: str) -> None:
        try:
            normalise.resident_id(number)
        except ValueInvalid:
            assert not is_sound(number)
        else:
            assert is_sound(number)

    @given(resident_ids(), st.integers(0, 17), st.sampled_from("0123456789X"))
    def test_one_wrong_character_is_found(self, number: str, place: int, character: str) -> None:
        assume(number[place] != character)
        with pytest.raises(ValueInvalid):
            normalise.resident_id(number[:place] + character + number[place + 1 :])

    @given(resident_ids(), st.integers(0, 16))
    def test_two_digits_changed_over_are_found(self, number: str, place: int) -> None:
        assume(number[place] != number[place + 1])
        with pytest.raises(ValueInvalid):
            normalise.resident_id(number[:place] + number[place + 1] + number[place] + number[place + 2 :])

    @given(resident_ids())
    def test_full_width_and_small_x_are_the_same_number(self, number: str) -> None:
        assert normalise.resident_id(number.translate(WIDE)) == number
        assert normalise.resident_id(number.lower()) == number
        assert normalise.resident_id(number.lower().translate(WIDE)) == number

    @given(resident_ids())
    def test_every_stored_form_leads_back_to_the_number(self, number: str) -> None:
        forms = normalise.stored_forms("resident_id", number)
        assert forms[0] == number
        assert {normalise.resident_id(form) for form in forms} == {number}
        assert (len(forms[-1]) == 15) == (number[6:8] == "19")

    @pytest.mark.parametrize(
        "born", ["20230229", "19000229", "19991301", "19990001", "19990100", "17991231", "00010101"]
    )
    def test_birth_date_that_does_not_exist_is_refused(self, born: str) -> None:
        with pytest.raises(ValueInvalid, match="birth date"):
            normalise.resident_id(with_check(f"339881{born}001"))

    @pytest.mark.parametrize("number", ["339881900307011", "３３９８８１９００３０７０１１"])
    def test_old_number_is_converted(self, number: str) -> None:
        assert normalise.resident_id(number) == with_check("33988119900307011")

    @pytest.mark.parametrize(
        "number", ["33988119900307011", "3398811990030701171", "٣٣٩٨٨١١٩٩٠٠٣٠٧٠١١٧", "339881199003070１1七", "X" * 18]
    )
    def test_other_shapes_are_refused(self, number: str) -> None:
        with pytest.raises(ValueInvalid):
            normalise.resident_id(number)

    def test_unissued_region_is_accepted(self) -> None:
        number = with_check("33988119900307011")
        with pytest.raises((exceptions.InvalidComponent, KeyError)):
            ric.get_birth_place(number)
        assert normalise.resident_id(number) == number


class TestCreditCode:
    @given(credit_codes())
    def test_valid_code_is_valid_for_stdnum_too(self, code: str) -> None:
        assert normalise.credit_code(code) == code
        assert uscc.is_valid(code)

    @given(st.text(CREDIT_ALPHABET, min_size=18, max_size=18) | st.from_regex(r"\A91330106[0-9A-HJ-NP-RTUWXY]{10}\Z"))
    def test_any_row_of_characters_is_judged_as_stdnum_does(self, code: str) -> None:
        try:
            uscc.validate(code)
        except exceptions.ValidationError:
            with pytest.raises(ValueInvalid):
                normalise.credit_code(code)
        else:
            assert normalise.credit_code(code) == code

    @given(credit_codes(), st.integers(8, 17), st.sampled_from(CREDIT_ALPHABET))
    def test_one_wrong_character_is_found(self, code: str, place: int, character: str) -> None:
        assume(code[place] != character)
        with pytest.raises(ValueInvalid):
            normalise.credit_code(code[:place] + character + code[place + 1 :])

    @given(credit_codes())
    def test_small_letters_are_the_same_code(self, code: str) -> None:
        assert normalise.credit_code(code.lower()) == code
        assert normalise.stored_forms("credit_code", code) == (code,)


class TestNames:
    @pytest.mark.parametrize("dot", "·•・‧.．･∙⋅․")
    def test_every_middle_dot_is_one(self, dot: str) -> None:
        assert normalise.name(f"买买提{dot}艾力") == "买买提·艾力"

    @pytest.mark.parametrize("raw", ["张 伟", "张\u3000伟", " 张伟\n", "张\u200b伟", "\ufeff张伟", "张伟\ufe00"])
    def test_blanks_of_all_kinds_are_removed(self, raw: str) -> None:
        assert normalise.name(raw) == "张伟"

    @pytest.mark.parametrize(
        "raw", ["甲（乙）", "甲(乙)", "甲〔乙〕", "甲【乙】", "甲［乙］", "甲[乙]", "甲﹙乙﹚", "甲 （ 乙 ）"]
    )
    def test_brackets_of_an_organisation_are_unified(self, raw: str) -> None:
        assert normalise.organisation(raw) == "甲(乙)"

    @pytest.mark.parametrize("raw", ["张\0伟", "张\x1b伟", "张\ud800伟", "张" * 101, "\ufdfa" * 7])
    def test_what_is_no_name_is_refused(self, raw: str) -> None:
        with pytest.raises(ValueInvalid):
            normalise.name(raw)

    @given(st.text("张伟𠮷é·", min_size=1, max_size=20))
    def test_composed_and_decomposed_letters_are_the_same_name(self, raw: str) -> None:
        assert normalise.name(unicodedata.normalize("NFD", raw)) == normalise.name(raw)


class TestAmountsAndDays:
    @given(st.decimals(0, Decimal("9999999999999.99"), places=2, allow_nan=False))
    def test_amount_is_exact(self, amount: Decimal) -> None:
        assert normalise.money(f"{amount:.2f}") == amount
        assert str(normalise.money(f"{amount:.2f}")) == f"{amount:.2f}"

    @pytest.mark.parametrize(
        "raw",
        [
            "NaN",
            "Infinity",
            "1e3",
            "-1.00",
            "+1",
            "1.005",
            "1,000.00",
            "01.00",
            "1.",
            ".5",
            " 1",
            "1\n",
            "１",
            "1" * 14,
        ],
    )
    def test_what_is_no_amount_is_refused(self, raw: str) -> None:
        with pytest.raises(ValueInvalid):
            normalise.money(raw)

    @given(st.dates())
    def test_day_is_read_back(self, day: date) -> None:
        assert normalise.iso_date(day.isoformat()) == day

    @pytest.mark.parametrize(
        "raw",
        [
            "2026-02-30",
            "2025-02-29",
            "2026-1-1",
            "20260101",
            "2026-W01-1",
            "2026-01-01T00:00",
            "2026-01-01\n",
            "２026-01-01",
        ],
    )
    def test_what_is_no_day_is_refused(self, raw: str) -> None:
        with pytest.raises(ValueInvalid):
            normalise.iso_date(raw)

    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ("138 1234-5678", "13812345678"),
            ("+8613812345678", "13812345678"),
            ("008613812345678", "13812345678"),
            ("8613812345678", "13812345678"),
            ("0571-88888888", "057188888888"),
            ("１３８１２３４５６７８", "13812345678"),
        ],
    )
    def test_phone_number_is_its_digits(self, raw: str, expected: str) -> None:
        assert normalise.phone(raw) == expected

    @pytest.mark.parametrize("raw", ["12345", "12812345678", "88888888", "138123456789"])
    def test_what_is_no_phone_number_is_refused(self, raw: str) -> None:
        with pytest.raises(ValueInvalid):
            normalise.phone(raw)


def test_every_type_of_subject_has_a_normaliser() -> None:
    assert set(normalise.SUBJECT_TYPES) == {"resident_id", "credit_code", "code"}
    assert normalise.stored_forms("code", "A-1") == ("A-1",)
