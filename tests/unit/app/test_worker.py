"""One worker under attack: whoever stands still, drips or floods holds no thread, and whoever is good gets in."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from app.channel import HELD_BYTES, MUTE_BYTES
from app.tls import Contexts
from app.waiting import Accepted
from examples.demo.pki import write_pki
from tests.servers.tls_records import AT_ONCE, KEY_UPDATE, key_updates
from tests.servers.worker import (
    KEEPALIVE_S,
    MAX_BODY_BYTES,
    PING,
    Hasty,
    RunningWorker,
    answer,
    client_context,
    client_hello,
    is_closed_within,
    running_worker,
    tls_settings,
)

AT_ONCE_S = 0.7  # well below the shortest deadline
LARGE, HUGE = 1024 * 1024, 4 * HELD_BYTES


def application(environ: Mapping[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Answers the path, or what it asks for: so many bytes, a pause, the length of the body, a word on the peer."""
    name, _, value = environ["PATH_INFO"].strip("/").partition("/")
    sock = environ["gunicorn.socket"]
    body = environ["PATH_INFO"].encode()
    if name == "bytes":
        body = bytes(int(value))
    elif name == "wait":
        time.sleep(float(value))
    elif name == "body":
        body = str(len(environ["wsgi.input"].read())).encode()
    elif name == "certificate":
        body = str(sock.getpeercert(binary_form=True) is not None).encode()
    elif name == "peer":
        body = f"{sock.family.name} {environ['wsgi.url_scheme']}".encode()
    start("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    folder = tmp_path / "pki"
    folder.mkdir()
    write_pki(folder, {"a": "a.example", "b": "b.example"}, datetime.now(UTC))
    return folder


@pytest.fixture
def contexts(pki: Path) -> Contexts:
    made = Contexts.of(tls_settings(pki))
    assert made is not None
    return made


@pytest.fixture
def secure(contexts: Contexts, pki: Path) -> Iterator[RunningWorker]:
    """A worker with TLS and one thread."""
    with running_worker(application, contexts=contexts, pki=pki) as running:
        yield running


@pytest.fixture
def plain() -> Iterator[RunningWorker]:
    """A worker behind a proxy, with one thread."""
    with running_worker(application) as running:
        yield running


@pytest.fixture(params=["secure", "plain"])
def either(request: pytest.FixtureRequest) -> RunningWorker:
    found: RunningWorker = request.getfixturevalue(request.param)
    return found


def assert_serves_at_once(running: RunningWorker) -> None:
    began = time.monotonic()
    assert running.ask() == b"/"
    assert time.monotonic() - began < AT_ONCE_S


def waiting_in(running: RunningWorker, count: int, *, sending: bool = False) -> list[Accepted]:
    """Those who wait, once there are so many: the client has its answer before the loop has its connection back."""
    deadline = time.monotonic() + AT_ONCE_S
    while True:
        found = [each for each in running.waiting() if each.sock.unsent or not sending]
        if len(found) == count:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.01)


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def post(path: str, length: int, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", *lines, "", ""]).encode()


def chunked(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *lines, "", ""]).encode()


def test_connection_serves_several_requests(either: RunningWorker) -> None:
    with either.opened() as connection:
        for path in ("/one", "/two", "/three"):
            connection.sendall(get(path))
            assert answer(connection) == path.encode()


def test_requests_sent_together_are_all_answered(either: RunningWorker) -> None:
    with either.opened() as connection:
        connection.sendall(get("/one") + get("/two") + PING[:9])
        received = b""
        while not received.endswith(b"/two"):
            received += connection.recv(65_536)
        connection.sendall(PING[9:])
        assert answer(connection) == b"/"
        assert received.count(b"200 OK") == 2


def test_request_in_pieces_is_read(either: RunningWorker) -> None:
    with either.opened() as connection:
        for byte in post("/body", 3) + b"abc":
            connection.sendall(bytes([byte]))
        assert answer(connection) == b"3"


