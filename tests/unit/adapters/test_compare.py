"""Comparators: what a binding may say, what a row agrees with, and that no row breaks one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import AttributeBinding, BindingInvalid, SourceMisbehaved
from adapters.compare import COMPARATORS, Comparison, build
from adapters.normalise import ValueInvalid
from tests.unit.adapters.values import credit_codes, hostile, resident_ids

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "within": {"tolerance": "5000.00", "grid": "10000.00"},
    "one_of": {"values": ["legal_representative", "shareholder"]},
}
DECLARED: Mapping[str, Any] = {
    "exact": "甲",
    "code": "A-1",
    "name": "张伟",
    "organisation": "甲(乙)公司",
    "date": "2026-11-20",
    "covers_date": "2026-11-20",
    "within": "1280000.00",
    "one_of": "shareholder",
    "exists": True,
    "credit_code": "91330106MA27XY1231",
    "resident_id": "339881199003070117",
}
every_comparator = pytest.mark.parametrize("compare", list(COMPARATORS))


def bound(compare: str, **options: Any) -> Comparison:
    columns = {role: f"the {role}" for role in COMPARATORS[compare].roles}
    return build(AttributeBinding("it", compare, columns, options or OPTIONS.get(compare, {})))


def agrees(compare: str, declared: Any, stored: object, **options: Any) -> bool:
    comparison = bound(compare, **options)
    return comparison.matches(comparison.snap(comparison.parse(declared)), {"column": stored})


def test_published_comparators() -> None:
    assert set(COMPARATORS) == set(DECLARED)
    assert {name: comparator.name for name, comparator in COMPARATORS.items()} == {name: name for name in COMPARATORS}


class TestBinding:
    def test_unknown_comparator_is_refused(self) -> None:
        with pytest.raises(BindingInvalid, match="it: no comparator 'like'"):
            build(AttributeBinding("it", "like", {"column": "a"}))

    def test_column_named_as_existence_is_refused(self) -> None:
        with pytest.raises(BindingInvalid, match="it: no column can be named '\\*'"):
            build(AttributeBinding("it", "exact", {"column": "*"}))

    @every_comparator
    def test_missing_role_is_refused(self, compare: str) -> None:
        for missing in COMPARATORS[compare].roles:
            columns = {role: "a" for role in COMPARATORS[compare].roles if role != missing}
            with pytest.raises(BindingInvalid, match=f"needs the column '{missing}'"):
                build(AttributeBinding("it", compare, columns, OPTIONS.get(compare, {})))

    @every_comparator
    def test_unknown_role_and_option_are_refused(self, compare: str) -> None:
        columns = dict.fromkeys((*COMPARATORS[compare].roles, "until"), "a")
        with pytest.raises(BindingInvalid, match="takes no column 'until'; takes no option 'tolerances'"):
            build(AttributeBinding("it", compare, columns, {**OPTIONS.get(compare, {}), "tolerances": "1"}))

    @pytest.mark.parametrize("compare", list(OPTIONS))
    def test_missing_option_is_refused(self, compare: str) -> None:
        for missing in COMPARATORS[compare].required:
            options = {name: value for name, value in OPTIONS[compare].items() if name != missing}
            with pytest.raises(BindingInvalid, match=f"needs the option '{missing}'"):
                build(AttributeBinding("it", compare, {"column": "a"}, options))

    @pytest.mark.parametrize(
        ("compare", "mask"), [("organisation", "blur"), ("within", "phone"), ("exists", "name"), ("date", "name")]
    )
    def test_mask_that_cannot_be_made_is_refused(self, compare: str, mask: str) -> None:
        columns = dict.fromkeys(COMPARATORS[compare].roles, "a")
        with pytest.raises(BindingInvalid, match="no mask"):
            build(AttributeBinding("it", compare, columns, OPTIONS.get(compare, {}), mask))

    @pytest.mark.parametrize(
        "options",
        [
            {"values": "abc"},
            {"values": []},
            {"values": ["a", 1]},
            {"values": ["a", " a"]},
            {"pattern": "("},
            {"values": 3},
        ],
    )
    def test_code_with_a_bad_list_or_pattern_is_refused(self, options: Mapping[str, Any]) -> None:
        with pytest.raises(BindingInvalid, match="it: "):
            build(AttributeBinding("it", "code", {"column": "a"}, options))


class TestDeclaredValue:
    @every_comparator
    @pytest.mark.parametrize("raw", [None, 1, 1.5, False, [], {}, ["甲"], {"a": 1}, b"x", float("nan")])
    def test_wrong_json_type_is_refused(self, compare: str, raw: Any) -> None:
        with pytest.raises(ValueInvalid):
            bound(compare).parse(raw)

    @every_comparator
    @given(raw=hostile)
    def test_any_string_is_parsed_or_refused_without_being_told(self, compare: str, raw: str) -> None:
        told = ""
        try:
            bound(compare).parse(raw)
        except ValueInvalid as error:
            told = str(error)
        assert len(raw) < 6 or raw not in told

    def test_only_true_exists(self) -> None:
        with pytest.raises(ValueInvalid):
            bound("exists").parse("true")
        assert bound("exists").matches(bound("exists").parse(True), {})

    def test_code_outside_the_list_or_the_pattern_is_refused(self) -> None:
        with pytest.raises(ValueInvalid):
            bound("one_of").parse("director")
        with pytest.raises(ValueInvalid):
            bound("code", pattern="[A-Z]{2}[0-9]{4}").parse("AB12345")
        patterned = bound("code", pattern="[A-Z]{2}[0-9]{4}")
        assert patterned.parse("AB1234") == "AB1234"
        assert patterned.json_schema()["pattern"] == "^(?:[A-Z]{2}[0-9]{4})$"
        assert patterned.describe()["pattern"] == "[A-Z]{2}[0-9]{4}"

    @every_comparator
    def test_schema_is_plain_data_of_one_type_and_described(self, compare: str) -> None:
        schema = bound(compare).json_schema()
        assert schema["type"] in ("string", "boolean")
        assert schema["description"]
        assert json.loads(json.dumps(schema)) == schema

    @every_comparator
    @given(
        raw=hostile | resident_ids() | credit_codes() | st.dates().map(str) | st.decimals(0, 10**6, places=2).map(str)
    )
    def test_schema_admits_all_that_parse_takes(self, compare: str, raw: str) -> None:
        comparison = bound(compare)
        with suppress(ValueInvalid):
            comparison.parse(raw)
            schema = comparison.json_schema()
            assert schema.get("minLength", 0) <= len(raw) <= schema.get("maxLength", len(raw))
            assert re.search(schema.get("pattern", ""), raw)
            assert raw in schema.get("enum", [raw])

    @every_comparator
    def test_contract_is_plain_data_without_column_names(self, compare: str) -> None:
        contract = bound(compare).describe()
        assert contract["comparator"] == compare
        assert json.loads(json.dumps(contract)) == contract
        assert "the column" not in json.dumps(contract)

    @pytest.mark.parametrize(
        ("compare", "raw", "expected"),
        [
            ("name", " 张 伟", "张伟"),
            ("date", "2026-11-20", "2026-11-20"),
            ("within", "1280000", "1280000.00"),
            ("exists", True, "true"),
        ],
    )
    def test_canonical_text_of_a_value(self, compare: str, raw: Any, expected: str) -> None:
        comparison = bound(compare)
        assert comparison.canonical(comparison.parse(raw)) == expected


anything = (
    hostile | st.none() | st.integers() | st.booleans() | st.decimals() | st.dates() | st.datetimes() | st.uuids()
)


class TestRows:
    @every_comparator
    @given(stored=hostile, other=hostile)
    def test_no_string_in_a_row_breaks_a_comparator(self, compare: str, stored: str, other: str) -> None:
        comparison = bound(compare)
        row = {"column": stored, "from": stored, "to": other}
        declared = comparison.snap(comparison.parse(DECLARED[compare])) if compare not in CHECKED else ""
        assert comparison.matches(declared, row) in (True, False)
        assert comparison.source_key(row) == comparison.source_key(dict(row))

    @every_comparator
    @given(stored=anything | st.binary() | st.lists(st.text()) | st.floats())
    def test_any_other_type_agrees_or_not_or_is_misbehaviour(self, compare: str, stored: object) -> None:
        comparison = bound(compare)
        declared = comparison.parse(DECLARED[compare]) if compare not in CHECKED else ""
        row = {"column": stored, "from": stored, "to": stored}
        with suppress(SourceMisbehaved):
            assert comparison.matches(declared, row) in (True, False)
        with suppress(SourceMisbehaved):
            comparison.source_key(row)

    @pytest.mark.parametrize("compare", [name for name in COMPARATORS if name not in ("exists", "covers_date")])
    def test_null_never_matches(self, compare: str) -> None:
        comparison = bound(compare)
        declared = comparison.parse(DECLARED[compare]) if compare not in CHECKED else "None"
        assert not comparison.matches(declared, {"column": None})
        assert comparison.source_key({"column": None}) == "null"
        assert comparison.source_key({"column": "null"}) != "null"

    @given(resident_ids(), resident_ids())
    def test_resident_id_agrees_with_itself_only(self, one: str, other: str) -> None:
        assert agrees("resident_id", one, one.lower())
        assert agrees("resident_id", one, one + " ")
        assert agrees("resident_id", one, other) == (one == other)
        if one[6:8] == "19":
            assert agrees("resident_id", one, one[:6] + one[8:17])

    @given(credit_codes(), credit_codes())
    def test_credit_code_agrees_with_itself_only(self, one: str, other: str) -> None:
        assert agrees("credit_code", one, one.lower())
        assert agrees("credit_code", one, other) == (one == other)

    @pytest.mark.parametrize(
        ("compare", "declared", "stored", "expected"),
        [
            ("exact", "甲 乙", "甲 乙  ", True),
            ("exact", "甲 乙", "甲乙", False),
            ("exact", "Ａ", "A", False),
            ("code", "Ａ-1", "A-1", True),
            ("code", "a-1", "A-1", False),
            ("code", "7", 7, True),
            ("code", "7", Decimal("7.00"), True),
            ("code", "true", True, True),
            ("code", "00000000-0000-0000-0000-000000000007", UUID(int=7), True),
            ("one_of", "shareholder", " shareholder", True),
            ("one_of", "shareholder", "legal_representative", False),
            ("name", "张伟", "张玮", False),
            ("organisation", "杭州（甲）公司", "杭州(甲)公司", True),
            ("date", "2026-11-20", date(2026, 11, 20), True),
            ("date", "2026-11-20", datetime(2026, 11, 19, 16, 30, tzinfo=UTC), True),
            ("date", "2026-11-20", datetime(2026, 11, 20, 23, 59), True),  # noqa: DTZ001 - as a source holds it
            ("date", "2026-11-20", "20261120", True),
            ("date", "2026-11-20", 20261120, True),
            ("date", "2026-11-20", "2026-11-20 08:15:00.5", True),
            ("date", "2026-11-20", "2026-1120", False),
            ("date", "2026-11-20", "20.11.2026", False),
            ("date", "2026-11-20", "", False),
        ],
    )
    def test_agreement(self, compare: str, declared: str, stored: object, *, expected: bool) -> None:
        assert agrees(compare, declared, stored) is expected

    @pytest.mark.parametrize("stored", [b"x", 1.5, Decimal("1.5"), ["a"], {"a": 1}, date(2026, 1, 1)])
    def test_type_that_is_no_text_is_misbehaviour(self, stored: object) -> None:
        with pytest.raises(SourceMisbehaved, match="bound as text"):
            agrees("name", "张伟", stored)

    @pytest.mark.parametrize("stored", [b"x", 1.5, True, ["a"]])
    def test_type_that_is_no_day_is_misbehaviour(self, stored: object) -> None:
        with pytest.raises(SourceMisbehaved, match="bound as a day"):
            agrees("date", "2026-11-20", stored)

    @given(st.dates(), st.dates(), st.none() | st.dates())
    def test_period_covers_the_days_between_its_ends(self, day: date, start: date, end: date | None) -> None:
        comparison = bound("covers_date")
        covered = comparison.matches(day, {"from": start.isoformat(), "to": end and end.isoformat()})
        assert covered == (start <= day and (end is None or day <= end))

    def test_declared_value_of_another_type_agrees_with_nothing(self) -> None:
        assert not bound("covers_date").matches("2026-11-20", {"from": "2020-01-01", "to": None})

    def test_source_keys_tell_values_apart(self) -> None:
        comparison = bound("covers_date")
        rows = [
            ("2020-01-01", None),
            (None, "2020-01-01"),
            ("2020-01-01", "2020-01-01"),
            ("2020-01-01", "bad"),
            (None, None),
        ]
        assert len({comparison.source_key({"from": start, "to": end}) for start, end in rows}) == len(rows)
        assert bound("exists").source_key({}) == "exists"


CHECKED = ("credit_code", "resident_id")
"""Comparators whose declared value in `DECLARED` is only an example of its form."""
