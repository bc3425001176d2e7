"""Receipts: JWS compact ES256 over a record, its place in the log and the openings its consumer may have.

The header is exactly alg, kid and typ. The payload is canonical JSON, so one receipt has one payload. Key
references in a header (jku, jwk, x5u) are never followed: any further header member refuses the receipt.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from evidence.base64s import decode_url, encode_url
from evidence.canonical import JSON, NotCanonical, canonical, parse_canonical
from evidence.checkpoint import Checkpoint, NoteVerifier, open_checkpoint
from evidence.errors import (
    CommitmentNotVerified,
    ProofNotVerified,
    ReceiptNotVerified,
    SignatureNotVerified,
)
from evidence.jwk import keys_from_jwks, thumbprint, to_jwk
from evidence.merkle import MAX_SIZE, leaf_hash, verify_inclusion
from evidence.proof import Proof, parse_proof
from evidence.record import COMMITTED, check_record, open_commitment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "Receipt",
    "ReceiptSigner",
    "keys_from_jwks",
    "payload",
    "thumbprint",
    "to_jwk",
    "unread",
    "verify_receipt",
]

TYPE = "hecha-receipt+jws"
MAX_RECEIPT = 262_144  # characters
_ECDSA = ec.ECDSA(SHA256())
# RFC 6979: the same payload gives the same bytes, and no bad random source can leak the key.
_DETERMINISTIC = ec.ECDSA(SHA256(), deterministic_signing=True)
_ASKED = ("subject", "declared", "case", "operator")
_MEMBERS = {"iat", "iss", "log", "openings", "record"}


class ReceiptSigner:
    """Signs payloads under one P-256 key known as `kid`; raises `ValueError` for another curve."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey, kid: str) -> None:
        if not isinstance(private_key.curve, ec.SECP256R1):
            raise ValueError("an ES256 key is on the curve P-256")  # noqa: TRY004 - a wrong value
        self.kid = kid
        self._private_key = private_key
        self._header = encode_url(canonical({"alg": "ES256", "kid": kid, "typ": TYPE})) + "."

    def sign(self, payload: bytes) -> str:
        """Return the compact JWS of `payload` (RFC 7515 §7.1); the same payload gives the same text."""
        signed = self._header + encode_url(payload)
        r, s = decode_dss_signature(self._private_key.sign(signed.encode(), _DETERMINISTIC))
        return f"{signed}.{encode_url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


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


def verify_receipt(jws: str, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> Receipt:
    """Return the receipt in a compact JWS signed by one of `keys`; raises a `NotVerified` of its flaw."""
    if len(jws) > MAX_RECEIPT:
        raise ReceiptNotVerified("The receipt is too large to be one.")
    parts = jws.split(".")
    if len(parts) != 3:
        raise ReceiptNotVerified("The receipt is not a compact JWS of three parts.")
    try:
        header, body, signature = map(decode_url, parts)
    except ValueError:
        raise ReceiptNotVerified("A part of the receipt is not base64url.") from None
    kid = _checked_kid(header)
    if kid not in keys:
        raise SignatureNotVerified("The receipt is signed by a key that is not trusted here.")
    _check_signature(keys[kid], signature, f"{parts[0]}.{parts[1]}".encode())
    return _parse_payload(kid, body)


def _checked_kid(header: bytes) -> str:
    try:
        value = parse_canonical(header)
    except NotCanonical:
        raise ReceiptNotVerified("The receipt's header is not canonical JSON.") from None
    if not isinstance(value, dict) or value.keys() != {"alg", "kid", "typ"}:
        raise ReceiptNotVerified("The receipt's header is not exactly alg, kid and typ.")
    if value["alg"] != "ES256" or value["typ"] != TYPE or not isinstance(value["kid"], str):
        raise ReceiptNotVerified("The document is not a receipt signed with ES256.")
    return value["kid"]


def _check_signature(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> None:
    wrong = SignatureNotVerified("The receipt's signature is wrong: it was forged or altered.")
    if len(signature) != 64:
        raise wrong
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        key.verify(der, signed, _ECDSA)
    except InvalidSignature:
        raise wrong from None


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
