"""House rules about the packaged policy rules: each rests on an article, and says why in two languages."""

from __future__ import annotations

import re

import pytest

from policies.decision import DEFAULT_DENY, EVALUATION_ERROR, Rule, RuleSet
from policies.loading import Loader
from policies.packaged import packaged_rules, packaged_schema

RULES = (*RuleSet.from_texts(packaged_rules(), packaged_schema(), 1).rules, DEFAULT_DENY, EVALUATION_ERROR)

# The last article of each document the rules rest on (the Haizhu draft is known up to its 第四十三条).
LAST = {"四川": 43, "山东": 42, "海珠": 43}
NAMED_LAWS = ("政务数据共享条例", "个人信息保护法", "网络数据安全管理条例")
DIGITS = "零一二三四五六七八九"


def every_rule() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


@every_rule()
def test_rule_cites_articles_of_known_documents(rule: Rule) -> None:
    assert rule.basis
    for article in rule.basis:
        source, _, number = article.partition(" ")
        found = re.fullmatch(r"第([一二三四五六七八九十百]+)条", number)
        assert found, article
        assert source in NAMED_LAWS or 1 <= count(found[1]) <= LAST[source], article


@every_rule()
def test_rule_cites_no_article_twice(rule: Rule) -> None:
    assert len(set(rule.basis)) == len(rule.basis)


@every_rule()
def test_rule_has_a_reason_in_english_and_chinese(rule: Rule) -> None:
    assert re.fullmatch(r"[A-Z][ -~]+\.", rule.reason_en)
    assert re.search(r"[\u4e00-\u9fff]{4}", rule.reason_zh)
    assert rule.reason_zh.endswith("。")
    assert not re.search(r"[,;:?!()]", rule.reason_zh), "Chinese text has full-width punctuation"


@every_rule()
def test_rule_id_is_kebab_case(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)


@every_rule()
def test_permit_says_what_it_needs_in_both_languages(rule: Rule) -> None:
    assert bool(rule.needs) == (rule.effect == "permit")
    for need in rule.needs:
        assert re.fullmatch(r"[a-z][a-z' ]+", need.en)
        assert re.fullmatch(r"[\u4e00-\u9fff]{4,}", need.zh)


def test_packaged_rules_see_no_finer_time_than_the_edges_of_the_terms() -> None:
    loader = Loader(packaged_schema())
    loader.add(packaged_rules(), narrowing=False)
    assert loader.fineness_s() == {None: 86_400}, "a decision could be kept for a second only"


def test_rule_ids_are_unique() -> None:
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)


def test_reasons_are_unique() -> None:
    assert len({rule.reason_en for rule in RULES}) == len({rule.reason_zh for rule in RULES}) == len(RULES)


def test_permits_are_few() -> None:
    assert [rule.id for rule in RULES if rule.effect == "permit"] == [
        "unconditional-standing-terms",
        "conditional-agreement",
        "statutory-duty",
    ]


@pytest.mark.parametrize(("numeral", "number"), [("五", 5), ("十", 10), ("十三", 13), ("二十", 20), ("四十三", 43)])
def test_chinese_numerals_are_counted(numeral: str, number: int) -> None:
    assert count(numeral) == number


def count(numeral: str) -> int:
    """The value of a Chinese numeral under one hundred."""
    tens, ten, units = numeral.rpartition("十")
    return (DIGITS.index(tens or "一") * 10 if ten else 0) + DIGITS.index(units or "零")
