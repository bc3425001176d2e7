"""Receipts: a compact JWS over a record, its place in the log and the openings its consumer may have.

The payload is canonical JSON, so one receipt has one payload; `evidence.jws` has the rules of header and signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

from evidence import jws as signing
from evidence.canonical import JSON, NotCanonical, canonical, parse_canonical
from evidence.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from evidence.errors import (
    CommitmentNotVerified,
    JwsNotVerified,
    ProofNotVerified,
    ReceiptNotVerified,
    SignatureNotVerified,
)
from evidence.jwk import ValidKey, keys_from_jwks, thumbprint, to_jwk, valid_keys_from_jwks
from evidence.merkle import MAX_SIZE, leaf_hash, verify_inclusion
from evidence.proof import Proof, parse_proof
from evidence.record import COMMITTED, check_record, open_commitment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = [
    "Receipt",
    "ReceiptSigner",
    "keys_from_jwks",
    "payload",
    "thumbprint",
    "to_jwk",
    "unread",
    "valid_keys_from_jwks",
    "verify_receipt",
]

TYPE = "hecha-receipt+jws"
MAX_RECEIPT = 262_144  # characters
SKEW = timedelta(seconds=60)  # how far the clock that dated a receipt may be from the one that dated its key
_ASKED = ("subject", "declared", "case", "operator")
_MEMBERS = {"iat", "iss", "log", "openings", "record"}


class ReceiptSigner:
    """Signs payloads under one P-256 key known as `kid`; raises `ValueError` for another curve."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey, kid: str) -> None:
        self.kid = kid
        self._signer = signing.Signer(private_key, TYPE, kid)

    def sign(self, payload: bytes) -> str:
        """Return the compact JWS of `payload` (RFC 7515 §7.1); the same payload gives the same text."""
        return self._signer.sign(payload)


