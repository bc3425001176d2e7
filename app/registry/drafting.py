"""Drafts agreements and standing terms: an application and the provider's conditions become the canonical document.

The provider may narrow what was applied for and never widen it: nobody is given what nobody asked for. The draft has
no state and no signature; both are kept beside it, so that it never changes once it has its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from app.registry.agreement_document import Draft, check_document
from app.registry.applications import (
    FREE_TEXTS,
    Faults,
    check_scope,
    check_texts,
    check_unique,
    check_until,
    invalid,
)
from app.registry.catalogue import DISCLOSURES, Catalogue, Service
from app.registry.deadlines import day_of
from app.registry.departments import Departments
from app.registry.files import Members, NodeFileInvalid
from policies.facts import CHINA

# Conditions that stand in the document as they are, where the provider gives them.
_AS_GIVEN = ("freshness", "obligations", "quota", "budget", "hours", "networks", "request_signature")


def check_conditions(conditions: Mapping[str, Any], application: Mapping[str, Any], at: datetime) -> None:
    """Hold the provider's conditions against the application. Raises `Refusal` invalid-request."""
    faults = Faults()
    disclosure = conditions.get("disclosure", application["disclosure"])
    if DISCLOSURES.index(disclosure["level"]) > DISCLOSURES.index(application["disclosure"]["level"]):
        faults.add("/conditions/disclosure/level", "is more than was applied for")
    for number, name in enumerate(disclosure["masked"]):
        if name not in application["disclosure"]["masked"]:
            faults.add(f"/conditions/disclosure/masked/{number}", "was not applied for")
    rows, wanted = conditions.get("batch", {}).get("rows", 0), application.get("batch", {}).get("rows", 0)
    if rows > wanted:
        faults.add("/conditions/batch/rows", "are more than were applied for")
    _check_common(conditions, date.fromisoformat(application["until"]), at, faults)
    faults.refuse()


def check_standing_terms(wanted: Mapping[str, Any], service: Service, departments: Departments, at: datetime) -> None:
    """Hold standing terms against what they may open (四川 第二十三条, 山东 第五条). Raises `Refusal`."""
    faults = Faults()
    check_texts({name: wanted[name] for name in FREE_TEXTS if name in wanted}, faults)
    if not wanted["statutory"] and service.sharing != "unconditional":
        faults.add("/statutory", "must be true: only unconditional services have standing terms without it")
    if wanted["statutory"] and not wanted["departments"]:
        faults.add("/departments", "must name those with whom the law orders to share")
    for number, name in enumerate(wanted["departments"]):
        if name not in departments.all:
            faults.add(f"/departments/{number}", "is no registered department")
    check_unique("/departments", wanted["departments"], faults)
    check_scope(wanted, service, faults)
    check_until(wanted["until"], day_of(at), faults)
    _check_common(wanted["conditions"], wanted["until"], at, faults)
    faults.refuse()


def _check_common(conditions: Mapping[str, Any], until: date, at: datetime, faults: Faults) -> None:
    check_texts({"conditions": {name: conditions[name] for name in FREE_TEXTS if name in conditions}}, faults)
    if _valid_from(conditions, at) >= _end_of(until):
        faults.add("/conditions/valid_from", "lies behind the end date")
    if not conditions["security_agreement"]:
        faults.add("/conditions/security_agreement", "must be signed first (四川 第三十条)")
    hours = conditions.get("hours")
    if hours and hours["from"] >= hours["until"]:
        faults.add("/conditions/hours", "must begin before they end, within one day")


def drafted(document: Mapping[str, Any], catalogue: Catalogue, departments: Departments, *, pointer: str) -> Draft:
    """The checked draft of a document. Raises `Refusal` invalid-request at `pointer`."""
    try:
        return check_document(Members("agreement", dict(document)), catalogue, departments)
    except NodeFileInvalid as error:
        # The names in this text are registered ones or the caller's own; `check_texts` went before.
        raise invalid({pointer: str(error)}) from None


def agreement_document(
    identifier: str, application: Mapping[str, Any], conditions: Mapping[str, Any], at: datetime
) -> dict[str, Any]:
    """The agreement that an approved application becomes; both sides sign its canonical form."""
    document = {
        "agreement": identifier,
        "kind": "agreement",
        "consumer": application["consumer"],
        "clients": list(application["users"]),
        **{name: application[name] for name in ("service", "provider", "purposes", "legal_basis", "attributes")},
        "disclosure": dict(conditions.get("disclosure", application["disclosure"])),
        **_terms(conditions, date.fromisoformat(application["until"]), at),
    }
    for name in ("case", "operator", "batch"):
        if value := conditions.get(name, application.get(name)):
            document[name] = value
    if "supersedes" in application:
        document["supersedes"] = application["supersedes"]
    return document


def standing_terms_document(
    identifier: str, wanted: Mapping[str, Any], service: Service, at: datetime
) -> dict[str, Any]:
    """The provider's standing terms, which it signs alone."""
    document = {
        "agreement": identifier,
        "kind": "standing-terms",
        "service": service.name,
        "provider": service.provider,
        "statutory": wanted["statutory"],
        "departments": list(wanted["departments"]),
        **{name: wanted[name] for name in ("purposes", "legal_basis", "attributes", "disclosure")},
        **_terms(wanted["conditions"], wanted["until"], at),
    }
    document |= {
        name: wanted["conditions"][name] for name in ("case", "operator", "batch") if name in wanted["conditions"]
    }
    if "supersedes" in wanted:
        document["supersedes"] = wanted["supersedes"]
    return document


def _terms(conditions: Mapping[str, Any], until: date, at: datetime) -> dict[str, Any]:
    return {
        "fold": conditions["fold"],
        "human_review": conditions["human_review"],
        "security_agreement": conditions["security_agreement"],
        **{name: conditions[name] for name in _AS_GIVEN if conditions.get(name)},
        "valid": {"from": _valid_from(conditions, at).isoformat(), "until": _end_of(until).isoformat()},
    }


def _valid_from(conditions: Mapping[str, Any], at: datetime) -> datetime:
    """From when the agreement holds: the beginning of the agreed day, or of the day of the decision."""
    return datetime.combine(conditions.get("valid_from") or day_of(at), time(), CHINA)


def _end_of(day: date) -> datetime:
    """The first moment after a day; the last day itself still counts."""
    return datetime.combine(day + timedelta(days=1), time(), CHINA)
