"""Connections that stand still hold no thread for long, and requests that are no HTTP leave no text behind."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.server import STALLED_S
from tests.servers.node import RunningNode, demo_folder, running_node

CANARY = "339881197803120013"


@pytest.fixture(scope="module")
def small() -> Iterator[RunningNode]:
    """A node with four threads in all."""
    with demo_folder() as var, running_node(var, HECHA_WORKERS="1", HECHA_THREADS="4") as node:
        yield node


def secured(node: RunningNode) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=node.var / "pki" / "ca.pem")
    plain = socket.create_connection(("127.0.0.1", node.port), timeout=30)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_connections_that_stand_still_give_their_threads_back(small: RunningNode) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(secured(small)).sendall(b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Le")
        deadline = time.monotonic() + 3 * STALLED_S
        while not small.is_live():
            assert time.monotonic() < deadline


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
