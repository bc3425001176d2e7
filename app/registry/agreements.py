"""Agreements 共享协议 and standing terms: who may ask what, for which purpose, and what the answer discloses.

An agreement is data: its digest is the SHA-256 of its canonical form (RFC 8785) and stands in every record.
At most one active agreement per (department, service, purpose); unconditional and statutory services run under
the provider's standing terms, the same document form without a consumer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.registry.catalogue import Catalogue, Service, digest
from app.registry.departments import Client, Departments
from app.registry.files import Members, NodeFileInvalid
from policies.facts import Hours, Terms
from policies.obligations import Disclose, Obligation, obligations_of

STATES = ("approved", "active", "suspended", "expired", "revoked", "superseded")
PERIODS = ("day", "month", "year")


@dataclass(frozen=True, slots=True)
class Quota:
    """A count of questions over a calendar period (`day`, `month`, `year`, Asia/Shanghai)."""

    count: int
    per: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """One agreement or standing terms, ready for decision: policy facts, obligations, limits, patterns."""

    terms: Terms
    service: str
    provider: str
    consumer: str | None
    obligations: tuple[Obligation, ...]
    quota: Quota | None
    budget_bits: int | None
    case: re.Pattern[str] | None
    operator: re.Pattern[str] | None
    masked: frozenset[str]  # the attributes whose masked value a match discloses
    document: Mapping[str, Any]

    def case_agreed(self, case: str) -> bool:
        """Whether a case number has the agreed pattern; with none agreed, any text that is not empty."""
        return bool(self.case.fullmatch(case)) if self.case else bool(case)

    def operator_agreed(self, operator: str) -> bool:
        """Whether an operator's name has the agreed pattern; with none agreed, any text that is not empty."""
        return bool(self.operator.fullmatch(operator)) if self.operator else bool(operator)


class Agreements:
    """All agreements; finds the one that applies to a question."""

    def __init__(self, documents: Iterable[Members], catalogue: Catalogue, departments: Departments) -> None:
        self.all: dict[str, Agreement] = {}
        # The tightest budget in bits that a department has agreed to on a source attribute: (department, attribute).
        self.budgets: dict[tuple[str, str], int] = {}
        self._by_party: dict[tuple[str | None, str], list[Agreement]] = {}
        active: dict[tuple[str | None, str, str], str] = {}
        for document in documents:
            agreement = _agreement(document, catalogue, departments)
            if agreement.terms.id in self.all:
                raise document.refuse(f"agreement {agreement.terms.id} stands twice")
            self.all[agreement.terms.id] = agreement
            # An agreement names its consumer, standing terms the departments they are for, or none: all of them.
            for party in agreement.terms.departments or (None,):
                self._by_party.setdefault((party, agreement.service), []).append(agreement)
                for purpose in agreement.terms.purposes if agreement.terms.state == "active" else ():
                    other = active.setdefault((party, agreement.service, purpose), agreement.terms.id)
                    if other != agreement.terms.id:
                        raise document.refuse(f"{other} is already active for the purpose {purpose}")
            self._bound(agreement, catalogue.services[agreement.service])
        self.purposes = frozenset(purpose for item in self.all.values() for purpose in item.terms.purposes)

    def _bound(self, agreement: Agreement, service: Service) -> None:
        """Let the budget of an active agreement hold for its department, under whichever agreement it asks."""
        if agreement.budget_bits is None or agreement.terms.state != "active":
            return
        for department in agreement.terms.departments:
            for attribute in agreement.terms.attributes or {""}:
                key = (department, service.source_attribute(attribute))
                self.budgets[key] = min(self.budgets.get(key, agreement.budget_bits), agreement.budget_bits)

    def applying(self, client: Client, service: str, purpose: str) -> Agreement | None:
        """The agreement or standing terms that a question comes under.

        An active one for the purpose goes first, then one for the purpose in another state, then the nearest of
        the same parties, so that a denial can name what is missing. None where no terms name the department.
        """
        candidates = self._by_party.get((client.department, service), []) + self._by_party.get((None, service), [])

        def distance(item: Agreement) -> tuple[bool, bool, bool]:
            stranger = bool(item.terms.clients) and client.name not in item.terms.clients
            return purpose not in item.terms.purposes, item.terms.state != "active", stranger

        return min(candidates, key=distance, default=None)


