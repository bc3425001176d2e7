"""Questions put to the node by real clients over a few keep-alive connections, and what came back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.http import NodeClient

CONNECTIONS = 8

Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Question:
    """What `client` asks `service`, as sent; `expect` is the result or the problem's slug that must come back."""

    client: str
    service: str
    body: Mapping[str, Any]
    expect: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A question and its reply: `outcome` is a result, or the slug of a problem document."""

    question: Question
    status: int
    reply: Mapping[str, Any]
    decision: str

    @property
    def outcome(self) -> str:
        """The disclosed result, or the problem's slug."""
        return str(self.reply.get("result") or self.reply.get("type") or self.status)

    @property
    def as_expected(self) -> bool:
        """Whether the outcome is the one that was published."""
        return self.outcome == self.question.expect

    def evidence(self) -> dict[str, Any]:
        """The evidence file of this answer, as `python -m client verify` reads it."""
        return {
            "question": {"service": self.question.service, "body": dict(self.question.body)},
            "reply": dict(self.reply),
            "receipt": self.reply.get("receipt"),
        }


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
    """Ask every question once, each as a request of its own, and return the answers in the same order.

    `tick` is called after each. Raises what the client raises when the node cannot be reached.
    """

    def ask(question: Question) -> Answered:
        reply = clients[question.client].ask(question.service, question.body)
        tick()
        decision = str(reply.body.get("id") or reply.body.get("instance") or "")
        return Answered(question, reply.status, reply.body, decision)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(ask, questions))
