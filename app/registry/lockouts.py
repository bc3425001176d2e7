"""Who is let in no more, by the node database: certificates, tokens, and what it says of clients.

Each change moves the registry's epoch, in the transaction of its record, so that nothing is accepted behind it. A
suspension outlives the revision of the node directory under which it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from app.log import tables
from app.registry.departments import Registered
from app.registry.ledger import Moved
from evidence.merkle import leaf_hash

PREFIX = "client:"
REGISTERED = ("registered", "changed")  # states of the steps whose document a client is registered by
KEPT_S = 3_600  # how long a revoked token is kept beyond its end: the clocks of instances may differ


@dataclass(frozen=True, slots=True)
class Lockouts:
    """Certificates (RFC 8705 thumbprints) and tokens (jti) that are good by themselves and accepted no more."""

    certificates: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()


def held_lockouts(connection: Connection) -> Lockouts:
    """All that are locked out."""
    certificates = connection.execute(select(tables.suspended_certificate.c.thumbprint)).scalars()
    tokens = connection.execute(select(tables.revoked_token.c.jti)).scalars()
    return Lockouts(frozenset(certificates), frozenset(tokens))


def held_clients(connection: Connection) -> tuple[Registered, ...]:
    """What the database says of clients, in the order of ids."""
    table, kept, step, entry = tables.client, tables.archive, tables.step, tables.log_entry
    made_it = (step.c.about == PREFIX + table.c.id) & (step.c.digest == table.c.digest)
    query = (
        select(table, kept.c.content, entry.c.body, entry.c.leaf_hash)
        .outerjoin(kept, kept.c.digest == table.c.digest)
        .outerjoin(step, made_it & (step.c.kind == "client") & step.c.state.in_(REGISTERED))
        .outerjoin(entry, entry.c.idx == step.c.idx)
        .order_by(table.c.id)
    )
    return tuple(_registered(row) for row in connection.execute(query))


def about(client: str) -> str:
    """What the records of a client are about: no agreement, application or dispute can have such an id."""
    return PREFIX + client


def _registered(row: Any) -> Registered:
    document: Mapping[str, Any] | None = None
    if row.digest is not None:
        # Without its document a client is nobody: it must not pass for one of the directory.
        document = orjson.loads(row.content)["client"] if _borne_out(row) else {}
    return Registered(row.id, row.department, document, row.suspended)


def _borne_out(row: Any) -> bool:
    """Whether a record of the log names the document, and it is archived as it was then.

    INVARIANT: nobody is let in by a row alone. That the leaf hash is that of the signed tree, `check-log` finds.
    """
    if row.content is None or row.body is None or leaf_hash(row.body) != bytes(row.leaf_hash):
        return False
    said = orjson.loads(row.body)
    named = said["kind"] == "client" and said["state"] in REGISTERED and said["about"] == about(row.id)
    return named and said["document"] == row.digest == "sha256-" + sha256(row.content).hexdigest()


def row_of(connection: Connection, client: str) -> Any | None:
    """What the database says of one client, or None."""
    return connection.execute(select(tables.client).where(tables.client.c.id == client)).first()


def suspend_client(connection: Connection, client: str, department: str, epoch: int) -> None:
    """Lock a client out, of the directory or registered over HTTP."""
    row = tables.client
    values = {"department": department, "suspended": True, "epoch": epoch}
    if connection.execute(update(row).where(row.c.id == client).values(**values)).rowcount != 1:
        connection.execute(insert(row).values(id=client, digest=None, **values))


def resume_client(connection: Connection, client: str, epoch: int, *, since: int) -> None:
    """Let a client in again that is suspended since that epoch and as it was then. Raises `Moved`."""
    row = tables.client
    same = (row.c.id == client) & row.c.suspended & (row.c.epoch == since)
    if connection.execute(update(row).where(same).values(suspended=False, epoch=epoch)).rowcount != 1:
        raise Moved


def suspended_certificates(connection: Connection, client: str) -> Sequence[Any]:
    """The certificates that were suspended as this client's, the oldest first: `thumbprint` and `since`."""
    row = tables.suspended_certificate
    query = select(row).where(row.c.client == client).order_by(row.c.since, row.c.thumbprint)
    return connection.execute(query).all()


def suspend_certificate(connection: Connection, thumbprint: str, client: str, at: datetime) -> None:
    """Lock a certificate out."""
    values = {"thumbprint": thumbprint, "client": client, "since": int(at.timestamp())}
    connection.execute(insert(tables.suspended_certificate).values(**values))


def revoke_token(connection: Connection, jti: str, *, client: str, expires_at: int, now: datetime) -> None:
    """Lock a token out that ends at `expires_at` (seconds since 1970), and forget those that ended long ago."""
    row = tables.revoked_token
    connection.execute(delete(row).where(row.c.expires_at < int(now.timestamp()) - KEPT_S))
    connection.execute(insert(row).values(jti=jti, client=client, expires_at=expires_at))
