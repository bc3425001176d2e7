"""Masks: at least 10,000 candidates left, one width, and nothing shown that was not meant to be."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mask import HIDDEN, MASKS, mask
from tests.unit.adapters.values import credit_codes, hostile, resident_ids, with_check

ENOUGH = 10_000
# Characters that names and trade names are made of: their pairs are enough.
HAN = (
    "伟强磊军洋勇杰涛明超刚平辉鹏华飞鑫波斌宇浩凯健俊帆帅旭宁龙林建国志文海东峰毅宏亮福根芳娜敏静丽"
    "艳娟霞秀兰玲燕红梅英慧巧美颖洁云莲真雪荣爱妹香月莺媛瑞凡佳嘉琼勤珍贞莉桂恒泰达盛源祥和顺兴隆安康诚信德润泽"
)
every_mask = pytest.mark.parametrize("kind", list(MASKS))
WIDTHS = {"name": 3, "resident_id": 18, "credit_code": 18, "phone": 11, "bank_card": 16}


def luhn_check(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


@every_mask
def test_empty_value_is_hidden(kind: str) -> None:
    assert mask(kind, "") == HIDDEN


class TestCandidates:
    """Candidates are counted by masking them: all these values look the same."""

    def test_resident_id_of_a_known_birth_year(self) -> None:
        days = [date(1990, 1, 1) + timedelta(days=n) for n in range(0, 365, 7)]
        same = {with_check(f"339881{day:%Y%m%d}{sequence:03d}") for day in days for sequence in range(0, 1000, 5)}
        assert len(same) > ENOUGH
        assert {mask("resident_id", number) for number in same} == {"339881************"}

    def test_resident_id_masked_six_and_four_would_leave_too_few(self) -> None:
        # What our form avoids: region, sequence and check digit shown leave one birthday in eleven of a century.
        days = [date(1920, 1, 1) + timedelta(days=n) for n in range(36_525)]
        left = sum(with_check(f"339881{day:%Y%m%d}011").endswith("0117") for day in days)
        assert 3_000 < left < 3_600

    @pytest.mark.parametrize("given_names", ["two characters", "one character"])
    def test_name(self, given_names: str) -> None:
        pairs = {f"张{a}{b}" for a, b in product(sorted(set(HAN)), repeat=2)}
        assert len(pairs) >= ENOUGH
        assert {mask("name", name) for name in pairs} == {"张**"}
        if given_names == "one character":
            assert {mask("name", f"张{a}") for a in HAN} == {"张**"}, "the width tells of a short name"

    @pytest.mark.parametrize(
        ("place", "form", "shown"),
        [
            ("杭州", "有限公司", "杭州****有限公司"),
            ("浙江省杭州市西湖区", "股份有限公司", "浙江杭州****有限公司"),
            ("西湖区", "店", "****店"),
            ("广西壮族自治区南宁市", "合伙企业（有限合伙）", "广西南宁****合伙企业"),
        ],
    )
    def test_organisation(self, place: str, form: str, shown: str) -> None:
        same = {f"{place}{a}{b}{form}" for a, b in product(sorted(set(HAN)), repeat=2)}
        assert len(same) >= ENOUGH
        assert {mask("organisation", name) for name in same} == {shown}

    def test_phone(self) -> None:
        same = {f"138{middle:06d}34" for middle in range(0, 1_000_000, 97)}
        assert len(same) >= ENOUGH
        assert {mask("phone", number) for number in same} == {"138******34"}

    def test_credit_code(self) -> None:
        same = {code for n in range(10_000) if (code := credit_code(f"91339881{n:08d}0"))}
        assert len(same) >= ENOUGH
        assert {mask("credit_code", code) for code in same} == {"91339881**********"}

    def test_bank_card_of_a_known_issuer(self) -> None:
        same = {body + "345" + luhn_check(body + "345") for n in range(100_000) if (body := f"622588{n:06d}")}
        ending = [number for number in same if number.endswith("3456")]
        assert len(ending) * 10 >= ENOUGH, "a tenth of the million was tried"
        assert {mask("bank_card", number) for number in ending} == {"************3456"}


def credit_code(body: str) -> str:
    from stdnum.cn import uscc

    return body + str(uscc.calc_check_digit(body))


class TestShapes:
    @pytest.mark.parametrize(
        ("kind", "value", "shown"),
        [
            ("name", "欧阳娜娜", "欧**"),
            ("name", "张", HIDDEN),
            ("name", "阿依古丽·买买提", HIDDEN),
            ("name", "Anna Bell", HIDDEN),
            ("name", "张三四五六", HIDDEN),
            ("resident_id", "339881900307011", "339881************"),
            ("resident_id", "339881199003070110", HIDDEN),
            ("credit_code", "not a code", HIDDEN),
            ("organisation", "欧亚超市有限公司", "****有限公司"),
            ("organisation", "杭州店", HIDDEN),
            ("organisation", "杭州甲有限公司", HIDDEN),
            ("organisation", "某某小吃部", HIDDEN),
            ("organisation", "杭州瑞丰达（浙江）物流有限公司", "杭州****有限公司"),
            ("phone", "0571-88888888", HIDDEN),
            ("phone", "138 1234 5634", "138******34"),
            ("bank_card", "1234", HIDDEN),
        ],
    )
    def test_value_is_masked(self, kind: str, value: str, shown: str) -> None:
        assert mask(kind, value) == shown

    @every_mask
    @given(value=hostile | resident_ids() | credit_codes() | st.from_regex(r"\A1[3-9][0-9]{9}\Z"))
    def test_width_does_not_tell_of_the_value(self, kind: str, value: str) -> None:
        shown = mask(kind, value)
        if kind == "organisation":
            assert HIDDEN in shown
        else:
            assert len(shown) in (WIDTHS[kind], len(HIDDEN))

    @every_mask
    @given(value=hostile | resident_ids() | credit_codes() | st.from_regex(r"\A1[3-9][0-9]{9}\Z"))
    def test_masking_a_mask_shows_no_more(self, kind: str, value: str) -> None:
        shown = mask(kind, value)
        again = mask(kind, shown)
        assert set(again) - {"*"} <= set(shown)
        assert len(again.replace("*", "")) <= len(shown.replace("*", ""))

    @given(resident_ids(), st.integers(0, 999))
    def test_hidden_part_does_not_change_what_is_shown(self, number: str, sequence: int) -> None:
        assert mask("resident_id", with_check(f"{number[:14]}{sequence:03d}")) == mask("resident_id", number)

    @given(st.text(HAN, min_size=2, max_size=20), st.text(HAN, min_size=2, max_size=20))
    def test_two_organisations_of_one_place_and_form_look_the_same(self, one: str, other: str) -> None:
        shown = {mask("organisation", f"杭州市{name}有限公司") for name in (one, other)}
        assert shown == {"杭州****有限公司"}

    @pytest.mark.parametrize("kind", ["name", "organisation"])
    @given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=250))
    def test_most_of_any_text_stays_hidden(self, kind: str, text: str) -> None:
        shown = mask(kind, text).replace("*", "")
        assert len(shown) <= 12
