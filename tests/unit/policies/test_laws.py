"""Laws that hold for any question: a forbid never permits, a fact removed never permits, equal facts decide alike."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import cedarpy
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import request
from policies.decision import RuleSet
from policies.facts import CHINA, KINDS, STATES, Facts, Hours, Terms
from policies.packaged import packaged_rules, packaged_schema

if TYPE_CHECKING:
    from collections.abc import Callable

RULES = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)
# A rule set is read anew for many examples: they are slow, not stuck.
UNHURRIED = settings(deadline=None)
DAWN = datetime(2026, 6, 1, tzinfo=CHINA)

# Each condition mostly holds, so that questions are permitted, or denied for one thing, often enough.
mostly = st.sampled_from([True] * 30 + [False])
rarely = mostly.map(lambda value: not value)
some_attributes = st.frozensets(st.sampled_from(["employed_on", "employer", "wage"]))
moments = st.integers(0, 14 * 24 * 60 * 4).map(lambda step: DAWN + step * timedelta(seconds=15))
hours = st.none() | st.builds(
    Hours,
    st.frozensets(st.integers(1, 7), min_size=4),
    st.integers(0, 11).map(lambda hour: hour * 60),
    st.integers(12, 24).map(lambda hour: hour * 60),
)


@st.composite
def terms(draw: st.DrawFn, sharing: str) -> Terms:
    fitting = "agreement" if sharing == "conditional" else "standing-terms"
    kind = fitting if draw(mostly) else draw(st.sampled_from(KINDS))
    begins = DAWN + timedelta(days=draw(st.integers(-30, 3)))
    return Terms(
        id="terms",
        digest=draw(st.sampled_from(["aa", "bb"])),
        kind=kind,
        statutory=kind == "standing-terms" and draw(st.booleans()),
        state="active" if draw(mostly) else draw(st.sampled_from(STATES)),
        signed=draw(mostly),
        legal_basis="某条例 第一条" if draw(mostly) else "",
        valid_from=begins,
        valid_until=begins + timedelta(days=draw(st.integers(20, 60))),
        departments=frozenset({"hz-hrss"} if draw(mostly) else {"hz-civil"} if draw(mostly) else ()),
        clients=draw(st.sampled_from([frozenset(), frozenset({"hz-hrss-benefits"})])),
        purposes=frozenset({"unemployment-benefit"} if draw(mostly) else ()),
        attributes=(
            agreed := frozenset({"employed_on", "employer", "wage"}) if draw(mostly) else draw(some_attributes)
        ),
        level=draw(st.sampled_from(["overall"] * 5 + ["per_attribute"])),
        masked=agreed & {"employer"} if draw(rarely) else frozenset(),
        hours=draw(hours),
        networks=draw(st.sampled_from([(), ("10.0.0.0/8",), ("2001:db8::/32", "10.0.0.0/9")])),
        batch_rows=draw(st.sampled_from([0, 1, 11_000])),
        security_agreement=draw(mostly),
        request_signature=draw(rarely),
    )


@st.composite
def questions(draw: st.DrawFn) -> Facts:
    sharing = draw(st.sampled_from(["unconditional", "conditional", "withheld"]))
    return Facts(
        client="hz-hrss-benefits" if draw(mostly) else "hz-hrss-review",
        department="hz-hrss" if draw(mostly) else "hz-civil",
        client_suspended=draw(rarely),
        department_restricted=draw(rarely),
        service=draw(st.sampled_from(["employment-status", '服务 "甲"\n'])),
        sharing=sharing,
        provider="hz-tax",
        provider_suspended=draw(rarely),
        service_level=draw(st.sampled_from(["overall", "per_attribute"])),
        service_masks=frozenset({"employer"}) if draw(st.booleans()) else frozenset(),
        withheld_basis=draw(st.sampled_from([None, "某法 第一条"])),
        purpose="unemployment-benefit" if draw(mostly) else "curiosity",
        attributes=draw(some_attributes),
        terms=draw(terms(sharing)) if draw(mostly) else None,
        case_agreed=draw(mostly),
        operator_agreed=draw(mostly),
        address=draw(st.sampled_from(["10.8.0.1", "::ffff:10.1.1.1"] * 4 + ["192.0.2.1", "2001:db8::1"])),
        at=draw(moments),
        rows=draw(st.sampled_from([0] * 12 + [1, 2, 11_000, 11_001])),
        signed_request=draw(mostly),
    )


CONDITIONS = (
    'context.purpose == "curiosity"',
    "context.weekday == 3",
    "context.minute < 720",
    "context.rows > 0",
    'resource.masks.contains("employer")',
    'resource has terms && resource.terms.level == Level::"overall" && !resource.terms.signed',
    'context.attributes.contains("wage")',
    'principal.department == "hz-civil"',
    'resource.sharing == Sharing::"unconditional"',
    "resource has terms && resource.terms.statutory",
    'context.at < datetime("2026-06-08")',
    'context.address.isInRange(ip("10.0.0.0/8"))',
    "context.minute * 9223372036854775807 > 0",
    "true",
)


def forbid(name: str, condition: str, kind: str) -> str:
    return (
        f'@id("{name}") @basis("四川 第二十三条") @reason("Own.") @reason_zh("自定。")'
        f" forbid (principal, action, resource) {kind} {{ {condition} }};"
    )


@UNHURRIED
@given(
    st.lists(st.tuples(st.sampled_from(CONDITIONS), st.sampled_from(["when", "unless"])), min_size=1, max_size=4),
    st.lists(questions(), min_size=1, max_size=8),
    st.sampled_from(["own.cedar", "hz-tax/own.cedar", "hz-market/own.cedar"]),
)
def test_adding_a_forbid_never_permits(added: list[tuple[str, str]], asked: list[Facts], file: str) -> None:
    own = {file: "\n".join(forbid(f"own-{i}", *parts) for i, parts in enumerate(added))}
    narrowed = RuleSet.from_texts(packaged_rules(), packaged_schema(), 2, narrowing=own)
    for facts in asked:
        assert RULES.decide(facts).permitted or not narrowed.decide(facts).permitted


@UNHURRIED
@given(st.sampled_from(CONDITIONS), st.sampled_from(["when", "unless"]), questions())
def test_a_providers_own_rules_do_not_touch_the_services_of_others(condition: str, kind: str, facts: Facts) -> None:
    rule = forbid("own", condition, kind)
    own = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1, narrowing={"hz-tax/own.cedar": rule})
    for_all = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1, narrowing={"own.cedar": rule})
    elsewhere = replace(facts, provider="hz-market")
    assert replace(own.decide(elsewhere), digest="") == replace(RULES.decide(elsewhere), digest="")
    assert rules_of(own, facts) == rules_of(for_all, facts)


def rules_of(rules: RuleSet, facts: Facts) -> list[str]:
    return [rule.id for rule in rules.decide(facts).rules]


@UNHURRIED
@given(questions(), st.integers(0, 86_400))
def test_a_kept_decision_is_that_of_its_own_moment(facts: Facts, later_s: int) -> None:
    later = replace(facts, at=facts.at + timedelta(seconds=later_s))
    kept = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)
    kept.decide(facts)
    anew = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)
    assert kept.decide(later) == anew.decide(later)


REMOVALS: dict[str, Callable[[Terms], dict[str, Any]]] = {
    "purposes": lambda terms: {"purposes": frozenset(sorted(terms.purposes)[1:])},
    "attributes": lambda terms: {"attributes": frozenset(sorted(terms.attributes)[1:]), "masked": frozenset()},
    "signatures": lambda terms: {"signed": False},
    "batches": lambda terms: {"batch_rows": 0},
    "legal basis": lambda terms: {"legal_basis": ""},
    "security agreement": lambda terms: {"security_agreement": False},
    "activity": lambda terms: {"state": "suspended"},
    "statutory ground": lambda terms: {"statutory": False},
    "the whole validity": lambda terms: {"valid_until": terms.valid_from + timedelta(seconds=1)},
}


@UNHURRIED
@given(
    questions(),
    st.sampled_from(["terms", "case", "operator", "purpose", "published masks", "published level", *REMOVALS]),
)
def test_removing_a_fact_the_rules_need_never_permits(facts: Facts, removed: str) -> None:
    match removed:
        case "terms":
            fewer = replace(facts, terms=None)
        case "case":
            fewer = replace(facts, case_agreed=False)
        case "operator":
            fewer = replace(facts, operator_agreed=False)
        case "purpose":
            fewer = replace(facts, purpose="")
        case "published masks":
            fewer = replace(facts, service_masks=frozenset())
        case "published level":
            fewer = replace(facts, service_level="overall")
        case _ if facts.terms is None:
            return
        case _:
            fewer = replace(facts, terms=replace(facts.terms, **REMOVALS[removed](facts.terms)))
    assert RULES.decide(facts).permitted or not RULES.decide(fewer).permitted


@UNHURRIED
@given(questions())
def test_no_question_is_permitted_without_what_every_permit_needs(facts: Facts) -> None:
    bare = replace(facts, terms=None)
    for fewer in (bare, replace(facts, case_agreed=False), replace(facts, operator_agreed=False)):
        assert not RULES.decide(fewer).permitted


@UNHURRIED
@given(questions())
def test_same_facts_same_decision(facts: Facts) -> None:
    again = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)
    assert RULES.decide(facts) == RULES.decide(facts) == again.decide(facts) == again.decide(facts)


@UNHURRIED
@given(questions())
def test_denial_has_a_reason_and_permit_names_its_permit(facts: Facts) -> None:
    decision = RULES.decide(facts)
    assert decision.rules
    assert {rule.effect for rule in decision.rules} == {"permit" if decision.permitted else "forbid"}
    assert not decision.errors


@given(questions(), st.integers(0, 400))
def test_weekday_and_minute_are_those_of_the_calendar(facts: Facts, days: int) -> None:
    later = replace(facts, at=facts.at + timedelta(days=days))
    context = json.loads(request.request(later, request.second(later))["context"])
    local = later.at.astimezone(CHINA)
    assert (context["weekday"], context["minute"]) == (local.isoweekday(), local.hour * 60 + local.minute)


@UNHURRIED
@given(questions())
def test_every_request_conforms_to_the_schema(facts: Facts) -> None:
    asked = request.request(facts, request.second(facts))
    schema = cedarpy.Schema.from_str(packaged_schema())
    entities = cedarpy.Entities.from_json_str(request.entities(facts), schema)
    checked = cedarpy.is_authorized(asked, "\n".join(packaged_rules().values()), entities, schema)
    assert not checked.diagnostics.errors
    assert checked.allowed == RULES.decide(facts).permitted
