"""The caller of one request: a registered client, proved by certificate and by a token bound to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.identity import token as tokens
from app.identity.certificate import Certificates
from app.identity.token import Tokens
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
    """Who asks: the client, the thumbprint of its certificate, and what its token grants."""

    client: Client
    certificate: str
    scopes: frozenset[str]

    def need(self, scope: str) -> None:
        """Raise the `insufficient-scope` refusal unless the token carries `scope`."""
        if scope not in self.scopes:
            raise tokens.insufficient(scope)


@dataclass(frozen=True, slots=True)
class Identity:
    """Turns what a request presents into a caller."""

    certificates: Certificates
    tokens: Tokens

    def certified(self, environ: Mapping[str, Any], now: datetime) -> Caller:
        """The caller by certificate alone, without scopes: who asks for a token, or presents a bad one."""
        client, certificate = self.certificates.of(environ, now)
        return Caller(client, certificate, frozenset())

    def authenticated(self, caller: Caller, authorization: str | None, now: datetime) -> Caller:
        """The certified caller with the scopes of its bearer token. Raises `Refusal`."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise tokens.missing()
        grant = self.tokens.verify(token, caller.certificate, now)
        if grant.client != caller.client.name:
            raise tokens.invalid("The token was issued to another client.")
        return Caller(caller.client, caller.certificate, grant.scopes)


def grantable(client: Client, services: Iterable[str]) -> frozenset[str]:
    """All scopes that a client may be granted, by its roles."""
    scopes = {scope for role in client.roles for scope in ROLE_SCOPES[role]}
    if "consumer" in client.roles:
        scopes |= {f"verify:{service}" for service in services}
    return frozenset(scopes)
