"""What every adapter promises about answers: results, order, records, and that no value comes out."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from adapters.base import Answer, AttributeAnswer, AttributeBinding, Code, Question
from tests.contract.people import (
    ABSENT,
    NA,
    ONE_RELATION,
    PEOPLE,
    TODAY,
    TWO_RELATIONS,
    WAGES,
    WEI,
    WITH_X,
    YONG,
    ask,
    resident_id,
)
from tests.contract.sources import SourceUnderTest

MILL, DEPOT = "杭州鑫恒泰纺织有限公司", "杭州瑞丰达(浙江)物流有限公司"


def results(answers: list[Answer]) -> list[str]:
    return [answer.result.value for answer in answers]


def codes(answer: Answer) -> dict[str, str]:
    return {name: attribute.code.value for name, attribute in answer.attributes.items()}


def texts(value: Any) -> Iterator[str]:
    """Every text and every byte string inside an answer, as text."""
    if isinstance(value, bytes):
        yield value.decode("latin-1")
        yield value.hex()
    elif isinstance(value, str):
        yield str(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from texts(item)
    elif is_dataclass(value):
        for member in fields(value):
            yield from texts(getattr(value, member.name))
    else:
        assert value is None, f"an answer holds a {type(value).__name__}"


@pytest.fixture
def filled(source: SourceUnderTest) -> SourceUnderTest:
    source.fill(
        "wages",
        WAGES,
        [
            (WEI, "张伟", "2020-01-01", None, MILL),
            (NA, "李娜", "2020-01-01", "2023-12-31", DEPOT),
        ],
    )
    source.fill("people", PEOPLE, [(WEI, "张伟"), (NA, "李娜"), (YONG, "王勇")])
    return source


def test_empty_bulk_is_answered_without_meeting_the_source(source: SourceUnderTest) -> None:
    assert source.adapter(TWO_RELATIONS).answer([], timeout_s=1) == []


@pytest.mark.parametrize("binding", [ONE_RELATION, TWO_RELATIONS], ids=["one relation", "two relations"])
def test_confirmed_and_agreeing_is_a_match(filled: SourceUnderTest, binding: Any) -> None:
    answers = filled.adapter(binding).answer([ask(WEI, "张伟", employed_on=TODAY, employer=MILL)], timeout_s=5)
    assert results(answers) == ["match"]
    assert codes(answers[0]) == {"employed_on": "match", "employer": "match"}


@pytest.mark.parametrize("binding", [ONE_RELATION, TWO_RELATIONS], ids=["one relation", "two relations"])
def test_confirmed_and_disagreeing_is_no_match(filled: SourceUnderTest, binding: Any) -> None:
    answers = filled.adapter(binding).answer([ask(NA, "李娜", employed_on=TODAY, employer=DEPOT)], timeout_s=5)
    assert results(answers) == ["no_match"]
    assert codes(answers[0]) == {"employed_on": "no_match", "employer": "match"}


def test_confirmed_in_the_register_without_a_row_in_the_relation_is_no_match(filled: SourceUnderTest) -> None:
    (answer,) = filled.adapter(TWO_RELATIONS).answer([ask(YONG, "王勇", employed_on=TODAY)], timeout_s=5)
    assert answer == Answer(Code.NO_MATCH, {"employed_on": AttributeAnswer(Code.NO_MATCH)})


@pytest.mark.parametrize("binding", [ONE_RELATION, TWO_RELATIONS], ids=["one relation", "two relations"])
def test_right_number_with_another_name_is_not_found(filled: SourceUnderTest, binding: Any) -> None:
    adapter = filled.adapter(binding)
    asked = [ask(WEI, "张玮", "employer", employed_on=TODAY), ask(ABSENT, "张伟", "employer", employed_on=TODAY)]
    unconfirmed, absent = adapter.answer(asked, timeout_s=5)
    assert unconfirmed.result is Code.NOT_FOUND
    assert unconfirmed == absent, "an unconfirmed subject can be told from an absent one"


def test_row_in_the_relation_without_one_in_the_register_is_not_found(filled: SourceUnderTest) -> None:
    filled.fill("people", PEOPLE, [])
    answers = filled.adapter(TWO_RELATIONS).answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)
    assert results(answers) == ["not_found"]


def test_nothing_declared_is_answered_by_confirmation_alone(filled: SourceUnderTest) -> None:
    asked = [ask(WEI, "张伟"), ask(YONG, "王勇"), ask(WEI, "李娜")]
    assert results(filled.adapter(TWO_RELATIONS).answer(asked, timeout_s=5)) == ["match", "match", "not_found"]


def test_any_row_of_the_register_confirms(filled: SourceUnderTest) -> None:
    filled.fill("people", PEOPLE, [(WEI, "张三"), (WEI, None), (WEI, "张伟")])
    answers = filled.adapter(TWO_RELATIONS).answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)
    assert results(answers) == ["match"]


def test_members_of_an_answer_do_not_depend_on_its_result(filled: SourceUnderTest) -> None:
    asked = [
        ask(subject, name, "employer", employed_on=TODAY)
        for subject, name in [(WEI, "张伟"), (NA, "李娜"), (YONG, "王勇"), (WEI, "无名"), (ABSENT, "无名")]
    ]
    answers = filled.adapter(TWO_RELATIONS).answer(asked, timeout_s=5)
    assert {answer.result for answer in answers} == set(Code)
    assert {tuple(answer.attributes) for answer in answers} == {("employed_on", "employer")}


def test_question_that_does_not_confirm_is_refused(filled: SourceUnderTest) -> None:
    with pytest.raises(ValueError, match="confirm"):
        filled.adapter(TWO_RELATIONS).answer([Question(WEI, {}, {"employed_on": date(2026, 1, 1)})], timeout_s=5)


@pytest.mark.parametrize("question", [ask(WEI, "张伟", "wage"), ask(WEI, "张伟", "employed_on")])
def test_question_for_what_the_service_does_not_bind_is_refused(filled: SourceUnderTest, question: Question) -> None:
    with pytest.raises(ValueError, match="does not bind"):
        filled.adapter(TWO_RELATIONS).answer([question], timeout_s=5)


def test_answers_come_in_the_order_of_the_questions(filled: SourceUnderTest) -> None:
    asked = [
        ask(NA, "李娜", employed_on=TODAY),
        ask(WEI, "张伟", employed_on=TODAY),
        ask(ABSENT, "张伟", employed_on=TODAY),
        ask(NA, "李娜", employed_on="2021-06-30"),
    ]
    expected = ["no_match", "match", "not_found", "match"]
    adapter = filled.adapter(TWO_RELATIONS)
    assert results(adapter.answer(asked, timeout_s=5)) == expected
    assert results(adapter.answer(asked[::-1], timeout_s=5)) == expected[::-1]


def test_one_subject_asked_about_twice_in_a_bulk_is_answered_twice(filled: SourceUnderTest) -> None:
    asked = [ask(WEI, "张伟", employed_on=TODAY), ask(WEI, "张玮", employed_on=TODAY)] * 2
    answers = filled.adapter(TWO_RELATIONS).answer(asked, timeout_s=5)
    assert results(answers) == ["match", "not_found"] * 2


def test_bulk_over_several_chunks_answers_like_single_questions(source: SourceUnderTest) -> None:
    numbers = [resident_id(f"1990{1 + n // 28:02d}{1 + n % 28:02d}", 7) for n in range(250)]
    source.fill("people", PEOPLE, [(number, "张伟") for number in numbers[:200]])
    source.fill("wages", WAGES, [(number, "张伟", "2020-01-01", None, MILL) for number in numbers[:100]])
    adapter = source.adapter(TWO_RELATIONS)
    asked = [ask(number, "张伟", employed_on=TODAY) for number in numbers * 10]
    answers = adapter.answer(asked, timeout_s=30)
    assert results(answers) == (["match"] * 100 + ["no_match"] * 100 + ["not_found"] * 50) * 10
    assert answers[:250:25] == [adapter.answer([question], timeout_s=5)[0] for question in asked[:250:25]]


def test_threads_share_an_adapter(filled: SourceUnderTest) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    asked = [ask(WEI, "张伟", employed_on=TODAY), ask(NA, "李娜", employed_on=TODAY)]
    with ThreadPoolExecutor(8) as threads:
        answered = list(threads.map(lambda _: results(adapter.answer(asked, timeout_s=10)), range(100)))
    assert answered == [["match", "no_match"]] * 100


class TestSeveralRecords:
    ROWS = (
        (WEI, "张伟", "2018-01-01", "2019-12-31", MILL),
        (WEI, "张伟", "2020-01-01", "2022-12-31", DEPOT),
        (WEI, "张伟", "2023-01-01", None, MILL),
    )

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
        source.fill("wages", WAGES, self.ROWS)
        binding = replace(ONE_RELATION, many=many, latest_by="start" if many == "latest" else None)
        answers = source.adapter(binding).answer([ask(WEI, "张伟", **declared)], timeout_s=5)
        assert results(answers) == [expected]

    def test_attributes_are_never_taken_from_different_rows(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, self.ROWS)
        asked = ask(WEI, "张伟", employed_on="2021-05-01", employer=MILL)
        (answer,) = source.adapter(ONE_RELATION).answer([asked], timeout_s=5)
        assert sorted(codes(answer).values()) == ["match", "no_match"]

    def test_all_agree_where_every_row_does(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, [self.ROWS[0], self.ROWS[2]])
        adapter = source.adapter(replace(ONE_RELATION, many="all"))
        assert results(adapter.answer([ask(WEI, "张伟", employer=MILL)], timeout_s=5)) == ["match"]

    def test_no_row_at_all_is_no_match_for_all(self, filled: SourceUnderTest) -> None:
        adapter = filled.adapter(replace(TWO_RELATIONS, many="all"))
        assert results(adapter.answer([ask(YONG, "王勇", employer=MILL)], timeout_s=5)) == ["no_match"]

    def test_latest_leaves_rows_without_a_time_behind(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, [(WEI, "张伟", None, None, DEPOT), self.ROWS[0]])
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


class TestFingerprints:
    def of(self, source: SourceUnderTest, question: Question, **options: Any) -> bytes:
        binding = options.pop("binding", ONE_RELATION)
        (answer,) = source.adapter(binding, **options).answer([question], timeout_s=5)
        fingerprint = answer.attributes["employer"].fingerprint
        assert fingerprint is not None
        return fingerprint

    def test_equal_values_have_equal_fingerprints_and_others_not(self, source: SourceUnderTest) -> None:
        rows = [(WEI, "张伟", None, None, MILL), (NA, "李娜", None, None, MILL), (YONG, "王勇", None, None, DEPOT)]
        source.fill("wages", WAGES, rows)
        of = [
            self.of(source, ask(subject, name, employer=MILL))
            for subject, name in [(WEI, "张伟"), (NA, "李娜"), (YONG, "王勇")]
        ]
        assert of[0] == of[1] != of[2]
        assert {len(item) for item in of} == {32}

    def test_spelling_of_a_value_does_not_change_its_fingerprint(self, source: SourceUnderTest) -> None:
        rows = [(WEI, "张伟", None, None, DEPOT), (NA, "李娜", None, None, "杭州瑞丰达（浙江）物流有限公司 ")]
        source.fill("wages", WAGES, rows)
        assert self.of(source, ask(WEI, "张伟", employer=MILL)) == self.of(source, ask(NA, "李娜", employer=MILL))

    def test_fingerprint_is_keyed(self, filled: SourceUnderTest) -> None:
        question = ask(WEI, "张伟", employer=MILL)
        assert self.of(filled, question) != self.of(filled, question, key=b"another key of thirty-two bytes.")

    def test_fingerprint_does_not_tell_whether_the_question_agreed(self, source: SourceUnderTest) -> None:
        source.fill("wages", WAGES, TestSeveralRecords.ROWS)
        asked = [ask(WEI, "张伟", employer=name) for name in (MILL, DEPOT, "别的公司")]
        assert len({self.of(source, question) for question in asked}) == 1, "a prober could renew a budget"

    def test_fingerprint_changes_with_any_of_several_rows(self, source: SourceUnderTest) -> None:
        question = ask(WEI, "张伟", employer=MILL)
        source.fill("wages", WAGES, TestSeveralRecords.ROWS)
        before = self.of(source, question)
        source.fill("wages", WAGES, TestSeveralRecords.ROWS[::-1])
        assert self.of(source, question) == before, "the order of rows changed it"
        source.fill("wages", WAGES, [(WEI, "张伟", None, None, MILL)])
        assert self.of(source, question) != before

    def test_two_services_on_one_source_attribute_share_its_fingerprint(self, filled: SourceUnderTest) -> None:
        renamed = AttributeBinding("employer", "exact", {"column": "employer"})
        other = replace(TWO_RELATIONS, service="another", attributes=(renamed,))
        question = ask(WEI, "张伟", employer=MILL)
        assert self.of(filled, question) == self.of(filled, question, binding=other)

    def test_one_value_in_two_columns_has_two_fingerprints(self, source: SourceUnderTest) -> None:
        source.fill("wages", (*WAGES, "insurer"), [(WEI, "张伟", None, None, MILL, MILL)])
        insurer = AttributeBinding("employer", "organisation", {"column": "insurer"})
        question = ask(WEI, "张伟", employer=MILL)
        other = replace(ONE_RELATION, attributes=(insurer,))
        assert self.of(source, question) != self.of(source, question, binding=other)

    def test_nothing_is_fingerprinted_without_a_row_or_a_confirmed_subject(self, filled: SourceUnderTest) -> None:
        asked = [ask(YONG, "王勇", employer=MILL), ask(WEI, "无名", employer=MILL)]
        answers = filled.adapter(TWO_RELATIONS).answer(asked, timeout_s=5)
        assert [answer.attributes["employer"].fingerprint for answer in answers] == [None, None]


class TestMasks:
    def test_mask_is_given_on_a_match_without_being_declared(self, filled: SourceUnderTest) -> None:
        asked = ask(WEI, "张伟", "employer", employed_on=TODAY)
        (answer,) = filled.adapter(TWO_RELATIONS).answer([asked], timeout_s=5)
        assert answer.attributes["employer"].masked == "杭州****有限公司"
        assert answer.attributes["employer"].fingerprint is not None
        assert answer.attributes["employed_on"].masked is None

    def test_mask_is_given_only_if_asked_for(self, filled: SourceUnderTest) -> None:
        asked = ask(WEI, "张伟", employed_on=TODAY, employer=MILL)
        (answer,) = filled.adapter(TWO_RELATIONS).answer([asked], timeout_s=5)
        assert [item.masked for item in answer.attributes.values()] == [None, None]

    @pytest.mark.parametrize(
        "question",
        [
            ask(NA, "李娜", "employer", employed_on=TODAY),
            ask(NA, "李娜", "employer", employed_on=TODAY, employer=DEPOT),
            ask(WEI, "李娜", "employer", employed_on=TODAY),
            ask(ABSENT, "李娜", "employer", employed_on=TODAY),
        ],
        ids=["no match", "the attribute alone matches", "unconfirmed", "absent"],
    )
    def test_mask_is_withheld_without_an_overall_match(self, filled: SourceUnderTest, question: Question) -> None:
        (answer,) = filled.adapter(TWO_RELATIONS).answer([question], timeout_s=5)
        assert [item.masked for item in answer.attributes.values() if item.masked is not None] == []

    def test_mask_shows_the_row_that_agreed(self, source: SourceUnderTest) -> None:
        rows = [(WEI, "张伟", "2018-01-01", "2019-01-01", MILL), (WEI, "张伟", "2020-01-01", None, "宁波云溪五金店")]
        source.fill("wages", WAGES, rows)
        asked = ask(WEI, "张伟", "employer", employed_on=TODAY)
        (answer,) = source.adapter(ONE_RELATION).answer([asked], timeout_s=5)
        assert answer.attributes["employer"].masked == "宁波****店"


def test_no_raw_value_is_inside_any_answer(filled: SourceUnderTest) -> None:
    asked = [
        ask(subject, name, "employer", employed_on=day, employer=employer)
        for subject, name in [(WEI, "张伟"), (NA, "李娜"), (YONG, "王勇"), (WEI, "李娜")]
        for day in (TODAY, "2021-06-30")
        for employer in (MILL, DEPOT)
    ]
    answers = filled.adapter(TWO_RELATIONS).answer(asked, timeout_s=5)
    assert {answer.result for answer in answers} == set(Code)
    secret = [WEI, NA, YONG, "张伟", "李娜", "王勇", "鑫恒泰", "瑞丰达", "纺织", "物流", "2020", "2023-12-31"]
    assert not [word for text in texts(answers) for word in secret if word in text]


class TestAsOf:
    @pytest.mark.parametrize(
        ("stored", "expected"),
        [
            (["2026-11-20T06:30:00+08:00", "2026-11-19T06:30:00+08:00"], datetime(2026, 11, 19, 22, 30, tzinfo=UTC)),
            (["2026-11-20"], datetime(2026, 11, 19, 16, 0, tzinfo=UTC)),
            (["2026-11-20 06:30:00"], datetime(2026, 11, 19, 22, 30, tzinfo=UTC)),
            (["2026-11-20T06:30:00Z"], datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
            ([], None),
            ([None], None),
        ],
    )
    def test_last_update_is_read_in_utc(
        self, filled: SourceUnderTest, stored: list[str | None], expected: datetime | None
    ) -> None:
        filled.fill("load_status", ("loaded_at",), [(item,) for item in stored])
        adapter = filled.adapter(TWO_RELATIONS, updated=("load_status", "loaded_at"))
        assert adapter.as_of() == expected
        assert adapter.probe().as_of == expected

    def test_source_that_keeps_no_last_update_has_none(self, filled: SourceUnderTest) -> None:
        assert filled.adapter(TWO_RELATIONS).as_of() is None

    def test_last_update_is_believed_for_some_seconds(self, filled: SourceUnderTest) -> None:
        filled.fill("load_status", ("loaded_at",), [("2026-11-20",)])
        adapter = filled.adapter(TWO_RELATIONS, updated=("load_status", "loaded_at"))
        first = adapter.as_of()
        filled.fill("load_status", ("loaded_at",), [("2026-11-21",)])
        assert adapter.as_of() == first
