"""A decision that is kept must never be given where a new one would differ."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from policies.decision import RuleSet, _Kept
from policies.packaged import packaged_rules, packaged_schema

if TYPE_CHECKING:
    from policies.facts import Facts, Terms

SECOND = timedelta(seconds=1)


@pytest.fixture
def fresh() -> RuleSet:
    return RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)


def test_same_question_within_a_second_gets_the_kept_decision(fresh: RuleSet, asked: Facts) -> None:
    first = fresh.decide(asked)
    assert fresh.decide(replace(asked, at=asked.at + timedelta(microseconds=999_999))) is first


def test_next_second_is_decided_anew(fresh: RuleSet, asked: Facts) -> None:
    first = fresh.decide(asked)
    second = fresh.decide(replace(asked, at=asked.at + SECOND))
    assert second is not first
    assert second == first


def test_kept_decision_does_not_outlive_an_expiry(fresh: RuleSet, asked: Facts, agreement: Terms) -> None:
    always = replace(asked, terms=replace(agreement, hours=None))
    moments = [agreement.valid_until + offset * timedelta(milliseconds=500) for offset in range(-4, 4)]
    permitted = [fresh.decide(replace(always, at=at)).permitted for at in moments]
    assert permitted == [True] * 4 + [False] * 4


def test_kept_decision_does_not_outlive_the_hours(fresh: RuleSet, asked: Facts) -> None:
    edge = asked.at.replace(hour=18)
    permitted = [fresh.decide(replace(asked, at=edge + offset * SECOND)).permitted for offset in (-1, 0, -1)]
    assert permitted == [True, False, True]


def test_kept_denial_does_not_outlive_the_beginning(fresh: RuleSet, asked: Facts, agreement: Terms) -> None:
    later = replace(asked, terms=replace(agreement, valid_from=asked.at))
    assert not fresh.decide(replace(later, at=asked.at - SECOND)).permitted
    assert fresh.decide(later).permitted


def test_department_rule_on_time_of_its_own_is_not_overslept(asked: Facts) -> None:
    lunch = """
    @id("lunch")
    @basis("四川 第二十三条")
    @reason("Closed from noon for five seconds.")
    @reason_zh("中午暂停五秒。")
    forbid (principal, action, resource)
    when { context.at >= datetime("2026-06-02T04:00:00Z") && context.at < datetime("2026-06-02T04:00:05Z") };
    """
    rules = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1, narrowing={"lunch.cedar": lunch})
    noon = asked.at.replace(hour=12)
    permitted = [rules.decide(replace(asked, at=noon + i * SECOND)).permitted for i in range(-1, 7)]
    assert permitted == [True] + [False] * 5 + [True] * 2


CHANGES: dict[str, Any] = {
    "client": "hz-hrss-review",
    "department": "hz-civil",
    "client_suspended": True,
    "department_restricted": True,
    "service": "wage-base",
    "sharing": "withheld",
    "provider": "hz-market",
    "provider_suspended": True,
    "withheld_basis": "某法 第一条",
    "purpose": "curiosity",
    "attributes": frozenset({"wage"}),
    "terms": None,
    "case_agreed": False,
    "operator_agreed": False,
    "address": "203.0.113.9",
}


@pytest.mark.parametrize("fact", CHANGES)
def test_change_of_any_fact_is_decided_anew(fresh: RuleSet, asked: Facts, fact: str) -> None:
    first = fresh.decide(asked)
    other = replace(asked, **{fact: CHANGES[fact]})
    assert fresh.decide(other) is not first
    assert fresh.decide(other) == RuleSet.from_texts(packaged_rules(), packaged_schema(), 1).decide(other)
    assert fresh.decide(asked) is first


def test_changes_cover_every_fact_but_the_time(asked: Facts) -> None:
    assert {"at", *CHANGES} == {field.name for field in fields(asked)}


@pytest.mark.parametrize("change", [{"state": "revoked"}, {"digest": "00" * 32}, {"networks": ()}])
def test_change_of_the_terms_is_decided_anew(
    fresh: RuleSet, asked: Facts, agreement: Terms, change: dict[str, Any]
) -> None:
    first = fresh.decide(asked)
    assert fresh.decide(replace(asked, terms=replace(agreement, **change))) is not first


def test_revocation_within_the_same_second_is_seen(fresh: RuleSet, asked: Facts, agreement: Terms) -> None:
    assert fresh.decide(asked).permitted
    assert not fresh.decide(replace(asked, terms=replace(agreement, state="revoked"))).permitted


def test_an_error_is_not_kept(fresh: RuleSet, asked: Facts) -> None:
    nonsense = replace(asked, address="nowhere")
    assert fresh.decide(nonsense) is not fresh.decide(nonsense)


def test_threads_share_a_rule_set(fresh: RuleSet, asked: Facts, agreement: Terms) -> None:
    questions = [
        replace(
            asked,
            address=f"10.{8 + i % 2}.0.{i % 7}",
            at=asked.at + (i % 3) * SECOND,
            terms=replace(agreement, state=("active", "suspended")[i % 5 == 0]),
        )
        for i in range(600)
    ]
    expected = [i % 2 == 0 and i % 5 != 0 for i in range(600)]
    with ThreadPoolExecutor(8) as threads:
        assert [d.permitted for d in threads.map(fresh.decide, questions)] == expected


def test_only_so_many_values_are_kept_and_the_longest_unused_goes_first() -> None:
    kept: _Kept[str] = _Kept(2)
    kept.keep("a", "A")
    kept.keep("b", "B")
    assert kept.get("a") == "A"
    kept.keep("c", "C")
    assert [kept.get(key) for key in "abc"] == ["A", None, "C"]
