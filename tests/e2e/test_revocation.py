"""No permit follows a revocation in the log, and none stands at or after the second at which an agreement ends.

Asserted on the order of the log, under load over four worker processes; and on a source so slow that the agreement
ends while it is being asked.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import create_engine, select

from adapters.base import Answer
from app.log import tables
from app.steps import rfc3339
from examples.demo import signing
from examples.demo.departments import NODE_DIR
from tests.nodes import running
from tests.nodes.problems import recorded
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import Ground, OwnNode
from tests.nodes.running import RunningNode as NodeInProcess
from tests.nodes.sources import CountingSource
from tests.servers.node import RunningNode, demo_folder, running_node

TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
ROUNDS = 12
THREADS = 12
ENDS_IN_S = 8.0  # from the signing: the agreement is in force by then, and has been under load for a while


def agreement(identifier: str, until: datetime | None, _: str = "") -> str:
    """The unemployment agreement's terms, for a purpose of its own named like the agreement."""
    text = (NODE_DIR / TERMS).read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith(("agreement:", "purposes:"))]
    text = "\n".join([f"agreement: {identifier}", f"purposes: [{identifier}]", *lines, ""])
    if until is None:
        return text
    head, _, _ = text.partition("valid:")
    return f'{head}valid: {{from: "2026-01-01T00:00:00+08:00", until: "{until.isoformat()}"}}\n'


@dataclass(slots=True)
class Load:
    """Threads that ask for one purpose until told to stop."""

    node: RunningNode
    purpose: str
    replies: list[tuple[float, int]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self, bodies: Sequence[dict[str, Any]]) -> None:
        with self.node.client(CLIENT, maxsize=1) as client:
            for body in cycle(bodies):
                if self.done.is_set():
                    return
                sent = time.time()
                reply = client.ask(SERVICE, {**body, "purpose": self.purpose})
                assert reply.status in {200, 403}, reply.body
                self.replies.append((sent, reply.status))


@contextmanager
def loaded(node: RunningNode, purpose: str) -> Iterator[Load]:
    """The purpose under load until the block ends."""
    lines = (node.var / "claimants.ndjson").read_text("utf-8").splitlines()
    bodies = [{"case": "UB-LOAD-1", "operator": "operator-1", **json.loads(line)} for line in lines]
    load = Load(node, purpose)
    with ThreadPoolExecutor(THREADS) as pool:
        running_all: list[Future[None]] = [pool.submit(load.run, bodies[n::THREADS]) for n in range(THREADS)]
        try:
            yield load
        finally:
            load.done.set()
        for one in running_all:
            one.result(30)


def log(node: RunningNode) -> list[dict[str, Any]]:
    """Every record in the order of the log."""
    engine = create_engine(node.env["HECHA_DATABASE_URL"])
    entry = tables.log_entry.c
    try:
        with engine.connect() as connection:
            return [
                orjson.loads(body) for body in connection.execute(select(entry.body).order_by(entry.idx)).scalars()
            ]
    finally:
        engine.dispose()


def permits(records: Sequence[dict[str, Any]], digest: str) -> list[int]:
    """The places of all records that permit under an agreement, whatever came of them."""
    wanted = (digest, "permit")
    return [place for place, item in enumerate(records) if (item.get("agreement"), item.get("decision")) == wanted]


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """A node of four worker processes."""
    with demo_folder() as var:
        edits: dict[str, Callable[[str], str]] = {
            f"agreements/round-{number}.yaml": partial(agreement, f"round-{number}", None) for number in range(ROUNDS)
        }
        (var / "edited").mkdir()
        folder = running.edited(Ground(var, var / "unused", iter(())), var / "edited", edits)
        settings = {"HECHA_NODE_DIR": str(folder), "HECHA_WORKERS": "4", "HECHA_THREADS": "8"}
        with running_node(var, **settings) as made:
            yield made


def put_in_force(node: RunningNode, identifier: str, until: datetime) -> None:
    """Put a revision with one more agreement in force, without a restart."""
    template = node.var / "edited" / "template"
    (template / f"agreements/{identifier}.yaml").write_text(agreement(identifier, until), "utf-8")
    keys = signing.read_keys(node.var / "pki" / "signing")
    signing.signed_directory(template, Path(node.env["HECHA_NODE_DIR"]), keys, revision=2)
    with node.client("hz-sysadmin") as operator:
        reply = operator.post("/v1/reload", {})
    assert reply.status == 200, reply.body


