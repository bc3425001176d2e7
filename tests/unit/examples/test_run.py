from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from client.http import NodeClient, Reply
from client.verify import Finding, Outcome
from evidence.receipt import Receipt
from examples.demo import run
from examples.demo.asking import Answered, Question, ask_all, cross_check_questions, persona_questions
from examples.demo.checking import in_log, split
from examples.demo.display import Figure, answers_table, figures_table, phase
from examples.demo.life import STAGES, Stage
from examples.demo.world import Scale

SMALL = Scale(people=2_000, enterprises=150, claimants=200, hits=8, confirmable=4)


class FakeNode:
    """Answers every question with the same result and remembers what it was asked."""

    def __init__(self, body: dict[str, Any], status: int = 200) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._body, self._status = body, status

    def ask(self, service: str, question: dict[str, Any], _key: str | None = None) -> Reply:
        self.asked.append((service, question))
        return Reply(self._status, self._body | {"echo": question["case"]}, {})


def asked_of(fake: FakeNode, questions: list[Question]) -> list[Answered]:
    return ask_all({"hz-hrss-benefits": cast("NodeClient", fake)}, questions, lambda: None)


def question(case: str, expect: str = "match", service: str = "employment-status") -> Question:
    return Question("hz-hrss-benefits", service, {"case": case}, expect)


def printed(*renderables: object) -> str:
    console = Console(file=io.StringIO(), width=120)
    for renderable in renderables:
        console.print(renderable)
    return cast("io.StringIO", console.file).getvalue()


def receipt(index: int, identifier: str) -> Receipt:
    return Receipt(kid="k", issuer="i", issued_at=0, record={"id": identifier}, origin="o", index=index, openings={})


def finding(outcome: Outcome, found: Receipt | None) -> Finding:
    return Finding("", outcome, "", found)


def test_no_questions_are_no_answers() -> None:
    assert asked_of(FakeNode({}), []) == []


def test_answers_stand_in_the_order_of_the_questions() -> None:
    fake = FakeNode({"result": "match", "receipt": "a.b.c"})
    questions = [question(f"case-{number}") for number in range(100)]
    answers = asked_of(fake, questions)
    assert [answer.question for answer in answers] == questions
    assert [answer.evidence and answer.evidence.reply["echo"] for answer in answers] == [
        f"case-{number}" for number in range(100)
    ]
    assert all(answer.as_expected for answer in answers)


@pytest.mark.parametrize(
    ("body", "status", "outcome"),
    [
        ({"result": "no_match", "receipt": "a.b.c"}, 200, "no_match"),
        ({"type": "not-permitted", "receipt": "a.b.c"}, 403, "not-permitted"),
        ({"type": "https://node.example/problems/not-permitted", "receipt": "a.b.c"}, 403, "not-permitted"),
        ({}, 500, "500"),
    ],
)
def test_outcome_is_the_result_or_the_slug(body: dict[str, Any], status: int, outcome: str) -> None:
    (answer,) = asked_of(FakeNode(body, status), [question("case-1")])
    assert answer.outcome == outcome
    assert not answer.as_expected
    assert (answer.evidence is None) == ("receipt" not in body)


def test_persona_questions_carry_the_members_of_a_question_only(small: Path) -> None:
    questions = persona_questions(small)
    members = {"purpose", "case", "operator", "subject", "confirm", "declared"}
    assert all(set(one.body) == members for one in questions)
    assert {one.expect for one in questions} == {"match", "no_match", "not_found", "not-permitted"}


def test_cross_check_asks_about_every_claimant_once(small: Path) -> None:
    questions = cross_check_questions(small)
    assert len({one.body["subject"]["id_number"] for one in questions}) == len(questions) == 200
    assert {(one.service, one.body["purpose"]) for one in questions} == {
        ("employment-status", "unemployment-benefit")
    }
    assert [one.expect for one in questions].count("match") == 8


