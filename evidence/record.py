"""Version 1 of the record that is one entry of the decision log.

A record is canonical JSON: clear members about the act, and salted commitments to everything that could
name a person. Each commitment has a salt of its own, derived one way from the record's master salt: an
opening of one field opens no other, and without the master the entry can no longer be tied to anyone.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from evidence.base64s import decode_url, encode_url
from evidence.canonical import JSON, NotCanonical, canonical, parse_canonical
from evidence.errors import RecordNotVerified

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERSION = 1
COMMITTED = ("subject", "question", "declared", "result", "true_result", "case", "operator", "signature")
KINDS = frozenset({"question", "token", "application", "agreement", "dispute", "revision", "client"})
MAX_BODY = 65_535  # a tlog-tiles entry bundle prefixes each entry with its length as uint16

_SALT_LABELS = {field: b"hecha/salt/v1/" + field.encode() for field in COMMITTED}
_PREFIXES = {field: field.encode() + b"\x00" for field in COMMITTED}
_COMMITMENT = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """`body`: the canonical bytes of the entry; `openings`: base64url salt by committed field."""

    body: bytes
    openings: dict[str, str]


def field_salt(master: bytes, field: str) -> bytes:
    """Return the 32-byte salt of one committed field from the record's 32-byte master salt."""
    if len(master) != 32:
        raise ValueError("a master salt is 32 bytes")
    if field not in _SALT_LABELS:
        raise ValueError(f"{field!r} is not a committed field")
    return hmac.digest(master, _SALT_LABELS[field], "sha256")


def commitment(salt: bytes, field: str, value: JSON) -> str:
    """Return base64url of HMAC-SHA256(salt, field, NUL, canonical value); raises `NotCanonical`."""
    return encode_url(hmac.digest(salt, _PREFIXES[field] + canonical(value), "sha256"))


def seal(members: Mapping[str, JSON], secrets: Mapping[str, JSON], master: bytes) -> SealedRecord:
    """Return the record of clear `members` and of commitments to `secrets`.

    Raises `ValueError` for a secret outside COMMITTED, a member named v or commitments, an unknown kind, or a
    body over 65,535 bytes; `NotCanonical` for a value without canonical form.
    """
    if members.get("kind") not in KINDS:
        raise ValueError(f"{members.get('kind')!r} is not a kind of record")
    if "v" in members or "commitments" in members:
        raise ValueError("v and commitments are the record's own members")
    commitments: dict[str, str] = {}
    openings: dict[str, str] = {}
    for field, value in secrets.items():
        salt = field_salt(master, field)
        commitments[field] = commitment(salt, field, value)
        openings[field] = encode_url(salt)
    body = canonical({"v": VERSION, **members, "commitments": commitments})
    if len(body) > MAX_BODY:
        raise ValueError(f"a record of {len(body)} bytes does not fit into the log")
    return SealedRecord(body, openings)


def open_commitment(record: Mapping[str, Any], field: str, salt: str, value: JSON) -> bool:
    """Return whether base64url `salt` and `value` open the record's commitment to `field`; never raises."""
    held = record.get("commitments", {}).get(field)
    if field not in _PREFIXES or not isinstance(held, str) or not _COMMITMENT.fullmatch(held):
        return False
    try:
        made = commitment(decode_url(salt), field, value)
    except ValueError:
        return False
    return hmac.compare_digest(made, held)


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 256


