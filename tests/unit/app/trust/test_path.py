from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from ipaddress import ip_network
from itertools import permutations
from pathlib import Path as File
from typing import TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from app.trust import path as module
from app.trust.authorities import Authorities
from app.trust.path import MAX_NAMES, MAX_SIGNATURES, Authority, Path, PathInvalid
from tests.unit.app.trust.bad_paths import BAD_PATHS, ISSUING, ROOT, RSA_ISSUING, UNKNOWN, line, signed_by_sha1
from tests.unit.app.trust.pki import (
    ANY_USAGE,
    CLIENT_AUTH,
    DAY,
    LIFE,
    NOW,
    SERVER_AUTH,
    Holder,
    below,
    leaf,
    name,
    new_key,
    replaced,
    resigned,
    root,
)

Verify: TypeAlias = "Callable[..., Path]"

SECOND = timedelta(seconds=1)


@pytest.fixture
def verify(tmp_path: File) -> Verify:
    """Verify a certificate, presented with `chain`, by a node that was given `known`."""

    def verified(
        client: Holder | bytes,
        chain: Sequence[Holder | bytes] = (),
        *,
        known: Sequence[Holder | bytes] = (ROOT, ISSUING, RSA_ISSUING),
        now: datetime = NOW,
    ) -> Path:
        file = tmp_path / "authorities.pem"
        file.write_bytes(b"".join(pem_of(one) for one in known))
        return Authorities(file).verify(der_of(client), [der_of(one) for one in chain], now)

    return verified


def der_of(one: Holder | bytes) -> bytes:
    return one.der if isinstance(one, Holder) else one


def pem_of(one: Holder | bytes) -> bytes:
    return x509.load_der_x509_certificate(der_of(one)).public_bytes(Encoding.PEM)


def test_no_root_no_path(verify: Verify) -> None:
    with pytest.raises(PathInvalid, match="No path leads"):
        verify(leaf(ISSUING), known=(root("Foreign"),))


def test_path_runs_from_the_client_to_the_root(verify: Verify) -> None:
    client = leaf(ISSUING)
    found = verify(client)
    assert found.certificates == (client.certificate, ISSUING.certificate, ROOT.certificate)


def test_path_is_valid_while_all_of_it_is(verify: Verify) -> None:
    authority = below(ROOT, life=(NOW - 3 * DAY, NOW + 20 * DAY))
    client = leaf(authority, life=(NOW - 10 * DAY, NOW + 10 * DAY))
    found = verify(client, [authority])
    assert (found.not_before, found.not_after) == (NOW - 3 * DAY, NOW + 10 * DAY)


GOOD: dict[str, Callable[[], tuple[Holder, Sequence[Holder | bytes]]]] = {
    "client of the root itself": lambda: (leaf(ROOT), ()),
    "issuing authority presented": lambda: (leaf(one := below(ROOT, "Presented")), [one]),
    "root presented too": lambda: (leaf(one := below(ROOT, "Presented")), [one, ROOT]),
    "own certificate presented twice": lambda: (one := leaf(ISSUING), [one]),
    "stranger presented too": lambda: (leaf(ISSUING), [root("Stranger"), leaf(root("Other"))]),
    "no alternative name": lambda: (leaf(ISSUING, names=()), ()),
    "alternative name without subject": lambda: (leaf(ISSUING, subject=x509.Name([])), ()),
    "as many names as may be": lambda: (
        leaf(ISSUING, names=tuple(x509.DNSName(f"{n}.example") for n in range(MAX_NAMES))),
        (),
    ),
    "for clients and servers": lambda: (leaf(ISSUING, purposes=(SERVER_AUTH, CLIENT_AUTH)), ()),
    "critical extended key usage": lambda: (leaf(ISSUING, purposes_critical=True), ()),
    "no key usage": lambda: (leaf(ISSUING, usage=None), ()),
    "no basicConstraints": lambda: (leaf(ISSUING, ca=None), ()),
    "no key identifiers": lambda: (leaf(ISSUING, identifiers=False), ()),
    "private extension, not critical": lambda: (leaf(ISSUING, extra=((UNKNOWN, False),)), ()),
    "authority with a private extension": lambda: (
        leaf(one := below(ROOT, "Private", extra=((UNKNOWN, False),))),
        [one],
    ),
    "authority that names its issuer by serial number": lambda: (leaf(one := named_by_serial()), [one]),
    "authority that may issue for every purpose": lambda: (
        leaf(one := below(ROOT, "Any", purposes=(ANY_USAGE,))),
        [one],
    ),
    "authority by RSA": lambda: (leaf(RSA_ISSUING), ()),
    "authority by P-384": lambda: (leaf(one := below(ROOT, "P-384", key="p384")), [one]),
    "authority by P-521": lambda: (leaf(one := below(ROOT, "P-521", key="p521")), [one]),
    "client by RSA": lambda: (leaf(ISSUING, key="rsa2048"), ()),
    "client by P-384": lambda: (leaf(ISSUING, key="p384"), ()),
    "client by P-521": lambda: (leaf(ISSUING, key="p521"), ()),
    "client by Ed25519": lambda: (leaf(ISSUING, key="ed25519"), ()),
    "path length used up": lambda: (leaf(one := below(ROOT, "Last", path_length=0)), [one]),
    "permitted name": lambda: (
        leaf(one := below(ROOT, "Limited", permitted=(x509.DNSName("clients.example"),))),
        [one],
    ),
    "limit on names of another kind": lambda: (
        leaf(one := below(ROOT, "Limited", permitted=(x509.IPAddress(ip_network("10.0.0.0/8")),))),
        [one],
    ),
    "mail address in the subject without a limit on mail": lambda: (
        leaf(
            one := below(ROOT, "Limited", permitted=(x509.DNSName("clients.example"),)),
            subject=name("benefits", mail="a@b.example"),
        ),
        [one],
    ),
}


