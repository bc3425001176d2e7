"""T16: two hundred questions at once against a quota of a hundred, over worker processes and over instances.

Every run has a purpose, an agreement and so a quota of its own; all runs meet the same nodes, warm and under way.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select

from app.log import tables
from app.valkey import EmbeddedValkey
from bench import processes
from client.http import NodeClient, Reply
from examples.demo.departments import NODE_DIR
from tests.nodes import running
from tests.nodes.running import Edits, Ground
from tests.servers.node import RunningNode, demo_folder, running_node
from tests.servers.postgres import start_postgres

TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
QUOTA, ASKED, RUNS, RUNS_OVER_INSTANCES = 100, 200, 20, 5
THREADS = 24


def races(runs: int) -> Edits:
    """An agreement for each run: a purpose of its own under a quota of its own."""
    text = (NODE_DIR / TERMS).read_text("utf-8")

    def terms(number: int, _: str) -> str:
        lines = [line for line in text.splitlines() if not line.startswith(("agreement:", "purposes:", "quota:"))]
        own = [f"agreement: race-{number}", f"purposes: [race-{number}]", f"quota: {{count: {QUOTA}, per: year}}"]
        return "\n".join([*own, *lines, ""])

    return {f"agreements/race-{number}.yaml": partial(terms, number) for number in range(runs)}


def raced_directory(var: Path, runs: int) -> str:
    """The demonstration's node directory with these agreements, signed anew."""
    (var / "race").mkdir()
    return str(running.edited(Ground(var, var / "unused", iter(())), var / "race", races(runs)))


def questions(var: Path, run: int) -> list[dict[str, Any]]:
    header = {"purpose": f"race-{run}", "case": f"RACE-{run:04d}", "operator": "operator-1"}
    lines = (var / "claimants.ndjson").read_text("utf-8").splitlines()[:ASKED]
    return [header | json.loads(line) for line in lines]


def race(clients: list[NodeClient], bodies: list[dict[str, Any]]) -> list[Reply]:
    """Ask all at once, in turn at each of the clients."""

    def ask(numbered: tuple[int, dict[str, Any]]) -> Reply:
        number, body = numbered
        return clients[number % len(clients)].ask("employment-status", body)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(ask, enumerate(bodies)))


def charged(url: str) -> dict[str, int]:
    """What the charge rows add up to for each race's quota."""
    charge = tables.charge.c
    query = select(charge.account, func.sum(charge.amount)).where(charge.account.startswith("quota/hz-hrss/race-"))
    engine = create_engine(url)
    try:
        with closing(engine.connect()) as connection:
            rows = connection.execute(query.group_by(charge.account))
            return {row[0].split("/")[2]: int(row[1]) for row in rows}
    finally:
        engine.dispose()


def check(clients: list[NodeClient], var: Path, runs: int, url: str) -> None:
    """Every run: exactly the quota is answered, the rest is told so, and the charge rows say the same."""
    for client in clients:
        client.token()
    for run in range(runs):
        replies = race(clients, questions(var, run))
        assert Counter(reply.status for reply in replies) == {200: QUOTA, 429: ASKED - QUOTA}, f"run {run}"
        assert {reply.body["type"] for reply in replies if reply.status == 429} == {"quota-exceeded"}
        left = sorted(int(reply.headers["ratelimit"].split(";")[1][2:]) for reply in replies if reply.status == 200)
        assert left == list(range(QUOTA)), "what is left counts down exactly, however they overtake each other"
    assert charged(url) == {f"race-{run}": QUOTA for run in range(runs)}


@pytest.fixture(scope="module")
def workers() -> Iterator[RunningNode]:
    """One node of four worker processes."""
    with demo_folder() as var:
        settings = {"HECHA_NODE_DIR": raced_directory(var, RUNS), "HECHA_WORKERS": "4", "HECHA_THREADS": "8"}
        with running_node(var, **settings) as node:
            yield node


def connected(node: RunningNode, workers: int) -> list[NodeClient]:
    """Clients whose kept connections reach every worker process: which one takes a connection is chance."""
    assert node.process is not None
    pids = processes.descendants(node.process.pid)
    clients: list[NodeClient] = []
    # One more at a time, with those before it kept open, until every worker has taken one.
    for _ in range(100):
        client = node.client("hz-hrss-benefits", maxsize=THREADS // 6)
        clients.append(client)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda _: client.get("/v1/services"), range(2 * THREADS // 6)))  # noqa: B023
        if len(clients) >= 6 and len(processes.connections(pids, node.port)) == workers:
            return clients
    raise AssertionError("some worker process never took a connection")


@pytest.mark.slow
def test_of_200_questions_at_once_exactly_100_pass_over_four_workers(workers: RunningNode) -> None:
    """20 of 20 runs."""
    with ExitStack() as stack:
        clients = [stack.enter_context(client) for client in connected(workers, 4)]
        check(clients, workers.var, RUNS, workers.env["HECHA_DATABASE_URL"])


@pytest.fixture(scope="module")
def instances() -> Iterator[tuple[RunningNode, RunningNode]]:
    """Two instances on one PostgreSQL and one Valkey, two workers each."""
    with ExitStack() as stack:
        var = stack.enter_context(demo_folder())
        server = stack.enter_context(start_postgres())
        (var / "shared").mkdir()
        valkey = EmbeddedValkey(var / "shared")
        valkey.start()
        stack.callback(valkey.stop)
        shared = {
            "HECHA_DATABASE_URL": server.create_database("node"),
            "HECHA_REDIS_URL": f"unix://{valkey.socket}",
            "HECHA_ISSUER": "https://node.hangzhou.example",
            "HECHA_NODE_DIR": raced_directory(var, RUNS_OVER_INSTANCES),
            "HECHA_THREADS": "8",
        }
        one = stack.enter_context(running_node(var, **shared, HECHA_STATE_DIR=str(var / "one")))
        other = stack.enter_context(running_node(var, **shared, HECHA_STATE_DIR=str(var / "other")))
        yield one, other


@pytest.mark.slow
def test_of_200_questions_at_once_exactly_100_pass_over_two_instances(
    instances: tuple[RunningNode, RunningNode],
) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(instance.client("hz-hrss-benefits", maxsize=4)) for instance in instances * 3]
        url = instances[0].env["HECHA_DATABASE_URL"]
        check(clients, instances[0].var, RUNS_OVER_INSTANCES, url)
