"""Raw bytes over connections, and the statuses that come back: for requests that no client library would send."""

from __future__ import annotations

import json
import re
import socket
import ssl
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeAlias

from tests.nodes.consumer import der
from tests.servers.spoofs import Spoof

Connect: TypeAlias = "Callable[[], socket.socket]"
ANSWER_WITHIN_S = 20
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
_TOLD = re.compile(rb'"status":([0-9]{3})')


@dataclass(frozen=True, slots=True)
class Told:
    """What a spoof came to: the status of every answer, none where the connection was closed without one."""

    spoof: Spoof
    statuses: tuple[int, ...]


def over_unix(path: Path) -> Connect:
    """Connections to a Unix socket."""

    def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(ANSWER_WITHIN_S)
        try:
            made.connect(str(path))
        except OSError:
            made.close()
            raise
        return made

    return connect


def over_tls(port: int, pki: Path, name: str | None = None, source: str = "127.0.0.1") -> Connect:
    """TLS connections to a loopback port from another loopback address, with the certificate of `name` if given."""
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    if name is not None:
        context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")

    def connect() -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", port), ANSWER_WITHIN_S, source_address=(source, 0))
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    return connect


def tell(connect: Connect, spoofs: Sequence[Spoof], at_once: int = 4) -> list[Told]:
    """Send all of them over a few connections, a new one where the last was closed."""
    with ThreadPoolExecutor(at_once) as pool:
        shares = [spoofs[start::at_once] for start in range(at_once)]
        return [told for share in pool.map(lambda share: _tell(connect, share), shares) for told in share]


def ask(connect: Connect, request: bytes) -> bytes:
    """All that comes back until the other side closes the connection."""
    reply = b""
    with connect() as connection, suppress(ConnectionError, ssl.SSLError):
        connection.sendall(request)
        while received := connection.recv(65_536):
            reply += received
    return reply


def statuses(reply: bytes) -> tuple[int, ...]:
    """The status of every answer; one without a head, as in HTTP/0.9, is 200 unless it says otherwise."""
    found = _STATUS.findall(reply) or _TOLD.findall(reply)
    return tuple(map(int, found)) or ((200,) if reply else ())


def field(pki: Path, name: str) -> bytes:
    """The line with which a proxy hands over this client's certificate."""
    return b"Client-Cert: :" + b64encode(der(pki / f"{name}.pem")) + b":"


def request(token: str, *fields: bytes) -> bytes:
    """A request for a route that needs a caller."""
    lines = [
        b"GET /v1/services HTTP/1.1",
        b"Host: node",
        b"Connection: close",
        b"Authorization: Bearer " + token.encode(),
    ]
    return b"\r\n".join([*lines, *fields, b"", b""])


def token_of(connect: Connect, name: str, *fields: bytes) -> str:
    """A client's token, asked for over the wire."""
    body = f"grant_type=client_credentials&client_id={name}".encode()
    lines = [b"POST /oauth2/token HTTP/1.1", b"Host: node", b"Connection: close", b"Content-Length: %d" % len(body)]
    lines += [b"Content-Type: application/x-www-form-urlencoded", *fields, b"", body]
    document = ask(connect, b"\r\n".join(lines)).partition(b"\r\n\r\n")[2]
    token: str = json.loads(document)["access_token"]
    return token


def none_accepted(told: Sequence[Told], count: int) -> Counter[int | None]:
    """Hold that every answer to a spoof is 400 or 401; how often there was which, None for no answer."""
    assert len(told) == count
    wrong = [(one.spoof.kind, one.statuses, one.spoof.request) for one in told if {*one.statuses} - {400, 401}]
    assert not wrong, wrong[:3]
    return Counter(one.statuses[0] if one.statuses else None for one in told)


def _tell(connect: Connect, spoofs: Sequence[Spoof]) -> list[Told]:
    told: list[Told] = []
    with ExitStack() as kept:
        connection: socket.socket | None = None
        for spoof in spoofs:
            if spoof.ends:
                told.append(Told(spoof, statuses(ask(connect, spoof.request))))
                continue
            connection = connection or kept.enter_context(connect())
            status, is_open = _exchange(connection, spoof.request)
            told.append(Told(spoof, () if status is None else (status,)))
            if not is_open:
                kept.close()
                connection = None
    return told


def _exchange(connection: socket.socket, request: bytes) -> tuple[int | None, bool]:
    """The status of the one answer to a request, and whether the connection may be used again."""
    try:
        connection.sendall(request)
        with HTTPResponse(connection) as response:
            response.begin()
            response.read()
            return response.status, not response.will_close
    except (ConnectionError, ssl.SSLError, HTTPException):
        return None, False