def test_receipt_counts_only_at_its_own_place_in_the_log() -> None:
    first, second = receipt(0, "a"), receipt(1, "b")
    both = [finding(Outcome.COMPLETE, first), finding(Outcome.COMPLETE, second)]
    assert in_log(both, {0: first.leaf_hash, 1: second.leaf_hash}) == 2
    assert in_log(both, {0: second.leaf_hash, 1: second.leaf_hash}) == 1
    assert in_log(both, {1: first.leaf_hash}) == 0
    assert in_log([finding(Outcome.COMPLETE, None)], {}) == 0


def test_receipt_without_proof_holds_and_a_forged_one_does_not() -> None:
    findings = [finding(outcome, None) for outcome in Outcome]
    held, failed = split(findings)
    assert {one.outcome for one in held} == {Outcome.COMPLETE, Outcome.WITHOUT_PROOF}
    assert [one.outcome for one in failed] == [Outcome.NOT_VERIFIED]


def test_table_counts_refusals_apart_from_failures() -> None:
    answers = [
        Answered(question("1"), 200, "match", None),
        Answered(question("2"), 200, "not_found", None),
        Answered(question("3"), 403, "not-permitted", None),
        Answered(question("4"), 503, "source-unavailable", None),
        Answered(question("5", service="wage-base"), 200, "no_match", None),
    ]
    rows = [line.split() for line in printed(answers_table(answers)).splitlines()]
    assert ["employment-status", "4", "1", "0", "1", "1", "1"] in rows
    assert ["wage-base", "1", "0", "1", "0", "0", "0"] in rows


def test_figure_off_by_one_is_shown_as_off() -> None:
    assert Figure.equal("hits", 64, 64).held
    assert not Figure.equal("hits", 63, 64).held
    text = printed(figures_table([Figure.equal("hits", 64, 64), Figure.equal("receipts", 10_999, 11_000)]))
    assert "hits 64 64 held" in " ".join(text.split())
    assert "receipts 10,999 11,000 OFF" in " ".join(text.split())


def test_phase_away_from_a_terminal_is_one_line() -> None:
    console = Console(file=io.StringIO())
    with phase(console, "counting", 3) as tick:
        for _ in range(3):
            tick()
    lines = cast("io.StringIO", console.file).getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("counting: ")


def test_phase_on_a_terminal_shows_what_is_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with phase(console, "counting", 3) as tick:
        for _ in range(3):
            tick()
    assert "3/3" in cast("io.StringIO", console.file).getvalue()


def judged(small: Path, outcomes: dict[int, str]) -> run._Course:
    """Judge a cross-check in which the answers at these lines are not what was expected."""
    course = run._Course()
    course.claims = [
        Answered(one, 200, outcomes.get(line, one.expect), None)
        for line, one in enumerate(cross_check_questions(small), start=1)
    ]
    course.life = [Stage(name, "as it must", "as it must") for name in STAGES]
    run._judge(course, small, SMALL)
    return course


def test_true_answers_hold_every_figure(small: Path) -> None:
    course = judged(small, {})
    assert all(figure.held for figure in course.figures)
    assert course.faults == []


def test_hit_answered_in_the_wrong_place_is_off_though_the_counts_agree(small: Path) -> None:
    expected = json.loads((small / "expected.json").read_text())
    confirmable = json.loads((small / "confirmable.json").read_text())
    hit = confirmable[0]
    other = next(int(line) for line, result in expected.items() if result == "no_match")
    course = judged(small, {hit: "no_match", other: "match"})
    held = {figure.name: figure.held for figure in course.figures}
    assert held["hits (match)"]
    assert not held["claimants answered as expected"]
    assert not held["hits marked confirmable"]
    assert len(course.faults) == 2


def test_missing_answers_are_off(small: Path) -> None:
    course = judged(small, {})
    course.figures.clear()
    course.claims = course.claims[:-1]
    run._judge(course, small, SMALL)
    assert not {figure.name: figure.held for figure in course.figures}["claimants asked about"]


def test_stage_that_ended_otherwise_is_off_and_told(small: Path) -> None:
    course = run._Course()
    course.life = [Stage(STAGES[0], "match", "not-permitted")]
    run._judge(course, small, SMALL)
    assert "denied without an agreement: match instead of not-permitted" in course.faults
    assert not all(figure.held for figure in course.figures)
