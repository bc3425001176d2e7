"""Idle connections, slow handshakes, slow readers: all at once, and nobody good notices."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from app.worker import Worker
from tests.servers.node import RunningNode, demo_folder, running_node
from tests.servers.worker import client_context, client_hello, is_closed_within

IDLE, SLOW, GOOD = 200, 50, 50
AT_ONCE_S = 2.0  # for a request, on a machine that does other things too


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    with demo_folder() as var, running_node(var) as running:
        yield running


def connect(node: RunningNode) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout=10)


@contextmanager
def dripping(connections: list[socket.socket], text: bytes) -> Iterator[None]:
    """All of them say this, a byte every half second, while the block runs."""
    stop = threading.Event()

    def drip() -> None:
        for byte in text:
            for connection in connections:
                with suppress(OSError):
                    connection.send(bytes([byte]))
            if stop.wait(0.5):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def good_requests(node: RunningNode, count: int) -> list[float]:
    """Ask with certificate and token, half of them on connections of their own; how long each took."""
    client = node.client("hz-hrss-benefits")
    authorization = {"Authorization": f"Bearer {client.token()}"}

    def ask(number: int) -> float:
        headers = authorization | ({"Connection": "close"} if number % 2 else {})
        began = time.monotonic()
        response = client._pool.urlopen("GET", "/v1/services", headers=headers, retries=False)
        assert response.status == 200
        return time.monotonic() - began

    try:
        with ThreadPoolExecutor(5) as pool:
            return list(pool.map(ask, range(count)))
    finally:
        client.close()


@pytest.mark.slow
def test_idle_and_slow_connections_keep_nobody_out_and_are_closed(node: RunningNode) -> None:
    hello = client_hello()
    with ExitStack() as stack:
        began = time.monotonic()
        idle = [stack.enter_context(connect(node)) for _ in range(IDLE)]
        slow = [stack.enter_context(connect(node)) for _ in range(SLOW)]
        for connection in slow[::2]:
            connection.sendall(hello[: len(hello) // 2])
        with dripping(slow[1::2], hello):
            took = good_requests(node, GOOD)
            assert len(took) == GOOD
            assert max(took) < AT_ONCE_S
            assert time.monotonic() - began < Worker.HANDSHAKE_S  # they were all there meanwhile
            assert not is_closed_within(idle[0], 0.01)
            late = began + Worker.HANDSHAKE_S + 2
            assert all(is_closed_within(each, max(0.01, late - time.monotonic())) for each in idle + slow)
    assert node.log().count("handshakes or requests too slow") >= 1


def test_slow_readers_of_what_is_public_keep_nobody_out(node: RunningNode) -> None:
    context = client_context(node.var / "pki")
    with ExitStack() as stack:
        for _ in range(80):  # more than there are threads
            reader = stack.enter_context(context.wrap_socket(connect(node), server_hostname="127.0.0.1"))
            # The kernel itself takes the first answers; more than it takes is asked for.
            reader.sendall(4 * b"GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.0)
        assert max(good_requests(node, GOOD)) < AT_ONCE_S


def test_connections_that_are_not_closed_after_their_answer_keep_nobody_out(node: RunningNode) -> None:
    context = client_context(node.var / "pki")
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(context.wrap_socket(connect(node), server_hostname="127.0.0.1"))
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert max(good_requests(node, GOOD)) < AT_ONCE_S


def test_handshakes_that_are_broken_off_harm_nobody(node: RunningNode) -> None:
    hello = client_hello()
    for end in (1, 5, len(hello) // 2, len(hello)):
        for _ in range(10):
            with connect(node) as connection:
                connection.sendall(hello[:end])
    for text in (b"GET / HTTP/1.1\r\n\r\n", bytes(2_000), b"\x16\x03\x01\xff\xff" + bytes(70_000)):
        with connect(node) as connection, suppress(OSError):
            connection.sendall(text)
    assert max(good_requests(node, 10)) < AT_ONCE_S


def test_requests_cut_off_in_the_middle_harm_nobody(node: RunningNode) -> None:
    context = client_context(node.var / "pki", "hz-hrss-benefits")
    for text in (b"P", b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\nscope="):
        for _ in range(10):
            with (
                suppress(ssl.SSLError),
                context.wrap_socket(connect(node), server_hostname="127.0.0.1") as connection,
            ):
                connection.sendall(text)
    assert max(good_requests(node, 10)) < AT_ONCE_S
