"""Two instances of one node on one PostgreSQL and one Valkey: one history, one quota, every receipt verifies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.valkey import EmbeddedValkey
from client.audit import HttpSource, verify_log
from evidence.jwk import keys_from_jwks
from evidence.note import NoteVerifier
from evidence.receipt import verify_receipt
from tests.servers.node import RunningNode, demo_folder, running_node
from tests.servers.postgres import start_postgres

QUESTIONS = 120


@pytest.fixture(scope="module")
def instances() -> Iterator[tuple[RunningNode, RunningNode]]:
    with ExitStack() as stack:
        var = stack.enter_context(demo_folder())
        server = stack.enter_context(start_postgres())
        valkey = EmbeddedValkey(var / "shared")
        (var / "shared").mkdir()
        valkey.start()
        stack.callback(valkey.stop)
        shared = {
            "HECHA_DATABASE_URL": server.create_database("node"),
            "HECHA_REDIS_URL": f"unix://{valkey.socket}",
            "HECHA_ISSUER": "https://node.hangzhou.example",
        }
        one = stack.enter_context(running_node(var, **shared, HECHA_STATE_DIR=str(var / "one")))
        other = stack.enter_context(running_node(var, **shared, HECHA_STATE_DIR=str(var / "other")))
        yield one, other


def questions(var: Path) -> list[dict[str, object]]:
    header = {"purpose": "unemployment-benefit", "case": "UB-2026-0001", "operator": "operator-1"}
    lines = (var / "claimants.ndjson").read_text().splitlines()[:QUESTIONS]
    return [header | json.loads(line) for line in lines]


def test_two_instances_write_one_history(instances: tuple[RunningNode, RunningNode]) -> None:
    clients = [instance.client("hz-hrss-benefits") for instance in instances]

    def ask(numbered: tuple[int, dict[str, object]]) -> str:
        number, question = numbered
        reply = clients[number % 2].ask("employment-status", question)
        assert reply.status == 200, reply.body
        return str(reply.body["receipt"])

    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(ask, enumerate(questions(instances[0].var))))
    with instances[1].client("hz-audit") as auditor:
        keys = keys_from_jwks(auditor.get("/.well-known/jwks.json").body)
        verifier = NoteVerifier.parse(auditor.get_bytes("/.well-known/log.vkey").decode().strip())
        report = verify_log(HttpSource(auditor), verifier)
    assert report.holds, report.fault
    indexes = {verify_receipt(receipt, keys).index for receipt in receipts}
    assert len(indexes) == QUESTIONS
    assert max(indexes) < report.checkpoint.size


def test_token_of_one_instance_is_good_at_the_other(instances: tuple[RunningNode, RunningNode]) -> None:
    one, other = (instance.client("hz-hrss-benefits") for instance in instances)
    other._tokens[None] = (one.token(), float("inf"))
    assert other.get("/v1/services").status == 200
