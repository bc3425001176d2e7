"""Explaining a question that nobody needs to have asked: which rules of today decide it, and how.

For whoever runs the node; a caller is told less (`policies.decision.explain`). What is left open is taken as agreed:
case and operator of the agreed pattern, an address of the agreed networks, the attributes that the service requires,
a signature of the request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_network

from app.registry.agreements import Agreement
from app.registry.current import Registry
from app.registry.gathering import Asking, gather
from app.registry.question import Asked
from policies.examination import Examination, examine

ADDRESS = "127.0.0.1"


class NotKnown(LookupError):
    """The registry in force has no such client, service or attribute. The text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A question to be explained; None leaves open."""

    client: str
    service: str
    purpose: str
    at: datetime
    attributes: tuple[str, ...] | None = None
    address: str | None = None
    case: str | None = None
    operator: str | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Explained:
    """Every rule examined, and the agreement or standing terms that the question comes under, if any."""

    examination: Examination
    agreement: Agreement | None


def explained(registry: Registry, wanted: Wanted) -> Explained:
    """Decide the question by the registry and examine every rule. Raises `NotKnown`."""
    client = registry.departments.clients.get(wanted.client)
    if client is None:
        raise NotKnown(f"no client {wanted.client} is registered")
    service = registry.catalogue.find(wanted.service)
    if service is None:
        raise NotKnown(f"there is no service {wanted.service} in the catalogue")
    known = frozenset(service.answerable.attributes if service.answerable else ())
    required = service.answerable.required if service.answerable else frozenset()
    declared = required if wanted.attributes is None else frozenset(wanted.attributes)
    if strange := declared - known:
        raise NotKnown(f"{service.name} has no attribute {', '.join(sorted(strange))}")
    agreement = registry.agreements.applying(client, service.name, wanted.purpose)
    facts = gather(
        registry.directory,
        agreement,
        Asking(
            client=client,
            service=service,
            asked=Asked(
                wanted.purpose, wanted.case or "", wanted.operator or "", "", {}, dict.fromkeys(declared, "")
            ),
            address=wanted.address or _agreed_address(agreement),
            at=wanted.at,
            rows=wanted.rows,
            signed=True,
        ),
    )
    if wanted.case is None:
        facts = replace(facts, case_agreed=True)
    if wanted.operator is None:
        facts = replace(facts, operator_agreed=True)
    return Explained(examine(registry.rules, facts), agreement)


def _agreed_address(agreement: Agreement | None) -> str:
    networks = agreement.terms.networks if agreement else ()
    return str(ip_network(networks[0])[0]) if networks else ADDRESS
