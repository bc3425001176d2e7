"""Idempotency-Key: one key of one client is one decision for 24 hours (draft-ietf-httpapi-idempotency-key-header).

The key is claimed before the source is asked; the reply is stored, encrypted, in the record's own transaction.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select

from app.log import tables
from app.log.sealing import Sealer
from app.log.storage import Store, StoreUnavailable
from app.refusals import Refusal

LIFETIME = timedelta(hours=24)
ABANDONED = timedelta(minutes=2)  # a claim whose process died: no request runs longer
KEY = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Claim:
    """One request's claim: who sends which key, a digest of the request, and the decision made of it."""

    client: str
    key: str
    digest: bytes
    decision_id: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The reply of the first request with this key."""

    decision_id: str
    body: bytes


def check_key(key: str) -> None:
    """Raise the `invalid-request` refusal for an Idempotency-Key of a wrong form."""
    if not KEY.fullmatch(key):
        fault = {"pointer": "Idempotency-Key", "reason": "1 to 128 visible ASCII characters are needed"}
        raise Refusal("invalid-request", "The Idempotency-Key has a wrong form.", members={"errors": [fault]})


class Idempotency:
    """Claims keys and hands out stored replies."""

    def __init__(self, store: Store, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer

    def claim(self, claim: Claim, now: datetime) -> Stored | None:
        """Claim the key for its decision, or return what it answered before.

        Raises `Refusal`: idempotency-conflict 422 where the key belongs to another request, 409 while the first
        one runs; record-not-written if the store fails.
        """
        try:
            return self._claim(claim, int(now.timestamp() * 1_000))
        except StoreUnavailable:
            raise Refusal("record-not-written", "The node database cannot be written: try again shortly.") from None

    def _claim(self, claim: Claim, now: int) -> Stored | None:
        table = tables.idempotency
        with self._store.writing() as connection:
            connection.execute(delete(table).where(_expired(now)))
            row = connection.execute(select(table).where(_mine(claim))).first()
            if row is None:
                connection.execute(
                    insert(table).values(
                        client=claim.client,
                        key=claim.key,
                        request_digest=claim.digest,
                        decision_id=claim.decision_id,
                        claimed_at=now,
                    )
                )
                return None
        if not hmac.compare_digest(bytes(row.request_digest), claim.digest):
            raise Refusal(
                "idempotency-conflict",
                "This Idempotency-Key was used for another request: take a new key.",
                members={"status": 422},
            )
        if row.sealed_reply is None:
            raise Refusal(
                "idempotency-conflict",
                "The first request with this Idempotency-Key is still running: try again.",
                members={"status": 409},
                headers={"Retry-After": "1"},
            )
        return Stored(row.decision_id, self._sealer.open(bytes(row.sealed_reply), row.decision_id))

    def completed(self, claim: Claim, body: bytes) -> Mapping[str, Any]:
        """The parameters with which the sequencer stores the reply in the record's transaction."""
        sealed = self._sealer.seal(body, claim.decision_id)
        return {
            "of_client": claim.client,
            "of_key": claim.key,
            "of_decision": claim.decision_id,
            "new_sealed_reply": sealed,
        }

    def release(self, claim: Claim) -> None:
        """Give a claim back whose request ended without an answer, so that the caller may try again."""
        table = tables.idempotency
        mine = _mine(claim) & (table.c.decision_id == claim.decision_id)
        try:
            with self._store.writing() as connection:
                connection.execute(delete(table).where(mine, table.c.sealed_reply.is_(None)))
        except StoreUnavailable:
            # The claim lapses by itself after `ABANDONED`.
            return


def _mine(claim: Claim) -> ColumnElement[bool]:
    table = tables.idempotency
    return (table.c.client == claim.client) & (table.c.key == claim.key)


def _expired(now: int) -> ColumnElement[bool]:
    """Rows whose time is over: stored replies after a day, claims of dead processes after minutes."""
    table = tables.idempotency
    abandoned = table.c.sealed_reply.is_(None) & (table.c.claimed_at < now - _milliseconds(ABANDONED))
    return (table.c.claimed_at < now - _milliseconds(LIFETIME)) | abandoned


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1_000)
