"""Facts in Cedar's words: entities that change seldom, and the context of one question.

Entities are built once per client, service and terms, which keeps a decision near the cost of Cedar's own
evaluation. Neither they nor requests are checked against the schema again: it would cost as much as deciding, and
14 KB more for each. A test proves that every one conforms; what does not fit a rule is an evaluation error, which
denies.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson

from policies.facts import SHARING, WHOLE_WEEK, Facts
from policies.forms import DAY_S, MINUTE_S
from policies.period import CHINA_S

if TYPE_CHECKING:
    from policies.facts import Terms

ANYWHERE = ("0.0.0.0/0", "::/0")

_PARTIES = attrgetter(
    "client",
    "department",
    "client_suspended",
    "department_restricted",
    "service",
    "sharing",
    "provider",
    "provider_suspended",
    "service_level",
    "service_masks",
    "terms",
)
_UNTIMED = attrgetter(*(field.name for field in fields(Facts) if field.name != "at"))


def parties(facts: Facts) -> tuple[object, ...]:
    """Give the facts that `entities` is made of, by value: equal parties have equal entities."""
    return tuple(_PARTIES(facts))


def untimed(facts: Facts) -> tuple[object, ...]:
    """Give every fact but the time, by value: within one period, equal ones have equal decisions."""
    return tuple(_UNTIMED(facts))


def second(facts: Facts) -> int:
    """Give the whole second of the question, since 1970 UTC; the rules see no finer time."""
    return int(facts.at.timestamp())


def instant(moment: datetime) -> str:
    """Write a moment in UTC, to the whole second: `2026-06-02T02:00:00Z`."""
    return moment.astimezone(UTC).isoformat()[:19] + "Z"


def entities(facts: Facts) -> str:
    """Write the client and the service with its terms, as a Cedar JSON entities document.

    Raises ValueError for an unknown sharing type, or a text that cannot be written as UTF-8.
    """
    if facts.sharing not in SHARING:
        raise ValueError(f"a sharing type is one of {', '.join(SHARING)}")
    service: dict[str, Any] = {
        "name": facts.service,
        "sharing": _one_of("Sharing", facts.sharing),
        "provider": facts.provider,
        "provider_suspended": facts.provider_suspended,
        "level": _one_of("Level", facts.service_level),
        "masks": sorted(facts.service_masks),
    }
    if facts.terms is not None:
        service["terms"] = _terms(facts.terms)
    client = {
        "name": facts.client,
        "department": facts.department,
        "suspended": facts.client_suspended,
        "department_restricted": facts.department_restricted,
    }
    return _json(
        [
            {"uid": {"type": "Client", "id": facts.client}, "attrs": client, "parents": []},
            {"uid": {"type": "Service", "id": facts.service}, "attrs": service, "parents": []},
        ]
    )


def request(facts: Facts, at_s: int) -> dict[str, Any]:
    """Make a question's Cedar request at a whole second since 1970 UTC.

    Raises ValueError if the address is none, or a text cannot be written as UTF-8.
    """
    address, network = _place(facts.address, facts.terms.networks if facts.terms else ())
    context = {
        "purpose": facts.purpose,
        "attributes": sorted(facts.attributes),
        "case_agreed": facts.case_agreed,
        "operator_agreed": facts.operator_agreed,
        "address": _extension("ip", address),
        "network": _extension("ip", network),
        "rows": facts.rows,
        "signed_request": facts.signed_request,
        **_moment(at_s),
    }
    return {
        "principal": {"type": "Client", "id": facts.client},
        "action": {"type": "Action", "id": "verify"},
        "resource": {"type": "Service", "id": facts.service},
        "context": _json(context),
    }


def _terms(terms: Terms) -> dict[str, Any]:
    hours = terms.hours or WHOLE_WEEK
    return {
        "id": terms.id,
        "kind": _one_of("Kind", terms.kind),
        "statutory": terms.statutory,
        "state": _one_of("State", terms.state),
        "signed": terms.signed,
        "legal_basis": terms.legal_basis.strip(),
        "valid_from": _extension("datetime", instant(terms.valid_from)),
        "valid_until": _extension("datetime", instant(terms.valid_until)),
        "departments": sorted(terms.departments),
        "clients": sorted(terms.clients),
        "purposes": sorted(terms.purposes),
        "attributes": sorted(terms.attributes),
        "level": _one_of("Level", terms.level),
        "masked": sorted(terms.masked),
        "weekdays": sorted(hours.weekdays),
        "from_minute": hours.from_minute,
        "until_minute": hours.until_minute,
        "batch_rows": terms.batch_rows,
        "security_agreement": terms.security_agreement,
        "request_signature": terms.request_signature,
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
def _moment(at_s: int) -> dict[str, Any]:
    local_s = at_s + CHINA_S
    return {
        "at": _extension("datetime", instant(datetime.fromtimestamp(at_s, UTC))),
        "weekday": (local_s // DAY_S + 3) % 7 + 1,  # 1970-01-01 was a Thursday, ISO weekday 4
        "minute": local_s % DAY_S // MINUTE_S,
    }


def _one_of(kind: str, name: str) -> dict[str, Any]:
    return {"__entity": {"type": kind, "id": name}}


def _extension(function: str, argument: str) -> dict[str, Any]:
    return {"__extn": {"fn": function, "arg": argument}}


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise ValueError(str(error)) from None
