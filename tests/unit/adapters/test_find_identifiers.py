"""A case number or an operator that holds somebody's number is found, however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.normalise import find_identifiers
from tests.unit.adapters.values import hostile, resident_ids, with_check

SEPARATORS = ["", " ", "-", "  ", "–", "\u3000", ".", "\u200b", "_", "/"]


def luhn_check(body: str) -> str:
    """The digit that completes a card number, straight from the definition in ISO/IEC 7812-1."""
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


numbers = st.one_of(
    resident_ids(),
    resident_ids().filter(lambda number: number[6:8] == "19").map(lambda number: number[:6] + number[8:17]),
    st.from_regex(r"\A1[3-9][0-9]{9}\Z"),
    st.from_regex(r"\A(?:62|4[0-9]|5[1-5]|955)[0-9]{13,15}\Z").map(lambda body: body + luhn_check(body)),
)


def test_empty_text_names_nobody() -> None:
    assert not find_identifiers("")


@pytest.mark.parametrize(
    "text",
    [
        "HRSS-2026-000123",
        "HZ-SY-202611-00012345",
        "op-zhang.wei",
        "杭人社核〔2026〕第12号",
        "2026-11-20",
        "20261120",
        "202611200000123456",
        "330106-2026-0001",
        "A1B2C3D4E5F60718",
        "12345",
        "v1.2.3",
        "case 00000000000000000000",
    ],
)
def test_ordinary_case_number_passes(text: str) -> None:
    assert not find_identifiers(text)


@pytest.mark.parametrize("year", [2024, 2025, 2026, 2030])
def test_numbers_of_a_year_pass_in_usual_forms(year: int) -> None:
    forms = ["HRSS-{y}-{n:06d}", "{y}{n:08d}", "HZ{y}1120{n:06d}", "({y})杭核{n:05d}号", "33-{y}-{n:07d}"]
    texts = [form.format(y=year, n=n) for form in forms for n in range(0, 100_000, 997)]
    assert [text for text in texts if find_identifiers(text)] == []


@given(
    numbers,
    st.sampled_from(["", "case ", "案件：", "HRSS-", "(", "no"]),
    st.sampled_from(["", "号", ")", " x", "；"]),
)
def test_number_inside_a_text_is_found(number: str, before: str, after: str) -> None:
    assert find_identifiers(before + number + after)


@given(numbers, st.lists(st.sampled_from(SEPARATORS), min_size=20, max_size=20))
def test_number_split_anywhere_is_found(number: str, separators: list[str]) -> None:
    assert find_identifiers("".join(char + gap for char, gap in zip(number, separators, strict=False)))


@given(numbers, st.sampled_from(["０１２３４５６７８９", "٠١٢٣٤٥٦٧٨٩", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗", "⓪①②③④⑤⑥⑦⑧⑨"]))
def test_number_in_other_digits_is_found(number: str, digits: str) -> None:
    assert find_identifiers(number.translate(str.maketrans("0123456789", digits)))
    assert find_identifiers(number.lower().translate(str.maketrans("0123456789", digits)))


@given(resident_ids(), st.text("0123456789", max_size=8), st.text("0123456789", max_size=8))
def test_resident_id_glued_to_other_digits_is_found(number: str, before: str, after: str) -> None:
    assert find_identifiers(before + number + ("" if number.endswith("X") else after))


@pytest.mark.parametrize("text", ["8613812345678", "+86 138 1234 5678", "0086-138-1234-5678", "2026-13812345678-1"])
def test_mobile_number_with_country_code_or_neighbours_is_found(text: str) -> None:
    assert find_identifiers(text)


@given(resident_ids(), st.sampled_from("123456789"))
def test_number_with_a_wrong_check_digit_is_no_resident_id(number: str, step: str) -> None:
    digits = "0123456789X"
    wrong = with_check(number[:17])[:17] + digits[(digits.index(number[17]) + int(step)) % 11]
    if wrong.endswith("X"):  # else the row may be a card number
        assert not find_identifiers(wrong)


@given(hostile)
def test_any_text_is_judged(text: str) -> None:
    assert find_identifiers(text) in (True, False)


@pytest.mark.parametrize("filler", ["1", "1 ", "1-", " ", "9" * 19 + " "])
def test_long_text_is_judged_in_time(filler: str) -> None:
    assert find_identifiers(filler * 4000) in (True, False)
