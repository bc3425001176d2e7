"""Evidence: an event of a question is filled as the path goes and written once, a step with the change it makes.

INVARIANT: what identifies a person goes into commitments (log), sealed salts and keyed tags (index) only.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection

from app.identity.caller import Caller
from app.identity.signature import Signed
from app.limits.account import Account, Reservation, charges_of
from app.log.idempotency import Claim
from app.log.sealing import Sealer
from app.log.sequencer import Entry, NotWritten, Place, Sequencer
from app.refusals import Refusal
from app.registry.agreements import Agreement
from app.registry.catalogue import Service
from app.registry.question import Asked
from app.steps import Step, digest_of, rfc3339
from evidence.receipt import ReceiptSigner, payload
from evidence.record import seal
from evidence.signed_request import FIELD
from policies.decision import Decision

logger = logging.getLogger(__name__)

# Opened inside the node and by two auditors only: a consumer's receipt never opens it.
INSIDE_ONLY = frozenset(("true_result",))
SALT = 32  # bytes of a record's master salt; what is sealed behind it is the answer, to be given again


@dataclass(slots=True)
class Event:
    """What is known of one question so far. `hidden` holds what is committed, by committed field.

    `epoch` is the registry's that the decision was made under, `until` the moment (seconds since 1970) at which a
    permit ends, `facts` what it was made from. `kept` is the true answer, to be given again to the same question.
    `notice` names the provider that is to be told. `drawn` are the accounts that an answer or a limit was about.
    `signed` is the request's verified signature: it is recorded, and its nonce spent with the record.
    """

    id: str
    at: datetime
    caller: Caller
    kind: str = "question"
    service: Service | None = None
    asked: Asked | None = None
    purpose: str | None = None
    agreement: Agreement | None = None
    decision: Decision | None = None
    limit: str = "none"
    state: str = "answered"
    as_of: str | None = None
    disclosed: dict[str, Any] | None = None
    reservation: Reservation | None = None
    hidden: dict[str, Any] = field(default_factory=dict)
    claim: Claim | None = None
    stored: Callable[[str], Mapping[str, Any]] | None = None
    index: int = -1  # in the log, once it is recorded
    epoch: int | None = None
    until: float | None = None
    facts: bytes | None = None
    kept: bytes = b""
    notice: str | None = None
    drawn: Sequence[Account] = ()
    signed: Signed | None = None


@dataclass(frozen=True, slots=True)
class Permitted:
    """A question that the rules permit: what is asked of which service under which agreement."""

    service: Service
    asked: Asked
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes events to the decision log and signs their receipts."""

    sequencer: Sequencer
    signer: ReceiptSigner
    sealer: Sealer
    index_key: bytes = field(repr=False)
    origin: str
    issuer: str

    def record(self, event: Event) -> str:
        """Write the event durably and return its receipt.

        Raises `Refusal` record-not-written, `Replayed` where the request's nonce was spent meanwhile,
        `ReservationStale` where its reservation no longer holds, and `RegistryChanged` where its decision does not.
        """
        master = secrets.token_bytes(SALT)
        signed = event.signed
        hidden = event.hidden if signed is None else event.hidden | {FIELD: signed.request.committed()}
        sealed = seal(_members(event), hidden, master)
        openings = {name: salt for name, salt in sealed.openings.items() if name not in INSIDE_ONLY}

        # Signed once: another signature would make another reply of the stored one.
        @cache
        def receipt(index: int) -> str:
            return self._receipt(event.at, sealed.body, index, openings=openings, result=event.disclosed)

        stored, reservation = event.stored, event.reservation
        entry = Entry(
            body=sealed.body,
            index_row=_index_row(event, self.index_key),
            sealed_salt=self.sealer.seal(master + event.kept, event.id),
            charges=charges_of(event.drawn, reservation.charges if reservation else ()),
            generation=reservation.generation if reservation else None,
            epoch=event.epoch,
            until=_until(event),
            completed=(lambda index: stored(receipt(index))) if stored else None,
            notice=event.notice,
            change=_spending(signed, event.at) if signed is not None else None,
            sealed_request=self._evidence(signed, event.id) if signed is not None else None,
        )
        event.index = self._append(entry)
        return receipt(event.index)

    def _evidence(self, signed: Signed, identifier: str) -> bytes:
        """What proves the signature, sealed."""
        return self.sealer.seal(signed.request.document(), evidence_name(identifier))

    def record_step(self, step: Step) -> str:
        """Write the step with its change and return its receipt.

        Raises `Refusal`: that of the change, or record-not-written; and `RegistryChanged` where its caller may not be
        let in any more. In every case nothing has changed.
        """
        entry, receipt = self.entry(step)
        return receipt(self._append(entry))

    def entry(self, step: Step) -> tuple[Entry, Callable[[int], str]]:
        """What the step writes, and what makes its receipt once its index in the log is known."""
        body = seal(step.clear(), {}, secrets.token_bytes(SALT)).body

        @cache
        def receipt(index: int) -> str:
            return self._receipt(step.at, body, index)

        stored = step.stored
        made = Entry(
            body=body,
            index_row=step.index_row(),
            change=step.make,
            moves_epoch=step.moves_epoch,
            epoch=step.epoch,
            completed=(lambda index: stored(receipt(index))) if stored else None,
            step=None if step.refused else step.row(),
            also=[self.entry(other)[0] for other in step.also],
        )
        return made, receipt

    def _receipt(self, at: datetime, body: bytes, index: int, **opened: Any) -> str:
        document = payload(
            issuer=self.issuer,
            issued_at=int(at.timestamp()),
            record=body,
            origin=self.origin,
            index=index,
            openings=opened.get("openings", {}),
            result=opened.get("result"),
        )
        return self.signer.sign(document)

    def _append(self, entry: Entry) -> int:
        try:
            return self.sequencer.append(entry)
        except NotWritten as error:
            logger.error("record not written: %s", error)  # noqa: TRY400 - the text is the kind of fault
            raise Refusal(
                "record-not-written",
                "The decision log cannot be written, so nothing is answered: try again shortly.",
                headers={"Retry-After": "5"},
            ) from None


