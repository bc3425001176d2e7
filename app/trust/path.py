"""Certification paths (RFC 5280 §6): from a client's certificate over issuing authorities to a trusted root.

Pure: certificates and the time come in as arguments. The rules:

- A path ends at a root that the node was given; a certificate that somebody presents is never trusted by itself.
- Of what is presented, only authorities that a known authority signed are looked at any further, so that a stranger's
  chain costs a few signature checks and no search. No path holds the same name and key twice.
- Each path found is judged by `cryptography` with its own certificates alone: signatures (SHA-256 or longer), keys,
  validity, basicConstraints, path length, key usage, extended key usage, name constraints, critical extensions.
- The client's certificate states clientAuth itself, may sign, is no authority, and has a positive serial number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

MAX_CERTIFICATE = 16_384  # bytes
MAX_TOTAL = 32_768  # bytes, of all that is presented
MAX_CHAIN = 4  # presented beside the client's own; also the most authorities between client and root
MAX_SIGNATURES = 32  # checked in one search
MAX_PATHS = 4  # judged in one search
MAX_NAMES = 50  # alternative names of one certificate
MAX_LIMITS = 200  # names that one authority permits and excludes
RSA_BITS = (2_048, 8_192)
RSA_EXPONENT = 2**32
Extension = TypeVar("Extension", bound=x509.ExtensionType)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)

# What `cryptography` raises for a certificate that is not what it should be. The warning, which tests turn into an
# error, is about serial numbers that are not positive.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)

# What the library's text says → what people are told. Its own texts quote the certificate.
_REASONS = (
    ("signature algorithm", "A signature on its path uses an algorithm that is not accepted."),
    (
        "critical extensions",
        "The certificate, or an authority above it, holds a critical extension that this node does not know.",
    ),
    ("incorrect criticality", "An extension on its path is marked critical, or not critical, against the standard."),
    ("path length", "An authority above it may not have so many authorities below itself."),
    ("name constraint", "An authority above it may not issue for such names."),
    ("nameConstraints", "An authority above it limits names in a way that this node cannot check."),
    ("RSA key", "An authority above it has a key that is too short."),
    ("public key algorithm", "An authority above it has a key of a kind that is not accepted."),
    ("EKU", "An authority above it may not issue for clients."),
    ("in a CA certificate", "A certificate above it is not that of an authority."),
    ("required extension", "A certificate above it is not that of an authority."),
    ("EE ", "The certificate is that of an authority, not of a client."),
    ("in an EE certificate", "The certificate is that of an authority, not of a client."),
)

_CA_POLICY = ExtensionPolicy.webpki_defaults_ca().may_be_present(
    # Older authorities name their issuer and its serial number here. Nothing is decided by it.
    x509.AuthorityKeyIdentifier,
    Criticality.NON_CRITICAL,
    None,
)
_CLIENT_POLICY = (
    ExtensionPolicy.webpki_defaults_ee()
    # SPEC: RFC 8705 §2.1.2: a client may be known by its subject alone.
    .may_be_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    .may_be_present(x509.AuthorityKeyIdentifier, Criticality.NON_CRITICAL, None)
    # SPEC: RFC 5280 §4.2.1.12: it may be critical. What it has to state is checked by `_refuse_client`.
    .require_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, None)
)


class PathInvalid(ValueError):
    """No valid path leads from the certificate to a trusted root. The text is for people and quotes no value."""


@dataclass(frozen=True, slots=True)
class Path:
    """A validated path, the client's certificate first, its root last, and when all of it is valid."""

    certificates: tuple[x509.Certificate, ...]
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority's certificate with its name and key (SubjectPublicKeyInfo), both as DER."""

    certificate: x509.Certificate
    name: bytes
    key: bytes
    is_root: bool = False

    @classmethod
    def of(cls, certificate: x509.Certificate, *, is_root: bool = False) -> Authority:
        """Raises `PathInvalid` for a key that no authority may have."""
        try:
            key = certificate.public_key()
        except UNREADABLE:
            key = None
        if key is None or isinstance(key, ed25519.Ed25519PublicKey) or not is_usable(key):
            raise PathInvalid("An authority's key must be RSA of 2048 to 8192 bits, P-256, P-384 or P-521.")
        encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(certificate, certificate.subject.public_bytes(), encoded, is_root)

    @property
    def signer(self) -> tuple[bytes, bytes]:
        """Who signs: name and key, whichever certificate says so."""
        return self.name, self.key