def test_long_body_is_read(either: RunningWorker) -> None:
    length = MAX_BODY_BYTES
    assert either.ask(post("/body", length) + bytes(length)) == str(length).encode()


def test_body_that_comes_slowly_but_steadily_is_read(either: RunningWorker) -> None:
    """It may take longer in all than it may stand still."""
    pieces, size, pause_s = 8, 16_384, Hasty.STALLED_S / 3
    assert pieces * pause_s > 2 * Hasty.STALLED_S
    with either.opened() as connection:
        connection.sendall(post("/body", pieces * size))
        for _ in range(pieces):
            time.sleep(pause_s)
            connection.sendall(bytes(size))
        assert answer(connection) == str(pieces * size).encode()


def test_body_that_waits_to_be_asked_for_is_asked_for(either: RunningWorker) -> None:
    with either.opened() as connection:
        connection.sendall(post("/body", 3, "Expect: 100-continue"))
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert answer(connection) == b"3"


def test_large_answer_arrives_whole(either: RunningWorker) -> None:
    assert either.ask(get(f"/bytes/{LARGE}")) == bytes(LARGE)
    assert either.ask(get(f"/bytes/{HUGE}")) == bytes(HUGE)


def test_application_sees_certificate_and_peer(secure: RunningWorker, plain: RunningWorker) -> None:
    for name, seen in ((None, b"False"), ("a", b"True")):
        with secure.secured(name) as connection:
            connection.sendall(get("/certificate"))
            assert answer(connection) == seen
    assert secure.ask(get("/peer")) == b"AF_INET https"
    assert plain.ask(get("/peer")) == b"AF_INET http"


def test_unix_socket_is_seen_as_one(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    with running_worker(application, listener=listener) as running:
        assert running.ask(get("/peer")) == b"AF_UNIX http"


def test_end_of_an_answer_is_told_by_tls_itself(secure: RunningWorker) -> None:
    """Without close_notify a client can't tell an end from a cut."""
    with secure.secured() as connection:
        connection.suppress_ragged_eofs = False  # type: ignore[attr-defined] # the library's own, without a type
        connection.sendall(get("/", "Connection: close"))
        assert answer(connection) == b"/"
        assert connection.recv(1) == b""


def test_silent_connections_hold_no_thread_and_are_closed(secure: RunningWorker) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(secure.connect()) for _ in range(20)]
        assert_serves_at_once(secure)
        assert all(is_closed_within(connection, 2 * Hasty.HANDSHAKE_S) for connection in silent)


