"""The accounts one question draws on: the agreement's quota, and a disclosure budget per source attribute.

A budget belongs to consumer department × subject × source attribute, whichever client, agreement, purpose or
service asks. Each new distinct question costs the bits that its answer may disclose; a paid one is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from app.limits.account import MILLIBITS, Account, keyed, period, price
from app.recording import Permitted
from app.registry.agreements import Agreement, Bounds
from app.registry.catalogue import Answerable
from app.registry.question import Asked
from policies.obligations import Disclose, Fold

Budgets: TypeAlias = "Mapping[tuple[str, str], Bounds]"
"""The tightest bounds by department and source attribute."""

MASK_BITS = 8  # a fixed price for every masked value, whatever its shape gives away
CONFIRMED = 2  # whether the confirmation is right: what an answer tells of it, whatever else it tells
UNBOUNDED = 2**53 - 1  # drawn on, so that what was spent stays known, but never exhausted
_SHOWS = ("disclose:", "mask:")  # obligations that widen an answer, as they are published


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What one question draws on each of its accounts of one kind; `answers`: its answer is what is paid for."""

    amount: int
    question: str
    answers: bool


def accounts(
    key: bytes, department: str, permitted: Permitted, now: datetime, *, budgets: Budgets | None = None
) -> list[Account]:
    """Quota first, then budgets in a stable order. Names of budgets and questions are keyed, never clear.

    `budgets` are the department's tightest ones under all of its agreements: they hold under this one too. Every
    budget is drawn on even where nothing bounds it now: terms that bound it later find all that was ever spent.
    """
    service, asked, agreement = permitted.service, permitted.asked, permitted.agreement
    found = []
    if agreement.quota is not None:
        found.append(quota_account(department, agreement, now))
    if service.answerable is None:
        return found
    values = (*_disclosure(agreement), *_values(service.answerable, asked))
    question = keyed(key, department, service.name, service.contract_digest, asked.subject, *values)
    answer = _Drawn(question_price(agreement, len(asked.declared)), question, answers=True)
    drawn = [(*pair, answer) for pair in service.accounts_of(asked.declared, agreement.masked)]
    confirm = _confirmation(service.answerable, asked)
    for name, column in service.confirmed_by:
        # The same confirmation, whatever is asked under it, tells of the person's name but once.
        tried = keyed(key, department, "confirm", name, asked.subject, *confirm)
        drawn.append((name, column, _Drawn(price(CONFIRMED), tried, answers=False)))
    for attribute, column, price_of in drawn:
        bounds = (budgets or {}).get((department, attribute), Bounds()).also(agreement.budget)
        holder = "budget/" + keyed(key, department, asked.subject, attribute)
        found += _budget(holder, (attribute, column), price_of, (bounds, now))
    return found


def quota_account(department: str, agreement: Agreement, now: datetime) -> Account:
    """The account of an agreement's quota in the period of `now`; the agreement must have one."""
    if agreement.quota is None:
        raise ValueError("the agreement has no quota")
    name, begin, end = period(agreement.quota.per, now)
    # By lineage: renewing an agreement in the middle of a month begins no new month.
    holder = f"quota/{department}/{agreement.lineage}/{name}"
    return Account(holder, 1, agreement.quota.count, begins_at=begin, resets_at=end)


def question_price(agreement: Agreement, declared: int) -> int:
    """Thousandths of a bit that an answer under this agreement may disclose at most.

    Whole results count as one of two (folded) or three; with results per attribute, each declared attribute
    doubles the answers of a confirmed subject.
    """
    folded = any(isinstance(item, Fold) for item in agreement.obligations)
    detailed = any(isinstance(item, Disclose) and item.level == "per_attribute" for item in agreement.obligations)
    confirmed = 2**declared if detailed and declared else 2
    return price(confirmed + (0 if folded else 1)) + MASK_BITS * MILLIBITS * len(agreement.masked)


def _budget(name: str, place: tuple[str, str], drawn: _Drawn, bounded: tuple[Bounds, datetime]) -> Iterator[Account]:
    """The account of all time, and the year's own where some agreement renews with the years.

    That of all time is drawn on in any case: terms that renew no more find everything that was ever spent.
    """
    (attribute, column), (bounds, now) = place, bounded
    ever = UNBOUNDED if bounds.ever is None else bounds.ever * MILLIBITS
    account = Account(
        name, drawn.amount, ever, drawn.question, attribute=attribute, column=column, answers=drawn.answers
    )
    yield account
    if bounds.yearly is not None:
        year, begin, end = period("year", now)
        limit = bounds.yearly * MILLIBITS
        yield replace(account, limit=limit, name=f"{name}/{year}", begins_at=begin, resets_at=end)


def _disclosure(agreement: Agreement) -> list[str]:
    """What an answer shows: the same values asked under terms that show more are another question."""
    return [name for name in agreement.published if name == "fold" or name.startswith(_SHOWS)]


def _values(answerable: Answerable, asked: Asked) -> list[str]:
    """The snapped values by name: spellings of one value are one question."""
    declared = [f"{name}={answerable.attributes[name].canonical(value)}" for name, value in asked.declared.items()]
    return sorted(declared) + _confirmation(answerable, asked)


def _confirmation(answerable: Answerable, asked: Asked) -> list[str]:
    return sorted(f"{name}={answerable.confirm[name].canonical(value)}" for name, value in asked.confirm.items())