Known = Mapping[bytes, tuple[Authority, ...]]
"""The authorities that the node was given, by name; roots before others."""


def verify(leaf: bytes, chain: Sequence[bytes], known: Known, now: datetime) -> Path:
    """The path of a client's certificate (DER) over `chain` and `known` to a root. Raises `PathInvalid`."""
    _refuse_size(leaf, chain)
    try:
        client, presented = _read(leaf), [_read(certificate) for certificate in chain]
        return _first_valid(client, _Search(known), presented, now)
    except PathInvalid:
        raise
    except UNREADABLE:
        raise PathInvalid("The certificate, or one presented with it, cannot be read.") from None


def is_usable(key: object) -> bool:
    """Whether a public key is of a kind and size that a certificate may have."""
    if isinstance(key, rsa.RSAPublicKey):
        low, high = RSA_BITS
        return low <= key.key_size <= high and key.public_numbers().e < RSA_EXPONENT
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, _CURVES)
    return isinstance(key, ed25519.Ed25519PublicKey)


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` is named as its issuer and its signature verifies with that key."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def is_root(certificate: x509.Certificate) -> bool:
    """Whether a certificate is self-signed: name and key identifiers are its issuer's too, and the signature its own.

    A root's own signature proves nothing, so the one by SHA-1 that old roots bear is not asked for.
    """
    if certificate.subject.public_bytes() != certificate.issuer.public_bytes():
        return False
    issuer = extension(certificate, x509.AuthorityKeyIdentifier)
    own = extension(certificate, x509.SubjectKeyIdentifier)
    if issuer is not None and issuer.key_identifier != (own and own.digest):
        return False
    return isinstance(certificate.signature_hash_algorithm, hashes.SHA1) or is_signed_by(certificate, certificate)


def limits_directory_names(certificate: x509.Certificate) -> bool:
    """Whether an authority limits the distinguished names below it, which nothing here can check."""
    return any(isinstance(base, x509.DirectoryName) for base in _subtrees(certificate))


class _Search:
    """One search among the authorities known and presented; it counts what it costs."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._presented: list[Authority] = []
        self._checked: dict[tuple[x509.Certificate, x509.Certificate], bool] = {}

    def take(self, chain: Iterable[x509.Certificate]) -> None:
        """Keep those of the presented certificates that a known authority, or one kept before, has signed."""
        waiting = list(dict.fromkeys(chain))
        while signed := [one for one in waiting if any(self._signed(one, issuer) for issuer in self._issuers(one))]:
            self._presented += [Authority.of(one) for one in signed if not self._is_known(one)]
            waiting = [one for one in waiting if one not in signed]

    def paths(self, path: tuple[x509.Certificate, ...], taken: tuple[Authority, ...] = ()) -> Iterator[Path]:
        """Every path above the last certificate of `path`, the shortest branches first."""
        for issuer in self._issuers(path[-1]):
            # INVARIANT: no name and key twice, so the search cannot run in circles.
            if issuer.signer in [authority.signer for authority in taken] or not self._signed(path[-1], issuer):
                continue
            if issuer.is_root:
                yield _path((*path, issuer.certificate))
            elif len(taken) < MAX_CHAIN:
                yield from self.paths((*path, issuer.certificate), (*taken, issuer))

    def _issuers(self, certificate: x509.Certificate) -> list[Authority]:
        name = certificate.issuer.public_bytes()
        return [*self._known.get(name, ()), *(one for one in self._presented if one.name == name)]

    def _is_known(self, certificate: x509.Certificate) -> bool:
        held = self._known.get(certificate.subject.public_bytes(), ())
        return certificate in [authority.certificate for authority in held]

    def _signed(self, certificate: x509.Certificate, issuer: Authority) -> bool:
        pair = (certificate, issuer.certificate)
        if pair not in self._checked:
            if len(self._checked) >= MAX_SIGNATURES:
                raise PathInvalid("Too many authorities share one name.")
            self._checked[pair] = is_signed_by(*pair)
        return self._checked[pair]


def _refuse_size(leaf: bytes, chain: Sequence[bytes]) -> None:
    sizes = [len(leaf), *map(len, chain)]
    if len(chain) > MAX_CHAIN or max(sizes) > MAX_CERTIFICATE or sum(sizes) > MAX_TOTAL:
        raise PathInvalid("The certificate, or what was presented with it, is too large.")


def _read(der: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(der)


def _first_valid(
    client: x509.Certificate, search: _Search, presented: Iterable[x509.Certificate], now: datetime
) -> Path:
    search.take(presented)
    last = PathInvalid("No path leads from the certificate to an authority that this node trusts.")
    for number, path in enumerate(search.paths((client,))):
        if number >= MAX_PATHS:
            break
        try:
            _judge(path, now)
        except PathInvalid as error:
            last = error
        else:
            return path
    raise last


def _path(certificates: tuple[x509.Certificate, ...]) -> Path:
    return Path(
        certificates,
        not_before=max(certificate.not_valid_before_utc for certificate in certificates),
        not_after=min(certificate.not_valid_after_utc for certificate in certificates),
    )


def _judge(path: Path, now: datetime) -> None:
    client, *authorities = path.certificates
    if not path.not_before <= now <= path.not_after:
        is_client = not client.not_valid_before_utc <= now <= client.not_valid_after_utc
        raise PathInvalid(f"{'The certificate' if is_client else 'An authority above it'} is not valid at this time.")
    if any(certificate.serial_number <= 0 for certificate in path.certificates[:-1]):
        raise PathInvalid("A serial number on its path is not positive.")
    _refuse_client(client)
    _refuse_names(path)
    verifier = (
        PolicyBuilder()
        .store(Store([authorities[-1]]))
        .time(now)
        .max_chain_depth(MAX_CHAIN)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=_CLIENT_POLICY)
        .build_client_verifier()
    )
    try:
        verifier.verify(client, authorities[:-1])
    except VerificationError as error:
        said = str(error)
        told = (text for words, text in _REASONS if words in said)
        raise PathInvalid(next(told, "A certificate on its path does not follow the standard.")) from None


def _refuse_client(client: x509.Certificate) -> None:
    if not is_usable(client.public_key()):
        raise PathInvalid("The certificate's key is too short, or of a kind that is not accepted.")
    usage = extension(client, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise PathInvalid("The certificate's key may not sign (key usage digitalSignature).")
    purposes = extension(client, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise PathInvalid("The certificate is not meant for clients (extended key usage clientAuth).")
    names = extension(client, x509.SubjectAlternativeName)
    if names is None and not client.subject.rdns:
        raise PathInvalid("The certificate names nobody.")


def _refuse_names(path: Path) -> None:
    """Refuse names beyond number, and limits on names that the library passes over.

    It refuses limits on directory names where the extension is critical only, and knows of the subject's mail address
    nothing at all (RFC 5280 §4.2.1.10 has it checked where there is no alternative name of that kind).
    """
    client, *authorities = path.certificates
    has_mail = bool(client.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS))
    # The library compares every name with every limit above it: both are bounded, or a request could cost seconds.
    if any(len(list(extension(one, x509.SubjectAlternativeName) or ())) > MAX_NAMES for one in path.certificates):
        raise PathInvalid(f"A certificate on its path holds more than {MAX_NAMES} names.")
    for authority in authorities:
        limits = _subtrees(authority)
        if len(limits) > MAX_LIMITS:
            raise PathInvalid(f"An authority above it limits more than {MAX_LIMITS} names.")
        if limits_directory_names(authority) or (
            has_mail and any(isinstance(base, x509.RFC822Name) for base in limits)
        ):
            raise PathInvalid("An authority above it limits names in a way that this node cannot check.")


def _subtrees(certificate: x509.Certificate) -> list[x509.GeneralName]:
    limits = extension(certificate, x509.NameConstraints)
    if limits is None:
        return []
    return [*(limits.permitted_subtrees or ()), *(limits.excluded_subtrees or ())]


def extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    """The value of an extension, or None. Raises one of `UNREADABLE`."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
