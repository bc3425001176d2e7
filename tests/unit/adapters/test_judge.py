"""The judge: what it refuses to be built from, and that a question cannot learn by its own shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import AttributeBinding, Binding, BindingInvalid, Code, Question
from adapters.judge import Judge
from tests.contract.people import asked_values

KEY = b"k" * 32
NAME = AttributeBinding("name", "name", {"column": "full_name"})
ROLE = AttributeBinding("role", "code", {"column": "role"})
SINCE = AttributeBinding("since", "date", {"column": "since"})
KNOWN = AttributeBinding("known", "exists", {})
BINDING = Binding(
    service="business-registration",
    relation="roles",
    subject_field="id_number",
    subject_type="resident_id",
    subject_column="id_no",
    register="people",
    register_column="id_no",
    confirm=(NAME,),
    attributes=(ROLE, SINCE, KNOWN),
)
ASKED = Question("339881199003070117", {"name": "张伟"}, {"role": "shareholder"})
PERSON = [("张伟",)]


def test_no_row_anywhere_is_not_found() -> None:
    answer = Judge(BINDING, KEY).answer(ASKED, [], [])
    assert answer.result is Code.NOT_FOUND
    assert answer.values == {"role": frozenset(), "people.full_name": frozenset()}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"confirm": ()}, "a number alone never yields a match"),
        ({"many": "most"}, "many: 'most'"),
        ({"many": "latest"}, "latest_by"),
        ({"latest_by": "since"}, "latest_by"),
        ({"attributes": (AttributeBinding("x", "like", {}),)}, "no comparator 'like'"),
        ({"confirm": (AttributeBinding("x", "name", {}),)}, "needs the column"),
    ],
)
def test_binding_that_cannot_be_judged_is_refused(change: dict[str, object], reason: str) -> None:
    with pytest.raises(BindingInvalid, match=reason):
        Judge(replace(BINDING, **change), KEY)  # type: ignore[arg-type]


def test_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Judge(BINDING, b"short")


def test_only_bound_columns_are_read() -> None:
    judge = Judge(BINDING, KEY)
    assert (judge.register_columns, judge.asked_columns, judge.single) == (("full_name",), ("role", "since"), False)
    single = Judge(replace(BINDING, register="roles", many="latest", latest_by="seen"), KEY)
    assert single.register_columns == single.asked_columns == ("full_name", "role", "since", "seen")
    assert single.single


def test_register_with_another_key_column_is_read_by_itself() -> None:
    judge = Judge(replace(BINDING, register="roles", register_column="owner_id"), KEY)
    assert not judge.single


def test_existence_is_judged_without_a_column() -> None:
    judge = Judge(BINDING, KEY)
    asked = Question(ASKED.subject, ASKED.confirm, {"known": True})
    here, absent = judge.answer(asked, PERSON, [(None, None)]), judge.answer(asked, PERSON, [])
    assert (here.result, absent.result) == (Code.MATCH, Code.NO_MATCH)
    assert here.values == absent.values
    assert asked_values(here) == {"*": frozenset()}


rows = st.lists(
    st.tuples(
        st.sampled_from(["shareholder", "director", None]), st.sampled_from(["2020-01-01", "2021-01-01", None])
    ),
    max_size=4,
)
questions = st.builds(
    lambda role, since: {**({"role": role} if role else {}), **({"since": since} if since else {})},
    st.sampled_from(["shareholder", "director", None]),
    st.sampled_from([date(2020, 1, 1), date(2021, 1, 1), None]),
)


def agree(row: tuple[str | None, str | None], declared: dict[str, object]) -> bool:
    stored = {"role": row[0], "since": row[1] and date.fromisoformat(row[1])}
    return all(stored[name] == value for name, value in declared.items())


@pytest.mark.parametrize("many", ["any", "all"])
@given(rows=rows, declared=questions)
def test_result_is_that_of_the_definition(
    many: str, rows: Sequence[tuple[str | None, str | None]], declared: dict[str, object]
) -> None:
    answer = Judge(replace(BINDING, many=many), KEY).answer(replace(ASKED, declared=declared), PERSON, rows)
    quantifier = any if many == "any" else all
    expected = not declared or (bool(rows) and quantifier(agree(row, declared) for row in rows))
    assert answer.result is (Code.MATCH if expected else Code.NO_MATCH)
    assert tuple(answer.attributes) == tuple(declared)
    if declared:
        assert expected == all(item.code is Code.MATCH for item in answer.attributes.values())


@given(rows=rows, declared=questions, order=st.randoms())
def test_answer_does_not_depend_on_the_order_of_rows(
    rows: list[tuple[str | None, str | None]], declared: dict[str, object], order: st.DataObject
) -> None:
    judge = Judge(BINDING, KEY)
    question = replace(ASKED, declared=declared)
    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge.answer(question, PERSON, rows) == judge.answer(question, PERSON, shuffled)


@pytest.mark.parametrize("many", ["any", "all", "latest"])
@given(rows=rows, one=questions, other=questions)
def test_fingerprints_depend_on_the_source_and_not_on_the_question(
    many: str, rows: Sequence[tuple[str | None, str | None]], one: dict[str, object], other: dict[str, object]
) -> None:
    other_binding = replace(BINDING, many=many, latest_by="since" if many == "latest" else None)
    first = Judge(BINDING, KEY).answer(replace(ASKED, declared=one), PERSON, rows)
    second = Judge(other_binding, KEY).answer(replace(ASKED, declared=other), [("王勇",)], rows)
    assert second.result is Code.NOT_FOUND
    assert asked_values(first).keys() == (one.keys() or {"*"}), "exactly the columns that are read"
    for column in asked_values(first).keys() & asked_values(second).keys():
        assert first.values[column] == second.values[column]


def test_question_that_declares_nothing_and_masks_nothing_reads_existence_alone() -> None:
    judge = Judge(BINDING, KEY)
    for records in ([], [("director", None)]):
        assert asked_values(judge.answer(replace(ASKED, declared={}), PERSON, records)) == {"*": frozenset()}


def test_masked_attribute_is_fingerprinted_without_being_declared() -> None:
    judge = Judge(replace(BINDING, attributes=(replace(ROLE, mask="name"), SINCE)), KEY)
    question = replace(ASKED, declared={"since": date(2020, 1, 1)}, masks=frozenset({"role"}))
    values = asked_values(judge.answer(question, PERSON, [("director", None)]))
    assert {column: len(found) for column, found in values.items()} == {"role": 1, "since": 1}


def test_type_in_a_column_that_is_not_asked_for_does_no_harm() -> None:
    assert Judge(BINDING, KEY).answer(ASKED, PERSON, [("shareholder", b"x")]).result is Code.MATCH


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (None, "2020"),
        ("2020-01-01", "2020-01-02"),
        (date(2020, 1, 1), date(2020, 1, 2)),
        (datetime(2020, 1, 1, 8), datetime(2020, 1, 1, 9)),  # noqa: DTZ001 - as a source holds it
        (1, Decimal("1.5")),
        (9, 10),
        (10, "1"),
    ],
)
def test_latest_row_is_the_one_that_counts(older: object, newer: object) -> None:
    judge = Judge(replace(BINDING, attributes=(ROLE,), many="latest", latest_by="seen"), KEY)
    table = [("director", newer), ("shareholder", older)]
    for records in (table, table[::-1]):
        assert judge.answer(ASKED, PERSON, records).result is Code.NO_MATCH
        assert judge.answer(replace(ASKED, declared={"role": "director"}), PERSON, records).result is Code.MATCH


def test_rows_that_are_equally_late_are_all_judged() -> None:
    judge = Judge(replace(BINDING, attributes=(ROLE,), many="latest", latest_by="seen"), KEY)
    records = [("director", "2026"), ("shareholder", "2026"), ("auditor", "2025")]
    results = [
        judge.answer(replace(ASKED, declared={"role": role}), PERSON, records).result
        for role in ("director", "shareholder", "auditor")
    ]
    assert results == [Code.MATCH, Code.MATCH, Code.NO_MATCH]
