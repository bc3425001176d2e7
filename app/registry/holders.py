"""Who holds a token, and whose certificate is whose, as the records of issued tokens know it.

Beside the record of each token the index keeps what its caller was known by: `facts` of the row. It is no evidence,
only what an answer about a token or a certificate is held against.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Select, select

from app.log import tables
from app.registry.departments import Client

LOOKED_BACK = 50_000  # tokens: read in less than half a second, and each client asks for one every few minutes


@dataclass(frozen=True, slots=True)
class Holder:
    """What a token was issued for: certificates by thumbprint (with the twin), their key, the client's name in them.

    `name` and `key` are None where only the token is known.
    """

    certificates: frozenset[str]
    name: tuple[str, str] | None = None
    key: str | None = None

    @classmethod
    def of(cls, client: Client, key: str, certificates: Iterable[str]) -> Holder:
        """Whoever shows one of these certificates as this client."""
        name = client.certificate_name, client.certificate_value
        return cls(frozenset(filter(None, certificates)), name, key)

    def facts(self) -> bytes:
        """The form that is kept beside the record."""
        return orjson.dumps({"certificates": sorted(self.certificates), "name": self.name, "key": self.key})

    def is_let_in_as(self, client: Client) -> bool:
        """Whether name and key are still those of the client."""
        named = self.name in {None, (client.certificate_name, client.certificate_value)}
        return named and (self.key is None or not client.public_keys or self.key in client.public_keys)


def holder_of(connection: Connection, jti: str) -> Holder | None:
    """Who a token was issued to; None where its record is not there."""
    row = tables.decision.c
    content = connection.execute(select(row.facts).where(row.id == jti, row.kind == "token")).scalar()
    return _holder(content) if content else None


def client_with(connection: Connection, thumbprint: str) -> str | None:
    """The client that last got a token over this certificate or its twin; None if none did lately."""
    wanted = thumbprint.encode()
    for row in connection.execute(_issued()):
        if row.facts and wanted in row.facts:
            found: str = row.client
            return found
    return None


def last_certificates(connection: Connection, client: str) -> frozenset[str]:
    """The certificate, with its twin, over which the client last got a token; none if it did not lately."""
    issued = _issued().subquery().c
    query = select(issued.facts).where(issued.client == client).order_by(issued.idx.desc()).limit(1)
    content = connection.execute(query).scalar()
    return _holder(content).certificates if content else frozenset()


def was_of_another(connection: Connection, client: str, department: str) -> bool:
    """Whether the id was that of another department's client: its tokens and signatures are out there."""
    return any(True for _ in _others(connection, client, department))


def _others(connection: Connection, client: str, department: str) -> Iterator[Any]:
    row, change, issued = tables.client.c, tables.client_change.c, tables.decision.c
    for query in (
        select(row.id).where(row.id == client, row.department != department),
        select(change.id).where(change.client == client, change.department != department, change.state == "approved"),
        # Only those who got a token ever acted. Among millions of records this takes seconds, once a registration.
        select(issued.idx).where(
            issued.kind == "token",
            issued.state == "issued",
            issued.client == client,
            issued.consumer != department,
        ),
    ):
        yield from connection.execute(query.limit(1))


def _issued() -> Select[Any]:
    """The records of the last tokens, the newest first."""
    row = tables.decision.c
    query = select(row.idx, row.client, row.facts).where(row.kind == "token", row.state == "issued")
    return query.order_by(row.idx.desc()).limit(LOOKED_BACK)


def _holder(content: bytes) -> Holder:
    said = orjson.loads(content)
    return Holder(frozenset(said["certificates"]), tuple(said["name"]), said["key"])
