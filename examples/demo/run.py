"""The whole demonstration once: data, node, questions of every service, the month's cross-check, and the evidence."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from client.asking import with_proof
from client.evidence_file import Evidence, append_evidence
from client.http import NodeClient
from examples.demo import life
from examples.demo.asking import Answered, Question, ask_all, connect, cross_check_questions, persona_questions
from examples.demo.build import build
from examples.demo.checking import JWKS, VKEY, audit_log, check_receipts, in_log, split, trust_of
from examples.demo.departments import client_names
from examples.demo.display import Figure, answers_table, figures_table, phase
from examples.demo.node import Node, running
from examples.demo.world import Scale

AUDITOR = "hz-audit"


@dataclass(slots=True)
class _Course:
    """What has happened so far."""

    personas: Sequence[Answered] = ()
    claims: Sequence[Answered] = ()
    life: Sequence[life.Stage] = ()
    cross_check_s: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def expect(self, name: str, found: int, expected: int) -> None:
        self.figures.append(Figure.equal(name, found, expected))


def run(var: Path, port: int, console: Console, scale: Scale | None = None) -> int:
    """Run the demonstration and print what it found; return 0 if every figure held, else 1.

    Raises `NodeFailed` if the node cannot run, `ClientError` if it stops answering.
    """
    scale = scale or Scale()
    with phase(console, "building certificates and sources"):
        build(var, **asdict(scale))
    course = _Course()
    with ExitStack() as stack:
        with phase(console, "starting the node"):
            node = stack.enter_context(running(var, port))
        clients = connect(var, node.url, client_names())
        for client in clients.values():
            stack.enter_context(client)
        _ask(course, var, clients, console)
        _check(course, var, clients, console)
        node.require_running()
    _judge(course, var, scale)
    _print(course, var, node, console)
    return 0 if all(figure.held for figure in course.figures) else 1


def _ask(course: _Course, var: Path, clients: Mapping[str, NodeClient], console: Console) -> None:
    with phase(console, "one token for each client", len(clients)) as tick:
        granted = 0
        for client in clients.values():
            granted += bool(client.token())
            tick()
    course.expect("clients that got a token", granted, len(client_names()))
    personas = persona_questions(var)
    with phase(console, "single questions of every service", len(personas)) as tick:
        course.personas = ask_all(clients, personas, tick)
    with phase(console, "an agreement's life, from application to revocation", len(life.STAGES)) as tick:
        course.life = life.live(clients, var, tick)
    claims = cross_check_questions(var)
    with phase(console, "the month's unemployment-benefit cross-check", len(claims)) as tick:
        began = time.monotonic()
        course.claims = ask_all(clients, claims, tick)
        course.cross_check_s = time.monotonic() - began


def _check(course: _Course, var: Path, clients: Mapping[str, NodeClient], console: Console) -> None:
    auditor = clients[AUDITOR]
    answers = [*course.personas, *course.claims]
    evidence = [answer.evidence for answer in answers if answer.evidence is not None]
    with phase(console, "keeping receipts and proofs"):
        _keep(var / "run", evidence, course.personas, clients)
    trust = trust_of(auditor)
    with phase(console, "verifying receipts", len(evidence)) as tick:
        findings = check_receipts(evidence, trust, tick)
    with phase(console, "verifying the log") as tick:
        report, leaves = audit_log(auditor, trust, lambda _done, _size: tick())
    held, failed = split(findings)
    course.expect("receipts", len(evidence), len(answers))
    course.expect("receipts verified", len(held), len(answers))
    course.expect("receipts whose record stands in the log", in_log(held, leaves), len(answers))
    entries = Figure(
        "log entries that lead to the signed root",
        f"{len(leaves):,}",
        f"{report.checkpoint.size:,}",
        report.holds and len(leaves) == report.checkpoint.size >= len(answers) + len(clients),
    )
    course.figures.append(entries)
    course.faults += [finding.text for finding in failed]
    course.faults += [report.fault.text] if report.fault else []


def _keep(
    folder: Path, evidence: Sequence[Evidence], personas: Sequence[Answered], clients: Mapping[str, NodeClient]
) -> None:
    """Keep every receipt, the public keys to check them by, and one answer of each kind with its proof."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for name, path in (("jwks.json", JWKS), ("log.vkey", VKEY)):
        (folder / name).write_bytes(clients[AUDITOR].get_bytes(path))
    # Only its owner may read it: evidence holds the questions in clear.
    with os.fdopen(os.open(folder / "receipts.ndjson", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.writelines(one.to_json() for one in evidence)
    kinds = {(a.question.service, a.outcome): a for a in reversed(personas) if a.evidence is not None}
    for (service, outcome), answer in kinds.items():
        if answer.evidence is not None:
            proven = with_proof(clients[answer.question.client], answer.evidence)
            append_evidence(folder / f"{service}.{outcome}.json", proven)


def _judge(course: _Course, var: Path, scale: Scale) -> None:
    """Hold the answers against what was published."""
    confirmable = json.loads((var / "confirmable.json").read_text(encoding="utf-8"))
    hits = {line for line, answer in enumerate(course.claims, start=1) if answer.outcome == "match"}
    course.expect("personas answered as published", _as_expected(course.personas), len(course.personas))
    course.expect("stages of an agreement's life", sum(stage.held for stage in course.life), len(life.STAGES))
    course.faults += [stage.text for stage in course.life if not stage.held]
    course.expect("claimants asked about", len(course.claims), scale.claimants)
    course.expect("claimants answered as expected", _as_expected(course.claims), scale.claimants)
    course.expect("hits (match)", len(hits), scale.hits)
    course.expect("hits marked confirmable", len(hits.intersection(confirmable)), scale.confirmable)
    course.faults += [_difference(a) for a in (*course.personas, *course.claims) if not a.as_expected]


def _as_expected(answers: Sequence[Answered]) -> int:
    return sum(answer.as_expected for answer in answers)


def _difference(answer: Answered) -> str:
    question: Question = answer.question
    return f"{question.client} asked {question.service}: {answer.outcome} instead of {question.expect}"


def _print(course: _Course, var: Path, node: Node, console: Console) -> None:
    console.print()
    console.print(answers_table([*course.personas, *course.claims]))
    console.print(figures_table(course.figures))
    rate = len(course.claims) / course.cross_check_s if course.cross_check_s else 0.0

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"The cross-check took {course.cross_check_s:.1f} s: {rate:.0f} questions a second, asked one by one.")
    folder = var / "run"
    say(f"Receipts, keys and proofs are in {folder}; to check them again, offline:")
    say(f"  python -m client verify {folder}/*.*.json --jwks {folder}/jwks.json --vkey {folder}/log.vkey")
    for fault in course.faults[:20]:
        say(f"OFF: {fault}")
    if len(course.faults) > 20:
        say(f"… and {len(course.faults) - 20} more; the node's log is {node.log}")
