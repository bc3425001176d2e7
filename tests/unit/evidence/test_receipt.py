from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.canonical import NotCanonical
from evidence.errors import (
    CheckpointNotVerified,
    CommitmentNotVerified,
    InclusionNotVerified,
    NotVerified,
    ProofNotVerified,
    ReceiptNotVerified,
    RecordNotVerified,
    SignatureNotVerified,
)
from evidence.jwk import ValidKey
from evidence.merkle import leaf_hash
from evidence.proof import parse_proof
from evidence.receipt import MAX_RECEIPT, Receipt, ReceiptSigner, payload, unread, verify_receipt
from tests.unit.evidence.issuer import ORIGIN, QUESTION, RESULT, SERVICE, Issuer

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def node() -> Issuer:
    node = Issuer()
    node.tokens(5)
    return node


@pytest.fixture(scope="module")
def jws(node: Issuer) -> str:
    return node.answer()[0]


@pytest.fixture(scope="module")
def receipt(node: Issuer, jws: str) -> Receipt:
    return verify_receipt(jws, node.keys)


def part(jws: str, number: int) -> Any:
    text = jws.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def resigned(node: Issuer, jws: str, change: Callable[[dict[str, Any]], Any]) -> str:
    """A receipt by the node's true key over an altered payload: what a faulty node could sign."""
    document = part(jws, 1)
    change(document)
    return node.signer.sign(compact(document))


def test_no_receipt_verifies_without_any_key(jws: str) -> None:
    with pytest.raises(SignatureNotVerified, match="not trusted"):
        verify_receipt(jws, {})


ISSUED = datetime(2026, 3, 5, 1, 2, 3, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(seconds=60)


def dated(node: Issuer, begin: datetime | None, end: datetime | None) -> dict[str, ValidKey]:
    return {kid: ValidKey(key, begin, end) for kid, key in node.keys.items()}


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (None, None),
        (ISSUED, ISSUED),
        (ISSUED + MINUTE, None),
        (None, ISSUED - MINUTE),
        (ISSUED - timedelta(days=9_000), ISSUED + timedelta(days=9_000)),
    ],
)
def test_receipt_dated_in_the_time_of_its_key_verifies(
    node: Issuer, jws: str, begin: datetime | None, end: datetime | None
) -> None:
    """A former key verifies for good what it signed in its time, a minute more or less for the clocks."""
    assert verify_receipt(jws, dated(node, begin, end)).result == RESULT


def test_receipt_of_a_former_key_dated_after_its_end_is_forged(node: Issuer, jws: str) -> None:
    with pytest.raises(
        SignatureNotVerified,
        match=r"^The receipt is forged: it is signed by a key that the node retired at 2026-03-05T01:01:02Z, and ",
    ):
        verify_receipt(jws, dated(node, None, ISSUED - MINUTE - SECOND))


def test_receipt_dated_before_its_key_was_used_is_refused(node: Issuer, jws: str) -> None:
    with pytest.raises(SignatureNotVerified, match=r"forged or misdated: it is dated before 2026-03-05T01:03:04Z"):
        verify_receipt(jws, dated(node, ISSUED + MINUTE + SECOND, None))


@pytest.mark.parametrize("issued", [-1, 0, 2**53 - 1])
def test_receipt_with_a_date_beyond_all_calendars_is_refused(node: Issuer, jws: str, issued: int) -> None:
    forged = resigned(node, jws, lambda document: document.update(iat=issued))
    with pytest.raises(SignatureNotVerified, match="forged"):
        verify_receipt(forged, dated(node, ISSUED, ISSUED))


def test_signature_counts_before_the_date(node: Issuer, jws: str) -> None:
    """Whoever holds no key of the node learns nothing about dates, and no other key's time is looked at."""
    keys = dated(node, ISSUED, ISSUED)
    wrong = {
        kid: replace(key, key=ec.derive_private_key(9, ec.SECP256R1()).public_key()) for kid, key in keys.items()
    }
    with pytest.raises(SignatureNotVerified, match="The signature of the receipt is wrong"):
        verify_receipt(jws, wrong)


def test_receipt_says_what_was_signed(node: Issuer, receipt: Receipt) -> None:
    assert (receipt.issuer, receipt.issued_at) == ("https://hz-tax.example", 1_772_672_523)
    assert (receipt.origin, receipt.index, receipt.kid) == (ORIGIN, 5, node.jwk["kid"])
    assert receipt.record["service"] == SERVICE
    assert receipt.result == RESULT
    assert receipt.leaf_hash == leaf_hash(node.entries[5])


