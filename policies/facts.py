"""What a decision is made from: the terms that apply, and the facts of one question at one moment.

Values are checked where they are built, so that no terms exist that a rule could misread: times are aware and
on whole seconds, hours lie within one day, networks parse, and only standing terms are statutory.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_network

KINDS = ("agreement", "standing-terms")
STATES = ("approved", "active", "suspended", "expired", "revoked", "superseded")
# China has kept UTC+8 without summer time since 1992; a fixed offset needs no time-zone file.
CHINA = timezone(timedelta(hours=8), "Asia/Shanghai")


@dataclass(frozen=True, slots=True)
class Hours:
    """Agreed hours: ISO weekdays 1-7 and minutes of the day [from_minute, until_minute), Asia/Shanghai.

    Raises ValueError for a window that is empty, crosses midnight, or names no weekday.
    """

    weekdays: frozenset[int]
    from_minute: int
    until_minute: int

    def __post_init__(self) -> None:
        if not self.weekdays or not self.weekdays <= set(range(1, 8)):
            raise ValueError("hours need weekdays from 1 (Monday) to 7")
        if not 0 <= self.from_minute < self.until_minute <= 24 * 60:
            raise ValueError("hours must begin before they end, within one day")


WHOLE_WEEK = Hours(frozenset(range(1, 8)), 0, 24 * 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """An agreement, or the provider's standing terms, as the rules see it (山东 第二十九条, 海珠 第三十三条).

    Valid in [valid_from, valid_until). No departments: any, which only standing terms of an unconditional
    service may say. No clients: every client of the department. No networks: any. No hours: always.
    Raises ValueError.
    """

    id: str
    digest: str
    kind: str
    statutory: bool
    state: str
    legal_basis: str
    valid_from: datetime
    valid_until: datetime
    departments: frozenset[str]
    clients: frozenset[str]
    purposes: frozenset[str]
    attributes: frozenset[str]
    hours: Hours | None
    networks: tuple[str, ...]
    security_agreement: bool

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if self.state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}")
        if self.statutory and self.kind != "standing-terms":
            raise ValueError("only standing terms can be statutory")
        for moment in (self.valid_from, self.valid_until):
            # INVARIANT: decisions are made per whole second; a finer boundary could be overstepped.
            if moment.utcoffset() is None or moment.microsecond:
                raise ValueError("validity needs aware times on whole seconds")
        if self.valid_from >= self.valid_until:
            raise ValueError("validity must begin before it ends")
        for network in self.networks:
            ip_network(network)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one question: who asks what, for which purpose, under which terms, from where and when.

    `attributes` are the declared attributes and those whose masked value is asked. `withheld_basis` is the
    provider's legal ground for withholding. `case_agreed` and `operator_agreed`: present and of the agreed
    pattern.
    Raises ValueError when `at` is not aware.
    """

    client: str
    department: str
    client_suspended: bool
    department_restricted: bool
    service: str
    sharing: str
    provider: str
    provider_suspended: bool
    withheld_basis: str | None
    purpose: str
    attributes: frozenset[str]
    terms: Terms | None
    case_agreed: bool
    operator_agreed: bool
    address: str
    at: datetime

    def __post_init__(self) -> None:
        if self.at.utcoffset() is None:
            raise ValueError("the time of a question must be aware")
