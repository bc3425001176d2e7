"""The body of a question against the service's own schema: a compiled check, proved equal to the published one.

marshmallow publishes the schema (`app.api.schemas`); this reader does the same work at a tenth of its cost and
returns the values parsed and snapped to the provider's grid, ready for the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from adapters import normalise
from adapters.base import Binding
from adapters.compare import Comparison, Value
from app.refusals import Refusal
from app.registry.catalogue import Service

PURPOSE = re.compile(r"[a-z][a-z0-9-]{1,62}")
MAX_FAULTS = 50  # more tell nobody more, and a small body must not make a large answer
MAX_LABEL = 64  # characters of a case number or an operator's name
SUBJECT_TYPES = {
    "resident_id": normalise.resident_id,
    "credit_code": normalise.credit_code,
    "code": normalise.code,
}
MEMBERS = frozenset(("purpose", "case", "operator", "subject", "confirm", "declared"))
IDENTIFIER_REASON = "must not contain an id, phone or card number: it is kept in clear for the auditor"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that fits its service's schema. `subject` is normalised; `confirm` and `declared` are typed."""

    purpose: str
    case: str
    operator: str
    subject: str
    confirm: Mapping[str, Value]
    declared: Mapping[str, Value]


class QuestionReader:
    """Reads questions to one service."""

    def __init__(self, service: Service) -> None:
        self._answerable = service.answerable

    def read(self, body: Mapping[str, Any]) -> Asked:
        """The typed question. Raises the `invalid-request` refusal, with a pointer and a reason for each fault."""
        faults = Faults()
        for name in body.keys() - MEMBERS:
            faults.add(f"/{_known(name)}", "is not a member of a question")
        purpose = _purpose(body, faults)
        case, operator = _label(body, "case", faults), _label(body, "operator", faults)
        subject, confirm, declared = "", {}, {}
        found = self._answerable
        if found is not None:
            subject = _subject(body, found.binding, faults)
            confirm = _values(_part(body, "confirm", faults), found.confirm, frozenset(found.confirm), faults)
            declared = _values(_part(body, "declared", faults), found.attributes, found.required, faults)
        faults.refuse()
        return Asked(purpose, case, operator, subject, confirm, declared)


class Faults:
    """What is wrong with one body: JSON pointers (RFC 6901) and reasons, which never quote a value."""

    def __init__(self) -> None:
        self._found: list[dict[str, str]] = []

    def add(self, pointer: str, reason: str) -> None:
        """Note one fault."""
        if len(self._found) < MAX_FAULTS:
            self._found.append({"pointer": pointer, "reason": reason})

    def refuse(self) -> None:
        """Raise the refusal that lists every fault, if there is one."""
        if self._found:
            raise Refusal(
                "invalid-request",
                f"The question does not fit the service's schema in {len(self._found)} place(s): see errors.",
                members={"errors": sorted(self._found, key=lambda fault: fault["pointer"])},
            )


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the objects inside a question."""

    name: str
    values: Mapping[str, Any]


@lru_cache(4_096)
def _names_someone(label: str) -> bool:
    # Purposes and operators come again and again, a case with each of its questions.
    return normalise.find_identifiers(label)


def _known(name: str) -> str:
    """A member's name for a pointer; a name that we would not give may hold anything, so it is hidden."""
    return name if re.fullmatch(r"[a-z_]{1,40}", name) else "?"


def _purpose(body: Mapping[str, Any], faults: Faults) -> str:
    value = body.get("purpose")
    if isinstance(value, str) and PURPOSE.fullmatch(value) and not _names_someone(value):
        return value
    faults.add("/purpose", "must be lower-case words joined by hyphens, as in the agreement")
    return ""


def _label(body: Mapping[str, Any], name: str, faults: Faults) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_LABEL or not value.isprintable():
        faults.add(f"/{name}", f"must be a text of 1 to {MAX_LABEL} printable characters")
        return ""
    if _names_someone(value):
        faults.add(f"/{name}", IDENTIFIER_REASON)
    return value


def _part(body: Mapping[str, Any], name: str, faults: Faults) -> _Part:
    value = body.get(name, {})
    if not isinstance(value, dict):
        faults.add(f"/{name}", "must be an object")
        return _Part(name, {})
    return _Part(name, value)


def _subject(body: Mapping[str, Any], binding: Binding, faults: Faults) -> str:
    part = _part(body, "subject", faults)
    field = binding.subject_field
    for name in part.values.keys() - {field}:
        faults.add(f"/subject/{_known(name)}", "is not a member of this subject")
    raw = part.values.get(field)
    if not isinstance(raw, str):
        faults.add(f"/subject/{field}", "must be a text")
        return ""
    try:
        return SUBJECT_TYPES[binding.subject_type](raw)
    except normalise.ValueInvalid as error:
        faults.add(f"/subject/{field}", str(error))
        return ""


def _values(
    part: _Part, comparisons: Mapping[str, Comparison], required: frozenset[str], faults: Faults
) -> dict[str, Value]:
    result: dict[str, Value] = {}
    for key, raw in part.values.items():
        comparison = comparisons.get(key)
        if comparison is None:
            faults.add(f"/{part.name}/{_known(key)}", "is not an attribute of this service")
            continue
        try:
            result[key] = comparison.snap(comparison.parse(raw))
        except normalise.ValueInvalid as error:
            faults.add(f"/{part.name}/{key}", str(error))
    for key in required - part.values.keys():
        faults.add(f"/{part.name}/{key}", "is missing")
    return result
