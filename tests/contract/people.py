"""Invented people in a region code that is not issued, and the bindings that the contract asks about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

from stdnum.cn import ric

from adapters.base import Answer, AttributeBinding, Binding, Question
from adapters.compare import Value, build


def resident_id(born: str = "19900307", sequence: int = 1) -> str:
    """The id number of the person of that birthday (YYYYMMDD) and sequence number."""
    body = f"339881{born}{sequence:03d}"
    return body + str(ric.calc_check_digit(body + "0"))


def _found(wanted: str) -> str:
    return next(number for n in range(1, 999) if (number := resident_id(sequence=n))[17] == wanted)


WEI, NA, YONG = resident_id(sequence=11), resident_id(sequence=22), resident_id("20010101", 33)
WITH_X = _found("X")
ABSENT = resident_id(sequence=998)

NAME = AttributeBinding("name", "name", {"column": "full name"})
EMPLOYED_ON = AttributeBinding("employed_on", "covers_date", {"from": "start", "to": "end"})
EMPLOYER = AttributeBinding("employer", "organisation", {"column": "employer"}, mask="organisation")

WAGES = ("id_no", "full name", "start", "end", "employer")
PEOPLE = ("number", "full name")

ONE_RELATION = Binding(
    service="employment-status",
    relation="wages",
    subject_field="id_number",
    subject_type="resident_id",
    subject_column="id_no",
    register="wages",
    register_column="id_no",
    confirm=(NAME,),
    attributes=(EMPLOYED_ON, EMPLOYER),
)
TWO_RELATIONS = replace(ONE_RELATION, register="people", register_column="number")

COMPARISONS = {item.name: build(item) for item in (NAME, EMPLOYED_ON, EMPLOYER)}


def parsed(values: Mapping[str, object]) -> dict[str, Value]:
    """Declared JSON values as a node hands them to an adapter."""
    return {name: COMPARISONS[name].snap(COMPARISONS[name].parse(value)) for name, value in values.items()}


def ask(subject: str, name: str, *masks: str, **declared: object) -> Question:
    """A question about a subject confirmed by name."""
    return Question(subject, parsed({"name": name}), parsed(declared), frozenset(masks))


TODAY = date(2026, 11, 20).isoformat()

MILL, DEPOT = "杭州鑫恒泰纺织有限公司", "杭州瑞丰达(浙江)物流有限公司"
SPELLS = (
    (WEI, "张伟", "2018-01-01", "2019-12-31", MILL),
    (WEI, "张伟", "2020-01-01", "2022-12-31", DEPOT),
    (WEI, "张伟", "2023-01-01", None, MILL),
)
"""Three employments of one person, one after the other."""


def results(answers: list[Answer]) -> list[str]:
    """The overall results, in order."""
    return [answer.result.value for answer in answers]


def asked_values(answer: Answer) -> dict[str, frozenset[bytes]]:
    """The fingerprints of the columns asked about, without those that confirm the subject."""
    return {name: found for name, found in answer.values.items() if "." not in name}


def confirming_values(answer: Answer) -> dict[str, frozenset[bytes]]:
    """The fingerprints of the columns that confirm the subject."""
    return {name: found for name, found in answer.values.items() if "." in name}


def codes(answer: Answer) -> dict[str, str]:
    """The verdict on each attribute."""
    return {name: attribute.code.value for name, attribute in answer.attributes.items()}
