"""T9: no identifier reaches a log, the node database or Redis, in clear or in any form that can be tried out."""

from __future__ import annotations

import base64
import hashlib
import logging
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
from werkzeug.test import TestResponse

from adapters.base import SourceUnavailable
from tests.nodes.questions import CLIENT, SERVICE, Question, claimants
from tests.nodes.running import Ground, RunningNode, start
from tests.nodes.sources import CountingSource

PEOPLE = 200
SHORTEST = 6  # bytes: a name of two characters; random bytes never hit one of two hundred of them
BASE64 = 10  # characters: fewer are met by chance, where so much is base64


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
        found |= {
            cut for one in (text, text.translate(bytes.maketrans(b"+/", b"-_"))) if len(cut := one[4:-4]) >= BASE64
        }
    for algorithm in ("sha256", "sha1", "md5"):
        digest = hashlib.new(algorithm, raw).digest()
        encoded = base64.b64encode(digest).rstrip(b"=")
        found |= {digest, digest.hex().encode(), encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))}
    return {form for form in found if len(form) >= SHORTEST}


def needles(question: Question) -> dict[bytes, str]:
    """Every form of whatever a question says of a person."""
    number, name = question["subject"]["id_number"], question["confirm"]["name"]
    values = {"number": number, "old number": number[:6] + number[8:17], "body of the number": number[:17]}
    body = orjson.dumps(question).decode()
    values |= {"name": name, "question": body, "request": f"{SERVICE}\x00{body}"}
    return {form: what for what, value in values.items() for form in forms(value)}


def hits(wanted: dict[bytes, str], haystack: bytes) -> set[str]:
    """What of it stands in these bytes; thousands of forms are looked for in one pass."""
    by_head: dict[bytes, list[bytes]] = {}
    for form in wanted:
        by_head.setdefault(form[:SHORTEST], []).append(form)
    return {
        wanted[form]
        for at in range(len(haystack) - SHORTEST + 1)
        for form in by_head.get(haystack[at : at + SHORTEST], ())
        if haystack.startswith(form, at)
    }


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


def plainly(node: RunningNode, question: Question) -> TestResponse:
    return node.consumer(CLIENT).ask(SERVICE, question)


def with_a_key(node: RunningNode, question: Question) -> TestResponse:
    return node.consumer(CLIENT).ask(SERVICE, question, Idempotency_Key=f"key-{question['case']}")


def for_another_purpose(node: RunningNode, question: Question) -> TestResponse:
    return plainly(node, question | {"purpose": "recruitment"})


def with_the_number_everywhere(node: RunningNode, question: Question) -> TestResponse:
    number = question["subject"]["id_number"]
    return plainly(node, question | {"case": f"UB {number}", "operator": number, number: number})


def with_a_member_twice(node: RunningNode, question: Question) -> TestResponse:
    return node.consumer(CLIENT).ask(SERVICE, orjson.dumps(question)[:-1] + b',"subject":1}')


def of_a_source_that_is_down(node: RunningNode, question: Question) -> TestResponse:
    error = SourceUnavailable("the source is down")
    return plainly(node.with_adapter(SERVICE, CountingSource(error=error)), question)


def of_a_source_that_shouts(node: RunningNode, question: Question) -> TestResponse:
    error = RuntimeError(f"row of {question['subject']['id_number']}, {question['confirm']['name']}")
    return plainly(node.with_adapter(SERVICE, CountingSource(error=error)), question)


def without_a_token(node: RunningNode, question: Question) -> TestResponse:
    return node.consumer(CLIENT).ask(SERVICE, question, Authorization="")


WAYS = (
    plainly,
    with_a_key,
    for_another_purpose,
    with_the_number_everywhere,
    with_a_member_twice,
    of_a_source_that_is_down,
    of_a_source_that_shouts,
    without_a_token,
)


