"""The node directory as a whole: one wrong word in any file refuses to start, with file and reason."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.registry import node_directory
from app.registry.files import NodeFileInvalid
from evidence.canonical import canonical
from examples.demo.departments import NODE_DIR
from policies.obligations import Fold
from tests.nodes.routes import example_directory

SERVICE = "services/employment-status.yaml"
TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
STATUTORY = "agreements/hz-police-household-registration-statutory.yaml"
OPEN = "agreements/hz-police-person-basic-standing-terms.yaml"
DEPARTMENT = "departments/hz-hrss.yaml"
WITHHELD = "services/adoption-registration.yaml"

Rewrite = Callable[[str], str]


def swap(old: str, new: str) -> Rewrite:
    """Replace a text that stands there."""

    def rewrite(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return rewrite


def without(member: str) -> Rewrite:
    """Leave a member of the top level out."""
    return lambda text: re.sub(rf"^{member}:.*\n(?:[ ].*\n)*", "", text, flags=re.MULTILINE)


def plus(line: str) -> Rewrite:
    return lambda text: text + line + "\n"


def load(folder: Path, name: str, rewrite: Rewrite) -> Any:
    """Load the example directory with one file rewritten."""
    shutil.copytree(NODE_DIR, folder / "node")
    path = folder / "node" / name
    text = path.read_text("utf-8")
    changed = rewrite(text)
    assert changed != text
    path.write_text(changed, "utf-8")
    return node_directory.load(folder / "node")


FAULTS: list[tuple[str, Rewrite, str]] = [
    ("node.yaml", without("origin"), "origin is missing"),
    ("node.yaml", swap("hz-data-bureau", "nobody"), "authority nobody is no registered department"),
    ("node.yaml", plus("extra: 1"), "unknown member extra"),
    ("node.yaml", swap("policy_revision: 1", "policy_revision: 0"), "revision"),
    ("node.yaml", swap("policy_revision: 1", 'policy_revision: "1"'), "policy_revision has the wrong type"),
    (DEPARTMENT, plus("extra: 1"), "unknown member extra"),
    (DEPARTMENT, swap("[consumer]", "[]"), "roles must be some of"),
    (DEPARTMENT, swap("[consumer]", "[boss]"), "roles must be some of"),
    (DEPARTMENT, swap("[consumer]", "[auditor, system-admin]"), "may not be both"),
    (DEPARTMENT, swap("[consumer]", "[security-admin, system-admin]"), "may not be both"),
    (DEPARTMENT, swap("client: hz-hrss-review", "client: hz-hrss-benefits"), "stands twice"),
    (DEPARTMENT, swap("hz-hrss-review.clients", "hz-hrss-benefits.clients"), "stands twice"),
    (DEPARTMENT, swap("hz-hrss-review.clients", "hz-tax-levy.clients"), "stands twice"),
    (DEPARTMENT, swap("tls_client_auth_san_dns", "common_name"), "exactly one of tls_client_auth_subject_dn"),
    (DEPARTMENT, swap('san_dns: "', 'san_uri: "x", tls_client_auth_san_dns: "'), "exactly one of"),
    (DEPARTMENT, swap('"hz-hrss-benefits.clients.hangzhou.example"', '""'), "must be a text"),
    (DEPARTMENT, swap("department: hz-hrss", "department: hz-tax"), "stands twice"),
    (SERVICE, plus("extra: 1"), "unknown member extra"),
    (SERVICE, without("provider"), "provider is missing"),
    (SERVICE, swap("provider: hz-tax", "provider: nobody"), "provider nobody is no registered department"),
    (SERVICE, swap("service: employment-status", "service: Employment"), "lower-case words"),
    (SERVICE, swap("service: employment-status", "service: wage-base"), "stands twice"),
    (SERVICE, swap("sharing: conditional", "sharing: open"), "sharing must be one of"),
    (SERVICE, swap("category: theme", "category: other"), "category must be one of"),
    (SERVICE, swap("update_cycle: daily", "update_cycle: hourly"), "update_cycle must be one of"),
    (SERVICE, swap("version: 1", "version: one"), "version has the wrong type"),
    (SERVICE, swap("compare: covers_date", "compare: guess"), "no comparator 'guess'"),
    (SERVICE, swap("mask: organisation", "mask: half"), "no mask 'half'"),
    (SERVICE, swap("from: start_date, to: end_date", "from: start_date"), "needs the column 'to'"),
    (SERVICE, swap("required: [employed_on]", "required: [salary]"), "required names no attribute: salary"),
    (SERVICE, swap("type: resident_id", "type: passport"), "type must be one of"),
    (SERVICE, swap("subject: {id_number:", "subject: {a: {column: b, type: code}, id_number:"), "exactly one member"),
    (SERVICE, swap(", name: {column: full_name, compare: name}", ""), "a number alone never yields a match"),
    (SERVICE, swap("many: any", "many: most"), "many must be one of"),
    (SERVICE, swap("{compare: covers_date, from: start_date, to: end_date}", "x"), "employed_on must be a map"),
    (SERVICE, swap("compare: covers_date", "compare: [covers_date]"), "compare and mask must be texts"),
    (SERVICE, swap("mask: organisation", "mask: true"), "compare and mask must be texts"),
    (WITHHELD, without("basis"), "must name the law that forbids sharing"),
    (WITHHELD, plus("source: {adapter: sql}"), "unknown member source"),
    (TERMS, plus("extra: 1"), "unknown member extra"),
    (TERMS, plus("folds: false"), "unknown member folds"),
    (TERMS, swap("provider: hz-tax", "provider: hz-market"), "hz-market provides no service employment-status"),
    (TERMS, swap("service: employment-status", "service: nothing"), "provides no service nothing"),
    (TERMS, swap("consumer: hz-hrss", "consumer: nobody"), "unknown department or client nobody"),
    (TERMS, swap("[hz-hrss-benefits]", "[nobody]"), "unknown department or client nobody"),
    (TERMS, swap("attributes: [employed_on", "attributes: [salary, employed_on"), "has no attribute salary"),
    (TERMS, swap("masked: [employer]", "masked: [employed_on]"), "no mask for employed_on"),
    (TERMS, swap("masked: [employer]", "masked: [salary]"), "salary"),
    (TERMS, swap("level: overall", "level: everything"), "disclosure.level is overall or per_attribute"),
    (TERMS, swap("fold: false", "fold: maybe"), "fold is true or false"),
    (TERMS, swap("state: active", "state: running"), "state must be one of"),
    (TERMS, swap("per: month", "per: week"), "per must be one of"),
    (TERMS, swap("{count: 1000000", "{count: many"), "count has the wrong type"),
    (TERMS, swap("budget: {", "budget: {per: day, "), "unknown member per"),
    (TERMS, lambda text: re.sub(r"budget: {.*}", "budget: {}", text), "bits is missing"),
    (TERMS, swap('case: "^[A-Za-z0-9]', 'case: "^(A'), "case is no regular expression"),
    (TERMS, swap('2026-01-01T00:00:00+08:00", until', '2026-01-01T00:00:00", until'), "needs its offset"),
    (TERMS, swap('2026-01-01T00:00:00+08:00", until', 'yesterday", until'), "must be a date and time"),
    (TERMS, swap("2031-01-01T00:00:00+08:00", "2025-01-01T00:00:00+08:00"), "validity must begin before it ends"),
    (TERMS, swap("2031-01-01T00:00:00+08:00", "2031-01-01T00:00:00.5+08:00"), "whole seconds"),
    (TERMS, swap('from: "00:00"', 'from: "25:00"'), "time of day"),
    (TERMS, swap('from: "00:00"', 'from: "24:00"'), "begin before they end"),
    (TERMS, swap("[1, 2, 3, 4, 5, 6, 7]", "[0]"), "weekdays"),
    (TERMS, swap("[1, 2, 3, 4, 5, 6, 7]", "[]"), "weekdays"),
    (TERMS, swap('"127.0.0.0/8"', '"127.0.0.1/8"'), "host bits"),
    (TERMS, swap('"127.0.0.0/8"', '"anywhere"'), "anywhere"),
    (TERMS, plus("statutory: true"), "only standing terms can be statutory"),
    (TERMS, plus('freshness: "soon"'), "freshness is a number"),
    (TERMS, plus("departments: [hz-tax]"), "unknown member departments"),
    (TERMS, swap("disclosure: {level: overall, masked: [employer]}", "disclosure: [overall]"), "disclosure"),
    (TERMS, swap("masked: [employer]", "masked: employer"), "disclosure.masked is a list"),
    (TERMS, swap("masked: [employer]", "masked: [1]"), "masked"),
    (STATUTORY, plus("consumer: hz-hrss"), "unknown member consumer"),
    (STATUTORY, swap("[hz-hrss]", "[nobody]"), "unknown department or client nobody"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rewrite", "words"), FAULTS, ids=[f"{name}: {words}" for name, _, words in FAULTS])
def test_wrong_word_refuses_to_start_with_file_and_reason(
    tmp_path: Path, name: str, rewrite: Rewrite, words: str
) -> None:
    with pytest.raises(NodeFileInvalid, match=re.escape(words)) as error:
        load(tmp_path, name, rewrite)
    # What stands in two files is named by the second, what stands in the rules by the folder.
    where = name.partition("/")[0].removesuffix(".yaml") if words in {"stands twice", "revision"} else name
    assert where in str(error.value)


def test_terms_may_leave_limits_and_patterns_out(tmp_path: Path) -> None:
    def bare(text: str) -> str:
        for member in ("quota", "budget", "case", "operator", "hours", "networks", "fold", "human_review"):
            text = without(member)(text)
        return text

    found = load(tmp_path, TERMS, bare).agreements.all["hz-hrss-employment-status-unemployment-benefit"]
    assert (found.quota, found.budget_bits, found.case, found.operator) == (None, None, None, None)
    assert found.case_agreed("anything")
    assert found.operator_agreed("anyone")
    assert not found.case_agreed("")
    assert Fold() in found.obligations, "least is the default"


TWICE = {
    "agreement": (TERMS, "hz-hrss-employment-status-unemployment-benefit"),
    "standing terms for named departments": (STATUTORY, "hz-police-household-registration-statutory"),
    "standing terms for all": (OPEN, "hz-police-person-basic-standing-terms"),
}


@pytest.mark.parametrize(("name", "identifier"), TWICE.values(), ids=TWICE.keys())
def test_two_active_terms_of_one_party_service_and_purpose_are_refused(
    tmp_path: Path, name: str, identifier: str
) -> None:
    """At most one applies, or nobody could say which digest a record must name."""
    shutil.copytree(NODE_DIR, tmp_path / "node")
    text = (NODE_DIR / name).read_text("utf-8").replace(identifier, f"{identifier}-2")
    copy = tmp_path / "node" / "agreements" / f"{identifier}-2.yaml"
    copy.write_text(text, "utf-8")
    with pytest.raises(NodeFileInvalid, match="is already active for the purpose"):
        node_directory.load(tmp_path / "node")
    for state in ("suspended", "superseded", "approved", "expired", "revoked"):
        copy.write_text(text.replace("state: active", f"state: {state}"), "utf-8")
        assert f"{identifier}-2" in node_directory.load(tmp_path / "node").agreements.all


def test_agreement_that_stands_twice_is_refused(tmp_path: Path) -> None:
    shutil.copytree(NODE_DIR, tmp_path / "node")
    shutil.copy(NODE_DIR / TERMS, tmp_path / "node" / "agreements" / "again.yaml")
    with pytest.raises(NodeFileInvalid, match="stands twice"):
        node_directory.load(tmp_path / "node")


def test_own_rules_may_narrow_and_never_permit(tmp_path: Path) -> None:
    shutil.copytree(NODE_DIR, tmp_path / "node")
    rules = tmp_path / "node" / "rules"
    rules.mkdir()
    narrowing = (
        '@id("no-sundays")\n@basis("四川 第二十三条")\n@reason("Not on Sundays.")\n@reason_zh("周日不予核验。")\n'
        "forbid (principal, action, resource) when { context.weekday == 7 };\n"
    )
    (rules / "own.cedar").write_text(narrowing, "utf-8")
    loaded = node_directory.load(tmp_path / "node")
    assert "no-sundays" in {rule.id for rule in loaded.rules.rules}
    assert loaded.rules.digest != example_directory().rules.digest
    for wrong in (narrowing.replace("forbid", "permit"), "nonsense", narrowing.replace("weekday", "weather")):
        (rules / "own.cedar").write_text(wrong, "utf-8")
        with pytest.raises(NodeFileInvalid, match=r"own\.cedar"):
            node_directory.load(tmp_path / "node")


def test_digest_of_an_agreement_is_that_of_its_canonical_form(tmp_path: Path) -> None:
    """Comments, order and spelling of the YAML do not matter; a single value does."""
    agreements = example_directory().agreements.all
    found = agreements["hz-hrss-employment-status-unemployment-benefit"]
    assert found.terms.digest == "sha256-" + hashlib.sha256(canonical(found.document)).hexdigest()
    same = load(tmp_path, TERMS, lambda text: "# one more comment\n" + text).agreements.all
    assert same[found.terms.id].terms.digest == found.terms.digest
    shutil.rmtree(tmp_path / "node")
    other = load(tmp_path, TERMS, swap("{bits: ", "{bits: 1")).agreements.all
    assert other[found.terms.id].terms.digest != found.terms.digest
    assert len({item.terms.digest for item in agreements.values()}) == len(agreements)


BENEFIT = "unemployment-benefit"
APPLYING = [
    ("hz-hrss-benefits", "death-registration", BENEFIT, "hz-hrss-death-registration-unemployment-benefit"),
    ("hz-hrss-review", "employment-status", "benefit-review", "hz-hrss-employment-status-benefit-review"),
    ("hz-hrss-review", "employment-status", "no-such-purpose", "hz-hrss-employment-status-benefit-review"),
    ("hz-hrss-benefits", "employment-status", "no-such-purpose", "hz-hrss-employment-status-unemployment-benefit"),
    ("hz-hrss-steward", "household-registration", "social-insurance", "hz-police-household-registration-statutory"),
    ("hz-tax-levy", "property-contract", "revenue-forecast", "hz-tax-property-contract-forecast-2025"),
    ("hz-tax-levy", "property-contract", "no-such-purpose", "hz-tax-property-contract-property-tax"),
    ("hz-outsider", "person-basic", "one-stop-approval", "hz-police-person-basic-standing-terms"),
    ("hz-outsider", "employment-status", BENEFIT, None),
    ("hz-civil-dibao", "adoption-registration", "low-income-household", None),
]  # fmt: skip


@pytest.mark.parametrize(("client", "service", "purpose", "expected"), APPLYING)
def test_the_terms_that_apply_are_the_nearest(client: str, service: str, purpose: str, expected: str | None) -> None:
    directory = example_directory()
    found = directory.agreements.applying(directory.departments.clients[client], service, purpose)
    assert (found.terms.id if found else None) == expected


def test_source_attribute_is_the_same_over_the_services_of_a_source() -> None:
    services = example_directory().catalogue.services
    name = services["employment-status"].source_attribute("employed_on")
    assert name == "hz-tax/wage_declarations.start_date+end_date"
    assert services["employment-status"].source_attribute("employer") == "hz-tax/wage_declarations.employer_name"
    assert services["death-registration"].source_attribute("deceased") == "hz-civil/death_records.*"
    assert services["person-basic"].source_attribute("") == "hz-police/person-basic"
    assert services["adoption-registration"].source_attribute("x") == "hz-civil/adoption-registration"
