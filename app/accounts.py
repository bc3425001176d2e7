"""The accounts one question draws on: the agreement's quota, and a disclosure budget per source attribute.

A budget belongs to consumer department × subject × source attribute, whichever client, agreement, purpose or
service asks. Each new distinct question costs the bits that its answer may disclose; a paid one is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from app.limits import MILLIBITS, Account, keyed, period, price
from app.recording import Permitted
from app.registry.agreements import Agreement
from app.registry.catalogue import Answerable
from app.registry.question import Asked
from policies.obligations import Disclose, Fold, describe

Budgets: TypeAlias = "Mapping[tuple[str, str], int]"
"""Bits by department and source attribute."""

MASK_BITS = 8  # a fixed price for every masked value, whatever its shape gives away
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
    if agreement.quota is not None:
        name, end = period(agreement.quota.per, now)
        holder = f"quota/{department}/{agreement.terms.id}/{name}"
        found.append(Account(holder, 1, agreement.quota.count, resets_at=end))
    if service.answerable is None:
        return found
    values = (*_disclosure(agreement), *_values(service.answerable, asked))
    question = keyed(key, department, service.name, service.contract_digest, asked.subject, *values)
    amount = question_price(agreement, len(asked.declared))
    touched = {service.source_attribute(name) for name in (*asked.declared, *agreement.masked)}
    for attribute in sorted(touched or {service.source_attribute("")}):
        bits = [agreement.budget_bits, (budgets or {}).get((department, attribute))]
        agreed = [limit for limit in bits if limit is not None]
        if agreed:
            holder = "budget/" + keyed(key, department, asked.subject, attribute)
            found.append(Account(holder, amount, min(agreed) * MILLIBITS, question))
    return found


def question_price(agreement: Agreement, declared: int) -> int:
    """Thousandths of a bit that an answer under this agreement may disclose at most.

    Whole results count as one of two (folded) or three; with results per attribute, each declared attribute
    doubles the answers of a confirmed subject.
    """
    folded = any(isinstance(item, Fold) for item in agreement.obligations)
    detailed = any(isinstance(item, Disclose) and item.level == "per_attribute" for item in agreement.obligations)
    confirmed = 2**declared if detailed and declared else 2
    return price(confirmed + (0 if folded else 1)) + MASK_BITS * MILLIBITS * len(agreement.masked)


def _disclosure(agreement: Agreement) -> list[str]:
    """What an answer shows: the same values asked under terms that show more are another question."""
    return [name for name in describe(agreement.obligations) if name == "fold" or name.startswith(_SHOWS)]


def _values(answerable: Answerable, asked: Asked) -> list[str]:
    """The snapped values by name: spellings of one value are one question."""
    declared = [f"{name}={answerable.attributes[name].canonical(value)}" for name, value in asked.declared.items()]
    confirm = [f"{name}={answerable.confirm[name].canonical(value)}" for name, value in asked.confirm.items()]
    return sorted(declared) + sorted(confirm)
