from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from app.trust import crl
from app.trust.crl import ListUnusable, ReadList, Scope, Stated
from tests.unit.app.trust.pki import (
    DAY,
    NOW,
    PRIVATE_OID,
    SHA1_RSA,
    SM2_KEY,
    Holder,
    as_pem,
    below,
    elements,
    flipped,
    issuing_point,
    leaf,
    name,
    new_key,
    removed,
    replaced,
    resigned,
    revocation_list,
    root,
    sequence,
    urls,
)

ROOT = root(key="rsa2048")
ISSUING = below(ROOT)
CLIENT = leaf(ISSUING)
HERE, THERE = "http://ca.example/1.crl", "http://ca.example/2.crl"
MINUTE = timedelta(minutes=1)
SM2 = bytes.fromhex("300a06082a811ccf55018375")  # SM2 with SM3, which `cryptography` does not know
SHA384 = bytes.fromhex("300d06092a864886f70d01010c0500")


def one(content: bytes) -> ReadList:
    [found] = crl.read(content)
    assert isinstance(found, ReadList), found
    return found


def why(content: bytes) -> str:
    [found] = crl.read(content)
    assert isinstance(found, ListUnusable), found
    return str(found)


def point(**said: object) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """A list's issuing distribution point that says one thing more."""
    plain: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return ((x509.IssuingDistributionPoint(**(plain | said)), True),)  # type: ignore[arg-type]


def test_empty_list_names_nobody() -> None:
    assert one(revocation_list(ISSUING)).serials() == frozenset()


def test_list_says_whose_it_is_and_when_it_holds() -> None:
    stated = one(revocation_list(ISSUING, CLIENT, number=7)).stated
    assert stated == Stated(
        ISSUING.certificate.subject.public_bytes(), Scope(), 7, NOW - timedelta(hours=1), NOW + DAY
    )


def test_list_is_read_as_der_and_as_pem() -> None:
    der = revocation_list(ISSUING, CLIENT, 5)
    expected = {CLIENT.certificate.serial_number, 5}
    assert one(der).serials() == one(as_pem(der)).serials() == expected
    assert one(as_pem(der)).der == der


def test_file_holds_several_lists_and_one_bad_one_spoils_no_other() -> None:
    delta = revocation_list(ISSUING, extra=((x509.DeltaCRLIndicator(1), True),))
    content = b"# ours\n" + as_pem(revocation_list(ROOT)) + as_pem(delta) + b"\n" + as_pem(revocation_list(ISSUING))
    found = list(crl.read(content))
    assert [type(item) for item in found] == [ReadList, ListUnusable, ReadList]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404</html>",
        b"\x30",
        b"\x30\x80\x00\x00",
        b"\x30\x82\xff\xff",
        as_pem(revocation_list(ISSUING))[:-20],
        as_pem(revocation_list(ISSUING)).replace(b"M", b"*"),
        revocation_list(ISSUING) + b"\0",
        revocation_list(ISSUING)[:-1],
        CLIENT.der,
        CLIENT.pem,
    ],
    ids=range(11),
)
def test_what_is_no_list_is_not_used(content: bytes) -> None:
    assert "revocation list" in why(content)


def test_half_a_list_behind_a_whole_one_is_told() -> None:
    whole = as_pem(revocation_list(ISSUING))
    assert [type(item) for item in crl.read(whole + whole[:100])] == [ListUnusable, ReadList]


def twice(wrapped: bytes) -> bytes:
    """The extensions of a list, with the first one once more."""
    [extensions] = elements(wrapped)
    parts = elements(extensions)
    return sequence([sequence([*parts, parts[0]])], 0xA0)


