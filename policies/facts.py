"""What a decision is made from: the terms that apply, and the facts of one question at one moment.

Values are checked where they are built, so that no terms exist that a rule could misread: times are aware and
on whole seconds, hours lie within one day, networks parse, and only standing terms are statutory.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_network

KINDS = ("agreement", "standing-terms")
SHARING = ("unconditional", "conditional", "withheld")
STATES = ("approved", "active", "suspended", "expired", "revoked", "superseded")
LEVELS = ("overall", "per_attribute")
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
    `signed`: every side's signature is verified. `level` and `masked` are what the answer discloses;
    `batch_rows` is the largest batch agreed, 0 for none. `request_signature`: every question must be signed.
    Raises ValueError.
    """

    id: str
    digest: str
    kind: str
    statutory: bool
    state: str
    signed: bool
    legal_basis: str
    valid_from: datetime
    valid_until: datetime
    departments: frozenset[str]
    clients: frozenset[str]
    purposes: frozenset[str]
    attributes: frozenset[str]
    level: str
    masked: frozenset[str]
    hours: Hours | None
    networks: tuple[str, ...]
    batch_rows: int
    security_agreement: bool
    request_signature: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if self.state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}")
        if self.statutory and self.kind != "standing-terms":
            raise ValueError("only standing terms can be statutory")
        _check_validity(self.valid_from, self.valid_until)
        _check_level(self.level)
        if "" in self.purposes:
            raise ValueError("a purpose has a name")
        if strange := self.masked - self.attributes:
            raise ValueError(f"masked values need agreed attributes: {', '.join(sorted(strange))}")
        if self.batch_rows < 0:
            raise ValueError("batch_rows is a number from 0 upwards; 0 agrees to no batch")
        for network in self.networks:
            ip_network(network)

    def __hash__(self) -> int:
        """Hash by the digest alone: equal terms have equal digests, and every question looks its terms up."""
        return hash(self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one question: who asks what, for which purpose, under which terms, from where and when.

    `attributes` are the declared attributes and those whose masked value is asked. `withheld_basis` is the
    provider's legal ground for withholding. `service_level` and `service_masks` are the most that the provider
    publishes for the service. `case_agreed` and `operator_agreed`: present and of the agreed pattern. `rows`:
    those of the batch, 0 for a single question. `signed_request`: the request bears its client's verified signature.
    Raises ValueError when `at` is not aware, for a level that is none, or fewer than no rows.
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
    service_level: str
    service_masks: frozenset[str]
    purpose: str
    attributes: frozenset[str]
    terms: Terms | None
    case_agreed: bool
    operator_agreed: bool
    address: str
    at: datetime
    rows: int = 0
    signed_request: bool = False

    def __post_init__(self) -> None:
        _check_level(self.service_level)
        if self.rows < 0:
            raise ValueError("rows is a number from 0 upwards; 0 is a single question")
        if self.at.utcoffset() is None:
            raise ValueError("the time of a question must be aware")


def _check_validity(valid_from: datetime, valid_until: datetime) -> None:
    for moment in (valid_from, valid_until):
        # INVARIANT: decisions are made per whole second; a finer boundary could be overstepped.
        if moment.utcoffset() is None or moment.microsecond:
            raise ValueError("validity needs aware times on whole seconds")
    if valid_from >= valid_until:
        raise ValueError("validity must begin before it ends")


def _check_level(level: str) -> None:
    if level not in LEVELS:
        raise ValueError(f"a level of disclosure is one of {', '.join(LEVELS)}")
