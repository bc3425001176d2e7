"""Nothing is accepted behind the record of a token's revocation, over four worker processes under load.

Asserted on the order of the log for questions; on the clock for reads, which leave no record: every worker refuses
what is sent after the revocation was answered.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any
from urllib.parse import urlencode

import jwt
import orjson
import pytest
from sqlalchemy import create_engine, select

from app.log import tables
from bench import processes
from client.http import NodeClient
from tests.nodes.questions import CLIENT, SERVICE
from tests.servers.node import RunningNode, demo_folder, running_node

WORKERS, ASKERS, READERS, ROUNDS = 4, 9, 3, 12
READ = "/v1/services"


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    with demo_folder() as var, running_node(var, HECHA_WORKERS=str(WORKERS), HECHA_THREADS="16") as running:
        yield running


def holding(client: NodeClient, token: str) -> NodeClient:
    """The client with this token, whatever becomes of it."""
    client._tokens[None] = token, float("inf")
    return client


def issued(client: NodeClient) -> str:
    """A new token."""
    client._tokens.clear()
    return client.token()


def revoke(client: NodeClient, token: str) -> float:
    """Revoke the token; when that was answered."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    form = urlencode({"client_id": client._client_id, "token": token}).encode()
    raw = client._send("POST", "/oauth2/revoke", headers, form)
    assert (raw.status, raw.data) == (200, b"")
    return time.monotonic()


@dataclass(slots=True)
class Load:
    """Threads that use one token until told to stop: what they sent, when, and the status that it got."""

    node: RunningNode
    token: str
    asked: list[tuple[float, int]] = field(default_factory=list)
    read: list[tuple[float, int]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def ask(self, bodies: Sequence[dict[str, Any]]) -> None:
        with self.node.client(CLIENT, maxsize=1) as client:
            holding(client, self.token)
            for body in cycle(bodies):
                sent = time.monotonic()
                self.asked.append((sent, client.ask(SERVICE, body).status))
                if self.done.is_set():
                    return

    def look(self) -> None:
        with self.node.client(CLIENT, maxsize=1) as client:
            holding(client, self.token)
            while not self.done.is_set():
                sent = time.monotonic()
                self.read.append((sent, client.get(READ).status))


@contextmanager
def loaded(node: RunningNode, token: str) -> Iterator[Load]:
    """The token under load until the block ends."""
    header = {"purpose": "unemployment-benefit", "case": "UB-LOAD-1", "operator": "operator-1"}
    lines = (node.var / "claimants.ndjson").read_text("utf-8").splitlines()
    bodies = [header | json.loads(line) for line in lines]
    load = Load(node, token)
    with ThreadPoolExecutor(ASKERS + READERS) as pool:
        running: list[Future[None]] = [pool.submit(load.ask, bodies[number::ASKERS]) for number in range(ASKERS)]
        running += [pool.submit(load.look) for _ in range(READERS)]
        try:
            yield load
        finally:
            load.done.set()
        for one in running:
            one.result(30)


def everywhere(node: RunningNode, stack: ExitStack) -> list[NodeClient]:
    """Clients whose kept connections reach every worker process: which one takes a connection is chance."""
    assert node.process is not None
    pids = processes.descendants(node.process.pid)
    clients: list[NodeClient] = []
    for _ in range(200):
        clients.append(stack.enter_context(node.client(CLIENT, maxsize=1)))
        clients[-1].get(READ)
        if len(processes.connections(pids, node.port)) == WORKERS:
            return clients
    raise AssertionError("some worker process never took a connection")


def log(node: RunningNode) -> list[dict[str, Any]]:
    """Every record in the order of the log."""
    engine = create_engine(node.env["HECHA_DATABASE_URL"])
    entry = tables.log_entry.c
    try:
        with engine.connect() as connection:
            return [orjson.loads(one) for one in connection.execute(select(entry.body).order_by(entry.idx)).scalars()]
    finally:
        engine.dispose()


def jti(token: str) -> str:
    return str(jwt.decode(token, options={"verify_signature": False})["jti"])


@pytest.mark.slow
def test_revoked_token_is_refused_at_once_by_every_worker(node: RunningNode) -> None:
    with ExitStack() as stack:
        owner, admin = (stack.enter_context(node.client(name)) for name in (CLIENT, "hz-secadmin"))
        clients = everywhere(node, stack)
        for revoker in (owner, admin):
            token = issued(owner)
            for client in clients:
                assert holding(client, token).get(READ).status == 200
            revoke(revoker, token)
            replies = [client.get(READ) for client in clients]
            assert {(reply.status, reply.body["type"]) for reply in replies} == {(401, "token-invalid")}


@pytest.mark.slow
def test_nothing_is_accepted_behind_the_revocations_record(node: RunningNode) -> None:
    """A dozen tokens, each revoked while a dozen threads use it."""
    tokens = []
    with node.client(CLIENT) as owner:
        for _ in range(ROUNDS):
            tokens.append(issued(owner))
            with loaded(node, tokens[-1]) as load:
                while sum(status == 200 for _, status in load.asked) < 3 * ASKERS:
                    time.sleep(0.005)
                answered_at = revoke(owner, tokens[-1])
                time.sleep(0.2)
            for seen in (load.asked, load.read):
                late = [status for sent, status in seen if sent > answered_at]
                assert late, "the load went on"
                assert set(late) == {401}
    records, gaps = log(node), []
    places = {record["id"]: place for place, record in enumerate(records)}
    ends = [*(places[jti(token)] for token in tokens[1:]), len(records)]
    for token, end in zip(tokens, ends, strict=True):
        start = places[jti(token)]
        ((revoked, _),) = [
            (place, record)
            for place, record in enumerate(records)
            if (record["state"], record.get("about")) == ("revoked", jti(token))
        ]
        questions = [place for place in range(start, end) if records[place]["kind"] == "question"]
        before = [place for place in questions if place < revoked]
        behind = [place for place in questions if place > revoked]
        assert {records[place]["state"] for place in before} == {"answered"}
        assert {records[place]["state"] for place in behind} == {"token-invalid"}
        gaps.append(revoked - max(before))
    assert min(gaps) <= ASKERS, "answers were written up to just before"
