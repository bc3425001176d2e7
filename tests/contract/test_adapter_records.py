"""What every adapter makes of several records of a subject, of odd spellings and of nulls."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.base import Code
from tests.contract.people import (
    DEPOT,
    MILL,
    ONE_RELATION,
    SPELLS,
    TODAY,
    TWO_RELATIONS,
    WAGES,
    WEI,
    WITH_X,
    YONG,
    ask,
    codes,
    results,
)
from tests.contract.sources import SourceUnderTest


class TestSeveralRecords:
    @pytest.mark.parametrize(
        ("many", "declared", "expected"),
        [
            ("any", {"employed_on": "2021-05-01"}, "match"),
            ("any", {"employed_on": "2021-05-01", "employer": DEPOT}, "match"),
            ("any", {"employed_on": "2021-05-01", "employer": MILL}, "no_match"),
            ("any", {"employed_on": "2017-05-01"}, "no_match"),
            ("all", {"employed_on": "2021-05-01"}, "no_match"),
            ("all", {"employer": DEPOT}, "no_match"),
            ("latest", {"employed_on": "2021-05-01"}, "no_match"),
            ("latest", {"employed_on": "2024-05-01", "employer": MILL}, "match"),
            ("latest", {"employer": DEPOT}, "no_match"),
        ],
    )
    def test_judged_as_the_binding_says(
        self, source: SourceUnderTest, many: str, declared: dict[str, str], expected: str
    ) -> None:
        source.fill("wages", WAGES, SPELLS)
        binding = replace(ONE_RELATION, many=many, latest_by="start" if many == "latest" else None)
        answers = source.adapter(binding).answer([ask(WEI, "张伟", **declared)], timeout_s=5)
        assert results(answers) == [expected]

    def test_attributes_are_never_taken_from_different_rows(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, SPELLS)
        asked = ask(WEI, "张伟", employed_on="2021-05-01", employer=MILL)
        (answer,) = source.adapter(ONE_RELATION).answer([asked], timeout_s=5)
        assert sorted(codes(answer).values()) == ["match", "no_match"]

    def test_all_agree_where_every_row_does(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, [SPELLS[0], SPELLS[2]])
        adapter = source.adapter(replace(ONE_RELATION, many="all"))
        assert results(adapter.answer([ask(WEI, "张伟", employer=MILL)], timeout_s=5)) == ["match"]

    def test_no_row_at_all_is_no_match_for_all(self, filled: SourceUnderTest) -> None:
        adapter = filled.adapter(replace(TWO_RELATIONS, many="all"))
        assert results(adapter.answer([ask(YONG, "王勇", employer=MILL)], timeout_s=5)) == ["no_match"]

    def test_latest_leaves_rows_without_a_time_behind(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, [(WEI, "张伟", None, None, DEPOT), SPELLS[0]])
        adapter = source.adapter(replace(ONE_RELATION, many="latest", latest_by="start"))
        assert results(adapter.answer([ask(WEI, "张伟", employer=MILL)], timeout_s=5)) == ["match"]


class TestSpellings:
    def test_old_number_of_fifteen_digits_is_found(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, [(WEI[:6] + WEI[8:17], "张伟", "2020-01-01", None, MILL)])
        adapter = source.adapter(ONE_RELATION)
        assert results(adapter.answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)) == ["match"]

    def test_rows_under_both_numbers_belong_to_one_subject(self, source: SourceUnderTest) -> None:
        rows = [(WEI[:6] + WEI[8:17], "张伟", "2010-01-01", "2011-01-01", DEPOT), (WEI, "张伟", TODAY, None, MILL)]
        source.fill("wages", WAGES, rows)
        asked = [ask(WEI, "张伟", employer=name) for name in (MILL, DEPOT)]
        assert results(source.adapter(ONE_RELATION).answer(asked, timeout_s=5)) == ["match", "match"]

    def test_small_x_is_found(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, [(WITH_X.lower(), "张伟", "2020-01-01", None, MILL)])
        adapter = source.adapter(ONE_RELATION)
        assert results(adapter.answer([ask(WITH_X, "张伟", employed_on=TODAY)], timeout_s=5)) == ["match"]

    def test_person_born_after_1999_is_not_found_under_a_number_of_the_last_century(
        self, source: SourceUnderTest
    ) -> None:
        source.fill("wages", WAGES, [(YONG[:6] + YONG[8:17], "王勇", "2020-01-01", None, MILL)])
        adapter = source.adapter(ONE_RELATION)
        assert results(adapter.answer([ask(YONG, "王勇", employed_on=TODAY)], timeout_s=5)) == ["not_found"]

    @pytest.mark.parametrize(
        ("stored", "declared"),
        [
            ("阿依古丽•买买提", "阿依古丽·买买提"),
            ("阿依古丽・买买提", "阿依古丽．买买提"),
            ("张　伟 ", " 张伟"),
            ("𠮷田", "𠮷田"),
            ("Ａｎｎａ Bell", "AnnaBell"),
        ],
    )
    def test_name_agrees_in_any_spelling(self, source: SourceUnderTest, stored: str, declared: str) -> None:
        source.fill("wages", WAGES, [(WEI, stored, "2020-01-01", None, "杭州瑞丰达（浙江）物流有限公司")])
        asked = ask(WEI, declared, employed_on=TODAY, employer=DEPOT)
        assert results(source.adapter(ONE_RELATION).answer([asked], timeout_s=5)) == ["match"]

    @pytest.mark.parametrize("subject", ["a'b", 'a"b', "a\\b", "{a,b}", "a%sb", "%(keys)s", "NULL", "号码", "a;b"])
    def test_subject_of_any_characters_is_data(self, source: SourceUnderTest, subject: str) -> None:
        binding = replace(ONE_RELATION, subject_type="code")
        source.fill(
            "wages", WAGES, [(subject, "张伟", "2020-01-01", None, MILL), ("other", "李娜", None, None, None)]
        )
        asked = [ask(subject, "张伟", employed_on=TODAY), ask("other", "李娜")]
        assert results(source.adapter(binding).answer(asked, timeout_s=5)) == ["match", "match"]


class TestNulls:
    def test_null_name_confirms_nobody(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, [(WEI, None, "2020-01-01", None, MILL)])
        adapter = source.adapter(ONE_RELATION)
        assert results(adapter.answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)) == ["not_found"]

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            ("2020-01-01", None, "match"),
            ("2020-01-01", TODAY, "match"),
            (TODAY, "", "match"),
            (None, None, "no_match"),
            (None, "2030-01-01", "no_match"),
            ("2020-01-01", "2026-11-19", "no_match"),
            ("2026-11-21", None, "no_match"),
            ("2020-01-01", "至今", "no_match"),
        ],
    )
    def test_only_the_end_of_a_period_may_be_open(
        self, source: SourceUnderTest, start: str | None, end: str | None, expected: str
    ) -> None:
        source.fill("wages", WAGES, [(WEI, "张伟", start, end, MILL)])
        adapter = source.adapter(ONE_RELATION)
        assert results(adapter.answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)) == [expected]

    def test_null_value_is_not_matched_and_not_masked(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, [(WEI, "张伟", "2020-01-01", None, None)])
        adapter = source.adapter(ONE_RELATION)
        asked = [ask(WEI, "张伟", employer=MILL), ask(WEI, "张伟", "employer", employed_on=TODAY)]
        compared, masked = adapter.answer(asked, timeout_s=5)
        assert compared.result is Code.NO_MATCH
        assert (masked.result, masked.attributes["employer"].masked) == (Code.MATCH, None)
