from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from client.evidence_file import Evidence
from client.verify import Outcome, Trust, check_document, check_evidence
from evidence.jwk import ValidKey
from evidence.receipt import unread
from tests.unit.evidence.issuer import QUESTION, RESULT, SERVICE, Issuer


def answered(node: Issuer, **members: Any) -> Evidence:
    """The evidence of one question as a consumer keeps it."""
    receipt, index = node.answer(**members)
    identifier = f"0192f0c1-7c5e-7b51-9a3e-{index:012d}"
    state = members.get("state", "answered")
    reply: dict[str, Any] = {"id": identifier, "service": SERVICE, **RESULT, "obligations": []}
    if state != "answered":
        reply = {"type": state, "status": 403, "title": "Refused", "instance": identifier}
    reply["receipt"] = receipt
    return Evidence(service=SERVICE, body=QUESTION, reply=reply, receipt=receipt, proof=node.proof(index))


NODE = Issuer()
NODE.tokens(20)
GOOD = answered(NODE)
DENIED = answered(NODE, decision="deny", state="not-permitted")
TRUST = Trust(NODE.keys, [NODE.verifier])


def test_nothing_verifies_where_nothing_is_trusted() -> None:
    finding = check_evidence("x", GOOD, Trust({}))
    assert finding.outcome is Outcome.NOT_VERIFIED
    assert finding.receipt is None


def test_genuine_answer_with_its_proof_is_complete() -> None:
    finding = check_document("a.json", GOOD.to_json(), TRUST)
    assert finding.outcome is Outcome.COMPLETE
    assert finding.label == "a.json"
    assert finding.text == (
        "https://hz-tax.example answered employment-status with match at 2026-03-05T01:02:03.456Z; "
        "entry 20 of 21 in the log hz-tax.example/log."
    )


def test_genuine_refusal_with_its_proof_is_complete() -> None:
    finding = check_evidence("x", DENIED, TRUST)
    assert finding.outcome is Outcome.COMPLETE
    assert "did not answer employment-status: not-permitted" in finding.text


def test_evidence_without_proof_is_told_apart() -> None:
    finding = check_evidence("x", replace(GOOD, proof=None), TRUST)
    assert finding.outcome is Outcome.WITHOUT_PROOF
    assert "no proof of the log is kept" in finding.text


def test_proof_that_nobody_can_check_is_not_counted() -> None:
    finding = check_evidence("x", GOOD, Trust(NODE.keys))
    assert finding.outcome is Outcome.WITHOUT_PROOF
    assert "no log key was given" in finding.text


def test_evidence_of_a_former_key_is_complete_in_its_time_and_forged_after_it() -> None:
    issued = datetime(2026, 3, 5, 1, 2, 3, tzinfo=UTC)
    for end, outcome, words in (
        (issued, Outcome.COMPLETE, "answered employment-status"),
        (issued - timedelta(minutes=5), Outcome.NOT_VERIFIED, "The receipt is forged: it is signed by a key that"),
    ):
        keys = {kid: ValidKey(key, None, end) for kid, key in NODE.keys.items()}
        finding = check_evidence("x", GOOD, Trust(keys, [NODE.verifier]))
        assert (finding.outcome, words in finding.text) == (outcome, True)


def test_outcomes_are_the_exit_codes_of_the_command() -> None:
    assert {outcome.name: outcome.value for outcome in Outcome} == {
        "COMPLETE": 0,
        "NOT_VERIFIED": 1,
        "WITHOUT_PROOF": 3,
    }


def altered_reply(**members: Any) -> Evidence:
    return replace(GOOD, reply=GOOD.reply | members)


@pytest.mark.parametrize(
    "evidence",
    [
        altered_reply(result="no_match"),
        altered_reply(attributes={"employed_on": "no_match"}),
        altered_reply(disclosed={"employer": "Another company"}),
        altered_reply(disclosed=None),
        altered_reply(id="0192f0c1-7c5e-7b51-9a3e-000000000021"),
        altered_reply(service="wage-base"),
        altered_reply(as_of="2026-03-04"),
        altered_reply(contract="sha-256:other"),
        altered_reply(receipt="a.b.c"),
        replace(GOOD, reply={}),
        replace(GOOD, reply=DENIED.reply),
        replace(DENIED, reply=GOOD.reply),
        replace(DENIED, reply=DENIED.reply | {"type": "budget-exhausted"}),
        replace(DENIED, reply=DENIED.reply | {"instance": GOOD.reply["id"]}),
        replace(DENIED, reply=DENIED.reply | {"instance": 7}),
        replace(GOOD, service="wage-base"),
        replace(GOOD, body=QUESTION | {"case": "SY-2026-0002"}),
        replace(GOOD, body={}),
        replace(GOOD, receipt=DENIED.receipt),
        replace(GOOD, receipt=GOOD.receipt[:-8] + "AAAAAAAA"),
        replace(GOOD, receipt=Issuer(seed=2).answer()[0]),
        replace(GOOD, proof=DENIED.proof),
        replace(GOOD, proof=""),
        replace(GOOD, proof=str(GOOD.proof).replace("index 20", "index 19")),
    ],
)
def test_altered_or_swapped_evidence_is_not_verified(evidence: Evidence) -> None:
    finding = check_evidence("x", evidence, TRUST)
    assert finding.outcome is Outcome.NOT_VERIFIED
    assert finding.text.endswith(".")


def test_problem_type_may_be_a_full_address() -> None:
    reply = DENIED.reply | {
        "type": "https://hz-tax.example/problems/not-permitted",
        "instance": f"/v1/decisions/{DENIED.reply['instance']}",
    }
    assert check_evidence("x", replace(DENIED, reply=reply), TRUST).outcome is Outcome.COMPLETE


def test_refusal_of_an_unread_question_is_complete() -> None:
    node, body = Issuer(), {**QUESTION, "declared": {"price": 1.5}}
    record = {"kind": "question", "id": "x" * 16, "at": "2026-03-05T01:02:03Z", "state": "invalid-request"}
    receipt, index = node.issue(record, {"question": unread(body)})
    reply = {"type": "invalid-request", "instance": "x" * 16}
    kept = Evidence(service=SERVICE, body=body, reply=reply, receipt=receipt, proof=node.proof(index))
    finding = check_document("x", kept.to_json(), Trust(node.keys, [node.verifier]))
    assert finding.outcome is Outcome.COMPLETE
    assert "did not answer a question: invalid-request" in finding.text


def test_document_that_is_no_evidence_is_not_verified() -> None:
    assert check_document("x", b"[]", TRUST).outcome is Outcome.NOT_VERIFIED


@pytest.mark.parametrize("result", ["match", {"verdict": "match"}])
def test_signed_answer_without_a_verdict_is_not_verified(result: Any) -> None:
    node = Issuer()
    record = {
        "kind": "question",
        "id": "x" * 16,
        "at": "2026-03-05T01:02:03Z",
        "service": SERVICE,
        "purpose": QUESTION["purpose"],
        "decision": "permit",
        "state": "answered",
    }
    parts = {name: QUESTION[name] for name in ("subject", "declared", "case", "operator")}
    receipt, _ = node.issue(record, {"question": QUESTION, **parts, "result": result}, result)
    reply = {"id": "x" * 16, "verdict": "match"}
    kept = Evidence(service=SERVICE, body=QUESTION, reply=reply, receipt=receipt)
    assert check_evidence("x", kept, Trust(node.keys)).outcome is Outcome.NOT_VERIFIED