def test_half_a_handshake_holds_no_thread_and_is_closed(secure: RunningWorker) -> None:
    hello = client_hello()
    with ExitStack() as stack:
        halves = [stack.enter_context(secure.connect()) for _ in range(20)]
        for half in halves:
            half.sendall(hello[: len(hello) // 2])
        assert_serves_at_once(secure)
        assert all(is_closed_within(half, 2 * Hasty.HANDSHAKE_S) for half in halves)


def test_handshake_that_drips_has_one_deadline_as_a_whole(secure: RunningWorker) -> None:
    began = time.monotonic()
    with secure.connect() as connection, suppress(OSError):
        for byte in client_hello():
            connection.sendall(bytes([byte]))
            time.sleep(Hasty.HANDSHAKE_S / 10)
            assert time.monotonic() - began < 2 * Hasty.HANDSHAKE_S


def test_handshake_that_drips_but_is_in_time_succeeds(secure: RunningWorker) -> None:
    hello = client_hello()
    with secure.connect() as connection:
        for start in range(0, len(hello), 100):
            connection.sendall(hello[start : start + 100])
            time.sleep(0.01)
        assert connection.recv(1) == b"\x16"  # a handshake record: ServerHello


def test_what_is_no_tls_is_turned_away(secure: RunningWorker) -> None:
    with secure.connect() as connection:
        connection.sendall(PING)
        assert is_closed_within(connection, AT_ONCE_S)
    assert_serves_at_once(secure)


def test_bad_certificate_is_told_so_even_if_the_client_talks_on(secure: RunningWorker) -> None:
    """In TLS 1.3 a client is done before the server has looked; closing at once would reset the alert away."""
    for _ in range(5):
        with secure.secured("bad/foreign") as connection:
            connection.sendall(bytes(40_000))
            with pytest.raises(ssl.SSLError, match=r"(?i)unknown.ca"):
                connection.recv(1)


@pytest.mark.parametrize(
    ("said", "within_s"),
    [
        (b"", 2 * Hasty.FIRST_REQUEST_S),
        (PING[:-2], Hasty.FIRST_REQUEST_S),
        (post("/body", 9) + b"short", Hasty.FIRST_REQUEST_S),
    ],
)
def test_request_that_stands_still_holds_no_thread_and_is_closed(
    either: RunningWorker, said: bytes, within_s: float
) -> None:
    with ExitStack() as stack:
        still = [stack.enter_context(either.opened()) for _ in range(20)]
        for connection in still:
            connection.sendall(said)
        began = time.monotonic()
        assert_serves_at_once(either)
        for connection in still:
            assert is_closed_within(connection, max(0.01, began + within_s - time.monotonic()))


@pytest.mark.parametrize("said", [PING[:1] + b"E" * 1_000, post("/body", 1_000)])
def test_request_that_drips_has_one_deadline_as_a_whole(either: RunningWorker, said: bytes) -> None:
    began = time.monotonic()
    with either.opened() as connection, suppress(OSError):
        connection.sendall(said)
        while True:
            connection.sendall(b"x")
            time.sleep(Hasty.STALLED_S / 4)
            assert time.monotonic() - began < 2 * Hasty.REQUEST_S


def test_kept_connection_that_drips_is_closed_too(either: RunningWorker) -> None:
    """The time it may be silent is longer, but this is not silence."""
    began = time.monotonic()
    with either.opened() as connection, suppress(OSError):
        connection.sendall(PING + PING[:-2])
        assert answer(connection) == b"/"
        while True:
            connection.sendall(b"x")
            time.sleep(Hasty.STALLED_S / 4)
            assert time.monotonic() - began < 2 * Hasty.REQUEST_S < KEEPALIVE_S


@pytest.mark.parametrize(
    "said",
    [
        post("/body", 60_000) + b"{",
        post("/body", 60_000, "Expect: 100-continue"),
        chunked("/body") + b"ea60\r\n{",
        chunked("/body", "Expect: 100-continue"),
    ],
)
def test_bodies_that_stand_still_or_drip_hold_no_thread_and_are_closed(either: RunningWorker, said: bytes) -> None:
    """More of them than there are threads."""
    with ExitStack() as stack:
        still = [stack.enter_context(either.opened()) for _ in range(20)]
        for connection in still:
            connection.sendall(said)
        began = time.monotonic()
        while time.monotonic() - began < Hasty.STALLED_S / 2:
            assert_serves_at_once(either)
            for connection in still[::2]:
                connection.sendall(b"x")
        for connection in still:
            if b"Expect" in said:
                assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            assert is_closed_within(connection, max(0.01, began + 2 * Hasty.STALLED_S - time.monotonic()))


def test_body_over_the_limit_is_answered_without_being_waited_for(either: RunningWorker) -> None:
    for said in (post("/at-once", MAX_BODY_BYTES + 1), post("/at-once", MAX_BODY_BYTES + 1, "Expect: 100-continue")):
        began = time.monotonic()
        assert either.ask(said) == b"/at-once"
        assert time.monotonic() - began < AT_ONCE_S


def test_application_that_reads_what_is_not_there_holds_no_thread(plain: RunningWorker) -> None:
    with plain.opened() as connection:
        connection.sendall(post("/body", MAX_BODY_BYTES + 1))
        assert is_closed_within(connection, AT_ONCE_S)
    assert_serves_at_once(plain)


def test_chunked_bodies_are_read_one_after_the_other(either: RunningWorker) -> None:
    body = b"3\r\nabc\r\n" + b"%x\r\n%b\r\n" % (50_000, bytes(50_000)) + b"0\r\n\r\n"
    with either.opened() as connection:
        for byte in chunked("/body") + body[:12]:
            connection.sendall(bytes([byte]))
        connection.sendall(body[12:] + chunked("/body") + body[:-1])
        assert answer(connection) == b"50003"
        connection.sendall(body[-1:])
        assert answer(connection) == b"50003"


def test_requests_that_are_not_whole_are_bounded_and_the_oldest_goes_first() -> None:
    class Small(Hasty):
        GATHERED_BYTES = 200_000

    with running_worker(application, kind=Small) as running, ExitStack() as stack:
        senders = []
        for _ in range(4):
            senders.append(stack.enter_context(running.opened()))
            senders[-1].sendall(post("/body", 90_001) + bytes(90_000))
            time.sleep(0.05)
        for gone in senders[:2]:
            with suppress(OSError):
                assert gone.recv(1) == b""
        for kept in senders[2:]:
            kept.sendall(b"x")
            assert answer(kept) == b"90001"


def test_slow_readers_hold_no_thread(either: RunningWorker) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(either.opened(narrow=True)).sendall(get(f"/bytes/{LARGE}"))
        assert_serves_at_once(either)
        assert waiting_in(either, 5, sending=True)


def test_slow_reader_gets_it_all_in_the_end_and_is_kept(either: RunningWorker) -> None:
    with either.opened(narrow=True) as connection:
        connection.sendall(get(f"/bytes/{LARGE}"))
        time.sleep(0.2)
        assert answer(connection) == bytes(LARGE)
        connection.sendall(PING)
        assert answer(connection) == b"/"


def test_reader_of_more_than_is_held_that_stands_still_gives_its_thread_back(either: RunningWorker) -> None:
    with either.opened(narrow=True) as connection:
        connection.sendall(get(f"/bytes/{HUGE}"))
        time.sleep(0.1)
        began = time.monotonic()
        assert either.ask() == b"/"
        assert time.monotonic() - began < 3 * Hasty.STALLED_S


def test_answers_held_for_slow_readers_are_bounded() -> None:
    class Small(Hasty):
        HELD_BYTES = 3 * LARGE

    with running_worker(application, kind=Small) as running, ExitStack() as stack:
        readers = [stack.enter_context(running.opened(narrow=True)) for _ in range(6)]
        for reader in readers:
            reader.sendall(get(f"/bytes/{LARGE}"))
        assert_serves_at_once(running)
        assert LARGE < sum(held.sock.unsent for held in running.waiting()) <= Small.HELD_BYTES


def test_who_does_not_close_after_the_last_answer_holds_nobody_up(either: RunningWorker) -> None:
    with ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(either.opened())
            connection.sendall(get("/", "Connection: close"))
            assert answer(connection) == b"/"
        assert_serves_at_once(either)


def test_who_talks_on_after_the_last_answer_is_cut_off(plain: RunningWorker) -> None:
    with plain.opened() as connection:
        connection.sendall(get("/", "Connection: close"))
        talk = bytes(256 * LARGE)
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|pipe"):
            connection.sendall(talk)
        assert time.monotonic() - began < Hasty.LINGER_S


def test_connection_is_used_again_after_a_body_that_nobody_read(either: RunningWorker) -> None:
    with either.opened() as connection:
        connection.sendall(post("/", 1_000) + bytes(1_000))
        assert answer(connection) == b"/"
        connection.sendall(get("/again"))
        assert answer(connection) == b"/again"


def test_body_that_never_comes_holds_no_thread_and_is_no_request(either: RunningWorker) -> None:
    with either.opened() as connection:
        began = time.monotonic()
        connection.sendall(post("/first", MAX_BODY_BYTES + 1))
        assert answer(connection) == b"/first"
        assert time.monotonic() - began < AT_ONCE_S
        assert_serves_at_once(either)
        with suppress(OSError):
            connection.sendall(get("/second"))
        assert is_closed_within(connection, 2 * Hasty.LINGER_S)


def test_chunked_body_that_breaks_after_the_answer_gets_no_second_one(plain: RunningWorker) -> None:
    with plain.opened() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZZ\r\n")
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert received.count(b"HTTP/1.1") == 1
    assert received.startswith(b"HTTP/1.1 200")


def test_endless_head_is_refused(either: RunningWorker) -> None:
    with either.opened() as connection:
        connection.sendall(PING[:-2] + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 4_000) for n in range(9)))
        began = time.monotonic()
        assert b'"type":"malformed"' in answer(connection)
        assert is_closed_within(connection, AT_ONCE_S)
        assert time.monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX 3398: y\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        PING[:-2] + b"Host: x\r\n\r\n",
        chunked("/body", "Content-Length: 60000"),
    ],
)
def test_what_is_no_http_gets_a_problem_document(either: RunningWorker, said: bytes) -> None:
    assert b'"type":"malformed"' in either.ask(said)
    assert_serves_at_once(either)