def test_same_payload_gives_the_same_receipt(node: Issuer) -> None:
    assert node.signer.sign(b"payload") == node.signer.sign(b"payload")
    assert node.signer.sign(b"payload") != node.signer.sign(b"payloae")


def test_receipt_is_a_jws_to_another_implementation(node: Issuer, jws: str) -> None:
    key = node.keys[node.jwk["kid"]]
    decoded = jwt.api_jws.decode_complete(jws, key, algorithms=["ES256"])
    assert decoded["header"] == {"alg": "ES256", "kid": node.jwk["kid"], "typ": "hecha-receipt+jws"}
    assert json.loads(decoded["payload"])["record"]["service"] == SERVICE


def test_receipt_of_another_implementation_with_the_same_bytes_verifies(node: Issuer, jws: str) -> None:
    header, body, _ = jws.split(".")
    private = ec.derive_private_key(1, ec.SECP256R1())
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(
        f"{header}.{body}".encode(), private
    )
    assert verify_receipt(f"{header}.{body}.{b64(signature)}", node.keys).index == 5


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_flipped_bit_of_a_receipt_is_noticed(node: Issuer, jws: str, data: st.DataObject) -> None:
    spoiled = bytearray(jws.encode())
    bit = data.draw(st.integers(0, 8 * len(spoiled) - 1))
    spoiled[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotVerified):
        verify_receipt(spoiled.decode("latin-1"), node.keys)


def test_receipt_by_a_key_that_took_the_name_of_a_trusted_one_is_refused(node: Issuer, jws: str) -> None:
    impostor = ReceiptSigner(ec.derive_private_key(99, ec.SECP256R1()), node.jwk["kid"])
    with pytest.raises(SignatureNotVerified, match="forged or altered"):
        verify_receipt(impostor.sign(compact(part(jws, 1))), node.keys)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES384"},
        {"typ": "JWT"},
        {"typ": "at+jwt"},
        {"kid": 7},
        {"crit": ["exp"]},
        {"jku": "https://attacker.example/keys"},
        {"x5u": "https://attacker.example/chain"},
        {"jwk": {}},
        {"x5c": ["AA"]},
        {"b64": False},
    ],
    ids=str,
)
def test_header_that_is_not_exactly_a_receipts_is_refused(node: Issuer, jws: str, header: dict[str, Any]) -> None:
    _, body, signature = jws.split(".")
    forged = b64(compact(part(jws, 0) | header))
    with pytest.raises(ReceiptNotVerified):
        verify_receipt(f"{forged}.{body}.{signature}", node.keys)


@pytest.mark.parametrize(
    "header", [b"", b"{}", b"[]", b"null", b"{", b'{"alg":"ES256","typ":"hecha-receipt+jws"}', b"\xff"]
)
def test_header_that_is_no_header_is_refused(node: Issuer, jws: str, header: bytes) -> None:
    _, body, signature = jws.split(".")
    with pytest.raises(ReceiptNotVerified):
        verify_receipt(f"{b64(header)}.{body}.{signature}", node.keys)


def test_key_embedded_in_the_header_is_not_followed(node: Issuer, jws: str) -> None:
    attacker = Issuer(seed=99)
    header = {"alg": "ES256", "typ": "hecha-receipt+jws", "kid": attacker.jwk["kid"], "jwk": attacker.jwk}
    with pytest.raises(ReceiptNotVerified, match="exactly alg, kid and typ"):
        verify_receipt(f"{b64(compact(header))}.{jws.partition('.')[2]}", node.keys)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda jws: "",
        lambda jws: jws.rpartition(".")[0],
        lambda jws: jws + ".x",
        lambda jws: jws + "=",
        lambda jws: jws + "\n",
        lambda jws: " " + jws,
        lambda jws: jws.replace(".", "..", 1),
        lambda jws: jws.rpartition(".")[0] + ".",
        lambda jws: jws.rpartition(".")[0] + "." + b64(bytes(63)),
        lambda jws: jws.rpartition(".")[0] + "." + b64(bytes(64)),
        lambda jws: jws.rpartition(".")[0] + "." + b64(b"\xff" * 64),
        lambda jws: jws + "A" * MAX_RECEIPT,
        lambda jws: jws.replace(".", ".\u00e9", 1),
    ],
)
def test_malformed_receipt_is_refused(node: Issuer, jws: str, spoil: Callable[[str], str]) -> None:
    with pytest.raises((ReceiptNotVerified, SignatureNotVerified)):
        verify_receipt(spoil(jws), node.keys)


