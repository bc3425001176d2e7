"""The facts of a question, gathered from what the node directory says of its parties and from the terms that apply.

One place for the path of a question, for explaining one that nobody asked, and for asking recorded ones again under
another directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from app.registry.agreements import Agreement
from app.registry.catalogue import Service
from app.registry.current import Registry
from app.registry.departments import Client
from app.registry.node_directory import NodeDirectory
from app.registry.question import Asked
from policies.decision import RuleSet
from policies.facts import Facts


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks what of which service, from which address and when.

    `rows`: those of a batch, 0 for one question. `signed`: the request bears its client's verified signature.
    """

    client: Client
    service: Service
    asked: Asked
    address: str
    at: datetime
    rows: int = 0
    signed: bool = False


def gather(directory: NodeDirectory, agreement: Agreement | None, asking: Asking) -> Facts:
    """The facts of a question under the agreement that it comes under, None where none applies."""
    asked = asking.asked
    return Facts(
        client=asking.client.name,
        service=asking.service.name,
        **_standing(directory, asking.client, asking.service),
        purpose=asked.purpose,
        attributes=frozenset(asked.declared) | (agreement.masked if agreement else frozenset()),
        terms=agreement.terms if agreement else None,
        # Without terms there is no agreed pattern that could be broken: `no-terms` says all there is to say.
        case_agreed=agreement is None or agreement.case_agreed(asked.case),
        operator_agreed=agreement is None or agreement.operator_agreed(asked.operator),
        address=asking.address,
        at=asking.at,
        rows=asking.rows,
        signed_request=asking.signed,
    )


def gathered_anew(facts: Facts, directory: NodeDirectory, clients: Mapping[str, Client]) -> Facts | None:
    """The same question as another directory knows its parties; None where it knows the client or service no more.

    `clients` are those of the directory and those registered beside it.
    """
    client, service = clients.get(facts.client), directory.catalogue.find(facts.service)
    if client is None or service is None or client.department != facts.department:
        return None
    return replace(facts, **_standing(directory, client, service))


def is_known_purpose(purpose: str, registry: Registry) -> bool:
    """Whether a purpose is a word of some agreement or rule; any other is the caller's own text."""
    return purpose in registry.agreements.purposes or purpose in _words(registry.rules)


@lru_cache(maxsize=4)
def _words(rules: RuleSet) -> frozenset[str]:
    """Every text that a rule of the set compares something with."""
    return frozenset(_texts(list(rules.forms.values())))


def _texts(form: object) -> Iterator[str]:
    match form:
        case {"Value": str(text)}:
            yield text
        case dict():
            yield from chain.from_iterable(map(_texts, form.values()))
        case list():
            yield from chain.from_iterable(map(_texts, form))


def _standing(directory: NodeDirectory, client: Client, service: Service) -> dict[str, Any]:
    departments = directory.departments.all
    return {
        "department": client.department,
        "client_suspended": client.suspended,
        "department_restricted": departments[client.department].restricted,
        "sharing": service.sharing,
        "provider": service.provider,
        "provider_suspended": departments[service.provider].suspended,
        "withheld_basis": "; ".join(service.basis) if service.sharing == "withheld" else None,
        "service_level": service.disclosure,
        "service_masks": service.masks,
    }