def test_flood_of_protocol_messages_is_cut_off(secure: RunningWorker, tmp_path: Path) -> None:
    """OpenSSL would go on inside one call for as long as they come."""
    assert secure.pki is not None
    context = client_context(secure.pki)
    context.keylog_filename = str(tmp_path / "secrets")
    with (
        context.wrap_socket(secure.connect(), server_hostname="localhost") as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as raw,
    ):
        flood = b"".join(islice(key_updates(tmp_path / "secrets"), 2 * MUTE_BYTES // (AT_ONCE * len(KEY_UPDATE))))
        with suppress(OSError):
            raw.sendall(flood)
        assert is_closed_within(connection, AT_ONCE_S)
    assert_serves_at_once(secure)


def test_few_protocol_messages_do_no_harm(secure: RunningWorker, tmp_path: Path) -> None:
    """And show that the flood is made of messages that the server understands."""
    assert secure.pki is not None
    context = client_context(secure.pki)
    context.keylog_filename = str(tmp_path / "secrets")
    with (
        context.wrap_socket(secure.connect(), server_hostname="localhost") as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as raw,
    ):
        raw.sendall(next(key_updates(tmp_path / "secrets", ending=PING)))
        assert answer(connection) == b"/"


def test_strangers_take_half_of_the_room_at_most_and_the_oldest_goes_first(contexts: Contexts, pki: Path) -> None:
    with (
        running_worker(application, contexts=contexts, pki=pki, worker_connections=8) as running,
        ExitStack() as stack,
    ):
        silent = []
        for _ in range(5):
            silent.append(stack.enter_context(running.connect()))
            time.sleep(0.05)
        assert is_closed_within(silent[0], AT_ONCE_S)
        assert not is_closed_within(silent[1], 0.05)
        assert_serves_at_once(running)


def test_newcomer_gets_in_where_all_places_are_taken(contexts: Contexts, pki: Path) -> None:
    """And those without a certificate go before those with one."""
    with (
        running_worker(application, contexts=contexts, pki=pki, worker_connections=4) as running,
        ExitStack() as stack,
    ):
        kept = []
        for name in ("a", None, "a"):
            connection = stack.enter_context(running.secured(name))
            connection.sendall(PING)
            assert answer(connection) == b"/"
            kept.append(connection)
        for gone in (kept[1], kept[0]):
            newcomer = stack.enter_context(running.secured("b"))
            newcomer.sendall(PING)
            assert answer(newcomer) == b"/"
            assert is_closed_within(gone, AT_ONCE_S)


def test_replaced_authorities_end_idle_connections_and_those_at_work(
    contexts: Contexts, pki: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    write_pki(tmp_path / "other", {"a": "a.example"}, datetime.now(UTC))
    with (
        running_worker(application, contexts=contexts, pki=pki) as running,
        running.secured("a") as idle,
        running.secured("a") as busy,
    ):
        idle.sendall(PING)
        assert answer(idle) == b"/"
        busy.sendall(get("/wait/2.5"))
        time.sleep(0.1)
        shutil.copyfile(tmp_path / "other" / "ca.pem", pki / "ca.pem")
        assert is_closed_within(idle, 2.3)
        assert answer(busy) == b"/wait/2.5"
        assert is_closed_within(busy, AT_ONCE_S)


def test_stopping_ends_idle_connections_soon_and_answers_what_is_at_work(contexts: Contexts, pki: Path) -> None:
    with ExitStack() as stack:
        with running_worker(application, contexts=contexts, pki=pki) as running:
            stack.enter_context(running.connect())
            stack.enter_context(running.secured()).sendall(PING[:5])
            kept = stack.enter_context(running.secured())
            kept.sendall(PING)
            assert answer(kept) == b"/"
            busy = stack.enter_context(running.secured())
            busy.sendall(get("/wait/0.3"))
            time.sleep(0.1)
            began = time.monotonic()
        assert time.monotonic() - began < 3 * Hasty.LINGER_S
        assert answer(busy) == b"/wait/0.3"


def test_stopping_lets_a_slow_reader_read_on(contexts: Contexts, pki: Path) -> None:
    received = []

    def read_late(connection: socket.socket) -> None:
        time.sleep(3 * Hasty.LINGER_S)
        received.append(answer(connection))

    with ExitStack() as stack:
        with running_worker(application, contexts=contexts, pki=pki) as running:
            reader = stack.enter_context(running.secured(narrow=True))
            reader.sendall(get(f"/bytes/{LARGE}"))
            thread = threading.Thread(target=read_late, args=[reader])
            thread.start()
            time.sleep(0.1)
        thread.join()
    assert received == [bytes(LARGE)]


def test_worker_without_a_file_left_for_a_connection_lives_on(plain: RunningWorker) -> None:
    class Exhausted:
        def accept(self) -> None:
            raise OSError(errno.EMFILE, "too many open files")

    with plain.opened() as kept:
        kept.sendall(PING)
        assert answer(kept) == b"/"
        waiting_in(plain, 1)
        plain.worker.method_queue.defer(plain.worker.accept, Exhausted())
        assert is_closed_within(kept, AT_ONCE_S)
    assert_serves_at_once(plain)


def test_fault_in_a_step_ends_the_connection_and_not_the_worker(plain: RunningWorker) -> None:
    def fail(_: Accepted) -> None:
        raise RuntimeError("nobody thought of this")

    with plain.opened() as connection:
        connection.sendall(PING)
        assert answer(connection) == b"/"
        (waiting,) = waiting_in(plain, 1)
        plain.worker.method_queue.defer(plain.worker._guarded, fail, waiting)
        assert is_closed_within(connection, AT_ONCE_S)
    assert_serves_at_once(plain)


def test_attack_is_told_in_a_line_now_and_then(
    contexts: Contexts, pki: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Talkative(Hasty):
        REPORT_S = 1.0

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "lately" in record.getMessage()]

    def attack(times: int) -> None:
        for _ in range(times):
            with running.connect() as connection:
                connection.sendall(PING)
                is_closed_within(connection, AT_ONCE_S)
        time.sleep(2 * Talkative.LOOK_S)

    with running_worker(application, contexts=contexts, pki=pki, kind=Talkative) as running:
        attack(1)
        assert told() == ["lately: 1 handshakes failed"]  # the first at once
        attack(3)
        assert len(told()) == 1
        time.sleep(2 * Talkative.REPORT_S)
        assert told()[1:] == ["lately: 3 handshakes failed"]  # and nothing after it, for nothing happened