@pytest.mark.slow
def test_agreement_ends_exact_at_the_second_under_load(node: RunningNode) -> None:
    ends_at = (datetime.now(UTC) + timedelta(seconds=ENDS_IN_S)).replace(microsecond=0)
    put_in_force(node, "ends-soon", ends_at)
    assert datetime.now(UTC) < ends_at - timedelta(seconds=1), "the reload took too long"
    with loaded(node, "ends-soon") as load:
        time.sleep((ends_at - datetime.now(UTC)).total_seconds() + 1)
    before = {status for sent, status in load.replies if sent < ends_at.timestamp() - 0.5}
    after = {status for sent, status in load.replies if sent >= ends_at.timestamp()}
    assert (before, after) == ({200}, {403})
    records = log(node)
    (digest,) = {item["agreement"] for item in records if item.get("about") == "ends-soon"}
    found = permits(records, digest)
    ended = rfc3339(ends_at)
    assert len(found) > THREADS
    assert max(records[place]["at"] for place in found) < ended
    assert max(records[place]["at"] for place in found) > rfc3339(ends_at - timedelta(milliseconds=500))
    first_after = min(place for place, item in enumerate(records) if item["at"] >= ended)
    assert max(found) < first_after, "what was decided before the end is not recorded after it"


@pytest.mark.slow
def test_no_permit_follows_the_revocation_in_the_log(node: RunningNode) -> None:
    """A dozen agreements, each revoked by the provider's steward while a dozen threads ask under it."""
    with ExitStack() as stack:
        steward = stack.enter_context(node.client("hz-tax-steward"))
        for number in range(ROUNDS):
            with loaded(node, f"round-{number}") as load:
                while sum(status == 200 for _, status in load.replies) < 2 * THREADS:
                    time.sleep(0.01)
                reply = steward.post(f"/v1/agreements/round-{number}/revocation", {"reason": "end of the test"})
                answered_at = time.time()
                assert (reply.status, reply.body["state"]) == (200, "revoked"), reply.body
                time.sleep(0.2)
            assert {status for sent, status in load.replies if sent > answered_at} == {403}
    records = log(node)
    gaps = []
    for number in range(ROUNDS):
        about = [(place, item) for place, item in enumerate(records) if item.get("about") == f"round-{number}"]
        ((revoked, _),) = [(place, item) for place, item in about if item["state"] == "revoked"]
        digest = about[0][1]["agreement"]
        found = permits(records, digest)
        assert max(found) < revoked, f"round {number}"
        denied = [item for item in records[revoked:] if item.get("agreement") == digest and item.get("decision")]
        assert {item["decision"] for item in denied} == {"deny"}
        gaps.append(revoked - max(found))
    assert min(gaps) <= THREADS, "permits were written up to just before"


class SlowSource(CountingSource):
    """A source that something happens to while it is asked."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def answer(self, questions: Sequence[Any], *, timeout_s: float) -> list[Answer]:
        self._meanwhile()
        return super().answer(questions, timeout_s=timeout_s)


def refused(node: NodeInProcess, response: Any) -> set[str]:
    """The rules of a denial that left nothing behind of what was answered before it."""
    receipt = recorded(node, response, "not-permitted")
    assert receipt.record["decision"] == "deny"
    return {reason["rule"] for reason in response.get_json()["reasons"]}


def test_agreement_that_ends_while_the_source_is_asked_permits_nothing(own_node: OwnNode) -> None:
    ends_at = (datetime.now(UTC) + timedelta(seconds=3)).replace(microsecond=0)
    terms = partial(agreement, "ends-soon", ends_at)
    node = own_node({"agreements/ends-soon.yaml": terms})
    source = SlowSource(lambda: time.sleep(max(0.0, ends_at.timestamp() - time.time()) + 0.01))
    watched = node.with_adapter(SERVICE, source)
    response = watched.consumer(CLIENT).ask(SERVICE, employment(purpose="ends-soon"))
    assert len(source.asked) == 1, "it was permitted when it was decided"
    assert refused(watched, response) == {"terms-expired"}
    assert not node.charges(response.get_json()["instance"])


def test_agreement_revoked_while_the_source_is_asked_permits_nothing(own_node: OwnNode) -> None:
    node = own_node({"agreements/ends-soon.yaml": partial(agreement, "ends-soon", None)})

    def revoke() -> None:
        steward = node.consumer("hz-tax-steward")
        headers = {"Authorization": f"Bearer {steward.token()}"}
        path = "/v1/agreements/ends-soon/revocation"
        assert steward.open("POST", path, json={"reason": "at once"}, headers=headers).status_code == 200

    source = SlowSource(revoke)
    watched = node.with_adapter(SERVICE, source)
    response = watched.consumer(CLIENT).ask(SERVICE, employment(purpose="ends-soon"))
    assert len(source.asked) == 1
    assert refused(watched, response) == {"terms-not-active"}
    assert [row.decision for row in node.rows(kind="question")] == ["deny"]
