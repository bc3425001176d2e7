from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path as File

import pytest

from app.trust import crl
from app.trust import revocation as module
from app.trust.crl import ListUnusable, ReadList
from tests.unit.app.trust.list_server import Published, list_server
from tests.unit.app.trust.pki import (
    DAY,
    NOW,
    as_pem,
    new_key,
    revocation_list,
    root,
)
from tests.unit.app.trust.revocation_ground import (
    CLIENT,
    HOUR,
    ISSUING,
    OTHER,
    ROOT,
    Make,
    answer,
    write,
)


def test_list_at_a_url_holds_after_one_refresh(make: Make, of_root: File, published: Published) -> None:
    published.content = revocation_list(ISSUING)
    lists = make(of_root, published.url)
    assert answer(lists) == "revocation-unknown"
    lists.refresh(NOW)
    assert answer(lists) == "good"
    published.content = revocation_list(ISSUING, CLIENT, number=2)
    lists.refresh(NOW)
    assert answer(lists) == "certificate-revoked"


def test_list_is_fetched_in_the_background(make: Make, published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real clock, since nobody else tells the thread the time."""
    monkeypatch.setattr(module, "FETCH_EVERY_S", 0.0)
    now = datetime.now(UTC)
    life = (now - HOUR, now + DAY)
    published.content = revocation_list(ISSUING, life=life)
    lists = make(published.url, check="leaf")
    lists.start()
    until(lambda: answer(lists, now=now) == "good")
    published.content = revocation_list(ISSUING, CLIENT, number=2, life=life)
    until(lambda: answer(lists, now=now) == "certificate-revoked")
    lists.close()
    assert not any(thread.is_alive() for thread in lists._threads)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_start_puts_files_in_force_before_the_first_request(make: Make, tmp_path: File) -> None:
    now = datetime.now(UTC)
    lists = make(write(tmp_path, "root.crl", revocation_list(ROOT, life=(now - HOUR, now + DAY))))
    lists.start()
    assert lists._lists.changes == 1


def test_thread_outlives_whatever_goes_wrong(
    make: Make, published: Published, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FETCH_EVERY_S", 0.0)
    published.etag, published.content = '"1"', b"x"
    lists = make(published.url)
    real, failed = lists._lists.arrive, threading.Event()

    def failing(source: str, content: bytes, *, keep: bool = False) -> None:
        if not failed.is_set():
            failed.set()
            raise MemoryError
        real(source, content, keep=keep)

    monkeypatch.setattr(lists._lists, "arrive", failing)
    lists.start()
    until(lambda: len(published.asked) >= 2)
    # What was fetched and lost is fetched again, not spared as unchanged.
    assert "If-None-Match" not in published.asked[1]
    assert [message for message in caplog.messages if message.endswith("is not refreshed: MemoryError")]


FAULTS: dict[str, Callable[[], dict[str, object]]] = {
    "server that fails": lambda: {"status": 503},
    "redirect": lambda: {"status": 302, "headers": {"Location": "http://127.0.0.1:9/"}},
    "garbage": lambda: {"content": b"<html>not a list</html>"},
    "empty": lambda: {"content": b""},
    "cut short": lambda: {"length": 10_000},
    "too large": lambda: {"content": bytes(3_000)},
    "older list": lambda: {"content": revocation_list(ISSUING, number=1)},
    "forged list": lambda: {"content": revocation_list(ISSUING, number=9, signed_by=new_key("p256", 7))},
    "list of another authority": lambda: {"content": revocation_list(root("Foreign"))},
}


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_fetch_keeps_the_list_until_its_grace_ends(
    make: Make, of_root: File, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    with list_server() as published, pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.trust.crl_source.MAX_BYTES", 2_000)
        published.content = revocation_list(ISSUING, CLIENT, number=2)
        lists = make(of_root, published.url)
        lists.refresh(NOW)
        caplog.clear()
        for member, value in FAULTS[case]().items():
            setattr(published, member, value)
        lists.refresh(NOW)
    assert (answer(lists), answer(lists, OTHER)) == ("certificate-revoked", "good")
    assert caplog.messages
    lists.refresh(NOW + 2 * DAY)  # by now the server is gone altogether
    assert answer(lists, OTHER, NOW + 2 * DAY) == "revocation-unknown"


def test_unchanged_list_costs_no_second_reading(
    make: Make, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = []
    real = crl.read

    def counted(content: bytes) -> Iterator[ReadList | ListUnusable]:
        reading.append(content)
        return real(content)

    monkeypatch.setattr(crl, "read", counted)
    published.content = revocation_list(ISSUING)
    lists = make(published.url, check="leaf")
    for etag in ("", '"1"', '"1"'):
        published.etag = etag
        lists.refresh(NOW)
    assert answer(lists) == "good"
    assert "If-None-Match" in published.asked[2]
    # The copy on disk is read beside it, to be replaced by a newer one only: there was none.
    assert reading == [published.content]


def test_list_that_waits_for_its_time_is_used_then_though_the_server_says_unchanged(
    make: Make, of_root: File, published: Published
) -> None:
    published.etag = '"1"'
    published.content = revocation_list(ISSUING, CLIENT, life=(NOW + HOUR, NOW + DAY))
    lists = make(of_root, published.url)
    lists.refresh(NOW)
    assert answer(lists) == "revocation-unknown"
    lists.refresh(NOW + HOUR)
    assert answer(lists, now=NOW + HOUR) == "certificate-revoked"


def test_restarted_node_starts_with_its_copy_while_the_server_is_gone(
    make: Make, of_root: File, published: Published
) -> None:
    published.content = revocation_list(ISSUING, CLIENT)
    make(of_root, published.url).refresh(NOW)
    published.status = 503
    again = make(of_root, published.url)
    assert (answer(again), answer(again, OTHER)) == ("certificate-revoked", "good")
    again.refresh(NOW)
    assert answer(again) == "certificate-revoked"


def test_older_list_is_refused_across_a_restart(make: Make, of_root: File, published: Published) -> None:
    published.content = revocation_list(ISSUING, CLIENT, number=2)
    make(of_root, published.url).refresh(NOW)
    published.content = revocation_list(ISSUING, number=1)
    again = make(of_root, published.url)
    again.refresh(NOW)
    assert answer(again) == "certificate-revoked"


def test_copy_is_verified_again(make: Make, tmp_path: File, of_root: File, published: Published) -> None:
    published.content = revocation_list(ISSUING, CLIENT)
    make(of_root, published.url).refresh(NOW)
    [copy] = (tmp_path / "copies").glob("*.crl")
    copy.write_bytes(revocation_list(ISSUING, number=99, signed_by=new_key("p256", 7)))
    published.status = 503
    again = make(of_root, published.url)
    assert answer(again) == "revocation-unknown"


def test_copies_of_urls_do_not_count_for_files_alone(
    make: Make, tmp_path: File, of_root: File, published: Published
) -> None:
    published.content = revocation_list(ISSUING, CLIENT, number=2)
    make(of_root, published.url).refresh(NOW)
    lists = make(of_root, write(tmp_path, "issuing.crl", revocation_list(ISSUING, number=1)))
    assert answer(lists) == "good"


def test_lists_of_files_are_not_copied(make: Make, tmp_path: File, of_root: File, published: Published) -> None:
    published.content = revocation_list(ISSUING)
    lists = make(of_root, published.url)
    lists.refresh(NOW)
    assert len(list((tmp_path / "copies").glob("*.crl"))) == 1


def test_several_lists_in_one_body_are_all_used(make: Make, tmp_path: File, published: Published) -> None:
    published.content = as_pem(revocation_list(ROOT)) + as_pem(revocation_list(ISSUING, CLIENT))
    lists = make(published.url)
    lists.refresh(NOW)
    assert (answer(lists), answer(lists, OTHER)) == ("certificate-revoked", "good")
    assert len(list((tmp_path / "copies").glob("*.crl"))) == 2
