"""What every adapter lets out: masks, the time of the last update, and no value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.base import Code, Question
from tests.contract.people import (
    ABSENT,
    DEPOT,
    MILL,
    NA,
    ONE_RELATION,
    TODAY,
    TWO_RELATIONS,
    WAGES,
    WEI,
    YONG,
    ask,
)
from tests.contract.sources import SourceUnderTest


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


class TestMasks:
    def test_mask_is_given_on_a_match_without_being_declared(self, filled: SourceUnderTest) -> None:
        asked = ask(WEI, "张伟", "employer", employed_on=TODAY)
        (answer,) = filled.adapter(TWO_RELATIONS).answer([asked], timeout_s=5)
        assert answer.attributes["employer"].masked == "杭州****有限公司"
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
