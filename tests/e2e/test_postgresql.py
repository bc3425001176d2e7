"""Two instances of one node on one PostgreSQL and one Valkey: one history, one quota, every receipt verifies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from app.log.check import check
from app.valkey import EmbeddedValkey
from client.audit import HttpSource, verify_log
from evidence.jwk import keys_from_jwks
from evidence.note import NoteVerifier
from evidence.receipt import verify_receipt
from tests.nodes.questions import employment
from tests.nodes.running import OwnNode
from tests.nodes.steps import Parties, asked, purpose
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


def test_step_at_one_instance_is_obeyed_by_the_other(instances: tuple[RunningNode, RunningNode]) -> None:
    """Suspended at one, the very next question to the other is denied; resumed, it is answered again."""
    one, other = instances
    path = "/v1/agreements/hz-hrss-employment-status-benefit-review/suspension"
    question = questions(one.var)[0] | {"purpose": "benefit-review"}
    with one.client("hz-tax-steward") as steward, other.client("hz-hrss-review") as consumer:
        assert consumer.ask("employment-status", question).status == 200
        reply = steward.post(path, {"reason": "Monthly reconciliation is outstanding."})
        assert (reply.status, reply.body["state"]) == (200, "suspended")
        denied = consumer.ask("employment-status", question)
        assert (denied.status, [reason["rule"] for reason in denied.body["reasons"]]) == (403, ["terms-not-active"])
        keys = keys_from_jwks(steward.get("/.well-known/jwks.json").body)
    suspended, after = (verify_receipt(item.body["receipt"], keys) for item in (reply, denied))
    assert suspended.index < after.index
    assert (suspended.record["kind"], suspended.record["state"]) == ("agreement", "suspended")


@pytest.fixture
def on_postgresql(own_node: OwnNode) -> Iterator[Parties]:
    """A node in process on a PostgreSQL of its own."""
    with start_postgres() as server:
        yield Parties(own_node(DATABASE_URL=server.create_database("node")))


def test_agreement_lives_its_whole_life_on_postgresql(on_postgresql: Parties) -> None:
    """Every step's rows refer to its record, which PostgreSQL, unlike SQLite, is told to check."""
    parties, word = on_postgresql, purpose()
    identifier = parties.active(purposes=[word])
    assert asked(parties, word) == "match"
    parties.taken(parties.control(identifier, "suspension"))
    assert asked(parties, word) == "not-permitted"
    parties.taken(parties.control(identifier, "suspension", method="DELETE"))
    assert asked(parties, word) == "match"
    parties.taken(parties.control(identifier, "revocation"))
    assert asked(parties, word) == "not-permitted"
    expected = ["submitted", "approved", "signed", "active", "suspended", "resumed", "revoked"]
    assert parties.states(f"/v1/agreements/{identifier}") == expected
    report = check(parties.node.node.store, parties.node.node.vkey)
    assert report.sound, report.text()


def test_limits_hold_on_postgresql_over_a_flushed_redis(on_postgresql: Parties) -> None:
    node = on_postgresql.node
    caller = node.consumer("hz-hrss-benefits")
    first = caller.ask("employment-status", employment()).get_json()
    spent = sum(node.charges(first["id"]).values())
    with closing(node.redis()) as client:
        client.flushdb()
        again = caller.ask("employment-status", employment()).get_json()
        assert again["result"] == first["result"]
        assert [name.partition("/")[0] for name in node.charges(again["id"])] == ["quota"], "the budget was paid"
        held = sum(int(client.hget(key, "spent") or 0) for key in client.scan_iter("hecha:account:*"))
    assert held == spent + 1
