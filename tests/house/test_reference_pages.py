"""House rules about the reference pages: what exists and must be known is documented, and nothing else is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from adapters.base import Code, Question
from adapters.compare import COMPARATORS
from adapters.mask import MASKS, mask
from adapters.sql import SqlAdapter
from app.api.problems import PROBLEMS
from app.keys import node_keys as keys
from app.registry import files
from app.registry.catalogue import Catalogue
from app.registry.departments import Departments
from app.settings import SettingInvalid, Settings, names
from client.verify import Outcome
from evidence.record import COMMITTED, MEMBERS
from policies.decision import DEFAULT_DENY, EVALUATION_ERROR, RuleSet
from policies.packaged import packaged_rules, packaged_schema
from tests.house.pages import CODE, ROOT, column, fences, prose, read, sections, table, tables

NODE_DIR = ROOT / "examples" / "hangzhou"


def test_every_problem_is_documented_and_nothing_else() -> None:
    assert sections("docs/problems.md").keys() == PROBLEMS.keys()


@pytest.mark.parametrize("slug", PROBLEMS)
def test_problem_page_says_status_title_remedy_and_record(slug: str) -> None:
    body = sections("docs/problems.md")[slug]
    assert body.strip().startswith(f"Status {PROBLEMS[slug].status}")
    assert f"*{PROBLEMS[slug].title}.*" in re.sub(r"\s+", " ", body)
    assert body.count("**Recorded:**") == 1
    assert ("**Do:**" in body) or slug == "idempotency-conflict"


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert sections("docs/settings.md").keys() == names()


def default_settings(**changed: str) -> Settings:
    return Settings.from_env({"HECHA_NODE_DIR": str(NODE_DIR), **changed})


@pytest.mark.parametrize("name", sorted(names()))
def test_documented_default_and_range_are_those_of_the_code(name: str) -> None:
    body = sections("docs/settings.md")[name]
    field = name.removeprefix("HECHA_").lower()
    if default := re.search(r"^Default: `([^`]+)`[.,]", body, re.MULTILINE):
        read_as = {f: getattr(default_settings(), f) for f in Settings.__slots__}
        value = next(read_as[f] for f in (field, f"{field}_s", f"{field}_bytes") if f in read_as)
        assert value == type(value)(default[1]) or value == Path(default[1]).absolute()
    if bounds := re.search(r"Range: (\d+) to (\d+)\.", body):
        low, high = map(int, bounds.groups())
        for inside in (low, high):
            default_settings(**{name: str(inside)})
        for outside in (low - 1, high + 1):
            with pytest.raises(SettingInvalid):
                default_settings(**{name: str(outside)})


def test_every_key_is_documented_and_nothing_else(tmp_path: Path) -> None:
    assert sections("docs/keys.md").keys() == set(keys.create(tmp_path))


def test_policy_page_holds_exactly_the_rules_in_force() -> None:
    rules = (*RuleSet.from_texts(packaged_rules(), packaged_schema(), 1).rules, DEFAULT_DENY, EVALUATION_ERROR)
    expected = [
        [f"`{rule.id}`", rule.effect, "; ".join(rule.basis), f"{rule.reason_en} {rule.reason_zh}"] for rule in rules
    ]
    assert table(read("docs/policy.md"), "rule") == expected


def test_a_departments_rule_on_the_policy_page_loads() -> None:
    (own,) = fences(read("docs/policy.md"), "")
    RuleSet.from_texts(packaged_rules(), packaged_schema(), 1, narrowing={"own.cedar": own})


def test_every_comparator_is_documented_with_its_columns() -> None:
    rows = {row[0].strip("`"): row for row in table(read("docs/adapters.md"), "comparator")}
    assert rows.keys() == COMPARATORS.keys()
    for name, comparator in COMPARATORS.items():
        assert tuple(CODE.findall(rows[name][1])) == comparator.roles
        assert set(CODE.findall(rows[name][2])) == comparator.required | comparator.optional


def test_every_mask_is_documented_with_what_it_shows() -> None:
    rows = {row[0].strip("`"): row for row in table(read("docs/adapters.md"), "mask")}
    assert rows.keys() == MASKS.keys()
    for kind, row in rows.items():
        assert mask(kind, row[1]) == row[2].strip("`")


def test_new_service_of_the_adapters_page_answers_from_its_tables(tmp_path: Path) -> None:
    page = read("docs/adapters.md")
    (service_text,), (tables_text,) = fences(page, "yaml"), fences(page, "sql")
    with sqlite3.connect(tmp_path / "market.db") as source:
        source.executescript(tables_text)
        source.execute("INSERT INTO enterprises VALUES ('913398810000000194', '杭州之江示范纺织有限公司')")
        row = "('JY33010001', '913398810000000194', '2024-01-01', NULL)"
        source.execute(f"INSERT INTO food_licences VALUES {row}")
    source.close()
    (tmp_path / "service.yaml").write_text(service_text, "utf-8")
    service = Catalogue([files.read(tmp_path / "service.yaml")], ["hz-market"]).services["food-licence"]
    assert service.answerable is not None
    adapter = SqlAdapter(
        service.answerable.binding, url=f"sqlite:///{tmp_path / 'market.db'}", fingerprint_key=b"k" * 32
    )
    declared = {"licence_number": "JY33010001", "valid_on": date(2026, 9, 15)}
    question = Question("913398810000000194", {"name": "杭州之江示范纺织有限公司"}, declared)
    assert adapter.probe().schema_problems == ()
    assert [answer.result for answer in adapter.answer([question], timeout_s=5)] == [Code.MATCH]
    adapter.close()


def test_department_of_the_certificates_page_is_a_department_file(tmp_path: Path) -> None:
    (text,) = fences(read("docs/certificates.md"), "yaml")
    (tmp_path / "department.yaml").write_text(text, "utf-8")
    assert "hz-food-permits" in Departments([files.read(tmp_path / "department.yaml")]).clients


def test_receipts_page_names_every_member_commitment_and_exit_code() -> None:
    page = read("docs/receipts.md")
    (record, receipt) = (rows for rows in tables(page) if rows[0][0] == "member")
    assert {row[0].strip("`") for row in record[1:]} == {"v", "commitments", *MEMBERS}
    assert len(receipt) == 7
    assert column(page, "committed field") == set(COMMITTED)
    codes = {int(row[0]) for row in table(page, "exit code")}
    assert codes == {outcome.value for outcome in Outcome} | {2}


def members_of(value: Any, depth: int = 2) -> Iterator[str]:
    if isinstance(value, dict) and depth:
        for name, inner in value.items():
            yield name
            # What stands in these is named by the service, not by the format.
            if name not in ("attributes", "confirm", "subject", "example"):
                yield from members_of(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            yield from members_of(inner, depth)


def test_node_directory_page_names_every_member_of_the_example() -> None:
    named = {part for code in CODE.findall(prose(read("docs/node-directory.md"))) for part in code.split(".")}
    documents = [files.read(path).document for path in NODE_DIR.rglob("*.yaml")]
    assert {name for document in documents for name in members_of(document)} - {"en", "zh"} <= named
