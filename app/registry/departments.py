"""Departments and their clients, as registered in the node directory (山东 第三十五条: unified certificates).

Clients that are registered over HTTP stand beside those of the directory (`with_registered`): one form for both.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from app.registry.files import Members, NodeFileInvalid
from evidence.errors import KeyNotVerified
from evidence.jwk import keys_from_jwks, thumbprint

logger = logging.getLogger(__name__)

ROLES = ("consumer", "steward", "authority", "auditor", "system-admin", "security-admin")
# 等保三级 (GB/T 22239): three administrators, none of whom holds another's powers.
SEPARATED = frozenset({"system-admin", "security-admin", "auditor"})
# SPEC: RFC 8705 §2.1.2: the names a certificate is known by.
CERTIFICATE_NAMES = (
    "tls_client_auth_subject_dn",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_uri",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_email",
)
# Hosts are the same in whatever case (RFC 4343): each is registered in one spelling, that of most certificates.
HOSTS = frozenset({"tls_client_auth_san_dns", "tls_client_auth_san_email"})
CLIENT_ID = re.compile(r"[a-z0-9][a-z0-9-]{1,62}")
PUBLIC_KEY = re.compile(r"sha256-[0-9a-f]{64}")  # of the DER SubjectPublicKeyInfo
MAX_PUBLIC_KEYS = 2  # the one in use and the one that follows it


@dataclass(frozen=True, slots=True)
class Client:
    """A consuming system of a department, holder of a certificate.

    `certificate_name` is one of RFC 8705's metadata names and `certificate_value` what the certificate must hold.
    `public_keys`: digests of the keys that its certificate may have, none for any; `signing_keys`: keys that it signs
    requests with beside that of its certificate, by thumbprint (RFC 7638).
    """

    name: str
    title: Mapping[str, str]
    department: str
    roles: frozenset[str]
    certificate_name: str
    certificate_value: str
    suspended: bool = False
    public_keys: frozenset[str] = frozenset()
    signing_keys: Mapping[str, EllipticCurvePublicKey] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registered:
    """What the node database says of one client beside the directory: its document, or that it is suspended.

    `document` is None for a client of the directory.
    """

    client: str
    department: str
    document: Mapping[str, Any] | None
    suspended: bool


@dataclass(frozen=True, slots=True)
class Department:
    """A department that provides or asks.

    `restricted`: it keeps its own data stale, so its own questions are denied (山东 第二十八条). `signing_keys`: the
    public keys that it accepts agreements with, by thumbprint (RFC 7638).
    """

    name: str
    title: Mapping[str, str]
    clients: tuple[Client, ...]
    restricted: bool = False
    suspended: bool = False
    signing_keys: Mapping[str, EllipticCurvePublicKey] = field(default_factory=dict)


class Departments:
    """All registered departments; finds a client by its id or by what its certificate holds."""

    def __init__(self, documents: Iterable[Members]) -> None:
        self.all: dict[str, Department] = {}
        self.clients: dict[str, Client] = {}
        self._by_certificate: dict[tuple[str, str], Client] = {}
        self._folded: dict[tuple[str, str], str] = {}
        self._pinned: dict[str, str] = {}
        self._signer: dict[str, str] = {}
        for document in documents:
            self._add(document)

    def _add(self, document: Members) -> None:
        name = document.text("department")
        title = document.titles("name")
        restricted = document.flag("restricted", default=False)
        suspended = document.flag("suspended", default=False)
        clients = tuple(client_of(inner, name) for inner in document.maps("clients", []))
        signing_keys = _signing_keys(document)
        document.done()
        if name in self.all:
            raise document.refuse(f"department {name} stands twice")
        for kid in signing_keys:
            # One key in two hands could accept an agreement for both of its sides.
            if (other := self._signer.setdefault(kid, name)) != name:
                raise document.refuse(f"signing key {kid} is that of {other} too")
        self.all[name] = Department(name, title, clients, restricted, suspended, signing_keys)
        for client in clients:
            if fault := self.taken(client):
                raise document.refuse(fault)
            self._place(client)

    def _place(self, client: Client) -> None:
        self.clients[client.name] = client
        self._by_certificate[client.certificate_name, client.certificate_value] = client
        self._folded[client.certificate_name, client.certificate_value.casefold()] = client.name
        self._pinned |= dict.fromkeys(client.public_keys, client.name)

    def taken(self, client: Client) -> str | None:
        """Why there is no room for a new client: id, certificate name or a key is another's; None if there is."""
        if client.name in self.clients or self.is_named(client):
            return f"client {client.name} or its certificate stands twice"
        if self.is_pinned(client):
            return f"client {client.name} has a public key that is pinned for another client"
        return None

    def is_named(self, client: Client) -> bool:
        """Whether the name in its certificate is another client's, in whatever case."""
        name = client.certificate_name, client.certificate_value.casefold()
        return self._folded.get(name, client.name) != client.name

    def is_pinned(self, client: Client) -> bool:
        """Whether one of its public keys is pinned for another client: one key in two hands is one person."""
        return any(self._pinned.get(key, client.name) != client.name for key in client.public_keys)

    def with_registered(self, registered: Iterable[Registered]) -> Departments:
        """These departments with what the node database says of clients.

        What the directory says comes first: a client that it does not leave room for is left out, and logged.
        """
        made = Departments(())
        made.all, made.clients = dict(self.all), dict(self.clients)
        made._by_certificate, made._signer = dict(self._by_certificate), self._signer
        made._folded, made._pinned = dict(self._folded), dict(self._pinned)
        for row in registered:
            made._register(row)
        return made

    def _register(self, row: Registered) -> None:
        if row.document is None:
            client = self.clients.get(row.client)
            if client is not None and row.suspended:
                self._replace(client, replace(client, suspended=True))
            return
        try:
            client = client_of(Members(f"client {row.client}", dict(row.document)), row.department)
        except NodeFileInvalid:
            logger.error("client %s cannot be read as it is registered: it is left out", row.client)  # noqa: TRY400
            return
        department = self.all.get(row.department)
        if department is None or self.taken(client):
            logger.error("client %s finds no room in the directory in force: it is left out", row.client)
            return
        client = replace(client, suspended=client.suspended or row.suspended)
        self._place(client)
        self.all[department.name] = replace(department, clients=(*department.clients, client))

    def _replace(self, old: Client, new: Client) -> None:
        self._place(new)
        department = self.all[old.department]
        clients = tuple(new if client is old else client for client in department.clients)
        self.all[department.name] = replace(department, clients=clients)

    def find(self, names: Iterable[tuple[str, str]]) -> Client | None:
        """The client whose registered certificate name is among `names`; None if there is none, or several."""
        found = {client.name: client for name in names if (client := self._by_certificate.get(name))}
        return next(iter(found.values())) if len(found) == 1 else None


