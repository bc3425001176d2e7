"""One certificate revocation list (RFC 5280 §5): read, verified, compared. Pure: bytes, keys and time come in.

- A list that is signed weakly, has no nextUpdate, is a delta, covers others' certificates (indirect), some reasons or
  attribute certificates only, or holds a critical extension that is not known here, is not used at all.
- Every certificate named in a list counts as revoked, for whatever reason: certificateHold too.
- What a list covers is its scope: user or CA certificates, one distribution point, or everything of its issuer. CRL
  numbers are counted by scope, so lists are compared within one scope only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from app.trust.path import UNREADABLE, extension

MAX_BYTES = 33_554_432
SKEW = timedelta(seconds=60)
_KNOWN = (
    x509.CRLNumber,
    x509.AuthorityKeyIdentifier,
    x509.IssuerAlternativeName,
    x509.IssuingDistributionPoint,
    x509.FreshestCRL,
    x509.AuthorityInformationAccess,
)
_KNOWN_OF_ENTRIES = (x509.CRLReason, x509.InvalidityDate)
_DIGESTS = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_PEM = re.compile(re.escape(_BEGIN) + b".*?" + re.escape(_END), re.DOTALL)


class ListUnusable(ValueError):
    """A list that is not used. The text says why, in plain words."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which of its issuer's certificates a list covers; without `points`, those of every distribution point."""

    users: bool = True
    authorities: bool = True
    points: frozenset[x509.GeneralName] = frozenset()

    def covers(self, certificate: x509.Certificate) -> bool:
        """Whether the list would name this certificate of its issuer if it were revoked (RFC 5280 §6.3.3 (b))."""
        if self.points and not self.points & _points(certificate):
            return False
        constraints = extension(certificate, x509.BasicConstraints)
        return self.authorities if constraints is not None and constraints.ca else self.users


@dataclass(frozen=True, slots=True)
class Stated:
    """What a list says of itself: its issuer's name (DER), its scope, CRL number if any, thisUpdate, nextUpdate."""

    issuer: bytes
    scope: Scope
    number: int | None
    this_update: datetime
    next_update: datetime

    def is_newer(self, other: Stated) -> bool:
        """Whether it replaces another list of the same issuer and scope: by CRL number, then by thisUpdate."""
        if self.number is not None and other.number is not None and self.number != other.number:
            return self.number > other.number
        return self.this_update > other.this_update

    def has_begun(self, now: datetime) -> bool:
        """Whether thisUpdate is reached, with a minute for clocks that differ."""
        return self.this_update - SKEW <= now

    def is_current(self, now: datetime, grace: timedelta) -> bool:
        """Whether it may still vouch for what it does not name."""
        return self.has_begun(now) and now <= self.next_update + grace


@dataclass(frozen=True, slots=True, eq=False)
class ReadList:
    """A list as it was read: its form is right, its signature is not verified yet."""

    stated: Stated
    parsed: x509.CertificateRevocationList

    def is_signed_by(self, issuer: x509.Certificate) -> bool:
        """Whether its signature verifies with the key of this certificate."""
        try:
            # A key of another kind is refused at run time, which is caught here.
            return self.parsed.is_signature_valid(cast("CertificateIssuerPublicKeyTypes", issuer.public_key()))
        except UNREADABLE:
            return False

    def serials(self) -> frozenset[int]:
        """The serial numbers it names. Raises `ListUnusable` for entries that are not understood.

        100,000 entries take 0.3 s; other threads go on meanwhile.
        """
        try:
            return frozenset(_serial(entry) for entry in self.parsed)
        except UNREADABLE as error:
            raise ListUnusable(str(error) if isinstance(error, ListUnusable) else "an entry cannot be read") from None

    @property
    def der(self) -> bytes:
        """The list as DER."""
        return self.parsed.public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A verified list: what it states and the serial numbers it names."""

    stated: Stated
    serials: frozenset[int]


def read(content: bytes) -> Iterator[ReadList | ListUnusable]:
    """Every list of a file or body: one in DER, or any number in PEM; in the place of a list not used, why not."""
    if content[:1] == b"\x30":
        yield _read(content)
        return
    blocks = _PEM.findall(content)
    if not blocks or len(blocks) != content.count(_BEGIN):
        yield ListUnusable("it holds no revocation list, or half of one")
    yield from map(_read, blocks)


def _read(block: bytes) -> ReadList | ListUnusable:
    try:
        parsed = x509.load_pem_x509_crl(block) if block.startswith(_BEGIN) else x509.load_der_x509_crl(block)
        return ReadList(_stated(parsed), parsed)
    except ListUnusable as error:
        return error
    except UNREADABLE:
        return ListUnusable("it cannot be read as a revocation list")


def _stated(parsed: x509.CertificateRevocationList) -> Stated:
    if parsed.next_update_utc is None:
        raise ListUnusable("it has no nextUpdate")
    try:
        weak = not isinstance(parsed.signature_hash_algorithm, _DIGESTS)
    except UnsupportedAlgorithm:
        weak = True
    if weak:
        raise ListUnusable("its signature is of a kind that is not accepted (SHA-256 or longer with RSA or ECDSA)")
    number, scope = None, Scope()
    for found in parsed.extensions:
        if isinstance(found.value, x509.DeltaCRLIndicator):
            raise ListUnusable("it is a delta: the complete list is needed")
        if found.critical and not isinstance(found.value, _KNOWN):
            raise ListUnusable("it holds a critical extension that is not known here")
        if isinstance(found.value, x509.CRLNumber):
            number = found.value.crl_number
        if isinstance(found.value, x509.IssuingDistributionPoint):
            scope = _scope(found.value)
    return Stated(parsed.issuer.public_bytes(), scope, number, parsed.last_update_utc, parsed.next_update_utc)


def _scope(point: x509.IssuingDistributionPoint) -> Scope:
    if point.indirect_crl:
        raise ListUnusable("it is indirect: the list of the issuer itself is needed")
    if point.only_some_reasons:
        raise ListUnusable("it covers some reasons only: the list of all reasons is needed")
    if point.only_contains_attribute_certs:
        raise ListUnusable("it covers attribute certificates only")
    if point.relative_name is not None:
        raise ListUnusable("its distribution point is named relative to its issuer, which is not known here")
    return Scope(
        users=not point.only_contains_ca_certs,
        authorities=not point.only_contains_user_certs,
        points=frozenset(point.full_name or ()),
    )


def _points(certificate: x509.Certificate) -> frozenset[x509.GeneralName]:
    """The names of the distribution points at which the certificate's own issuer publishes."""
    found = extension(certificate, x509.CRLDistributionPoints) or ()
    return frozenset(name for point in found if point.crl_issuer is None for name in point.full_name or ())


def _serial(entry: x509.RevokedCertificate) -> int:
    for found in entry.extensions:
        # SPEC: RFC 5280 §5.3: a list with a critical extension that is not understood tells of no certificate.
        if isinstance(found.value, x509.CertificateIssuer) or (
            found.critical and not isinstance(found.value, _KNOWN_OF_ENTRIES)
        ):
            raise ListUnusable("an entry holds a critical extension that is not known here")
    return entry.serial_number
