"""House rules about the documents: what they name exists, and what exists and must be known is named."""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Iterator
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from adapters.base import Code, Question
from adapters.compare import COMPARATORS
from adapters.mask import MASKS, mask
from adapters.sql import SqlAdapter
from app.__main__ import cli as app_commands
from app.api.problems import PROBLEMS
from app.identity import keys
from app.registry import files
from app.registry.catalogue import Catalogue
from app.registry.departments import Departments
from app.settings import SettingInvalid, Settings, names
from client.__main__ import main as client_commands
from client.verify import Outcome
from evidence.record import COMMITTED, MEMBERS
from policies.decision import DEFAULT_DENY, EVALUATION_ERROR, RuleSet
from policies.packaged import packaged_rules, packaged_schema

ROOT = Path(__file__).parents[2]
NODE_DIR = ROOT / "examples" / "hangzhou"
PAGES = [ROOT / name for name in ("README.md", "README.zh-CN.md", "CHANGELOG.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
STANDARDS = ("https://www.rfc-editor.org/", "https://c2sp.org/", "https://www.w3.org/")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def fences(text: str, language: str) -> list[str]:
    return [body for found, body in _FENCE.findall(text) if found == language]


def sections(name: str) -> dict[str, str]:
    """The sections of a page whose heading is one name in backticks, by that name."""
    parts = re.split(r"^## (.+)\n", prose(read(name)), flags=re.MULTILINE)[1:]
    return {
        title.strip("`"): body
        for title, body in zip(parts[::2], parts[1::2], strict=True)
        if re.fullmatch(r"`[^`]+`", title)
    }


def tables(text: str) -> list[list[list[str]]]:
    """Every table's rows of cells, its head first, the line under the head left out."""
    blocks = re.findall(r"(?:^\|.*\|\n?)+", prose(text), flags=re.MULTILINE)
    rows = [[line.strip("|").split(" | ") for line in block.strip().splitlines()] for block in blocks]
    return [[[cell.strip(" |") for cell in row] for row in (head, *rest)] for head, _line, *rest in rows]


def table(text: str, first_head: str) -> list[list[str]]:
    (found,) = (rows[1:] for rows in tables(text) if rows[0][0] == first_head)
    return found


def column(text: str, first_head: str) -> set[str]:
    return {name for row in table(text, first_head) for name in _CODE.findall(row[0])}


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
        assert tuple(_CODE.findall(rows[name][1])) == comparator.roles
        assert set(_CODE.findall(rows[name][2])) == comparator.required | comparator.optional


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
    named = {part for code in _CODE.findall(prose(read("docs/node-directory.md"))) for part in code.split(".")}
    documents = [files.read(path).document for path in NODE_DIR.rglob("*.yaml")]
    assert {name for document in documents for name in members_of(document)} - {"en", "zh"} <= named


@every_page
def test_link_leads_to_a_file_here_or_a_public_standard(page: Path) -> None:
    for target in _LINK.findall(prose(page.read_text("utf-8"))):
        if "://" in target:
            assert target.startswith(STANDARDS), target
        else:
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in _LINK.findall(page.read_text("utf-8"))
        if "://" not in target
    }
    assert {page for page in PAGES if page.resolve() not in linked} == set()


@every_page
def test_dotted_name_can_be_imported(page: Path) -> None:
    for name in _CODE.findall(prose(page.read_text("utf-8"))):
        if re.fullmatch(r"(?:app|adapters|policies|evidence|client)(?:\.\w+)+", name):
            assert importable(name), name


def importable(name: str) -> bool:
    """Whether a dotted name is a module, or attributes of one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            # A frozen slots dataclass has its fields as descriptors, so every part is an attribute.
            found = getattr(found, attribute, None)
        return found is not None
    return False


@pytest.mark.parametrize("name", ["app.nothing", "app.verification.Verification.nothing", "nothing.at.all"])
def test_name_that_is_not_there_cannot_be_imported(name: str) -> None:
    assert not importable(name)


@every_page
def test_file_or_test_named_in_a_page_is_there(page: Path) -> None:
    for name in _CODE.findall(prose(page.read_text("utf-8"))):
        found = re.fullmatch(
            r"((?:app|adapters|policies|evidence|client|tests|examples|docs)/[\w./-]+)(?:::(\w+))?", name
        )
        if found:
            path = ROOT / found[1]
            assert path.exists(), name
            assert found[2] is None or f"def {found[2]}(" in path.read_text("utf-8"), name


@every_page
def test_python_in_a_page_compiles(page: Path) -> None:
    for number, code in enumerate(fences(page.read_text("utf-8"), "python")):
        compile(code, f"{page.name}:{number}", "exec", dont_inherit=True)


def commands(text: str) -> Iterator[str]:
    """Commands of shell blocks, continued lines joined, and those that stand in the text in backticks."""
    for block in fences(text, "sh"):
        yield from re.sub(r"\\\n\s*", " ", block).splitlines()
    yield from _CODE.findall(prose(text))


def unknown(command: click.Command, words: list[str]) -> Iterator[str]:
    """The words that are no option or sub-command of a click command."""
    for word in words:
        if word.startswith("--"):
            if not any(word in parameter.opts for parameter in command.params):
                yield word
        elif isinstance(command, click.Group):
            if word not in command.commands:
                yield word
                return
            command = command.commands[word]


@every_page
def test_command_in_a_page_exists_with_its_options(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    groups = {"app": app_commands, "client": client_commands}
    for command in commands(page.read_text("utf-8")):
        if found := re.match(r"make ([a-z-]+)", command):
            assert found[1] in targets, command
        if found := re.search(r"python -m (app|client) ([^|>;&…]*)", command):
            assert list(unknown(groups[found[1]], shlex.split(found[2]))) == [], command


def test_option_that_is_not_there_is_noticed() -> None:
    assert list(unknown(client_commands, ["verify", "--nothing", "file"])) == ["--nothing"]
    assert list(unknown(app_commands, ["nothing", "--init"])) == ["nothing"]


def test_readmes_are_twins() -> None:
    english, chinese = read("README.md"), read("README.zh-CN.md")
    levels = [
        [len(level) for level in re.findall(r"^(#+) ", prose(text), re.MULTILINE)] for text in (english, chinese)
    ]
    assert levels[0] == levels[1]
    assert _FENCE.findall(english) == _FENCE.findall(chinese)
    shapes = [[[len(row) for row in rows] for rows in tables(text)] for text in (english, chinese)]
    assert shapes[0] == shapes[1]
    links = [sorted(_LINK.findall(prose(text))) for text in (english, chinese)]
    swapped = [target.replace("README.zh-CN.md", "README.md") for target in links[0]]
    assert sorted(swapped) == links[1]
    assert len(re.findall(r"^- ", english, re.MULTILINE)) == len(re.findall(r"^- ", chinese, re.MULTILINE))


def test_architecture_decisions_are_numbered_listed_and_of_one_form() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    index = read("docs/adr/README.md")
    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text("utf-8")
        assert text.startswith(f"# {path.name[:4]} ")
        assert "**Status:**" in text
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
        assert f"({path.name})" in index


def test_changelog_names_the_version_that_is_built() -> None:
    version = re.search(r'^version = "(.+)"$', read("pyproject.toml"), re.MULTILINE)
    assert version
    headings = re.findall(r"^## \[(.+?)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert version[1] in headings
