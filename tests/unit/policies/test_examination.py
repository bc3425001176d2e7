"""An examination names every rule that holds, and what each permit lacks, in words with articles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from policies.decision import RuleSet
from policies.examination import examine, told
from policies.packaged import packaged_rules, packaged_schema
from tests.unit.policies.test_laws import questions

if TYPE_CHECKING:
    from policies.examination import Examination
    from policies.facts import Facts

RULES = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)

OVERFLOW = """
@id("overflow") @basis("四川 第二十三条") @reason("Never evaluates.") @reason_zh("无法计算。")
forbid (principal, action, resource) when { context.minute * 9223372036854775807 > 0 };
"""


def holding(examination: Examination) -> set[str]:
    return {item.rule.id for item in examination.rules if item.holds}


def lacking(examination: Examination) -> dict[str, list[str]]:
    return {item.rule.id: [need.en for need in item.missing] for item in examination.rules if item.missing}


def test_permitted_question_says_what_the_other_permits_lack(asked: Facts) -> None:
    found = examine(RULES, asked)
    assert found.decision == RULES.decide(asked)
    assert holding(found) == {"conditional-agreement"}
    assert [item.rule for item in found.rules] == list(RULES.rules)
    assert lacking(found) == {
        "unconditional-standing-terms": [
            "the service is shared unconditionally",
            "they are the provider's standing terms",
        ],
        "statutory-duty": ["they are the provider's standing terms", "the law orders this sharing"],
    }


def test_denied_question_tells_the_permit_that_was_outweighed(asked: Facts) -> None:
    found = examine(RULES, replace(asked, purpose="curiosity", case_agreed=False))
    assert not found.decision.permitted
    assert holding(found) == {"conditional-agreement", "purpose-not-covered", "case-not-agreed"}
    assert "conditional-agreement" not in lacking(found)


def test_question_without_terms_lacks_them_and_what_they_would_say(asked: Facts) -> None:
    found = examine(RULES, replace(asked, terms=None))
    assert holding(found) == {"no-terms"}
    assert lacking(found) == {
        "unconditional-standing-terms": [
            "the service is shared unconditionally",
            "terms apply to the question",
            "they are the provider's standing terms",
        ],
        "conditional-agreement": ["terms apply to the question", "they are an agreement of both departments"],
        "statutory-duty": [
            "terms apply to the question",
            "they are the provider's standing terms",
            "the law orders this sharing",
        ],
    }


def test_rule_that_cannot_be_evaluated_neither_holds_nor_does_not(asked: Facts) -> None:
    rules = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1, narrowing={"own.cedar": OVERFLOW})
    found = examine(rules, asked)
    assert found.decision.errors
    assert [item.rule.id for item in found.rules if item.holds is None] == ["overflow"]
    assert "cannot be evaluated: overflow (四川 第二十三条): Never evaluates." in list(told(found, "en"))


def test_rule_of_another_provider_does_not_hold(asked: Facts) -> None:
    own = {"hz-market/own.cedar": OVERFLOW.replace("context.minute * 9223372036854775807 > 0", "true")}
    rules = RuleSet.from_texts(packaged_rules(), packaged_schema(), 1, narrowing=own)
    assert "overflow" not in holding(examine(rules, asked))
    assert "overflow" in holding(examine(rules, replace(asked, provider="hz-market")))


@pytest.mark.parametrize("change", [{"sharing": "public"}, {"address": "nowhere"}])
def test_question_outside_the_schema_is_examined_all_the_same(asked: Facts, change: dict[str, Any]) -> None:
    found = examine(RULES, replace(asked, **change))
    assert [rule.id for rule in found.decision.rules] == ["evaluation-error"]
    assert {item.holds for item in found.rules} == {None}
    assert not lacking(found)


@settings(deadline=None, max_examples=40)
@given(questions())
def test_examination_agrees_with_the_decision(facts: Facts) -> None:
    found = examine(RULES, facts)
    effects = {item.rule.id: item.rule.effect for item in found.rules}
    forbidding = {rule for rule in holding(found) if effects[rule] == "forbid"}
    permitting = holding(found) - forbidding
    assert found.decision.permitted == (bool(permitting) and not forbidding)
    assert {rule.id for rule in found.decision.rules} == (
        permitting if found.decision.permitted else forbidding or {"default-deny"}
    )
    for item in found.rules:
        assert bool(item.missing) == (item.rule.effect == "permit" and not item.holds)


def test_words_for_a_denial(asked: Facts) -> None:
    withheld = replace(asked, sharing="withheld", withheld_basis="税收征收管理法 第八条", purpose="curiosity")
    lines = list(told(examine(RULES, withheld), "en"))
    assert lines == [
        f"denied by revision 1 of the rules, {RULES.digest}",
        (
            "because of withheld-service (四川 第六条; 山东 第十三条; 税收征收管理法 第八条): "
            "This service is withheld from sharing; its legal ground stands beside the articles."
        ),
        (
            "because of purpose-not-covered (山东 第二十九条; 山东 第三十一条; 四川 第六条): "
            "The agreement or standing terms do not cover this purpose."
        ),
        (
            "does not permit: unconditional-standing-terms (四川 第二十三条; 山东 第二十五条): "
            "An unconditional service is open to every department under the provider's standing terms."
        ),
        "    missing: the service is shared unconditionally",
        "    missing: they are the provider's standing terms",
        (
            "does not permit: conditional-agreement (四川 第二十三条; 山东 第二十五条): "
            "A conditional service may be asked under an agreement between provider and consumer."
        ),
        "    missing: the service is shared conditionally",
        (
            "does not permit: statutory-duty (山东 第五条): "
            "The law orders this information to be shared with this department, whatever its sharing type."
        ),
        "    missing: they are the provider's standing terms",
        "    missing: the law orders this sharing",
    ]


def test_words_for_a_permit_in_chinese(asked: Facts) -> None:
    assert list(told(examine(RULES, asked), "zh")) == [
        f"准予核验（规则第 1 版，{RULES.digest}）",
        (
            "依据规则 conditional-agreement (四川 第二十三条; 山东 第二十五条): "
            "有条件共享类事项，可按提供部门与使用部门订立的共享协议核验。"
        ),
        (
            "不满足准予条件 unconditional-standing-terms (四川 第二十三条; 山东 第二十五条): "
            "无条件共享类事项，各部门可按提供部门公布的条款直接核验。"
        ),
        "    缺少：该事项属于无条件共享类",
        "    缺少：该条款为提供部门公布的条款",
        "不满足准予条件 statutory-duty (山东 第五条): 依法应与该部门共享的信息，不受共享类型限制。",
        "    缺少：该条款为提供部门公布的条款",
        "    缺少：法律规定应当共享",
    ]


def test_words_name_the_permit_that_was_outweighed(asked: Facts) -> None:
    broken = examine(RULES, replace(asked, case_agreed=False))
    assert (
        "would permit: conditional-agreement (四川 第二十三条; 山东 第二十五条): "
        "A conditional service may be asked under an agreement between provider and consumer."
    ) in list(told(broken, "en"))
    assert (
        "满足准予条件但被否决 conditional-agreement (四川 第二十三条; 山东 第二十五条): "
        "有条件共享类事项，可按提供部门与使用部门订立的共享协议核验。"
    ) in list(told(broken, "zh"))
    assert next(told(broken, "zh")) == f"不予核验（规则第 1 版，{RULES.digest}）"
    assert "permitted by revision 1" in next(told(examine(RULES, asked), "en"))


def test_words_for_a_question_outside_the_schema(asked: Facts) -> None:
    lines = list(told(examine(RULES, replace(asked, address="nowhere")), "zh"))
    assert lines[1].startswith("依据规则 evaluation-error (四川 第三十二条): ")
    assert len(lines) == 2 + len(RULES.rules)
    assert all(line.startswith("无法判定 ") for line in lines[2:])
