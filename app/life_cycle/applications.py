"""Steps of an application 共享申请: submitted → approved or refused by the provider's steward (山东 第二十九条).

Approval drafts the agreement and nothing more: it permits nothing before both sides have signed it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from app.life_cycle.desk import Act, Desk, Taken, forbidden, is_steward, side_of, unknown
from app.log import tables
from app.log.sequencer import Place
from app.log.storage import archive
from app.refusals import Refusal
from app.registry import ledger, standing
from app.registry.agreement_document import ID
from app.registry.applications import Faults, application_document, check_application, check_texts, invalid
from app.registry.deadlines import day_of, deadline
from app.registry.drafting import agreement_document, check_conditions, drafted
from app.steps import Step

# What every condition would be at its least: enough to try whether an application can become an agreement at all.
_TRIAL = {"fold": True, "human_review": True, "security_agreement": True, "budget": {"bits": 1}}


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a decision is about: row and document as they were read, the record's id, the steward's words."""

    row: Any
    application: Mapping[str, Any]
    record: str
    verdict: Mapping[str, Any]


def submit(desk: Desk, act: Act, wanted: Mapping[str, Any]) -> bytes:
    """Submit an application; the provider has ten working days (四川 第二十三条). Raises `Refusal`."""
    client = act.caller.client
    if not client.roles & {"consumer", "steward"}:
        raise forbidden("department-applies")
    service = check_application(wanted, client, desk.catalogue, desk.departments, today=day_of(act.at))
    identifier = str(uuid.uuid4())
    document = application_document(identifier, wanted, service, client, at=act.at)
    drafted(agreement_document("trial", document, _TRIAL, act.at), desk.catalogue, desk.departments, pointer="")

    def make(record: str) -> Taken:
        _check_superseded(desk, document)
        step = Step(
            id=record,
            at=act.at,
            kind="application",
            state="submitted",
            about=identifier,
            document=document,
            caller=act.caller,
            consumer=client.department,
            provider=service.provider,
            service=service.name,
            change=lambda connection, _place: ledger.add_application(connection, row),
        )
        row = {
            "id": identifier,
            "state": "submitted",
            "digest": step.digest,
            "service": service.name,
            "provider": service.provider,
            "consumer": client.department,
            "client": client.name,
            "submitted_at": int(act.at.timestamp()),
            "due": deadline("decision", act.at, desk.calendar).due.isoformat(),
        }
        reply = {"id": identifier, "state": "submitted", "deadline": desk.deadline("decision", act.at, act.at)}
        return Taken(step, reply)

    return desk.take(act, make)


def decide(desk: Desk, act: Act, identifier: str, verdict: Mapping[str, Any]) -> bytes:
    """Approve an application under the provider's conditions, or refuse it with a reason. Raises `Refusal`."""

    def make(record: str) -> Taken:
        with desk.store.reading() as connection:
            row = found(connection, act, identifier)
            if act.department == row.consumer:
                raise forbidden("own-application")
            if act.department != row.provider or not is_steward(act.caller):
                raise forbidden("provider-decides")
            if row.state not in ledger.OPEN_APPLICATION:
                raise Refusal("conflict", "The application is decided already: a change is a new application.")
            application = ledger.document(connection, row.digest)
        if verdict["decision"] == "refuse":
            return _refused(act, row, record, verdict)
        return _approved(desk, act, _Decided(row, application, record, verdict))

    return desk.take(act, make)


def found(connection: Connection, act: Act, identifier: str) -> Any:
    """The application's row, if it concerns the caller: applicant, provider's steward, authority, auditor."""
    row = ledger.application(connection, identifier)
    side = side_of(act.caller, row) if row is not None else None
    if side is None or (side == "provider" and not is_steward(act.caller)):
        raise unknown()
    return row


def waits_since(row: Any) -> datetime | None:
    """When the provider's clock began: at submission, or when a dispute opened the application again."""
    if row.state not in ledger.OPEN_APPLICATION:
        return None
    seconds = row.submitted_at if row.state == "submitted" else row.decided_at
    return datetime.fromtimestamp(seconds, UTC)


def _refused(act: Act, row: Any, record: str, verdict: Mapping[str, Any]) -> Taken:
    reason = verdict.get("reason", "").strip()
    faults = Faults()
    if not reason:
        faults.add("/reason", "is needed: a refusal states its reason (四川 第二十三条)")
    if "conditions" in verdict:
        faults.add("/conditions", "belong to an approval")
    check_texts({"reason": reason}, faults)
    faults.refuse()
    document = {"application": row.id, "of": row.digest, "decision": "refused", "reason": reason}

    def change(connection: Connection, _place: Place) -> None:
        decided_at = int(act.at.timestamp())
        ledger.move(connection, tables.application, row, state="refused", decided_at=decided_at, due=None)

    step = _step(act, row, state="refused", id=record, document=document, change=change)
    return Taken(step, {"id": row.id, "state": "refused"})


def _approved(desk: Desk, act: Act, decided: _Decided) -> Taken:
    row, application = decided.row, decided.application
    conditions = decided.verdict.get("conditions")
    if conditions is None:
        raise invalid({"/conditions": "are needed: an approval states what the provider demands"})
    check_conditions(conditions, application, act.at)
    document = agreement_document(_agreement_id(application), application, conditions, act.at)
    draft = drafted(document, desk.catalogue, desk.departments, pointer="/conditions")
    said = {"application": row.id, "of": row.digest, "decision": "approved", "agreement": draft.id}
    due = deadline("delivery", act.at, desk.calendar).due

    def change(connection: Connection, place: Place) -> None:
        archive(connection, "agreement", draft.document)
        standing.add(connection, draft, "approved", place.epoch, application=row.id, due=due.isoformat())
        values = {"decided_at": int(act.at.timestamp()), "agreement": draft.id, "due": None}
        ledger.move(connection, tables.application, row, state="approved", **values)

    reply = {"id": row.id, "state": "approved", "agreement": draft.id, "digest": draft.digest}
    step = _step(
        act,
        row,
        state="approved",
        id=decided.record,
        document={**said, "digest": draft.digest},
        agreement=draft.digest,
        change=change,
    )
    return Taken(step, reply | {"deadline": desk.deadline("delivery", act.at, act.at)})


def _check_superseded(desk: Desk, document: Mapping[str, Any]) -> None:
    """An application may name the agreement that it is to replace, which must be of the same parties and service."""
    if "supersedes" not in document:
        return
    with desk.store.reading() as connection:
        row = standing.find(connection, document["supersedes"])
    same = ("consumer", "provider", "service")
    if row is None or row.state in ledger.ENDED or any(getattr(row, name) != document[name] for name in same):
        raise invalid({"/supersedes": "is no agreement of your department about this service that could be replaced"})


def _agreement_id(application: Mapping[str, Any]) -> str:
    """A new agreement's id: its parties' words for people, and 122 random bits."""
    number = str(uuid.uuid4())
    named = f"{application['consumer']}-{application['service']}-{number}"
    return named if ID.fullmatch(named) else f"agreement-{number}"


def _step(act: Act, row: Any, **step: Any) -> Step:
    parties = {"consumer": row.consumer, "provider": row.provider, "service": row.service}
    return Step(at=act.at, kind="application", about=row.id, caller=act.caller, **parties, **step)
