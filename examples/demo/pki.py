"""The demonstration's PKI: a root, an issuing CA, one server certificate and one certificate for each client.

P-256 throughout. Private keys of the two authorities exist only while this runs: nothing more can be issued
afterwards, a new PKI is made instead. By `ca.pem` clients trust the server and the node trusts clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from app.trial.authority import LEAF_LIFE, SERVER_NAMES, Authority, Issued, Leaf, pem

ORGANISATION = "Hecha demonstration"


def write_pki(folder: Path, clients: Mapping[str, str], now: datetime) -> None:
    """Write a whole new PKI into an existing folder; `clients` maps client ids to their SAN dNSNames.

    Beside the good certificates, `bad/` holds three that the node must refuse: `expired`, `foreign` (another
    authority, in `foreign-ca.pem`) and `unregistered` (trusted authority, name of no registered client).
    """
    root = Authority.found("Hecha demo root", ORGANISATION, now)
    issuing = root.authority("Hecha demo issuing CA", now)
    (folder / "ca.pem").write_bytes(pem(root.certificate, issuing.certificate))
    issuing.issue_with_key(Leaf.server(SERVER_NAMES, now)).write(folder, "server")
    for client, dns in clients.items():
        _client(issuing, client, dns, now).write(folder, client)
    _write_bad(folder / "bad", issuing, next(iter(clients.items())), now)


def is_fresh(folder: Path, clients: Mapping[str, str], now: datetime) -> bool:
    """Say whether a folder holds a complete PKI for exactly these clients' names with a month left to run."""
    leaves = [folder / "server.pem", *(folder / f"{client}.pem" for client in clients)]
    if not all(path.is_file() and path.with_suffix(".key").is_file() for path in leaves):
        return False
    certificates = [x509.load_pem_x509_certificate(path.read_bytes()) for path in leaves]
    names = [c.extensions.get_extension_for_class(x509.SubjectAlternativeName).value for c in certificates]
    named = all(
        san.get_values_for_type(x509.DNSName) == [dns]
        for san, dns in zip(names, ("localhost", *clients.values()), strict=True)
    )
    return named and all(c.not_valid_after_utc > now + timedelta(days=30) for c in certificates)


def _client(authority: Authority, client: str, dns: str, issued_at: datetime) -> Issued:
    return authority.issue_with_key(Leaf.client(client, [dns], issued_at))


def _write_bad(folder: Path, issuing: Authority, victim: tuple[str, str], now: datetime) -> None:
    folder.mkdir(exist_ok=True)
    long_ago = now - LEAF_LIFE - timedelta(days=1)
    _client(issuing, *victim, long_ago).write(folder, "expired")
    _client(issuing, "nobody", "nobody.clients.hangzhou.example", now).write(folder, "unregistered")
    foreign = Authority.found("Foreign root", ORGANISATION, now)
    _client(foreign, *victim, now).write(folder, "foreign")
    (folder / "foreign-ca.pem").write_bytes(pem(foreign.certificate))
