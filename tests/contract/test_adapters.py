"""What every adapter promises about results: confirmation, order, bulks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest

from adapters.base import Answer, AttributeAnswer, Code, Question
from tests.contract.people import (
    ABSENT,
    DEPOT,
    MILL,
    NA,
    ONE_RELATION,
    PEOPLE,
    TODAY,
    TWO_RELATIONS,
    WAGES,
    WEI,
    YONG,
    ask,
    codes,
    confirming_values,
    resident_id,
    results,
)
from tests.contract.sources import SourceUnderTest


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
    assert answer == Answer(
        Code.NO_MATCH,
        {"employed_on": AttributeAnswer(Code.NO_MATCH)},
        {"start": frozenset(), "end": frozenset(), **confirming_values(answer)},
    )


@pytest.mark.parametrize("binding", [ONE_RELATION, TWO_RELATIONS], ids=["one relation", "two relations"])
def test_right_number_with_another_name_is_not_found(filled: SourceUnderTest, binding: Any) -> None:
    adapter = filled.adapter(binding)
    asked = [ask(WEI, "张玮", "employer", employed_on=TODAY), ask(ABSENT, "张伟", "employer", employed_on=TODAY)]
    unconfirmed, absent = adapter.answer(asked, timeout_s=5)
    assert unconfirmed.result is Code.NOT_FOUND
    assert (unconfirmed.result, unconfirmed.attributes) == (absent.result, absent.attributes), (
        "they can be told apart"
    )
    assert unconfirmed.values.keys() == absent.values.keys()


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
