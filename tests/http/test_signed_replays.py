"""A signed question is good once: later, at the same moment, at another worker, under an Idempotency-Key too."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import orjson
import pytest
from sqlalchemy import event, insert
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from adapters.base import SourceUnavailable
from app.log import tables
from tests.nodes import running
from tests.nodes.problems import problem, recorded
from tests.nodes.running import Ground, RunningNode
from tests.nodes.signed import Pen, nonce, signed, x5t
from tests.nodes.signed_desk import SERVICE, Desk, signing_desk
from tests.nodes.sources import CountingSource

AT_ONCE = 50


@pytest.fixture(scope="module")
def desk(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with signing_desk(ground, tmp_path_factory.mktemp("replays")) as made:
        yield made


@pytest.fixture(scope="module")
def second(desk: Desk) -> Iterator[RunningNode]:
    """Another instance of the same node: its own memory, the same database."""
    settings = desk.node.node.settings
    made = running.start(
        desk.node.ground,
        desk.node.folder,
        REDIS_URL=str(settings.redis_url),
        TLS_CLIENT_CA=str(settings.tls_client_ca),
    )
    yield made
    made.close()


def replayed(desk: Desk, response: TestResponse) -> None:
    assert "nonce was used" in desk.refused(response)


def test_same_request_twice_is_refused_the_second_time(desk: Desk) -> None:
    fields = desk.signed()
    desk.answered(desk.send(fields))
    for _ in range(2):
        replayed(desk, desk.send(fields))


def test_same_request_at_another_instance_is_refused(desk: Desk, second: RunningNode) -> None:
    fields = desk.signed()
    desk.answered(desk.send(fields))
    replayed(desk.at(second), desk.at(second).send(fields))
    fields = desk.at(second).signed()
    desk.answered(desk.at(second).send(fields))
    replayed(desk, desk.send(fields))


def test_same_request_after_a_restart_is_refused(desk: Desk, ground: Ground) -> None:
    settings = desk.node.node.settings
    fields = desk.signed()
    desk.answered(desk.send(fields))
    again = running.start(
        ground, desk.node.folder, REDIS_URL=str(settings.redis_url), TLS_CLIENT_CA=str(settings.tls_client_ca)
    )
    try:
        replayed(desk.at(again), desk.at(again).send(fields))
    finally:
        again.close()


def test_flushed_redis_forgets_no_nonce(desk: Desk) -> None:
    fields = desk.signed()
    desk.answered(desk.send(fields))
    with desk.node.redis() as client:
        client.flushdb()
    problem(desk.send(fields), "signature-invalid")
    desk.node.node.limiter.rebuild()
    replayed(desk, desk.send(fields))


def test_nonce_of_one_client_is_good_for_another(desk: Desk) -> None:
    once = nonce()
    desk.answered(desk.ask(nonce=once))
    desk.office.register("hz-hrss-second")
    holder = desk.office.holder("hz-hrss-second")
    other = desk.office.caller("hz-hrss-second", holder)
    pen = Pen(holder.key, x5t(holder.certificate))
    theirs = desk.holding(other, pen)
    theirs.answered(theirs.ask(nonce=once))


def test_replay_asks_no_source_and_draws_nothing(desk: Desk) -> None:
    source = CountingSource()
    watched = desk.at(desk.node.with_adapter(SERVICE, source))
    body = another(desk.demanding, "CASE-1001", "2026-01-02")
    fields = watched.signed(body)
    answer = watched.answered(watched.send(fields, body))
    assert len(source.asked) == 1
    assert desk.node.charges(answer["id"])
    looks = source.looks
    response = watched.send(fields, body)
    recorded(desk.node, response, "signature-invalid")
    assert (len(source.asked), source.looks) == (1, looks)
    assert not desk.node.charges(response.get_json()["instance"])


def another(body: bytes, case: str, employed_on: str) -> bytes:
    """The question about another day, which no budget was drawn for yet."""
    return orjson.dumps(orjson.loads(body) | {"case": case, "declared": {"employed_on": employed_on}})


REFUSED = {
    "denied": ({"purpose": "curiosity"}, "not-permitted"),
    "unfit for the schema": ({"operator": 7}, "invalid-request"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_signed_question_that_is_refused_has_spent_its_nonce(desk: Desk, why: str) -> None:
    change, slug = REFUSED[why]
    body = orjson.dumps(orjson.loads(desk.demanding) | change)
    fields = desk.signed(body)
    response = desk.send(fields, body)
    recorded(desk.node, response, slug)
    document = response.get_json()
    assert desk.proved(document["instance"], document["receipt"]).body == body
    replayed(desk, desk.send(fields, body))


def test_signed_question_to_no_service_has_spent_its_nonce(desk: Desk) -> None:
    fields = signed(desk.pen, desk.consumer, "no-such-service", desk.demanding)
    sent = {name.replace("-", "_"): value for name, value in fields.items()}
    document = problem(desk.consumer.ask("no-such-service", desk.demanding, **sent), "not-found")
    desk.proved(document["instance"], document["receipt"])
    problem(desk.consumer.ask("no-such-service", desk.demanding, **sent), "signature-invalid")


def test_signed_question_that_the_source_failed_has_spent_its_nonce(desk: Desk) -> None:
    source = CountingSource(error=SourceUnavailable("down"))
    watched = desk.at(desk.node.with_adapter(SERVICE, source))
    body = another(desk.demanding, "CASE-1002", "2026-01-03")
    fields = watched.signed(body)
    recorded(desk.node, watched.send(fields, body), "source-unavailable")
    asked = len(source.asked)
    recorded(desk.node, watched.send(fields, body), "signature-invalid")
    assert len(source.asked) == asked


def test_signature_over_a_body_that_is_no_json_is_evidence_too(desk: Desk) -> None:
    body = b'{"purpose":'
    response = desk.send(desk.signed(body), body)
    document = problem(response, "malformed")
    assert desk.proved(document["instance"], document["receipt"]).body == body


def test_of_many_at_once_over_two_instances_one_is_answered(desk: Desk, second: RunningNode) -> None:
    body = another(desk.demanding, "CASE-1003", "2026-01-04")
    sources = [CountingSource(), CountingSource()]
    desks = [
        desk.at(node.with_adapter(SERVICE, source)) for node, source in zip((desk.node, second), sources, strict=True)
    ]
    fields, start = desk.signed(body), threading.Barrier(AT_ONCE)

    def ask(number: int) -> TestResponse:
        start.wait(30)
        return desks[number % 2].send(fields, body)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        responses = list(pool.map(ask, range(AT_ONCE)))
    answers = [response for response in responses if response.status_code == 200]
    assert len(answers) == 1
    desk.answered(answers[0])
    refusals = [response for response in responses if response.status_code != 200]
    for response in refusals:
        recorded(desk.node, response, "signature-invalid")
    charged = [one.get_json()["instance"] for one in refusals if desk.node.charges(one.get_json()["instance"])]
    assert charged == []
    assert desk.node.charges(answers[0].get_json()["id"])


def test_of_many_denials_at_once_one_stands_for_the_signature(desk: Desk, second: RunningNode) -> None:
    """The refusals too: none of them is recorded as signed twice."""
    body = orjson.dumps(orjson.loads(desk.demanding) | {"purpose": "curiosity"})
    fields, start = desk.signed(body), threading.Barrier(16)
    desks = [desk, desk.at(second)]

    def ask(number: int) -> TestResponse:
        start.wait(30)
        return desks[number % 2].send(fields, body)

    with ThreadPoolExecutor(16) as pool:
        found = [response.get_json()["type"] for response in pool.map(ask, range(16))]
    assert sorted(found) == ["not-permitted"] + ["signature-invalid"] * 15


def test_repeat_under_an_idempotency_key_gets_the_stored_answer_and_is_good_once(desk: Desk) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = desk.send(desk.signed() | key)
    desk.answered(first)
    fields = desk.signed() | key
    again = desk.send(fields)
    assert (again.status_code, again.data) == (200, first.data)
    recorded(desk.node, desk.send(fields), "signature-invalid")
    assert desk.send(desk.signed() | key).data == first.data


def test_replay_under_another_idempotency_key_leaves_no_claim_on_it(desk: Desk) -> None:
    fields = desk.signed()
    desk.answered(desk.send(fields))
    key = {"Idempotency-Key": str(uuid.uuid4())}
    recorded(desk.node, desk.send(fields | key), "signature-invalid")
    desk.answered(desk.send(desk.signed() | key))


@contextmanager
def failing(node: RunningNode, *words: str) -> Iterator[None]:
    """Let every statement fail that has all these words in it."""

    def refuse(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if all(word in statement for word in words):
            raise OperationalError(statement, None, Exception("disk"))

    event.listen(node.node.store.engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(node.node.store.engine, "before_cursor_execute", refuse)


def test_nobody_is_answered_where_it_cannot_be_told_whether_the_nonce_is_new(desk: Desk) -> None:
    fields = desk.signed()
    with failing(desk.node, "FROM nonce"):
        recorded(desk.node, desk.send(fields), "record-not-written")
    desk.answered(desk.send(fields))


def test_nobody_is_answered_whose_nonce_cannot_be_written(desk: Desk) -> None:
    fields = desk.signed()
    with failing(desk.node, "INSERT INTO nonce"):
        problem(desk.send(fields), "record-not-written")
    desk.node.node.limiter.rebuild()
    desk.answered(desk.send(fields))


def test_stored_answer_is_not_given_where_its_nonce_cannot_be_written(desk: Desk) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    desk.answered(desk.send(desk.signed() | key))
    with failing(desk.node, "INSERT INTO nonce"):
        problem(desk.send(desk.signed() | key), "record-not-written")
    assert desk.send(desk.signed() | key).status_code == 200


def test_evidence_that_cannot_be_kept_answers_nobody(desk: Desk) -> None:
    fields = desk.signed()
    with failing(desk.node, 'INTO "signed_request"'):
        problem(desk.send(fields), "record-not-written")
    desk.node.node.limiter.rebuild()
    desk.answered(desk.send(fields))


def test_nonces_of_the_past_are_forgotten(desk: Desk) -> None:
    with desk.node.node.store.writing() as connection:
        old = [{"client": "hz-tax-levy", "nonce": bytes([number]), "expires_at": 1} for number in range(8)]
        connection.execute(insert(tables.nonce), old)
    before = desk.nonces()
    desk.answered(desk.ask())
    assert desk.nonces() == before - len(old) + 1
