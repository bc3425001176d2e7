"""Steps of a dispute 争议 over an application that was refused, or not answered in time (海珠 第三十三条)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from app.life_cycle import applications
from app.life_cycle.desk import Act, Desk, Taken, forbidden, is_steward, side_of, unknown
from app.log import tables
from app.log.sequencer import Place
from app.refusals import Refusal
from app.registry import ledger
from app.registry.applications import Faults, check_texts
from app.registry.deadlines import deadline
from app.registry.disputes import OPEN, Move, follow
from app.steps import Step


def begin(desk: Desk, act: Act, application: str, grounds: str) -> bytes:
    """Open a dispute over an application of the caller's department. Raises `Refusal`."""
    _check("/grounds", grounds)
    identifier = str(uuid.uuid4())

    def make(record: str) -> Taken:
        with desk.store.reading() as connection:
            row = applications.found(connection, act, application)
            others = ledger.disputes_of(connection, row.id)
        if side_of(act.caller, row) != "consumer":
            raise forbidden("applicant-disputes")
        _check_disputable(desk, act, row)
        if any(other.state in OPEN for other in others):
            raise Refusal("conflict", "There is an open dispute over this application: take its next step.")
        values = {
            "id": identifier,
            "state": "negotiation",
            "application": row.id,
            "provider": row.provider,
            "consumer": row.consumer,
            "opened_at": int(act.at.timestamp()),
        }

        def change(connection: Connection, _place: Place) -> None:
            if any(other.state in OPEN for other in ledger.disputes_of(connection, row.id)):
                raise ledger.Moved
            # The application itself is as it was read: its decision is what the dispute is about.
            ledger.move(connection, tables.application, row, state=row.state)
            ledger.add_dispute(connection, values)

        said = {"dispute": identifier, "application": row.id, "of": row.digest, "grounds": grounds.strip()}
        step = _step(act, row, id=record, about=identifier, state="negotiation", document=said, change=change)
        return Taken(step, {"id": identifier, "state": "negotiation"})

    return desk.take(act, make)


def proceed(desk: Desk, act: Act, identifier: str, wanted: Mapping[str, Any]) -> bytes:
    """Take the next step of a dispute; what reopens the application starts a new clock of ten working days."""
    _check("/note", wanted["note"])

    def make(record: str) -> Taken:
        with desk.store.reading() as connection:
            row = found(connection, act, identifier)
            application: Any = ledger.application(connection, row.application)
        move = follow(row.state, wanted["step"], side_of(act.caller, row) or "", wanted.get("outcome"))
        reopens = move.reopens and application.state in {"refused", *ledger.OPEN_APPLICATION}
        due = deadline("decision", act.at, desk.calendar).due.isoformat()

        def change(connection: Connection, _place: Place) -> None:
            ledger.move(connection, tables.dispute, row, state=move.leads_to)
            if reopens:
                since = int(act.at.timestamp())
                ledger.move(connection, tables.application, application, state="reopened", decided_at=since, due=due)

        said = {"dispute": row.id, "application": row.application, "step": wanted["step"]}
        said |= {"note": wanted["note"].strip(), "by": act.department}
        if "outcome" in wanted:
            said["outcome"] = wanted["outcome"]
        state = _slug(move, wanted)
        step = _step(act, row, id=record, about=row.id, state=state, document=said, change=change)
        reply: dict[str, Any] = {"id": row.id, "state": move.leads_to, "application": row.application}
        if reopens:
            reply["deadline"] = desk.deadline("decision", act.at, act.at)
        return Taken(step, reply)

    return desk.take(act, make)


def found(connection: Connection, act: Act, identifier: str) -> Any:
    """The dispute's row, if it concerns the caller: either side, the authority, auditors."""
    row = ledger.dispute(connection, identifier)
    side = side_of(act.caller, row) if row is not None else None
    if side is None or (side == "provider" and not is_steward(act.caller)):
        raise unknown()
    return row


def _check_disputable(desk: Desk, act: Act, row: Any) -> None:
    """A refusal can be disputed, and a silence that lasts longer than the provider has."""
    since = applications.waits_since(row)
    overdue = since is not None and deadline("decision", since, desk.calendar).overdue(act.at)
    if row.state != "refused" and not overdue:
        raise Refusal("conflict", "Only a refused or overdue application can be disputed: read its present state.")


def _slug(move: Move, wanted: Mapping[str, Any]) -> str:
    """The step's state in the record: a ruling says for whom."""
    return f"{move.leads_to}-{wanted['outcome']}" if "outcome" in wanted else move.leads_to


def _check(pointer: str, text: str) -> None:
    faults = Faults()
    if not text.strip():
        faults.add(pointer, "is needed: both sides, the authority and the auditor read it")
    check_texts({pointer.removeprefix("/"): text}, faults)
    faults.refuse()


def _step(act: Act, row: Any, **step: Any) -> Step:
    service = getattr(row, "service", None)
    return Step(
        at=act.at,
        kind="dispute",
        caller=act.caller,
        consumer=row.consumer,
        provider=row.provider,
        service=service,
        **step,
    )
