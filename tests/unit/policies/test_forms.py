"""What is read from a rule's Cedar form: its conjuncts, the names it tests, and the time it sees."""

from __future__ import annotations

import json
from typing import Any

import cedarpy
import pytest

from policies.forms import conjuncts, fineness_s, names_tested, permitting


def form(text: str) -> dict[str, Any]:
    document = json.loads(cedarpy.policies_to_json_str(text.replace("'", '"')))
    found: dict[str, Any] = document["staticPolicies"]["policy0"]
    return found


def when(condition: str) -> dict[str, Any]:
    return form(f"forbid (principal, action, resource) when {{ {condition} }};")


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ("", 0),
        ("when { true }", 1),
        ("when { context.a && context.b && context.c }", 3),
        ("when { context.a && (context.b && context.c) }", 3),
        ("when { context.a || context.b && context.c }", 1),
        ("when { context.a && context.b } when { context.c }", 3),
        ("when { !(context.a && context.b) }", 1),
    ],
)
def test_conditions_are_taken_apart_at_every_and(conditions: str, count: int) -> None:
    parts = conjuncts(form(f"permit (principal, action, resource) {conditions};"))
    assert len(parts) == count
    assert parts == sorted(parts, key=json.dumps) or count == 1


def test_permit_of_a_rule_keeps_its_scope_and_its_conditions() -> None:
    rule = form("forbid (principal, action == Action::'verify', resource) when { context.a } unless { context.b };")
    assert permitting(rule) == {**rule, "effect": "permit"}
    alone = permitting(rule, {"Value": True}, {"Value": False})
    assert alone["action"] == rule["action"]
    assert [condition["body"]["Value"] for condition in alone["conditions"]] == [True, False]
    assert {condition["kind"] for condition in alone["conditions"]} == {"when"}


def test_every_name_after_has_is_found() -> None:
    rule = when("(if resource has a then [context has b] else [true]).contains(true) && !(context.x has 'c d')")
    assert sorted(names_tested(rule)) == ["a", "b", "c d"]
    assert list(names_tested(when("context['has'] == 'has a'"))) == []


def test_a_rule_of_no_condition_sees_a_day() -> None:
    assert fineness_s(form("forbid (principal, action, resource);")) == 86_400


@pytest.mark.parametrize(
    ("condition", "seconds"),
    [
        ("context.purpose == 'a' || context.weekday == 3", 86_400),
        ("context.at < resource.terms.valid_from && context.at >= resource.terms.valid_until", 86_400),
        ("context.minute >= resource.terms.from_minute && context.minute < resource.terms.until_minute", 86_400),
        ("context.minute < 3", 60),
        ("context.minute < 3 && context.at < resource.terms.valid_from", 60),
        ("context.minute < 3 && context.at < datetime('2026-01-01')", 1),
        # An edge of the other kind, an edge after which it changes a moment late, an edge that is none.
        ("context.minute < resource.terms.valid_from", 60),
        ("context.at >= resource.terms.until_minute", 1),
        ("context.at <= resource.terms.valid_from", 1),
        ("context.at > resource.terms.valid_from", 1),
        ("context.minute > resource.terms.from_minute", 60),
        ("context.at < resource.valid_from", 1),
        ("context.at < principal.terms.valid_from", 1),
        ("context.at < context.at", 1),
        ("context.minute < context.at", 1),
        ("context.at < (if context.minute < 3 then resource.terms.valid_from else resource.terms.valid_until)", 1),
        ("resource.terms.valid_from < context.at", 1),
        ("principal.at < resource.terms.valid_from", 86_400),
        ("principal.at == 3", 86_400),
        ("context == {'at': 3}", 1),
        ("context has at", 1),
        ("context.at.at == 3", 1),
        ("resource.context == 3", 86_400),
    ],
)
def test_finest_time_that_a_rule_sees(condition: str, seconds: int) -> None:
    assert fineness_s(when(condition)) == seconds
