from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path as File

import pytest
from cryptography import x509

from app.refusals import Refusal
from app.trust import crl, held_lists
from app.trust import revocation as module
from app.trust.authorities import Authorities
from app.trust.crl import ReadList
from tests.unit.app.trust.pki import (
    DAY,
    NOW,
    PRIVATE_OID,
    as_pem,
    below,
    flipped,
    issuing_point,
    leaf,
    name,
    new_key,
    revocation_list,
)
from tests.unit.app.trust.revocation_ground import (
    CLIENT,
    GRACE_S,
    HERE,
    HOUR,
    ISSUING,
    OTHER,
    ROOT,
    Make,
    answer,
    authorities_of,
    look_again,
    path_of,
    root_list,
    write,
)


def test_without_sources_nothing_is_checked(make: Make) -> None:
    assert answer(make()) == "good"


def test_certificate_that_no_list_names_is_good(make: Make, tmp_path: File, of_root: File) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING, OTHER)))
    assert answer(lists) == "good"


def test_revoked_certificate_is_refused(make: Make, tmp_path: File, of_root: File) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING, CLIENT)))
    with pytest.raises(Refusal) as refused:
        lists.check(path_of(), NOW)
    assert refused.value.slug == "certificate-revoked"
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer realm="hecha"'}
    assert "ask for a new one" in refused.value.detail
    assert answer(lists, OTHER) == "good", "the one beside it"


def test_certificate_on_hold_is_revoked(make: Make, tmp_path: File, of_root: File) -> None:
    held = revocation_list(ISSUING, CLIENT, reason=x509.ReasonFlags.certificate_hold)
    assert answer(make(of_root, write(tmp_path, "issuing.crl", held))) == "certificate-revoked"


def test_certificate_of_a_revoked_authority_is_refused(make: Make, tmp_path: File) -> None:
    above = write(tmp_path, "root.crl", revocation_list(ROOT, ISSUING))
    below_it = write(tmp_path, "issuing.crl", revocation_list(ISSUING))
    with pytest.raises(Refusal, match="authority above") as refused:
        make(above, below_it).check(path_of(), NOW)
    assert refused.value.slug == "certificate-revoked"
    assert answer(make(above, below_it, check="leaf")) == "good"


def test_revoked_comes_before_unknown(make: Make, tmp_path: File) -> None:
    """A revoked authority is no matter for asking again later."""
    lists = make(write(tmp_path, "root.crl", revocation_list(ROOT, ISSUING)))
    assert answer(lists) == "certificate-revoked"


def test_serial_number_counts_for_its_issuer_only(make: Make, tmp_path: File) -> None:
    other = below(ROOT, "Other")
    same = leaf(other, serial=CLIENT.certificate.serial_number)
    contents = map(as_pem, (revocation_list(ROOT), revocation_list(ISSUING, CLIENT), revocation_list(other)))
    lists = make(write(tmp_path, "all.pem", *contents))
    assert answer(lists, same) == "good"
    assert answer(lists) == "certificate-revoked"


def test_missing_list_is_unknown(make: Make, of_root: File, caplog: pytest.LogCaptureFixture) -> None:
    lists = make(of_root)
    with pytest.raises(Refusal) as refused:
        lists.check(path_of(), NOW)
    assert refused.value.slug == "revocation-unknown"
    assert refused.value.headers == {"Retry-After": "30"}
    assert caplog.messages[-1].startswith("there is no revocation list of 'CN=Issuing,")


def test_list_of_the_authority_above_is_needed_unless_the_client_alone_is_checked(make: Make, tmp_path: File) -> None:
    alone = write(tmp_path, "issuing.crl", revocation_list(ISSUING))
    assert answer(make(alone)) == "revocation-unknown"
    assert answer(make(alone, check="leaf")) == "good"


