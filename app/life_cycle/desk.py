"""Where steps are taken: who asks, whose side that is, one record a step, and the same reply to the same request."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson

from app.identity.caller import Caller
from app.limits.account import keyed
from app.log.idempotency import Claim, Idempotency, check_key
from app.log.sequencer import RegistryChanged
from app.log.storage import Store
from app.recording import Recorder
from app.refusals import Refusal
from app.registry.catalogue import Catalogue
from app.registry.current import Current
from app.registry.deadlines import CLOCKS, Deadline, WorkCalendar, deadline
from app.registry.departments import Departments
from app.registry.ledger import Moved
from app.steps import Step

TRIES = 5  # each needs another step about the same thing in between

# Who may take a step, as a 403 tells it: the articles, and the rule in both languages.
RIGHTS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "own-application": (
        ("四川 第二十三条", "山东 第二十九条"),
        "A department does not decide on its own application, even where it is the provider too.",
        "申请部门不得审核本部门的共享申请,即使其同时为提供部门。",
    ),
    "provider-decides": (
        ("四川 第二十三条", "山东 第二十九条"),
        "This belongs to the information steward of the providing department.",
        "该事项由提供部门信息资源管理员办理。",
    ),
    "parties-sign": (
        ("四川 第三十条",),
        "Only the departments that the agreement is between accept it.",
        "共享协议仅由供需双方签署。",
    ),
    "provider-or-authority": (
        ("四川 第二十一条", "山东 第六条"),
        "Only the provider's information steward and the sharing authority suspend or resume.",
        "仅提供部门信息资源管理员和信息共享主管部门可暂停或恢复共享。",
    ),
    "authority-resumes": (
        ("山东 第六条",),
        "What the sharing authority suspended it alone resumes or ends; nothing takes its place meanwhile.",
        "由信息共享主管部门暂停的,仅由其恢复或终止;暂停期间不得以其他共享协议替代。",
    ),
    "steward-revokes": (
        ("四川 第二十一条", "四川 第二十九条", "山东 第六条"),
        "Only an information steward of either side and the sharing authority revoke.",
        "仅供需双方信息资源管理员和信息共享主管部门可终止共享协议。",
    ),
    "applicant-disputes": (
        ("海珠 第三十三条", "四川 第二十五条"),
        "A dispute is opened by the department that applied.",
        "争议由申请部门提出。",
    ),
    "department-applies": (
        ("山东 第二十九条",),
        "Applications come from consuming systems and information stewards of a department.",
        "共享申请由使用部门的应用系统或信息资源管理员提出。",
    ),
}


@dataclass(frozen=True, slots=True)
class Act:
    """One request for a step: who asks, when, what was sent (method, path and body), and under which key."""

    caller: Caller
    at: datetime
    sent: bytes
    key: str | None = None

    @property
    def department(self) -> str:
        """The caller's department."""
        return self.caller.client.department