def _spending(signed: Signed, now: datetime) -> Callable[[Connection, Place], None]:
    """What spends the nonce inside the record's transaction."""

    def spend(connection: Connection, _: Place) -> None:
        # INVARIANT: the nonce is new, or nothing is recorded, and so nothing is answered.
        signed.spend(connection, now)

    return spend


def evidence_name(identifier: str) -> str:
    """What the evidence of a decision's signature is sealed under: its salt is sealed under the id itself."""
    return f"{identifier}/signed-request"


def _until(event: Event) -> float | None:
    """Whichever ends first: what the decision rests on, or its reservation."""
    ends = (event.until, event.reservation.until if event.reservation else None)
    return min((end for end in ends if end is not None), default=None)


def _members(event: Event) -> dict[str, Any]:
    """The clear members of the record: parties, rules, digests and the four axes, nothing of the subject."""
    client = event.caller.client
    members: dict[str, Any] = {
        "kind": event.kind,
        "id": event.id,
        "at": rfc3339(event.at),
        "consumer": client.department,
        "client": client.name,
        "certificate": event.caller.certificate,
        "state": event.state,
    }
    if event.service is not None:
        members["provider"] = event.service.provider
        members["service"] = event.service.name
        members["contract"] = event.service.contract_digest
    if event.purpose is not None:
        members["purpose"] = event.purpose
    if event.agreement is not None:
        members["agreement"] = event.agreement.terms.digest
    if event.decision is not None:
        members["decision"] = "permit" if event.decision.permitted else "deny"
        members["limit"] = event.limit
        members["rules"] = [rule.id for rule in event.decision.rules]
        members["policy"] = event.decision.digest
        members["facts"] = digest_of(event.facts or b"")
    if event.as_of is not None:
        members["as_of"] = event.as_of
    return members


def _index_row(event: Event, key: bytes) -> dict[str, Any]:
    asked, service, client = event.asked, event.service, event.caller.client
    return {
        "id": event.id,
        "at": int(event.at.timestamp() * 1_000),
        "kind": event.kind,
        "consumer": client.department,
        "client": client.name,
        "provider": service.provider if service else None,
        "service": service.name if service else None,
        "purpose": event.purpose,
        "agreement": event.agreement.terms.id if event.agreement else None,
        "decision": ("permit" if event.decision.permitted else "deny") if event.decision else None,
        "limit_reached": event.limit,
        "state": event.state,
        "result": event.disclosed["result"] if event.disclosed else None,
        "subject_tag": _subject_tag(service, asked, key),
        "case_number": asked.case if asked else None,
        "operator": asked.operator if asked else None,
        "facts": event.facts,
    }


def _subject_tag(service: Service | None, asked: Asked | None, key: bytes) -> bytes | None:
    if service is None or asked is None or service.answerable is None:
        return None
    text = f"{service.answerable.binding.subject_type}\x1f{asked.subject}"
    return hmac.digest(key, text.encode(), "sha256")
