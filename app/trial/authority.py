"""Certificate authorities for trials and the demonstration: a root, one authority below it, leaves below that.

P-256 and SHA-256. `app.trial.pki` keeps them and what they issued. Production takes certificates of the
government's authority (山东 第三十五条).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from app.keys.key_files import write_whole
from app.keys.signing_keys import new_signing_key
from app.keys.signing_keys import pem as key_pem

CLOCK_SKEW = timedelta(hours=1)
AUTHORITY_LIFE = timedelta(days=3_650)
LEAF_LIFE = timedelta(days=397)
SERVER_NAMES = ("localhost", "127.0.0.1", "::1")
PUBLIC = 0o644


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its private key and the authorities above it, nearest first, without the root."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def write(self, folder: Path, name: str) -> None:
        """Write `<name>.pem` (leaf, then chain) and `<name>.key` (PKCS #8, mode 0600) into a folder."""
        write_whole(folder / f"{name}.key", key_pem(self.key))
        write_whole(folder / f"{name}.pem", pem(self.certificate, *self.chain), PUBLIC)


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a certificate is to say: whom it names, how else that is called, what for, and until when.

    `crl_url`: where the authority's revocation list can be had, if that is to be said.
    """

    name: str
    names: tuple[x509.GeneralName, ...]
    usage: ObjectIdentifier
    issued_at: datetime
    life: timedelta = LEAF_LIFE
    crl_url: str | None = None

    @classmethod
    def client(cls, name: str, dns: Iterable[str], issued_at: datetime, life: timedelta = LEAF_LIFE) -> Leaf:
        """A client's (EKU clientAuth); its SAN dNSNames are what a node knows it by (RFC 8705 §2.1.2)."""
        return cls(name, tuple(map(x509.DNSName, dns)), ExtendedKeyUsageOID.CLIENT_AUTH, issued_at, life)

    @classmethod
    def server(cls, names: Iterable[str], issued_at: datetime, life: timedelta = LEAF_LIFE) -> Leaf:
        """A node's (EKU serverAuth), under its host names and addresses, the first of which names it."""
        called = tuple(map(_host, names))
        return cls(str(called[0].value), called, ExtendedKeyUsageOID.SERVER_AUTH, issued_at, life)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority that can issue: the root of `found`, or one below it.

    `chain`: what a holder of its certificates presents above its own, nothing for a root.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @classmethod
    def found(cls, name: str, organisation: str, now: datetime) -> Authority:
        """Return a self-signed root of this name that may have one authority below it."""
        key, subject = new_signing_key(), _name(name, organisation)
        builder = _builder(subject, subject, key.public_key(), (now - CLOCK_SKEW, now + AUTHORITY_LIFE))
        return cls(_authority_extensions(builder, path_length=1).sign(key, hashes.SHA256()), key)

    def authority(self, name: str, now: datetime, crl_url: str | None = None) -> Authority:
        """Return an authority below this one; it may issue leaves only."""
        key, life = new_signing_key(), (now - CLOCK_SKEW, now + AUTHORITY_LIFE / 2)
        builder = _builder(self._called(name), self.certificate.subject, key.public_key(), life)
        builder = _authority_extensions(builder, path_length=0).add_extension(self._key_identifier(), critical=False)
        certificate = _with_list(builder, crl_url).sign(self.key, hashes.SHA256())
        return Authority(certificate, key, (certificate,))

    def issue(self, leaf: Leaf, public_key: CertificatePublicKeyTypes) -> x509.Certificate:
        """Return a certificate of this public key, whose holder is to have shown that the private one is its own."""
        life = (leaf.issued_at - CLOCK_SKEW, leaf.issued_at + leaf.life)
        builder = _builder(self._called(leaf.name), self.certificate.subject, public_key, life)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([leaf.usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(leaf.names), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        return _with_list(builder, leaf.crl_url).sign(self.key, hashes.SHA256())

    def issue_with_key(self, leaf: Leaf) -> Issued:
        """Return a certificate with a new key, for a holder that does not make its own."""
        key = new_signing_key()
        return Issued(self.issue(leaf, key.public_key()), key, self.chain)

    def revocation_list(
        self, revoked: Iterable[x509.RevokedCertificate], number: int, now: datetime, life: timedelta
    ) -> x509.CertificateRevocationList:
        """Return this authority's list (RFC 5280 §5) under its number, good from `now` for `life`."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + life)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        for entry in revoked:
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256())

    def _called(self, name: str) -> x509.Name:
        (organisation,) = self.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return _name(name, str(organisation.value))

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def pem(*certificates: x509.Certificate) -> bytes:
    """Return certificates as one PEM text, in order."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _host(text: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _name(common_name: str, organisation: str) -> x509.Name:
    parts = (
        (NameOID.COUNTRY_NAME, "CN"),
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, life: tuple[datetime, datetime]
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(life[0])
        .not_valid_after(life[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _with_list(builder: x509.CertificateBuilder, url: str | None) -> x509.CertificateBuilder:
    if url is None:
        return builder
    place = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return builder.add_extension(x509.CRLDistributionPoints([place]), critical=False)


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
