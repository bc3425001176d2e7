"""The whole path of one question, in order, with no HTTP in it (docs/request-path.md).

INVARIANT: no source is asked before the policy decision permits it; no reply leaves before its record is durable;
what the consumer sees is the disclosed result, the true one goes into a commitment only. Decision, limit, result
and technical state are four axes, and none ever stands for another.
INVARIANT: a decision is recorded under the registry that it was made under; if that has moved on meanwhile, the
question is decided anew.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from adapters.base import Answer
from app.charging import Charging
from app.identity.caller import Caller
from app.identity.signature import Replayed, Signatures, asked_for
from app.identity.signature_input import Message
from app.limits.account import Account, Reservation, keyed, rate_limit_headers
from app.log.idempotency import Claim, Idempotency, check_key
from app.log.sequencer import RegistryChanged, ReservationStale
from app.log.storage import StoreUnavailable
from app.recording import Event, Permitted, Recorder
from app.refusals import Refusal, unexpected
from app.registry.catalogue import Service
from app.registry.current import Current, Registry
from app.registry.gathering import Asking, gather, is_known_purpose
from app.registry.question import Asked
from app.sources import Sources, keep
from app.strict_json import read_object
from evidence.canonical import NotCanonical, canonical
from evidence.receipt import unread
from policies.decision import explain
from policies.facts_document import document_bytes
from policies.obligations import (
    Disclose,
    Disclosed,
    Fold,
    Freshness,
    HumanReview,
    NotifyProvider,
    disclose,
)

# What this node carries out; an answer under any other obligation, known by name or not, is held back.
EXECUTED = (Disclose, Fold, Freshness, HumanReview, NotifyProvider)
_LIMITS = {"quota-exceeded": "quota", "budget-exhausted": "budget"}
SIGNATURE_RULE = "signature-required"
TRIES = 5  # each needs another change of the registry, or rebuild of the limiter, during one question


def now() -> datetime:
    """The time of day, in UTC: the clock of every node but those that live through years in a test."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """What a question arrives with. `refusal` is what HTTP already found wrong with it, to be recorded.

    `message` is its head where that may bear a signature.
    """

    caller: Caller
    service: str
    body: bytes
    address: str
    idempotency_key: str | None = None
    refusal: Refusal | None = None
    message: Message | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """A question put to a service: what is asked, and from which address."""

    service: Service
    asked: Asked
    address: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: the answer as JSON, or a refusal with the receipt of its record."""

    id: str
    body: bytes = b""
    refusal: Refusal | None = None
    receipt: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """Answers questions. One object for the process, shared by threads."""

    current: Current
    recorder: Recorder
    charging: Charging
    idempotency: Idempotency
    sources: Sources
    signatures: Signatures
    account_key: bytes = field(repr=False)
    clock: Callable[[], datetime] = now

    def ask(self, request: Request) -> Reply:
        """Answer, deny, limit or fail one question; whichever it is, its record is durable when this returns.

        Raises `Refusal` record-not-written where no record could be made: then nothing was disclosed.
        """
        identifier = str(uuid.uuid4())
        for _ in range(TRIES):
            registry = self.current.registry
            event = Event(id=identifier, at=self.clock(), caller=request.caller, epoch=registry.epoch)
            try:
                return self._ask(event, registry, request)
            except (RegistryChanged, ReservationStale) as change:
                refusal = self._catch_up(event, change)
            if refusal is not None:
                break
        else:
            refusal = Refusal("limiter-unavailable", "The node is being changed: try again shortly.")
        # INVARIANT: no permit is recorded that is not held against the registry: this record has no decision.
        undecided = Event(id=identifier, at=self.clock(), caller=request.caller)
        undecided.hidden["question"] = unread(request.body)
        return self._refuse(undecided, refusal)

    def _catch_up(self, event: Event, change: Exception) -> Refusal | None:
        """Take back what the question did so far, and learn what has changed; the refusal if that fails."""
        self._take_back(event)
        try:
            if isinstance(change, RegistryChanged):
                self.current.refresh()
            else:
                # What was reserved is gone.
                self.charging.limiter.rebuild()
        except Refusal as refusal:
            return refusal
        except StoreUnavailable:
            return Refusal("record-not-written", "The node database cannot be read: try again shortly.")
        return None

    def _ask(self, event: Event, registry: Registry, request: Request) -> Reply:
        try:
            put = self._read(event, registry, request)
            permitted = self._decide(event, registry, put)
            stored = self._claim(event, permitted, request)
            return stored or self._answer(event, registry, permitted)
        except Refusal as refusal:
            return self._refuse(event, refusal)
        except (RegistryChanged, ReservationStale):
            raise
        except Exception as error:  # noqa: BLE001 - the caller is known, so even this leaves a record
            # What could not be handled may be what cannot be committed to: the digest of the body stands for it.
            event.hidden = {"question": unread(request.body)}
            return self._refuse(event, unexpected(error))

    def _read(self, event: Event, registry: Registry, request: Request) -> Put:
        """Signature, scope, service and body, in that order; a fault is recorded with what was known by then."""
        event.caller = request.caller.admitted(registry)
        event.service = registry.catalogue.find(request.service)
        event.hidden["question"] = unread(request.body)
        if request.refusal is not None:
            raise request.refusal
        if request.message is not None:
            event.signed = self.signatures.of(request.message, request.body, event.caller, event.at)
        if event.service is None:
            raise Refusal("not-found", "There is no such service: GET /v1/services lists the catalogue.")
        event.caller.need(f"verify:{event.service.name}")
        body = read_object(request.body)
        parts: dict[str, Any] = {name: body[name] for name in ("subject", "declared") if name in body}
        try:
            canonical(body)
            event.hidden["question"] = body
        except NotCanonical:
            # Sound JSON, but of values that no commitment takes: the reader below says where, if the service has a
            # schema for them. The digest stands for it.
            parts = {}
        asked = registry.readers[event.service.name].read(body)
        event.asked = asked
        # A purpose that no agreement or rule names is the caller's own text: it goes into the commitment alone.
        event.purpose = asked.purpose if is_known_purpose(asked.purpose, registry) else None
        event.hidden |= {"case": asked.case, "operator": asked.operator, **parts}
        return Put(event.service, asked, request.address)

    def _decide(self, event: Event, registry: Registry, put: Put) -> Permitted:
        """The policy decision. Raises `not-permitted` with every reason, and `obligation-not-met`."""
        agreement = registry.agreements.applying(event.caller.client, put.service.name, put.asked.purpose)
        event.agreement = agreement
        signed = event.signed is not None
        asking = Asking(event.caller.client, put.service, put.asked, put.address, event.at, signed=signed)
        facts = gather(registry.directory, agreement, asking)
        event.decision = registry.rules.decide(facts)
        event.facts = document_bytes(facts, known_purpose=event.purpose is not None)
        if not event.decision.permitted or agreement is None:
            raise Refusal(
                "not-permitted",
                "The rules do not permit this question: see reasons.",
                members={"reasons": explain(event.decision)},
            )
        event.until = agreement.terms.valid_until.timestamp()
        if not all(isinstance(item, EXECUTED) for item in agreement.obligations):
            raise Refusal("obligation-not-met", "The agreement obliges the node to something it cannot do.")
        return Permitted(put.service, put.asked, agreement)

    def _claim(self, event: Event, permitted: Permitted, request: Request) -> Reply | None:
        """Idempotency: a repeat, decided anew just now, gets the stored bytes."""
        if request.idempotency_key is None:
            return None
        check_key(request.idempotency_key)
        # Keyed: a plain digest of the body could be reversed by trying everybody's number.
        message = b"idempotency\x00" + request.service.encode() + b"\x00" + request.body
        digest = hmac.digest(self.account_key, message, "sha256")
        # Keyed too, since nothing keeps a caller from using somebody's number as its key.
        key = keyed(self.account_key, "idempotency", event.caller.client.name, request.idempotency_key)
        claim = Claim(event.caller.client.name, key, digest, event.id)
        stored = self.idempotency.claim(claim, event.at)
        if stored is not None:
            # No record of a decision will find out that the registry has moved on, so it is asked.
            if self.current.has_moved():
                raise RegistryChanged
            if event.signed is not None:
                self.signatures.spend(event.signed, event.at)
            return Reply(id=stored.decision_id, body=stored.body)
        event.claim = claim
        event.stored = lambda receipt: self.idempotency.completed(claim, _body(event, permitted, receipt))
        return None

    def _answer(self, event: Event, registry: Registry, permitted: Permitted) -> Reply:
        """Reserve, ask the source, fold and disclose, record, sign."""
        adapter = registry.adapters[permitted.service.name]
        drawn = self.charging.accounts(event, permitted, registry.agreements.budgets)
        event.drawn = drawn
        # Before anything is drawn: whether the source is there, and as of when, costs nobody anything.
        self.sources.as_of(adapter, event, permitted)

        def look(exhausted: Account) -> Answer | None:
            worth = self.charging.may_have_changed(exhausted, event.as_of)
            return self.sources.ask(adapter, permitted) if worth else None

        answer = self.charging.draw(event, drawn, look)
        answer = answer or self.sources.kept(event)
        if answer is None:
            answer = self.sources.ask(adapter, permitted)
            self.charging.renew(event, drawn, answer)
        self.charging.charge(event, answer)
        self._disclose(event, permitted, answer)
        receipt = self.recorder.record(event)
        self.charging.settle(event)
        return Reply(id=event.id, body=_body(event, permitted, receipt), headers=_headers(event))

    def _disclose(self, event: Event, permitted: Permitted, answer: Answer) -> None:
        """Reduce the true answer to what the obligations disclose; both go into the record, each committed to."""
        agreement = permitted.agreement
        codes = {name: item.code.value for name, item in answer.attributes.items()}
        masked = {name: answer.attributes[name].masked for name in agreement.masked & codes.keys()}
        disclosed = disclose(answer.result.value, codes, masked, agreement.obligations)
        event.disclosed = _document(disclosed)
        event.hidden["result"] = event.disclosed
        event.hidden["true_result"] = {"result": answer.result.value, "attributes": codes}
        event.kept = keep(answer)
        if NotifyProvider() in agreement.obligations:
            event.notice = permitted.service.provider

    def _refuse(self, event: Event, refusal: Refusal) -> Reply:
        """Record a denial, limit or failure; it draws on no account and keeps no claim on a key."""
        self._take_back(event, refusal)
        if isinstance(refusal, Replayed):
            # What was signed stands in the record of the request that came first.
            event.signed = None
        if _wants_signature(event, refusal):
            refusal.headers |= asked_for(event.caller.certificate)
        event.state, event.limit = refusal.slug, _LIMITS.get(refusal.slug, "none")
        if refusal.slug not in _LIMITS:
            event.drawn = ()
        event.reservation, event.stored, event.disclosed = None, None, None
        event.kept, event.notice = b"", None
        event.hidden = {name: value for name, value in event.hidden.items() if "result" not in name}
        try:
            receipt = self.recorder.record(event)
        except Replayed as replayed:
            return self._refuse(event, replayed)
        return Reply(id=event.id, refusal=refusal, receipt=receipt)

    def _take_back(self, event: Event, refusal: Refusal | None = None) -> None:
        """Keep no claim on a key and no reservation."""
        if event.claim is not None:
            self.idempotency.release(event.claim)
        if event.reservation is not None:
            self._give_back(event.reservation, refusal)
        event.claim, event.reservation = None, None

    def _give_back(self, reservation: Reservation, refusal: Refusal | None) -> None:
        if refusal is not None and refusal.slug == "record-not-written":
            # The commit may have come about all the same: only the charge rows know.
            self.charging.limiter.distrust()
        else:
            self.charging.limiter.refund(reservation)