@dataclass(frozen=True, slots=True)
class Taken:
    """A step to be recorded, and what its reply says beside the receipt."""

    step: Step
    reply: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Desk:
    """What every step needs; `announce` tells other processes that the registry has moved on to an epoch."""

    store: Store
    recorder: Recorder
    idempotency: Idempotency
    key: bytes = field(repr=False)
    current: Current
    announce: Callable[[int], object]

    @property
    def departments(self) -> Departments:
        """All departments, as they are registered now."""
        return self.current.registry.departments

    @property
    def catalogue(self) -> Catalogue:
        """All services."""
        return self.current.registry.catalogue

    @property
    def calendar(self) -> WorkCalendar:
        """The calendar of working days."""
        return self.current.registry.directory.calendar

    def refresh(self) -> None:
        """Load what a step changed, and tell the other processes before they ask a source in vain."""
        self.announce(self.current.refresh().epoch)

    def take(self, act: Act, make: Callable[[str], Taken]) -> bytes:
        """Take the step that `make` makes of a record id, and return the reply as JSON.

        `make` reads how things stand and raises `Refusal` where the step does not fit; it is called again where
        another step came between. INVARIANT: the caller is let in by the registry that the step is recorded under.
        Raises `Refusal`; then nothing was written, and the key is free again.
        """
        identifier = str(uuid.uuid4())
        claim = self._claim(act, identifier)
        if isinstance(claim, bytes):
            return claim
        try:
            return self._take(act, identifier, claim, make)
        except BaseException:
            if claim is not None:
                self.idempotency.release(claim)
            raise

    def _take(self, act: Act, identifier: str, claim: Claim | None, make: Callable[[str], Taken]) -> bytes:
        for _ in range(TRIES):
            registry = self.current.registry
            _refuse_narrowed(act.caller, act.caller.admitted(registry))
            taken = make(identifier)
            step = replace(taken.step, epoch=registry.epoch)
            if claim is not None:
                step = replace(step, stored=_storing(self.idempotency, claim, taken))
            try:
                receipt = self.recorder.record_step(step)
            except Moved:
                continue
            except RegistryChanged:
                self.current.refresh()
                continue
            if step.moves_epoch:
                self.refresh()
            return _body(taken, receipt)
        raise Moved

    def _claim(self, act: Act, identifier: str) -> Claim | bytes | None:
        """The claim on the request's key, or the reply that the first request with it got."""
        if act.key is None:
            return None
        check_key(act.key)
        client = act.caller.client.name
        # Keyed, as with questions: nothing keeps a caller from using somebody's number as its key.
        digest = hmac.digest(self.key, b"step\x00" + act.sent, "sha256")
        claim = Claim(client, keyed(self.key, "idempotency", client, act.key), digest, identifier)
        stored = self.idempotency.claim(claim, act.at)
        return claim if stored is None else stored.body

    def deadline(self, clock: str, since: datetime, now: datetime) -> dict[str, Any]:
        """A deadline as replies show it."""
        return shown(deadline(clock, since, self.calendar), now, self.calendar)


def shown(found: Deadline, now: datetime, calendar: WorkCalendar) -> dict[str, Any]:
    """A deadline in JSON: what is due, by which article, when, and how many working days are left."""
    clock = CLOCKS[found.clock]
    return {
        "clock": found.clock,
        "title": dict(clock.title),
        "basis": list(clock.basis),
        "due": found.due.isoformat(),
        "days_left": found.days_left(now, calendar),
        "overdue": found.overdue(now),
        "provisional": found.provisional,
    }


def side_of(caller: Caller, row: Any) -> str | None:
    """Whose side a caller is on: `consumer`, `provider`, `authority`, `auditor`, or none; the first that fits."""
    client = caller.client
    if client.roles & {"consumer", "steward"}:
        if client.department == row.consumer:
            return "consumer"
        if client.department == row.provider:
            return "provider"
    if "authority" in caller.scopes:
        return "authority"
    return "auditor" if "audit" in caller.scopes else None


def is_steward(caller: Caller) -> bool:
    """Whether the caller acts as information steward 信息资源管理员 of its department (山东 第二十九条)."""
    return "steward" in caller.scopes


def unknown() -> Refusal:
    """What does not exist and what is another department's are the same to a caller (OWASP API1)."""
    return Refusal("not-found", "There is nothing of that id that concerns your department.")


def forbidden(rule: str) -> Refusal:
    """The refusal of a step that is somebody else's, with the rule and its articles."""
    basis, en, zh = RIGHTS[rule]
    reason = {"rule": rule, "basis": list(basis), "reason": {"en": en, "zh": zh}}
    return Refusal("not-permitted", "This step is not yours to take: see reasons.", members={"reasons": [reason]})


def _refuse_narrowed(before: Caller, now: Caller) -> None:
    """Refuse a step of a caller whose rights were narrowed since its token was looked at.

    A body may be sent slowly, and the step was judged by what the caller was when it began.
    """
    if not (before.client.roles <= now.client.roles and before.scopes <= now.scopes):
        raise Refusal("conflict", "What you may do was changed while this was under way: send it again.")


def _storing(idempotency: Idempotency, claim: Claim, taken: Taken) -> Callable[[str], Mapping[str, Any]]:
    return lambda receipt: idempotency.completed(claim, _body(taken, receipt))


def _body(taken: Taken, receipt: str) -> bytes:
    return orjson.dumps({**taken.reply, "record": taken.step.id, "receipt": receipt})
