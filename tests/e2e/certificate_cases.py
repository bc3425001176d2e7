"""Certificates that a node must refuse, each with one flaw, and the authorities that it trusts.

Every case is what a client (or a proxy) shows: a holder of a certificate and key, with the chain above it. Where the
point isn't the signature, the flawed certificate is signed by the trusted authority itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tests.unit.app.trust import pki
from tests.unit.app.trust.pki import ANY_USAGE, SERVER_AUTH, Holder

NAME = "hz-hrss-benefits.clients.hangzhou.example"
OTHER = "hz-hrss-review.clients.hangzhou.example"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIFE = (NOW - DAY, NOW + 30 * DAY)
WHOLE = {"life": LIFE}


@dataclass(frozen=True)
class World:
    """Trusted: `root` and `issuing` below it, and what stands beside them in the file; `foreign` is not.

    `retired` is an authority in the file that has expired, `revoked` one that the root has revoked, `silent` one
    without a revocation list, `narrow` one that may issue for other names only, `shallow` one that may have no
    authority below it, `mute` one that says it may not issue (known to the client alone).
    """

    root: Holder
    issuing: Holder
    retired: Holder
    revoked: Holder
    silent: Holder
    narrow: Holder
    shallow: Holder
    foreign: Holder

    @classmethod
    def made(cls) -> World:
        root = pki.root("Trusted root", **WHOLE)
        below = partial(pki.below, root)
        return cls(
            root=root,
            issuing=below("Trusted issuing", **WHOLE),
            retired=below("Retired", life=(NOW - 30 * DAY, NOW - DAY)),
            revoked=below("Revoked", **WHOLE),
            silent=below("Silent", **WHOLE),
            narrow=below("Narrow", permitted=(x509.DNSName("clients.ningbo.example"),), **WHOLE),
            shallow=below("Shallow", path_length=0, **WHOLE),
            foreign=pki.root("Foreign root", **WHOLE),
        )

    @property
    def trusted(self) -> bytes:
        """The file of authorities that the node is given."""
        known = (self.root, self.issuing, self.retired, self.revoked, self.silent, self.narrow, self.shallow)
        return b"".join(holder.pem for holder in known)

    def good(self, name: str = NAME, **plan: Any) -> Holder:
        """A certificate of the client of that name by the trusted issuing authority."""
        return client(self.issuing, name, **plan)


def client(authority: Holder, name: str = NAME, **plan: Any) -> Holder:
    """A client's certificate for a registered name, by any authority."""
    return pki.leaf(authority, "client", **{"names": (x509.DNSName(name),), "life": LIFE, **plan})


Case = Callable[[World], Holder]


def _resigned(world: World, holder: Holder, *edits: Any, **options: Any) -> Holder:
    der = pki.resigned(holder.der, world.issuing.key, *edits, **options)
    with warnings.catch_warnings():
        # The library reads serial numbers that are not positive, and warns.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return replace(holder, certificate=x509.load_der_x509_certificate(der))


def _flipped(world: World) -> Holder:
    good = world.good()
    return replace(good, certificate=x509.load_der_x509_certificate(pki.flipped(good.der)))


def _below_a_leaf(world: World) -> Holder:
    return client(world.good(OTHER))


def _of_one_name(world: World) -> Holder:
    """An authority of the attacker's own under the name of the trusted one."""
    return client(pki.below(world.foreign, "Trusted issuing", **WHOLE))


def _of_one_root(world: World) -> Holder:
    return client(pki.root("Trusted root", **WHOLE))


def _by(world: World, **plan: Any) -> Holder:
    """Under an authority that the trusted one made, with this flaw, and the client brings along."""
    return client(pki.below(world.issuing, "Below", **{**WHOLE, **plan}))


def _too_deep(world: World) -> Holder:
    return client(pki.below(world.shallow, "Too deep", **WHOLE))


def _with_extension(world: World, *, critical: bool) -> Holder:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.156.10260.4.1.9"), b"\x05\x00")
    return world.good(extra=((unknown, critical),))


def fetching(world: World, url: str) -> Holder:
    """A foreign certificate that says where to fetch its issuer, its lists and its status."""
    place = x509.UniformResourceIdentifier(url)
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, place),
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place),
        ]
    )
    return client(world.foreign, points=(url,), extra=((access, False),))


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


