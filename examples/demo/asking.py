"""Questions put to the node by real clients over a few keep-alive connections, and what came back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.asking import ask
from client.evidence_file import Evidence
from client.http import NodeClient
from examples.demo.personas import OPERATOR

CONNECTIONS = 8
CASE = "UB-2026-09"
"""The case number of the month's cross-check."""

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What `client` asks `service`, as sent; `expect` is the result or the problem's slug that must come back."""

    client: str
    service: str
    body: dict[str, Any]
    expect: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A question and what came back: `outcome` is a result or a problem's slug; no evidence without a receipt."""

    question: Question
    status: int
    outcome: str
    evidence: Evidence | None

    @property
    def as_expected(self) -> bool:
        """Whether the outcome is the one that was published."""
        return self.outcome == self.question.expect


def persona_questions(var: Path) -> list[Question]:
    """Return the questions of `personas.json`, in order."""
    personas = json.loads((var / "personas.json").read_text(encoding="utf-8"))
    members = ("purpose", "case", "operator", "subject", "confirm", "declared")
    return [Question(p["client"], p["service"], {m: p[m] for m in members}, p["expect"]) for p in personas]


def cross_check_questions(var: Path) -> list[Question]:
    """Return one question for each line of `claimants.ndjson`, in order, with the answer of `expected.json`."""
    expected = json.loads((var / "expected.json").read_text(encoding="utf-8"))
    head = {"purpose": "unemployment-benefit", "case": CASE, "operator": OPERATOR}
    with (var / "claimants.ndjson").open(encoding="utf-8") as rows:
        return [
            Question("hz-hrss-benefits", "employment-status", head | json.loads(row), expected[str(line)])
            for line, row in enumerate(rows, start=1)
        ]


def connect(var: Path, url: str, clients: Iterable[str]) -> dict[str, NodeClient]:
    """Return an HTTPS client for each registered client, with its certificate from `pki/` and no token yet."""
    pki = var / "pki"
    return {
        name: NodeClient(
            url,
            ca=pki / "ca.pem",
            certificate=pki / f"{name}.pem",
            key=pki / f"{name}.key",
            client_id=name,
            maxsize=CONNECTIONS,
        )
        for name in clients
    }


def ask_all(clients: Mapping[str, NodeClient], questions: Sequence[Question], tick: Tick) -> list[Answered]:
    """Ask every question once, each in a request of its own, and return what came back in the same order.

    `tick` is called after each. Raises `ClientError` when the node cannot be reached or understood.
    """

    def answer(question: Question) -> Answered:
        asked = ask(clients[question.client], question.service, question.body)
        tick()
        body = asked.reply.body
        outcome = str(body.get("result") or body.get("type") or asked.reply.status).rpartition("/")[2]
        return Answered(question, asked.reply.status, outcome, asked.evidence)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(answer, questions))
