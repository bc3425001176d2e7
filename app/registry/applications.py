"""Applications 共享申请 (山东 第二十九条): what one asks for, held against the catalogue. No clock, no database.

What has the right shape may still ask for what cannot be: every fault is named by a JSON pointer (RFC 6901) and a
reason, and no reason quotes a value. Nothing here grants anything: the provider's steward decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from adapters import normalise
from app.refusals import Refusal
from app.registry.catalogue import DISCLOSURES, Catalogue, Service
from app.registry.departments import Client, Departments
from app.registry.question import IDENTIFIER_REASON, PURPOSE

MODES = ("query", "batch")
MAX_ROWS = 1_000_000
FREE_TEXTS = ("legal_basis", "purposes", "case", "operator")  # what is the caller's own to word


class Faults:
    """What is wrong with one request: pointers and reasons, all told at once."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def add(self, pointer: str, reason: str) -> None:
        """Note a fault; the first of a place is the one that is told."""
        self._found.setdefault(pointer, reason)

    def refuse(self) -> None:
        """Raise the `invalid-request` refusal that lists every fault, if there is one."""
        if self._found:
            raise invalid(self._found)


def invalid(faults: Mapping[str, str]) -> Refusal:
    """The `invalid-request` refusal of these faults, reasons by pointer."""
    errors = [{"pointer": pointer, "reason": reason} for pointer, reason in sorted(faults.items())]
    return Refusal("invalid-request", "The request asks for what cannot be: see errors.", members={"errors": errors})


def check_application(
    wanted: Mapping[str, Any], applicant: Client, catalogue: Catalogue, departments: Departments, *, today: date
) -> Service:
    """The service applied for. Raises `Refusal` invalid-request, with a pointer for each fault.

    `wanted` has the shape that the interface publishes; `until` is the last day, not yet over today.
    """
    faults = Faults()
    check_texts({name: wanted[name] for name in FREE_TEXTS if name in wanted}, faults)
    service = catalogue.find(wanted["service"])
    if service is None:
        faults.add("/service", "is no service of the catalogue")
    elif service.sharing == "withheld":
        faults.add("/service", "is withheld: only terms that the law itself orders can open it (四川 第二十三条)")
    elif service.sharing == "unconditional":
        faults.add("/service", "is open to every department under its standing terms: just ask (四川 第二十三条)")
    elif service.provider == applicant.department:
        faults.add("/service", "is your own department's: no agreement is needed with oneself")
    else:
        check_scope(wanted, service, faults)
    for number, name in enumerate(wanted["users"]):
        client = departments.clients.get(name)
        if client is None or client.department != applicant.department or "consumer" not in client.roles:
            faults.add(f"/users/{number}", "is no consuming system of your department")
    if (wanted["mode"] == "batch") is ("batch" not in wanted):
        faults.add("/batch", "belongs to the mode batch, which needs it, and to no other")
    check_until(wanted["until"], today, faults)
    faults.refuse()
    assert service is not None  # noqa: S101 - otherwise a fault was found
    return service


def check_scope(wanted: Mapping[str, Any], service: Service, faults: Faults) -> None:
    """Purposes, legal basis, attributes and disclosure against what the provider publishes (四川 第二十二条)."""
    for number, purpose in enumerate(wanted["purposes"]):
        if not PURPOSE.fullmatch(purpose):
            faults.add(f"/purposes/{number}", "must be lower-case words joined by hyphens")
    if not wanted["legal_basis"].strip():
        faults.add("/legal_basis", "must name the law or duty that this rests on (海珠 第三十三条)")
    known = service.answerable.attributes if service.answerable else {}
    for number, name in enumerate(wanted["attributes"]):
        if name not in known:
            faults.add(f"/attributes/{number}", "is no attribute of this service")
    if service.answerable and not service.answerable.required <= set(wanted["attributes"]):
        faults.add("/attributes", "lack one that every question to this service must declare: see its match contract")
    check_unique("/purposes", wanted["purposes"], faults)
    check_unique("/attributes", wanted["attributes"], faults)
    _check_disclosure(wanted, service, faults)


def _check_disclosure(wanted: Mapping[str, Any], service: Service, faults: Faults) -> None:
    level, masked = wanted["disclosure"]["level"], wanted["disclosure"]["masked"]
    if DISCLOSURES.index(level) > DISCLOSURES.index(service.disclosure):
        faults.add("/disclosure/level", "is more than the provider publishes for this service")
    for number, name in enumerate(masked):
        if name not in wanted["attributes"]:
            faults.add(f"/disclosure/masked/{number}", "is not among the attributes")
        elif name not in service.masks:
            faults.add(f"/disclosure/masked/{number}", "has no mask in this service")
    check_unique("/disclosure/masked", masked, faults)


def check_until(until: date, today: date, faults: Faults) -> None:
    """The end date 截止时间 lies ahead; its own day is the last one."""
    if until < today:
        faults.add("/until", "lies in the past")
    elif until.year > today.year + 10:
        faults.add("/until", "lies more than ten years ahead: apply anew in time instead")


def check_unique(pointer: str, values: Sequence[str], faults: Faults) -> None:
    """No value stands twice."""
    for number, value in enumerate(values):
        if value in values[:number]:
            faults.add(f"{pointer}/{number}", "stands twice")


def check_texts(document: Mapping[str, Any], faults: Faults) -> None:
    """No text names a person: what stands here is read by several departments and kept as long as the log."""
    for pointer, text in _texts(document, ""):
        if normalise.find_identifiers(text):
            faults.add(pointer, IDENTIFIER_REASON)
        elif not text.isprintable():
            faults.add(pointer, "must be printable, on one line")


def application_document(
    identifier: str, wanted: Mapping[str, Any], service: Service, applicant: Client, *, at: datetime
) -> dict[str, Any]:
    """The application as it is archived and decided upon."""
    optional = ("batch", "case", "operator", "supersedes")
    return {
        "application": identifier,
        "submitted": at.astimezone(UTC).isoformat(timespec="seconds"),
        "service": service.name,
        "contract": service.contract_digest,
        "provider": service.provider,
        "consumer": applicant.department,
        "client": applicant.name,
        "purposes": list(wanted["purposes"]),
        "legal_basis": wanted["legal_basis"],
        "users": list(wanted["users"]),
        "attributes": list(wanted["attributes"]),
        "disclosure": dict(wanted["disclosure"]),
        "mode": wanted["mode"],
        "until": wanted["until"].isoformat(),
        **{name: wanted[name] for name in optional if name in wanted},
    }


def _texts(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, Mapping):
        for name, member in value.items():
            yield from _texts(member, f"{pointer}/{name}")
    elif isinstance(value, Iterable) and not isinstance(value, bytes):
        for number, item in enumerate(value):
            yield from _texts(item, f"{pointer}/{number}")