def client_of(document: Members, department: str) -> Client:
    """Read one client of a department. Raises `NodeFileInvalid` with the member and the reason."""
    name = document.text("client")
    title = document.titles("title")
    roles = document.texts("roles")
    suspended = document.flag("suspended", default=False)
    certificate = document.members("certificate")
    public_keys = certificate.texts("public_keys", [])
    names = certificate.rest()
    signing_keys = _signing_keys(document)
    document.done()
    if not CLIENT_ID.fullmatch(name):
        raise document.refuse("client is an id of 2 to 63 lower-case letters, digits and hyphens")
    _check_public_keys(document, public_keys)
    unknown = set(roles) - set(ROLES)
    if unknown or not roles:
        raise document.refuse(f"roles must be some of {', '.join(ROLES)}")
    for one, other in combinations(SEPARATED & set(roles), 2):
        raise document.refuse(f"client {name} may not be both {one} and {other} (等保三级)")
    if len(names) != 1 or not set(names) <= set(CERTIFICATE_NAMES):
        raise document.refuse(f"certificate needs exactly one of {', '.join(CERTIFICATE_NAMES)} (RFC 8705 §2.1.2)")
    ((certificate_name, value),) = names.items()
    if not isinstance(value, str) or not value:
        raise document.refuse(f"{certificate_name} must be a text")
    if certificate_name in HOSTS and (spelt := value.rpartition("@")[2]) != spelt.lower():
        raise document.refuse(f"{certificate_name} must have its host in lower case, as the certificate must")
    held = frozenset(roles), certificate_name, value, suspended
    return Client(name, title, department, *held, frozenset(public_keys), signing_keys)


def _check_public_keys(document: Members, public_keys: Iterable[str]) -> None:
    found = list(public_keys)
    if not all(map(PUBLIC_KEY.fullmatch, found)) or len(set(found)) != len(found) or len(found) > MAX_PUBLIC_KEYS:
        raise document.refuse(
            f"public_keys are at most {MAX_PUBLIC_KEYS} digests: sha256- and 64 hexadecimal digits of the SHA-256 of "
            "the key's SubjectPublicKeyInfo"
        )


def _signing_keys(document: Members) -> dict[str, EllipticCurvePublicKey]:
    found: dict[str, EllipticCurvePublicKey] = {}
    for inner in document.maps("signing_keys", []):
        entry: dict[str, Any] = inner.rest()
        if not {"kty", "crv", "x", "y"} <= entry.keys() <= {"kty", "crv", "x", "y", "alg", "kid", "use"}:
            raise inner.refuse(
                "a signing key is a public JWK: kty, crv, x and y, perhaps alg, kid and use (RFC 7517)"
            )
        try:
            (key,) = keys_from_jwks({"keys": [{"kid": "-", **entry}]}).values()
        except KeyNotVerified:
            raise inner.refuse("a signing key is a public P-256 key for ES256 (RFC 7518 §6.2)") from None
        kid = thumbprint(key)
        if entry.get("kid", kid) != kid:
            raise inner.refuse(f"kid must be the key's thumbprint (RFC 7638), {kid}")
        if kid in found:
            raise inner.refuse(f"signing key {kid} stands twice")
        found[kid] = key
    return found
