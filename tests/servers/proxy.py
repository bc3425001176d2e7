"""A small proxy that ends TLS and hands over the client's certificate (RFC 9440), and a node behind it.

One request a connection. It is strict in what it reads, and does what `deploy/nginx.conf` does; without `overwrites`
it makes the mistake that the standard warns of and adds its own field to whatever was sent.
"""

from __future__ import annotations

import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

from tests.servers.node import RunningNode, free_port
from tests.servers.wire import Connect, ask, over_unix, statuses

HEAD_BYTES = 32_768
BODY_BYTES = 65_536
STALLED_S = 10
_REQUEST = re.compile(rb"[A-Z]{3,20} [\x21-\x7e]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_OWN = (b"client-cert", b"client-cert-chain", b"x-forwarded-for", b"connection")
_REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Unreadable(ValueError):
    """The request is not such that the proxy would pass it on."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """What it listens with, where it passes requests on to, and the authorities it adds as `Client-Cert-Chain`."""

    context: ssl.SSLContext
    upstream: Connect
    overwrites: bool = True
    chain: tuple[bytes, ...] = field(default=())

    def handle(self, plain: socket.socket, client: str) -> None:
        """One connection from the handshake to the end of its one answer."""
        plain.settimeout(STALLED_S)
        with plain, suppress(OSError, ssl.SSLError), self.context.wrap_socket(plain, server_side=True) as secured:
            try:
                request = self._rewritten(secured, client)
            except Unreadable:
                secured.sendall(_REFUSED)
            else:
                secured.sendall(ask(self.upstream, request))

    def _rewritten(self, secured: ssl.SSLSocket, client: str) -> bytes:
        head, body = _read(secured)
        line, *fields = head.split(b"\r\n")
        if not _REQUEST.fullmatch(line):
            raise Unreadable
        passed = [entry for entry in fields if not self.overwrites or _name(entry) not in _OWN]
        body = _whole(body, fields, secured)
        own = [b"Connection: close", b"X-Forwarded-For: " + client.encode()]
        der = secured.getpeercert(binary_form=True)
        if der is not None:
            own += [b"Client-Cert: " + _sequence(der)]
            own += [b"Client-Cert-Chain: " + _sequence(above) for above in self.chain]
        return b"\r\n".join([line, *passed, *own, b"", body])


def _read(secured: ssl.SSLSocket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        more = secured.recv(HEAD_BYTES)
        received += more
        if not more or len(received) > HEAD_BYTES:
            raise Unreadable
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def _name(entry: bytes) -> bytes:
    found = _FIELD.fullmatch(entry)
    if found is None:
        raise Unreadable
    return found[1].lower()


def _whole(body: bytes, fields: list[bytes], secured: ssl.SSLSocket) -> bytes:
    """The body by its one stated length; whatever follows it is no request of this connection."""
    named = [(_name(entry), entry.partition(b":")[2].strip()) for entry in fields]
    lengths = [value for name, value in named if name == b"content-length"]
    if any(name == b"transfer-encoding" for name, _ in named) or len(lengths) > 1:
        raise Unreadable
    if lengths and not re.fullmatch(rb"[0-9]{1,5}", lengths[0]):
        raise Unreadable
    length = int(lengths[0]) if lengths else 0
    while len(body) < length <= BODY_BYTES and (more := secured.recv(BODY_BYTES)):
        body += more
    if len(body) < length:
        raise Unreadable
    return body[:length]


def _sequence(der: bytes) -> bytes:
    return b":" + b64encode(der) + b":"


@contextmanager
def running_proxy(pki: Path, upstream: Connect, **mode: bool | tuple[bytes, ...]) -> Iterator[int]:
    """A proxy with the demonstration's server certificate; yields its port on the loopback address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki / "ca.pem")
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    context.verify_mode = ssl.CERT_OPTIONAL
    proxy = Proxy(context, upstream, **mode)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, ThreadPoolExecutor(8) as pool:

        def accept() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    connection, address = listener.accept()
                    pool.submit(proxy.handle, connection, address[0])

        thread = Thread(target=accept)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@dataclass
class NodeBehind(RunningNode):
    """A node without TLS of its own, on a Unix socket."""

    @property
    def socket(self) -> Path:
        return self.var / f"node-{self.port}.sock"

    @property
    def env(self) -> dict[str, str]:
        own = {"BIND": f"unix:{self.socket}", "TLS_CERTIFICATE": "", "TLS_KEY": "", "PROXY_PEERS": "unix"}
        return super().env | {f"HECHA_{name}": value for name, value in own.items()} | dict(self.settings)

    def is_live(self) -> bool:
        request = b"GET /livez HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"
        try:
            return statuses(ask(over_unix(self.socket), request)) == (200,)
        except OSError:
            return False


@contextmanager
def node_behind(var: Path, **settings: str) -> Iterator[NodeBehind]:
    """A node behind a proxy that runs until the block ends; its state is its own, what it stands on is shared."""
    port = free_port()
    state = var / f"state-{port}"
    own = {"HECHA_STATE_DIR": str(state), "HECHA_DATABASE_URL": f"sqlite:///{state / 'node.db'}"}
    node = NodeBehind(var, port, own | settings)
    node.start()
    try:
        yield node
    finally:
        node.stop()
