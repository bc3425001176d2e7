"""Fingerprints of every adapter: they follow the source's values and nothing that a consumer has a hand in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from adapters.base import AttributeBinding, Binding, Code, Question
from tests.contract.people import (
    ABSENT,
    DEPOT,
    MILL,
    NA,
    NAME,
    ONE_RELATION,
    PEOPLE,
    SPELLS,
    TODAY,
    TWO_RELATIONS,
    WAGES,
    WEI,
    YONG,
    ask,
    asked_values,
    confirming_values,
)
from tests.contract.sources import SourceUnderTest

QUESTION = ask(WEI, "张伟", employer=MILL)


def values(
    source: SourceUnderTest, question: Question, binding: Binding = TWO_RELATIONS, **options: Any
) -> Mapping[str, frozenset[bytes]]:
    (answer,) = source.adapter(binding, **options).answer([question], timeout_s=5)
    return asked_values(answer)


def employer(source: SourceUnderTest, question: Question = QUESTION, **options: Any) -> frozenset[bytes]:
    return values(source, question, **options)["employer"]


def test_equal_values_have_equal_fingerprints_and_others_not(source: SourceUnderTest) -> None:
    rows = [(WEI, "张伟", None, None, MILL), (NA, "李娜", None, None, MILL), (YONG, "王勇", None, None, DEPOT)]
    source.fill("wages", WAGES, rows)
    source.fill("people", PEOPLE, [row[:2] for row in rows])
    of = [employer(source, ask(number, name, employer=MILL)) for number, name, *_ in rows]
    assert of[0] == of[1]
    assert not of[0] & of[2]
    assert {len(item) for found in of for item in found} == {16}


def test_spelling_of_a_value_does_not_change_its_fingerprint(filled: SourceUnderTest) -> None:
    filled.fill("wages", WAGES, [(WEI, "张伟", "2020-01-01", "2021-01-01", DEPOT)])
    question = replace(QUESTION, declared={**QUESTION.declared, **ask(WEI, "张伟", employed_on=TODAY).declared})
    before = values(filled, question)
    filled.fill(
        "wages", WAGES, [(WEI, "张 伟", "20200101", "2021-01-01 08:00:00", "杭州瑞丰达（浙江）物流有限公司 ")]
    )
    assert values(filled, question) == before
    assert before.keys() == {"start", "end", "employer"}


def test_changed_value_has_no_fingerprint_in_common_with_the_old_one(filled: SourceUnderTest) -> None:
    before = employer(filled)
    filled.fill("wages", WAGES, [(WEI, "张伟", "2020-01-01", None, DEPOT)])
    after = employer(filled)
    assert before
    assert after
    assert not before & after
    filled.fill("wages", WAGES, [(WEI, "张伟", "2020-01-01", None, None)])
    assert not employer(filled) & (before | after), "null is a value too"


def test_further_row_adds_to_the_fingerprints_and_takes_none_away(filled: SourceUnderTest) -> None:
    before = employer(filled)
    filled.fill("wages", WAGES, SPELLS)
    assert employer(filled) > before
    filled.fill("wages", WAGES, SPELLS[::-1])
    assert len(employer(filled)) == 2, "in another order, and one value twice"


@pytest.mark.parametrize(
    "question",
    [
        ask(WEI, "张伟", employer=DEPOT),
        ask(WEI, "张伟", employer="别的公司"),
        ask(WEI, "张伟", "employer", employer=MILL, employed_on="2019-01-01"),
        ask(WEI, "张伟", "employer", employed_on="2010-01-01"),
        ask(WEI, "无名", employer=MILL),
    ],
    ids=["match", "no match", "other attributes", "masked only", "not found"],
)
def test_fingerprint_does_not_depend_on_what_is_asked_or_answered(
    filled: SourceUnderTest, question: Question
) -> None:
    filled.fill("wages", WAGES, SPELLS)
    assert employer(filled, question) == employer(filled), "a prober could renew a budget"


@pytest.mark.parametrize(
    "change",
    [
        {"service": "another"},
        {"attributes": (AttributeBinding("employer", "exact", {"column": "employer"}),)},
        {"many": "all"},
        {"many": "latest", "latest_by": "start"},
        {"register": "wages", "register_column": "id_no"},
        {"confirm": (NAME, AttributeBinding("number", "resident_id", {"column": "number"}))},
    ],
    ids=", ".join,
)
def test_services_on_one_column_agree_about_its_fingerprints(
    filled: SourceUnderTest, change: Mapping[str, Any]
) -> None:
    filled.fill("wages", WAGES, SPELLS)
    question = QUESTION
    if "confirm" in change:
        question = replace(QUESTION, confirm={**QUESTION.confirm, "number": WEI})
    found = employer(filled, question, binding=replace(TWO_RELATIONS, **change))
    assert found == employer(filled)
    assert len(found) == 2, "of all rows, whichever are judged"


def test_one_value_in_two_columns_has_two_fingerprints(source: SourceUnderTest) -> None:
    source.fill("wages", (*WAGES, "insurer"), [(WEI, "张伟", None, None, MILL, MILL)])
    insurer = AttributeBinding("employer", "organisation", {"column": "insurer"})
    other = values(source, QUESTION, replace(ONE_RELATION, attributes=(insurer,)))
    assert other.keys() == {"insurer"}
    assert not other["insurer"] & employer(source, binding=ONE_RELATION)


def test_fingerprints_are_keyed(filled: SourceUnderTest) -> None:
    assert not employer(filled) & employer(filled, key=b"another key of thirty-two bytes.")


def test_subject_without_a_row_has_empty_fingerprints_whatever_the_result(filled: SourceUnderTest) -> None:
    asked = [ask(YONG, "王勇", employer=MILL), ask(ABSENT, "王勇", employer=MILL)]
    answers = filled.adapter(TWO_RELATIONS).answer(asked, timeout_s=5)
    assert [answer.result for answer in answers] == [Code.NO_MATCH, Code.NOT_FOUND]
    assert [asked_values(answer) for answer in answers] == [{"employer": frozenset()}] * 2


def test_columns_that_confirm_the_subject_have_fingerprints_whatever_is_tried(filled: SourceUnderTest) -> None:
    """They follow the register's value: a name that is tried changes nothing, a name that is changed does."""

    def confirming(name: str) -> dict[str, frozenset[bytes]]:
        return confirming_values(
            filled.adapter(TWO_RELATIONS).answer([ask(WEI, name, employer=MILL)], timeout_s=5)[0]
        )

    right = confirming("张伟")
    assert right.keys() == {"people.full name"}
    assert {len(found) for found in right.values()} == {1}
    assert confirming("王勇") == right
    filled.fill("people", PEOPLE, [(WEI, "张维")])
    assert not confirming("张伟")["people.full name"] & right["people.full name"]


def test_unknown_subject_has_no_confirming_fingerprints(filled: SourceUnderTest) -> None:
    (answer,) = filled.adapter(TWO_RELATIONS).answer([ask(ABSENT, "张伟", employer=MILL)], timeout_s=5)
    assert confirming_values(answer) == {"people.full name": frozenset()}


def test_existence_alone_has_no_fingerprint(filled: SourceUnderTest) -> None:
    known = AttributeBinding("known", "exists", {})
    binding = replace(TWO_RELATIONS, attributes=(known,))
    assert values(filled, ask(WEI, "张伟")) == {"*": frozenset()}
    assert values(filled, replace(ask(WEI, "张伟"), declared={"known": True}), binding) == {"*": frozenset()}
