"""Facts in Cedar's words: entities that change seldom, and the context of one question.

Entities are built and checked against the schema once per client, service and terms, and the context's part
without time once per question; only the time is written anew. That keeps a decision near the cost of Cedar's
own evaluation. Requests are not checked against the schema again: a test proves that every one conforms, and
what does not fit a rule is an evaluation error, which denies.
"""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from policies.facts import CHINA, WHOLE_WEEK, Facts

if TYPE_CHECKING:
    from policies.facts import Terms

ANYWHERE = ("0.0.0.0/0", "::/0")

_DAY_S = 86_400
_CHINA_S = int(CHINA.utcoffset(None).total_seconds())
_PARTIES = attrgetter(
    "client",
    "department",
    "client_suspended",
    "department_restricted",
    "service",
    "sharing",
    "provider",
    "provider_suspended",
    "terms",
)
_UNTIMED = attrgetter(*(field.name for field in fields(Facts) if field.name != "at"))


def parties(facts: Facts) -> tuple[object, ...]:
    """Give the facts that `entities` is made of, by value: equal parties have equal entities."""
    return tuple(_PARTIES(facts))


def untimed(facts: Facts) -> tuple[object, ...]:
    """Give every fact but the time, by value: within one second, equal ones have equal decisions."""
    return tuple(_UNTIMED(facts))


def second(facts: Facts) -> int:
    """Give the whole second of the question, since 1970 UTC; the rules see no finer time."""
    return int(facts.at.timestamp())


def entities(facts: Facts) -> str:
    """Write the client and the service with its terms, as a Cedar JSON entities document."""
    service: dict[str, Any] = {
        "name": facts.service,
        "sharing": {"type": "Sharing", "id": facts.sharing},
        "provider": facts.provider,
        "provider_suspended": facts.provider_suspended,
    }
    if facts.terms is not None:
        service["terms"] = _terms(facts.terms)
    client = {
        "name": facts.client,
        "department": facts.department,
        "suspended": facts.client_suspended,
        "department_restricted": facts.department_restricted,
    }
    return json.dumps(
        [
            {"uid": {"type": "Client", "id": facts.client}, "attrs": client, "parents": []},
            {"uid": {"type": "Service", "id": facts.service}, "attrs": service, "parents": []},
        ]
    )


def opening(facts: Facts) -> str:
    """Write the context but its time, left open for `request`. Raises ValueError if the address is none."""
    address, network = _place(facts.address, facts.terms.networks if facts.terms else ())
    context = {
        "purpose": facts.purpose,
        "attributes": sorted(facts.attributes),
        "case_agreed": facts.case_agreed,
        "operator_agreed": facts.operator_agreed,
        "address": {"__extn": {"fn": "ip", "arg": address}},
        "network": {"__extn": {"fn": "ip", "arg": network}},
    }
    return json.dumps(context).removesuffix("}")


def request(facts: Facts, opened: str, at_s: int) -> dict[str, Any]:
    """Make a question's Cedar request from its `opening`, at a whole second since 1970 UTC."""
    return {
        "principal": {"type": "Client", "id": facts.client},
        "action": {"type": "Action", "id": "verify"},
        "resource": {"type": "Service", "id": facts.service},
        "context": f"{opened}, {_moment(at_s)}",
    }


def _terms(terms: Terms) -> dict[str, Any]:
    hours = terms.hours or WHOLE_WEEK
    return {
        "id": terms.id,
        "kind": {"type": "Kind", "id": terms.kind},
        "statutory": terms.statutory,
        "state": {"type": "State", "id": terms.state},
        "legal_basis": terms.legal_basis.strip(),
        "valid_from": _instant(terms.valid_from),
        "valid_until": _instant(terms.valid_until),
        "departments": sorted(terms.departments),
        "clients": sorted(terms.clients),
        "purposes": sorted(terms.purposes),
        "attributes": sorted(terms.attributes),
        "weekdays": sorted(hours.weekdays),
        "from_minute": hours.from_minute,
        "until_minute": hours.until_minute,
        "security_agreement": terms.security_agreement,
    }


@lru_cache(maxsize=4096)
def _place(address: str, agreed: tuple[str, ...]) -> tuple[str, str]:
    """Find the address, and the agreed network to hold it against.

    Cedar has no quantifier over a set, so the network that holds the address is picked here and tested there.
    An IPv4 address in IPv6 form, as dual-stack sockets report it, is read as the IPv4 address that it is.
    """
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    networks = agreed or ANYWHERE
    return str(found), next((network for network in networks if found in ip_network(network)), networks[0])


@lru_cache(maxsize=64)
def _moment(at_s: int) -> str:
    local_s = at_s + _CHINA_S
    weekday = (local_s // _DAY_S + 3) % 7 + 1  # 1970-01-01 was a Thursday, ISO weekday 4
    minute = local_s % _DAY_S // 60
    at = f'{{"__extn": {{"fn": "datetime", "arg": "{_instant(datetime.fromtimestamp(at_s, UTC))}"}}}}'
    return f'"weekday": {weekday}, "minute": {minute}, "at": {at}}}'


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()[:19] + "Z"
