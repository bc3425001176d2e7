"""Steps about clients that hold at once: one is locked out, or one of its certificates is (等保三级).

What narrows takes one security administrator; what widens takes two (`app.life_cycle.proposals`). Each step is a
record of kind `client` about `client:<id>`, which no agreement, application or dispute can have as its id.
INVARIANT: whoever takes a step is a security administrator by the registry that the step is recorded under.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.life_cycle.desk import Act, Desk, Taken
from app.log.sequencer import Place
from app.refusals import Refusal
from app.registry import holders, lockouts
from app.registry.applications import Faults, check_texts
from app.registry.current import Registry
from app.registry.departments import Client
from app.steps import Step

ROLE = "security-admin"  # and the scope that it is granted


@dataclass(frozen=True, slots=True)
class Ground:
    """What one step stands on: the id of its record, the request, the registry, and whose client it is about."""

    record: str
    act: Act
    registry: Registry
    client: str
    department: str

    @property
    def by(self) -> str:
        """The client id of the administrator."""
        return self.act.caller.client.name


def suspend(desk: Desk, act: Act, identifier: str, reason: str) -> bytes:
    """Lock a client out: from this record on nothing of it is accepted. Raises `Refusal`."""

    def make(record: str) -> Taken:
        ground = ground_of(desk, act, record, identifier)
        with desk.store.reading() as connection:
            row = lockouts.row_of(connection, identifier)
            if row is not None and row.suspended and row.department == ground.department:
                raise Refusal("conflict", "The client is suspended already.")
            _check_office(connection, ground.registry, identifier)

        def locked_out(connection: Connection, place: Place) -> None:
            lockouts.suspend_client(connection, identifier, ground.department, place.epoch)

        step = step_of(ground, "suspended", {"reason": checked(reason)}, locked_out)
        return Taken(step, {"id": identifier, "state": "suspended"})

    return desk.take(act, make)


def suspend_certificate(desk: Desk, act: Act, identifier: str, wanted: Mapping[str, str]) -> bytes:
    """Lock one certificate out for good; the client's others go on. Raises `Refusal`."""
    thumbprint = wanted["certificate"]

    def make(record: str) -> Taken:
        ground = ground_of(desk, act, record, identifier)
        if thumbprint in ground.registry.lockouts.certificates:
            raise Refusal("conflict", "The certificate is suspended already.")
        with desk.store.reading() as connection:
            _check_holder(connection, ground, thumbprint)
            if thumbprint in _own(act):
                _check_office(connection, ground.registry, ground.by)

        def locked_out(connection: Connection, _place: Place) -> None:
            lockouts.suspend_certificate(connection, thumbprint, identifier, act.at)

        said = {"certificate": thumbprint, "reason": checked(wanted["reason"])}
        step = step_of(ground, "certificate-suspended", said, locked_out)
        return Taken(step, {"id": identifier, "state": "certificate-suspended", "certificate": thumbprint})

    return desk.take(act, make)


def in_office(desk: Desk, act: Act) -> Registry:
    """The registry in force, by which the caller is a security administrator. Raises `Refusal`."""
    registry = desk.current.registry
    act.caller.admitted(registry).need(ROLE)
    return registry


def is_officer(client: Client | None) -> bool:
    """Whether it is an active security administrator."""
    return client is not None and ROLE in client.roles and not client.suspended


def client_in(registry: Registry, identifier: str) -> Client:
    """The client of that id, of the directory or registered over HTTP. Raises `Refusal` not-found."""
    client = registry.departments.clients.get(identifier)
    if client is None:
        raise Refusal("not-found", "There is no client of this id.")
    return client


def ground_of(desk: Desk, act: Act, record: str, identifier: str) -> Ground:
    """What a step about a client stands on. Raises `Refusal`: not-found, or that of a caller who may not."""
    registry = in_office(desk, act)
    client = client_in(registry, identifier)
    return Ground(record, act, registry, client.name, client.department)


def checked(reason: str) -> str:
    """The reason, which names no person. Raises `Refusal` invalid-request."""
    faults = Faults()
    if not reason.strip():
        faults.add("/reason", "is needed: the other administrators and the auditor read it")
    check_texts({"reason": reason}, faults)
    faults.refuse()
    return reason.strip()


def step_of(ground: Ground, state: str, said: Mapping[str, Any], change: Callable[[Connection, Place], None]) -> Step:
    """The step; all but proposals and rejections change who is let in, and so move the epoch."""
    named = {"id": ground.client, "department": ground.department, "by": ground.by}
    return Step(
        id=ground.record,
        at=ground.act.at,
        kind="client",
        state=state,
        about=lockouts.about(ground.client),
        document={"change": state, **named, **said},
        caller=ground.act.caller,
        change=change,
        moves_epoch=state not in {"proposed", "rejected"},
    )


def _own(act: Act) -> frozenset[str]:
    """The caller's certificate and its twin."""
    presented = act.caller.presented
    return frozenset(filter(None, (presented.thumbprint, presented.twin)))


def _check_holder(connection: Connection, ground: Ground, thumbprint: str) -> None:
    """Raise the `Refusal` of a certificate that is known as another client's: it is locked out as that one's.

    Else an administrator's would be locked out under anybody's id, where nobody looks for it.
    """
    known = ground.by if thumbprint in _own(ground.act) else holders.client_with(connection, thumbprint)
    if known not in {None, ground.client} and known in ground.registry.departments.clients:
        raise Refusal("conflict", f"The log knows this certificate as that of client {known}: suspend it there.")


def _check_office(connection: Connection, registry: Registry, without: str) -> None:
    """INVARIANT: somebody is left who can lock out, and approve once a signed revision brings a second one.

    Not two: else of two administrators neither could lock out the other, whose key was stolen. Whoever last called
    over a certificate that is locked out does not count: perhaps it has no other.
    """
    others = (one for one in registry.departments.clients.values() if is_officer(one) and one.name != without)
    locked = registry.lockouts.certificates
    if not any(locked.isdisjoint(holders.last_certificates(connection, one.name)) for one in others):
        raise Refusal(
            "conflict",
            "This would lock the last security administrator out: put a revision of the node directory with another "
            "one in force first.",
        )
