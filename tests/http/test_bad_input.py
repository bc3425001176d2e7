"""Bad input: each kind has a clear problem document, a record in the log, and a receipt tied to what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from evidence.receipt import unread
from evidence.record import open_commitment
from tests.nodes.consumer import Consumer
from tests.nodes.problems import pointers, problem, recorded
from tests.nodes.questions import CLIENT, SERVICE, Question, body, employment, persona
from tests.nodes.routes import routes
from tests.nodes.running import RunningNode

Consumers = Callable[[str], Consumer]

NUMBER = employment()["subject"]["id_number"]
WRONG_CHECK = NUMBER[:-1] + ("0" if NUMBER[-1] != "0" else "1")


UNREADABLE = {
    "nothing at all": b"",
    "no JSON": b"subject=1",
    "cut short": orjson.dumps(employment())[:-1],
    "NaN": b'{"declared":{"price":NaN}}',
    "Infinity": b'{"declared":{"price":Infinity}}',
    "minus Infinity": b'{"declared":{"price":-Infinity}}',
    "an exponent that no number holds": b'{"declared":{"price":1e99999999999999999999}}',
    "an integer of 5,000 digits": b'{"declared":{"price":' + b"9" * 5_000 + b"}}",
    "a key twice": b'{"purpose":"unemployment-benefit","purpose":"recruitment"}',
    "a key twice, once escaped": b'{"case":"UB-1","\\u0063ase":"UB-2"}',
    "a key twice, deep down": b'{"subject":{"id_number":"1","id_number":"2"}}',
    "an array": b"[]",
    "a text": b'"purpose"',
    "null": b"null",
    "two documents": b"{}{}",
    "nine levels": b'{"a":' * 9 + b"1" + b"}" * 9,
    "20,000 open arrays": b'{"a":' + b"[" * 20_000,
    "depth hidden behind brackets in a text": b'{"a":"'
    + b"]" * 9_000
    + b'","b":'
    + b"[" * 9_000
    + b"]" * 9_000
    + b"}",
    "depth hidden behind an escaped quote": b'{"a":"\\"' + b"}" * 9_000 + b'","b":' + b"[" * 9_000,
    "not UTF-8": b'{"case":"\xff"}',
    "UTF-16": orjson.dumps(employment()).decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + orjson.dumps(employment()),
    "a comment": b'{"case":"UB-1"/**/}',
    "a control character in a text": b'{"case":"UB\x01"}',
    "surrogates as UTF-8": b'{"case":"\xed\xa0\x80"}',
}


@pytest.mark.parametrize("sent", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_body_that_is_no_sound_json_is_malformed(node: RunningNode, consumer: Consumers, sent: bytes) -> None:
    response = consumer(CLIENT).ask(SERVICE, sent)
    receipt = recorded(node, response, "malformed")
    assert receipt.record["service"] == SERVICE
    assert "decision" not in receipt.record
    assert open_commitment(receipt.record, "question", receipt.openings["question"], unread(sent))


def changed(**members: Any) -> Question:
    """The sound question with members replaced; None takes one out."""
    return {name: value for name, value in employment(**members).items() if value is not None}


UNFIT: dict[str, tuple[Question, dict[str, str]]] = {
    "no purpose": (changed(purpose=None), {"/purpose": "lower-case"}),
    "purpose of a wrong form": (changed(purpose="Unemployment Benefit"), {"/purpose": "lower-case"}),
    "purpose is a number": (changed(purpose=7), {"/purpose": "lower-case"}),
    "purpose holds an id number": (changed(purpose=f"a-{NUMBER.lower()}"), {"/purpose": "lower-case"}),
    "no case": (changed(case=None), {"/case": "1 to 64"}),
    "empty case": (changed(case=""), {"/case": "1 to 64"}),
    "case of 65 characters": (changed(case="U" * 65), {"/case": "1 to 64"}),
    "case with a line feed": (changed(case="UB-1\n2"), {"/case": "printable"}),
    "case is a number": (changed(case=20260001), {"/case": "1 to 64"}),
    "no operator": (changed(operator=None), {"/operator": "1 to 64"}),
    "no case and no operator": (changed(case=None, operator=None), {"/case": "1 to 64", "/operator": "1 to 64"}),
    "id number in case": (changed(case=NUMBER), {"/case": "card number"}),
    "id number in case, glued": (changed(case=f"UB{NUMBER}9"), {"/case": "card number"}),
    "id number in case, full-width": (
        changed(case=NUMBER.translate({ord("0") + d: chr(0xFF10 + d) for d in range(10)})),
        {"/case": "card number"},
    ),
    "id number in case, split": (
        changed(case=f"{NUMBER[:6]}-{NUMBER[6:14]}-{NUMBER[14:]}"),
        {"/case": "card number"},
    ),
    "old id number in operator": (changed(operator=NUMBER[:6] + NUMBER[8:17]), {"/operator": "card number"}),
    "mobile number in operator": (changed(operator="op.13800138000"), {"/operator": "card number"}),
    "card number in case": (changed(case="6222020000000000000"), {"/case": "card number"}),
    "lone surrogate in case": (changed(case="UB-\ud800"), {"/case": "printable"}),
    "no subject": (changed(subject=None), {"/subject/id_number": "text"}),
    "subject is a text": (changed(subject=NUMBER), {"/subject": "object", "/subject/id_number": "text"}),
    "subject is a list": (changed(subject=[NUMBER]), {"/subject": "object", "/subject/id_number": "text"}),
    "number of the subject is an integer": (
        changed(subject={"id_number": int(NUMBER[:17])}),
        {"/subject/id_number": "text"},
    ),
    "wrong check digit": (changed(subject={"id_number": WRONG_CHECK}), {"/subject/id_number": "check digit"}),
    "17 digits": (changed(subject={"id_number": NUMBER[:17]}), {"/subject/id_number": "18 characters"}),
    "born on 30 February": (
        changed(subject={"id_number": "339881199002300015"}),
        {"/subject/id_number": "id number"},
    ),
    "another identifier beside": (
        changed(subject={"id_number": NUMBER, "passport": "E1"}),
        {"/subject/passport": "not a member"},
    ),
    "no name to confirm": (changed(confirm={}), {"/confirm/name": "missing"}),
    "no confirm": (changed(confirm=None), {"/confirm/name": "missing"}),
    "empty name": (changed(confirm={"name": ""}), {"/confirm/name": "empty"}),
    "name of 101 characters": (changed(confirm={"name": "沈" * 101}), {"/confirm/name": "100"}),
    "name is null": (changed(confirm={"name": None}), {"/confirm/name": "string"}),
    "name with a lone surrogate": (changed(confirm={"name": "沈\udfff"}), {"/confirm/name": "control"}),
    "no declared": (changed(declared=None), {"/declared/employed_on": "missing"}),
    "declared is null": (employment(declared=None), {"/declared": "object", "/declared/employed_on": "missing"}),
    "required attribute missing": (changed(declared={}), {"/declared/employed_on": "missing"}),
    "unknown attribute": (
        changed(declared={"employed_on": "2026-09-15", "salary": "1"}),
        {"/declared/salary": "not an attribute"},
    ),
    "date that does not exist": (
        changed(declared={"employed_on": "2026-02-29"}),
        {"/declared/employed_on": "real day"},
    ),
    "date in another form": (changed(declared={"employed_on": "15.09.2026"}), {"/declared/employed_on": "real day"}),
    "date is a number": (changed(declared={"employed_on": 20260915}), {"/declared/employed_on": "string"}),
    "date with a fraction": (changed(declared={"employed_on": 2026.5}), {"/declared/employed_on": "string"}),
    "integer beyond 2^53": (changed(declared={"employed_on": 2**62}), {"/declared/employed_on": "string"}),
    "unknown member": (employment(tolerance="999999"), {"/tolerance": "not a member"}),
    "unknown member whose name is an id number": (employment(**{NUMBER: 1}), {"/?": "not a member"}),
    "unknown member with a lone surrogate": (employment(**{"\ud800": 1}), {"/?": "not a member"}),
}


def sent_of(question: Question) -> bytes:
    """The question as JSON, lone surrogates escaped as RFC 8259 allows."""
    return json.dumps(question).encode()


@pytest.mark.parametrize(("question", "expected"), UNFIT.values(), ids=UNFIT.keys())
def test_question_outside_the_schema_is_refused_where_it_is_wrong(
    node: RunningNode, consumer: Consumers, question: Question, expected: dict[str, str]
) -> None:
    sent = sent_of(question)
    response = consumer(CLIENT).ask(SERVICE, sent)
    found = pointers(response)
    assert found.keys() == expected.keys()
    assert all(words in found[pointer] for pointer, words in expected.items()), found
    assert NUMBER not in response.text.replace(response.get_json()["receipt"], "")

    receipt = recorded(node, response, "invalid-request")
    assert not {"case", "operator", "subject", "declared"} & receipt.record["commitments"].keys()
    (row,) = node.rows(id=receipt.record["id"])
    assert (row.case_number, row.operator, row.subject_tag, row.purpose) == (None, None, None, None)
    committed = [question, unread(sent)]
    assert any(open_commitment(receipt.record, "question", receipt.openings["question"], it) for it in committed)


def test_refused_question_is_tied_to_its_receipt(node: RunningNode, consumer: Consumers) -> None:
    question = changed(subject={"id_number": WRONG_CHECK})
    receipt = recorded(node, consumer(CLIENT).ask(SERVICE, question), "invalid-request")
    receipt.check_question(question, SERVICE)


def test_amount_with_three_decimals_is_refused(node: RunningNode, consumer: Consumers) -> None:
    question = body(persona("property-contract", "match", "hz-tax-levy"))
    question["declared"]["price"] = "1280000.001"
    response = consumer("hz-tax-levy").ask("property-contract", question)
    assert pointers(response).keys() == {"/declared/price"}
    recorded(node, response, "invalid-request")


def test_amount_as_a_number_is_refused(node: RunningNode, consumer: Consumers) -> None:
    question = body(persona("property-contract", "match", "hz-tax-levy"))
    question["declared"]["price"] = 1_280_000.0
    response = consumer("hz-tax-levy").ask("property-contract", question)
    assert pointers(response) == {"/declared/price": "must be a decimal string"}
    recorded(node, response, "invalid-request")


@pytest.mark.parametrize(
    "odd",
    [1.5, 2**62, {"id_number": 1e300}, "\ud800", ["\udfff"]],
    ids=["fraction", "large", "deep", "surrogate", "list"],
)
def test_value_without_canonical_form_to_a_withheld_service_is_denied_and_recorded(
    node: RunningNode, consumer: Consumers, odd: Any
) -> None:
    """A withheld service has no schema for a subject: the reader does not stop what no commitment takes."""
    question = body(persona("adoption-registration", "not-permitted")) | {"subject": odd, "declared": {}}
    sent = sent_of(question)
    receipt = recorded(node, consumer(CLIENT).ask("adoption-registration", sent), "not-permitted")
    assert open_commitment(receipt.record, "question", receipt.openings["question"], unread(sent))
    assert "subject" not in receipt.record["commitments"]


def test_unknown_service_is_recorded_without_a_service(node: RunningNode, consumer: Consumers) -> None:
    receipt = recorded(node, consumer(CLIENT).ask("no-such-service", employment()), "not-found")
    assert "service" not in receipt.record
    receipt.check_question(employment())


def test_purpose_outside_the_agreement_is_denied_with_its_articles(node: RunningNode, consumer: Consumers) -> None:
    question = employment(purpose="recruitment")
    response = consumer(CLIENT).ask(SERVICE, question)
    recorded(node, response, "not-permitted").check_question(question, SERVICE)
    rules = {reason["rule"]: reason["basis"] for reason in response.get_json()["reasons"]}
    assert rules == {"purpose-not-covered": ["山东 第二十九条", "山东 第三十一条", "四川 第六条"]}


def test_attribute_outside_the_agreement_is_denied_not_left_out(node: RunningNode, consumer: Consumers) -> None:
    refused = persona(SERVICE, "not-permitted", "hz-civil-dibao")
    response = consumer("hz-civil-dibao").ask(SERVICE, body(refused))
    recorded(node, response, "not-permitted")
    assert [reason["rule"] for reason in response.get_json()["reasons"]] == ["attribute-not-covered"]


def test_case_and_operator_outside_their_patterns_are_both_named(node: RunningNode, consumer: Consumers) -> None:
    question = employment(case="案件一", operator="x")
    response = consumer(CLIENT).ask(SERVICE, question)
    recorded(node, response, "not-permitted").check_question(question, SERVICE)
    assert [reason["rule"] for reason in response.get_json()["reasons"]] == ["case-not-agreed", "operator-not-agreed"]


@pytest.mark.parametrize(
    "header",
    ["text/plain", "application/x-www-form-urlencoded", "application/problem+json", "application/jsonx", "json", ""],
)
def test_other_content_type_is_refused(node: RunningNode, consumer: Consumers, header: str) -> None:
    recorded(node, consumer(CLIENT).ask(SERVICE, employment(), Content_Type=header), "unsupported-media-type")


def test_compressed_body_is_refused(node: RunningNode, consumer: Consumers) -> None:
    """A bomb is never unpacked: 100 MB of zeroes would be 100 kB."""
    response = consumer(CLIENT).ask(SERVICE, employment(), Content_Encoding="gzip")
    recorded(node, response, "unsupported-media-type")


def test_content_type_with_a_parameter_is_accepted(consumer: Consumers) -> None:
    response = consumer(CLIENT).ask(SERVICE, employment(), Content_Type="application/json; charset=utf-8")
    assert response.status_code == 200


@pytest.mark.parametrize("size", [65_537, 1_048_576])
def test_body_over_the_limit_is_too_large(node: RunningNode, consumer: Consumers, size: int) -> None:
    sent = orjson.dumps(employment()).ljust(size)
    response = consumer(CLIENT).ask(SERVICE, sent)
    recorded(node, response, "too-large")
    assert "65536" in response.get_json()["detail"]


def test_body_of_the_limit_is_read(consumer: Consumers) -> None:
    assert consumer(CLIENT).ask(SERVICE, orjson.dumps(employment()).ljust(65_536)).status_code == 200


METHODS: dict[str, set[str]] = {}
for _route in routes():
    METHODS.setdefault(_route.path, {"OPTIONS"}).update({_route.method, *(["HEAD"] * (_route.method == "GET"))})


@pytest.mark.parametrize("path", METHODS)
def test_other_method_lists_the_allowed_ones(consumer: Consumers, path: str) -> None:
    """RFC 9110 §15.5.6: a 405 must list what is allowed; flask-smorest would drop it."""
    allowed = ", ".join(sorted(METHODS[path]))
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - METHODS[path]:
        response = consumer(CLIENT).open(method, path)
        problem(response, "method-not-allowed")
        assert response.headers["Allow"] == allowed
    options = consumer(CLIENT).open("OPTIONS", path)
    assert (options.status_code, ", ".join(sorted(options.headers["Allow"].split(", ")))) == (200, allowed)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/services/", f"/v1/services//{SERVICE}", "/v2/services", "/admin"])
def test_unknown_path_is_not_found_and_redirects_nowhere(consumer: Consumers, path: str) -> None:
    problem(consumer(CLIENT).open("GET", path), "not-found")
