"""Authorities, certificates and revocation lists for tests: good ones by default, flawed by keyword.

`root()`, `below(authority)` and `leaf(authority)` make a `Holder`, `revocation_list(authority, …)` a list. What the
builders of `cryptography` refuse to write (a serial of zero, SHA-1, a list without nextUpdate) is made by `resigned`:
it takes the DER apart, edits it and signs it again, so that the flaw is the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)
LIFE = (NOW - 30 * DAY, NOW + 30 * DAY)
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
ANY_USAGE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
ISSUES = ("key_cert_sign", "crl_sign")
SIGNS = ("digital_signature",)
PRIVATE_OID = ObjectIdentifier("1.2.156.10260.4.1.1")  # an arc that authorities in China use for data of their own
SHA1_RSA = bytes.fromhex("300d06092a864886f70d0101050500")
# A SubjectPublicKeyInfo on SM2's curve, which `cryptography` does not know.
SM2_KEY = bytes.fromhex("301a301306072a8648ce3d020106082a811ccf5501822d0303000400")
MD5_RSA = bytes.fromhex("300d06092a864886f70d0101040500")

Key: TypeAlias = "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey"
Life: TypeAlias = "tuple[datetime, datetime]"


@cache
def new_key(kind: str, number: int = 0) -> Key:
    """The key of that kind and number: p256, p384, p521, k256, ed25519, rsa2048 and so on."""
    curves: dict[str, ec.EllipticCurve] = {
        "p256": ec.SECP256R1(),
        "p384": ec.SECP384R1(),
        "p521": ec.SECP521R1(),
        "k256": ec.SECP256K1(),
    }
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65_537, int(kind.removeprefix("rsa")))


def name(common_name: str, *, organisation: str = "Hecha tests", mail: str = "") -> x509.Name:
    """A distinguished name C, O, CN and, if given, an emailAddress."""
    parts = [
        (NameOID.COUNTRY_NAME, "CN"),
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.COMMON_NAME, common_name),
    ]
    parts += [(NameOID.EMAIL_ADDRESS, mail)] if mail else []
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


@dataclass(frozen=True, slots=True)
class Holder:
    """A certificate with its private key, and the authorities above it, nearest first, root included."""

    certificate: x509.Certificate
    key: Key
    above: tuple[Holder, ...] = ()

    @property
    def der(self) -> bytes:
        """The certificate as DER."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as PKCS #8 in PEM, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def chain(self) -> list[bytes]:
        """What a client presents beside its own certificate: the authorities above it without the root, as DER."""
        return [holder.der for holder in self.above[:-1]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about one certificate; each field is a place for a flaw.

    issuer: name put down as the issuer's, if not the real one · signed_by: key that signs, if not the issuer's ·
    ca: basicConstraints cA, None for no basicConstraints · usage, purposes: key usage and extended key usage,
    None for none · names: subjectAltName · permitted, excluded: name constraints · points: URLs of the CRL
    distribution point · extra: further extensions, each with its criticality · identifiers: subject and authority key
    identifier.
    """

    subject: x509.Name
    key: Key
    issuer: x509.Name | None = None
    signed_by: Key | None = None
    life: Life = LIFE
    serial: int = 0  # 0: a random one
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    ca: bool | None = None
    path_length: int | None = None
    basic_critical: bool = True
    usage: tuple[str, ...] | None = SIGNS
    usage_critical: bool = True
    purposes: tuple[ObjectIdentifier, ...] | None = None
    purposes_critical: bool = False
    names: tuple[x509.GeneralName, ...] = ()
    permitted: tuple[x509.GeneralName, ...] = ()
    excluded: tuple[x509.GeneralName, ...] = ()
    points: tuple[str, ...] = ()
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    identifiers: bool = True


def root(common_name: str = "Root", **plan: object) -> Holder:
    """A self-signed authority."""
    return _signed(_plan(common_name, {"ca": True, "usage": ISSUES} | plan), None)


def below(authority: Holder, common_name: str = "Issuing", **plan: object) -> Holder:
    """An authority below another."""
    return _signed(_plan(common_name, {"ca": True, "usage": ISSUES} | plan), authority)


def leaf(authority: Holder, common_name: str = "benefits", **plan: object) -> Holder:
    """A client's certificate with the alternative name `<common_name>.clients.example`."""
    good = {
        "ca": False,
        "purposes": (CLIENT_AUTH,),
        "names": (x509.DNSName(f"{common_name}.clients.example"),),
    }
    return _signed(_plan(common_name, good | plan), authority)


def _plan(common_name: str, fields: dict[str, object]) -> Plan:
    key = fields.pop("key", "")
    chosen = (new_key(key) if key else ec.generate_private_key(ec.SECP256R1())) if isinstance(key, str) else key
    return Plan(**({"subject": name(common_name), "key": chosen} | fields))  # type: ignore[arg-type]


def _signed(plan: Plan, authority: Holder | None) -> Holder:
    key = plan.signed_by or (authority.key if authority else plan.key)
    real = authority.certificate.subject if authority else plan.subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(plan.subject)
        .issuer_name(plan.issuer if plan.issuer is not None else real)
        .public_key(plan.key.public_key())
        .serial_number(plan.serial or x509.random_serial_number())
        .not_valid_before(plan.life[0])
        .not_valid_after(plan.life[1])
    )
    for extension, critical in _extensions(plan, key):
        builder = builder.add_extension(extension, critical)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else plan.digest
    above = (authority, *authority.above) if authority else ()
    return Holder(builder.sign(key, digest), plan.key, above)  # type: ignore[arg-type]