def _agreement(document: Members, catalogue: Catalogue, departments: Departments) -> Agreement:
    content = dict(document.document)
    service, provider = document.text("service"), document.text("provider")
    found = catalogue.find(service)
    if found is None or found.provider != provider:
        raise document.refuse(f"{provider} provides no service {service}")
    terms = _terms(document, digest(content))
    consumer = next(iter(terms.departments)) if terms.kind == "agreement" else None
    if unknown := terms.attributes - set(found.answerable.attributes if found.answerable else ()):
        raise document.refuse(f"{service} has no attribute {', '.join(sorted(unknown))}")
    obligations = _obligations(document)
    masked = frozenset(name for item in obligations if isinstance(item, Disclose) for name in item.masked)
    if unmasked := masked - found.masks:
        raise document.refuse(f"{service} has no mask for {', '.join(sorted(unmasked))}")
    if unknown := (terms.departments - departments.all.keys()) | (terms.clients - departments.clients.keys()):
        raise document.refuse(f"unknown department or client {', '.join(sorted(unknown))}")
    agreement = Agreement(
        terms=terms,
        service=service,
        provider=provider,
        consumer=consumer,
        obligations=obligations,
        quota=_quota(document.optional("quota")),
        budget_bits=_budget(document.optional("budget")),
        case=_pattern(document, "case"),
        operator=_pattern(document, "operator"),
        masked=masked,
        document=content,
    )
    document.done()
    return agreement


def _terms(document: Members, content_digest: str) -> Terms:
    """The facts that policy decides over. Raises `NodeFileInvalid` for facts that no rule could hold against."""
    kind = document.choice("kind", ("agreement", "standing-terms"))
    named = [document.text("consumer")] if kind == "agreement" else document.texts("departments", [])
    valid = document.members("valid")
    try:
        terms = Terms(
            id=document.text("agreement"),
            digest=content_digest,
            kind=kind,
            statutory=document.flag("statutory", default=False),
            state=document.choice("state", STATES),
            legal_basis=document.text("legal_basis", ""),
            valid_from=_instant(valid, "from"),
            valid_until=_instant(valid, "until"),
            departments=frozenset(named),
            clients=frozenset(document.texts("clients", [])),
            purposes=frozenset(document.texts("purposes")),
            attributes=frozenset(document.texts("attributes", [])),
            hours=_hours(document.optional("hours")),
            networks=document.texts("networks", []),
            security_agreement=document.flag("security_agreement", default=False),
        )
    except NodeFileInvalid:
        raise
    except ValueError as error:
        raise document.refuse(str(error)) from None
    valid.done()
    return terms


def _obligations(document: Members) -> tuple[Obligation, ...]:
    names = ("attributes", "disclosure", "fold", "human_review", "freshness", "obligations")
    content = {name: document.document[name] for name in names if name in document.document}
    document.leave(names)
    try:
        return obligations_of(content)
    except ValueError as error:
        raise document.refuse(str(error)) from None


def _instant(members: Members, name: str) -> datetime:
    text = members.text(name)
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise members.refuse(f"{name} must be a date and time such as 2026-01-01T00:00:00+08:00") from None
    if value.tzinfo is None:
        raise members.refuse(f"{name} needs its offset from UTC, such as +08:00")
    return value


def _hours(members: Members | None) -> Hours | None:
    if members is None:
        return None
    hours = Hours(
        weekdays=frozenset(members.integers("weekdays")),
        from_minute=_minute(members, "from"),
        until_minute=_minute(members, "until"),
    )
    members.done()
    return hours


def _minute(members: Members, name: str) -> int:
    text = members.text(name)
    found = re.fullmatch(r"(?:([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00))", text)
    if not found:
        raise members.refuse(f"{name} must be a time of day from 00:00 to 24:00")
    return int(found[1] or found[3]) * 60 + int(found[2] or found[4])


def _quota(members: Members | None) -> Quota | None:
    if members is None:
        return None
    quota = Quota(members.integer("count"), members.choice("per", PERIODS))
    members.done()
    return quota


def _budget(members: Members | None) -> int | None:
    if members is None:
        return None
    bits = members.integer("bits")
    members.done()
    return bits


def _pattern(document: Members, name: str) -> re.Pattern[str] | None:
    text = document.text(name, "")
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error:
        raise document.refuse(f"{name} is no regular expression") from None
