"""The node directory as a whole: one wrong word in any file refuses to start, with file and reason."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.registry import files, node_directory
from app.registry.agreements import Agreement, Agreements
from app.registry.files import NodeFileInvalid
from app.registry.node_directory import MAX_FILE, NodeDirectory, read_files
from evidence.canonical import canonical
from evidence.jwk import thumbprint, to_jwk
from examples.demo.departments import NODE_DIR
from policies.obligations import Fold
from tests.nodes.routes import example_directory

SERVICE = "services/employment-status.yaml"
TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
STATUTORY = "agreements/hz-police-household-registration-statutory.yaml"
DEATHS = "agreements/hz-hrss-death-registration-unemployment-benefit.yaml"
WITHHELD_TERMS = "agreements/hz-civil-adoption.yaml"
WITHHELD_AGREEMENT = """
agreement: hz-civil-adoption
kind: agreement
service: adoption-registration
provider: hz-civil
consumer: hz-hrss
purposes: [unemployment-benefit]
legal_basis: "四川 第二十二条"
budget: {bits: 40}
valid: {from: "2026-01-01T00:00:00+08:00", until: "2031-01-01T00:00:00+08:00"}
"""
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


def loaded(name: str, rewrite: Rewrite) -> NodeDirectory:
    """The example directory with one file rewritten, its agreements checked too."""
    files = read_files(NODE_DIR)
    changed = rewrite(files.get(name, b"").decode()).encode()
    assert changed != files.get(name)
    directory = node_directory.load({**files, name: changed})
    directory.filed()
    return directory


def one(directory: NodeDirectory, identifier: str) -> Agreement:
    found = directory.agreements_if_active().find(identifier)
    assert found is not None
    return found


KEY = to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
JWK = f'{{kty: EC, crv: P-256, x: "{KEY["x"]}", y: "{KEY["y"]}"}}'

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
    (DEPARTMENT, plus("signing_keys: [x]"), "signing_keys must be a list of maps"),
    (DEPARTMENT, plus("signing_keys: [{kty: EC, crv: P-256, x: AAAA}]"), "a signing key is a public JWK"),
    (DEPARTMENT, plus(f"signing_keys: [{JWK}, {JWK}]"), "stands twice"),
    (DEPARTMENT, plus(f"signing_keys: [{JWK[:-1]}, d: AAAA}}]"), "a signing key is a public JWK"),
    (DEPARTMENT, plus(f"signing_keys: [{JWK[:-1]}, use: enc}}]"), "a public P-256 key for ES256"),
    (DEPARTMENT, plus(f"signing_keys: [{JWK[:-1]}, kid: mine}}]"), "kid must be the key's thumbprint"),
    (DEPARTMENT, plus("signing_keys: [{kty: EC, crv: P-256, x: AAAA, y: AAAA}]"), "a public P-256 key for ES256"),
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
    (TERMS, plus("state: active"), "state is no part of an agreement: it is kept in the node's database"),
    (TERMS, swap("per: month", "per: week"), "per must be one of"),
    (TERMS, swap("{count: 1000000", "{count: many"), "count has the wrong type"),
    (TERMS, swap("budget: {", "budget: {per: day, "), "unknown member per"),
    (TERMS, lambda text: re.sub(r"budget: {.*}", "budget: {}", text), "bits is missing"),
    (TERMS, without("budget"), "budget is needed: without one, answers about a person may add up without end"),
    (STATUTORY, without("budget"), "budget is needed"),
    (TERMS, swap("bits: 240", "bits: 0"), "bits must be from 1"),
    (TERMS, swap("bits: 240", "bits: 240, renews: month"), "renews must be one of year"),
    (TERMS, swap("{count: 1000000", "{count: 0"), "count must be from 1"),
    (TERMS, swap("{rows: 20000}", "{rows: 0}"), "rows must be from 1 to 1,000,000"),
    (TERMS, swap("{rows: 20000}", "{rows: 1000001}"), "rows must be from 1 to 1,000,000"),
    (TERMS, swap("{rows: 20000}", "{rows: 1, chunks: 2}"), "unknown member chunks"),
    (TERMS, swap("失业保险条例 第十五条", " "), "legal_basis is empty"),
    (TERMS, without("legal_basis"), "legal_basis is empty"),
    (TERMS, swap("purposes: [unemployment-benefit]", "purposes: []"), "purposes must be one or more"),
    (TERMS, swap("purposes: [unemployment-benefit]", "purposes: [Any Purpose]"), "purposes must be one or more"),
    (TERMS, swap("agreement: hz-hrss-e", "agreement: HZ-hrss-e"), "agreement must be lower-case letters"),
    (TERMS, swap("agreement: hz-hrss-e", "agreement: ../hz-hrss-e"), "agreement must be lower-case letters"),
    (TERMS, plus("supersedes: hz-hrss-employment-status-unemployment-benefit"), "the id of another agreement"),
    (TERMS, plus("supersedes: ../x"), "the id of another agreement"),
    (TERMS, swap("[hz-hrss-benefits]", "[hz-tax-levy]"), "clients of none of its departments: hz-tax-levy"),
    (TERMS, swap('case: "^[A-Za-z0-9]', 'case: "^(A+)+[A-Za-z0-9]'), "case could take too long to match"),
    (TERMS, swap('case: "^[A-Za-z0-9]', 'case: "^(A)\\\\1[A-Za-z0-9]'), "case could take too long to match"),
    (TERMS, swap('operator: "^[A-Za-z0-9]', 'operator: "^A*A*A*A*[A-Za-z0-9]'), "operator could take too long"),
    (DEATHS, swap("level: overall", "level: per_attribute"), "beyond what is published for death-registration"),
    (WITHHELD_TERMS, lambda _: WITHHELD_AGREEMENT, "adoption-registration is withheld: nobody can agree to share it"),
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
def test_wrong_word_is_refused_with_file_and_reason(name: str, rewrite: Rewrite, words: str) -> None:
    with pytest.raises(NodeFileInvalid, match=re.escape(words)) as error:
        loaded(name, rewrite)
    # What stands in two files is named by the second, what stands in the rules by the folder.
    where = name.partition("/")[0].removesuffix(".yaml") if words in {"stands twice", "revision"} else name
    assert where in str(error.value) or words == "revision"


def test_terms_may_leave_limits_and_patterns_out() -> None:
    def bare(text: str) -> str:
        for member in ("quota", "case", "operator", "hours", "networks", "fold", "human_review", "batch"):
            text = without(member)(text)
        return text

    found = one(loaded(TERMS, bare), "hz-hrss-employment-status-unemployment-benefit")
    assert (found.quota, found.case, found.operator) == (None, None, None)
    assert found.case_agreed("anything")
    assert found.operator_agreed("anyone")
    assert not found.case_agreed("")
    assert Fold() in found.obligations, "least is the default"
    assert (found.terms.level, found.terms.batch_rows) == ("overall", 0)


def test_terms_that_the_law_orders_open_a_withheld_service() -> None:
    statutory = WITHHELD_AGREEMENT.replace("kind: agreement", "kind: standing-terms\nstatutory: true")
    statutory = statutory.replace("consumer: hz-hrss", "departments: [hz-hrss]")
    directory = loaded(WITHHELD_TERMS, lambda _: statutory)
    assert one(directory, "hz-civil-adoption").terms.statutory


TWICE = {
    "agreement": (TERMS, "hz-hrss-employment-status-unemployment-benefit"),
    "standing terms for named departments": (STATUTORY, "hz-police-household-registration-statutory"),
    "standing terms for all": (OPEN, "hz-police-person-basic-standing-terms"),
}


@pytest.mark.parametrize(("name", "identifier"), TWICE.values(), ids=TWICE.keys())
def test_two_terms_of_one_party_service_and_purpose_at_one_time_are_refused(name: str, identifier: str) -> None:
    """At most one applies, or nobody could say which digest a record must name."""
    text = (NODE_DIR / name).read_text("utf-8").replace(identifier, f"{identifier}-2")
    copy = f"agreements/{identifier}-2.yaml"
    with pytest.raises(NodeFileInvalid, match=f"{identifier}(-2)? is already agreed for the purpose"):
        loaded(copy, lambda _: text)
    succeeding = text + f"supersedes: {identifier}\n"
    later = text.replace("2031-01-01", "2036-01-01").replace("2026-01-01", "2031-01-01")
    for fitting in (succeeding, later):
        assert f"{identifier}-2" in {item.draft.id for item in loaded(copy, plus(fitting)).filed()}


def test_agreement_that_stands_twice_is_refused() -> None:
    with pytest.raises(NodeFileInvalid, match=r"again\.yaml: .* stands twice, also in agreements/hz-hrss"):
        loaded("agreements/zz-again.yaml", lambda _: (NODE_DIR / TERMS).read_text("utf-8"))


def test_own_rules_may_narrow_and_never_permit() -> None:
    narrowing = (
        '@id("no-sundays")\n@basis("四川 第二十三条")\n@reason("Not on Sundays.")\n@reason_zh("周日不予核验。")\n'
        "forbid (principal, action, resource) when { context.weekday == 7 };\n"
    )
    directory = loaded("rules/own.cedar", lambda _: narrowing)
    assert "no-sundays" in {rule.id for rule in directory.rules.rules}
    assert directory.rules.digest != example_directory().rules.digest
    for wrong in (narrowing.replace("forbid", "permit"), "nonsense", narrowing.replace("weekday", "weather")):
        with pytest.raises(NodeFileInvalid, match=r"own\.cedar"):
            loaded("rules/own.cedar", plus(wrong))


def test_rules_of_a_department_that_is_none_are_refused() -> None:
    narrowing = (
        '@id("never")\n@basis("四川 第二十三条")\n@reason("Never.")\n@reason_zh("不予核验。")\n'
        "forbid (principal, action, resource);\n"
    )
    assert "never" in {rule.id for rule in loaded("rules/hz-tax/own.cedar", plus(narrowing)).rules.rules}
    with pytest.raises(NodeFileInvalid, match=r"rules/hz-taxes/own\.cedar: hz-taxes is no registered department"):
        loaded("rules/hz-taxes/own.cedar", plus(narrowing))


def test_digest_of_an_agreement_is_that_of_its_canonical_form() -> None:
    """Comments, order and spelling of the YAML do not matter; a single value does."""
    found = {item.name: item.draft for item in example_directory().filed()}
    draft = found[TERMS]
    assert draft.digest == "sha256-" + hashlib.sha256(draft.document).hexdigest()
    assert draft.document == canonical(files.parse("f", (NODE_DIR / TERMS).read_bytes()).document)

    def digest(rewrite: Rewrite) -> str:
        return next(item.draft.digest for item in loaded(TERMS, rewrite).filed() if item.name == TERMS)

    assert digest(lambda text: "# one more comment\n" + text) == draft.digest
    assert digest(lambda _: draft.document.decode()) == draft.digest, "the canonical form is a file too"
    assert digest(swap("{bits: ", "{bits: 1")) != draft.digest
    assert len({item.digest for item in found.values()}) == len(found)


def test_draft_says_what_the_registry_keeps_beside_the_document() -> None:
    drafts = {item.name: item.draft for item in example_directory().filed()}
    agreement, statutory, anyone = drafts[TERMS], drafts[STATUTORY], drafts[OPEN]
    assert (agreement.parties, agreement.signers, agreement.consumer) == (
        ("hz-hrss",),
        ("hz-tax", "hz-hrss"),
        "hz-hrss",
    )
    assert (statutory.parties, statutory.signers, statutory.consumer) == (("hz-hrss",), ("hz-police",), None)
    assert (anyone.parties, anyone.signers, anyone.kind) == (("",), ("hz-police",), "standing-terms")
    assert agreement.purposes == {"unemployment-benefit"}
    assert agreement.valid_until.isoformat() == "2031-01-01T00:00:00+08:00"


SIGNATURES = TERMS.replace(".yaml", ".signatures.json")
DIGEST = next(item.draft.digest for item in example_directory().filed() if item.name == TERMS)
BESIDE = {
    "no JSON": ("{", "not JSON"),
    "no object": ("[]", "digest is missing"),
    "no signatures": (f'{{"digest": "{DIGEST}"}}', "signatures is missing"),
    "other content": ('{"digest": "sha256-0", "signatures": {}}', "changed since it was signed"),
    "a stranger's": (f'{{"digest": "{DIGEST}", "signatures": {{"hz-civil": "x"}}}}', "hz-tax, hz-hrss"),
    "no text": (f'{{"digest": "{DIGEST}", "signatures": {{"hz-tax": 1}}}}', "signatures are texts"),
    "more members": (f'{{"digest": "{DIGEST}", "signatures": {{}}, "state": "active"}}', "unknown member state"),
}


@pytest.mark.parametrize(("text", "words"), BESIDE.values(), ids=BESIDE.keys())
def test_signature_file_that_does_not_fit_is_refused(text: str, words: str) -> None:
    with pytest.raises(NodeFileInvalid, match=words) as error:
        loaded(SIGNATURES, lambda _: text)
    assert SIGNATURES in str(error.value)


def test_signatures_without_their_agreement_are_refused() -> None:
    with pytest.raises(NodeFileInvalid, match=r"gone\.signatures\.json: there is no agreement beside it"):
        loaded("agreements/gone.signatures.json", lambda _: "{}")


STRANGE = (
    "agreements/x.yaml~",
    "agreements/x.yml",
    "agreements/old/x.yaml",
    "departments/x.yaml.bak",
    "rules/x.cedar.orig",
    "rules/hz-tax/deep/x.cedar",
    "rule/x.cedar",
    "x.yaml",
    "Node.yaml",
    "notes.txt",
)


@pytest.mark.parametrize("name", STRANGE)
def test_file_that_no_reader_knows_is_refused(name: str) -> None:
    """A misspelt rule must not be a rule that silently does not hold."""
    with pytest.raises(NodeFileInvalid, match="is no file of a node directory"):
        loaded(name, lambda _: "a: 1")


def test_directory_without_its_first_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeFileInvalid, match=r"node\.yaml is missing"):
        node_directory.load({})
    with pytest.raises(NodeFileInvalid, match="No such file"):
        node_directory.load(tmp_path / "absent")


def test_file_in_another_encoding_is_refused() -> None:
    with pytest.raises(NodeFileInvalid, match=r"README\.md: not UTF-8"):
        node_directory.load({**read_files(NODE_DIR), "README.md": b"\xff"})


def test_files_are_read_by_path_and_hidden_ones_are_no_part(tmp_path: Path) -> None:
    shutil.copytree(NODE_DIR, tmp_path / "node")
    (tmp_path / "node" / ".git").mkdir()
    (tmp_path / "node" / ".git" / "config").write_text("x")
    (tmp_path / "node" / "agreements" / ".x.yaml.swp").write_text("x")
    assert read_files(tmp_path / "node") == read_files(NODE_DIR)
    assert read_files(NODE_DIR)[TERMS] == (NODE_DIR / TERMS).read_bytes()


def test_link_inside_the_directory_is_followed_and_one_that_leads_out_refused(tmp_path: Path) -> None:
    """Mounted secrets and config maps are links to a hidden folder of the same directory."""
    node = tmp_path / "node"
    shutil.copytree(NODE_DIR, node / "..data")
    for entry in (node / "..data").iterdir():
        (node / entry.name).symlink_to(entry.relative_to(node))
    assert read_files(node) == read_files(NODE_DIR)
    (tmp_path / "secret").write_text("x")
    (node / "secret.md").symlink_to(tmp_path / "secret")
    with pytest.raises(NodeFileInvalid, match=r"secret\.md: a link that leads out"):
        read_files(node)


def test_folder_link_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(NodeFileInvalid, match="a folder too deep"):
        read_files(tmp_path)


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "node.yaml")
    with pytest.raises(NodeFileInvalid, match=r"node\.yaml: not a plain file"):
        read_files(tmp_path)


def test_more_than_any_node_needs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("text")
    monkeypatch.setattr(node_directory, "MAX_FILES", 2)
    assert len(read_files(tmp_path)) == 2
    monkeypatch.setattr(node_directory, "MAX_TOTAL", 7)
    with pytest.raises(NodeFileInvalid, match="more than 2 files or 7 bytes"):
        read_files(tmp_path)


@pytest.mark.parametrize("name", ["a b.yaml", "x.yaml~", "协议.yaml", "-x.yaml", "a\nb"])
def test_name_that_could_be_mistaken_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a: 1")
    with pytest.raises(NodeFileInvalid, match="a name has letters, digits"):
        read_files(tmp_path)


def test_file_larger_than_any_agreement_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_bytes(b"#" * MAX_FILE)
    assert len(read_files(tmp_path)["node.yaml"]) == MAX_FILE
    (tmp_path / "node.yaml").write_bytes(b"#" * (MAX_FILE + 1))
    with pytest.raises(NodeFileInvalid, match=r"node\.yaml: larger than 1,048,576 bytes"):
        read_files(tmp_path)


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
    held = [item.held("expired" if "forecast" in item.name else "active") for item in directory.filed()]
    agreements = Agreements.of(held, directory.catalogue, directory.departments)
    found = agreements.applying(directory.departments.clients[client], service, purpose)
    assert (found.terms.id if found else None) == expected


def test_signing_keys_are_known_by_their_thumbprint_and_belong_to_one_department() -> None:
    made = loaded(DEPARTMENT, plus(f"signing_keys: [{JWK}]"))
    (key,) = made.departments.all["hz-hrss"].signing_keys.values()
    assert made.departments.all["hz-hrss"].signing_keys == {KEY["kid"]: key}
    assert thumbprint(key) == KEY["kid"]
    both = dict(made.files)
    both["departments/hz-tax.yaml"] += f"signing_keys: [{JWK}]\n".encode()
    with pytest.raises(NodeFileInvalid, match=r"hz-tax\.yaml: signing key .* is that of hz-hrss too"):
        node_directory.load(both)
