"""The whole path of one question, in order, with no HTTP in it (docs/request-path.md).

INVARIANT: no source is asked before the policy decision permits it; no reply leaves before its record is durable;
what the consumer sees is the disclosed result, the true one goes into a commitment only. Decision, limit, result
and technical state are four axes, and none ever stands for another.
"""

from __future__ import annotations

import hmac
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from adapters.base import Adapter, Answer, Question, SourceError, SourceUnavailable
from app.accounts import accounts
from app.identity.caller import Caller
from app.limits import Account, Limiter, Reservation, keyed
from app.log.idempotency import Claim, Idempotency, check_key
from app.log.sequencer import ReservationStale
from app.recording import Event, Permitted, Recorder, rfc3339
from app.refusals import Refusal, unexpected
from app.registry.agreements import Agreements
from app.registry.catalogue import Catalogue, Service
from app.registry.departments import Departments
from app.registry.question import Asked, QuestionReader
from app.strict_json import read_object
from evidence.canonical import NotCanonical, canonical
from evidence.receipt import unread
from policies.decision import RuleSet, explain
from policies.facts import Facts
from policies.obligations import Disclose, Disclosed, Fold, Freshness, HumanReview, describe, disclose

logger = logging.getLogger(__name__)

# What this node carries out; an answer under any other obligation, known by name or not, is held back.
EXECUTED = (Disclose, Fold, Freshness, HumanReview)
STALE_TRIES = 5  # each needs another rebuild of the limiter during one question


