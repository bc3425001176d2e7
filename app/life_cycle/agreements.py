"""Steps of an agreement 共享协议: approved → active by both sides' signatures → suspended, resumed, revoked, expired.

INVARIANT: a document never changes. A change is a new agreement, which supersedes the old one in the very record
that makes it active, so that there is no moment with both and none with neither.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection

from app.life_cycle.desk import Act, Desk, Taken, forbidden, is_steward, side_of, unknown
from app.log import tables
from app.log.sequencer import Place
from app.refusals import Refusal
from app.registry import ledger, standing
from app.registry.agreement_document import Draft, check_document, check_signature, signers, unsigned_by
from app.registry.applications import Faults, check_texts, invalid
from app.registry.files import Members, NodeFileInvalid
from app.steps import Step
from evidence.errors import NotVerified


@dataclass(frozen=True, slots=True)
class _Ground:
    """What one step stands on: the id of its record, the request, and the agreement as it was read."""

    record: str
    act: Act
    row: Any
    document: Mapping[str, Any]


def sign(desk: Desk, act: Act, identifier: str, signature: str) -> bytes:
    """Accept an agreement for the caller's department; the last signature makes it active. Raises `Refusal`."""
    expire_due(desk, act.at)

    def make(record: str) -> Taken:
        with desk.store.reading() as connection:
            row = found(connection, act, identifier)
            content = ledger.content_of(connection, row.digest)
        required = signers(row.provider, row.consumer)
        if act.department not in required or not act.caller.client.roles & {"consumer", "steward"}:
            raise forbidden("parties-sign")
        if row.state != "approved":
            raise Refusal("conflict", "Only an approved agreement waits for signatures: read its present state.")
        try:
            check_signature(desk.departments, act.department, content, signature)
        except NotVerified as error:
            raise invalid({"/signature": str(error)}) from None
        signatures = orjson.loads(row.signatures)
        # Held against the keys of today: a signature under a key that was withdrawn since has to be given anew.
        missing = unsigned_by(desk.departments, required, content, signatures)
        if act.department not in missing:
            raise Refusal("conflict", "Your department has signed this agreement already.")
        ground = _Ground(record, act, row, orjson.loads(content))
        awaited = [name for name in missing if name != act.department]
        return _signed(desk, ground, {**signatures, act.department: signature}, awaited)

    return desk.take(act, make)


def suspend(desk: Desk, act: Act, identifier: str, reason: str) -> bytes:
    """Suspend an active agreement: from this record on nothing is permitted under it. Raises `Refusal`.

    What the provider suspended the authority may suspend too: then it is the authority's to resume.
    """

    def make(record: str) -> Taken:
        ground, side = _controlled(desk, act, identifier, record)
        _only(side, ("provider", "authority"), "provider-or-authority")
        adds = side == "authority" and _suspended_by(desk, ground.row) == "provider"
        if ground.row.state != "active" and not adds:
            raise Refusal("conflict", "Only an active agreement can be suspended: read its present state.")
        return _ended(ground, "suspended", side, reason)

    return desk.take(act, make)


def resume(desk: Desk, act: Act, identifier: str, reason: str) -> bytes:
    """Resume a suspended agreement, if its place was not taken meanwhile. Raises `Refusal`."""
    expire_due(desk, act.at)

    def make(record: str) -> Taken:
        ground, side = _controlled(desk, act, identifier, record)
        _only(side, ("provider", "authority"), "provider-or-authority")
        row = ground.row
        if row.state != "suspended":
            raise Refusal("conflict", "Only a suspended agreement can be resumed: read its present state.")
        _check_hold(desk, row, side)
        draft = _fitting(desk, ground.document)

        def change(connection: Connection, place: Place) -> None:
            # The authority sees what else it has suspended, and may free these places again.
            if side != "authority":
                _check_halts(connection, draft)
            _move(connection, row, state="active", epoch=place.epoch)
            _take_places(connection, draft)

        said = {"change": "resumed", "by": side, "reason": _checked(reason)}
        step = _step(ground, said, state="resumed", change=change, moves_epoch=True)
        return Taken(step, {"id": row.id, "state": "active"})

    return desk.take(act, make)


