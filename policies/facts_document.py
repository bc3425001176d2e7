"""Facts as a document that is kept beside a decision, so that it can be decided again years later.

The terms are named by digest, state and whether they are signed; their text is archived by digest. A purpose that
is not known is the caller's own text and stays out: no terms cover it, so without it the question is denied alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from policies.facts import Facts
from policies.request import instant, untimed

if TYPE_CHECKING:
    from policies.facts import Terms

# Gives the terms of a digest, with a state and as signed or not; None where nothing is archived under the digest.
TermsOf: TypeAlias = "Callable[[str, str, bool], Terms | None]"

_TERMS: dict[str, set[type]] = {"digest": {str}, "state": {str}, "signed": {bool}}
_MEMBERS: dict[str, set[type]] = {
    "client": {str},
    "department": {str},
    "client_suspended": {bool},
    "department_restricted": {bool},
    "service": {str},
    "sharing": {str},
    "provider": {str},
    "provider_suspended": {bool},
    "withheld_basis": {str, type(None)},
    "service_level": {str},
    "service_masks": {list},
    "purpose": {str, type(None)},
    "attributes": {list},
    "terms": {dict, type(None)},
    "case_agreed": {bool},
    "operator_agreed": {bool},
    "address": {str},
    "at": {str},
    "rows": {int},
    "signed_request": {bool},
}
# Members that facts were written without before there were any: what an absent one stands for.
_LATER = {"signed_request": False}
_UNTIMED = tuple(field.name for field in fields(Facts) if field.name != "at")
_EPOCH = datetime.fromtimestamp(0, UTC)
KEPT_DOCUMENTS = 16_384


def to_document(facts: Facts, *, known_purpose: bool = False) -> dict[str, Any]:
    """Write facts as JSON values that have a canonical form; the time to the whole second, as the rules see it.

    The purpose is null unless the terms name it or the caller of this says that it is a known one.
    """
    terms = facts.terms
    named = known_purpose or (terms is not None and facts.purpose in terms.purposes)
    return {
        **{name: getattr(facts, name) for name in _MEMBERS},
        "service_masks": sorted(facts.service_masks),
        "attributes": sorted(facts.attributes),
        "purpose": facts.purpose if named else None,
        "terms": {name: getattr(terms, name) for name in _TERMS} if terms else None,
        "at": instant(facts.at),
    }


def document_bytes(facts: Facts, *, known_purpose: bool = False) -> bytes:
    """Give the canonical bytes (RFC 8785) of the facts' document; for facts told before, only the time is new."""
    head, tail = _around_the_time(untimed(facts), known_purpose)
    return head + instant(facts.at).encode() + tail


def from_document(document: Mapping[str, Any], terms_of: TermsOf) -> Facts:
    """Read facts that are decided as those that were written.

    A document that was written before a member existed is read as what it meant then. Raises ValueError for what is
    no such document, and where `terms_of` knows no terms of the digest.
    """
    members = _LATER | dict(document)
    _check(members, _MEMBERS)
    for name in ("attributes", "service_masks"):
        if not all(isinstance(item, str) for item in members[name]):
            raise ValueError(f"{name} is a list of names")
        members[name] = frozenset(members[name])
    members["purpose"] = members["purpose"] or ""
    members["at"] = datetime.fromisoformat(members["at"])
    if (named := members["terms"]) is not None:
        _check(named, _TERMS)
        members["terms"] = terms_of(named["digest"], named["state"], named["signed"])
        if members["terms"] is None:
            raise ValueError(f"no terms are archived under {named['digest']}")
    return Facts(**members)


@lru_cache(maxsize=KEPT_DOCUMENTS)
def _around_the_time(told: tuple[Any, ...], known_purpose: bool) -> tuple[bytes, bytes]:  # noqa: FBT001 — lru_cache keys
    facts = Facts(**dict(zip(_UNTIMED, told, strict=True)), at=_EPOCH)
    document = to_document(facts, known_purpose=known_purpose)
    # RFC 8785 for what stands here: ASCII names in order, strings, whole numbers, true, false and null.
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    # No text before the member can hold its name: a quotation mark within a text is escaped.
    head, name, tail = text.partition('"at":"')
    return (head + name).encode(), tail.removeprefix(instant(_EPOCH)).encode()


def _check(document: Mapping[str, Any], members: Mapping[str, set[type]]) -> None:
    if document.keys() != members.keys():
        raise ValueError(f"facts have other members: {', '.join(sorted(document.keys() ^ members.keys()))}")
    for name, types in members.items():
        if type(document[name]) not in types:
            raise ValueError(f"{name} is not of the type that facts are written in")
