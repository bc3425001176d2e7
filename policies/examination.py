"""Why a question is decided so, rule by rule: which hold, and which conditions of the permits are missing.

For whoever runs the node (`python -m app explain`): it tells facts of the terms that a caller is not told. Each
rule, and each conjunct of a permit that does not hold, is evaluated by itself; that takes milliseconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import cedarpy

from policies import request
from policies.decision import Decision, RuleSet, explain
from policies.forms import conjuncts, permitting
from policies.loading import Need, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from policies.facts import Facts

Language: TypeAlias = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Examined:
    """One rule: whether it holds (None: it cannot be evaluated), and what a permit that does not hold lacks."""

    rule: Rule
    holds: bool | None
    missing: tuple[Need, ...] = ()


@dataclass(frozen=True, slots=True)
class Examination:
    """A decision, and every rule of the set in its order, whether it determined the decision or not."""

    decision: Decision
    rules: tuple[Examined, ...]


def examine(rules: RuleSet, facts: Facts) -> Examination:
    """Decide a question and examine every rule. Never raises: a rule that cannot be evaluated holds None."""
    try:
        question = _Question(request.request(facts, request.second(facts)), request.entities(facts))
    except ValueError:
        question = None
    examined = tuple(_examined(rule, rules.forms[rule.id], question) for rule in rules.rules)
    return Examination(rules.decide(facts), examined)


def told(examination: Examination, language: Language) -> Iterator[str]:
    """Say an examination in words, line by line: the decision, what forbids, what permits and what that lacks."""
    decision, says = examination.decision, _SAYS[language]
    yield says["permitted" if decision.permitted else "denied"].format(decision.revision, decision.digest)
    for reason in explain(decision):
        # With the provider's own ground, where the rule quotes it.
        yield _line(says["because"], reason["rule"], reason["basis"], reason["reason"][language])
    for item in examination.rules:
        rule = item.rule
        reason_text = {"en": rule.reason_en, "zh": rule.reason_zh}[language]
        if item.holds is None:
            yield _line(says["unknown"], rule.id, rule.basis, reason_text)
        elif rule.effect == "permit" and not item.holds:
            yield _line(says["lacking"], rule.id, rule.basis, reason_text)
            yield from ("    " + says["missing"].format(getattr(need, language)) for need in item.missing)
        elif rule.effect == "permit" and not decision.permitted:
            yield _line(says["outweighed"], rule.id, rule.basis, reason_text)


@dataclass(frozen=True, slots=True)
class _Question:
    asked: dict[str, Any]
    entities: str

    def meets(self, form: Mapping[str, Any]) -> bool | None:
        """Tell whether a permit of this form holds; None where it cannot be evaluated."""
        policies = {"staticPolicies": {"one": form}, "templates": {}, "templateLinks": []}
        result = cedarpy.is_authorized(
            self.asked, cedarpy.PolicySet.from_json_str(json.dumps(policies)), self.entities
        )
        return None if result.diagnostics.errors else result.allowed


def _examined(rule: Rule, form: Mapping[str, Any], question: _Question | None) -> Examined:
    if question is None:
        return Examined(rule, None)
    holds = question.meets(permitting(form))
    if holds:
        return Examined(rule, holds)
    # A conjunct that cannot be evaluated by itself, such as the kind of terms where there are none, is missing too.
    lacking = zip(rule.needs, conjuncts(form), strict=True) if rule.effect == "permit" else ()
    missing = tuple(need for need, body in lacking if not question.meets(permitting(form, body)))
    return Examined(rule, holds, missing)


def _line(heading: str, rule: str, basis: tuple[str, ...] | list[str], reason: str) -> str:
    return f"{heading} {rule} ({'; '.join(basis)}): {reason}"


_SAYS: dict[Language, dict[str, str]] = {
    "en": {
        "permitted": "permitted by revision {0} of the rules, {1}",
        "denied": "denied by revision {0} of the rules, {1}",
        "because": "because of",
        "unknown": "cannot be evaluated:",
        "lacking": "does not permit:",
        "outweighed": "would permit:",
        "missing": "missing: {0}",
    },
    "zh": {
        "permitted": "准予核验（规则第 {0} 版，{1}）",
        "denied": "不予核验（规则第 {0} 版，{1}）",
        "because": "依据规则",
        "unknown": "无法判定",
        "lacking": "不满足准予条件",
        "outweighed": "满足准予条件但被否决",
        "missing": "缺少：{0}",
    },
}