CASES: Mapping[str, Case] = {
    "expired": lambda world: world.good(life=(NOW - 2 * DAY, NOW - HOUR)),
    "not valid yet": lambda world: world.good(life=(NOW + HOUR, NOW + DAY)),
    "self-signed": lambda world: pki.root(
        "client", ca=False, usage=pki.SIGNS, purposes=(pki.CLIENT_AUTH,), names=(x509.DNSName(NAME),), **WHOLE
    ),
    "self-signed as an authority": lambda world: pki.root("client", names=(x509.DNSName(NAME),), **WHOLE),
    "of a foreign root": lambda world: client(world.foreign),
    "of a foreign root with the trusted root's name": _of_one_root,
    "of a foreign authority with the trusted one's name": _of_one_name,
    "of a foreign authority that is brought along": lambda world: client(pki.below(world.foreign, "Other", **WHOLE)),
    "signature with one bit turned over": _flipped,
    "signed by a key that is not the issuer's": lambda world: world.good(signed_by=pki.new_key("p256", 9)),
    "issuer's name is another": lambda world: world.good(issuer=pki.name("Nobody")),
    "signed by another client": _below_a_leaf,
    "of an authority that is none": lambda world: _by(world, ca=False, usage=pki.SIGNS),
    "of an authority without basicConstraints": lambda world: _by(world, ca=None),
    "of an authority that may not issue": lambda world: _by(world, usage=("crl_sign",)),
    "of an authority too deep": _too_deep,
    "of an authority that has expired": lambda world: client(world.retired),
    "of an authority that is revoked": lambda world: client(world.revoked),
    "of an authority without a list": lambda world: client(world.silent),
    "of an authority for other names": lambda world: client(world.narrow),
    "of an authority that issues for servers": lambda world: _by(world, purposes=(SERVER_AUTH,)),
    "revoked": lambda world: world.good(serial=4_001),
    "revoked for the time being": lambda world: world.good(serial=4_002),
    "without extended key usage": lambda world: world.good(purposes=None),
    "for servers": lambda world: world.good(purposes=(SERVER_AUTH,)),
    "for any usage": lambda world: world.good(purposes=(ANY_USAGE,)),
    "for mail": lambda world: world.good(purposes=(ExtendedKeyUsageOID.EMAIL_PROTECTION,)),
    "for signing code": lambda world: world.good(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)),
    "key usage without digitalSignature": lambda world: world.good(usage=("key_agreement",)),
    "an authority itself": lambda world: world.good(ca=True, usage=(*pki.SIGNS, *pki.ISSUES)),
    "critical extension that nobody knows": lambda world: _with_extension(world, critical=True),
    "RSA key of 1,024 bits": lambda world: world.good(key="rsa1024"),
    "key on a curve that is not accepted": lambda world: world.good(key="k256"),
    "SHA-1 signature": lambda world: _resigned(world, world.good(), digest=hashes.SHA1()),
    "serial number of zero": lambda world: _resigned(world, world.good(), pki.replaced(1, b"\x02\x01\x00")),
    "negative serial number": lambda world: _resigned(world, world.good(), pki.replaced(1, b"\x02\x01\xff")),
    "name of nobody registered": lambda world: world.good("nobody.clients.hangzhou.example"),
    "names of two clients": lambda world: world.good(names=(x509.DNSName(NAME), x509.DNSName(OTHER))),
    "wildcard": lambda world: world.good("*.clients.hangzhou.example"),
    "name in capitals": lambda world: world.good(NAME.upper()),
    "name with a dot at its end": lambda world: world.good(f"{NAME}."),
    "name with something before it": lambda world: world.good(f"x{NAME}"),
    "name below the name": lambda world: world.good(f"x.{NAME}"),
    "name as a URI": lambda world: world.good(names=(x509.UniformResourceIdentifier(NAME),)),
    "name in the subject alone": lambda world: world.good(subject=_subject(NAME), names=()),
    "name as a mail address": lambda world: world.good(names=(x509.RFC822Name(f"a@{NAME}"),)),
    "of a client that is suspended": lambda world: world.good("hz-tax-levy.clients.hangzhou.example"),
    "key that is not the registered one": lambda world: world.good(OTHER),
}