class Everything(logging.Handler):
    """Keeps every record that reaches a logger, with its arguments and exceptions."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record."""
        self.lines.append(f"{record.name} {record.getMessage()} {record.args} {record.exc_info} {record.exc_text}")

    @property
    def text(self) -> bytes:
        """All of it."""
        return "\n".join(self.lines).encode("utf-8", "surrogatepass")


@contextmanager
def listening() -> Iterator[Everything]:
    """Log whatever can be logged, the database driver's own statements and rows included."""
    handler = Everything()
    loggers = [logging.getLogger(name) for name in (None, "sqlalchemy", "alembic", "werkzeug", "redis")]
    levels = [logger.level for logger in loggers]
    logging.getLogger().addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@dataclass(frozen=True, slots=True)
class Run:
    """What questions about two hundred distinct people left behind, answered, denied and failed alike."""

    node: RunningNode
    questions: list[Question]
    responses: list[TestResponse]
    log: Everything


@pytest.fixture(scope="module")
def run(ground: Ground) -> Iterator[Run]:
    """The run on a node of its own."""
    # A worker may set this up again after tests of another module.
    folder = Path(tempfile.mkdtemp(prefix="canary-", dir=ground.folder))
    questions = list(islice(claimants(ground.folder), PEOPLE))
    with listening() as log:
        node = start(ground, folder)
        responses = [WAYS[number % len(WAYS)](node, question) for number, question in enumerate(questions)]
        yield Run(node, questions, responses, log)
        node.close()


@pytest.fixture(scope="module")
def everybody(run: Run) -> dict[bytes, str]:
    """Every form of whatever the run's questions said of anyone."""
    return {form: what for question in run.questions for form, what in needles(question).items()}


def stored(node: RunningNode) -> dict[str, bytes]:
    """Every file of the node's state, write-ahead log included."""
    return {path.name: path.read_bytes() for path in node.folder.rglob("*") if path.is_file()}


def kept_in_redis(node: RunningNode) -> bytes:
    """Every key and value that the limiter's front holds."""
    with closing(node.redis()) as client:
        return b"\n".join(
            part
            for key in client.scan_iter("*")
            for part in (key, *(value for pair in client.hgetall(key).items() for value in pair))
        )


def test_no_identifier_reaches_a_log_the_database_or_redis(run: Run, everybody: dict[bytes, str]) -> None:
    states = {response.status_code for response in run.responses}
    assert states == {200, 400, 401, 403, 422, 500, 503}, "the run was to meet every kind of end"
    places = stored(run.node) | {"log": run.log.text, "redis": kept_in_redis(run.node)}
    assert {"node.db", "node.db-wal"} <= places.keys()
    assert b"unexpected RuntimeError" in places["log"]
    assert b"sqlalchemy.engine" in places["log"]
    assert len(places["redis"]) > 1_000
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


def test_case_and_operator_stand_in_the_index_only(run: Run) -> None:
    """They are kept in clear for auditors, in the index; the log itself has commitments (design § 7)."""
    case, operator = "CANARY-CASE-77", "canary.operator.77"
    question = run.questions[0] | {"case": case, "operator": operator}
    assert plainly(run.node, question).status_code == 200
    assert columns_with(run.node, case) == {"decision.case_number"}
    assert columns_with(run.node, operator) == {"decision.operator"}
    for place in (run.log.text, kept_in_redis(run.node)):
        assert case.encode() not in place
        assert operator.encode() not in place


def test_token_is_kept_nowhere(run: Run) -> None:
    caller = run.node.consumer(CLIENT)
    signature = caller.token().rpartition(".")[2].encode()
    assert caller.ask(SERVICE, run.questions[0]).status_code == 200
    places = stored(run.node) | {"log": run.log.text, "redis": kept_in_redis(run.node)}
    assert [name for name, place in places.items() if signature in place] == []


def test_append_only_file_of_the_embedded_valkey_holds_no_identifier(run: Run, everybody: dict[bytes, str]) -> None:
    kept_in_redis(run.node)
    files = [path for path in (run.node.ground.folder / "valkey").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 1_000
    for path in files:
        assert hits(everybody, path.read_bytes()) == set()
