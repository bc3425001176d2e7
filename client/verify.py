"""Offline check of a consumer's evidence: receipt, commitments, reply and the log's proof, in that order."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from client.evidence_file import Evidence
from evidence.errors import NotVerified
from evidence.receipt import Receipt, verify_receipt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from evidence.checkpoint import Checkpoint, NoteVerifier
    from evidence.jwk import ValidKey

_RESULT = ("result", "attributes", "disclosed")
_OF_RECORD = ("service", "as_of", "contract")


class ReplyNotVerified(NotVerified):
    """The reply kept beside a receipt is not the one that the receipt is about."""


class Outcome(enum.Enum):
    """What a piece of evidence amounts to; the value is the exit code of `verify`."""

    COMPLETE = 0
    NOT_VERIFIED = 1
    WITHOUT_PROOF = 3


@dataclass(frozen=True, slots=True)
class Trust:
    """What the verifier trusts: the node's receipt keys by kid, and the verifier keys of its log, if any.

    Keys with their time (`ValidKey`) verify what is dated in it: only so are former keys to be trusted.
    """

    keys: Mapping[str, EllipticCurvePublicKey | ValidKey]
    log: Sequence[NoteVerifier] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome for one document: a plain `text`, and the receipt if its signature held."""

    label: str
    outcome: Outcome
    text: str
    receipt: Receipt | None = None


def check_document(label: str, document: bytes, trust: Trust) -> Finding:
    """Return the finding for one evidence document; a flaw is a finding, never raised."""
    try:
        return check_evidence(label, Evidence.parse(document), trust)
    except NotVerified as error:
        return Finding(label, Outcome.NOT_VERIFIED, str(error))


def check_evidence(label: str, evidence: Evidence, trust: Trust) -> Finding:
    """Return the finding for one piece of evidence; a flaw is a finding, never raised."""
    receipt: Receipt | None = None
    try:
        receipt = verify_receipt(evidence.receipt, trust.keys)
        receipt.check_question(evidence.body, evidence.service)
        _check_reply(receipt, evidence)
        checkpoint = _check_proof(receipt, evidence.proof, trust)
    except NotVerified as error:
        return Finding(label, Outcome.NOT_VERIFIED, str(error), receipt)
    if checkpoint is not None:
        return Finding(label, Outcome.COMPLETE, _complete(receipt, checkpoint), receipt)
    missing = "no proof of the log is kept with it" if evidence.proof is None else "no log key was given"
    return Finding(
        label, Outcome.WITHOUT_PROOF, f"{_said(receipt)}; signature and question hold, {missing}.", receipt
    )


def _check_proof(receipt: Receipt, proof: str | None, trust: Trust) -> Checkpoint | None:
    return None if proof is None or not trust.log else receipt.check_proof(proof, trust.log)


def _check_reply(receipt: Receipt, evidence: Evidence) -> None:
    """Check that every member of the reply that the receipt speaks of says the same."""
    reply, record = evidence.reply, receipt.record
    if reply.get("receipt", evidence.receipt) != evidence.receipt:
        raise ReplyNotVerified("The reply carries another receipt than the one kept with it.")
    if record.get("state") == "answered":
        agrees = reply.get("id") == record["id"] and _same_result(reply, receipt.result)
        agrees = agrees and all(reply[name] == record.get(name) for name in _OF_RECORD if name in reply)
    else:
        # A problem document names the record by `instance` and its state by the last part of `type`.
        agrees = _last_part(reply.get("instance")) == record["id"]
        agrees = agrees and _last_part(reply.get("type")) == record.get("state")
    if not agrees:
        raise ReplyNotVerified("The reply is not the one that the receipt is about: it was altered or swapped.")


def _same_result(reply: Mapping[str, Any], result: Any) -> bool:
    if not isinstance(result, dict):
        return False
    return "result" in result and all(reply.get(name) == result.get(name) for name in {*_RESULT, *result})


def _last_part(value: object) -> str | None:
    return value.rpartition("/")[2] if isinstance(value, str) else None


def _said(receipt: Receipt) -> str:
    record = receipt.record
    service = record.get("service", "a question")
    if record.get("state") == "answered":
        return f"{receipt.issuer} answered {service} with {receipt.result['result']} at {record['at']}"
    return f"{receipt.issuer} did not answer {service}: {record.get('state')} at {record['at']}"


def _complete(receipt: Receipt, checkpoint: Checkpoint) -> str:
    return f"{_said(receipt)}; entry {receipt.index} of {checkpoint.size} in the log {checkpoint.origin}."
