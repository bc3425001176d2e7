"""House rules about problem slugs: what is raised is in the table, what is in the table is raised and tested."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

from app.api.problems import _BY_STATUS, PROBLEMS

ROOT = Path(__file__).parents[2]
# Where an HTTP error of Flask's becomes a refusal: the slug comes from a table.
MAPS_STATUS = ROOT / "app" / "api" / "problems.py"


def refusals() -> Iterator[tuple[Path, ast.Call]]:
    """Every place of the application that makes a refusal."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        for found in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(found, ast.ClassDef) and any(ast.unparse(base) == "Refusal" for base in found.bases):
                yield from ((path, call) for call in ast.walk(found) if _is_call(call, "super().__init__"))
            elif _is_call(found, "Refusal"):
                yield path, found


def _is_call(found: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(found, ast.Call) and ast.unparse(found.func) == name


def raised() -> set[str]:
    """Every slug that stands literally in a refusal."""
    return {
        first.value
        for _, call in refusals()
        if isinstance(first := call.args[0], ast.Constant) and isinstance(first.value, str)
    }


def test_every_slug_raised_is_in_the_table_and_the_other_way_round() -> None:
    assert raised() | set(_BY_STATUS.values()) == PROBLEMS.keys()


def test_slugs_stand_literally_where_they_are_raised() -> None:
    computed = {path for path, call in refusals() if not isinstance(call.args[0], ast.Constant)}
    assert computed <= {MAPS_STATUS}


@pytest.mark.parametrize("slug", PROBLEMS)
def test_slug_is_kebab_case_with_a_title_and_an_error_status(slug: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", slug)
    assert 400 <= PROBLEMS[slug].status < 600
    assert re.fullmatch(r"[A-Z][A-Za-z -]+", PROBLEMS[slug].title)


def test_titles_are_unique() -> None:
    assert len({problem.title for problem in PROBLEMS.values()}) == len(PROBLEMS)


@pytest.mark.parametrize("slug", PROBLEMS)
def test_every_problem_is_met_by_a_test_over_http(slug: str) -> None:
    """A threat without a test is not handled."""
    assert any(f'"{slug}"' in path.read_text("utf-8") for path in (ROOT / "tests" / "http").glob("test_*.py"))


def test_texts_of_refusals_quote_no_value_of_a_request() -> None:
    """INVARIANT of app.refusals: a detail holds our words, and at most names and figures that are the node's own."""
    own = {"MAX_DEPTH", "limit", "account", "account.limit", "len", "self", "self._found", "scope", "reason"}
    own |= {"LAPSES", "LAPSES.days", "known"}  # a client of the register
    for path, call in refusals():
        detail = call.args[1]
        for part in ast.walk(detail):
            if isinstance(part, ast.FormattedValue):
                names = {
                    ast.unparse(name) for name in ast.walk(part.value) if isinstance(name, ast.Name | ast.Attribute)
                }
                assert names <= own, f"{path.name}: {ast.unparse(detail)}"