def _wants_signature(event: Event, refusal: Refusal) -> bool:
    """Whether a signature, or another one, is what the refused request needs."""
    broken = event.decision.rules if event.decision is not None else ()
    denied = refusal.slug == "not-permitted" and any(rule.id == SIGNATURE_RULE for rule in broken)
    return denied or refusal.slug == "signature-invalid"


def _headers(event: Event) -> dict[str, str]:
    """What is left of the agreement's quota."""
    reservation = event.reservation
    if reservation is None or not reservation.accounts:
        return {}
    return rate_limit_headers(reservation.accounts[0], reservation.spent[0], event.at)


def _document(disclosed: Disclosed) -> dict[str, Any]:
    """The disclosed result as members of the answer; which members there are depends on the terms alone."""
    document: dict[str, Any] = {"result": disclosed.result}
    if disclosed.attributes is not None:
        document["attributes"] = dict(disclosed.attributes)
    if disclosed.masked is not None:
        document["disclosed"] = dict(disclosed.masked)
    return document


def _body(event: Event, permitted: Permitted, receipt: str) -> bytes:
    """The answer as JSON: the disclosed result and what it rests on, nothing of the record."""
    return orjson.dumps(
        {
            "id": event.id,
            "service": permitted.service.name,
            **(event.disclosed or {}),
            "as_of": event.as_of,
            "contract": permitted.service.contract_digest,
            "obligations": permitted.agreement.published,
            "receipt": receipt,
        }
    )
