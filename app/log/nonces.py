"""Nonces of signed requests: each is good once for its client, over all workers and instances.

A nonce is written in the transaction of the record that it was used for, so it is spent exactly if something was
recorded under it; only its SHA-256 is kept. Every spending takes away a few that are past their time: the table holds
those of the last minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from app.log.storage import Store

SWEPT = 16  # rows that one spending takes away at most, so that none holds the writer's lock for long


@dataclass(frozen=True, slots=True)
class Nonce:
    """The SHA-256 of a client's nonce, kept until `expires_at` (seconds since 1970)."""

    client: str
    digest: bytes
    expires_at: int


def is_spent(store: Store, nonce: Nonce) -> bool:
    """Whether the nonce was used already. Raises `StoreUnavailable`."""
    query = _KNOWN.format("?" if store.sqlite else "%s")
    with store.reading() as connection:
        return connection.exec_driver_sql(query, (nonce.client, nonce.digest)).first() is not None


def spend(connection: Connection, nonce: Nonce, now_s: float) -> bool:
    """Write the nonce, and whether it was new: what is used twice must not be answered."""
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    values = (nonce.client, nonce.digest, nonce.expires_at)
    written = connection.exec_driver_sql(_SPEND.format(mark), values)
    connection.exec_driver_sql(_SWEEP.format(mark), (int(now_s), SWEPT))
    return written.rowcount == 1


_KNOWN = "SELECT 1 FROM nonce WHERE client = {0} AND nonce = {0}"
# Run under the writer's lock for every signed question: as text, each takes a fifth of the time.
_SPEND = "INSERT INTO nonce (client, nonce, expires_at) VALUES ({0}, {0}, {0}) ON CONFLICT DO NOTHING"
_SWEEP = (
    "DELETE FROM nonce WHERE (client, nonce) IN "
    "(SELECT client, nonce FROM nonce WHERE expires_at < {0} ORDER BY expires_at LIMIT {0})"
)