def named_by_serial() -> Holder:
    issuer = x509.AuthorityKeyIdentifier(
        x509.SubjectKeyIdentifier.from_public_key(ROOT.key.public_key()).digest,
        [x509.DirectoryName(ROOT.certificate.subject)],
        ROOT.certificate.serial_number,
    )
    return below(ROOT, "By serial number", identifiers=False, extra=((issuer, False),))


@pytest.mark.parametrize("case", GOOD)
def test_good_path_is_found(verify: Verify, case: str) -> None:
    client, chain = GOOD[case]()
    assert verify(client, chain).certificates[0] == client.certificate


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_order_of_the_presented_does_not_matter(verify: Verify, order: tuple[int, ...]) -> None:
    levels = line(3)
    assert len(verify(leaf(levels[-1]), [levels[place] for place in order]).certificates) == 5


def test_path_has_four_authorities_below_the_root_at_most(verify: Verify) -> None:
    levels = line(5)
    assert len(verify(leaf(levels[3]), levels[:4]).certificates) == 6
    with pytest.raises(PathInvalid, match="No path leads"):
        verify(leaf(levels[4]), levels[:4], known=(ROOT, levels[4]))


def test_root_signed_by_sha1_is_a_root(verify: Verify) -> None:
    """What a root says of itself proves nothing, so its signature need not be strong."""
    old = root("Old", key="rsa2048")
    authority = below(old)
    assert verify(leaf(authority), [authority], known=[signed_by_sha1(old, old)])


def test_other_path_is_taken_when_the_first_is_over(verify: Verify) -> None:
    """Two roots have certified one authority; the certificate under the older root has run out."""
    other = root("Other root")
    over = below(ROOT, "Cross", key="p256", life=(NOW - 9 * DAY, NOW - DAY))
    good = below(other, "Cross", key="p256")
    for chain in ([over, good], [good, over]):
        assert verify(leaf(good), chain, known=(ROOT, other)).certificates[-1] == other.certificate


def test_new_key_of_a_root_is_trusted_through_the_old_one(verify: Verify) -> None:
    """RFC 4210 §4.4: a root that changes its key certifies the new one with the old."""
    changed = below(ROOT, "Root", key=new_key("p256", 1))
    found = verify(leaf(changed), [changed])
    assert found.certificates[1:] == (changed.certificate, ROOT.certificate)


@pytest.mark.parametrize("moment", [LIFE[0], LIFE[1], LIFE[1].astimezone()])
def test_first_and_last_second_are_valid(verify: Verify, moment: datetime) -> None:
    assert verify(leaf(ISSUING), now=moment)


@pytest.mark.parametrize("moment", [LIFE[0] - SECOND, LIFE[1] + SECOND, LIFE[1] + SECOND / 1_000])
@pytest.mark.parametrize("over", ["client", "authority", "root"])
def test_no_part_of_the_path_may_be_over_or_not_begun(verify: Verify, over: str, moment: datetime) -> None:
    long = (NOW - 100 * DAY, NOW + 100 * DAY)
    top = root("Top", key="p384", life=LIFE if over == "root" else long)
    authority = below(top, life=LIFE if over == "authority" else long)
    client = leaf(authority, life=LIFE if over == "client" else long)
    words = "The certificate is not valid" if over == "client" else "An authority above it is not valid"
    with pytest.raises(PathInvalid, match=words):
        verify(client, [authority], known=[top], now=moment)


