"""docs/agreements.md says what the code does: rights, steps of disputes, clocks and examples are its own."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
import yaml

from app.api.applications import APPLICATION
from app.life_cycle.desk import RIGHTS
from app.registry.deadlines import CLOCKS, Clock, read_calendar
from app.registry.disputes import MOVES
from app.registry.files import parse
from tests.house.pages import ROOT, fences, read, table
from tests.nodes.routes import routes

PAGE = "docs/agreements.md"
TESTS = (
    ("http", "test_applications.py"),
    ("http", "test_application_decisions.py"),
    ("http", "test_agreements.py"),
    ("http", "test_agreement_endings.py"),
    ("http", "test_disputes.py"),
    ("unit/app", "test_life_cycle.py"),
)
PREFIXES = ("/v1/applications", "/v1/agreements", "/v1/standing-terms", "/v1/disputes", "/v1/deadlines")


def listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))


def limit(clock: Clock) -> str:
    return f"{clock.working_days} working days" if clock.yearly is None else "by 31 January"


def test_page_lists_every_clock_with_its_limit_and_articles() -> None:
    expected = [[f"`{name}`", limit(clock), "; ".join(clock.basis)] for name, clock in CLOCKS.items()]
    assert table(read(PAGE), "clock") == expected
    assert CLOCKS["usage-report"].yearly == (1, 31)


def test_page_lists_every_right_with_its_articles() -> None:
    expected = [[f"`{name}`", "; ".join(basis)] for name, (basis, _, _) in RIGHTS.items()]
    assert table(read(PAGE), "rule") == expected


def test_page_lists_every_step_of_a_dispute() -> None:
    expected = [[f"`{name}`", listed(move.by), listed(move.states), move.leads_to] for name, move in MOVES.items()]
    assert table(read(PAGE), "step") == expected


def test_page_names_every_route_of_the_life_cycle() -> None:
    rules = {
        f"`{route.method} {route.rule.replace('<identifier>', '{id}')}`"
        for route in routes()
        if route.rule.startswith(PREFIXES)
    }
    written = {name.strip() for row in table(read(PAGE), "request") for name in row[0].split(", ")}
    assert written == rules


def test_example_on_the_page_is_the_one_that_is_documented_and_run() -> None:
    (example,) = fences(read(PAGE), "json")
    assert json.loads(example) == APPLICATION


def test_calendar_on_the_page_is_read() -> None:
    (example,) = fences(read(PAGE), "yaml")
    year = yaml.safe_load(example)["year"]
    calendar = read_calendar([parse(f"calendar/{year}.yaml", example.encode())])
    assert calendar is not None


@pytest.mark.parametrize("name", sorted(RIGHTS))
def test_right_is_told_in_both_languages_and_met_by_a_test(name: str) -> None:
    basis, en, zh = RIGHTS[name]
    assert basis
    tests = (ROOT / "tests" / folder / file for folder, file in TESTS)
    assert any(f'"{name}"' in path.read_text("utf-8") for path in tests)
    assert en.endswith(".")
    assert zh.endswith("。")
