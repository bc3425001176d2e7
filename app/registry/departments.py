"""Departments and their clients, as registered in the node directory (山东 第三十五条: unified certificates)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from app.registry.files import Members
from evidence.errors import KeyNotVerified
from evidence.jwk import keys_from_jwks, thumbprint

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


@dataclass(frozen=True, slots=True)
class Client:
    """A consuming system of a department, holder of a certificate.

    `certificate_name` is one of RFC 8705's metadata names and `certificate_value` what the certificate must hold.
    """

    name: str
    title: Mapping[str, str]
    department: str
    roles: frozenset[str]
    certificate_name: str
    certificate_value: str
    suspended: bool = False


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
        self._signer: dict[str, str] = {}
        for document in documents:
            self._add(document)

    def _add(self, document: Members) -> None:
        name = document.text("department")
        title = document.titles("name")
        restricted = document.flag("restricted", default=False)
        suspended = document.flag("suspended", default=False)
        clients = tuple(_client(inner, name) for inner in document.maps("clients", []))
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
            key = (client.certificate_name, client.certificate_value)
            if client.name in self.clients or key in self._by_certificate:
                raise document.refuse(f"client {client.name} or its certificate stands twice")
            self.clients[client.name] = client
            self._by_certificate[key] = client

    def find(self, names: Iterable[tuple[str, str]]) -> Client | None:
        """The client whose registered certificate name is among `names`; None if there is none, or several."""
        found = {client.name: client for name in names if (client := self._by_certificate.get(name))}
        return next(iter(found.values())) if len(found) == 1 else None


def _client(document: Members, department: str) -> Client:
    name = document.text("client")
    title = document.titles("title")
    roles = document.texts("roles")
    suspended = document.flag("suspended", default=False)
    certificate = document.members("certificate")
    names = certificate.rest()
    document.done()
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
    return Client(name, title, department, frozenset(roles), certificate_name, value, suspended)


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
