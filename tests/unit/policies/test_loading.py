"""A rule file that is wrong in any way never comes into force, and says where it is wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import rfc8785

from policies.decision import RuleSet
from policies.loading import RulesInvalid
from policies.packaged import packaged_rules, packaged_schema

if TYPE_CHECKING:
    from policies.facts import Facts

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
    "reserved id": ("closed-on-sundays", "default-deny", "taken by the node itself"),
    "reserved id of errors": ("closed-on-sundays", "evaluation-error", "taken by the node itself"),
    "id of a packaged rule": ("closed-on-sundays", "no-terms", "taken by terms.cedar"),
    "needs of a forbid": (
        "@basis",
        '@needs("rest") @basis',
        "@needs belongs to permits; a forbid that holds states its @reason",
    ),
    "needs of a forbid in Chinese": ("@basis", '@needs_zh("休息") @basis', "@needs belongs to permits"),
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


def test_refusal_names_everything_that_is_missing_or_unknown() -> None:
    bare = "forbid (principal, action, resource);"
    with pytest.raises(RulesInvalid, match=r"own\.cedar, line 1: @id, @basis, @reason, @reason_zh missing$"):
        narrowed({"own.cedar": bare})
    with pytest.raises(RulesInvalid, match=r"unknown annotation @a, @b$"):
        narrowed({"own.cedar": GOOD.replace("forbid", '@b("") @a("") forbid')})
    with pytest.raises(RulesInvalid, match=r"as 四川 第二十三条 does: 四川; 山东$"):
        narrowed({"own.cedar": GOOD.replace("四川 第二十三条;", "四川; 山东;")})


def test_refusal_is_in_cedars_words_without_its_name_for_the_rule() -> None:
    with pytest.raises(RulesInvalid) as refused:
        narrowed({"own.cedar": GOOD.replace("context.weekday", "context.weekdy")})
    assert refused.value.reason.startswith("attribute `weekdy`")


def test_flaw_in_a_later_rule_is_told_by_its_own_line() -> None:
    later = GOOD.replace("closed-on-sundays", "later").replace("== 7", "== seven")
    with pytest.raises(RulesInvalid) as refused:
        narrowed({"own.cedar": GOOD + "\n\n" + later})
    assert refused.value.line == GOOD.count("\n") + 2 + 2


def test_id_used_twice_over_two_files_is_refused() -> None:
    with pytest.raises(RulesInvalid) as refused:
        narrowed({"own.cedar": GOOD, "other.cedar": GOOD})
    assert (refused.value.file, refused.value.line) == ("own.cedar", 2)
    assert refused.value.reason == "this id is taken by other.cedar"


def test_packaged_permit_is_no_narrowing_rule() -> None:
    with pytest.raises(RulesInvalid, match="narrow"):
        RuleSet.from_texts({}, packaged_schema(), 1, narrowing=packaged_rules())


PERMIT = """
@id("open") @basis("四川 第二十三条") @reason("Open.") @reason_zh("开放。")
@needs("terms apply; they are standing terms; the day is right")
@needs_zh("有条款；该条款为公布的条款；日期合适")
permit (principal, action, resource)
when { resource has terms && resource.terms.kind == Kind::"standing-terms" } when { context.weekday == 1 };
"""


def test_permit_says_what_it_needs_condition_by_condition() -> None:
    [rule] = RuleSet.from_texts({"open.cedar": PERMIT}, packaged_schema(), 1).rules
    assert [need.en for need in rule.needs] == ["terms apply", "they are standing terms", "the day is right"]
    assert [need.zh for need in rule.needs] == ["有条款", "该条款为公布的条款", "日期合适"]


def test_every_packaged_permit_and_no_forbid_says_what_it_needs() -> None:
    for rule in RuleSet.from_texts(packaged_rules(), packaged_schema(), 1).rules:
        assert len(rule.needs) == (3 if rule.effect == "permit" else 0)


# What is replaced in the permit, by what, and what must be said about it.
UNFIT_PERMITS = {
    "a need too few": ("; the day is right", "", "3 conditions"),
    "a need too many": ("the day is right", "the day is right; it rains", "3 conditions"),
    "a blank need": ("they are standing terms", " ", "3 conditions"),
    "a need too few in Chinese": ("；日期合适", "", "3 conditions"),
    "no needs": ("@needs(", "@ground(", "@ground"),
    "no needs in Chinese": ('@needs_zh("有条款；该条款为公布的条款；日期合适")', "", "3 conditions"),
    "an unless": ("when { context", "unless { context", "exclude the rest by a forbid"),
}


@pytest.mark.parametrize("flaw", UNFIT_PERMITS)
def test_permit_whose_needs_do_not_fit_is_refused(flaw: str) -> None:
    old, new, said = UNFIT_PERMITS[flaw]
    assert PERMIT.count(old) == 1
    with pytest.raises(RulesInvalid) as refused:
        RuleSet.from_texts({"open.cedar": PERMIT.replace(old, new)}, packaged_schema(), 1)
    assert said in refused.value.reason
    assert (refused.value.file, refused.value.line, refused.value.rule) == ("open.cedar", 2, "open")


WIDENING = {
    "a permit": PERMIT,
    "a permit of everything": PERMIT.split("when", maxsplit=1)[0] + ";",
    "a permit behind a forbid": GOOD + PERMIT,
    "a permit by template": PERMIT.replace("(principal,", "(principal == ?principal,"),
}


@pytest.mark.parametrize("file", ["own.cedar", "hz-tax/own.cedar"])
@pytest.mark.parametrize("attempt", WIDENING)
def test_no_added_file_can_widen(attempt: str, file: str) -> None:
    with pytest.raises(RulesInvalid, match=r"own\.cedar, line [1-9]\d*: .*(narrow|template)"):
        narrowed({file: WIDENING[attempt]})


def test_rule_of_a_providers_folder_is_its_own() -> None:
    own = narrowed({"hz-tax/own.cedar": GOOD, "all.cedar": GOOD.replace("closed", "shut")})
    found = {rule.id: (rule.file, rule.provider) for rule in own.rules if "sundays" in rule.id}
    assert found == {
        "closed-on-sundays": ("hz-tax/own.cedar", "hz-tax"),
        "shut-on-sundays": ("all.cedar", None),
    }


@pytest.mark.parametrize(
    "file", ["hz-tax/2026/own.cedar", "/own.cedar", "hz-tax/", "../own.cedar", "Hz/own.cedar", ""]
)
def test_department_file_elsewhere_is_refused(file: str) -> None:
    with pytest.raises(
        RulesInvalid, match=r"a department's file stands in rules/, or in rules/<provider>/$"
    ) as refused:
        narrowed({file: GOOD})
    assert (refused.value.file, refused.value.line, refused.value.rule) == (file, 1, None)


def test_packaged_files_of_any_name_hold_for_all() -> None:
    [rule] = RuleSet.from_texts({"hz-tax/own.cedar": GOOD}, packaged_schema(), 1).rules
    assert rule.provider is None


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


def test_archived_rule_set_is_restored_whole(asked: Facts) -> None:
    first = narrowed({"hz-tax/own.cedar": GOOD, "z.cedar": "// 甲\n"})
    again = RuleSet.from_archive(first.archive(), 9)
    assert hashlib.sha256(first.archive()).hexdigest() == first.digest == again.digest
    assert (again.revision, again.rules, again.archive()) == (9, first.rules, first.archive())
    sunday = replace(asked, at=asked.at + timedelta(days=5))
    assert [replace(set_.decide(sunday), revision=1) for set_ in (first, again)] == [first.decide(sunday)] * 2
    assert "closed-on-sundays" in [rule.id for rule in again.decide(sunday).rules]


ARCHIVE = RuleSet.from_texts({"own.cedar": GOOD}, packaged_schema(), 1).archive()
OTHER_BYTES = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": ARCHIVE.replace("日".encode(), b"\xe6\x97"),
    "no object": b"[]",
    "blanks added": ARCHIVE.replace(b'{"narrowing":{},', b'{"narrowing": {},'),
    "a newline added": ARCHIVE + b"\n",
    "members in another order": b'{"rules":{},"narrowing":{},"schema":""}',
    "a member more": ARCHIVE.replace(b'{"narrowing"', b'{"more":1,"narrowing"'),
    "a member less": b'{"narrowing":{},"rules":{}}',
    "rules that are no texts": b'{"narrowing":{},"rules":[],"schema":""}',
    "a text that is none": b'{"narrowing":{},"rules":{"a.cedar":1},"schema":""}',
    "own rules that are no texts": b'{"narrowing":3,"rules":{},"schema":""}',
    "a schema that is no text": b'{"narrowing":{},"rules":{},"schema":1}',
    "escapes that are not needed": ARCHIVE.replace("周".encode(), b"\\u5468"),
    "nesting without end": b"[" * 100_000,
}


@pytest.mark.parametrize("content", OTHER_BYTES)
def test_other_bytes_are_no_archive(content: str) -> None:
    with pytest.raises(RulesInvalid, match="archive, line 1: this is no archived rule set"):
        RuleSet.from_archive(OTHER_BYTES[content], 1)


def test_archived_rules_are_checked_like_any_others() -> None:
    with pytest.raises(RulesInvalid, match=r"own\.cedar, line 2: .*weekdy"):
        RuleSet.from_archive(ARCHIVE.replace(b"context.weekday", b"context.weekdy"), 1)
    with pytest.raises(ValueError, match="revision"):
        RuleSet.from_archive(ARCHIVE, 0)


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
