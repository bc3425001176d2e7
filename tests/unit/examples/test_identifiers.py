from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import numdb
from stdnum.cn import ric, uscc
from stdnum.exceptions import InvalidChecksum

from adapters import normalise
from examples.demo.identifiers import REGIONS, Sex, credit_code, organisation_code, resident_id

BIRTHDAYS = st.dates(date(1931, 1, 1), date(2026, 6, 30))
SEXES = st.sampled_from(("M", "F"))
ORDINALS = st.integers(0, 498)


def test_sequence_numbers_run_out_with_an_error() -> None:
    with pytest.raises(ValueError, match="used up"):
        resident_id("339881", date(1990, 1, 1), 500, "M")
    with pytest.raises(ValueError, match="used up"):
        credit_code("339881", 100_000_000, "91")


@given(st.sampled_from(REGIONS), BIRTHDAYS, ORDINALS, SEXES)
def test_resident_ids_have_the_check_digit_of_gb_11643(region: str, born: date, ordinal: int, sex: Sex) -> None:
    number = resident_id(region, born, ordinal, sex)
    # ISO 7064 MOD 11-2: the whole number, check digit included, is 1 modulo 11 in powers of two.
    digits = [10 if character == "X" else int(character) for character in number]
    assert sum(digit * 2**power for power, digit in enumerate(reversed(digits))) % 11 == 1
    assert normalise.resident_id(number) == number


@given(BIRTHDAYS, ORDINALS, SEXES)
def test_resident_ids_name_birthday_and_sex(born: date, ordinal: int, sex: Sex) -> None:
    number = resident_id("339881", born, ordinal, sex)
    assert number[6:14] == born.strftime("%Y%m%d")
    assert int(number[16]) % 2 == (1 if sex == "M" else 0)


@pytest.mark.parametrize("region", REGIONS)
def test_regions_were_never_issued(region: str) -> None:
    # The table lists every county since 1980: it knows the province (33) and nothing below it that fits.
    parts = [part for part, _ in numdb.get("cn/loc").info(region)]
    assert parts == ["33", region[2:]]
    assert "county" not in {key for _, facts in numdb.get("cn/loc").info(region) for key in facts}


def test_the_oracle_for_regions_knows_the_neighbours() -> None:
    assert ric.validate(resident_id("330106", date(1990, 5, 17), 3, "F"))
    assert "county" in {key for _, facts in numdb.get("cn/loc").info("330106") for key in facts}


@given(st.sampled_from(REGIONS), st.integers(0, 99_999_999), st.sampled_from(("91", "92")))
def test_credit_codes_have_the_check_characters_of_gb_32100(region: str, serial: int, kind: str) -> None:
    code = credit_code(region, serial, "91" if kind == "91" else "92")
    assert uscc.validate(code) == code
    assert normalise.credit_code(code) == code
    assert code[8:17] == organisation_code(serial)


@given(st.integers(0, 99_999_999))
def test_organisation_codes_have_the_check_character_of_gb_11714(serial: int) -> None:
    code = organisation_code(serial)
    weights = (3, 7, 9, 10, 5, 8, 4, 2, 1)
    digits = [10 if character == "X" else int(character) for character in code]
    assert sum(weight * digit for weight, digit in zip(weights, digits, strict=True)) % 11 == 0


def test_wrong_check_character_is_seen_by_the_oracle() -> None:
    code = credit_code("339881", 7, "91")
    with pytest.raises(InvalidChecksum):
        uscc.validate(code[:-1] + ("1" if code[-1] != "1" else "2"))
