"""What an answer shows: what the agreement names, never more, and equal forms where existence is not disclosed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from evidence.receipt import verify_receipt
from examples.demo import cast
from examples.demo.personas import personas
from tests.nodes.consumer import Consumer
from tests.nodes.questions import CLIENT, SERVICE, body, employment, persona
from tests.nodes.running import OwnNode, RunningNode

Consumers = Callable[[str], Consumer]

DIBAO = "agreements/hz-civil-employment-status-low-income-household.yaml"
DAY = {"employed_on": "2026-09-15"}


def dibao(number: str, name: str, **members: Any) -> dict[str, Any]:
    return {
        "purpose": "low-income-household",
        "case": "LH-TEST-0001",
        "operator": "demo.operator",
        "subject": {"id_number": number},
        "confirm": {"name": name},
        "declared": DAY,
        **members,
    }


ABSENT = dibao(cast.UNKNOWN.id_number, cast.UNKNOWN.name)
MISNAMED = dibao(cast.APPLICANTS_SON.id_number, "林志强")
UNEMPLOYED = dibao(cast.HOMEMAKER.id_number, cast.HOMEMAKER.name)
ENDED = dibao(cast.APPLICANT.id_number, cast.APPLICANT.name)
FOLDED = {"unknown": ABSENT, "misnamed": MISNAMED, "nothing on record": UNEMPLOYED, "ended before": ENDED}


def shape(value: Any) -> Any:
    """The form of a JSON document: members and lengths, without the values."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return len(value) if isinstance(value, str) else value


def payload(jws: str) -> Any:
    part = jws.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.fixture
def folded(own_node: OwnNode) -> tuple[RunningNode, dict[str, TestResponse]]:
    """Answers to questions that differ in what is true, at log positions of equal length."""
    node = own_node()
    caller = node.consumer("hz-civil-dibao")
    for _ in range(10):
        caller.ask(SERVICE, b"{")
    return node, {name: caller.ask(SERVICE, question) for name, question in FOLDED.items()}


def test_folded_answers_differ_in_nothing_but_id_time_and_salt(
    folded: tuple[RunningNode, dict[str, TestResponse]],
) -> None:
    """T4: absent, misnamed and unemployed look the same, down to the number of bytes."""
    _, responses = folded
    assert {response.get_json()["result"] for response in responses.values()} == {"no_match"}
    assert len({len(response.data) for response in responses.values()}) == 1
    assert len({tuple(response.headers.keys()) for response in responses.values()}) == 1
    fixed = {
        str({name: value for name, value in response.get_json().items() if name not in {"id", "receipt"}})
        for response in responses.values()
    }
    assert len(fixed) == 1


def test_folded_receipts_and_records_have_one_form(folded: tuple[RunningNode, dict[str, TestResponse]]) -> None:
    node, responses = folded
    documents = [response.get_json() for response in responses.values()]
    receipts = [payload(document["receipt"]) for document in documents]
    for one in receipts:
        del one["iat"], one["log"]["index"]
    assert all(shape(one) == shape(receipts[0]) for one in receipts)
    records = [node.record(document["id"]) for document in documents]
    assert all(shape(record) == shape(records[0]) for record in records)
    for name in ("state", "decision", "limit", "rules", "as_of", "agreement", "contract"):
        assert len({str(record[name]) for record in records}) == 1


def test_folded_answers_cost_the_same(folded: tuple[RunningNode, dict[str, TestResponse]]) -> None:
    node, responses = folded
    prices = [sorted(node.charges(response.get_json()["id"]).values()) for response in responses.values()]
    assert all(price == prices[0] for price in prices)


def test_index_shows_the_disclosed_result_only(folded: tuple[RunningNode, dict[str, TestResponse]]) -> None:
    node, responses = folded
    for response in responses.values():
        (row,) = node.rows(id=response.get_json()["id"])
        assert row.result == "no_match"


def test_folded_answers_per_attribute_are_alike_too(own_node: OwnNode) -> None:
    node = own_node({DIBAO: lambda text: text.replace("level: overall", "level: per_attribute")})
    caller = node.consumer("hz-civil-dibao")
    for question in FOLDED.values():
        answer = caller.ask(SERVICE, question).get_json()
        assert answer["attributes"] == {"employed_on": "no_match"}


def test_unfolded_agreement_tells_a_misspelt_name_from_no_employment(consumer: Consumers) -> None:
    wrong = persona(SERVICE, "not_found", CLIENT)
    assert consumer(CLIENT).ask(SERVICE, body(wrong)).get_json()["result"] == "not_found"


def test_masked_value_stands_in_a_match_only(consumer: Consumers) -> None:
    match = consumer(CLIENT).ask(SERVICE, body(persona(SERVICE, "match", CLIENT))).get_json()
    assert match["disclosed"] == {"employer": "杭州****有限公司"}
    for expect in ("no_match", "not_found"):
        answer = consumer(CLIENT).ask(SERVICE, body(persona(SERVICE, expect, CLIENT))).get_json()
        assert answer["disclosed"] == {"employer": None}


def test_answer_without_disclosure_has_no_member_for_it(consumer: Consumers) -> None:
    for item in personas():
        if item.expect not in {"match", "no_match", "not_found"}:
            continue
        answer = consumer(item.client).ask(item.service, body(item)).get_json()
        assert ("disclosed" in answer) is any(name.startswith("mask:") for name in answer["obligations"])
        assert ("attributes" in answer) is ("disclose:per_attribute" in answer["obligations"])
        if "attributes" in answer:
            assert answer["attributes"].keys() == item.declared.keys()


def test_results_per_attribute_say_which_one_disagrees(consumer: Consumers) -> None:
    item = next(item for item in personas() if item.service == "property-contract" and item.expect == "no_match")
    answer = consumer(item.client).ask(item.service, body(item)).get_json()
    assert answer["attributes"] == {"contract_number": "match", "price": "no_match"}


def test_number_alone_never_matches(consumer: Consumers) -> None:
    """T1: the right number beside a wrong name is unconfirmed, whatever else is declared right."""
    for item in personas():
        if item.expect == "match" and item.service == "person-basic":
            question = body(item) | {"confirm": {"name": "无名氏"}}
            assert consumer(item.client).ask(item.service, question).get_json()["result"] == "no_match"


def stands_in(value: str, text: str) -> bool:
    """Digits count where they stand by themselves: four in a row may be part of a digest by chance."""
    return bool(re.search(rf"(?<![\w-]){value}(?![\w-])", text)) if value.isdigit() else value in text


def test_no_raw_value_of_a_source_is_in_any_answer(consumer: Consumers) -> None:
    raw = {cast.SOFTWARE.name, cast.MILL.name, cast.SOFTWARE.credit_code, cast.MILL.credit_code, "9900", "8650"}
    for item in personas():
        if item.client == CLIENT:
            text = consumer(CLIENT).ask(item.service, body(item)).text
            assert not [value for value in raw if stands_in(value, text)]


def test_receipt_opens_nothing_beyond_the_consumers_own(node: RunningNode, consumer: Consumers) -> None:
    receipt = verify_receipt(consumer(CLIENT).ask(SERVICE, employment()).get_json()["receipt"], node.receipt_keys())
    assert receipt.openings.keys() == {"question", "case", "operator", "subject", "declared", "result"}
    assert receipt.record["commitments"].keys() == {*receipt.openings, "true_result"}
