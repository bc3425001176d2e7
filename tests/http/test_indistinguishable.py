"""T4: among folded answers nothing tells no match from a wrong name from a number that nobody has.

Two hundred answers of each of three causes, in mixed order. What must differ (id, time, log position, salts and
signature) is put aside; everything else is equal byte for byte, and what is put aside is of equal length.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from statistics import fmean, pstdev
from typing import Any

import pytest
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from app.log import tables
from evidence.record import open_commitment
from examples.demo.identifiers import resident_id
from tests.nodes import running
from tests.nodes.problems import recorded
from tests.nodes.questions import SERVICE
from tests.nodes.running import Ground, RunningNode

CLIENT = "hz-civil-dibao"
OF_EACH = 200
FIRST_INDEX = 1_000  # so that all positions in the log have four digits
DIBAO = "agreements/hz-civil-employment-status-low-income-household.yaml"
CAUSES = ("no_match", "unconfirmed", "absent")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the consumer gets, and why."""

    cause: str
    response: TestResponse
    document: dict[str, Any]


def body(number: str, name: str, **members: Any) -> dict[str, Any]:
    return {
        "purpose": "low-income-household",
        "case": "LH-TEST-0001",
        "operator": "demo.operator",
        "subject": {"id_number": number},
        "confirm": {"name": name},
        "declared": {"employed_on": "1990-01-01"},
        **members,
    }


def subjects(ground: Ground) -> dict[str, list[dict[str, Any]]]:
    """Questions by cause, each about another person; a day on which nobody was declared yet."""
    with closing(sqlite3.connect(ground.folder / "sources" / "hz-tax.db")) as connection:
        query = "SELECT id_no, full_name FROM taxpayers ORDER BY id_no LIMIT ?"
        known = connection.execute(query, (2 * OF_EACH,)).fetchall()
    numbers = [resident_id("339881", date(1951, 1, 1 + day), place, "M") for day in range(4) for place in range(50)]
    return {
        "no_match": [body(number, name) for number, name in known[:OF_EACH]],
        "unconfirmed": [body(number, "无名氏") for number, _ in known[OF_EACH:]],
        "absent": [body(number, "无名氏") for number in numbers],
    }


@pytest.fixture(scope="module")
def node(ground: Ground) -> Iterator[RunningNode]:
    folder = ground.folder / "indistinguishable"
    folder.mkdir()
    with closing(running.start(ground, folder)) as made:
        yield made


@pytest.fixture(scope="module")
def seen(node: RunningNode, ground: Ground) -> list[Seen]:
    """All answers, in mixed order."""
    caller = node.consumer(CLIENT)
    while len(node.rows()) < FIRST_INDEX:
        for _ in range(50):
            caller.ask(SERVICE, b"{")
    asked = [(cause, question) for cause, questions in subjects(ground).items() for question in questions]
    assert {cause: sum(one == cause for one, _ in asked) for cause in CAUSES} == dict.fromkeys(CAUSES, OF_EACH)
    random.Random(4).shuffle(asked)
    found = []
    for cause, question in asked:
        response = caller.ask(SERVICE, question)
        assert response.status_code == 200, response.text
        found.append(Seen(cause, response, response.get_json()))
    return found


def lengths(seen: list[Seen], length: Any) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for one in seen:
        found[one.cause].add(length(one))
    return found


def neutral(one: Seen) -> bytes:
    """The body without what must differ, of the same length."""
    text: bytes = one.response.data
    for name in ("id", "receipt"):
        value = str(one.document[name]).encode()
        text = text.replace(value, b"*" * len(value))
    return text


def test_the_three_causes_are_three(node: RunningNode, seen: list[Seen]) -> None:
    """The test would show nothing if the register answered all of them alike."""
    truths: dict[str, set[str]] = defaultdict(set)
    for one in (next(one for one in seen if one.cause == cause) for cause in CAUSES):
        code = "no_match" if one.cause == "no_match" else "not_found"
        record = node.record(one.document["id"])
        salt = node.opening(one.document["id"], "true_result")
        truth: Any = {"result": code, "attributes": {"employed_on": code}}
        assert open_commitment(record, "true_result", salt, truth), one.cause
        truths[one.cause].add(code)
    assert set(truths) == set(CAUSES)


def test_bodies_are_equal_but_for_id_and_receipt(seen: list[Seen]) -> None:
    assert len({neutral(one) for one in seen}) == 1
    assert {one.document["result"] for one in seen} == {"no_match"}
    assert len({tuple(one.document) for one in seen}) == 1, "members and their order"


def test_bodies_and_receipts_have_one_length(seen: list[Seen]) -> None:
    assert len({len(one.response.data) for one in seen}) == 1
    assert len({len(one.document["receipt"]) for one in seen}) == 1
    assert len({len(one.document["id"]) for one in seen}) == 1


