"""Clients as they are registered over HTTP: what a proposed one must hold, in the form of the department files.

What has the right shape may still be what nobody may register: every fault is named by a JSON pointer (RFC 6901) and
a reason, and no reason quotes a value. No clock, no database: what is registered now comes in as an argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from app.registry.applications import Faults, check_texts, check_unique
from app.registry.departments import CERTIFICATE_NAMES, CLIENT_ID, SEPARATED, Client, Departments, client_of
from app.registry.files import Members, NodeFileInvalid
from evidence.jwk import to_jwk

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
_MAIL = re.compile(r"[!-?A-~]+@" + _HOST.pattern, re.ASCII)
_VISIBLE = re.compile(r"[!-~]+")
_SIGNING_KEY = re.compile(r"client signing_keys\[(\d+)\]: (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Room:
    """Where a client is to stand: what is registered now, the sharing authority's department, and its own one."""

    departments: Departments
    authority: str
    department: str


def check_client(document: Mapping[str, Any], room: Room) -> Client:
    """The client of this document, fit to be registered there in place of the one that has its id, if there is one.

    `document` has the shape that the interface publishes. Raises `Refusal` invalid-request, a pointer for each fault.
    """
    faults = Faults()
    _check_words(document, faults)
    _check_roles(document["roles"], room, faults)
    _check_certificate(document["certificate"], faults)
    faults.refuse()
    client = _read(document, room.department, faults)
    faults.refuse()
    assert client is not None  # noqa: S101 - otherwise a fault was found
    _check_others(client, room, faults)
    faults.refuse()
    return client


def document_of(client: Client) -> dict[str, Any]:
    """The client as a document of the form that `client_of` reads; whether it is suspended stands elsewhere."""
    certificate: dict[str, Any] = {client.certificate_name: client.certificate_value}
    if client.public_keys:
        certificate["public_keys"] = sorted(client.public_keys)
    document: dict[str, Any] = {
        "client": client.name,
        "title": dict(client.title),
        "roles": sorted(client.roles),
        "certificate": certificate,
    }
    if client.signing_keys:
        document["signing_keys"] = [to_jwk(key, kid) for kid, key in sorted(client.signing_keys.items())]
    return document


def _check_words(document: Mapping[str, Any], faults: Faults) -> None:
    """No word names a person: ids and names stand in the log for good, titles in the archive."""
    if not CLIENT_ID.fullmatch(document["client"]):
        faults.add("/client", "must be 2 to 63 lower-case letters, digits and hyphens")
    named = {name: value for name, value in document["certificate"].items() if name in CERTIFICATE_NAMES}
    check_texts({"client": document["client"], "title": document["title"], "certificate": named}, faults)
    for language, text in document["title"].items():
        if not text.strip():
            faults.add(f"/title/{language}", "is needed")


def _check_roles(roles: list[str], room: Room, faults: Faults) -> None:
    check_unique("/roles", roles, faults)
    if len(SEPARATED & set(roles)) > 1:
        faults.add("/roles", "may hold one of system-admin, security-admin and auditor, not two (等保三级)")
    if "authority" in roles and room.department != room.authority:
        faults.add("/roles", "may hold authority in the sharing authority's own department only")


def _check_certificate(certificate: Mapping[str, Any], faults: Faults) -> None:
    check_unique("/certificate/public_keys", certificate.get("public_keys", []), faults)
    for name, value in certificate.items():
        if name in _WRITTEN and not _WRITTEN[name][0](value):
            faults.add(f"/certificate/{name}", _WRITTEN[name][1])


def _read(document: Mapping[str, Any], department: str, faults: Faults) -> Client | None:
    try:
        return client_of(Members("client", dict(document)), department)
    except NodeFileInvalid as error:
        # The names in this text are members and the caller's own id, which `_check_words` looked at.
        found = _SIGNING_KEY.fullmatch(str(error))
        if found:
            faults.add(f"/signing_keys/{found[1]}", found[2])
        else:
            faults.add("", str(error))
    return None


def _check_others(client: Client, room: Room, faults: Faults) -> None:
    """Names and keys are one client's alone: else what one signs or asks could be another's."""
    if room.departments.is_named(client):
        faults.add(f"/certificate/{client.certificate_name}", "is the name in another client's certificate")
    if room.departments.is_pinned(client):
        faults.add("/certificate/public_keys", "hold a key that is pinned for another client")
    held = {
        kid for other in room.departments.clients.values() if other.name != client.name for kid in other.signing_keys
    }
    held |= {kid for department in room.departments.all.values() for kid in department.signing_keys}
    if not held.isdisjoint(client.signing_keys):
        faults.add("/signing_keys", "hold a key that another client or a department signs with")


def _is_distinguished_name(value: str) -> bool:
    try:
        return bool(value) and x509.Name.from_rfc4514_string(value).rfc4514_string() == value
    except ValueError:
        return False


def _is_address(value: str) -> bool:
    try:
        return str(ip_address(value)) == value
    except ValueError:
        return False


def _is_uri(value: str) -> bool:
    try:
        return bool(_VISIBLE.fullmatch(value) and urlsplit(value).scheme)
    except ValueError:
        return False


# SPEC: RFC 8705 §2.1.2. Each is compared as it is written, so it is written as a certificate's own name is read.
_WRITTEN: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "tls_client_auth_subject_dn": (
        _is_distinguished_name,
        "must be the subject as RFC 4514 writes it, the last part first, no blanks behind commas: CN=…,O=…,C=CN",
    ),
    "tls_client_auth_san_dns": (
        lambda value: _HOST.fullmatch(value) is not None,
        "must be one host name, in lower case, without a wildcard",
    ),
    "tls_client_auth_san_uri": (_is_uri, "must be a URI with its scheme, in ASCII"),
    "tls_client_auth_san_ip": (_is_address, "must be one address, written in its short form"),
    "tls_client_auth_san_email": (
        lambda value: _MAIL.fullmatch(value) is not None,
        "must be one mail address, in ASCII, its host in lower case",
    ),
}
