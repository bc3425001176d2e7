"""One worker of the node's server in a thread of this process, with short deadlines, and clients by hand."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, TypeAlias

from gunicorn.config import Config
from gunicorn.glogging import Logger

from app.settings import Settings
from app.tls import Contexts
from app.waiting import Accepted
from app.worker import Worker

Application: TypeAlias = "Callable[[Mapping[str, Any], Callable[..., Any]], Iterable[bytes]]"

KEEPALIVE_S = 5
MAX_BODY_BYTES = 1024 * 1024
PING = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Hasty(Worker):
    """The node's worker, in a hurry."""

    HANDSHAKE_S = 1.5
    FIRST_REQUEST_S = 1.5
    REQUEST_S = 2.0
    STALLED_S = 0.9
    LINGER_S = 0.5
    LOOK_S = 0.05

    def init_signals(self) -> None:
        """None: signals belong to the process of the tests."""


@dataclass(frozen=True, slots=True)
class RunningWorker:
    """A worker, where it listens, and the certificates of its PKI if it speaks TLS."""

    worker: Hasty
    address: Any
    pki: Path | None = None

    def connect(self, *, narrow: bool = False) -> socket.socket:
        """A connection without a word on it; a narrow one takes no more than some kilobytes before it is read."""
        raw = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        if narrow:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        raw.settimeout(10)
        raw.connect(self.address)
        return raw

    def secured(self, name: str | None = None, *, narrow: bool = False) -> ssl.SSLSocket:
        """A connection after its handshake, with the certificate of that name."""
        assert self.pki is not None
        return client_context(self.pki, name).wrap_socket(self.connect(narrow=narrow), server_hostname="localhost")

    def opened(self, *, narrow: bool = False) -> socket.socket:
        """A connection on which a request may begin."""
        return self.connect(narrow=narrow) if self.pki is None else self.secured(narrow=narrow)

    def waiting(self) -> list[Accepted]:
        """Those who wait now, as the loop itself sees them."""
        seen = SimpleQueue[list[Accepted]]()
        self.worker.method_queue.defer(lambda: seen.put(list(self.worker._room)))
        return seen.get(timeout=10)

    def ask(self, request: bytes = PING) -> bytes:
        """The answer to a request on a connection of its own."""
        with self.opened() as connection:
            connection.sendall(request)
            return answer(connection)


def tls_settings(pki: Path, **settings: str) -> Settings:
    """Settings of a node with the certificates in this folder, and not much besides."""
    files = {"TLS_CERTIFICATE": "server.pem", "TLS_KEY": "server.key", "TLS_CLIENT_CA": "ca.pem"}
    paths = {name: str(pki / file) for name, file in files.items()}
    env = {"NODE_DIR": str(pki), **paths, **settings}
    return Settings.from_env({f"HECHA_{name}": value for name, value in env.items()})


def client_context(pki: Path, name: str | None = None) -> ssl.SSLContext:
    """A client's context that trusts the PKI, with the certificate of that name."""
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    if name is not None:
        context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    return context


def client_hello() -> bytes:
    """The first message of a handshake."""
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(arriving, leaving, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return leaving.read()
    raise AssertionError("a handshake cannot be done alone")


def answer(connection: socket.socket) -> bytes:
    """The body of one answer with a Content-Length; b"" where the connection ended before it."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (data := connection.recv(65_536)):
            return b""
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
    while len(body) < length:
        data = connection.recv(65_536)
        assert data, "the answer broke off"
        body += data
    return body


def is_closed_within(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side ends the connection in that time, saying nothing."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@contextmanager
def running_worker(
    application: Application,
    *,
    contexts: Contexts | None = None,
    pki: Path | None = None,
    kind: type[Hasty] = Hasty,
    listener: socket.socket | None = None,
    **settings: Any,
) -> Iterator[RunningWorker]:
    """A worker that runs until the block ends; then nobody may be left in its count."""
    config = Config()
    for name, value in {
        "threads": 1,
        "keepalive": KEEPALIVE_S,
        "graceful_timeout": 5,
        "loglevel": "error",
        **settings,
    }.items():
        config.set(name, value)
    if contexts is not None:
        config.set("certfile", "named, so that the scheme is https")
    sock = listener or socket.create_server(("127.0.0.1", 0))
    # Connections inherit it; otherwise the kernel alone would hold megabytes for a slow reader.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    app = SimpleNamespace(contexts=contexts, max_body_bytes=MAX_BODY_BYTES, wsgi=lambda: application)
    worker = kind(0, os.getppid(), [sock], app, 30, config, Logger(config))
    thread = threading.Thread(target=worker.init_process)
    thread.start()
    try:
        yield RunningWorker(worker, sock.getsockname(), pki)
    finally:
        worker.handle_exit(None, None)
        thread.join(20)
        worker.tmp.close()
        for descriptor in worker.PIPE:
            os.close(descriptor)
    assert not thread.is_alive()
    assert (worker.nr_conns, worker._gathered) == (0, 0)
