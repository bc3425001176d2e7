"""What every adapter does when its source fails: it says so, in two kinds, without a value, and recovers."""

from __future__ import annotations

from time import monotonic

import pytest

from adapters.base import Probe, SourceError, SourceMisbehaved, SourceUnavailable
from tests.contract.people import MILL, PEOPLE, TODAY, TWO_RELATIONS, WAGES, WEI, ask
from tests.contract.sources import SourceUnderTest

QUESTION = ask(WEI, "张伟", "employer", employed_on=TODAY, employer=MILL)
SECRETS = (WEI, "张伟", "鑫恒泰", "throw-away", "2020-01-01")


def told_of(error: BaseException) -> str:
    """All that an error and the errors behind it say."""
    told = ""
    behind: BaseException | None = error
    while behind is not None:
        told += f"{behind!s} {behind!r} {behind.args!r} {getattr(behind, '__notes__', '')}"
        behind = behind.__cause__ or behind.__context__
    return told


def assert_value_free(error: SourceError) -> None:
    told = told_of(error)
    assert "employment-status" in told, "the error does not name the source"
    assert not [secret for secret in SECRETS if secret in told]


def test_stopped_source_is_unavailable_and_comes_back(filled: SourceUnderTest) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    (before,) = adapter.answer([QUESTION], timeout_s=5)
    filled.stop()
    try:
        with pytest.raises(SourceUnavailable) as caught:
            adapter.answer([QUESTION], timeout_s=5)
        assert adapter.probe() == Probe(reachable=False, schema_problems=(), as_of=None)
    finally:
        filled.resume()
    assert_value_free(caught.value)
    assert adapter.answer([QUESTION], timeout_s=5) == [before]


def test_source_that_was_restarted_between_questions_is_not_noticed(filled: SourceUnderTest) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    (before,) = adapter.answer([QUESTION], timeout_s=5)
    filled.stop()
    filled.resume()
    assert adapter.answer([QUESTION], timeout_s=5) == [before]


@pytest.mark.parametrize("relation", ["wages", "people"])
def test_source_that_takes_too_long_is_unavailable_in_time(filled: SourceUnderTest, relation: str) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    filled.make_slow(relation)
    started = monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        adapter.answer([QUESTION], timeout_s=0.5)
    assert 0.4 < monotonic() - started < 3
    assert_value_free(caught.value)


def test_probe_of_a_source_that_takes_too_long_says_unreachable(source: SourceUnderTest) -> None:
    source.fill("load_status", ("loaded_at",), [("2026-11-20",)])
    source.fill("wages", WAGES, [])
    source.fill("people", PEOPLE, [])
    source.make_slow("load_status")
    probe = source.adapter(TWO_RELATIONS, updated=("load_status", "loaded_at")).probe()
    assert probe == Probe(reachable=False, schema_problems=(), as_of=None)


def test_time_that_has_run_out_is_unavailable(filled: SourceUnderTest) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        filled.adapter(TWO_RELATIONS).answer([QUESTION], timeout_s=0)
    assert_value_free(caught.value)


def test_short_limit_of_one_question_does_not_hold_for_the_next(filled: SourceUnderTest) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    filled.make_slow("wages")
    with pytest.raises(SourceUnavailable):
        adapter.answer([QUESTION], timeout_s=0.2)
    started = monotonic()
    with pytest.raises(SourceUnavailable):
        adapter.answer([QUESTION], timeout_s=1)
    assert monotonic() - started > 0.9


@pytest.mark.parametrize(
    ("relation", "column"), [("wages", "employer"), ("wages", "id_no"), ("people", "full name"), ("people", "number")]
)
def test_missing_column_is_misbehaviour_and_named_by_the_probe(
    filled: SourceUnderTest, relation: str, column: str
) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    columns = [item for item in (WAGES if relation == "wages" else PEOPLE) if item != column]
    adapter.answer([QUESTION], timeout_s=5)
    filled.fill(relation, columns, [])
    with pytest.raises(SourceMisbehaved) as caught:
        adapter.answer([QUESTION], timeout_s=5)
    assert_value_free(caught.value)
    probe = adapter.probe()
    assert (probe.reachable, probe.as_of) == (True, None)
    assert probe.schema_problems == (f"{relation}.{column}: missing or not readable",)


def test_column_dropped_under_a_held_statement_is_misbehaviour(filled: SourceUnderTest) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    for _ in range(10):  # long enough for a driver to have prepared the statement
        adapter.answer([QUESTION], timeout_s=5)
    filled.drop_column("wages", "end")
    with pytest.raises(SourceMisbehaved) as caught:
        adapter.answer([QUESTION], timeout_s=5)
    assert_value_free(caught.value)


def test_missing_relation_is_misbehaviour_and_named_by_the_probe(filled: SourceUnderTest) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    filled.drop("people")
    with pytest.raises(SourceMisbehaved) as caught:
        adapter.answer([QUESTION], timeout_s=5)
    assert_value_free(caught.value)
    assert adapter.probe().schema_problems == ("people: missing or not readable",)


def test_relation_that_is_put_back_is_answered_from_again(filled: SourceUnderTest) -> None:
    adapter = filled.adapter(TWO_RELATIONS)
    for _ in range(10):
        (before,) = adapter.answer([QUESTION], timeout_s=5)
    filled.drop("people")
    with pytest.raises(SourceMisbehaved):
        adapter.answer([QUESTION], timeout_s=5)
    filled.fill("people", ("full name", "remark", "number"), [("张伟", "new layout", WEI)])
    assert adapter.answer([QUESTION], timeout_s=5) == [before]


def test_sound_source_has_no_problems(filled: SourceUnderTest) -> None:
    filled.fill("load_status", ("loaded_at",), [("2026-11-20",)])
    probe = filled.adapter(TWO_RELATIONS, updated=("load_status", "loaded_at")).probe()
    assert (probe.reachable, probe.schema_problems) == (True, ())
    assert probe.as_of is not None


@pytest.mark.parametrize("loaded_at", ["yesterday", "", "2026-13-45"])
def test_last_update_that_is_no_time_is_misbehaviour(filled: SourceUnderTest, loaded_at: str) -> None:
    filled.fill("load_status", ("loaded_at",), [(loaded_at,)])
    adapter = filled.adapter(TWO_RELATIONS, updated=("load_status", "loaded_at"))
    with pytest.raises(SourceMisbehaved, match="employment-status"):
        adapter.as_of()
    assert adapter.probe().schema_problems == ("employment-status: the column of the last update holds no time",)


def test_probe_names_a_missing_column_of_the_last_update(filled: SourceUnderTest) -> None:
    filled.fill("load_status", ("loaded_at",), [])
    adapter = filled.adapter(TWO_RELATIONS, updated=("load_status", "when"))
    assert adapter.probe().schema_problems == ("load_status.when: missing or not readable",)


def test_closing_twice_is_harmless_and_leaves_other_adapters_of_the_source_alone(filled: SourceUnderTest) -> None:
    one, other = filled.adapter(TWO_RELATIONS), filled.adapter(TWO_RELATIONS)
    (before,) = one.answer([QUESTION], timeout_s=5)
    one.close()
    one.close()
    assert other.answer([QUESTION], timeout_s=5) == [before]
