"""Connections that stand still hold no thread for long, and requests that are no HTTP leave no text behind."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.channel import STALLED_S
from tests.servers.node import RunningNode, demo_folder, running_node
from tests.servers.worker import answer, client_context, is_closed_within

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


QUESTION = (
    b"POST /v1/services/employment-status/verifications HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
)
LONG = QUESTION + b"Content-Length: 60000\r\n"
CHUNKED = QUESTION + b"Transfer-Encoding: chunked\r\n"
ASKED_FOR = b"Expect: 100-continue\r\n\r\n"


def timed_token(node: RunningNode) -> float:
    """How long another client takes to get a token, on a connection of its own."""
    client = node.client("hz-civil-dibao")
    began = time.monotonic()
    try:
        assert client.token()
    finally:
        client.close()
    return time.monotonic() - began


@pytest.mark.slow
def test_bodies_of_one_client_that_stand_still_keep_nobody_out() -> None:
    """It needs no more than its registration for this; there are many more of them than threads."""
    said = [LONG + b"\r\n{"] * 130 + [LONG + ASKED_FOR] * 20
    said += [CHUNKED + b"\r\nea60\r\n{"] * 70 + [CHUNKED + ASKED_FOR] * 10
    with demo_folder() as var, running_node(var, HECHA_WORKERS="2", HECHA_THREADS="32") as node, ExitStack() as stack:
        still = [stack.enter_context(secured(node, "hz-outsider")) for _ in said]
        for connection, text in zip(still, said, strict=True):
            connection.sendall(text)
        began, took = time.monotonic(), []
        for _ in range(20):
            took.append(timed_token(node))
            for connection in still[:130:2]:
                connection.sendall(b"x")
        assert max(took) < 3.0
        assert not is_closed_within(still[0], 0.01)  # they were all there meanwhile
        late = max(began, time.monotonic()) + STALLED_S + 2
        for connection, text in zip(still, said, strict=True):
            if ASKED_FOR in text:
                assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert is_closed_within(connection, max(0.01, late - time.monotonic()))
        assert "handshakes or requests too slow" in node.log()


@pytest.mark.slow
def test_body_over_the_limit_is_refused_before_it_comes(small: RunningNode) -> None:
    authorization = f"Authorization: Bearer {small.client('hz-hrss-benefits').token()}\r\n".encode()
    with secured(small, "hz-hrss-benefits") as connection:
        began = time.monotonic()
        connection.sendall(QUESTION + authorization + b"Content-Length: 65537\r\n" + ASKED_FOR)
        assert json.loads(answer(connection))["type"] == "too-large"
        assert time.monotonic() - began < STALLED_S / 5


@pytest.mark.parametrize(
    "request_text",
    [
        f"GET /x\x00{CANARY} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nX {CANARY}: y\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {CANARY}\r\n\r\n",
        f"POST /livez HTTP/1.1\r\nHost: x\r\nExpect: {CANARY}\r\n\r\n",
        f"{CANARY}\r\n\r\n",
        f"GET /{CANARY} HTTP/1.1\r\n\r\n",
        f"GET /livez HTTP/1.1\r\nHost: x\r\nHost: {CANARY}\r\n\r\n",
        f"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n{CANARY}",
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