def test_headers_are_equal_in_name_order_and_value(seen: list[Seen]) -> None:
    """What is left of the quota counts down with each question, whatever its cause."""
    assert len({tuple(name for name, _ in one.response.headers) for one in seen}) == 1
    counted = re.compile(r"\b(r|t)=[0-9]+")
    values = {tuple((name, counted.sub("", value)) for name, value in one.response.headers) for one in seen}
    assert len(values) == 1
    left = [int(re.findall(r"r=([0-9]+)", one.response.headers["RateLimit"])[0]) for one in seen]
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == len(left)


def test_compressed_lengths_tell_nothing(seen: list[Seen]) -> None:
    """Equal where what must differ is put aside; with ids, salts and signatures, no further apart than chance."""
    assert len({len(gzip.compress(neutral(one), mtime=0)) for one in seen}) == 1
    by_cause = {
        cause: [len(gzip.compress(one.response.data, mtime=0)) for one in seen if one.cause == cause]
        for cause in CAUSES
    }
    spread = pstdev([size for sizes in by_cause.values() for size in sizes])
    means = [fmean(sizes) for sizes in by_cause.values()]
    # Six standard errors of a difference of two means: by chance once in half a billion runs.
    assert max(means) - min(means) <= 6 * spread * (2 / OF_EACH) ** 0.5


def payload(receipt: str) -> dict[str, Any]:
    part = receipt.split(".")[1]
    document: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return document


def without_chance(value: Any) -> Any:
    """The document with salts, commitments, digests of facts, times and positions replaced by their lengths."""
    if isinstance(value, dict):
        return {name: without_chance(item) for name, item in value.items()}
    return len(str(value))


def test_receipts_and_records_have_the_same_members_and_clear_values(node: RunningNode, seen: list[Seen]) -> None:
    receipts = [payload(one.document["receipt"]) for one in seen]
    assert len({json.dumps(without_chance(receipt)) for receipt in receipts}) == 1
    clear = []
    for receipt in receipts:
        record = receipt["record"]
        for name in ("id", "at", "commitments", "facts"):
            del record[name]
        clear.append(json.dumps(record))
    assert len(set(clear)) == 1
    assert len({json.dumps(receipt["result"]) for receipt in receipts}) == 1


def test_charges_and_index_are_equal(node: RunningNode, seen: list[Seen]) -> None:
    by_id = {one.document["id"]: one.cause for one in seen}
    rows = {(row.result, row.state, row.limit_reached, row.decision) for row in node.rows() if row.id in by_id}
    assert rows == {("no_match", "answered", "none", "permit")}
    sample = [next(one for one in seen if one.cause == cause) for cause in CAUSES]
    amounts = {tuple(sorted(node.charges(one.document["id"]).values())) for one in sample}
    assert len(amounts) == 1


def test_sealed_answers_have_one_length(node: RunningNode, seen: list[Seen]) -> None:
    """What is kept to be given again lies in the node's database: its length tells nothing either."""
    query = select(tables.decision.c.id, func.length(tables.salt.c.sealed)).join(
        tables.salt, tables.salt.c.idx == tables.decision.c.idx
    )
    ids = {one.document["id"] for one in seen}
    with node.node.store.reading() as connection:
        sizes = {row[1] for row in connection.execute(query) if row[0] in ids}
    assert len(sizes) == 1


def test_repeats_of_folded_answers_are_alike_too(node: RunningNode, seen: list[Seen], ground: Ground) -> None:
    """Free, from what was kept, and as alike as the first time."""
    caller = node.consumer(CLIENT)
    again = []
    for cause, questions in subjects(ground).items():
        for question in questions[:20]:
            response = caller.ask(SERVICE, question)
            again.append(Seen(cause, response, response.get_json()))
    assert len({neutral(one) for one in again}) == 1
    assert len({len(one.response.data) for one in again}) == 1
    assert {len(node.charges(one.document["id"])) for one in again} == {1}


def test_refusals_under_folded_terms_are_alike_too(ground: Ground, own_node: running.OwnNode) -> None:
    """A budget that is used up says the same about all three."""

    def one_bit(text: str) -> str:
        return re.sub(r"budget: {.*}", "budget: {bits: 1}", text)

    made = own_node({DIBAO: one_bit})
    caller = made.consumer(CLIENT)
    while len(made.rows()) < 100:
        caller.ask(SERVICE, b"{")
    documents = []
    for questions in subjects(ground).values():
        for question in questions[:5]:
            assert caller.ask(SERVICE, question).status_code == 200
            other = {**question, "declared": {"employed_on": "1991-01-01"}}
            response = caller.ask(SERVICE, other)
            recorded(made, response, "budget-exhausted")
            document = response.get_json()
            lengths_of = {name: len(document.pop(name)) for name in ("instance", "receipt")}
            documents.append(json.dumps([document, lengths_of, [name for name, _ in response.headers]]))
    assert len(set(documents)) == 1
