"""Accounts, what is reserved on them, and when they begin anew: values only, no Redis.

A quota counts questions of an agreement over a calendar period of Asia/Shanghai; a disclosure budget counts
thousandths of a bit of one subject and source attribute.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from app.refusals import Refusal
from evidence.base64s import encode_url

SHANGHAI = ZoneInfo("Asia/Shanghai")
MILLIBITS = 1_000
NO_EPOCH = 2**53 - 1  # of a question that no change of the registry can outdate


@dataclass(frozen=True, slots=True)
class Account:
    """One account that a question draws on.

    `name` is the charge row's account; a quota counts questions and has no `question`; a budget counts thousandths
    of a bit and names the keyed question that is paid for once, its source attribute and the source's column.
    `begins_at` and `resets_at` are a quota's period; a budget that renews with time has a `resets_at` too.
    """

    name: str
    amount: int
    limit: int
    question: str | None = None
    begins_at: datetime | None = None
    resets_at: datetime | None = None
    attribute: str | None = None
    column: str | None = None
    answers: bool = True  # what is paid for is the whole answer, not a part of what it tells


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was reserved for one decision: the charges to record, and the generation they hold for.

    `spent` is what each account stands at with this reservation, `known` the source values (as text) that earlier
    answers on each budget were about. `paid_at`: the log index of the answer to this very question, where every
    budget has been paid for it before. `renewed`: accounts that began anew, which no record says yet. `until`: the
    moment (seconds since 1970) from which on it may be recorded no more, so that it can be given back.
    """

    id: str
    accounts: tuple[Account, ...]
    charges: tuple[dict[str, Any], ...]
    generation: int
    spent: tuple[int, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)
    paid_at: int | None = None
    renewed: frozenset[str] = frozenset()
    until: float | None = None


class Exhausted(Refusal):
    """The refusal `budget-exhausted`: which account it was, and the source values known on it."""

    def __init__(self, account: Account, known: str, now: datetime) -> None:
        headers = _retry_after(account, now) if account.resets_at else {}
        super().__init__(
            "budget-exhausted",
            "Further questions about this subject would disclose more than the agreement allows.",
            headers=headers,
        )
        self.account = account
        self.known = known


def period(per: str, now: datetime) -> tuple[str, datetime, datetime]:
    """Name, begin and end of the calendar period (`day`, `month`, `year`) that `now` lies in, by Asia/Shanghai."""
    # Shanghai's days begin on a full hour of UTC, so the hour decides.
    return _period(per, int(now.timestamp()) // 3_600)


@lru_cache(64)
def _period(per: str, hour: int) -> tuple[str, datetime, datetime]:
    local = datetime.fromtimestamp(hour * 3_600, SHANGHAI)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return local.strftime("%Y-%m-%d"), day, day + timedelta(days=1)
    first = day.replace(day=1)
    if per == "month":
        return local.strftime("%Y-%m"), first, (first + timedelta(days=32)).replace(day=1)
    return local.strftime("%Y"), first.replace(month=1), first.replace(year=local.year + 1, month=1)


def price(possible_answers: int) -> int:
    """What a question with that many possible answers may disclose at most, in thousandths of a bit."""
    return math.ceil(math.log2(possible_answers) * MILLIBITS)


def keyed(key: bytes, *parts: str) -> str:
    """A name for personal parts that only holders of the node's key can recompute (HMAC-SHA256, 128 bits)."""
    digest = hmac.digest(key, "\x1f".join(parts).encode(), "sha256")
    return encode_url(digest[:16])


def charge_of(account: Account, amount: int, *, renewed: bool) -> dict[str, Any]:
    """The row of a charge, but for its place in the log and the source values that its answer is about."""
    return {
        "account": account.name,
        "amount": amount,
        "question": account.question,
        "attribute": account.attribute,
        "ceiling": account.limit,
        "fingerprint": None,
        "renewed": renewed,
    }


def charges_of(drawn: Iterable[Account], charges: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of a decision: its charges, and one of nothing for each further account it would have drawn on.

    Those tell the auditor what a limit stopped or a repeat got for nothing; no account stands otherwise for them.
    """
    charged = {charge["account"] for charge in charges}
    return [*charges, *(charge_of(item, 0, renewed=False) for item in drawn if item.name not in charged)]


def exceeded(account: Account, now: datetime) -> Refusal:
    """The refusal `quota-exceeded`, with what the client may wait for."""
    return Refusal(
        "quota-exceeded",
        f"The agreement's {account.limit} questions for this period are used up.",
        members={"violated-policies": ["quota"]},
        headers=_retry_after(account, now) | rate_limit_headers(account, account.limit, now),
    )


def rate_limit_headers(account: Account, spent: int, now: datetime) -> dict[str, str]:
    """`RateLimit-Policy` and `RateLimit` of a quota (draft-ietf-httpapi-ratelimit-headers): what is left, until when.

    A budget is told to nobody but the auditor: when it renews would say when the source's value changed.
    """
    if account.begins_at is None or account.resets_at is None:
        return {}
    window = int((account.resets_at - account.begins_at).total_seconds())
    return {
        "RateLimit-Policy": f'"quota";q={account.limit};w={window}',
        "RateLimit": f'"quota";r={max(0, account.limit - spent)};t={_wait(account.resets_at, now)}',
    }


def _retry_after(account: Account, now: datetime) -> dict[str, str]:
    return {"Retry-After": str(_wait(account.resets_at, now))} if account.resets_at else {}


def _wait(until: datetime, now: datetime) -> int:
    return max(1, math.ceil((until - now).total_seconds()))