@pytest.mark.parametrize(
    ("error", "change"),
    [
        (ReceiptNotVerified, lambda d: d.pop("iss")),
        (ReceiptNotVerified, lambda d: d.update(note="x")),
        (ReceiptNotVerified, lambda d: d.update(iss=7)),
        (ReceiptNotVerified, lambda d: d.update(iat="now")),
        (ReceiptNotVerified, lambda d: d.update(iat=True)),
        (ReceiptNotVerified, lambda d: d.update(iat=1.5)),
        (ReceiptNotVerified, lambda d: d.update(log=[])),
        (ReceiptNotVerified, lambda d: d["log"].pop("index")),
        (ReceiptNotVerified, lambda d: d["log"].update(origin=7)),
        (ReceiptNotVerified, lambda d: d["log"].update(index=-1)),
        (ReceiptNotVerified, lambda d: d["log"].update(index=True)),
        (ReceiptNotVerified, lambda d: d["log"].update(extra=1)),
        (ReceiptNotVerified, lambda d: d.update(openings=[])),
        (ReceiptNotVerified, lambda d: d["openings"].update(case=7)),
        (RecordNotVerified, lambda d: d["record"].update(v=2)),
        (RecordNotVerified, lambda d: d.update(record="x")),
        (CommitmentNotVerified, lambda d: d["openings"].update(colour="A" * 43)),
        (CommitmentNotVerified, lambda d: d["openings"].update(true_result="A" * 43)),
        (CommitmentNotVerified, lambda d: d["openings"].pop("result")),
        (CommitmentNotVerified, lambda d: d.pop("result")),
        (CommitmentNotVerified, lambda d: d["result"].update(result="no_match")),
        (CommitmentNotVerified, lambda d: d["result"].pop("disclosed")),
        (CommitmentNotVerified, lambda d: d["openings"].update(result=d["openings"]["case"])),
        (CommitmentNotVerified, lambda d: d["record"]["commitments"].pop("case")),
    ],
)
def test_payload_that_contradicts_itself_is_refused_even_if_signed(
    node: Issuer, jws: str, error: type[NotVerified], change: Callable[[dict[str, Any]], Any]
) -> None:
    with pytest.raises(error):
        verify_receipt(resigned(node, jws, change), node.keys)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"{", b'{"a":1,"a":1}'])
def test_payload_that_is_no_receipt_is_refused_even_if_signed(node: Issuer, body: bytes) -> None:
    with pytest.raises(ReceiptNotVerified):
        verify_receipt(node.signer.sign(body), node.keys)


def test_question_as_sent_opens_every_commitment(receipt: Receipt) -> None:
    receipt.check_question(QUESTION)
    receipt.check_question(QUESTION, SERVICE)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": {"id_number": "000000199001010039"}},
        {"declared": {"employed_on": "2026-02-01"}},
        {"confirm": {"name": "李四"}},
        {"case": "SY-2026-0002"},
        {"operator": "op-18"},
        {"purpose": "work-injury"},
        {"note": "added"},
        {"declared": 1.5},
    ],
    ids=str,
)
def test_question_altered_after_the_answer_is_noticed(receipt: Receipt, change: dict[str, Any]) -> None:
    with pytest.raises(CommitmentNotVerified):
        receipt.check_question(QUESTION | change, SERVICE)


@pytest.mark.parametrize("member", sorted(QUESTION))
def test_question_with_a_member_taken_away_is_noticed(receipt: Receipt, member: str) -> None:
    with pytest.raises(CommitmentNotVerified):
        receipt.check_question({name: QUESTION[name] for name in QUESTION if name != member})


def test_receipt_of_another_service_is_noticed(receipt: Receipt) -> None:
    with pytest.raises(CommitmentNotVerified, match="another service"):
        receipt.check_question(QUESTION, "wage-base")


def test_answer_that_names_no_service_proves_nothing_about_one(node: Issuer, jws: str) -> None:
    nameless = verify_receipt(resigned(node, jws, lambda d: d["record"].pop("service")), node.keys)
    with pytest.raises(CommitmentNotVerified, match="another service"):
        nameless.check_question(QUESTION, SERVICE)


@pytest.mark.parametrize("field", ["question", "subject", "declared", "case", "operator"])
def test_answer_that_does_not_commit_to_what_was_asked_is_noticed(node: Issuer, jws: str, field: str) -> None:
    def drop(document: dict[str, Any]) -> None:
        document["record"]["commitments"].pop(field)
        document["openings"].pop(field)

    bare = verify_receipt(resigned(node, jws, drop), node.keys)
    with pytest.raises(CommitmentNotVerified, match="does not commit"):
        bare.check_question(QUESTION)


