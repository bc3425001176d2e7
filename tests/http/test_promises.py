"""The node's promises, seen from outside: decide before asking, record before answering, fail closed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.factory import app_for
from app.limits.limiter import Limiter
from app.valkey import EmbeddedValkey
from tests.nodes.agreements import moved
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem, recorded
from tests.nodes.questions import CLIENT, SERVICE, Question, body, employment, persona
from tests.nodes.running import OwnNode, RunningNode
from tests.nodes.sources import CountingSource

Consumers = Callable[[str], Consumer]

TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
NUMBER = employment()["subject"]["id_number"]


def denied() -> Iterator[tuple[str, str, Any, dict[str, str], str]]:
    """Client, service, body, headers and slug of questions that must never reach a source."""
    question = employment()
    yield CLIENT, SERVICE, question, {"Authorization": ""}, "token-invalid"
    yield CLIENT, SERVICE, b"{", {}, "malformed"
    yield CLIENT, SERVICE, question, {"Content_Type": "text/plain"}, "unsupported-media-type"
    yield CLIENT, SERVICE, employment(case=NUMBER), {}, "invalid-request"
    yield CLIENT, SERVICE, employment(purpose="recruitment"), {}, "not-permitted"
    yield CLIENT, SERVICE, employment(case="?"), {}, "not-permitted"
    yield "hz-outsider", SERVICE, question, {}, "not-permitted"
    yield "hz-tax-steward", SERVICE, question, {}, "insufficient-scope"
    yield "hz-audit", SERVICE, question, {}, "insufficient-scope"
    yield CLIENT, SERVICE, question, {"Idempotency_Key": "k" * 129}, "invalid-request"


DENIED = list(denied())


@pytest.mark.parametrize(("client", "service", "sent", "headers", "slug"), DENIED, ids=[row[-1] for row in DENIED])
def test_source_is_never_touched_by_what_is_denied(  # noqa: PLR0917 - one row of the table
    node: RunningNode, client: str, service: str, sent: Any, headers: dict[str, str], slug: str
) -> None:
    source = CountingSource()
    watched = node.with_adapter(service, source)
    recorded(watched, watched.consumer(client).ask(service, sent, **headers), slug)
    assert not source.touched


def test_permitted_question_reaches_the_source_once(node: RunningNode, claimant: Iterator[Question]) -> None:
    source = CountingSource()
    watched = node.with_adapter(SERVICE, source)
    question = next(claimant)
    assert watched.consumer(CLIENT).ask(SERVICE, question).get_json()["result"] == "match"
    (asked,) = source.asked
    assert asked.subject == question["subject"]["id_number"]
    assert asked.masks == {"employer"}


@contextmanager
def broken_log(node: RunningNode) -> Iterator[None]:
    """The node's database refuses every new log entry, as a full disk would."""
    with closing(sqlite3.connect(node.folder / "node.db", isolation_level=None)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON log_entry BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        try:
            yield
        finally:
            connection.execute("DROP TRIGGER full")


def test_no_answer_leaves_that_cannot_be_recorded(own_node: OwnNode) -> None:
    node = own_node()
    caller = node.consumer(CLIENT)
    caller.token()
    before = len(node.rows())
    with broken_log(node):
        response = caller.ask(SERVICE, employment())
        document = problem(response, "record-not-written")
        assert response.headers["Retry-After"] == "5"
        assert not {"instance", "receipt", "reasons"} & document.keys()
        problem(caller.ask(SERVICE, employment(purpose="recruitment")), "record-not-written")
        problem(caller.ask(SERVICE, b"{"), "record-not-written")
        problem(caller.ask(SERVICE, employment(), Idempotency_Key="once"), "record-not-written")
        problem(caller.form(grant_type="client_credentials", client_id=CLIENT), "record-not-written")
        assert len(node.rows()) == before
    assert caller.ask(SERVICE, employment(), Idempotency_Key="once").get_json()["result"] == "match"
    assert len(node.rows()) == before + 1


def test_question_whose_record_failed_is_charged_when_it_is_answered(own_node: OwnNode) -> None:
    """The reservation of the failed attempt must not make the second one look paid for."""
    node = own_node()
    caller = node.consumer(CLIENT)
    caller.token()
    with broken_log(node):
        problem(caller.ask(SERVICE, employment()), "record-not-written")
    charges = node.charges(caller.ask(SERVICE, employment()).get_json()["id"])
    assert {account.partition("/")[0] for account in charges} == {"quota", "budget"}
    assert min(charges.values()) >= 1


def test_missing_database_answers_nothing(own_node: OwnNode) -> None:
    node = own_node()
    caller = node.consumer(CLIENT)
    caller.token()
    with closing(sqlite3.connect(node.folder / "node.db", isolation_level=None)) as connection:
        connection.execute("DROP TABLE log_head")
    for sent in (employment(), employment(purpose="recruitment"), b"{"):
        problem(caller.ask(SERVICE, sent), "record-not-written")


def test_without_redis_nothing_is_answered_and_that_is_recorded(own_node: OwnNode, tmp_path: Path) -> None:
    folder = Path(own_node().folder)
    valkey = EmbeddedValkey(folder)
    valkey.start()
    try:
        node = own_node(REDIS_URL=f"unix://{valkey.socket}")
        source = CountingSource()
        watched = node.with_adapter(SERVICE, source)
        caller = watched.consumer(CLIENT)
        assert caller.ask(SERVICE, employment()).status_code == 200
        valkey.stop()
        response = caller.ask(SERVICE, employment())
        receipt = recorded(watched, response, "limiter-unavailable")
        receipt.check_question(employment(), SERVICE)
        assert response.headers["Retry-After"] == "1"
        assert (receipt.record["decision"], receipt.record["limit"]) == ("permit", "none")
        assert len(source.asked) == 1
        valkey.start()
        assert caller.ask(SERVICE, employment()).status_code == 200
    finally:
        valkey.stop()


def test_denial_needs_no_redis(own_node: OwnNode) -> None:
    node = without_redis(own_node())
    recorded(node, node.consumer(CLIENT).ask(SERVICE, employment(purpose="recruitment")), "not-permitted")


def without_redis(node: RunningNode) -> RunningNode:
    """The same node after its Redis went away."""
    made, verification = node.node, node.node.verification
    charging = replace(verification.charging, limiter=Limiter("unix:///nowhere/valkey.sock", made.store))
    made = replace(made, verification=replace(verification, charging=charging))
    return replace(node, node=made, app=app_for(made))


def test_answer_under_an_obligation_the_node_cannot_meet_is_held_back(own_node: OwnNode) -> None:
    node = own_node({TERMS: lambda text: text + "obligations: [shred-after-reading]\n"})
    source = CountingSource()
    watched = node.with_adapter(SERVICE, source)
    recorded(watched, watched.consumer(CLIENT).ask(SERVICE, employment()), "obligation-not-met")
    assert not source.touched


@pytest.mark.parametrize("state", ["approved", "suspended", "expired", "revoked", "superseded"])
def test_terms_that_are_not_active_permit_nothing(own_node: OwnNode, state: str) -> None:
    node = own_node()
    moved(node, "hz-hrss-employment-status-unemployment-benefit", state)
    response = node.consumer(CLIENT).ask(SERVICE, employment())
    recorded(node, response, "not-permitted")
    assert [reason["rule"] for reason in response.get_json()["reasons"]] == ["terms-not-active"]


def test_records_name_rules_agreement_contract_and_policy_by_digest(node: RunningNode, consumer: Consumers) -> None:
    answer = consumer(CLIENT).ask(SERVICE, employment()).get_json()
    record, registry = node.record(answer["id"]), node.node.registry
    agreement = registry.agreements.find("hz-hrss-employment-status-unemployment-benefit")
    assert agreement is not None
    assert record["rules"] == ["conditional-agreement"]
    assert record["agreement"] == agreement.terms.digest
    assert record["contract"] == registry.catalogue.services[SERVICE].contract_digest
    assert record["policy"] == registry.rules.digest


def test_record_holds_no_part_of_the_question_in_clear(node: RunningNode, consumer: Consumers) -> None:
    question = body(persona(SERVICE, "match", CLIENT))
    identifier = consumer(CLIENT).ask(SERVICE, question).get_json()["id"]
    text = str(node.record(identifier))
    for value in (
        *question["subject"].values(),
        *question["confirm"].values(),
        *question["declared"].values(),
        question["case"],
        question["operator"],
        "match",
    ):
        assert value not in text
