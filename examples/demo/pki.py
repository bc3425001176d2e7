"""The demonstration's PKI: a root, an issuing CA, one server certificate and one certificate for each client.

P-256 throughout. Private keys of the two authorities exist only while this runs: nothing more can be issued
afterwards, a new PKI is made instead. By `ca.pem` clients trust the server and the node trusts clients.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

CLOCK_SKEW = timedelta(hours=1)
_AUTHORITY_LIFE = timedelta(days=3_650)
_LEAF_LIFE = timedelta(days=397)
_SERVER_NAMES = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("::1")),
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key and the authorities above it, nearest first, without the root."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def write(self, folder: Path, name: str) -> None:
        """Write `<name>.pem` (leaf, then chain) and `<name>.key` (PKCS #8, mode 0600) into a folder."""
        (folder / f"{name}.pem").write_bytes(pem(self.certificate, *self.chain))
        private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = folder / f"{name}.key"
        path.unlink(missing_ok=True)
        # Created with its mode, never readable by others even for a moment.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that can issue: the root of `found`, or one below it."""

    issued: Issued
    now: datetime

    @classmethod
    def found(cls, name: str, now: datetime) -> Authority:
        """Return a self-signed root of this name that may have one authority below it."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), _name(name), key, (now - CLOCK_SKEW, now + _AUTHORITY_LIFE))
        builder = _authority_extensions(builder, path_length=1)
        return cls(Issued(builder.sign(key, hashes.SHA256()), key), now)

    def authority(self, name: str) -> Authority:
        """Return an authority below this one; it may issue leaves only."""
        key = ec.generate_private_key(ec.SECP256R1())
        life = (self.now - CLOCK_SKEW, self.now + _AUTHORITY_LIFE / 2)
        builder = _builder(_name(name), self.issued.certificate.subject, key, life)
        builder = _authority_extensions(builder, path_length=0).add_extension(self._key_identifier(), critical=False)
        certificate = builder.sign(self.issued.key, hashes.SHA256())
        return Authority(Issued(certificate, key, (certificate,)), self.now)

    def server(self) -> Issued:
        """Return the server certificate of the node: localhost, 127.0.0.1 and ::1 (EKU serverAuth)."""
        return self._leaf("localhost", _SERVER_NAMES, ExtendedKeyUsageOID.SERVER_AUTH, self.now)

    def client(self, client: str, dns: str, *, issued_at: datetime | None = None) -> Issued:
        """Return a client certificate (EKU clientAuth) whose SAN dNSName is `dns` (RFC 8705 §2.1.2)."""
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._leaf(client, (x509.DNSName(dns),), usage, issued_at or self.now)

    def _leaf(
        self, name: str, names: Iterable[x509.GeneralName], usage: ObjectIdentifier, issued_at: datetime
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        life = (issued_at - CLOCK_SKEW, issued_at + _LEAF_LIFE)
        builder = _builder(_name(name), self.issued.certificate.subject, key, life)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        return Issued(builder.sign(self.issued.key, hashes.SHA256()), key, self.issued.chain)

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issued.key.public_key())


def write_pki(folder: Path, clients: Mapping[str, str], now: datetime) -> None:
    """Write a whole new PKI into an existing folder; `clients` maps client ids to their SAN dNSNames.

    Beside the good certificates, `bad/` holds three that the node must refuse: `expired`, `foreign` (another
    authority, in `foreign-ca.pem`) and `unregistered` (trusted authority, name of no registered client).
    """
    root = Authority.found("Hecha demo root", now)
    issuing = root.authority("Hecha demo issuing CA")
    (folder / "ca.pem").write_bytes(pem(root.issued.certificate, issuing.issued.certificate))
    issuing.server().write(folder, "server")
    for client, dns in clients.items():
        issuing.client(client, dns).write(folder, client)
    _write_bad(folder / "bad", issuing, next(iter(clients.items())))


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


def pem(*certificates: x509.Certificate) -> bytes:
    """Return certificates as one PEM text, in order."""
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def _write_bad(folder: Path, issuing: Authority, victim: tuple[str, str]) -> None:
    folder.mkdir(exist_ok=True)
    long_ago = issuing.now - _LEAF_LIFE - timedelta(days=1)
    issuing.client(*victim, issued_at=long_ago).write(folder, "expired")
    issuing.client("nobody", "nobody.clients.hangzhou.example").write(folder, "unregistered")
    foreign = Authority.found("Foreign root", issuing.now)
    foreign.client(*victim).write(folder, "foreign")
    (folder / "foreign-ca.pem").write_bytes(pem(foreign.issued.certificate))


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hecha demonstration"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(life[0])
        .not_valid_after(life[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_extensions(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    constraints = x509.BasicConstraints(ca=True, path_length=path_length)
    usage = _key_usage(signs_certificates=True)
    return builder.add_extension(constraints, critical=True).add_extension(usage, critical=True)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