def payload(  # noqa: PLR0913 - the members of one document, each by name
    *,
    issuer: str,
    issued_at: int,
    record: bytes,
    origin: str,
    index: int,
    openings: Mapping[str, str],
    result: JSON = None,
) -> bytes:
    """Return the canonical payload of a receipt; `issued_at` is seconds since 1970, `record` a sealed body.

    Raises `ValueError` if it would open the true result, which no consumer may learn from a receipt.
    """
    if "true_result" in openings:
        raise ValueError("a receipt never opens the true result")
    document: dict[str, Any] = {
        "iat": issued_at,
        "iss": issuer,
        "log": {"index": index, "origin": origin},
        "openings": dict(openings),
        "record": orjson.Fragment(record),
    }
    if result is not None:
        document["result"] = orjson.Fragment(canonical(result))
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A receipt whose signature held: what the node `issuer` says about one `record`, and where it stands."""

    kid: str
    issuer: str
    issued_at: int
    record: dict[str, Any]
    origin: str
    index: int
    openings: dict[str, str]
    result: Any = None

    @property
    def leaf_hash(self) -> bytes:
        """The hash under which the record stands in the log."""
        return leaf_hash(canonical(self.record))

    def check_question(self, question: Mapping[str, Any], service: str | None = None) -> None:
        """Check that the record is about `question`, the request body as sent, and about `service` if given.

        Raises `CommitmentNotVerified` if any part differs, or if the record does not commit to the question.
        """
        answered = self.record.get("state") == "answered"
        asked = {"purpose": question.get("purpose")} | ({} if service is None else {"service": service})
        for name, value in asked.items():
            # A refusal may have come before service and purpose were known; an answer names both.
            if (answered or name in self.record) and self.record.get(name) != value:
                raise CommitmentNotVerified(f"The receipt is about another {name} than the one asked.")
        committed = self.record["commitments"]
        if "question" not in committed:
            raise CommitmentNotVerified("The record does not commit to the question: nothing ties them.")
        if answered or not self._opens("question", unread(question)):
            self._open("question", dict(question))
        for field in _ASKED:
            if field in committed:
                self._open(field, question.get(field))
            elif answered and field in question:
                raise CommitmentNotVerified(f"The record does not commit to the question's {field}.")

    def check_proof(self, proof: str | Proof, log_verifiers: Iterable[NoteVerifier]) -> Checkpoint:
        """Return the checkpoint under which `proof` shows the record; raises a `NotVerified` of its flaw."""
        parsed = parse_proof(proof) if isinstance(proof, str) else proof
        checkpoint = open_checkpoint(parsed.checkpoint, log_verifiers)
        if checkpoint.origin != self.origin:
            raise ProofNotVerified("The proof is of another log than the receipt names.")
        if parsed.index != self.index:
            raise ProofNotVerified("The proof is of another entry than the receipt names.")
        verify_inclusion(self.leaf_hash, self.index, checkpoint.size, parsed.hashes, checkpoint.root)
        return checkpoint

    def _opens(self, field: str, value: JSON) -> bool:
        return open_commitment(self.record, field, self.openings.get(field, ""), value)

    def _open(self, field: str, value: JSON) -> None:
        if not self._opens(field, value):
            raise CommitmentNotVerified(f"The {field} is not the one that the node recorded.")


def unread(question: Mapping[str, Any] | bytes) -> dict[str, str]:
    """Return what a record commits to in place of a question that it could not read: its bytes' SHA-256.

    A mapping stands for its compact JSON with the members in their order, as `client.http` sends it.
    """
    sent = question if isinstance(question, bytes) else orjson.dumps(question)
    return {"sha256": sha256(sent).hexdigest()}


def verify_receipt(jws: str, keys: Mapping[str, ec.EllipticCurvePublicKey | ValidKey]) -> Receipt:
    """Return the receipt in a compact JWS signed by one of `keys`; raises a `NotVerified` of its flaw.

    A key that has a time (`ValidKey`) verifies receipts that are dated in it, within `SKEW`, and no others.
    """
    if len(jws) > MAX_RECEIPT:
        raise ReceiptNotVerified("The receipt is too large to be one.")
    public = {kid: key.key if isinstance(key, ValidKey) else key for kid, key in keys.items()}
    try:
        signed = signing.verify(jws, public, TYPE, named="receipt")
    except JwsNotVerified as error:
        raise ReceiptNotVerified(str(error)) from None
    receipt = _parse_payload(signed.kid, signed.payload)
    key = keys[signed.kid]
    if isinstance(key, ValidKey):
        _check_date(receipt.issued_at, key)
    return receipt


def _check_date(issued_at: int, key: ValidKey) -> None:
    """INVARIANT: whoever finds a retired key can date no receipt after it was retired."""
    # Bounds are turned into seconds: `issued_at` may be no date at all.
    if key.valid_until is not None and issued_at > (key.valid_until + SKEW).timestamp():
        raise SignatureNotVerified(
            f"The receipt is forged: it is signed by a key that the node retired at {_written(key.valid_until)}, "
            "and dated after that."
        )
    if key.valid_from is not None and issued_at < (key.valid_from - SKEW).timestamp():
        raise SignatureNotVerified(
            f"The receipt is forged or misdated: it is dated before {_written(key.valid_from)}, when the node began "
            "to use the key that it is signed by."
        )


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parse_payload(kid: str, body: bytes) -> Receipt:
    malformed = ReceiptNotVerified("The receipt's payload is not what a receipt says.")
    try:
        value = parse_canonical(body)
    except NotCanonical:
        raise malformed from None
    if not isinstance(value, dict) or value.keys() - {"result"} != _MEMBERS:
        raise malformed
    log, openings = value["log"], value["openings"]
    if not isinstance(value["iss"], str) or type(value["iat"]) is not int:
        raise malformed
    if not isinstance(log, dict) or log.keys() != {"index", "origin"} or not isinstance(log["origin"], str):
        raise malformed
    if type(log["index"]) is not int or not 0 <= log["index"] <= MAX_SIZE:
        raise malformed
    if not isinstance(openings, dict) or not all(isinstance(salt, str) for salt in openings.values()):
        raise malformed
    receipt = Receipt(
        kid=kid,
        issuer=value["iss"],
        issued_at=value["iat"],
        record=check_record(value["record"]),
        origin=log["origin"],
        index=log["index"],
        openings=openings,
        result=value.get("result"),
    )
    _check_openings(receipt)
    return receipt


def _check_openings(receipt: Receipt) -> None:
    committed = receipt.record["commitments"]
    if not receipt.openings.keys() <= set(COMMITTED) & committed.keys():
        raise CommitmentNotVerified("The receipt opens something that its record does not commit to.")
    if "true_result" in receipt.openings:
        raise CommitmentNotVerified("The receipt opens the true result, which is not the consumer's.")
    if ("result" in receipt.openings) != (receipt.result is not None):
        raise CommitmentNotVerified("The receipt tells a result or its opening, but not both.")
    if receipt.result is not None:
        receipt._open("result", receipt.result)  # noqa: SLF001 - the same module's own check