def _texts(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 256 and all(map(_text, value))


def _count(value: object) -> bool:
    return type(value) is int and value > 0


def _matching(pattern: str) -> Callable[[object], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


# Members of a record. A member that does not apply is left out; one not listed here is carried unread, so
# that an older verifier still checks a newer node's records.
MEMBERS: Mapping[str, Callable[[object], bool]] = MappingProxyType(
    {
        # what was done: an answer asked for, a token issued, a step of an application, agreement or dispute taken,
        # a revision of the node directory put in force or refused, a client registered, changed or suspended
        "kind": _matching("question|token|application|agreement|dispute|revision|client"),
        "id": _matching("[A-Za-z0-9_-]{16,64}"),  # decision id, at least 128 random bits
        "at": _matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"),  # when it was decided, RFC 3339, UTC
        "consumer": _text,  # department of the caller
        "client": _text,  # registered system of that department
        "certificate": _text,  # x5t#S256 of the client certificate, RFC 8705 §3.1
        "provider": _text,  # department that answers
        "service": _text,  # what was asked
        "purpose": _text,  # for what, in the agreement's word
        "decision": _matching("permit|deny"),  # the policy's verdict
        "limit": _matching("none|quota|budget"),  # which limit stopped it
        "state": _matching("[a-z]+(-[a-z]+)*"),  # answered, or the slug of the problem document; a step's outcome
        "rules": _texts,  # ids of the rules that decided
        "policy": _text,  # digest of the policy revision
        "agreement": _text,  # digest of the agreement or standing terms
        "contract": _text,  # digest of the match contract
        "as_of": _text,  # last update of the source that answered
        "facts": _text,  # digest of what the decision was made from
        "department": _text,  # whose client took a step
        "about": _text,  # id of the application, agreement, dispute or client (`client:…`) that a step is about
        "document": _text,  # digest of the step's document
        "revision": _count,  # number of the revision of the node directory
        "directory": _text,  # digest of that node directory
    }
)
_STEP = ("id", "at", "state", "about", "document")
_REQUIRED = {
    "question": ("id", "at", "state"),
    "token": ("id", "at"),
    "application": _STEP,
    "agreement": _STEP,
    "dispute": _STEP,
    "revision": ("id", "at", "state", "directory"),
    "client": _STEP,
}


def parse_record(body: bytes) -> dict[str, Any]:
    """Return the record in `body`; raises `RecordNotVerified` unless it is one, in canonical bytes."""
    if len(body) > MAX_BODY:
        raise RecordNotVerified("The record is larger than a log entry can be.")
    try:
        record = parse_canonical(body)
    except NotCanonical as error:
        raise RecordNotVerified(f"The record is not canonical JSON: {error}.") from None
    return check_record(record)


def check_record(record: object) -> dict[str, Any]:
    """Return `record`, a parsed JSON value, if it is a record by its members; raises `RecordNotVerified`."""
    # `True == 1` in Python, so the version's type is part of the check.
    if not isinstance(record, dict) or record.get("v") != VERSION or type(record["v"]) is not int:
        raise RecordNotVerified("The entry is not a record of version 1.")
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise RecordNotVerified("The record is of a kind unknown here.")
    for name in _REQUIRED[kind]:
        if name not in record:
            raise RecordNotVerified(f"The record lacks its member {name!r}.")
    for name, value in record.items():
        if name in MEMBERS and not MEMBERS[name](value):
            raise RecordNotVerified(f"The record's member {name!r} has no valid value.")
    _check_commitments(record)
    _check_axes(record)
    return record


def _check_commitments(record: Mapping[str, Any]) -> None:
    held = record.get("commitments")
    if not isinstance(held, dict) or not set(held) <= set(COMMITTED):
        raise RecordNotVerified("The record's commitments are not to the fields known here.")
    if not all(isinstance(value, str) and _COMMITMENT.fullmatch(value) for value in held.values()):
        raise RecordNotVerified("A commitment of the record is not 32 bytes in base64url.")


def _check_axes(record: Mapping[str, Any]) -> None:
    if record.get("state") != "answered":
        return
    # INVARIANT: decision, limit and state stay apart, but an answer needs a permit, no limit and a result.
    if record.get("decision") != "permit" or record.get("limit", "none") != "none":
        raise RecordNotVerified("The record says answered although it was denied or stopped by a limit.")
    if "result" not in record["commitments"]:
        raise RecordNotVerified("The record says answered but commits to no result.")
