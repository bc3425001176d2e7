"""The accounts one question draws on: the agreement's quota, and a disclosure budget per source attribute.

A budget belongs to consumer department × subject × source attribute, whichever client, agreement, purpose or
service asks. Each new distinct question costs the bits that its answer may disclose; a paid one is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from app.limits.account import MILLIBITS, Account, keyed, period, price
from app.recording import Permitted
from app.registry.agreements import Agreement, Budget
from app.registry.catalogue import Answerable
from app.registry.question import Asked
from policies.obligations import Disclose, Fold

Budgets: TypeAlias = "Mapping[tuple[str, str], Budget]"
"""The tightest budget by department and source attribute."""

MASK_BITS = 8  # a fixed price for every masked value, whatever its shape gives away
UNBOUNDED = 2**53 - 1  # drawn on, so that what was spent stays known, but never exhausted
_SHOWS = ("disclose:", "mask:")  # obligations that widen an answer, as they are published


def accounts(
    key: bytes, department: str, permitted: Permitted, now: datetime, *, budgets: Budgets | None = None
) -> list[Account]:
    """Quota first, then budgets in a stable order. Names of budgets and questions are keyed, never clear.

    `budgets` are the department's tightest ones under any of its agreements: they hold under this one too, even
    where this one has none.
    """
    service, asked, agreement = permitted.service, permitted.asked, permitted.agreement
    found = []
    if (quota := quota_account(department, agreement, now)) is not None:
        found.append(quota)
    if service.answerable is None:
        return found
    values = (*_disclosure(agreement), *_values(service.answerable, asked))
    question = keyed(key, department, service.name, service.contract_digest, asked.subject, *values)
    amount = question_price(agreement, len(asked.declared))
    for attribute, column in service.accounts_of(asked.declared, agreement.masked):
        budget = tightest(agreement.budget, (budgets or {}).get((department, attribute)))
        if budget is not None:
            holder = "budget/" + keyed(key, department, asked.subject, attribute)
            found += _budget(holder, (amount, question, attribute, column), budget, now)
    return found


def quota_account(department: str, agreement: Agreement, now: datetime) -> Account | None:
    """The quota that a department's questions under an agreement draw on now; None where it has none."""
    if agreement.quota is None:
        return None
    name, begin, end = period(agreement.quota.per, now)
    # By lineage: renewing an agreement in the middle of a month begins no new month.
    holder = f"quota/{department}/{agreement.lineage}/{name}"
    return Account(holder, 1, agreement.quota.count, begins_at=begin, resets_at=end)


def tightest(one: Budget | None, other: Budget | None) -> Budget | None:
    """The smaller budget, and no renewal with time unless both renew."""
    if one is None or other is None:
        return one or other
    return Budget(min(one.bits, other.bits), one.renews and other.renews)


def question_price(agreement: Agreement, declared: int) -> int:
    """Thousandths of a bit that an answer under this agreement may disclose at most.

    Whole results count as one of two (folded) or three; with results per attribute, each declared attribute
    doubles the answers of a confirmed subject.
    """
    folded = any(isinstance(item, Fold) for item in agreement.obligations)
    detailed = any(isinstance(item, Disclose) and item.level == "per_attribute" for item in agreement.obligations)
    confirmed = 2**declared if detailed and declared else 2
    return price(confirmed + (0 if folded else 1)) + MASK_BITS * MILLIBITS * len(agreement.masked)


def _budget(name: str, drawn: tuple[int, str, str, str], budget: Budget, now: datetime) -> Iterator[Account]:
    """The account of all time, and the year's own where the budget renews with the years.

    That of all time is drawn on in any case: terms that renew no more find everything that was ever spent.
    """
    amount, question, attribute, column = drawn
    limit = budget.bits * MILLIBITS
    if not budget.renews:
        yield Account(name, amount, limit, question, attribute=attribute, column=column)
        return
    account = Account(name, amount, UNBOUNDED, question, attribute=attribute, column=column)
    year, begin, end = period("year", now)
    yield account
    yield replace(account, limit=limit, name=f"{name}/{year}", begins_at=begin, resets_at=end)


def _disclosure(agreement: Agreement) -> list[str]:
    """What an answer shows: the same values asked under terms that show more are another question."""
    return [name for name in agreement.published if name == "fold" or name.startswith(_SHOWS)]


def _values(answerable: Answerable, asked: Asked) -> list[str]:
    """The snapped values by name: spellings of one value are one question."""
    declared = [f"{name}={answerable.attributes[name].canonical(value)}" for name, value in asked.declared.items()]
    confirm = [f"{name}={answerable.confirm[name].canonical(value)}" for name, value in asked.confirm.items()]
    return sorted(declared) + sorted(confirm)
