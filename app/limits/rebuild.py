"""The accounts as the charge rows tell them, written anew into Redis.

A quota is the sum of its charges. A budget is folded in the order of the log: where a charge says `renewed`, those
before it count no more whose source values have nothing in common with its own; a question that two requests paid for
at the same time counts once. Every doubt counts as spent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, TypeAlias

import redis
from sqlalchemy import Connection, func, or_, select

from app.limits.values import MANY, disjoint, merged
from app.log import tables

logger = logging.getLogger(__name__)

STATE = "hecha:state"
REBUILD = "hecha-rebuild"  # which rebuild writes accounts now; no part of what a rebuild clears away
ACCOUNT = "hecha:account:"
RESERVATION = "hecha:reservation:"
RESERVATIONS = "hecha:reservations"  # those under way, by when they can be recorded no more
PIECE = 5_000  # commands sent to Redis, and rows read from the database, at once

Settled: TypeAlias = "tuple[str, int, dict[str, str], list[str]]"
"""Reservation, index in the log, source values by account, accounts whose beginning anew is recorded with it."""


@dataclass(slots=True)
class Spent:
    """What one budget stands at: paid questions with amount and log index, and the source values they were about."""

    questions: dict[str, tuple[int, int]] = field(default_factory=dict)
    known: str = ""

    @property
    def total(self) -> int:
        """Thousandths of a bit."""
        return sum(amount for amount, _ in self.questions.values())


def quotas(connection: Connection) -> Iterator[tuple[str, int]]:
    """Every quota's account with the number of questions drawn."""
    column = tables.charge.c
    query = select(column.account, func.sum(column.amount)).where(column.question.is_(None)).group_by(column.account)
    for account, amount in connection.execute(query.execution_options(yield_per=PIECE)):
        yield account, int(amount)


def budgets(connection: Connection, account: str | None = None) -> Iterator[tuple[str, Spent]]:
    """Every budget's account, or the one named, with what it stands at."""
    column = tables.charge.c
    query = (
        select(column.account, column.idx, column.question, column.amount, column.fingerprint, column.renewed)
        # A row of nothing that names no values is told to auditors alone.
        .where(column.question.is_not(None), or_(column.amount > 0, column.fingerprint.is_not(None)))
        .order_by(column.account, column.idx)
    )
    if account is not None:
        query = query.where(column.account == account)
    rows = connection.execute(query.execution_options(yield_per=PIECE))
    for name, charges in groupby(rows, key=lambda row: str(row.account)):
        yield name, _folded(charges)


def _folded(charges: Iterable[Any]) -> Spent:
    counted: list[Any] = []
    spent = Spent()
    for row in charges:
        # Over every beginning anew: a value that comes back must not begin the account once more.
        spent.known = merged(spent.known, row.fingerprint or "")
        if row.renewed:
            counted = [before for before in counted if not _gone(before.fingerprint or "", row.fingerprint or "")]
        counted.append(row)
    for row in counted:
        before, _ = spent.questions.get(row.question, (0, 0))
        # A free repeat, noted for its values alone, makes no question paid.
        if row.amount or before:
            spent.questions[row.question] = max(before, row.amount), row.idx
    return spent


def _gone(before: str, values: str) -> bool:
    """Whether nothing that an answer was about stands in the source any more; one about no row is as good as gone."""
    return disjoint(before, values) if before else values not in ("", MANY)


def recorded(connection: Connection, ids: Sequence[str]) -> list[Settled]:
    """Those of these reservations that are recorded: each draws on an account in the rows of its decision."""
    row, charge = tables.decision.c, tables.charge.c
    query = (
        select(row.id, charge.idx, charge.account, charge.amount, charge.fingerprint, charge.renewed)
        .join_from(tables.charge, tables.decision, row.idx == charge.idx)
        .where(row.id.in_(ids))
        .order_by(charge.idx)
    )
    found = []
    for (identifier, index), rows in groupby(connection.execute(query), key=lambda item: (item.id, item.idx)):
        charges = list(rows)
        # The rows of a question that a limit stopped say what it would have drawn on.
        if not any(item.amount for item in charges):
            continue
        named = [item for item in charges if item.fingerprint]
        known = {ACCOUNT + item.account: item.fingerprint for item in named}
        found.append((identifier, index, known, [ACCOUNT + item.account for item in named if item.renewed]))
    return found


def write_accounts(client: redis.Redis, connection: Connection) -> None:
    """Replace every account in Redis by what the charge rows say, in bounded pieces. Raises `RedisError`."""
    pipeline = client.pipeline(transaction=False)
    for name in client.scan_iter("hecha:*", count=PIECE):
        pipeline.unlink(name)
        _flush(pipeline)
    for account, amount in quotas(connection):
        pipeline.hset(ACCOUNT + account, "spent", str(amount))
        _flush(pipeline)
    for account, spent in budgets(connection):
        fields = {question: f"{amount} {index}" for question, (amount, index) in spent.questions.items()}
        fields |= {"spent": str(spent.total), "f": spent.known}
        for field_name, value in fields.items():
            pipeline.hset(ACCOUNT + account, field_name, value)
        _flush(pipeline)
    pipeline.execute()


def refuse_eviction(client: redis.Redis) -> None:
    """A Redis that may forget accounts to make room would forget budgets: raise `RedisError`."""
    try:
        found = client.config_get("maxmemory*")
    except redis.ResponseError:
        # Hosted servers hide their settings; docs/deployment.md says what theirs must be.
        return
    if found.get("maxmemory", "0") != "0" and found.get("maxmemory-policy") != "noeviction":
        logger.error("Redis may evict keys: set maxmemory-policy to noeviction")
        raise redis.RedisError


def _flush(pipeline: redis.client.Pipeline) -> None:
    if len(pipeline) >= PIECE:
        pipeline.execute()
