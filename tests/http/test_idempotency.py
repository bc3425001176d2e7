"""Idempotency-Key: one key of one client is one decision, whose reply it gets again, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import select

from adapters.base import SourceUnavailable
from app.log import tables
from tests.nodes.agreements import moved
from tests.nodes.consumer import Consumer
from tests.nodes.problems import pointers, recorded
from tests.nodes.questions import CLIENT, SERVICE, Question, body, employment, persona
from tests.nodes.running import OwnNode, RunningNode
from tests.nodes.sources import CountingSource

Consumers = Callable[[str], Consumer]

TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"


@pytest.fixture
def key() -> str:
    return f"key-{uuid4()}"


def test_same_key_and_body_get_the_same_bytes(
    node: RunningNode, consumer: Consumers, claimant: Iterator[Question], key: str
) -> None:
    caller, question = consumer(CLIENT), next(claimant)
    first = caller.ask(SERVICE, question, Idempotency_Key=key)
    before = len(node.rows())
    for _ in range(3):
        again = caller.ask(SERVICE, question, Idempotency_Key=key)
        assert (again.status_code, again.content_type, again.data) == (200, first.content_type, first.data)
    assert len(node.rows()) == before, "a repeat is neither recorded again nor charged again"


def test_without_a_key_every_question_is_a_decision(consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    ids = {caller.ask(SERVICE, employment()).get_json()["id"] for _ in range(3)}
    assert len(ids) == 3


def test_same_key_with_another_body_is_a_conflict(
    node: RunningNode, consumer: Consumers, claimant: Iterator[Question], key: str
) -> None:
    caller = consumer(CLIENT)
    caller.ask(SERVICE, next(claimant), Idempotency_Key=key)
    response = caller.ask(SERVICE, next(claimant), Idempotency_Key=key)
    recorded(node, response, "idempotency-conflict", 422)


def test_same_key_and_body_at_another_service_is_a_conflict(node: RunningNode, consumer: Consumers, key: str) -> None:
    question = body(persona("person-basic", "match", "hz-civil-dibao"))
    caller = consumer("hz-civil-dibao")
    assert caller.ask("person-basic", question, Idempotency_Key=key).status_code == 200
    response = caller.ask("employment-status", employment(purpose="low-income-household"), Idempotency_Key=key)
    recorded(node, response, "idempotency-conflict", 422)


def test_keys_of_two_clients_have_nothing_to_do_with_each_other(
    node: RunningNode, consumer: Consumers, key: str
) -> None:
    review = persona(SERVICE, "match", "hz-hrss-review")
    first = consumer(CLIENT).ask(SERVICE, employment(), Idempotency_Key=key)
    second = consumer("hz-hrss-review").ask(SERVICE, body(review), Idempotency_Key=key)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.get_json()["id"] != second.get_json()["id"]


@pytest.mark.parametrize("wrong", [" ", "k" * 129, "with blank", "schlüssel", "tab\there", "\x7f"])
def test_key_of_a_wrong_form_is_invalid(node: RunningNode, consumer: Consumers, wrong: str) -> None:
    caller = consumer(CLIENT)
    headers = {"Authorization": f"Bearer {caller.token()}", "Idempotency-Key": wrong}
    response = caller.open("POST", f"/v1/services/{SERVICE}/verifications", json=employment(), headers=headers)
    assert pointers(response).keys() == {"Idempotency-Key"}
    recorded(node, response, "invalid-request")


def test_key_of_128_characters_is_taken(consumer: Consumers) -> None:
    key = uuid4().hex * 4
    first = consumer(CLIENT).ask(SERVICE, employment(), Idempotency_Key=key)
    assert consumer(CLIENT).ask(SERVICE, employment(), Idempotency_Key=key).data == first.data


def test_refusal_takes_no_key(node: RunningNode, consumer: Consumers, claimant: Iterator[Question], key: str) -> None:
    """Whoever was refused, denied or failed may mend the question and use the key again."""
    caller, question = consumer(CLIENT), next(claimant)
    recorded(node, caller.ask(SERVICE, question | {"case": ""}, Idempotency_Key=key), "invalid-request")
    recorded(node, caller.ask(SERVICE, question | {"purpose": "other-one"}, Idempotency_Key=key), "not-permitted")
    failing = node.with_adapter(SERVICE, CountingSource(error=SourceUnavailable("down")))
    response = failing.consumer(CLIENT).ask(SERVICE, question | {"case": "UB-OTHER-2"}, Idempotency_Key=key)
    recorded(node, response, "source-unavailable")
    assert caller.ask(SERVICE, question, Idempotency_Key=key).status_code == 200


def test_fifty_posts_at_once_with_one_key_are_one_answer(
    node: RunningNode, consumer: Consumers, claimant: Iterator[Question], key: str
) -> None:
    """One decision, one record of an answer, one unit of quota; the others get its bytes or 409."""
    caller, question = consumer(CLIENT), next(claimant)
    caller.token()
    source = CountingSource()
    watched = node.with_adapter(SERVICE, source).consumer(CLIENT)
    watched.token()
    before = {row.id for row in node.rows()}
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda _: watched.ask(SERVICE, question, Idempotency_Key=key), range(50)))
    answers = {response.data for response in responses if response.status_code == 200}
    running = [response for response in responses if response.status_code != 200]
    assert len(answers) == 1
    assert len(source.asked) == 1
    for response in running:
        recorded(node, response, "idempotency-conflict", 409)
        assert response.headers["Retry-After"] == "1"
    made = [row for row in node.rows() if row.id not in before]
    assert [row.state for row in made].count("answered") == 1
    assert len(made) == 1 + len(running)
    assert caller.ask(SERVICE, question, Idempotency_Key=key).data in answers


def test_repeat_is_decided_anew(own_node: OwnNode, key: str) -> None:
    """A stored answer is not handed out once its agreement is suspended."""
    node = own_node()
    assert node.consumer(CLIENT).ask(SERVICE, employment(), Idempotency_Key=key).status_code == 200
    moved(node, "hz-hrss-employment-status-unemployment-benefit", "suspended")
    recorded(node, node.consumer(CLIENT).ask(SERVICE, employment(), Idempotency_Key=key), "not-permitted")


def test_stored_reply_lies_sealed(node: RunningNode, consumer: Consumers, key: str) -> None:
    response = consumer(CLIENT).ask(SERVICE, employment(), Idempotency_Key=key)
    table = tables.idempotency
    with node.node.store.reading() as connection:
        row = connection.execute(select(table).where(table.c.decision_id == response.get_json()["id"])).one()
    assert key not in row.key
    assert response.data not in row.sealed_reply
    assert b"match" not in row.sealed_reply