@pytest.mark.parametrize("case", BAD_PATHS)
def test_bad_path_is_refused(verify: Verify, case: str) -> None:
    made, words = BAD_PATHS[case]
    client, chain = made()
    with pytest.raises(PathInvalid, match=words) as refused:
        verify(client, chain)
    # INVARIANT: the text goes to whoever asked, so it quotes nothing of what was presented.
    assert not any(said in str(refused.value) for said in ("benefits", "Hecha tests", "CN=", "1.2.156"))
    assert refused.value.__cause__ is None
    assert verify(leaf(ISSUING)), "a good certificate right after it"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@pytest.mark.parametrize("serial", [b"\x02\x01\x00", b"\x02\x01\xff"])
def test_serial_number_must_be_positive_where_the_library_only_warns(verify: Verify, serial: bytes) -> None:
    with pytest.raises(PathInvalid, match="serial number on its path is not positive"):
        verify(resigned(leaf(ISSUING).der, ISSUING.key, replaced(1, serial)))


def test_authority_in_the_file_is_no_root_by_itself(verify: Verify) -> None:
    """As in OpenSSL without partial chains."""
    with pytest.raises(PathInvalid, match="No path leads"):
        verify(leaf(ISSUING), known=(root("Unrelated"), ISSUING))


def test_unknown_reason_of_the_library_is_told_in_general(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REASONS", ())
    with pytest.raises(PathInvalid, match="does not follow the standard"):
        verify(leaf(ISSUING, extra=((UNKNOWN, True),)))


def hostile(kind: str) -> tuple[Holder, Sequence[Holder]]:
    """Chains that send a search in circles: of a stranger, and of an authority that turned against its own root."""
    first, second = new_key("p384", 1), new_key("p384", 2)
    if kind == "stranger, one name and key":
        circle = [root("Root", key=first, serial=number) for number in range(1, 5)]
        return leaf(circle[0]), circle
    top = below(ROOT, "Circle", key=first)
    if kind == "one name and key":
        return leaf(top, usage=()), [top, *(below(top, "Circle", key=first, serial=n) for n in range(1, 4))]
    if kind == "two keys that certify each other":
        other = below(top, "Circle", key=second)
        back = [below(other, "Circle", key=first), below(other, "Circle", key=second)]
        return leaf(other, usage=()), [top, other, *back]
    deep = [top]
    for number in range(3):
        deep.append(below(deep[-1], "Circle", key=new_key("p384", 3 + number)))
    return leaf(deep[-1], usage=()), deep[::-1]


KINDS = ("stranger, one name and key", "one name and key", "two keys that certify each other", "one name, four keys")


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_chain_costs_few_signature_checks(verify: Verify, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    real = module.is_signed_by

    def counted(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        checked.append(issuer)
        return real(certificate, issuer)

    client, chain = hostile(kind)
    monkeypatch.setattr(module, "is_signed_by", counted)
    started = time.monotonic()
    with pytest.raises(PathInvalid):
        verify(client, chain)
    # The roots of the file are checked too, once each; below 20 ms where this was measured.
    assert len(checked) <= 30
    assert time.monotonic() - started < 1.0


def test_stranger_costs_no_check_with_a_key_of_its_own(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    issuers = []

    def counted(_: x509.Certificate, issuer: x509.Certificate) -> bool:
        issuers.append(issuer)
        return issuer == ROOT.certificate and _ == ROOT.certificate

    client, chain = hostile(KINDS[0])
    monkeypatch.setattr(module, "is_signed_by", counted)
    with pytest.raises(PathInvalid):
        verify(client, chain)
    assert set(issuers) <= {ROOT.certificate}


@pytest.mark.parametrize("kind", KINDS[1:3])
def test_no_path_holds_a_name_and_key_twice(kind: str) -> None:
    client, chain = hostile(kind)
    search = module._Search({(one := Authority.of(ROOT.certificate, is_root=True)).name: (one,)})
    search.take(holder.certificate for holder in chain)
    found = list(search.paths((client.certificate,)))
    assert found
    for path in found:
        signers = [Authority.of(certificate).signer for certificate in path.certificates[1:]]
        assert len(set(signers)) == len(signers)


def test_search_gives_up_among_too_many_of_one_name(verify: Verify) -> None:
    many = [below(ROOT, "Issuing") for _ in range(MAX_SIGNATURES + 1)]
    with pytest.raises(PathInvalid, match="share one name"):
        verify(leaf(many[-1]), known=(ROOT, *many))


def test_search_judges_few_paths(verify: Verify) -> None:
    """Each of ten certificates of one authority leads to a path; all are over but the last."""
    over = [
        below(ROOT, "Issuing", key="p256", serial=number, life=(NOW - 2 * DAY, NOW - DAY)) for number in range(1, 10)
    ]
    good = below(ROOT, "Issuing", key="p256")
    assert verify(leaf(good), known=(ROOT, good, *over))
    with pytest.raises(PathInvalid, match="not valid at this time"):
        verify(leaf(good), known=(ROOT, *over, good))
