"""Every published persona, asked as published, gets the published answer and evidence that holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from evidence.canonical import canonical
from evidence.receipt import verify_receipt
from evidence.record import open_commitment
from examples.demo.departments import NODE_DIR
from examples.demo.personas import personas
from tests.nodes.consumer import Consumer
from tests.nodes.problems import recorded
from tests.nodes.running import RunningNode

PERSONAS = list(enumerate(personas(), start=1))
ANSWERED = [(number, item) for number, item in PERSONAS if item.expect in {"match", "no_match", "not_found"}]
REFUSED = [(number, item) for number, item in PERSONAS if (number, item) not in ANSWERED]

Consumers = Callable[[str], Consumer]


def every(rows: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("number", "persona"), rows, ids=[f"{number}-{item.service}-{item.expect}" for number, item in rows]
    )


@every(ANSWERED)
def test_persona_is_answered_as_published(node: RunningNode, consumer: Consumers, number: int, persona: Any) -> None:
    question = persona.question(number)
    response = consumer(persona.client).ask(persona.service, question)
    assert response.status_code == 200, response.text
    answer = response.get_json()
    assert (answer["service"], answer["result"]) == (persona.service, persona.expect)
    assert answer["contract"] == node.node.registry.catalogue.services[persona.service].contract_digest
    assert answer["as_of"] == "2026-11-15T22:00:00.000Z"
    assert response.headers["Cache-Control"] == "no-store"

    receipt = verify_receipt(answer["receipt"], node.receipt_keys())
    receipt.check_question(question, persona.service)
    shown = {name: answer[name] for name in ("result", "attributes", "disclosed") if name in answer}
    assert receipt.result == shown
    assert receipt.record == node.record(answer["id"])
    assert receipt.record["decision"] == "permit"
    assert receipt.record["state"] == "answered"
    assert "true_result" in receipt.record["commitments"]
    assert "true_result" not in receipt.openings


@every(REFUSED)
def test_persona_is_refused_as_published(node: RunningNode, consumer: Consumers, number: int, persona: Any) -> None:
    question = persona.question(number)
    response = consumer(persona.client).ask(persona.service, question)
    receipt = recorded(node, response, persona.expect)
    receipt.check_question(question, persona.service)
    reasons = response.get_json()["reasons"]
    assert receipt.record["decision"] == "deny"
    assert receipt.record["rules"] == [reason["rule"] for reason in reasons]
    assert all(reason["basis"] and reason["reason"].keys() == {"en", "zh"} for reason in reasons)


def test_every_service_has_a_persona_with_an_answer_or_none_answers() -> None:
    services = {path.stem for path in (NODE_DIR / "services").glob("*.yaml")}
    assert {item.service for _, item in PERSONAS} == services


def test_a_persona_asked_again_is_free_and_answered_alike(node: RunningNode, consumer: Consumers) -> None:
    number, persona = next(row for row in ANSWERED if row[1].client == "hz-hrss-benefits")
    caller, question = consumer(persona.client), persona.question(number)
    first = caller.ask(persona.service, question).get_json()
    again = caller.ask(persona.service, question).get_json()
    assert first["id"] != again["id"]
    assert {**first, "id": "", "receipt": ""} == {**again, "id": "", "receipt": ""}
    assert [account.partition("/")[0] for account in node.charges(again["id"])] == ["quota"]


def test_withheld_service_is_refused_with_its_legal_ground(node: RunningNode, consumer: Consumers) -> None:
    number, persona = next(row for row in REFUSED if row[1].service == "adoption-registration")
    response = consumer(persona.client).ask(persona.service, persona.question(number))
    receipt = recorded(node, response, "not-permitted")
    (reason,) = [item for item in response.get_json()["reasons"] if item["rule"] == "withheld-service"]
    assert reason["basis"][-1] == "民法典 第一千一百一十条; 四川 第六条"
    assert receipt.record["rules"] == ["withheld-service"]


def test_without_terms_only_that_is_said(consumer: Consumers) -> None:
    number, persona = next(row for row in REFUSED if row[1].client == "hz-outsider")
    response = consumer(persona.client).ask(persona.service, persona.question(number))
    assert [reason["rule"] for reason in response.get_json()["reasons"]] == ["no-terms"]


def test_true_result_is_committed_to_beside_the_folded_one(node: RunningNode, consumer: Consumers) -> None:
    """Two auditors can open it: the salt lies sealed beside the log, and nowhere in the answer."""
    number, persona = next(row for row in ANSWERED if row[1].confirm["name"] == "林志强")
    answer = consumer(persona.client).ask(persona.service, persona.question(number)).get_json()
    assert answer["result"] == "no_match"
    salt = node.opening(answer["id"], "true_result")
    record = node.record(answer["id"])
    codes = dict.fromkeys(persona.declared, "not_found")
    assert open_commitment(record, "true_result", salt, {"result": "not_found", "attributes": codes})
    assert canonical(record).count(salt.encode()) == 0
