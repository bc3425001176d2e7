"""A rule file that is wrong in any way never comes into force, and says where it is wrong."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import rfc8785

from policies.decision import RuleSet
from policies.loading import RulesInvalid
from policies.packaged import packaged_rules, packaged_schema

GOOD = """// Closed on Sundays; the office rests.
@id("closed-on-sundays")
@basis("四川 第二十三条; 个人信息保护法 第三十四条第一款")
@reason("Closed; come on Monday.") // a semicolon; in a text and here
@reason_zh("周日不受理；请周一再来。")
forbid (principal, action, resource)
when { context.weekday == 7 };
"""


def test_empty_and_comment_only_files_hold_no_rules() -> None:
    loaded = RuleSet.from_texts({"a.cedar": "", "b.cedar": " \n// nothing; here\n"}, packaged_schema(), 1)
    assert loaded.rules == ()


def test_packaged_rules_load_in_the_order_of_their_files() -> None:
    loaded = RuleSet.from_texts(packaged_rules(), packaged_schema(), 7)
    assert loaded.revision == 7
    assert [rule.file for rule in loaded.rules] == sorted(rule.file for rule in loaded.rules)
    assert {rule.file for rule in loaded.rules} == {"conditions.cedar", "sharing.cedar", "terms.cedar"}


def test_rule_keeps_its_annotations() -> None:
    [rule] = RuleSet.from_texts({}, packaged_schema(), 1, narrowing={"own.cedar": GOOD}).rules
    assert (rule.id, rule.effect, rule.file) == ("closed-on-sundays", "forbid", "own.cedar")
    assert rule.basis == ("四川 第二十三条", "个人信息保护法 第三十四条第一款")
    assert rule.reason_en == "Closed; come on Monday."
    assert rule.reason_zh == "周日不受理；请周一再来。"
    assert not rule.quotes_ground


# What is replaced in the good rule, by what, and what must be said about it.
FLAWS: dict[str, tuple[str, str, str]] = {
    "syntax error": ("{ context", "{{ context", "unexpected token"),
    "no semicolon at the end": ("== 7 };", "== 7 }", "unexpected end"),
    "text that is not closed": ('"周日不受理；请周一再来。"', '"周日不受理；请周一再来。', ""),
    "misspelt attribute": ("context.weekday", "context.weekdy", "`weekdy`"),
    "misspelt name after has": ("context.weekday == 7", "resource has term", "term"),
    "misspelt name after has, deep inside": (
        "context.weekday == 7",
        "context.weekday == 7 || !(if true then false else resource has termz)",
        "termz",
    ),
    "misspelt sharing type": (
        "context.weekday == 7",
        'resource.sharing == Sharing::"withhold"',
        "withhold",
    ),
    "optional attribute unguarded": ("context.weekday", "resource.terms.from_minute", "optional"),
    "misspelt action": ("action,", 'action == Action::"examine",', "examine"),
    "wrong type": ("== 7", '< "7"', "Long"),
    "template": ("principal,", "principal == ?principal,", "template"),
    "permit": ("forbid", "permit", "narrow"),
    "no id": ('@id("closed-on-sundays")', "", "@id missing"),
    "empty id": ('@id("closed-on-sundays")', "@id", "@id missing"),
    "id in capitals": ("closed-on-sundays", "Closed-On-Sundays", "hyphens"),
    "id with underscores": ("closed-on-sundays", "closed_on_sundays", "hyphens"),
    "no basis": ('@basis("四川 第二十三条; 个人信息保护法 第三十四条第一款")', "", "@basis missing"),
    "basis that is no article": ("四川 第二十三条;", "四川省;", "四川省"),
    "no English reason": ("@reason(", "@why(", "@reason missing"),
    "no Chinese reason": ("@reason_zh(", "@reason_cn(", "@reason_zh missing"),
    "blank reason": ("Closed; come on Monday.", " ", "@reason missing"),
    "unknown annotation": ("@basis", '@priority("1") @basis', "@priority"),
    "ground of something else": ("@basis", '@ground("purpose") @basis', "withheld_basis"),
    "the same annotation twice": ("@basis", '@id("x") @basis', "duplicate annotation"),
    "reserved id": ("closed-on-sundays", "default-deny", "taken"),
    "reserved id of errors": ("closed-on-sundays", "evaluation-error", "taken"),
    "id of a packaged rule": ("closed-on-sundays", "no-terms", "taken"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flawed_rule_is_refused_with_file_line_and_reason(flaw: str) -> None:
    old, new, said = FLAWS[flaw]
    assert GOOD.count(old) >= 1
    with pytest.raises(RulesInvalid) as refused:
        narrowed({"own.cedar": GOOD.replace(old, new, 1)})
    assert refused.value.file == "own.cedar"
    assert refused.value.line == 2 + (flaw == "no id")
    assert said in refused.value.reason
    assert "policy0" not in refused.value.reason
    assert str(refused.value).startswith(f"own.cedar, line {refused.value.line}: ")


def test_refusal_names_the_rule_where_its_id_can_be_read() -> None:
    with pytest.raises(RulesInvalid, match=r"own.cedar, line 2: rule closed-on-sundays: ") as refused:
        narrowed({"own.cedar": GOOD.replace("context.weekday", "context.weekdy")})
    assert refused.value.rule == "closed-on-sundays"


def test_flaw_in_a_later_rule_is_told_by_its_own_line() -> None:
    later = GOOD.replace("closed-on-sundays", "later").replace("== 7", "== seven")
    with pytest.raises(RulesInvalid) as refused:
        narrowed({"own.cedar": GOOD + "\n\n" + later})
    assert refused.value.line == GOOD.count("\n") + 2 + 2


def test_id_used_twice_over_two_files_is_refused() -> None:
    with pytest.raises(RulesInvalid) as refused:
        narrowed({"own.cedar": GOOD, "other.cedar": GOOD})
    assert refused.value.file == "own.cedar"
    assert "taken" in refused.value.reason


def test_packaged_permit_is_no_narrowing_rule() -> None:
    with pytest.raises(RulesInvalid, match="narrow"):
        RuleSet.from_texts({}, packaged_schema(), 1, narrowing=packaged_rules())


def test_department_file_cannot_take_the_place_of_a_packaged_one() -> None:
    with pytest.raises(RulesInvalid, match=r"terms.cedar, line 1: a department's file"):
        narrowed({"terms.cedar": GOOD})


@pytest.mark.parametrize("schema", ["entity Client = {", "entity Client = { department: Text };", ""])
def test_schema_that_is_wrong_or_does_not_fit_is_refused(schema: str) -> None:
    with pytest.raises(RulesInvalid):
        RuleSet.from_texts(packaged_rules(), schema, 1)


@pytest.mark.parametrize("revision", [0, -1])
def test_revision_begins_at_one(revision: int) -> None:
    with pytest.raises(ValueError, match="revision"):
        RuleSet.from_texts({}, packaged_schema(), revision)


ALTERED: dict[str, dict[str, Any]] = {
    "a byte of a rule": {"texts": {"own.cedar": GOOD + "\n"}},
    "a file name": {"texts": {"one.cedar": GOOD}},
    "a file more": {"texts": {"own.cedar": GOOD, "empty.cedar": ""}},
    "a file less": {"texts": {}},
    "the schema": {"schema_text": packaged_schema() + "\n"},
    "whose rule it is": {"texts": {}, "narrowing": {"own.cedar": GOOD}},
}


@pytest.mark.parametrize("change", ALTERED)
def test_digest_changes_with(change: str) -> None:
    original: dict[str, Any] = {"texts": {"own.cedar": GOOD}, "schema_text": packaged_schema(), "revision": 1}
    altered = original | ALTERED[change]
    assert RuleSet.from_texts(**altered).digest != RuleSet.from_texts(**original).digest


def test_digest_is_the_sha256_of_the_canonical_texts() -> None:
    texts = {"own.cedar": GOOD, "a.cedar": "// 甲\n"}
    content: Any = {"rules": texts, "narrowing": {"b.cedar": ""}, "schema": packaged_schema()}
    expected = hashlib.sha256(rfc8785.dumps(content)).hexdigest()
    assert RuleSet.from_texts(texts, packaged_schema(), 1, narrowing={"b.cedar": ""}).digest == expected


def test_digest_depends_on_content_alone() -> None:
    files = packaged_rules()
    turned = dict(reversed(files.items()))
    one = RuleSet.from_texts(files, packaged_schema(), 1)
    other = RuleSet.from_texts(turned, packaged_schema(), 2)
    assert one.digest == other.digest
    assert one.rules == other.rules
    assert len(one.digest) == 64


def narrowed(own: dict[str, str]) -> RuleSet:
    return RuleSet.from_texts(packaged_rules(), packaged_schema(), 1, narrowing=own)