def test_what_is_unknown_is_logged_once_a_minute(
    make: Make, of_root: File, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = make(of_root)
    for _ in range(5):
        answer(lists)
    assert len(caplog.messages) == 1
    monkeypatch.setattr(module, "SAY_EVERY_S", 0.0)
    answer(lists)
    assert len(caplog.messages) == 2


def test_what_is_logged_is_remembered_within_bounds(
    make: Make, of_root: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED", 2)
    lists = make(of_root)
    for number in range(5):
        answer(lists, leaf(below(ROOT, f"Authority {number}")))
    assert len(lists._said) <= 2


NOT_USED: dict[str, Callable[[], bytes]] = {
    "signed by another key": lambda: revocation_list(ISSUING, signed_by=new_key("p256", 7)),
    "signed by the root in the authority's name": lambda: revocation_list(ISSUING, signed_by=ROOT.key),
    "signed by the authority in another name": lambda: revocation_list(ISSUING, issuer=name("Other")),
    "signed by the client": lambda: revocation_list(ISSUING, signed_by=CLIENT.key),
    "with a bit turned over": lambda: flipped(revocation_list(ISSUING)),
    "of the root": lambda: revocation_list(ROOT),
    "delta": lambda: revocation_list(ISSUING, extra=((x509.DeltaCRLIndicator(1), True),)),
    "indirect": lambda: revocation_list(ISSUING, extra=((issuing_point(indirect=True), True),)),
    "with an unknown critical extension": lambda: revocation_list(
        ISSUING, extra=((x509.UnrecognizedExtension(PRIVATE_OID, b"\x05\x00"), True),)
    ),
    "with an unknown critical extension in an entry": lambda: revocation_list(
        ISSUING, 5, entry_extra=((x509.UnrecognizedExtension(PRIVATE_OID, b"\x05\x00"), True),)
    ),
    "of authorities only": lambda: revocation_list(ISSUING, extra=((issuing_point(authorities=True), True),)),
    "of another distribution point": lambda: revocation_list(ISSUING, extra=((issuing_point(HERE), True),)),
    "from the future": lambda: revocation_list(ISSUING, life=(NOW + timedelta(seconds=61), NOW + DAY)),
    "that ran out": lambda: revocation_list(ISSUING, life=(NOW - DAY, NOW - timedelta(seconds=GRACE_S + 1))),
    "garbage": lambda: b"garbage",
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("case", NOT_USED)
def test_list_that_cannot_be_used_leaves_it_unknown(
    make: Make, tmp_path: File, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    lists = make(root_list(tmp_path), write(tmp_path, "issuing.crl", NOT_USED[case]()))
    assert answer(lists) == "revocation-unknown"
    assert caplog.messages
    write(tmp_path, "issuing.crl", revocation_list(ISSUING))
    look_again(lists)
    assert answer(lists) == "good", "a good list right after it"


def test_list_beyond_size_is_not_used(
    make: Make, tmp_path: File, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "issuing.crl", as_pem(revocation_list(ISSUING)), bytes(2_000))
    monkeypatch.setattr(crl, "MAX_BYTES", 1_500)
    assert answer(make(root_list(tmp_path), path)) == "revocation-unknown"
    assert "more than 1500 bytes" in caplog.text


def test_file_that_is_missing_leaves_it_unknown(
    make: Make, tmp_path: File, of_root: File, caplog: pytest.LogCaptureFixture
) -> None:
    assert answer(make(of_root, tmp_path / "none.crl")) == "revocation-unknown"
    assert "No such file" in caplog.text


def test_issuer_that_may_not_sign_lists_has_none(make: Make, tmp_path: File, of_root: File) -> None:
    mute = below(ROOT, "Mute", usage=("key_cert_sign",))
    lists = make(of_root, write(tmp_path, "mute.crl", revocation_list(mute)))
    assert answer(lists, leaf(mute)) == "revocation-unknown"


def test_list_of_another_authority_of_the_same_name_does_not_count(make: Make, tmp_path: File, of_root: File) -> None:
    """Two trusted authorities have one name; the list of the one says nothing about clients of the other."""
    twin = below(ROOT)
    lists = make(
        of_root,
        write(tmp_path, "issuing.crl", revocation_list(ISSUING)),
        known=authorities_of(tmp_path, ROOT, ISSUING, twin),
    )
    assert answer(lists, leaf(twin)) == "revocation-unknown"
    assert answer(lists) == "good"


def test_renewed_certificate_of_an_authority_keeps_its_list(make: Make, tmp_path: File, of_root: File) -> None:
    """The name and key sign the list, not one certificate of them."""
    renewed = below(ROOT, key=ISSUING.key)
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    assert answer(lists, leaf(renewed)) == "good"


def test_list_of_a_presented_authority_is_verified_when_its_client_comes(
    make: Make, tmp_path: File, of_root: File, caplog: pytest.LogCaptureFixture
) -> None:
    """The authority stands in no file: its certificate is known from the path alone."""
    revoked = leaf(ISSUING, "revoked")
    lists = make(
        of_root,
        write(tmp_path, "issuing.crl", revocation_list(ISSUING, revoked)),
        known=authorities_of(tmp_path, ROOT),
    )
    assert answer(lists) == "good"
    assert answer(lists, revoked) == "certificate-revoked"
    assert [message for message in caplog.messages if "issuer is unknown" in message]


def test_presented_authorities_are_remembered_within_bounds(
    make: Make, tmp_path: File, of_root: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_lists, "MAX_MET", 2)
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    for number in range(5):
        answer(lists, leaf(below(ROOT, f"Authority {number}")))
    assert len(lists._lists._met) <= 2
    assert answer(lists) == "good"


@pytest.mark.parametrize("seconds", [0, 60])
def test_clock_of_the_authority_may_be_a_minute_ahead(
    make: Make, tmp_path: File, of_root: File, seconds: int
) -> None:
    begun = NOW + timedelta(seconds=seconds)
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING, life=(begun, NOW + DAY))))
    assert answer(lists) == "good"


def test_list_from_the_future_does_not_replace_the_present_one_before_its_time(
    make: Make, tmp_path: File, of_root: File
) -> None:
    path = write(tmp_path, "issuing.crl", revocation_list(ISSUING))
    lists = make(of_root, path)
    assert answer(lists) == "good"
    write(tmp_path, "issuing.crl", revocation_list(ISSUING, CLIENT, number=2, life=(NOW + HOUR, NOW + DAY)))
    for now, said in ((NOW, "good"), (NOW + HOUR, "certificate-revoked")):
        look_again(lists)
        assert answer(lists, now=now) == said


def test_list_ends_with_its_grace(
    make: Make, tmp_path: File, of_root: File, caplog: pytest.LogCaptureFixture
) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    path, end = path_of(), NOW + DAY + timedelta(seconds=GRACE_S)
    assert answer(lists, path, end) == "good"
    assert answer(lists, path, end + timedelta(seconds=1)) == "revocation-unknown"
    assert caplog.messages[-1] == (
        "the revocation list of 'CN=Issuing,O=Hecha tests,C=CN' ran out (2026-11-23T06:00Z): renew it"
    )
    assert answer(lists, path, end) == "good"


def test_list_does_not_vouch_for_the_time_before_it(make: Make, tmp_path: File, of_root: File) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    path = path_of()
    assert answer(lists, path) == "good"
    assert answer(lists, path, NOW - 2 * HOUR) == "revocation-unknown"


def test_forged_list_is_verified_once_for_each_signer(
    make: Make, tmp_path: File, of_root: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing 32 MiB on every request would stop the node."""
    tried = []
    real = ReadList.is_signed_by

    def counted(found: ReadList, issuer: x509.Certificate) -> bool:
        tried.append(issuer)
        return real(found, issuer)

    monkeypatch.setattr(ReadList, "is_signed_by", counted)
    lists = make(of_root, write(tmp_path, "forged.crl", revocation_list(ISSUING, signed_by=new_key("p256", 7))))
    for _ in range(5):
        look_again(lists)
        assert answer(lists) == "revocation-unknown"
    assert tried == [ROOT.certificate, ISSUING.certificate]


def test_what_is_revoked_stays_revoked_when_its_list_runs_out(make: Make, tmp_path: File, of_root: File) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING, CLIENT)))
    assert answer(lists, now=NOW + 20 * DAY) == "certificate-revoked"
    assert answer(lists, OTHER, NOW + 20 * DAY) == "revocation-unknown"


def test_new_list_in_a_file_holds_at_the_next_look(make: Make, tmp_path: File, of_root: File) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    path = path_of()
    assert answer(lists, path) == "good"
    write(tmp_path, "issuing.crl", as_pem(revocation_list(ISSUING, CLIENT, number=2)))
    look_again(lists)
    assert answer(lists, path) == "certificate-revoked"


def test_new_list_in_a_file_holds_within_two_seconds(make: Make, tmp_path: File, of_root: File) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    assert answer(lists) == "good"
    write(tmp_path, "issuing.crl", revocation_list(ISSUING, CLIENT, number=2))
    started = time.monotonic()
    while answer(lists) == "good":
        assert time.monotonic() - started < 2.0
        time.sleep(0.05)


def test_certificate_is_good_again_when_a_newer_list_releases_it(make: Make, tmp_path: File, of_root: File) -> None:
    held = revocation_list(ISSUING, CLIENT, reason=x509.ReasonFlags.certificate_hold)
    lists = make(of_root, write(tmp_path, "issuing.crl", held))
    assert answer(lists) == "certificate-revoked"
    write(tmp_path, "issuing.crl", revocation_list(ISSUING, number=2))
    look_again(lists)
    assert answer(lists) == "good"


ROLLBACKS: dict[str, dict[str, object]] = {
    "lower number": {"number": 1},
    "lower number, dated later": {"number": 1, "life": (NOW - timedelta(minutes=1), NOW + DAY)},
    "same number, dated earlier": {"number": 2, "life": (NOW - 2 * HOUR, NOW + DAY)},
    "no number, dated earlier": {"number": None, "life": (NOW - 2 * HOUR, NOW + DAY)},
    "same number and date": {"number": 2},
}


@pytest.mark.parametrize("case", ROLLBACKS)
def test_older_list_never_replaces_the_one_held(make: Make, tmp_path: File, of_root: File, case: str) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING, CLIENT, number=2)))
    assert answer(lists) == "certificate-revoked"
    write(tmp_path, "issuing.crl", revocation_list(ISSUING, **ROLLBACKS[case]))
    look_again(lists)
    assert answer(lists) == "certificate-revoked"


def test_rollback_is_logged(make: Make, tmp_path: File, of_root: File, caplog: pytest.LogCaptureFixture) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING, number=2)))
    answer(lists)
    write(tmp_path, "issuing.crl", revocation_list(ISSUING, number=1))
    look_again(lists)
    answer(lists)
    assert caplog.messages == [
        f"a revocation list from {tmp_path}/issuing.crl is not used: it is older than the one held"
    ]


def test_newest_of_several_lists_of_one_issuer_wins(make: Make, tmp_path: File, of_root: File) -> None:
    old, new = revocation_list(ISSUING, number=1), revocation_list(ISSUING, CLIENT, number=2)
    for order in ((old, new), (new, old)):
        both = write(tmp_path, "both.pem", *map(as_pem, order))
        assert answer(make(of_root, both)) == "certificate-revoked"


def test_broken_replacement_keeps_the_list_that_is_held(
    make: Make, tmp_path: File, of_root: File, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "issuing.crl", revocation_list(ISSUING))
    lists = make(of_root, path)
    assert answer(lists) == "good"
    for change in (lambda: path.write_bytes(b"\x30\x82"), path.unlink):
        change()
        look_again(lists)
        assert answer(lists) == "good"
    assert len(caplog.messages) == 2


def test_lists_of_users_and_of_authorities_make_one_whole(make: Make, tmp_path: File) -> None:
    contents = [
        revocation_list(ROOT, extra=((issuing_point(authorities=True), True),)),
        revocation_list(ROOT, 5, extra=((issuing_point(users=True), True),)),
    ]
    direct, indirect, revoked = leaf(ROOT), leaf(ISSUING), leaf(ROOT, serial=5)
    issuing = as_pem(revocation_list(ISSUING))
    whole = make(write(tmp_path, "whole.pem", issuing, *map(as_pem, contents)))
    assert [answer(whole, one) for one in (direct, indirect, revoked)] == ["good", "good", "certificate-revoked"]
    half = make(write(tmp_path, "half.pem", issuing, as_pem(contents[0])))
    assert [answer(half, one) for one in (direct, indirect)] == ["revocation-unknown", "good"]


def test_list_of_a_distribution_point_counts_for_certificates_that_name_it(
    make: Make, tmp_path: File, of_root: File
) -> None:
    listed = revocation_list(ISSUING, 5, extra=((issuing_point(HERE), True),))
    lists = make(of_root, write(tmp_path, "issuing.crl", listed))
    assert answer(lists, leaf(ISSUING, points=(HERE,))) == "good"
    assert answer(lists, leaf(ISSUING, points=(HERE,), serial=5)) == "certificate-revoked"
    assert answer(lists, leaf(ISSUING)) == "revocation-unknown"


def test_any_list_that_covers_the_certificate_can_revoke_it(make: Make, tmp_path: File, of_root: File) -> None:
    """A list of one scope is no newer than that of another; what either names is revoked."""
    whole = revocation_list(ISSUING, number=9)
    users = revocation_list(ISSUING, CLIENT, number=1, extra=((issuing_point(users=True), True),))
    lists = make(of_root, write(tmp_path, "both.pem", as_pem(whole), as_pem(users)))
    assert answer(lists) == "certificate-revoked"
    assert answer(lists, OTHER) == "good"


def test_check_of_a_path_seen_before_looks_nothing_up(
    make: Make, tmp_path: File, of_root: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    path = path_of()
    lists.check(path, NOW)

    def judged(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(lists, "_judge", judged)
    started = time.perf_counter()
    for _ in range(1_000):
        lists.check(path, NOW)
    # Below 1 µs each where this was measured.
    assert time.perf_counter() - started < 0.1
    with pytest.raises(AssertionError):
        lists.check(path_of(), NOW)


def test_paths_are_remembered_within_bounds(
    make: Make, tmp_path: File, of_root: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHED", 3)
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    paths = [path_of() for _ in range(10)]
    assert {answer(lists, path) for path in paths} == {"good"}
    assert len(lists._clear) <= 3


def test_threads_that_check_while_a_list_arrives_agree_with_one_of_the_two(
    make: Make, tmp_path: File, of_root: File
) -> None:
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING)))
    path = path_of()
    assert answer(lists, path) == "good"
    said: list[str] = []

    def ask(_: int) -> None:
        look_again(lists)
        said.append(answer(lists, path))

    with ThreadPoolExecutor(8) as pool:
        asked = pool.map(ask, range(400))
        write(tmp_path, "next.crl", revocation_list(ISSUING, CLIENT, number=2)).replace(tmp_path / "issuing.crl")
        list(asked)
    look_again(lists)
    assert answer(lists, path) == "certificate-revoked"
    assert set(said) <= {"good", "certificate-revoked"}


def test_new_authority_in_the_file_is_asked_about_lists_that_wait(
    make: Make, tmp_path: File, of_root: File, authorities: Authorities
) -> None:
    added = below(ROOT, "Added")
    lists = make(of_root, write(tmp_path, "added.crl", revocation_list(added)))
    answer(lists)
    assert lists._lists.is_waiting
    authorities_of(tmp_path, ROOT, ISSUING, added)
    authorities._file._looked_at = float("-inf")
    look_again(lists)
    answer(lists)
    assert not lists._lists.is_waiting


def test_check_does_not_wait_for_a_list_that_is_being_read(make: Make, tmp_path: File, of_root: File) -> None:
    lists = make(of_root, write(tmp_path, "future.crl", revocation_list(ISSUING, life=(NOW + HOUR, NOW + DAY))))
    answer(lists)
    look_again(lists)
    lists._files[0]._looked_at = lists._files[1]._looked_at = time.monotonic()
    with lists._lists._lock:
        assert answer(lists) == "revocation-unknown"


def test_list_of_100_000_entries_is_taken_in(
    make: Make, tmp_path: File, of_root: File, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    content = revocation_list(ISSUING, *range(1, 100_000), CLIENT, reason=x509.ReasonFlags.key_compromise)
    lists = make(of_root, write(tmp_path, "issuing.crl", content))
    started = time.monotonic()
    assert answer(lists) == "certificate-revoked"
    # Half a second where this was measured.
    assert time.monotonic() - started < 10.0
    assert answer(lists, leaf(ISSUING)) == "good"
    assert "in force: 100000 certificates" in caplog.text
