"""Proposals about clients, which widen who is let in: one security administrator proposes, another one approves.

A proposal changes nothing; the approval's record makes it true, or is refused where something has overtaken it.
Who may decide, `second_person` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.life_cycle.clients import Ground, checked, ground_of, in_office, step_of
from app.life_cycle.desk import Act, Desk, Taken
from app.life_cycle.second_person import check_first_person, check_second_person, sender
from app.log.sequencer import Place
from app.refusals import Refusal
from app.registry import client_changes, holders, ledger, lockouts
from app.registry.applications import invalid
from app.registry.client_changes import APPROVED, CHANGE, PROPOSED, REGISTER, REJECTED, RESUME
from app.registry.registration import Room, check_client, document_of

DONE = {REGISTER: "registered", CHANGE: "changed", RESUME: "resumed"}
"""The state of the record that makes a proposal true, by its action."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """What is decided on: the id of the proposal, its document, and the reason of whoever decides."""

    id: str
    document: Mapping[str, Any]
    reason: str

    @property
    def action(self) -> str:
        """What was proposed."""
        action: str = self.document["action"]
        return action


def register(desk: Desk, act: Act, wanted: Mapping[str, Any]) -> bytes:
    """Propose a new client. Raises `Refusal`."""

    def make(record: str) -> Taken:
        registry = in_office(desk, act)
        if wanted["department"] not in registry.directory.departments.all:
            raise invalid({"/department": "is no department of the node directory"})
        ground = Ground(record, act, registry, wanted["client"], wanted["department"])
        client = check_client(_as_proposed(wanted, wanted["client"]), _room(ground))
        with desk.store.reading() as connection:
            _check_free(connection, ground)
        return _proposed(ground, REGISTER, {"client": document_of(client)})

    return desk.take(act, make)


def change(desk: Desk, act: Act, identifier: str, wanted: Mapping[str, Any]) -> bytes:
    """Propose another title, other roles, another certificate name or other keys of a registered client.

    Raises `Refusal`.
    """

    def make(record: str) -> Taken:
        ground = ground_of(desk, act, record, identifier)
        with desk.store.reading() as connection:
            row = lockouts.row_of(connection, identifier)
            if row is None or row.digest is None:
                raise Refusal(
                    "conflict",
                    "This client stands in the signed node directory: change it there, under a higher revision.",
                )
            held = ledger.document(connection, row.digest)["client"]
        document = document_of(check_client(_as_proposed(wanted, identifier), _room(ground)))
        if document == held:
            raise Refusal("conflict", "The client is registered like this already.")
        return _proposed(ground, CHANGE, {"client": document, "of": row.digest})

    return desk.take(act, make)


def resume(desk: Desk, act: Act, identifier: str, reason: str) -> bytes:
    """Propose to let a suspended client in again. Raises `Refusal`."""

    def make(record: str) -> Taken:
        ground = ground_of(desk, act, record, identifier)
        with desk.store.reading() as connection:
            row = lockouts.row_of(connection, identifier)
        if row is None or not row.suspended:
            raise Refusal(
                "conflict",
                "Only a client that was suspended here is resumed here: read its present state. What the node "
                "directory suspends is changed there.",
            )
        return _proposed(ground, RESUME, {"since": row.epoch, "reason": checked(reason)})

    return desk.take(act, make)


def decide(desk: Desk, act: Act, identifier: str, verdict: Mapping[str, Any]) -> bytes:
    """Approve or reject what another administrator proposed; once approved it holds. Raises `Refusal`."""

    def make(record: str) -> Taken:
        registry = in_office(desk, act)
        with desk.store.reading() as connection:
            row = found(connection, identifier)
            # INVARIANT: what is decided on is what the proposal's record names by digest, not what a row says of it.
            document = ledger.document(connection, row.digest)
        ground = Ground(record, act, registry, document["id"], document["department"])
        check_second_person(ground, document)
        if row.state != PROPOSED:
            raise Refusal("conflict", "The proposal is decided already: read its present state.")
        decided = _Decided(identifier, document, checked(verdict["reason"]))
        return _rejected(ground, decided) if verdict["decision"] == "reject" else _approved(desk, ground, decided)

    return desk.take(act, make)


def found(connection: Connection, identifier: str) -> Any:
    """The row of a proposal. Raises `Refusal` not-found."""
    row = client_changes.find(connection, identifier)
    if row is None:
        raise Refusal("not-found", "There is no proposal of this id.")
    return row


def _room(ground: Ground) -> Room:
    registry = ground.registry
    return Room(registry.departments, registry.directory.authority, ground.department)


def _as_proposed(wanted: Mapping[str, Any], identifier: str) -> dict[str, Any]:
    return {"client": identifier} | {name: wanted[name] for name in ("title", "roles", "certificate", "signing_keys")}


def _check_free(connection: Connection, ground: Ground) -> None:
    """Raise the `Refusal` where the id is a client's, or was one's that was locked out."""
    if ground.client in ground.registry.departments.clients:
        raise Refusal("conflict", "There is a client of this id already.")
    row = lockouts.row_of(connection, ground.client)
    if row is not None and (row.suspended or row.digest is not None):
        raise Refusal("conflict", "This id was another client's: choose one that nobody had.")
    # Else a token, a signature or a record of that department's client would be this one's.
    if holders.was_of_another(connection, ground.client, ground.department):
        raise Refusal("conflict", "This id was that of another department's client: choose one that nobody had.")


def _proposed(ground: Ground, action: str, said: Mapping[str, Any]) -> Taken:
    """The step of a proposal, whose id is that of its record."""

    def keep(connection: Connection, _place: Place) -> None:
        values = {
            "id": ground.record,
            "client": ground.client,
            "department": ground.department,
            "action": action,
            "digest": step.digest,
            "proposed_by": ground.by,
            "proposed_at": int(ground.act.at.timestamp()),
        }
        client_changes.propose(connection, values)

    document = {"proposal": ground.record, "action": action, "sent": sender(ground), **said}
    step = step_of(ground, PROPOSED, document, keep)
    return Taken(step, {"id": ground.record, "client": ground.client, "action": action, "state": PROPOSED})


def _rejected(ground: Ground, decided: _Decided) -> Taken:
    def end(connection: Connection, _place: Place) -> None:
        client_changes.decide(connection, decided.id, REJECTED, ground.by)

    said = {"proposal": decided.id, "action": decided.action, "reason": decided.reason}
    return Taken(step_of(ground, REJECTED, said, end), _reply(decided, REJECTED))


def _approved(desk: Desk, ground: Ground, decided: _Decided) -> Taken:
    """The step that makes a proposal true. Raises `Refusal` conflict where it no longer fits."""
    document = decided.document
    with desk.store.reading() as connection:
        check_first_person(connection, ground, document)
        _check_fits(connection, ground, document)

    def make_true(connection: Connection, place: Place) -> None:
        client_changes.decide(connection, decided.id, APPROVED, ground.by)
        _DO[decided.action](connection, document, step.digest, place.epoch)

    said = {"proposal": decided.id, "proposed_by": document["by"], "reason": decided.reason}
    said |= {name: document[name] for name in ("client", "of") if name in document}
    step = step_of(ground, DONE[decided.action], said, make_true)
    return Taken(step, _reply(decided, APPROVED))


def _check_fits(connection: Connection, ground: Ground, document: Mapping[str, Any]) -> None:
    """Raise the `Refusal` of a proposal that something else has overtaken since."""
    row = lockouts.row_of(connection, ground.client)
    if document["action"] == RESUME:
        if row is None or not row.suspended or row.epoch != document["since"]:
            raise Refusal("conflict", "The client does not stand as it did then: read its state and propose anew.")
        return
    if document["action"] == REGISTER:
        _check_free(connection, ground)
    elif row is None or row.digest != document["of"]:
        raise Refusal("conflict", "The client was changed since this was proposed: propose anew.")
    try:
        check_client(document["client"], _room(ground))
    except Refusal:
        raise Refusal("conflict", "The proposal no longer fits what is registered now: propose anew.") from None


def _register(connection: Connection, document: Mapping[str, Any], digest: str, epoch: int) -> None:
    client_changes.register(connection, document["id"], document["department"], digest=digest, epoch=epoch)


def _change(connection: Connection, document: Mapping[str, Any], digest: str, epoch: int) -> None:
    client_changes.replace(connection, document["id"], old=document["of"], new=digest, epoch=epoch)


def _resume(connection: Connection, document: Mapping[str, Any], _digest: str, epoch: int) -> None:
    lockouts.resume_client(connection, document["id"], epoch, since=document["since"])


_DO: Mapping[str, Callable[[Connection, Mapping[str, Any], str, int], None]] = {
    REGISTER: _register,
    CHANGE: _change,
    RESUME: _resume,
}


def _reply(decided: _Decided, state: str) -> dict[str, Any]:
    return {"id": decided.id, "client": decided.document["id"], "action": decided.action, "state": state}
