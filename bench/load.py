"""The load generator: one thread in a process of its own, keep-alive TLS connections, requests built beforehand.

It reads a plan and bodies from standard input, keeps one request in flight per connection until time or bodies run
out, and writes what it saw to standard output. Answers are read as far as status and Content-Length. Anything but 200
is a failure.
"""

from __future__ import annotations

import gc
import json
import re
import selectors
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

from bench import processes

HOST = "127.0.0.1"
DRAIN_S = 20.0
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


class LoadFailed(Exception):
    """The load generator itself came to nothing. The text is what it wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send where. `pid` is the server's first process, whose processor time is read along with the load."""

    port: int
    path: str
    authorization: str
    ca: str
    certificate: str
    key: str
    connections: int
    seconds: float
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it: completions per second of the window, latency in ms, server processor time in ms a request.

    `others` is how much of the machine's processor time went to neither server nor load; `spread` counts the
    connections that each worker of the server held, most first.
    """

    sent: int
    completed: int
    failures: int
    first_failure: str
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float | None
    others: float | None
    spread: list[int]


def in_own_process(plan: Plan, bodies: Sequence[bytes]) -> Outcome:
    """Run the plan in a new process and return its outcome. Raises `LoadFailed`; stops by itself in any case."""
    content = b"\n".join([json.dumps(asdict(plan)).encode(), *bodies])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=content,
            capture_output=True,
            check=False,
            cwd=Path(__file__).parent.parent,
            timeout=plan.seconds + DRAIN_S + 60,
        )
    except subprocess.TimeoutExpired:
        raise LoadFailed("the load generator did not come to an end") from None
    if done.returncode:
        raise LoadFailed(done.stderr.decode("utf-8", "replace").strip())
    return Outcome(**json.loads(done.stdout))


@dataclass(slots=True)
class _Connection:
    """One connection with at most one request in flight."""

    sock: ssl.SSLSocket
    sent_at: float = 0.0
    received: bytes = b""


@dataclass(slots=True)
class _Run:
    """The state of one run, from the first request to the last answer."""

    requests: Iterator[bytes]
    deadline: float = 0.0
    last: float = 0.0
    in_flight: int = 0
    sent: int = 0
    in_window: int = 0
    failures: int = 0
    first_failure: str = ""
    latencies: list[float] = field(default_factory=list)

    def send(self, connection: _Connection, now: float) -> None:
        """Send the next request, if there is one and still time for it."""
        request = next(self.requests, None) if now < self.deadline else None
        if request is None:
            return
        connection.sent_at, connection.received = now, b""
        self.sent += 1
        self.in_flight += 1
        if connection.sock.send(request) != len(request):
            raise LoadFailed("a request did not fit into the socket's buffer")

    def receive(self, connection: _Connection) -> bool:
        """Read what is there; return whether the connection is of further use."""
        while True:
            try:
                data = connection.sock.recv(65_536)
            except ssl.SSLWantReadError:
                return True
            except OSError as error:
                return self._lost(f"the connection broke: {error}")
            if not data:
                return self._lost("the server closed a connection that had a request in flight")
            connection.received += data
            status = _status_if_whole(connection.received)
            if status is not None:
                self._complete(connection, status)
                return True

    def _complete(self, connection: _Connection, status: bytes) -> None:
        now = self.last = perf_counter()
        self.in_flight -= 1
        self.latencies.append(now - connection.sent_at)
        self.in_window += now <= self.deadline
        if status != b"200":
            self.failures += 1
            self.first_failure = self.first_failure or connection.received[:1_000].decode("utf-8", "replace")
        self.send(connection, now)

    def _lost(self, reason: str) -> bool:
        self.in_flight -= 1
        self.failures += 1
        self.first_failure = self.first_failure or reason
        return False


def _status_if_whole(received: bytes) -> bytes | None:
    """Return the three digits of the status once the whole response is there, else None."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(received, 0, end + 2)
    if length is None:
        raise LoadFailed(f"an answer has no Content-Length: {received[:300]!r}")
    return received[9:12] if len(received) >= end + 4 + int(length[1]) else None


def run(plan: Plan, bodies: Sequence[bytes]) -> Outcome:
    """Run the plan in this process. Raises `LoadFailed` or `OSError` where it cannot be run at all."""
    head = _head(plan)
    requests = iter([head + b"%d\r\n\r\n" % len(body) + body for body in bodies])
    context = _context(plan)
    opened = [_Connection(_connect(context, plan.port, next(requests))) for _ in range(plan.connections)]
    # The collector would stop this thread now and then, and there is nothing for it to find.
    gc.collect()
    gc.disable()
    pids = processes.descendants(plan.pid)
    spread = processes.connections(pids, plan.port)
    state = _Run(requests, sent=len(opened))
    before = processes.Usage.now(pids)
    _drive(state, opened, before.clock_s + plan.seconds)
    used = processes.Usage.now(pids).since(before)
    for connection in opened:
        connection.sock.close()
    ordered = sorted(state.latencies) or [0.0]
    answered = len(state.latencies)
    window_s = min(state.last, state.deadline) - before.clock_s
    return Outcome(
        sent=state.sent,
        completed=answered,
        failures=state.failures,
        first_failure=state.first_failure,
        per_second=state.in_window / window_s if answered else 0.0,
        p50_ms=ordered[len(ordered) // 2] * 1_000,
        p99_ms=ordered[len(ordered) * 99 // 100] * 1_000,
        cpu_ms=used.server_s / answered * 1_000 if used.known and answered else None,
        others=used.others if used.known else None,
        spread=spread,
    )


def _drive(state: _Run, opened: Sequence[_Connection], deadline: float) -> None:
    state.deadline = deadline
    with selectors.DefaultSelector() as selector:
        for connection in opened:
            connection.sock.setblocking(False)
            selector.register(connection.sock, selectors.EVENT_READ, connection)
            state.send(connection, perf_counter())
        while state.in_flight:
            ready = selector.select(timeout=1.0)
            for key, _ in ready:
                if not state.receive(key.data):
                    selector.unregister(key.fileobj)
            if not ready and perf_counter() > deadline + DRAIN_S:
                raise LoadFailed(f"{state.in_flight} requests were still unanswered {DRAIN_S:.0f} s after the end")


def _head(plan: Plan) -> bytes:
    return (
        f"POST {plan.path} HTTP/1.1\r\nHost: {HOST}:{plan.port}\r\nAuthorization: {plan.authorization}\r\n"
        "Accept: application/json\r\nContent-Type: application/json\r\nContent-Length: "
    ).encode("ascii")


def _context(plan: Plan) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=plan.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(plan.certificate, plan.key)
    return context


def _connect(context: ssl.SSLContext, port: int, request: bytes) -> ssl.SSLSocket:
    """Open a connection and ask a first question, not measured."""
    plain = socket.create_connection((HOST, port), timeout=10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock = context.wrap_socket(plain, server_hostname=HOST)
    sock.sendall(request)
    received = b""
    while (status := _status_if_whole(received)) is None:
        data = sock.recv(65_536)
        if not data:
            raise LoadFailed("the server closed a new connection")
        received += data
    if status != b"200":
        raise LoadFailed(f"the first answer was {received[:1_000].decode('utf-8', 'replace')}")
    return sock


def main() -> None:
    """Read a plan (one line of JSON) and bodies (one a line), run it, write the outcome as JSON."""
    first, *bodies = sys.stdin.buffer.read().split(b"\n")
    try:
        outcome = run(Plan(**json.loads(first)), bodies)
    except (LoadFailed, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.write(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