def revoke(desk: Desk, act: Act, identifier: str, reason: str) -> bytes:
    """End an agreement for good: the provider, the authority, or the consumer that withdraws. Raises `Refusal`.

    What the authority suspended it alone ends: else both sides would end it and sign the same anew.
    """

    def make(record: str) -> Taken:
        ground, side = _controlled(desk, act, identifier, record)
        _only(side, ("provider", "authority", "consumer"), "steward-revokes")
        if ground.row.state in ledger.ENDED:
            raise Refusal("conflict", "The agreement has ended already: read its present state.")
        _check_hold(desk, ground.row, side)
        return _ended(ground, "revoked", side, reason)

    return desk.take(act, make)


def expire_due(desk: Desk, now: datetime) -> int:
    """Record the end of every agreement whose validity is over; how many. The rules deny them anyway."""
    with desk.store.reading() as connection:
        rows = ledger.past_their_end(connection, now)
    done = 0
    for row in rows:
        until = datetime.fromtimestamp(row.valid_until, UTC).isoformat()
        step = Step(
            id=str(uuid.uuid4()),
            at=now,
            kind="agreement",
            state="expired",
            about=row.id,
            document={"agreement": row.id, "of": row.digest, "change": "expired", "until": until},
            agreement=row.digest,
            consumer=row.consumer,
            provider=row.provider,
            service=row.service,
            change=_ending(row, "expired"),
            moves_epoch=row.state in standing.LIVE,
        )
        # Another process may have been quicker; where the log cannot be written, the next look records it.
        with suppress(Refusal):
            desk.recorder.record_step(step)
            done += 1
    if done:
        desk.refresh()
    return done


def found(connection: Connection, act: Act, identifier: str) -> Any:
    """The agreement's row, if it concerns the caller; standing terms that are signed concern everybody."""
    row = standing.find(connection, identifier)
    if row is None or (not ledger.published(row) and side_of(act.caller, row) is None):
        raise unknown()
    return row


def _signed(desk: Desk, ground: _Ground, signatures: Mapping[str, str], awaited: list[str]) -> Taken:
    """The step of a signature: the last one needed takes the agreement's places and makes it active."""
    row, act, document = ground.row, ground.act, ground.document
    text = orjson.dumps(signatures).decode()
    said = {"signed": act.department, "signature": signatures[act.department]}
    if awaited:
        step = _step(
            ground, said, state="signed", change=lambda connection, _: _move(connection, row, signatures=text)
        )
        return Taken(step, {"id": row.id, "state": "approved", "awaiting": awaited})
    if row.valid_until <= act.at.timestamp():
        raise Refusal("conflict", "The agreement's validity is over: apply anew.")
    draft = _fitting(desk, document)
    old = _live(desk, draft.supersedes)

    def change(connection: Connection, place: Place) -> None:
        # Before anything moves: the one that the authority suspended may be the one that this would end.
        _check_halts(connection, draft)
        _move(connection, row, state="active", signatures=text, epoch=place.epoch, due=None)
        if old is not None:
            _ending(old, "superseded")(connection, place)
        _take_places(connection, draft)

    if draft.supersedes:
        said["supersedes"] = draft.supersedes
    also = () if old is None else (_superseded(ground, old),)
    step = _step(ground, said, state="active", change=change, moves_epoch=True, also=also)
    return Taken(step, {"id": row.id, "state": "active", "awaiting": []})


def _live(desk: Desk, identifier: str | None) -> Any | None:
    """The agreement of that id, if it has not ended."""
    if identifier is None:
        return None
    with desk.store.reading() as connection:
        row = standing.find(connection, identifier)
    return row if row is not None and row.state in standing.LIVE else None


