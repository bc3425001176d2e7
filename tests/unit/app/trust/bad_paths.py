"""Certificates that no path to a trusted root leads to, each with one flaw, named for it.

Each case makes the client's certificate and what is presented with it; the node is given `ROOT`, `ISSUING` and
`RSA_ISSUING`, and the words are part of what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.trust.path import MAX_LIMITS, MAX_NAMES
from tests.unit.app.trust.pki import (
    ANY_USAGE,
    MD5_RSA,
    PRIVATE_OID,
    SERVER_AUTH,
    SHA1_RSA,
    SM2_KEY,
    Holder,
    below,
    elements,
    flipped,
    leaf,
    name,
    new_key,
    replaced,
    resigned,
    root,
    sequence,
    urls,
)

ROOT = root(key="p256")
ISSUING = below(ROOT)
RSA_ISSUING = below(ROOT, "Issuing by RSA", key="rsa2048")
SLOW_KEY = (
    rsa.RSAPublicNumbers(2**33 + 1, RSA_ISSUING.certificate.public_key().public_numbers().n)  # type: ignore[union-attr]
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
)
UNKNOWN = x509.UnrecognizedExtension(PRIVATE_OID, b"\x05\x00")
OTHER_UNIT = x509.DirectoryName(name("Sub", organisation="Elsewhere"))


def line(length: int, **plan: object) -> list[Holder]:
    """So many authorities below the root, each below the one before."""
    found: list[Holder] = []
    for number in range(length):
        found.append(below(found[-1] if found else ROOT, f"Level {number}", **plan))
    return found


def signed_by_sha1(holder: Holder, authority: Holder) -> bytes:
    return resigned(holder.der, authority.key, replaced(2, SHA1_RSA), algorithm=SHA1_RSA, digest=hashes.SHA1())


def signed_by_md5(holder: Holder, authority: Holder) -> bytes:
    return resigned(holder.der, authority.key, replaced(2, MD5_RSA), algorithm=MD5_RSA, digest=hashes.MD5())


Bad: TypeAlias = "Callable[[], tuple[Holder | bytes, Sequence[Holder | bytes]]]"


def under(authority: Holder, **plan: object) -> tuple[Holder, Sequence[Holder]]:
    """A client of an authority that is presented."""
    return leaf(authority, "benefits", **plan), [authority]


def presented_as(authority: Holder, changed: bytes) -> tuple[Holder, Sequence[bytes]]:
    """A client of an authority whose certificate is presented in a changed form."""
    return leaf(authority), [changed]


NO_PATH = "No path leads"
UNREADABLE = "cannot be read"
NO_AUTHORITY = "not that of an authority"
TOO_LARGE = "too large"
WEAK_SIGNATURE = "algorithm that is not accepted"
NOT_FOR_CLIENTS = "not meant for clients"
NAMES = "may not issue for such names"
CANNOT_CHECK = "limits names in a way that this node cannot check"
CRITICAL = "critical extension that this node does not know"

SIGNATURES: dict[str, tuple[Bad, str]] = {
    "bit of the signature turned over": (lambda: (flipped(leaf(ISSUING).der), ()), NO_PATH),
    "bit of the serial number turned over": (lambda: (flipped(leaf(ISSUING).der, 20), ()), NO_PATH),
    "signed by a stranger in the authority's name": (
        lambda: (leaf(ISSUING, signed_by=new_key("p256", 9)), ()),
        NO_PATH,
    ),
    "signed by the authority in a stranger's name": (lambda: (leaf(ISSUING, issuer=name("Stranger")), ()), NO_PATH),
    "signed by the client itself": (lambda: (leaf(root("Self")), ()), NO_PATH),
    "foreign root presented": (lambda: under(root("Foreign")), NO_PATH),
    "foreign root of the trusted one's name": (lambda: under(root("Root")), NO_PATH),
    "foreign authority of the trusted one's name": (lambda: under(below(root("Foreign"))), NO_PATH),
    "authority not presented": (lambda: (leaf(below(ROOT, "Withheld")), ()), NO_PATH),
    "authority in between not presented": (lambda: (leaf((one := line(2))[1]), [one[1]]), NO_PATH),
    "authority with a signature turned over": (
        lambda: presented_as(one := below(ROOT, "Turned"), flipped(one.der)),
        NO_PATH,
    ),
    "client signed with SHA-1": (lambda: (signed_by_sha1(leaf(RSA_ISSUING), RSA_ISSUING), ()), NO_PATH),
    "client signed with MD5": (lambda: (signed_by_md5(leaf(RSA_ISSUING), RSA_ISSUING), ()), NO_PATH),
    "authority signed with SHA-1": (
        lambda: presented_as(one := below(RSA_ISSUING, "Weak"), signed_by_sha1(one, RSA_ISSUING)),
        NO_PATH,
    ),
    "algorithm outside other than the one inside": (
        lambda: (resigned(leaf(ISSUING).der, ISSUING.key, algorithm=elements(leaf(RSA_ISSUING).der)[1]), ()),
        NO_PATH,
    ),
}

CLIENTS: dict[str, tuple[Bad, str]] = {
    "for servers": (lambda: (leaf(ISSUING, purposes=(SERVER_AUTH,)), ()), NOT_FOR_CLIENTS),
    "for any purpose": (lambda: (leaf(ISSUING, purposes=(ANY_USAGE,)), ()), NOT_FOR_CLIENTS),
    "without extended key usage": (lambda: (leaf(ISSUING, purposes=None), ()), NOT_FOR_CLIENTS),
    "key for encryption": (lambda: (leaf(ISSUING, usage=("key_encipherment",)), ()), "may not sign"),
    "key for key agreement": (lambda: (leaf(ISSUING, usage=("key_agreement",)), ()), "may not sign"),
    "authority as a client": (
        lambda: (leaf(ISSUING, ca=True, usage=("digital_signature", "key_cert_sign")), ()),
        "that of an authority, not of a client",
    ),
    "client that may sign certificates": (
        lambda: (leaf(ISSUING, usage=("digital_signature", "key_cert_sign")), ()),
        "that of an authority, not of a client",
    ),
    "root as a client": (lambda: (ROOT, ()), "may not sign|No path"),
    "client with limits on names": (
        lambda: (leaf(ISSUING, permitted=(x509.DNSName("clients.example"),)), ()),
        "does not follow the standard",
    ),
    "unknown critical extension": (lambda: (leaf(ISSUING, extra=((UNKNOWN, True),)), ()), CRITICAL),
    "critical certificate policies": (
        lambda: (
            leaf(
                ISSUING,
                extra=((x509.CertificatePolicies([x509.PolicyInformation(PRIVATE_OID, None)]), True),),
            ),
            (),
        ),
        CRITICAL,
    ),
    "RSA of 1024 bits": (lambda: (leaf(ISSUING, key="rsa1024"), ()), "key is too short"),
    "RSA with an exponent that takes long": (
        lambda: (resigned(leaf(ISSUING).der, ISSUING.key, replaced(6, SLOW_KEY)), ()),
        "kind that is not accepted",
    ),
    "curve that is not accepted": (lambda: (leaf(ISSUING, key="k256"), ()), "kind that is not accepted"),
    "nobody": (lambda: (leaf(ISSUING, subject=x509.Name([]), names=()), ()), "names nobody"),
    "too many names": (
        lambda: (leaf(ISSUING, names=tuple(x509.DNSName(f"{n}.example") for n in range(MAX_NAMES + 1))), ()),
        "more than 50 names",
    ),
}

AUTHORITIES: dict[str, tuple[Bad, str]] = {
    "client as an authority": (lambda: under(leaf(ISSUING, "issuer")), NO_AUTHORITY),
    "basicConstraints says no": (lambda: under(below(ROOT, "No", ca=False)), NO_AUTHORITY),
    "no basicConstraints": (lambda: under(below(ROOT, "None", ca=None)), NO_AUTHORITY),
    "basicConstraints not critical": (
        lambda: under(below(ROOT, "Lax", basic_critical=False)),
        "marked critical, or not critical, against the standard",
    ),
    "no key usage": (lambda: under(below(ROOT, "None", usage=None)), NO_AUTHORITY),
    "key usage for lists only": (lambda: under(below(ROOT, "Lists", usage=("crl_sign",))), NO_AUTHORITY),
    "for servers only": (
        lambda: under(below(ROOT, "Servers", purposes=(SERVER_AUTH,))),
        "may not issue for clients",
    ),
    "path length exceeded": (
        lambda: (leaf(low := below(top := below(ROOT, "Top", path_length=0), "Low")), [top, low]),
        "may not have so many authorities",
    ),
    "unknown critical extension": (lambda: under(below(ROOT, "Critical", extra=((UNKNOWN, True),))), CRITICAL),
    "RSA of 1024 bits": (lambda: under(below(ROOT, "Short", key="rsa1024")), "An authority's key must be"),
    "Ed25519": (lambda: under(below(ROOT, "Ed25519", key="ed25519")), "An authority's key must be"),
    "curve that is not accepted": (lambda: under(below(ROOT, "Curve", key="k256")), "An authority's key must be"),
    "key that is none": (
        lambda: presented_as(one := below(ROOT, "Keyless"), resigned(one.der, ROOT.key, replaced(6, SM2_KEY))),
        "An authority's key must be",
    ),
}
LIMITS: dict[str, tuple[Bad, str]] = {
    "name not permitted": (
        lambda: under(below(ROOT, "Limited", permitted=(x509.DNSName("other.example"),))),
        NAMES,
    ),
    "name excluded": (lambda: under(below(ROOT, "Limited", excluded=(x509.DNSName("clients.example"),))), NAMES),
    "name not permitted by the authority above": (
        lambda: (
            leaf(low := below(top := below(ROOT, "Top", permitted=(x509.DNSName("other.example"),)), "Low")),
            [top, low],
        ),
        NAMES,
    ),
    "address not permitted": (
        lambda: under(
            below(ROOT, "Limited", permitted=(x509.IPAddress(ip_network("10.0.0.0/8")),)),
            names=(x509.IPAddress(ip_address("192.0.2.1")),),
        ),
        NAMES,
    ),
    "mail not permitted": (
        lambda: under(
            below(ROOT, "Limited", permitted=(x509.RFC822Name("other.example"),)),
            names=(x509.RFC822Name("a@clients.example"),),
        ),
        NAMES,
    ),
    "mail address in the subject, under a limit on mail": (
        lambda: under(
            below(ROOT, "Limited", permitted=(x509.RFC822Name("other.example"),)),
            subject=name("benefits", mail="a@clients.example"),
        ),
        CANNOT_CHECK,
    ),
    "limit on URIs": (
        lambda: under(below(ROOT, "Limited", permitted=urls("other.example")), names=urls("https://a.example/b")),
        NAMES,
    ),
    "limit on directory names": (lambda: under(below(ROOT, "Limited", excluded=(OTHER_UNIT,))), CANNOT_CHECK),
    "limit on directory names, not critical": (
        lambda: under(below(ROOT, "Limited", extra=((x509.NameConstraints([OTHER_UNIT], None), False),))),
        CANNOT_CHECK,
    ),
    "more limits than are compared": (
        lambda: under(
            below(ROOT, "Limited", excluded=tuple(x509.DNSName(f"{n}.example") for n in range(MAX_LIMITS + 1)))
        ),
        "limits more than 200 names",
    ),
    "authority with too many names": (
        lambda: under(below(ROOT, "Many", names=tuple(x509.DNSName(f"{n}.example") for n in range(51)))),
        "more than 50 names",
    ),
}

FORMS: dict[str, tuple[Bad, str]] = {
    "nothing": (lambda: (b"", ()), UNREADABLE),
    "zeros": (lambda: (bytes(1_000), ()), UNREADABLE),
    "cut short": (lambda: (leaf(ISSUING).der[:-1], ()), UNREADABLE),
    "a byte behind": (lambda: (leaf(ISSUING).der + b"\0", ()), UNREADABLE),
    "indefinite length": (lambda: (b"\x30\x80" + leaf(ISSUING).der[4:] + b"\0\0", ()), UNREADABLE),
    "PEM": (lambda: (leaf(ISSUING).pem, ()), UNREADABLE),
    "chain that cannot be read": (lambda: (leaf(ISSUING), [b"\x30\x03\x02\x01\x01"]), UNREADABLE),
    "version 4": (
        lambda: (resigned(leaf(ISSUING).der, ISSUING.key, replaced(0, bytes.fromhex("a003020103"))), ()),
        UNREADABLE,
    ),
    "version 2": (
        lambda: (resigned(leaf(ISSUING).der, ISSUING.key, replaced(0, bytes.fromhex("a003020101"))), ()),
        UNREADABLE,
    ),
    "version 1": (
        lambda: (resigned(leaf(ISSUING).der, ISSUING.key, lambda parts: parts[1:7]), ()),
        NOT_FOR_CLIENTS,
    ),
    "extension twice": (lambda: (doubled(leaf(ISSUING)), ()), UNREADABLE),
    "serial number zero": (
        lambda: (resigned(leaf(ISSUING).der, ISSUING.key, replaced(1, b"\x02\x01\x00")), ()),
        UNREADABLE,
    ),
    "serial number below zero": (
        lambda: (resigned(leaf(ISSUING).der, ISSUING.key, replaced(1, b"\x02\x01\xff")), ()),
        UNREADABLE,
    ),
    "serial number of 21 bytes": (
        lambda: (resigned(leaf(ISSUING).der, ISSUING.key, replaced(1, b"\x02\x16\x01" + bytes(21))), ()),
        "does not follow the standard",
    ),
    "certificate of 17 KiB": (lambda: (padded(17_000), ()), TOO_LARGE),
    "chain of five": (lambda: (leaf(ISSUING), line(5)), TOO_LARGE),
    "chain of 45 KiB": (lambda: (leaf(ISSUING), [padded(15_000)] * 3), TOO_LARGE),
    "chain with a certificate of 17 KiB": (lambda: (leaf(ISSUING), [padded(17_000)]), TOO_LARGE),
}


def padded(size: int) -> Holder:
    return leaf(ISSUING, extra=((x509.UnrecognizedExtension(PRIVATE_OID, bytes(size)), False),))


def doubled(holder: Holder) -> bytes:
    """The certificate with its first extension once more."""

    def edit(parts: list[bytes]) -> list[bytes]:
        extensions = elements(elements(parts[7])[0])
        wrapped = sequence([sequence([*extensions, extensions[0]])], 0xA3)
        return [*parts[:7], wrapped]

    return resigned(holder.der, ISSUING.key, edit)


BAD_PATHS: dict[str, tuple[Bad, str]] = {
    f"{kind}: {case}": found
    for kind, cases in {
        "signature": SIGNATURES,
        "client": CLIENTS,
        "authority": AUTHORITIES,
        "limit": LIMITS,
        "form": FORMS,
    }.items()
    for case, found in cases.items()
}
