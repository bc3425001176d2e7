"""House rules about the documents: every link, name, file, test, command and block of code in them holds."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from app.__main__ import cli as app_commands
from client.__main__ import main as client_commands
from tests.house.pages import CODE, FENCE, LINK, PAGES, ROOT, every_page, fences, prose, read, tables

STANDARDS = ("https://www.rfc-editor.org/", "https://c2sp.org/", "https://www.w3.org/")


@every_page
def test_link_leads_to_a_file_here_or_a_public_standard(page: Path) -> None:
    for target in LINK.findall(prose(page.read_text("utf-8"))):
        if "://" in target:
            assert target.startswith(STANDARDS), target
        else:
            assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text("utf-8"))
        if "://" not in target
    }
    assert {page for page in PAGES if page.resolve() not in linked} == set()


@every_page
def test_dotted_name_can_be_imported(page: Path) -> None:
    for name in CODE.findall(prose(page.read_text("utf-8"))):
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
    for name in CODE.findall(prose(page.read_text("utf-8"))):
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
    yield from CODE.findall(prose(text))


def unknown(command: click.Command, words: list[str]) -> Iterator[str]:
    """The words that are no option or sub-command of a click command."""
    remaining = iter(words)
    for word in remaining:
        if word.startswith("--"):
            option = next((one for one in command.params if word in one.opts), None)
            if option is None:
                yield word
            elif isinstance(option, click.Option) and isinstance(command, click.Group) and not option.is_flag:
                next(remaining, None)  # its value, and no sub-command
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
    assert FENCE.findall(english) == FENCE.findall(chinese)
    shapes = [[[len(row) for row in rows] for rows in tables(text)] for text in (english, chinese)]
    assert shapes[0] == shapes[1]
    links = [sorted(LINK.findall(prose(text))) for text in (english, chinese)]
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
