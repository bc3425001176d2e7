"""T9: no identifier reaches a log, the node database or Redis, in clear or in any form that can be tried out."""

from __future__ import annotations

import base64
import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from werkzeug.test import TestResponse

from adapters.base import SourceUnavailable
from tests.conftest import OwnNode
from tests.nodes.questions import CLIENT, SERVICE, Question, claimants
from tests.nodes.running import Ground, RunningNode
from tests.nodes.sources import CountingSource

PEOPLE = 200


def forms(value: str) -> set[bytes]:
    """The value in clear and in every form that gives it back, or that anybody can make of a guess."""
    raw = value.encode()
    found = {
        raw,
        orjson.dumps(value)[1:-1],
        value.encode("utf-16-le"),
        raw.hex().encode(),
        raw.hex().upper().encode(),
    }
    found.add(value.encode("unicode_escape"))
    for shift in range(3):
        # Base64 of a longer text that holds the value, whichever way it lies.
        text = base64.b64encode(b"\0" * shift + raw)
        found |= {cut for one in (text, text.translate(bytes.maketrans(b"+/", b"-_"))) if (cut := one[4:-4])}
    for algorithm in ("sha256", "sha1", "md5"):
        digest = hashlib.new(algorithm, raw).digest()
        encoded = base64.b64encode(digest).rstrip(b"=")
        found |= {digest, digest.hex().encode(), encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def needles(question: Question) -> dict[bytes, str]:
    """Every form of whatever a question says of a person."""
    number, name = question["subject"]["id_number"], question["confirm"]["name"]
    values = {"number": number, "old number": number[:6] + number[8:17], "body of the number": number[:17]}
    # Two characters are met by chance; longer names are not.
    values |= {"name": name} if len(name) > 2 else {}
    values["question"] = orjson.dumps(question).decode()
    return {form: what for what, value in values.items() for form in forms(value)}


def hits(wanted: dict[bytes, str], haystack: bytes) -> set[str]:
    """What of it stands in these bytes."""
    return {what for form, what in wanted.items() if form in haystack}


@pytest.mark.parametrize(
    "leak",
    [
        lambda number: f"asked about {number}".encode(),
        lambda number: base64.b64encode(f"the subject is {number}, he said".encode()),
        lambda number: base64.urlsafe_b64encode(orjson.dumps({"subject": {"id_number": number}})),
        lambda number: hashlib.sha256(number.encode()).hexdigest().encode(),
        lambda number: hashlib.sha256(number.encode()).digest(),
        lambda number: number.encode().hex().encode(),
    ],
)
def test_a_leak_would_be_found(ground: Ground, leak: Callable[[str], bytes]) -> None:
    question = next(claimants(ground.folder))
    assert hits(needles(question), b"x" * 100 + leak(question["subject"]["id_number"]) + b"y" * 100)


class Run:
    """What two hundred questions about distinct people left behind, answered, denied and failed alike."""

    def __init__(self, node: RunningNode, questions: list[Question]) -> None:
        self.node = node
        self.questions = questions
        self.responses = [ask(node, number, question) for number, question in enumerate(questions)]


def ask(node: RunningNode, number: int, question: Question) -> TestResponse:
    """Ask in one of eight ways, most of which fail."""
    caller, person = node.consumer(CLIENT), question["subject"]["id_number"]
    match number % 8:
        case 0:
            return caller.ask(SERVICE, question)
        case 1:
            return caller.ask(SERVICE, question, Idempotency_Key=f"key-{number}")
        case 2:
            return caller.ask(SERVICE, question | {"purpose": "recruitment"})
        case 3:
            return caller.ask(SERVICE, question | {"case": f"UB {person}", person: person, "operator": person})
        case 4:
            return caller.ask(SERVICE, orjson.dumps(question)[:-1] + b',"subject":1}')
        case 5:
            failing = node.with_adapter(SERVICE, CountingSource(error=SourceUnavailable("the source is down")))
            return failing.consumer(CLIENT).ask(SERVICE, question)
        case 6:
            broken = node.with_adapter(SERVICE, CountingSource(error=RuntimeError(f"row of {person}")))
            return broken.consumer(CLIENT).ask(SERVICE, question)
        case _:
            return caller.ask(SERVICE, question | {"subject": {"id_number": person[:17] + "?"}}, Authorization="")


@pytest.fixture
def run(own_node: OwnNode, ground: Ground, caplog: pytest.LogCaptureFixture) -> Iterator[Run]:
    """The run with everything logged that can be logged."""
    with caplog.at_level(logging.DEBUG):
        yield Run(own_node(), list(islice(claimants(ground.folder), PEOPLE)))


def logged(caplog: pytest.LogCaptureFixture) -> bytes:
    """Everything that reached a logger, with arguments and exceptions."""
    parts = [f"{record.getMessage()} {record.args} {record.exc_info} {record.exc_text}" for record in caplog.records]
    return "\n".join(parts).encode("utf-8", "surrogatepass")


def stored(node: RunningNode) -> dict[str, bytes]:
    """Every file of the node's state, write-ahead log included."""
    return {path.name: path.read_bytes() for path in node.folder.rglob("*") if path.is_file()}


def kept_in_redis(node: RunningNode) -> bytes:
    """Every key and value that the limiter's front holds."""
    with closing(node.redis()) as client:
        client.config_set("appendfsync", "always")
        return b"\n".join(
            part
            for key in client.scan_iter("*")
            for part in (key, *(value for pair in client.hgetall(key).items() for value in pair))
        )


def test_no_identifier_reaches_a_log_the_database_or_redis(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    states = {response.status_code for response in run.responses}
    assert states == {200, 400, 401, 403, 422, 500, 503}, "the run was to meet every kind of end"
    assert "unexpected RuntimeError" in caplog.text
    places = stored(run.node) | {"log": logged(caplog), "redis": kept_in_redis(run.node)}
    assert {"node.db", "node.db-wal"} <= places.keys()
    assert len(places["redis"]) > 1_000
    everybody: dict[bytes, str] = {}
    for question in run.questions:
        everybody |= needles(question)
    assert {name: found for name, place in places.items() if (found := hits(everybody, place))} == {}


def test_refusals_and_answers_repeat_no_identifier(run: Run) -> None:
    for question, response in zip(run.questions, run.responses, strict=True):
        visible = b"\n".join([response.data, str(response.headers).encode()])
        assert hits(needles(question), visible) == set()


def columns_with(node: RunningNode, value: str) -> set[str]:
    """The columns of the node database that hold the value in some row."""
    found = set()
    with closing(sqlite3.connect(node.folder / "node.db")) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in names:
            rows: list[tuple[Any, ...]] = connection.execute(f"SELECT * FROM {table}").fetchall()
            heads = [head[1] for head in connection.execute(f"PRAGMA table_info({table})")]
            for row in rows:
                cells = [cell if isinstance(cell, bytes) else str(cell).encode() for cell in row]
                found |= {
                    f"{table}.{head}" for head, cell in zip(heads, cells, strict=True) if value.encode() in cell
                }
    return found


def test_case_and_operator_stand_in_the_index_only(own_node: OwnNode, caplog: pytest.LogCaptureFixture) -> None:
    """They are kept in clear for auditors, in the index; the log itself has commitments (design § 7)."""
    node = own_node()
    case, operator = "CANARY-CASE-77", "canary.operator.77"
    question = next(claimants(node.ground.folder)) | {"case": case, "operator": operator}
    with caplog.at_level(logging.DEBUG):
        assert node.consumer(CLIENT).ask(SERVICE, question).status_code == 200
    assert columns_with(node, case) == {"decision.case_number"}
    assert columns_with(node, operator) == {"decision.operator"}
    for place in (logged(caplog), kept_in_redis(node)):
        assert case.encode() not in place
        assert operator.encode() not in place


def test_token_and_authorization_are_not_kept(own_node: OwnNode, caplog: pytest.LogCaptureFixture) -> None:
    node = own_node()
    with caplog.at_level(logging.DEBUG):
        caller = node.consumer(CLIENT)
        token = caller.token()
        caller.ask(SERVICE, next(claimants(node.ground.folder)))
    secret = token.rpartition(".")[2].encode()
    places = stored(node) | {"log": logged(caplog), "redis": kept_in_redis(node)}
    assert [name for name, place in places.items() if secret in place] == []


def test_append_only_file_of_the_embedded_valkey_holds_no_identifier(run: Run) -> None:
    everybody: dict[bytes, str] = {}
    for question in run.questions:
        everybody |= needles(question)
    kept_in_redis(run.node)
    files = [path for path in Path(run.node.ground.folder / "valkey").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 1_000
    for path in files:
        assert hits(everybody, path.read_bytes()) == set()
