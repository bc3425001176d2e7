"""What becomes of access tokens: issued, looked up by others than their client, revoked; each is a record.

INVARIANT: each is held against the registry in force at its own place in the log, so that no token is issued behind
the suspension of its client, nor called good behind its revocation.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from app.identity.caller import Caller, grantable
from app.identity.token import Grant, Tokens
from app.log.sequencer import Place, RegistryChanged
from app.log.storage import Store
from app.recording import Event, Recorder
from app.refusals import Refusal
from app.registry.current import Current, Registry
from app.registry.holders import Holder, holder_of
from app.registry.lockouts import revoke_token
from app.steps import Step

TRIES = 5  # each needs another change of the registry in between
KIND = "token"
# Who may look up every token; its own, every client may.
MAY_INTROSPECT = frozenset(("security-admin", "auditor"))
MAY_REVOKE = frozenset(("security-admin",))

Done = TypeVar("Done")


class ScopeNotGranted(Exception):
    """A scope was asked for that the client may not have."""


class ForeignToken(Exception):
    """The token was issued to another client, and is not the caller's to revoke."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that is in the log, and the scopes that it carries."""

    token: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class TokenDesk:
    """Where tokens are issued, looked up and revoked; `announce` tells other processes of a new epoch."""

    tokens: Tokens
    recorder: Recorder
    current: Current
    announce: Callable[[int], object]

    def issue(self, caller: Caller, asked: frozenset[str]) -> Issued:
        """A token for the certificate of the caller; without scopes asked for, with all that its roles give.

        Its id (jti) is that of its record. Raises `ScopeNotGranted`, and `Refusal` where the caller is locked out.
        """

        def issue(admitted: Caller, registry: Registry) -> Issued:
            granted = grantable(admitted.client, registry.catalogue)
            if not asked <= granted:
                raise ScopeNotGranted
            scopes, now, jti = asked or granted, datetime.now(UTC), str(uuid.uuid4())
            name = admitted.client.name
            # Signed first: a record of a token that there is not would be one too many.
            token, _ = self.tokens.issue(name, admitted.certificate, scopes, now, jti=jti)
            presented = admitted.presented
            holder = Holder.of(admitted.client, presented.key, (presented.thumbprint, presented.twin))
            issued = Event(id=jti, at=now, caller=admitted, kind=KIND, state="issued", facts=holder.facts())
            issued.epoch = registry.epoch
            self.recorder.record(issued)
            return Issued(token, scopes)

        return self._held(caller, issue)

    def introspect(self, caller: Caller, token: str, store: Store) -> Grant | None:
        """What the node would accept a token for (RFC 7662); None where it would not, or the caller may not know.

        Held against the registry in force: the client and its roles, what is locked out, and the name and key of the
        certificate that it was issued for. It does not look at that certificate's path, its validity and the
        revocation lists, which the node sees only when it is shown; nor for another client that is registered under
        another name in the same certificate. `store` holds the token's record.
        Whoever asks about another client's token, or about what is none, leaves a record. Raises `Refusal`.
        """
        self.current.followed()
        found = self._found(token)
        holder = None if found is None else _holder(store, found)

        def look(admitted: Caller, registry: Registry) -> Grant | None:
            active = None
            if found is not None and holder is not None:
                active = _active(found, holder, registry, datetime.now(UTC))
            if found is not None and found.client == admitted.client.name:
                return active
            entitled = bool(admitted.client.roles & MAY_INTROSPECT)
            shown = active if entitled else None
            # Nothing is done by it, so it is no part of the token's history.
            step = _step("introspected", admitted, registry, found, refused=True, active=shown is not None)
            self.recorder.record_step(step)
            return shown

        return self._held(caller, look)

    def revoke(self, caller: Caller, token: str) -> None:
        """Revoke a token of the caller's own, or any as security-admin (RFC 7009).

        What is no token, has run out or was revoked already needs nothing and leaves no record. Raises
        `ForeignToken`, recorded, whether or not that token is still good; and `Refusal`.
        """
        self.current.followed()
        found = self._found(token)
        if self._held(caller, lambda admitted, registry: self._revoke(admitted, registry, found)):
            self.announce(self.current.refresh().epoch)

    def _revoke(self, caller: Caller, registry: Registry, grant: Grant | None) -> bool:
        """Whether the token was good until now and is revoked by this."""
        if grant is None:
            return False
        if grant.client != caller.client.name and not caller.client.roles & MAY_REVOKE:
            self.recorder.record_step(_step("invalid-grant", caller, registry, grant, refused=True))
            raise ForeignToken
        now = datetime.now(UTC)
        if now.timestamp() >= grant.expires_at or grant.id in registry.lockouts.tokens:
            return False

        def change(connection: Connection, _: Place) -> None:
            revoke_token(connection, grant.id, client=grant.client, expires_at=grant.expires_at, now=now)

        self.recorder.record_step(_step("revoked", caller, registry, grant, change=change, moves_epoch=True))
        return True

    def _found(self, token: str) -> Grant | None:
        try:
            return self.tokens.read(token)
        except Refusal:
            return None

    def _held(self, caller: Caller, do: Callable[[Caller, Registry], Done]) -> Done:
        """What `do` comes to under the registry in force, done anew where that has moved on meanwhile."""
        for _ in range(TRIES):
            registry = self.current.registry
            try:
                return do(caller.admitted(registry), registry)
            except RegistryChanged:
                self.current.refresh()
        raise Refusal(
            "record-not-written",
            "The node is being changed: try again shortly.",
            headers={"Retry-After": "1"},
        )


def _holder(store: Store, grant: Grant) -> Holder:
    """Whom the token was issued to, by its record; without one, by what it says itself."""
    with store.reading() as connection:
        return holder_of(connection, grant.id) or Holder(frozenset((grant.certificate,)))


def _active(grant: Grant, holder: Holder, registry: Registry, now: datetime) -> Grant | None:
    """The token with the scopes that it still carries, if the node accepts it from the holder of its certificate."""
    client = registry.departments.clients.get(grant.client)
    lockouts = registry.lockouts
    locked_out = grant.id in lockouts.tokens or not lockouts.certificates.isdisjoint(holder.certificates)
    if client is None or client.suspended or locked_out or grant.fault(now) is not None:
        return None
    scopes = grant.scopes & grantable(client, registry.catalogue)
    return replace(grant, scopes=scopes) if scopes and holder.is_let_in_as(client) else None


def _step(state: str, caller: Caller, registry: Registry, grant: Grant | None, **how: Any) -> Step:
    """What was done about a token, for the department of its client to see; never the token itself."""
    client = registry.departments.clients.get(grant.client) if grant else None
    document: dict[str, Any] = {"state": state}
    if grant is not None:
        document["token"] = {"jti": grant.id, "client": grant.client, "expires_at": grant.expires_at}
    if "active" in how:
        document["active"] = how.pop("active")
    return Step(
        id=str(uuid.uuid4()),
        at=datetime.now(UTC),
        kind=KIND,
        state=state,
        about=grant.id if grant else "unknown",
        document=document,
        caller=caller,
        consumer=client.department if client else None,
        epoch=registry.epoch,
        **how,
    )
