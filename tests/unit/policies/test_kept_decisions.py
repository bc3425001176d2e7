"""A decision that is kept must never be given where a new one would differ."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from policies.decision import Decision, RuleSet
from policies.facts import CHINA
from policies.kept import Kept
from policies.packaged import packaged_rules, packaged_schema

if TYPE_CHECKING:
    from policies.facts import Facts, Terms

SECOND = timedelta(seconds=1)


class Counting(RuleSet):
    """The rule set itself; it also counts how often Cedar was asked."""

    evaluated = 0

    def _decide(self, facts: Facts, at_s: int) -> Decision:
        self.evaluated += 1
        return super()._decide(facts, at_s)


@pytest.fixture
def fresh() -> Counting:
    return counting()


def counting(**narrowing: str) -> Counting:
    own = {name.replace("_", "/") + ".cedar": text for name, text in narrowing.items()}
    loaded = Counting.from_texts(packaged_rules(), packaged_schema(), 1, narrowing=own)
    assert isinstance(loaded, Counting)
    return loaded


def own(name: str, condition: str) -> str:
    return (
        f'@id("{name}") @basis("四川 第二十三条") @reason("Own.") @reason_zh("自定。")'
        f" forbid (principal, action, resource) when {{ {condition} }};"
    )


def test_same_question_gets_the_kept_decision(fresh: Counting, asked: Facts) -> None:
    first = fresh.decide(asked)
    assert fresh.decide(replace(asked, at=asked.at + timedelta(microseconds=999_999))) is first
    assert fresh.decide(replace(asked)) is first
    assert fresh.evaluated == 1


# Hours are 8 to 18 on working days; what is asked at ten is not evaluated again before the hours end.
@pytest.mark.parametrize(
    ("at", "evaluated"),
    [
        ("2026-06-02T08:00:00+08:00", 1),
        ("2026-06-02T07:59:59+08:00", 2),
        ("2026-06-02T17:59:59+08:00", 1),
        ("2026-06-02T18:00:00+08:00", 2),
        ("2026-06-03T10:00:00+08:00", 2),
    ],
)
def test_decision_is_kept_to_the_next_edge_of_the_hours(
    fresh: Counting, asked: Facts, at: str, evaluated: int
) -> None:
    fresh.decide(asked)
    fresh.decide(replace(asked, at=datetime.fromisoformat(at)))
    assert fresh.evaluated == evaluated


@pytest.mark.parametrize(("seconds", "evaluated"), [(0, 1), (-1, 2), (86_399, 1), (86_400, 2)])
def test_without_hours_a_decision_is_kept_for_the_day_in_hangzhou(
    fresh: Counting, asked: Facts, seconds: int, evaluated: int
) -> None:
    assert asked.terms is not None
    always = replace(asked, terms=replace(asked.terms, hours=None))
    midnight = asked.at.replace(hour=0)
    fresh.decide(replace(always, at=midnight + timedelta(hours=5)))
    fresh.decide(replace(always, at=midnight + seconds * SECOND))
    assert fresh.evaluated == evaluated


def test_a_denial_without_terms_is_kept_for_the_day(fresh: Counting, asked: Facts) -> None:
    nothing = replace(asked, terms=None)
    fresh.decide(nothing)
    fresh.decide(replace(nothing, at=asked.at.replace(hour=23, minute=59, second=59)))
    assert fresh.evaluated == 1
    fresh.decide(replace(nothing, at=asked.at + timedelta(hours=14)))
    assert fresh.evaluated == 2


def test_kept_decision_does_not_outlive_an_expiry(fresh: Counting, asked: Facts, agreement: Terms) -> None:
    ends = datetime(2026, 6, 2, 15, 20, 7, tzinfo=CHINA)
    terms = replace(agreement, valid_until=ends)
    moments = [ends + offset * timedelta(milliseconds=500) for offset in (-9999, *range(-4, 4))]
    permitted = [fresh.decide(replace(asked, terms=terms, at=at)).permitted for at in moments]
    assert permitted == [True] * 5 + [False] * 4
    assert fresh.evaluated == 2


def test_kept_decision_does_not_outlive_an_expiry_at_midnight(
    fresh: Counting, asked: Facts, agreement: Terms
) -> None:
    always = replace(asked, terms=replace(agreement, hours=None))
    moments = [agreement.valid_until + offset * timedelta(milliseconds=500) for offset in range(-4, 4)]
    permitted = [fresh.decide(replace(always, at=at)).permitted for at in moments]
    assert permitted == [True] * 4 + [False] * 4


def test_kept_denial_does_not_outlive_the_beginning(fresh: Counting, asked: Facts, agreement: Terms) -> None:
    later = replace(asked, terms=replace(agreement, valid_from=asked.at))
    assert not fresh.decide(replace(later, at=asked.at - SECOND)).permitted
    assert fresh.decide(later).permitted
    assert not fresh.decide(replace(later, at=asked.at - SECOND)).permitted


def test_kept_decision_does_not_outlive_the_hours(fresh: Counting, asked: Facts) -> None:
    edge = asked.at.replace(hour=18)
    permitted = [fresh.decide(replace(asked, at=edge + offset * SECOND)).permitted for offset in (-1, 0, -1)]
    assert permitted == [True, False, True]


def test_clock_set_back_is_decided_as_of_that_time(fresh: Counting, asked: Facts, agreement: Terms) -> None:
    assert not fresh.decide(replace(asked, at=agreement.valid_until)).permitted
    assert fresh.decide(asked).permitted


@pytest.mark.parametrize(
    "condition", ["context.at >= {0} && context.at < {1}", "{0} <= context.at && {1} > context.at"]
)
def test_department_rule_on_time_of_its_own_is_not_overslept(asked: Facts, condition: str) -> None:
    noon_utc = 'datetime("2026-06-02T04:00:00Z")', 'datetime("2026-06-02T04:00:05Z")'
    rules = counting(lunch=own("lunch", condition.format(*noon_utc)))
    noon = asked.at.replace(hour=12)
    permitted = [rules.decide(replace(asked, at=noon + i * SECOND)).permitted for i in range(-1, 7)]
    assert permitted == [True] + [False] * 5 + [True] * 2


# What a department's own rule reads, and for how many seconds from ten o'clock its decision is kept.
READS = {
    "resource.name == 'none' || context.at > datetime('2026-06-02T02:00:00Z')": 1,
    "context.at <= resource.terms.valid_from": 1,
    "context.at > resource.terms.valid_until": 1,
    "resource.terms.valid_until < context.at": 1,
    "resource.terms.valid_from >= context.at": 1,
    "context.at == resource.terms.valid_until": 1,
    "context.at < resource.terms.valid_from.offset(duration('1h'))": 1,
    "context.at.toTime() < duration('1h')": 1,
    "context has at && false": 1,
    "context == context && false": 1,
    "if context.at < datetime('2026-01-01') then true else false": 1,
    "context.minute < 60": 60,
    "context.minute <= resource.terms.from_minute - 60": 60,
    "context.minute > resource.terms.until_minute": 60,
    "context.minute < resource.terms.batch_rows && false": 60,
    "[context.minute].contains(3)": 60,
    "context.minute < resource.terms.from_minute": 8 * 3600,
    "context.minute >= resource.terms.until_minute": 8 * 3600,
    "context.at < resource.terms.valid_from": 8 * 3600,
    "context.at >= resource.terms.valid_until": 8 * 3600,
    "context.weekday == 7": 8 * 3600,
    "context.purpose == 'curiosity'": 8 * 3600,
    "principal.suspended": 8 * 3600,
}


@pytest.mark.parametrize("condition", READS)
def test_decision_is_kept_as_long_as_the_finest_rule_cannot_see_a_change(asked: Facts, condition: str) -> None:
    guarded = f"resource has terms && ({condition})".replace("'", '"')
    rules = counting(rule=own("own", guarded))
    assert rules.decide(asked).permitted
    assert rules.decide(replace(asked, at=asked.at + (READS[condition] - 1) * SECOND)).permitted
    assert rules.evaluated == 1
    rules.decide(replace(asked, at=asked.at + READS[condition] * SECOND))
    assert rules.evaluated == 2


def test_time_that_one_provider_looks_at_costs_the_others_nothing(asked: Facts) -> None:
    ticking = own("ticking", 'context.at < datetime("2026-01-01")')
    rules = counting(**{"hz-market_ticking": ticking, "all": own("all", "context.minute < 60")})
    later = replace(asked, at=asked.at + 59 * SECOND)
    assert rules.decide(asked) is rules.decide(later)
    assert rules.evaluated == 1
    elsewhere = replace(asked, provider="hz-market")
    rules.decide(elsewhere)
    rules.decide(replace(elsewhere, at=asked.at + SECOND))
    assert rules.evaluated == 3


def test_providers_own_rules_see_no_coarser_time_than_those_for_all(asked: Facts) -> None:
    rules = counting(
        **{"hz-tax_a": own("a", "context.minute < 60"), "z": own("z", 'context.at < datetime("2026-01-01")')}
    )
    rules.decide(asked)
    rules.decide(replace(asked, at=asked.at + SECOND))
    assert rules.evaluated == 2


@pytest.mark.parametrize("folder", ["", "hz-tax_"])
def test_finest_of_several_rules_counts_wherever_it_stands(asked: Facts, folder: str) -> None:
    texts = [
        own("tick", 'context.at < datetime("2026-01-01")'),
        own("minute", "context.minute < 60"),
        own("no", "false"),
    ]
    for order in permutations(texts):
        rules = counting(**{f"{folder}{name}": text for name, text in zip("abc", order, strict=True)})
        rules.decide(asked)
        rules.decide(replace(asked, at=asked.at + SECOND))
        assert rules.evaluated == 2


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
    "service_level": "overall",
    "service_masks": frozenset({"wage"}),
    "purpose": "curiosity",
    "attributes": frozenset({"wage"}),
    "terms": None,
    "case_agreed": False,
    "operator_agreed": False,
    "address": "203.0.113.9",
    "rows": 20_001,
    "signed_request": True,
}


@pytest.mark.parametrize("fact", CHANGES)
def test_change_of_any_fact_is_decided_anew(fresh: Counting, asked: Facts, fact: str) -> None:
    first = fresh.decide(asked)
    other = replace(asked, **{fact: CHANGES[fact]})
    assert fresh.decide(other) == counting().decide(other)
    assert fresh.evaluated == 2
    assert fresh.decide(asked) is first
    assert fresh.evaluated == 2


def test_changes_cover_every_fact_but_the_time(asked: Facts) -> None:
    assert {"at", *CHANGES} == {field.name for field in fields(asked)}


@pytest.mark.parametrize(
    "change",
    [
        {"state": "revoked"},
        {"digest": "00" * 32},
        {"networks": ()},
        {"signed": False},
        {"hours": None},
        {"request_signature": True},
    ],
)
def test_change_of_the_terms_is_decided_anew(
    fresh: Counting, asked: Facts, agreement: Terms, change: dict[str, Any]
) -> None:
    fresh.decide(asked)
    other = replace(asked, terms=replace(agreement, **change))
    assert fresh.decide(other) == counting().decide(other)
    assert fresh.evaluated == 2


def test_revocation_within_the_same_second_is_seen(fresh: Counting, asked: Facts, agreement: Terms) -> None:
    assert fresh.decide(asked).permitted
    assert not fresh.decide(replace(asked, terms=replace(agreement, state="revoked"))).permitted


def test_an_error_is_not_kept(fresh: Counting, asked: Facts) -> None:
    nonsense = replace(asked, address="nowhere")
    assert fresh.decide(nonsense) == fresh.decide(nonsense)
    assert fresh.evaluated == 2


def test_equal_decisions_on_different_questions_are_one_object(fresh: Counting, asked: Facts) -> None:
    assert fresh.decide(asked) is fresh.decide(replace(asked, address="10.8.9.9"))
    assert fresh.evaluated == 2


def test_parties_are_prepared_once_for_all_their_questions(fresh: Counting, asked: Facts) -> None:
    prepared = fresh._prepared(asked)
    assert fresh._prepared(replace(asked, address="10.8.9.9", purpose="curiosity", at=asked.at + SECOND)) is prepared
    assert fresh._prepared(replace(asked, client_suspended=True)) is not prepared


def test_grounds_of_withholding_are_not_mixed_up(fresh: Counting, asked: Facts) -> None:
    withheld = replace(asked, sharing="withheld")
    grounds = ["甲法 第一条", "乙法 第二条", None]
    found = [fresh.decide(replace(withheld, withheld_basis=ground)).rules[0].basis for ground in grounds]
    assert found == [
        ("四川 第六条", "山东 第十三条", "甲法 第一条"),
        ("四川 第六条", "山东 第十三条", "乙法 第二条"),
        ("四川 第六条", "山东 第十三条"),
    ]


def test_threads_share_a_rule_set(fresh: Counting, asked: Facts, agreement: Terms) -> None:
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


class Unmoved(Counting):
    """Denies everything without asking Cedar: what is counted is which questions are told apart."""

    def _decide(self, facts: Facts, at_s: int) -> Decision:
        self.evaluated += 1
        return Decision(permitted=False, rules=(), revision=at_s, digest=facts.service, errors=False)


def test_ten_thousand_agreements_in_use_are_all_kept(asked: Facts, agreement: Terms) -> None:
    rules = Unmoved.from_texts({}, packaged_schema(), 1)
    questions = [replace(asked, terms=replace(agreement, digest=f"{i:064x}"), service=f"s{i}") for i in range(10_000)]
    told = [rules.decide(facts).digest for facts in [*questions, *questions]]
    assert told == [facts.service for facts in questions] * 2
    assert isinstance(rules, Unmoved)
    assert rules.evaluated == 10_000


def test_values_last_used_are_kept_and_never_more_than_twice_the_limit() -> None:
    kept: Kept[str] = Kept(2)
    for key in "abcdefg":
        kept.keep(key, key.upper())
        assert kept.get(key) == key.upper()
    assert (kept.get("g"), kept.get("f")) == ("G", "F")
    assert [key for key in "abcdefg" if kept.get(key)] == ["e", "f", "g"]


def test_value_in_use_outlives_any_number_of_others() -> None:
    kept: Kept[str] = Kept(3)
    kept.keep("used", "in use")
    for number in range(100):
        kept.keep(number, "other")
        assert kept.get("used") == "in use"
    assert kept.get(1) is None


def test_value_kept_again_takes_the_place_of_the_one_before() -> None:
    kept: Kept[str] = Kept(2)
    kept.keep("a", "A")
    kept.keep("b", "old")
    kept.keep("b", "new")
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == ("A", "new", None)
    kept.keep("d", "D")
    kept.keep("b", "newest")
    assert kept.get("b") == "newest"
