"""Connections that stand still hold no thread for long, and requests that are no HTTP leave no text behind."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from app.channel import STALLED_S
from tests.servers.node import RunningNode, demo_folder, running_node
from tests.servers.worker import client_context, is_closed_within

CANARY = "339881197803120013"


@pytest.fixture(scope="module")
def small() -> Iterator[RunningNode]:
    """A node with four threads in all."""
    with demo_folder() as var, running_node(var, HECHA_WORKERS="1", HECHA_THREADS="4") as node:
        yield node


def secured(node: RunningNode, name: str | None = None) -> ssl.SSLSocket:
    context = client_context(node.var / "pki", name)
    plain = socket.create_connection(("127.0.0.1", node.port), timeout=30)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.mark.slow
def test_heads_that_stand_still_hold_no_thread_and_are_closed(small: RunningNode) -> None:
    with ExitStack() as stack:
        still = [stack.enter_context(secured(small)) for _ in range(20)]
        for connection in still:
            connection.sendall(b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Le")
        began = time.monotonic()
        assert small.is_live()
        assert time.monotonic() - began < STALLED_S / 5
        late = began + STALLED_S + 2
        assert all(is_closed_within(connection, max(0.01, late - time.monotonic())) for connection in still)


@pytest.mark.slow
def test_long_bodies_that_stand_still_or_drip_give_their_threads_back(small: RunningNode) -> None:
    """Only a certificate gets a client so far that a thread waits for its body."""
    stop = threading.Event()

    def drip(connection: ssl.SSLSocket) -> None:
        with suppress(OSError):
            while not stop.wait(1.0):
                connection.sendall(b"x")

    head = b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with ExitStack() as stack:
        bodies = [stack.enter_context(secured(small, "hz-hrss-benefits")) for _ in range(4)]
        for connection in bodies:
            connection.sendall(head + b"Content-Length: 60000\r\n\r\nscope=")
        drips = [threading.Thread(target=drip, args=[connection]) for connection in bodies[:2]]
        for thread in drips:
            thread.start()
        time.sleep(0.5)
        assert not small.is_live()  # all four threads wait: otherwise this shows nothing
        deadline = time.monotonic() + STALLED_S + 3
        while not small.is_live():
            assert time.monotonic() < deadline
        stop.set()
        for thread in drips:
            thread.join()


@pytest.mark.parametrize(
    "request_text",
    [
        f"GET /x\x00{CANARY} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nX {CANARY}: y\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {CANARY}\r\n\r\n",
        f"POST /livez HTTP/1.1\r\nHost: x\r\nExpect: {CANARY}\r\n\r\n",
        f"{CANARY}\r\n\r\n",
    ],
)
def test_unreadable_request_leaves_no_text_behind(small: RunningNode, request_text: str) -> None:
    with secured(small) as connection:
        connection.sendall(request_text.encode())
        reply = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == "malformed"
    assert CANARY.encode() not in reply
    assert CANARY not in small.log()


def test_chunked_body_over_the_limit_is_refused_whole(small: RunningNode) -> None:
    """A body that is cut off at the limit must not be read as if it ended there."""
    client = small.client("hz-hrss-benefits")
    persona = json.loads((small.var / "personas.json").read_text())[0]
    names = ("purpose", "case", "operator", "subject", "confirm", "declared")
    question = json.dumps({name: persona[name] for name in names}).encode()
    body = question.ljust(65_536) + b" NOT JSON"
    headers = {"Authorization": f"Bearer {client.token()}", "Content-Type": "application/json"}
    path = f"/v1/services/{persona['service']}/verifications"
    pieces = (body[start : start + 9_000] for start in range(0, len(body), 9_000))
    response = client._pool.urlopen("POST", path, pieces, headers, retries=False)
    assert (response.status, response.json()["type"]) == (413, "too-large")
