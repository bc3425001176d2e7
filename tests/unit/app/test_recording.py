"""Steps and questions as records: the document archived, its digest in the record, a refused change nowhere."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection, func, insert, select, text

from app.identity.signature import Replayed, Signed
from app.limits.account import Reservation
from app.log import tables
from app.log.idempotency import Claim, Idempotency, Stored
from app.log.nonces import Nonce
from app.log.sealing import Sealer
from app.log.sequencer import Place, RegistryChanged, ReservationStale, Sequencer
from app.log.storage import Store, archived
from app.recording import SALT, Event, Recorder, evidence_name
from app.refusals import Refusal
from app.registry.departments import Client
from app.steps import Step, digest_of, rfc3339
from bench.callers import unchecked_caller
from evidence.canonical import canonical
from evidence.jwk import thumbprint
from evidence.note import NoteSigner
from evidence.receipt import ReceiptSigner, verify_receipt
from evidence.record import open_commitment
from evidence.signed_request import SignedRequest
from policies.decision import Decision
from tests.unit.app.log.entries import charge

NOW = datetime(2026, 11, 22, 6, 0, 0, 123_456, tzinfo=UTC)
KEY = ec.derive_private_key(11, ec.SECP256R1())
SEALER = Sealer(b"k" * 32)
STEWARD = unchecked_caller(Client("hz-tax-steward", {}, "hz-tax", frozenset(), "tls_client_auth_san_dns", "x"))
DOCUMENT = {"agreement": "sha256-a", "reason": "只有文档里有理由"}
STEP = Step(
    id="00000000-0000-4000-8000-000000000001",
    at=NOW,
    kind="agreement",
    state="active",
    about="agreement-a",
    document=DOCUMENT,
    caller=STEWARD,
    consumer="hz-hrss",
    provider="hz-tax",
    service="employment-status",
    agreement="sha256-a",
)


@pytest.fixture
def store(either_store: Store) -> Store:
    return either_store


@pytest.fixture
def recorder(store: Store, signer: NoteSigner) -> Recorder:
    return Recorder(
        sequencer=Sequencer(store, signer),
        signer=ReceiptSigner(KEY, thumbprint(KEY.public_key())),
        sealer=SEALER,
        index_key=b"i" * 32,
        origin="node.example/log",
        issuer="https://node.example",
    )


def verified(receipt: str) -> Any:
    return verify_receipt(receipt, {thumbprint(KEY.public_key()): KEY.public_key()})


def count(store: Store, table: Any) -> int:
    with store.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def row(store: Store, table: Any) -> dict[str, Any]:
    with store.reading() as connection:
        return dict(connection.execute(select(table)).one()._mapping)


def record(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(bytes(row(store, tables.log_entry)["body"]))
    return found


def test_document_of_a_step_is_archived_and_its_digest_stands_in_the_record(store: Store, recorder: Recorder) -> None:
    recorder.record_step(STEP)
    digest = "sha256-" + sha256(canonical(DOCUMENT)).hexdigest()
    assert STEP.digest == digest
    assert record(store)["document"] == digest
    with store.reading() as connection:
        assert archived(connection, digest) == canonical(DOCUMENT)
    assert row(store, tables.archive)["kind"] == "agreement"


def test_record_of_a_step_says_who_did_what_to_which_and_no_free_text(store: Store, recorder: Recorder) -> None:
    recorder.record_step(STEP)
    found = record(store)
    assert {name: found[name] for name in ("kind", "state", "about", "at")} == {
        "kind": "agreement",
        "state": "active",
        "about": "agreement-a",
        "at": "2026-11-22T06:00:00.123Z",
    }
    assert (found["department"], found["client"], found["certificate"]) == ("hz-tax", "hz-tax-steward", "thumbprint")
    assert (found["consumer"], found["provider"], found["agreement"]) == ("hz-hrss", "hz-tax", "sha256-a")
    assert "理由" not in str(found)
    assert "commitments" not in found or not found["commitments"]


def test_step_of_the_node_itself_names_nobody(store: Store, recorder: Recorder) -> None:
    recorder.record_step(replace(STEP, caller=None, consumer=None, provider=None, service=None, agreement=None))
    found = record(store)
    assert not {"department", "client", "certificate", "consumer", "provider", "service", "agreement"} & found.keys()
    step = row(store, tables.step)
    assert (step["department"], step["client"]) == (None, None)
    assert (row(store, tables.decision)["client"], row(store, tables.decision)["consumer"]) == ("", "")


def test_rows_of_a_step_tell_its_history_and_are_found_by_search(store: Store, recorder: Recorder) -> None:
    recorder.record_step(STEP)
    milliseconds = int(NOW.timestamp() * 1_000)
    assert row(store, tables.step) == {
        "idx": 0,
        "about": "agreement-a",
        "kind": "agreement",
        "state": "active",
        "at": milliseconds,
        "department": "hz-tax",
        "client": "hz-tax-steward",
        "digest": STEP.digest,
    }
    decision = row(store, tables.decision)
    assert (decision["id"], decision["kind"], decision["at"]) == (STEP.id, "agreement", milliseconds)
    assert (decision["agreement"], decision["state"], decision["limit_reached"]) == ("agreement-a", "active", "none")
    assert decision["subject_tag"] is decision["case_number"] is decision["facts"] is None


def test_step_about_something_else_names_no_agreement_in_the_index(store: Store, recorder: Recorder) -> None:
    recorder.record_step(replace(STEP, kind="revision", about="hz-node"))
    assert row(store, tables.decision)["agreement"] is None


def test_receipt_of_a_step_verifies_and_opens_nothing(store: Store, recorder: Recorder) -> None:
    receipt = verified(recorder.record_step(STEP))
    assert receipt.record == record(store)
    assert (receipt.index, receipt.result, dict(receipt.openings)) == (0, None, {})


def test_change_runs_in_the_records_own_transaction(store: Store, recorder: Recorder) -> None:
    seen: list[tuple[Place, int]] = []

    def change(connection: Connection, place: Place) -> None:
        seen.append((place, connection.execute(select(func.count()).select_from(tables.archive)).scalar_one()))

    recorder.record_step(replace(STEP, change=change, moves_epoch=True))
    assert seen == [(Place(index=0, epoch=1), 1)]


def test_refused_change_writes_nothing(store: Store, recorder: Recorder) -> None:
    def change(connection: Connection, _place: Place) -> None:
        row = {"party": "a", "service": "s", "purpose": "p", "agreement": "agreement-a"}
        connection.execute(insert(tables.agreement_active), [row])
        raise Refusal("conflict", "It stands otherwise by now.")

    with pytest.raises(Refusal) as refused:
        recorder.record_step(replace(STEP, change=change))
    assert refused.value.slug == "conflict"
    for table in (tables.log_entry, tables.decision, tables.archive, tables.step, tables.agreement_active):
        assert count(store, table) == 0


def test_reply_of_a_step_is_stored_with_it_and_holds_its_receipt(store: Store, recorder: Recorder) -> None:
    keys = Idempotency(store, SEALER)
    claim = Claim("hz-tax-steward", "key", b"digest", STEP.id)
    keys.claim(claim, NOW)
    receipt = recorder.record_step(replace(STEP, stored=lambda text: keys.completed(claim, text.encode())))
    again = keys.claim(replace(claim, decision_id="other"), NOW)
    assert isinstance(again, Stored)
    assert verified(again.body.decode()).record == verified(receipt).record


def event(**members: Any) -> Event:
    """A question that was permitted and answered."""
    members.setdefault("decision", Decision(permitted=True, rules=(), revision=1, digest="d", errors=False))
    return Event(id="00000000-0000-4000-8000-00000000000a", at=NOW, caller=STEWARD, **members)


def test_question_is_recorded_with_its_charges_facts_and_notice(store: Store, recorder: Recorder) -> None:
    asked = event(
        hidden={"subject": {"id_number": "339881197803120013"}, "result": {"result": "match"}},
        disclosed={"result": "match"},
        reservation=Reservation("x", (), (charge("quota/a", 1),), generation=1),
        epoch=0,
        facts=b"facts",
        notice="hz-tax",
        kept=b"kept answer",
    )
    receipt = verified(recorder.record(asked))
    assert asked.index == receipt.index == 0
    assert receipt.result == {"result": "match"}
    assert "339881197803120013" not in str(record(store))
    assert row(store, tables.charge)["account"] == "quota/a"
    assert row(store, tables.notice)["provider"] == "hz-tax"
    assert bytes(row(store, tables.decision)["facts"]) == b"facts"
    sealed = bytes(row(store, tables.salt)["sealed"])
    assert SEALER.open(sealed, asked.id)[SALT:] == b"kept answer"


def test_true_result_is_committed_to_and_never_opened_to_the_consumer(store: Store, recorder: Recorder) -> None:
    asked = event(hidden={"true_result": {"result": "not_found"}, "result": {"result": "no_match"}})
    asked.disclosed = {"result": "no_match"}
    receipt = verified(recorder.record(asked))
    assert record(store)["commitments"].keys() == {"result", "true_result"}
    assert receipt.openings.keys() == {"result"}


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"epoch": 7}, RegistryChanged),
        ({"until": 0.0}, RegistryChanged),
        ({"reservation": Reservation("x", (), (), generation=99)}, ReservationStale),
    ],
)
def test_question_whose_ground_has_gone_is_not_recorded(
    store: Store, recorder: Recorder, members: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        recorder.record(event(**members))
    assert count(store, tables.log_entry) == 0


SIGNED = Signed(
    SignedRequest(
        '("@method");created=1;keyid="k";nonce="0123456789abcdef";tag="hecha"', b"\x01", b"base", b"{}", b"der"
    ),
    Nonce("hz-hrss-benefits", b"n" * 32, 1_800_000_000),
)


def test_signed_question_is_recorded_with_its_evidence_and_its_nonce(store: Store, recorder: Recorder) -> None:
    asked = event(hidden={"question": {"purpose": "x"}}, state="not-permitted", signed=SIGNED)
    receipt = verified(recorder.record(asked))
    salt = receipt.openings["signature"]
    assert open_commitment(receipt.record, "signature", salt, dict(SIGNED.request.committed()))
    kept = row(store, tables.signed_request)
    assert kept["idx"] == asked.index == receipt.index
    opened = SEALER.open(bytes(kept["sealed"]), evidence_name(asked.id))
    assert SignedRequest.parse(opened) == SIGNED.request
    with pytest.raises(InvalidTag):
        SEALER.open(bytes(kept["sealed"]), asked.id)
    spent = row(store, tables.nonce)
    assert (spent["client"], bytes(spent["nonce"]), spent["expires_at"]) == (
        "hz-hrss-benefits",
        b"n" * 32,
        1_800_000_000,
    )


def test_second_question_under_one_nonce_is_not_recorded(store: Store, recorder: Recorder) -> None:
    recorder.record(event(signed=SIGNED))
    again = replace(event(signed=SIGNED), id="00000000-0000-4000-8000-00000000000b")
    with pytest.raises(Replayed):
        recorder.record(again)
    for table in (tables.log_entry, tables.decision, tables.salt, tables.signed_request, tables.nonce):
        assert count(store, table) == 1
    again.signed = None
    recorder.record(again)
    assert (count(store, tables.log_entry), count(store, tables.signed_request)) == (2, 1)


def test_question_without_a_signature_keeps_no_evidence(store: Store, recorder: Recorder) -> None:
    receipt = verified(recorder.record(event(hidden={"question": {}}, state="not-permitted")))
    assert "signature" not in receipt.record["commitments"]
    assert (count(store, tables.nonce), count(store, tables.signed_request)) == (0, 0)


def test_database_that_cannot_be_written_is_a_refusal_that_names_no_value(
    store: Store, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.record_step(STEP)
    with caplog.at_level(logging.ERROR), pytest.raises(Refusal) as refused:
        recorder.record_step(STEP)  # the same id a second time
    assert (refused.value.slug, refused.value.headers) == ("record-not-written", {"Retry-After": "5"})
    assert "IntegrityError" in caplog.text
    assert STEP.id not in caplog.text
    assert count(store, tables.log_entry) == 1


def test_foreign_keys_hold_every_row_to_its_record(postgres_store: Store) -> None:
    """PostgreSQL checks what SQLite is told not to: no step, salt or notice without its record."""
    with postgres_store.reading() as connection:
        names = connection.execute(
            text("SELECT conrelid::regclass::text FROM pg_constraint WHERE confrelid = 'log_entry'::regclass")
        ).scalars()
        assert set(names) == {"decision", "salt", "charge", "step", "notice", "signed_request"}


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(NOW) == "2026-11-22T06:00:00.123Z"
    assert rfc3339(NOW.replace(microsecond=999)) == "2026-11-22T06:00:00.000Z"


def test_digest_of_facts_is_base64url_of_their_sha256() -> None:
    assert digest_of(b"") == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