def _superseded(ground: _Ground, old: Any) -> Step:
    """The end of the agreement that another one takes the place of, as a record of its own."""
    said = {"change": "superseded", "by": ground.row.id}
    return _step(_Ground(str(uuid.uuid4()), ground.act, old, {}), said, state="superseded")


def _fitting(desk: Desk, document: Mapping[str, Any]) -> Draft:
    """The agreement against the catalogue of today, which may have changed since it was drafted."""
    try:
        return check_document(Members("agreement", dict(document)), desk.catalogue, desk.departments)
    except NodeFileInvalid:
        raise Refusal("conflict", "The agreement no longer fits the catalogue: apply anew.") from None


def _check_halts(connection: Connection, draft: Draft) -> None:
    """INVARIANT: where the authority has suspended sharing, both sides' signatures do not bring it back."""
    if standing.halted(draft, standing.halts(connection, draft.service)):
        raise forbidden("authority-resumes")


def _check_hold(desk: Desk, row: Any, side: str) -> None:
    """What the authority suspended is the authority's to resume and to end."""
    if side != "authority" and _suspended_by(desk, row) == "authority":
        raise forbidden("authority-resumes")


def _suspended_by(desk: Desk, row: Any) -> str | None:
    """Which side suspended an agreement that is suspended."""
    if row.state != "suspended":
        return None
    with desk.store.reading() as connection:
        return standing.suspended_by(connection, [row.id]).get(row.id)


def _take_places(connection: Connection, draft: Draft) -> None:
    """Make the agreement the active one for its parties and purposes.

    INVARIANT: at most one is active for a department, service and purpose, so that a question comes under one only.
    """
    if standing.taken(connection, draft):
        raise Refusal(
            "conflict",
            "Another agreement is active for this department, service and purpose: revoke or supersede it first.",
        )
    standing.claim(connection, draft)


def _ended(ground: _Ground, state: str, side: str, reason: str) -> Taken:
    said = {"change": state, "by": side, "reason": _checked(reason)}
    moves = ground.row.state in standing.LIVE
    step = _step(ground, said, state=state, change=_ending(ground.row, state), moves_epoch=moves)
    return Taken(step, {"id": ground.row.id, "state": state})


def _ending(row: Any, state: str) -> Any:
    """The change that takes an agreement out of force."""

    def change(connection: Connection, place: Place) -> None:
        _move(connection, row, state=state, epoch=place.epoch, due=None)
        standing.release(connection, row.id)

    return change


def _controlled(desk: Desk, act: Act, identifier: str, record: str) -> tuple[_Ground, str]:
    """The agreement and the side on which the caller may control it; a consuming system controls nothing."""
    with desk.store.reading() as connection:
        row = found(connection, act, identifier)
        document = ledger.document(connection, row.digest)
    side = side_of(act.caller, row) or ""
    if side in {"consumer", "provider"} and not is_steward(act.caller):
        side = ""
    return _Ground(record, act, row, document), side


def _only(side: str, sides: tuple[str, ...], rule: str) -> None:
    if side not in sides:
        raise forbidden(rule)


def _checked(reason: str) -> str:
    faults = Faults()
    if not reason.strip():
        faults.add("/reason", "is needed: both sides and the auditor read it")
    check_texts({"reason": reason}, faults)
    faults.refuse()
    return reason.strip()


def _move(connection: Connection, row: Any, **values: Any) -> None:
    ledger.move(connection, tables.agreement, row, **values)


def _step(ground: _Ground, said: Mapping[str, Any], **step: Any) -> Step:
    row, act = ground.row, ground.act
    return Step(
        id=ground.record,
        at=act.at,
        kind="agreement",
        about=row.id,
        document={"agreement": row.id, "of": row.digest, **said},
        caller=act.caller,
        agreement=row.digest,
        consumer=row.consumer,
        provider=row.provider,
        service=row.service,
        **step,
    )
