"""How services are used, from the index and the charge rows: totals for providers, notices, a decision's accounts.

山东 第三十六条: a provider learns how its data is used. Nothing here names a subject, a case or an operator, nor an
account: its name is keyed by the subject.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, case, func, select

from app.accounts import UNBOUNDED, quota_account
from app.limits.account import MILLIBITS, SHANGHAI, Account, period
from app.limits.rebuild import Spent, budgets
from app.log import tables
from app.registry.current import Registry

Use: TypeAlias = "tuple[str, str, str | None]"
"""Consumer, service and purpose; no purpose where the one asked was of no agreement."""


@dataclass(frozen=True, slots=True)
class Total:
    """What became of one use's questions in a month.

    `denied` by the rules, `limited` by quota or budget, `failed` permitted without an answer, `refused` before any
    decision. `millibits` were drawn on disclosure budgets; `quota_left` is today's.
    """

    consumer: str
    service: str
    purpose: str | None
    answered: int
    denied: int
    limited: int
    failed: int
    refused: int
    millibits: int
    quota_left: int | None


def totals(
    connection: Connection, registry: Registry, provider: str, *, month: datetime, now: datetime
) -> list[Total]:
    """Totals of a provider's services for the calendar month (Asia/Shanghai) that `month` lies in."""
    _, begin, end = period("month", month)
    asked = _asked(provider, begin, end)
    counts = {_use(row): row for row in connection.execute(_counts().where(asked))}
    spent = {_use(row): int(row.amount) for row in connection.execute(_spent().where(asked))}
    left = _quotas_left(connection, registry, counts, now) if begin <= now < end else {}
    return [
        Total(
            *use,
            answered=row.answered,
            denied=row.denied,
            limited=row.limited,
            failed=row.asked - row.answered - row.denied - row.limited - row.refused,
            refused=row.refused,
            millibits=spent.get(use, 0),
            quota_left=left.get(use),
        )
        for use, row in sorted(counts.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or ""))
    ]


def month_of(text: str) -> datetime:
    """The first moment of a month written `YYYY-MM`, Asia/Shanghai."""
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=SHANGHAI)


def notices(connection: Connection, provider: str, after: int, most: int) -> list[Any]:
    """Answers that the provider is to be told of, with a log index above `after`, in the order of the log."""
    row, notice = tables.decision.c, tables.notice.c
    query = (
        select(row.idx, row.id, row.at, row.consumer, row.service, row.purpose)
        .join_from(tables.notice, tables.decision, row.idx == notice.idx)
        .where(notice.provider == provider, notice.idx > after)
        .order_by(notice.idx)
        .limit(most)
    )
    return list(connection.execute(query))


def accounts_of(connection: Connection, index: int) -> Iterator[dict[str, Any]]:
    """The accounts of the decision at this log index, as they stand now, whether it was charged or stopped or free.

    A limit is that of the newest decision on the account; None where the account only keeps count.
    """
    charge = tables.charge.c
    charged = connection.execute(select(tables.charge).where(charge.idx == index).order_by(charge.account)).all()
    for row in charged:
        newest = select(charge.ceiling).where(charge.account == row.account).order_by(charge.idx.desc()).limit(1)
        limit = int(connection.execute(newest).scalar_one())
        spent = _quota_spent(connection, [row.account])[row.account] if row.question is None else 0
        if row.question is not None:
            spent = dict(budgets(connection, row.account)).get(row.account, Spent()).total
        said = bits if row.question is not None else str
        bounded = limit < UNBOUNDED
        yield {
            "kind": "quota" if row.question is None else "budget",
            "attribute": row.attribute,
            "spent": said(spent),
            "limit": said(limit) if bounded else None,
            "left": said(max(0, limit - spent)) if bounded else None,
        }


def bits(millibits: int) -> str:
    """Thousandths of a bit as bits with three decimals."""
    return f"{millibits // MILLIBITS}.{millibits % MILLIBITS:03d}"


def _asked(provider: str, begin: datetime, end: datetime) -> ColumnElement[bool]:
    row = tables.decision.c
    first, last = (int(moment.timestamp() * 1_000) for moment in (begin, end))
    return and_(row.kind == "question", row.provider == provider, row.at >= first, row.at < last)


def _counts() -> Any:
    row = tables.decision.c

    def number(condition: ColumnElement[bool], name: str) -> ColumnElement[int]:
        return func.sum(case((condition, 1), else_=0)).label(name)

    return select(
        row.consumer,
        row.service,
        row.purpose,
        func.count().label("asked"),
        number(row.state == "answered", "answered"),
        number(row.decision == "deny", "denied"),
        number(row.limit_reached.in_(("quota", "budget")), "limited"),
        number(row.decision.is_(None), "refused"),
    ).group_by(row.consumer, row.service, row.purpose)


def _spent() -> Any:
    row, charge = tables.decision.c, tables.charge.c
    # The account of all time and the year's own are one disclosure.
    disclosed = (
        select(charge.idx, func.max(charge.amount).label("amount"))
        .where(charge.question.is_not(None), charge.amount > 0)
        .group_by(charge.idx, charge.attribute)
        .subquery()
    )
    return (
        select(row.consumer, row.service, row.purpose, func.sum(disclosed.c.amount).label("amount"))
        .join_from(disclosed, tables.decision, row.idx == disclosed.c.idx)
        .group_by(row.consumer, row.service, row.purpose)
    )


def _use(row: Any) -> Use:
    return row.consumer, row.service, row.purpose


def _quotas_left(connection: Connection, registry: Registry, uses: Iterable[Use], now: datetime) -> dict[Use, int]:
    found = {use: account for use in uses if (account := _quota_of(registry, use, now)) is not None}
    spent = _quota_spent(connection, {account.name for account in found.values()})
    return {use: max(0, account.limit - spent.get(account.name, 0)) for use, account in found.items()}


def _quota_of(registry: Registry, use: Use, now: datetime) -> Account | None:
    """The quota that a question of this use would draw on now."""
    consumer, service, purpose = use
    department = registry.departments.all.get(consumer)
    if department is None or not department.clients or purpose is None:
        return None
    agreement = registry.agreements.applying(department.clients[0], service, purpose)
    if agreement is None or agreement.terms.state != "active" or purpose not in agreement.terms.purposes:
        return None
    return quota_account(consumer, agreement, now)


def _quota_spent(connection: Connection, names: Iterable[str]) -> Mapping[str, int]:
    charge = tables.charge.c
    query = select(charge.account, func.sum(charge.amount)).where(charge.account.in_(sorted(names)))
    return {name: int(amount) for name, amount in connection.execute(query.group_by(charge.account))}