UNUSABLE = {
    "no nextUpdate": (resigned(revocation_list(ISSUING), ISSUING.key, removed(4)), "no nextUpdate"),
    "delta": (revocation_list(ISSUING, extra=((x509.DeltaCRLIndicator(1), True),)), "delta"),
    "delta, not critical": (revocation_list(ISSUING, extra=((x509.DeltaCRLIndicator(1), False),)), "delta"),
    "indirect": (revocation_list(ISSUING, extra=((issuing_point(indirect=True), True),)), "indirect"),
    "some reasons": (
        revocation_list(ISSUING, extra=point(only_some_reasons=frozenset({x509.ReasonFlags.key_compromise}))),
        "some reasons only",
    ),
    "attribute certificates": (
        revocation_list(ISSUING, extra=((issuing_point(attributes=True), True),)),
        "attribute certificates only",
    ),
    "relative name": (revocation_list(ISSUING, extra=point(relative_name=name("x").rdns[0])), "named relative"),
    "unknown critical extension": (
        revocation_list(ISSUING, extra=((x509.UnrecognizedExtension(PRIVATE_OID, b"\x05\x00"), True),)),
        "critical extension that is not known",
    ),
    "SHA-1": (
        resigned(revocation_list(ROOT), ROOT.key, replaced(1, SHA1_RSA), algorithm=SHA1_RSA, digest=hashes.SHA1()),
        "signature is of a kind",
    ),
    "Ed25519": (revocation_list(root("Ed25519", key="ed25519")), "signature is of a kind"),
    "SM2 with SM3": (
        resigned(revocation_list(ROOT), ROOT.key, replaced(1, SM2), algorithm=SM2),
        "signature is of a kind",
    ),
    "algorithm outside other than the one inside": (
        resigned(revocation_list(ROOT), ROOT.key, algorithm=SHA384, digest=hashes.SHA384()),
        "cannot be read",
    ),
    "number twice": (
        resigned(
            revocation_list(ISSUING),
            ISSUING.key,
            lambda parts: [*parts[:-1], twice(parts[-1])],
        ),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_list_that_is_not_understood_is_not_used(case: str) -> None:
    content, words = UNUSABLE[case]
    assert words in why(content)


def test_unknown_extension_that_is_not_critical_is_passed_over() -> None:
    assert one(revocation_list(ISSUING, extra=((x509.UnrecognizedExtension(PRIVATE_OID, b"\x05\x00"), False),)))


@pytest.mark.parametrize("reason", [flag for flag in x509.ReasonFlags if flag is not x509.ReasonFlags.unspecified])
def test_every_named_certificate_counts_whatever_the_reason(reason: x509.ReasonFlags) -> None:
    """A certificate on hold is revoked until a list without it is in force."""
    assert one(revocation_list(ISSUING, 5, reason=reason)).serials() == {5}


@pytest.mark.parametrize(
    "extension",
    [
        (x509.UnrecognizedExtension(PRIVATE_OID, b"\x05\x00"), True),
        (x509.CertificateIssuer([x509.DirectoryName(name("Other"))]), True),
        (x509.CertificateIssuer([x509.DirectoryName(name("Other"))]), False),
    ],
)
def test_entry_that_is_not_understood_spoils_the_list(extension: tuple[x509.ExtensionType, bool]) -> None:
    """An entry of an indirect list may be about another issuer's certificate."""
    with pytest.raises(ListUnusable, match="critical extension"):
        one(revocation_list(ISSUING, 5, entry_extra=(extension,))).serials()


def test_entry_extension_that_is_not_critical_is_passed_over() -> None:
    extra = ((x509.UnrecognizedExtension(PRIVATE_OID, b"\x05\x00"), False), (x509.InvalidityDate(NOW), True))
    assert one(revocation_list(ISSUING, 5, entry_extra=extra)).serials() == {5}


def test_entry_that_cannot_be_read_spoils_the_list() -> None:
    reason = x509.UnrecognizedExtension(x509.CRLReason.oid, b"\x0a\x01\x63")
    with pytest.raises(ListUnusable, match="cannot be read"):
        one(revocation_list(ISSUING, 5, entry_extra=((reason, False),))).serials()


def test_signature_is_that_of_the_issuers_key() -> None:
    found = one(revocation_list(ISSUING, CLIENT))
    assert found.is_signed_by(ISSUING.certificate)
    assert not found.is_signed_by(below(ROOT).certificate)
    assert not found.is_signed_by(ROOT.certificate), "a key of another kind"
    assert not found.is_signed_by(leaf(ISSUING, key="k256").certificate)


def test_signature_is_not_that_of_a_key_that_is_not_known_here() -> None:
    holder = x509.load_der_x509_certificate(resigned(ISSUING.der, ROOT.key, replaced(6, SM2_KEY)))
    assert not one(revocation_list(ISSUING)).is_signed_by(holder)


def test_list_with_a_bit_turned_over_is_not_signed() -> None:
    assert not one(flipped(revocation_list(ISSUING, CLIENT))).is_signed_by(ISSUING.certificate)
    other = revocation_list(ISSUING, CLIENT, signed_by=new_key("p256", 5))
    assert not one(other).is_signed_by(ISSUING.certificate)


AUTHORITY = below(ROOT, "Covered", points=(HERE,))
USER = leaf(ROOT, "covered", points=(HERE, THERE))


def covers(holder: Holder, **said: bool) -> bool:
    places = (HERE,) if said.pop("here", False) else ()
    content = revocation_list(ROOT, extra=((issuing_point(*places, **said), True),))
    return one(content).stated.scope.covers(holder.certificate)


def test_list_without_scope_covers_everything_of_its_issuer() -> None:
    scope = one(revocation_list(ROOT)).stated.scope
    assert scope.covers(AUTHORITY.certificate)
    assert scope.covers(USER.certificate)
    assert scope.covers(leaf(ROOT, ca=None).certificate)


def test_list_of_user_certificates_covers_no_authority() -> None:
    assert covers(USER, users=True)
    assert covers(leaf(ROOT, ca=None), users=True)
    assert not covers(AUTHORITY, users=True)


def test_list_of_authorities_covers_no_user_certificate() -> None:
    assert covers(AUTHORITY, authorities=True)
    assert not covers(USER, authorities=True)
    assert not covers(leaf(ROOT, ca=None), authorities=True)


def test_list_of_a_distribution_point_covers_the_certificates_that_name_it() -> None:
    assert covers(USER, here=True)
    assert not covers(leaf(ROOT), here=True)
    assert not covers(leaf(ROOT, points=(THERE,)), here=True)
    assert not covers(AUTHORITY, here=True, users=True)


@pytest.mark.parametrize("written", [HERE + "/", HERE.upper(), "https" + HERE[4:], HERE + "?"])
def test_distribution_points_are_compared_exactly(written: str) -> None:
    assert not covers(leaf(ROOT, points=(written,)), here=True)


def test_distribution_point_of_another_issuer_does_not_count() -> None:
    foreign = x509.DistributionPoint(urls(HERE), None, None, [x509.DirectoryName(name("Other"))])
    nameless = x509.DistributionPoint(None, None, None, [x509.DirectoryName(name("Other"))])
    holder = leaf(ROOT, extra=((x509.CRLDistributionPoints([foreign, nameless]), False),))
    assert not covers(holder, here=True)


def stated(number: int | None, hours: int) -> Stated:
    begun = NOW + timedelta(hours=hours)
    return Stated(b"", Scope(), number, begun, begun + DAY)


@pytest.mark.parametrize(
    ("new", "old", "is_newer"),
    [
        ((2, 0), (1, 0), True),
        ((1, 0), (2, 0), False),
        ((2, 0), (1, 5), True),
        ((1, 5), (2, 0), False),
        ((1, 0), (1, 0), False),
        ((1, 1), (1, 0), True),
        ((None, 1), (None, 0), True),
        ((None, 0), (None, 0), False),
        ((None, 1), (9, 0), True),
        ((None, 0), (9, 1), False),
        ((1, 1), (None, 0), True),
        ((1, 0), (None, 1), False),
    ],
)
def test_number_decides_then_thisupdate(
    new: tuple[int | None, int],
    old: tuple[int | None, int],
    is_newer: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert stated(*new).is_newer(stated(*old)) is is_newer


def test_no_two_lists_replace_each_other() -> None:
    every = [stated(number, hours) for number, hours in product((None, 1, 2), (0, 1))]
    assert not any(new.is_newer(old) and old.is_newer(new) for new, old in product(every, every))


def test_list_begins_a_minute_before_thisupdate_at_the_earliest() -> None:
    found = stated(1, 0)
    assert found.has_begun(NOW - MINUTE)
    assert not found.has_begun(NOW - MINUTE - timedelta(seconds=1))


def test_list_ends_with_nextupdate_and_its_grace() -> None:
    found, grace = stated(1, 0), timedelta(hours=1)
    assert found.is_current(found.next_update + grace, grace)
    assert not found.is_current(found.next_update + grace + timedelta(seconds=1), grace)
    assert not found.is_current(found.next_update + timedelta(seconds=1), timedelta())
    assert not found.is_current(NOW - 2 * MINUTE, grace)