def _extensions(plan: Plan, signer: Key) -> Iterable[tuple[x509.ExtensionType, bool]]:
    if plan.ca is not None:
        yield x509.BasicConstraints(ca=plan.ca, path_length=plan.path_length), plan.basic_critical
    if plan.usage is not None:
        yield key_usage(*plan.usage), plan.usage_critical
    if plan.purposes is not None:
        yield x509.ExtendedKeyUsage(plan.purposes), plan.purposes_critical
    if plan.names:
        yield x509.SubjectAlternativeName(plan.names), not plan.subject.rdns
    if plan.permitted or plan.excluded:
        yield x509.NameConstraints(plan.permitted or None, plan.excluded or None), True
    if plan.points:
        yield distribution_points(*plan.points), False
    if plan.identifiers:
        yield x509.SubjectKeyIdentifier.from_public_key(plan.key.public_key()), False
        yield x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
    yield from plan.extra


def key_usage(*usages: str) -> x509.KeyUsage:
    """A key usage with these bits."""
    every = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{usage: usage in usages for usage in every})


def urls(*places: str) -> tuple[x509.GeneralName, ...]:
    """The names of one distribution point."""
    return tuple(x509.UniformResourceIdentifier(place) for place in places)


def distribution_points(*places: str) -> x509.CRLDistributionPoints:
    """One distribution point with these URLs."""
    return x509.CRLDistributionPoints([x509.DistributionPoint(urls(*places), None, None, None)])


def issuing_point(
    *places: str, users: bool = False, authorities: bool = False, attributes: bool = False, indirect: bool = False
) -> x509.IssuingDistributionPoint:
    """What a list says it is about."""
    return x509.IssuingDistributionPoint(
        full_name=urls(*places) or None,
        relative_name=None,
        only_contains_user_certs=users,
        only_contains_ca_certs=authorities,
        only_some_reasons=None,
        indirect_crl=indirect,
        only_contains_attribute_certs=attributes,
    )


@dataclass(frozen=True, slots=True)
class ListPlan:
    """Everything about one revocation list; `number` None means no CRL number, `extra` are further extensions."""

    number: int | None = 1
    life: Life = (NOW - timedelta(hours=1), NOW + DAY)
    reason: x509.ReasonFlags | None = None
    issuer: x509.Name | None = None
    signed_by: Key | None = None
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    entry_extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()


def revocation_list(authority: Holder, *revoked: Holder | int, **plan: object) -> bytes:
    """A list of an authority that names these certificates or serial numbers, as DER."""
    planned = ListPlan(**plan)  # type: ignore[arg-type]
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(planned.issuer if planned.issuer is not None else authority.certificate.subject)
        .last_update(planned.life[0])
        .next_update(planned.life[1])
    )
    if planned.number is not None:
        builder = builder.add_extension(x509.CRLNumber(planned.number), critical=False)
    for extension, critical in planned.extra:
        builder = builder.add_extension(extension, critical)
    # The builder copies all entries for each one added: with 100,000 of them that would take minutes.
    builder._revoked_certificates = [_entry(one, planned) for one in revoked]
    key = planned.signed_by or authority.key
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else planned.digest
    return builder.sign(key, digest).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def _entry(revoked: Holder | int, plan: ListPlan) -> x509.RevokedCertificate:
    serial = revoked if isinstance(revoked, int) else revoked.certificate.serial_number
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(plan.life[0])
    if plan.reason is not None:
        builder = builder.add_extension(x509.CRLReason(plan.reason), critical=False)
    for extension, critical in plan.entry_extra:
        builder = builder.add_extension(extension, critical)
    return builder.build()


def as_pem(der: bytes) -> bytes:
    """A list as PEM."""
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


def elements(der: bytes) -> list[bytes]:
    """The elements of a DER SEQUENCE, each whole."""
    content, found = _content(der), []
    while content:
        length = len(content) - len(_after(content))
        found.append(content[:length])
        content = content[length:]
    return found


def sequence(parts: Sequence[bytes], tag: int = 0x30) -> bytes:
    """A DER SEQUENCE of these elements, or another constructed value."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def resigned(
    der: bytes,
    key: Key,
    edit: Callable[[list[bytes]], list[bytes]] = list,
    *,
    algorithm: bytes | None = None,
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    """A certificate or list whose elements were edited, signed again; `algorithm` replaces the outer one (DER)."""
    signed, stated, _ = elements(der)
    changed = sequence(edit(elements(signed)))
    signature = _signature(key, changed, digest or hashes.SHA256())
    return sequence([changed, algorithm or stated, sequence([b"\0", signature], tag=0x03)])


def replaced(index: int, element: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """An edit that puts an element in the place of another.

    Of a certificate: 0 version, 1 serial, 2 algorithm, 3 issuer, 4 validity, 5 subject, 6 key, 7 extensions. Of a
    list: 0 version, 1 algorithm, 2 issuer, 3 thisUpdate, 4 nextUpdate, 5 entries, 6 extensions.
    """
    return lambda parts: [*parts[:index], element, *parts[index + 1 :]]


def removed(index: int) -> Callable[[list[bytes]], list[bytes]]:
    """An edit that takes an element out."""
    return lambda parts: [*parts[:index], *parts[index + 1 :]]


def flipped(der: bytes, place: int = -1) -> bytes:
    """The same bytes with one bit turned over; by default in the signature."""
    changed = bytearray(der)
    changed[place] ^= 1
    return bytes(changed)


def _signature(key: Key, message: bytes, digest: hashes.HashAlgorithm) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), digest)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(message, ec.ECDSA(digest))
    return key.sign(message)


def _content(der: bytes) -> bytes:
    start = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[start : len(der) - len(_after(der))]


def _after(der: bytes) -> bytes:
    """What follows the first element."""
    if der[1] < 0x80:
        return der[2 + der[1] :]
    start = 2 + (der[1] & 0x7F)
    return der[start + int.from_bytes(der[2:start], "big") :]