@dataclass(frozen=True, slots=True)
class Request:
    """What a question arrives with. `refusal` is what HTTP already found wrong with it, to be recorded."""

    caller: Caller
    service: str
    body: bytes
    address: str
    idempotency_key: str | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: the answer as JSON, or a refusal with the receipt of its record."""

    id: str
    body: bytes = b""
    refusal: Refusal | None = None
    receipt: str | None = None


@dataclass(frozen=True, slots=True)
class Registry:
    """What the node knows: departments, catalogue, agreements, rules in force, and an adapter per service."""

    departments: Departments
    catalogue: Catalogue
    agreements: Agreements
    rules: RuleSet
    readers: Mapping[str, QuestionReader]
    adapters: Mapping[str, Adapter]


@dataclass(frozen=True, slots=True)
class Verification:
    """Answers questions. One object for the process, shared by threads."""

    registry: Registry
    recorder: Recorder
    limiter: Limiter
    idempotency: Idempotency
    account_key: bytes = field(repr=False)
    source_timeout_s: float

    def ask(self, request: Request) -> Reply:
        """Answer, deny, limit or fail one question; whichever it is, its record is durable when this returns.

        Raises `Refusal` record-not-written where no record could be made: then nothing was disclosed.
        """
        event = Event(id=str(uuid.uuid4()), at=datetime.now(UTC), caller=request.caller)
        try:
            service, asked = self._read(event, request)
            permitted = self._decide(event, service, asked, request.address)
            stored = self._claim(event, permitted, request)
            return stored or self._answer(event, permitted)
        except Refusal as refusal:
            return self._refuse(event, refusal)
        except Exception as error:  # noqa: BLE001 - the caller is known, so even this leaves a record
            # What could not be handled may be what cannot be committed to: the digest of the body stands for it.
            event.hidden = {"question": unread(request.body)}
            return self._refuse(event, unexpected(error))

    def _read(self, event: Event, request: Request) -> tuple[Service, Asked]:
        """Scope, service and body, in that order; a fault is recorded with what was known by then."""
        event.service = self.registry.catalogue.find(request.service)
        event.hidden["question"] = unread(request.body)
        if request.refusal is not None:
            raise request.refusal
        if event.service is None:
            raise Refusal("not-found", "There is no such service: GET /v1/services lists the catalogue.")
        request.caller.need(f"verify:{event.service.name}")
        body = read_object(request.body)
        parts: dict[str, Any] = {name: body[name] for name in ("subject", "declared") if name in body}
        try:
            canonical(body)
            event.hidden["question"] = body
        except NotCanonical:
            # Sound JSON, but of values that no commitment takes: the reader below says where, if the service has a
            # schema for them. The digest stands for it.
            parts = {}
        asked = self.registry.readers[event.service.name].read(body)
        event.asked = asked
        # A purpose that no agreement names is the caller's own text: it goes into the commitment alone.
        event.purpose = asked.purpose if asked.purpose in self.registry.agreements.purposes else None
        event.hidden |= {"case": asked.case, "operator": asked.operator, **parts}
        return event.service, asked

    def _decide(self, event: Event, service: Service, asked: Asked, address: str) -> Permitted:
        """The policy decision. Raises `not-permitted` with every reason, and `obligation-not-met`."""
        client = event.caller.client
        agreement = self.registry.agreements.applying(client, service.name, asked.purpose)
        event.agreement = agreement
        event.decision = self.registry.rules.decide(self._facts(event, service, asked, address))
        if not event.decision.permitted or agreement is None:
            raise Refusal(
                "not-permitted",
                "The rules do not permit this question: see reasons.",
                members={"reasons": explain(event.decision)},
            )
        # Nothing here tells the provider yet, so an answer that obliges to it is held back too.
        if not all(isinstance(item, EXECUTED) for item in agreement.obligations):
            raise Refusal("obligation-not-met", "The agreement obliges the node to something it cannot do.")
        return Permitted(service, asked, agreement)

    def _facts(self, event: Event, service: Service, asked: Asked, address: str) -> Facts:
        client, agreement = event.caller.client, event.agreement
        departments = self.registry.departments.all
        return Facts(
            client=client.name,
            department=client.department,
            client_suspended=client.suspended,
            department_restricted=departments[client.department].restricted,
            service=service.name,
            sharing=service.sharing,
            provider=service.provider,
            provider_suspended=departments[service.provider].suspended,
            withheld_basis="; ".join(service.basis) if service.sharing == "withheld" else None,
            purpose=asked.purpose,
            attributes=frozenset(asked.declared) | (agreement.masked if agreement else frozenset()),
            terms=agreement.terms if agreement else None,
            # Without terms there is no agreed pattern that could be broken: `no-terms` says all there is to say.
            case_agreed=agreement is None or agreement.case_agreed(asked.case),
            operator_agreed=agreement is None or agreement.operator_agreed(asked.operator),
            address=address,
            at=event.at,
        )

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
            return Reply(id=stored.decision_id, body=stored.body)
        event.claim = claim
        event.stored = lambda receipt: self.idempotency.completed(claim, _body(event, permitted, receipt))
        return None

    def _answer(self, event: Event, permitted: Permitted) -> Reply:
        """Reserve, ask the source, fold and disclose, record, sign."""
        agreement = permitted.agreement
        budgets = self.registry.agreements.budgets
        drawn = accounts(self.account_key, event.caller.client.department, permitted, event.at, budgets=budgets)
        self._reserve(event, drawn)
        answer = self._ask_source(event, permitted)
        codes = {name: item.code.value for name, item in answer.attributes.items()}
        masked = {name: answer.attributes[name].masked for name in agreement.masked & codes.keys()}
        disclosed = disclose(answer.result.value, codes, masked, agreement.obligations)
        event.disclosed = _document(disclosed)
        event.hidden["result"] = event.disclosed
        event.hidden["true_result"] = {"result": answer.result.value, "attributes": codes}
        for _ in range(STALE_TRIES):
            try:
                receipt = self.recorder.record(event)
            except ReservationStale:
                # The limiter was rebuilt meanwhile: what was reserved is gone, so it is reserved anew.
                self.limiter.rebuild()
                self._reserve(event, drawn)
                continue
            if event.reservation is not None:
                self.limiter.settle(event.reservation)
            return Reply(id=event.id, body=_body(event, permitted, receipt))
        raise Refusal("limiter-unavailable", "Quota and budget are being rebuilt: try again shortly.")

    def _reserve(self, event: Event, drawn: list[Account]) -> None:
        committed = self.recorder.sequencer.last_index
        try:
            event.reservation = self.limiter.reserve(event.id, drawn, committed, event.at)
        except Refusal as refusal:
            event.limit = {"quota-exceeded": "quota", "budget-exhausted": "budget"}.get(refusal.slug, "none")
            raise

    def _ask_source(self, event: Event, permitted: Permitted) -> Answer:
        asked, agreement = permitted.asked, permitted.agreement
        adapter = self.registry.adapters[permitted.service.name]
        question = Question(asked.subject, asked.confirm, asked.declared, agreement.masked)
        try:
            as_of = adapter.as_of()
            answer = adapter.answer([question], timeout_s=self.source_timeout_s)[0]
        except SourceError as error:
            raise _source_refusal(permitted.service.name, error) from None
        for obligation in agreement.obligations:
            if isinstance(obligation, Freshness) and (as_of is None or event.at - as_of > obligation.max_age):
                raise Refusal("source-stale", "The source was last updated longer ago than the agreement allows.")
        event.as_of = rfc3339(as_of) if as_of else None
        return answer

    def _refuse(self, event: Event, refusal: Refusal) -> Reply:
        """Record a denial, limit or failure; it draws on no account and keeps no claim on a key."""
        if event.claim is not None:
            self.idempotency.release(event.claim)
        if event.reservation is not None:
            self._give_back(event.reservation, refusal)
        event.state = refusal.slug
        event.reservation, event.stored, event.disclosed = None, None, None
        event.hidden = {name: value for name, value in event.hidden.items() if "result" not in name}
        receipt = self.recorder.record(event)
        return Reply(id=event.id, refusal=refusal, receipt=receipt)

    def _give_back(self, reservation: Reservation, refusal: Refusal) -> None:
        if refusal.slug == "record-not-written":
            # The commit may have come about all the same: only the charge rows know.
            self.limiter.distrust()
        else:
            self.limiter.refund(reservation)


def _source_refusal(service: str, error: SourceError) -> Refusal:
    logger.warning("source of %s: %s: %s", service, type(error).__name__, error)
    if isinstance(error, SourceUnavailable):
        return Refusal(
            "source-unavailable",
            "The source did not answer: try again shortly.",
            headers={"Retry-After": "5"},
        )
    return Refusal("source-misbehaved", "The source's answer is not what its binding describes.")


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
            "obligations": describe(permitted.agreement.obligations),
            "receipt": receipt,
        }
    )