def test_receipt_without_an_opening_proves_nothing_about_the_question(node: Issuer, jws: str) -> None:
    blind = verify_receipt(resigned(node, jws, lambda d: d["openings"].pop("subject")), node.keys)
    with pytest.raises(CommitmentNotVerified, match="subject"):
        blind.check_question(QUESTION)


def test_denial_limit_and_failure_have_receipts_too(node: Issuer) -> None:
    refusals: list[dict[str, Any]] = [
        {"decision": "deny", "state": "not-permitted"},
        {"limit": "budget", "state": "budget-exhausted"},
        {"state": "source-unavailable"},
    ]
    for members in refusals:
        receipt = verify_receipt(node.answer(**members)[0], node.keys)
        assert receipt.result is None
        receipt.check_question(QUESTION, SERVICE)


def test_refusal_of_an_unread_question_is_tied_to_its_bytes(node: Issuer) -> None:
    unreadable = {**QUESTION, "declared": {"price": 1.5}}
    record = {"kind": "question", "id": "x" * 16, "at": "2026-03-05T01:02:03Z", "state": "invalid-request"}
    receipt = verify_receipt(node.issue(record, {"question": unread(unreadable)})[0], node.keys)
    receipt.check_question(unreadable, SERVICE)
    assert unread(unreadable) == unread(json.dumps(unreadable, separators=(",", ":"), ensure_ascii=False).encode())
    with pytest.raises(CommitmentNotVerified):
        receipt.check_question({**unreadable, "declared": {"price": 1.6}}, SERVICE)


def test_answer_cannot_rest_on_a_question_that_was_not_read(node: Issuer) -> None:
    record = {"kind": "question", "id": "x" * 16, "at": "2026-03-05T01:02:03Z", "state": "answered"}
    record |= {"decision": "permit", "purpose": QUESTION["purpose"]}
    secrets = {"question": unread(QUESTION), "result": RESULT}
    receipt = verify_receipt(node.issue(record, secrets, RESULT)[0], node.keys)
    with pytest.raises(CommitmentNotVerified, match="question"):
        receipt.check_question(QUESTION)


def test_proof_shows_the_record_in_the_log(node: Issuer, receipt: Receipt) -> None:
    node.tokens(300)
    checkpoint = receipt.check_proof(node.proof(5), [node.verifier])
    assert (checkpoint.size, checkpoint.root) == (node.frontier.size, node.frontier.root())
    assert receipt.check_proof(parse_proof(node.proof(5)), [node.verifier]) == checkpoint


def test_proof_of_another_entry_is_refused(node: Issuer, receipt: Receipt) -> None:
    with pytest.raises(ProofNotVerified, match="another entry"):
        receipt.check_proof(node.proof(4), [node.verifier])


def test_proof_of_another_log_is_refused(node: Issuer, jws: str) -> None:
    elsewhere = verify_receipt(resigned(node, jws, lambda d: d["log"].update(origin="other")), node.keys)
    with pytest.raises(ProofNotVerified, match="another log"):
        elsewhere.check_proof(node.proof(5), [node.verifier])


def test_receipt_for_a_record_that_was_never_logged_is_noticed(node: Issuer, jws: str) -> None:
    def backdate(document: dict[str, Any]) -> None:
        document["record"]["at"] = "2020-01-01T00:00:00Z"

    with pytest.raises(InclusionNotVerified, match="not in it"):
        verify_receipt(resigned(node, jws, backdate), node.keys).check_proof(node.proof(5), [node.verifier])


def test_proof_under_a_checkpoint_of_another_key_is_refused(node: Issuer, receipt: Receipt) -> None:
    with pytest.raises(CheckpointNotVerified, match="no signature"):
        receipt.check_proof(node.proof(5), [Issuer(seed=2).verifier])


def test_true_result_is_never_opened_by_a_receipt(node: Issuer, jws: str) -> None:
    assert "true_result" in part(jws, 1)["record"]["commitments"]
    assert b"not_found" not in compact(part(jws, 1))
    with pytest.raises(ValueError, match="true result"):
        payload(issuer="i", issued_at=1, record=b"{}", origin="o", index=0, openings={"true_result": "A" * 43})


def test_result_without_canonical_form_is_not_signed() -> None:
    with pytest.raises(NotCanonical):
        payload(issuer="i", issued_at=1, record=b"{}", origin="o", index=0, openings={}, result=[1.5])  # type: ignore[list-item]


def test_signer_takes_p256_keys_only() -> None:
    with pytest.raises(ValueError, match="P-256"):
        ReceiptSigner(ec.derive_private_key(7, ec.SECP384R1()), "kid")
