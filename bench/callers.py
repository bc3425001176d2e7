"""Callers whose certificate and token are taken as sound: for what is measured or tried behind the door."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from app.identity.caller import Caller
from app.identity.certificate import Presented
from app.registry.departments import Client
from app.trust.authorities import Path

_ANY_PATH = Path((), datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def unchecked_caller(client: Client, scopes: Iterable[str] = (), certificate: str = "thumbprint") -> Caller:
    """A registered client as if it had shown a sound certificate of this thumbprint and a token with these scopes."""
    names = ((client.certificate_name, client.certificate_value),)
    key = next(iter(client.public_keys), "sha256-" + "0" * 64)
    return Caller(client, Presented(certificate, key, names, _ANY_PATH), frozenset(scopes), "jti")
