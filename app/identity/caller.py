"""The caller of one request: a registered client, proved by certificate and by a token bound to it.

INVARIANT: whoever is let in is let in by the registry in force (`admitted`), and held against it once more when what
it asked for is recorded: nothing of it stands in the log behind the suspension or revocation that ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from app.identity import token as tokens
from app.identity.certificate import Certificates, Presented, not_trusted
from app.identity.connection import Connections
from app.identity.token import Tokens
from app.registry.catalogue import Catalogue
from app.registry.current import Registry
from app.registry.departments import Client

# The scopes each role may be granted; `verify:*` is granted without an agreement, since policy denies, not the token.
ROLE_SCOPES = {
    "consumer": ("catalogue",),
    "steward": ("catalogue", "steward"),
    "authority": ("catalogue", "authority"),
    "auditor": ("catalogue", "audit"),
    "system-admin": ("system-admin",),
    "security-admin": ("security-admin",),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the client, its certificate, what its token grants and the token's id (jti), and from where."""

    client: Client
    presented: Presented
    scopes: frozenset[str] = frozenset()
    token: str | None = None
    address: str = ""

    @property
    def certificate(self) -> str:
        """The thumbprint of its certificate (RFC 8705 §3.1)."""
        return self.presented.thumbprint

    def need(self, scope: str) -> None:
        """Raise the `insufficient-scope` refusal unless the token carries `scope`."""
        if scope not in self.scopes:
            raise tokens.insufficient(scope)

    def admitted(self, registry: Registry) -> Caller:
        """The same caller as the registry knows its client. Raises `Refusal` where it lets it in no more."""
        client = _client(self.presented, registry)
        if client.name != self.client.name or client.department != self.client.department:
            raise not_trusted("The certificate belongs to no active client of this node.")
        if self.token is not None and self.token in registry.lockouts.tokens:
            raise tokens.invalid("The token was revoked: ask for a new one.")
        # Scopes of roles that it has lost since go with them.
        granted = grantable(client, registry.catalogue)
        if client is self.client and self.scopes <= granted:
            return self
        return replace(self, client=client, scopes=self.scopes & granted)


@dataclass(frozen=True, slots=True)
class Identity:
    """Turns what a request presents into a caller."""

    connections: Connections
    certificates: Certificates
    tokens: Tokens

    def certified(self, environ: Mapping[str, Any], registry: Registry, now: datetime) -> Caller:
        """The caller by certificate alone, without scopes: who asks for a token, or presents a bad one."""
        connection = self.connections.of(environ)
        presented = self.certificates.of(connection, now)
        return Caller(_client(presented, registry), presented, address=connection.address)

    def authenticated(self, caller: Caller, authorization: str | None, registry: Registry, now: datetime) -> Caller:
        """The certified caller with the scopes of its bearer token. Raises `Refusal`."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise tokens.missing()
        grant = self.tokens.verify(token, caller.certificate, now)
        if grant.client != caller.client.name:
            raise tokens.invalid("The token was issued to another client.")
        return replace(caller, scopes=grant.scopes, token=grant.id).admitted(registry)


def grantable(client: Client, catalogue: Catalogue) -> frozenset[str]:
    """All scopes that a client may be granted, by its roles."""
    return _scopes(client.roles, catalogue)


@lru_cache(maxsize=64)
def _scopes(roles: frozenset[str], catalogue: Catalogue) -> frozenset[str]:
    scopes = {scope for role in roles for scope in ROLE_SCOPES[role]}
    if "consumer" in roles:
        scopes |= {f"verify:{service}" for service in catalogue.services}
    return frozenset(scopes)


def _client(presented: Presented, registry: Registry) -> Client:
    """The active client whose certificate it is. Raises `Refusal` certificate-not-trusted."""
    client = registry.departments.find(presented.names)
    if client is None or client.suspended:
        raise not_trusted("The certificate belongs to no active client of this node.")
    if client.public_keys and presented.key not in client.public_keys:
        raise not_trusted("The certificate has another key than those registered for its client.")
    # INVARIANT: with its twin, which its holder can make without any key.
    if not registry.lockouts.certificates.isdisjoint((presented.thumbprint, presented.twin)):
        raise not_trusted("The certificate was suspended at this node: use another one.")
    return client
