"""Every way to be permitted, and every way a question can break a rule."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from policies.decision import Decision, RuleSet, explain
from policies.facts import CHINA, Facts
from policies.packaged import packaged_rules, packaged_schema
from policies.request import entities, instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policies.facts import Terms


def test_no_rules_denies(asked: Facts) -> None:
    decision = RuleSet.from_texts({}, packaged_schema(), 1).decide(asked)
    assert not decision.permitted
    assert not decision.errors
    assert broken(decision) == ["default-deny"]


def test_a_question_within_its_agreement_is_permitted(rules: RuleSet, asked: Facts) -> None:
    decision = rules.decide(asked)
    assert decision == Decision(
        permitted=True,
        rules=tuple(rule for rule in rules.rules if rule.id == "conditional-agreement"),
        revision=1,
        digest=rules.digest,
        errors=False,
    )


# What is changed in the question, what in its terms, and the one rule that this breaks.
ALONE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "withheld, and no law orders it shared": (
        {"sharing": "withheld"},
        {},
        "withheld-service",
    ),
    "withheld, and no terms at all": (
        {"sharing": "withheld", "terms": None},
        {},
        "withheld-service",
    ),
    "conditional, and only standing terms": (
        {},
        {"kind": "standing-terms"},
        "conditional-without-agreement",
    ),
    "unconditional, and an agreement in place of standing terms": (
        {"sharing": "unconditional"},
        {},
        "unconditional-without-standing-terms",
    ),
    "no terms apply": ({"terms": None}, {}, "no-terms"),
    "agreement approved but not accepted by both": ({}, {"state": "approved"}, "terms-not-active"),
    "agreement suspended": ({}, {"state": "suspended"}, "terms-not-active"),
    "agreement expired by its state": ({}, {"state": "expired"}, "terms-not-active"),
    "agreement revoked": ({}, {"state": "revoked"}, "terms-not-active"),
    "agreement superseded": ({}, {"state": "superseded"}, "terms-not-active"),
    "agreement begins tomorrow": (
        {},
        {"valid_from": datetime(2026, 6, 3, tzinfo=CHINA)},
        "terms-not-yet-valid",
    ),
    "agreement ended yesterday": (
        {},
        {"valid_until": datetime(2026, 6, 1, tzinfo=CHINA)},
        "terms-expired",
    ),
    "security agreement not signed": ({}, {"security_agreement": False}, "security-agreement-missing"),
    "terms not signed by every side": ({}, {"signed": False}, "terms-not-signed"),
    "every code, where the provider publishes the overall result": (
        {"service_level": "overall"},
        {},
        "disclosure-beyond-service",
    ),
    "a masked value that the provider does not publish": (
        {"service_masks": frozenset({"wage"})},
        {"level": "overall"},
        "disclosure-beyond-service",
    ),
    "a batch, and none agreed": ({"rows": 1}, {"batch_rows": 0}, "batch-not-agreed"),
    "a batch of a row too many": ({"rows": 20_001}, {}, "batch-too-large"),
    "another department": ({"department": "hz-civil"}, {}, "department-not-named"),
    "agreement that names nobody": ({}, {"departments": frozenset()}, "department-not-named"),
    "another client of the department": ({"client": "hz-hrss-review"}, {}, "client-not-named"),
    "another purpose": ({"purpose": "curiosity"}, {}, "purpose-not-covered"),
    "no purpose": ({"purpose": ""}, {}, "purpose-not-covered"),
    "an attribute beside the agreed ones": (
        {"attributes": frozenset({"employed_on", "wage"})},
        {},
        "attribute-not-covered",
    ),
    "no legal basis": ({}, {"legal_basis": ""}, "legal-basis-missing"),
    "a legal basis of blanks": ({}, {"legal_basis": " \n"}, "legal-basis-missing"),
    "case missing or of another pattern": ({"case_agreed": False}, {}, "case-not-agreed"),
    "operator missing or of another pattern": ({"operator_agreed": False}, {}, "operator-not-agreed"),
    "at night": ({"at": datetime(2026, 6, 2, 22, 0, tzinfo=CHINA)}, {}, "outside-hours"),
    "on a Sunday": ({"at": datetime(2026, 6, 7, 10, 0, tzinfo=CHINA)}, {}, "outside-hours"),
    "from another network": ({"address": "10.9.0.1"}, {}, "outside-networks"),
    "from another network, IPv6": ({"address": "2001:db9::1"}, {}, "outside-networks"),
    "not signed, where questions must be": ({}, {"request_signature": True}, "signature-required"),
    "client suspended": ({"client_suspended": True}, {}, "client-suspended"),
    "provider suspended": ({"provider_suspended": True}, {}, "provider-suspended"),
    "department keeps its own data stale": ({"department_restricted": True}, {}, "department-restricted"),
}


@pytest.mark.parametrize("case", ALONE)
def test_broken_condition_alone_denies_and_is_the_one_named(rules: RuleSet, asked: Facts, case: str) -> None:
    in_question, in_terms, rule = ALONE[case]
    decision = rules.decide(changed(asked, in_question, in_terms))
    assert not decision.permitted
    assert not decision.errors
    assert broken(decision) == [rule]


def test_every_packaged_forbid_is_broken_by_some_case_alone(rules: RuleSet) -> None:
    assert {rule for _, _, rule in ALONE.values()} == {r.id for r in rules.rules if r.effect == "forbid"}


def test_denial_names_every_broken_condition(rules: RuleSet, asked: Facts) -> None:
    everything = {"purpose": "curiosity", "case_agreed": False, "address": "203.0.113.9"}
    decision = rules.decide(changed(asked, everything, {"state": "revoked"}))
    assert set(broken(decision)) == {
        "purpose-not-covered",
        "case-not-agreed",
        "outside-networks",
        "terms-not-active",
    }


OPEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "unconditional, to a department that standing terms don't name": (
        {"sharing": "unconditional", "department": "hz-civil"},
        {"kind": "standing-terms", "departments": frozenset()},
        "unconditional-standing-terms",
    ),
    "unconditional, to a department that standing terms name": (
        {"sharing": "unconditional"},
        {"kind": "standing-terms"},
        "unconditional-standing-terms",
    ),
    "withheld, but ordered by law": (
        {"sharing": "withheld", "withheld_basis": "保守国家秘密法 第十三条"},
        {"kind": "standing-terms", "statutory": True},
        "statutory-duty",
    ),
    "conditional, but ordered by law": ({}, {"kind": "standing-terms", "statutory": True}, "statutory-duty"),
    "ordered by law, to a restricted department": (
        {"department_restricted": True},
        {"kind": "standing-terms", "statutory": True},
        "statutory-duty",
    ),
    "to every client of the department": (
        {"client": "hz-hrss-review"},
        {"clients": frozenset()},
        "conditional-agreement",
    ),
    "from anywhere where no network is agreed": (
        {"address": "203.0.113.9"},
        {"networks": ()},
        "conditional-agreement",
    ),
    "from anywhere, IPv6": ({"address": "2001:db9::1"}, {"networks": ()}, "conditional-agreement"),
    "from the second network, IPv6": ({"address": "2001:db8::5"}, {}, "conditional-agreement"),
    "from a single agreed address": ({"address": "192.0.2.7"}, {}, "conditional-agreement"),
    "from an IPv4 address seen by a dual-stack socket": (
        {"address": "::ffff:10.8.3.4"},
        {},
        "conditional-agreement",
    ),
    "on Sunday night where no hours are agreed": (
        {"at": datetime(2026, 6, 7, 23, 59, tzinfo=CHINA)},
        {"hours": None},
        "conditional-agreement",
    ),
    "on Monday at midnight where no hours are agreed": (
        {"at": datetime(2026, 6, 1, tzinfo=CHINA)},
        {"hours": None},
        "conditional-agreement",
    ),
    "a batch of as many rows as agreed": ({"rows": 20_000}, {}, "conditional-agreement"),
    "a single question where no batch is agreed": ({}, {"batch_rows": 0}, "conditional-agreement"),
    "the overall result, where the provider publishes every code": (
        {},
        {"level": "overall"},
        "conditional-agreement",
    ),
    "the overall result, where the provider publishes that": (
        {"service_level": "overall"},
        {"level": "overall"},
        "conditional-agreement",
    ),
    "no masked value, where none is published": (
        {"service_masks": frozenset()},
        {"masked": frozenset()},
        "conditional-agreement",
    ),
    "signed, where questions must be": (
        {"signed_request": True},
        {"request_signature": True},
        "conditional-agreement",
    ),
    "signed, where nobody asked for it": ({"signed_request": True}, {}, "conditional-agreement"),
    "with all agreed attributes": (
        {"attributes": frozenset({"employed_on", "employer"})},
        {},
        "conditional-agreement",
    ),
}


@pytest.mark.parametrize("case", OPEN)
def test_question_is_permitted(rules: RuleSet, asked: Facts, case: str) -> None:
    in_question, in_terms, rule = OPEN[case]
    decision = rules.decide(changed(asked, in_question, in_terms))
    assert decision.permitted
    assert broken(decision) == [rule]


STATUTORY_AND_BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "department-not-named": ({}, {"departments": frozenset()}),
    "purpose-not-covered": ({"purpose": "curiosity"}, {}),
    "attribute-not-covered": ({"attributes": frozenset({"wage"})}, {}),
    "disclosure-beyond-service": ({"service_level": "overall"}, {}),
    "terms-not-signed": ({}, {"signed": False}),
    "terms-not-active": ({}, {"state": "suspended"}),
    "signature-required": ({}, {"request_signature": True}),
    "client-suspended": ({"client_suspended": True}, {}),
}


@pytest.mark.parametrize("rule", STATUTORY_AND_BROKEN)
def test_statutory_duty_lifts_the_sharing_type_and_nothing_else(rules: RuleSet, asked: Facts, rule: str) -> None:
    in_question, in_terms = STATUTORY_AND_BROKEN[rule]
    duty = {"kind": "standing-terms", "statutory": True, **in_terms}
    decision = rules.decide(changed(asked, {"sharing": "withheld", **in_question}, duty))
    assert not decision.permitted
    assert broken(decision) == [rule]


def test_unconditional_terms_that_name_departments_exclude_the_others(rules: RuleSet, asked: Facts) -> None:
    question = {"sharing": "unconditional", "department": "hz-civil"}
    assert broken(rules.decide(changed(asked, question, {"kind": "standing-terms"}))) == ["department-not-named"]


AT: dict[str, tuple[str, str | None]] = {
    "a microsecond before it is valid": ("2025-12-31T23:59:59.999999+08:00", "terms-not-yet-valid"),
    "the second it becomes valid": ("2026-01-01T00:00:00+08:00", None),
    "its last microsecond": ("2026-12-31T23:59:59.999999+08:00", None),
    "the second it expires": ("2027-01-01T00:00:00+08:00", "terms-expired"),
    "the second it expires, told in another zone": ("2026-12-31T16:00:00+00:00", "terms-expired"),
}


@pytest.mark.parametrize("moment", AT)
def test_validity_is_exact(rules: RuleSet, asked: Facts, moment: str) -> None:
    at, rule = AT[moment]
    decision = rules.decide(changed(asked, {"at": datetime.fromisoformat(at)}, {"hours": None}))
    assert decision.permitted == (rule is None)
    assert rule in (None, *broken(decision))


WITHIN_HOURS = {
    "2026-06-01T07:59:59.999999+08:00": False,
    "2026-06-01T08:00:00+08:00": True,
    "2026-06-05T17:59:59.999999+08:00": True,
    "2026-06-05T18:00:00+08:00": False,
    "2026-06-06T08:00:00+08:00": False,
    # Sunday evening in UTC is Monday morning in Hangzhou.
    "2026-05-31T23:59:59+00:00": False,
    "2026-06-01T00:00:00+00:00": True,
}


@pytest.mark.parametrize("at", WITHIN_HOURS)
def test_hours_are_those_of_hangzhou(rules: RuleSet, asked: Facts, at: str) -> None:
    decision = rules.decide(replace(asked, at=datetime.fromisoformat(at)))
    assert decision.permitted == WITHIN_HOURS[at]


@pytest.mark.parametrize("address", ["", "localhost", "10.8.3.4:443", "10.8.3", "fe80::1%eth0"])
def test_an_address_that_cannot_be_judged_is_denied_as_an_error(rules: RuleSet, asked: Facts, address: str) -> None:
    decision = rules.decide(replace(asked, address=address))
    assert not decision.permitted
    assert decision.errors
    assert broken(decision) == ["evaluation-error"]


@pytest.mark.parametrize("change", [{"purpose": "\ud800"}, {"service": "\udfff"}, {"client": "\ud800\n"}])
def test_text_that_cannot_be_written_is_denied_as_an_error(
    rules: RuleSet, asked: Facts, change: dict[str, Any]
) -> None:
    decision = rules.decide(replace(asked, **change))
    assert (decision.permitted, decision.errors) == (False, True)
    assert broken(decision) == ["evaluation-error"]


def test_unknown_sharing_type_is_denied_as_an_error(rules: RuleSet, asked: Facts) -> None:
    with pytest.raises(ValueError, match=r"^a sharing type is one of unconditional, conditional, withheld$"):
        entities(replace(asked, sharing="public"))
    decision = rules.decide(replace(asked, sharing="public"))
    assert (decision.permitted, decision.errors) == (False, True)
    assert broken(decision) == ["evaluation-error"]


OVERFLOW = """
@id("overflow")
@basis("四川 第二十三条")
@reason("Never evaluates.")
@reason_zh("无法计算。")
forbid (principal, action, resource) when { context.minute * 9223372036854775807 > 0 };
"""


def test_rule_that_cannot_be_evaluated_denies_what_the_others_permit(asked: Facts) -> None:
    rules = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1, narrowing={"own.cedar": OVERFLOW})
    decision = rules.decide(asked)
    assert (decision.permitted, decision.errors) == (False, True)
    assert broken(decision) == ["evaluation-error"]
    both = rules.decide(replace(asked, purpose="curiosity"))
    assert (both.permitted, both.errors) == (False, True)
    assert broken(both) == ["purpose-not-covered", "evaluation-error"]


def test_explanation_of_a_withheld_service_quotes_the_providers_ground(rules: RuleSet, asked: Facts) -> None:
    withheld = replace(asked, sharing="withheld", withheld_basis="税收征收管理法 第八条", terms=None)
    [reason] = explain(rules.decide(withheld))
    assert reason["rule"] == "withheld-service"
    assert reason["basis"] == ["四川 第六条", "山东 第十三条", "税收征收管理法 第八条"]
    assert set(reason["reason"]) == {"en", "zh"}
    [unstated] = explain(rules.decide(replace(withheld, withheld_basis=None)))
    assert unstated["basis"] == ["四川 第六条", "山东 第十三条"]


def test_explanation_tells_no_fact_of_the_terms(rules: RuleSet, asked: Facts) -> None:
    other = {"department": "hz-civil", "client": "hz-civil-dibao", "address": "203.0.113.9", "purpose": "x"}
    told = str(explain(rules.decide(changed(asked, other, {"state": "suspended"}))))
    for secret in ("hz-hrss", "10.8.", "unemployment", "失业", "suspended", "5d5d"):
        assert secret not in told


def test_times_of_any_zone_decide_alike(rules: RuleSet, asked: Facts) -> None:
    assert rules.decide(replace(asked, at=asked.at.astimezone(UTC))) == rules.decide(asked)


def test_times_are_written_in_utc_wherever_the_node_stands(
    rules: RuleSet, asked: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        assert instant(asked.at) == "2026-06-02T02:00:00Z"
        assert instant(asked.at.astimezone(UTC)) == "2026-06-02T02:00:00Z"
    finally:
        monkeypatch.undo()
        time.tzset()


def broken(decision: Decision) -> list[str]:
    return [rule.id for rule in decision.rules]


def changed(asked: Facts, in_question: Mapping[str, Any], in_terms: Mapping[str, Any]) -> Facts:
    terms: Terms | None = asked.terms
    assert terms is not None
    return replace(asked, **{"terms": replace(terms, **in_terms), **in_question})
