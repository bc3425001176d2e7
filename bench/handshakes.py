"""`python -m bench handshakes`: good questions while 200 connections say nothing and 50 handshakes dawdle.

Rounds without and with the attack take turns on one running node; in each, one client asks over a kept connection and
then over a new one for each question. What counts is the attack's p50 and p99 as a share of those without it. All
questions must be answered, and the attack must stand until its round ends.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import click

from bench import node
from bench.load import HOST
from bench.questions import CLIENT, PATH, Questions
from client.http import NodeClient
from examples.demo.node import NodeFailed, running

IDLE, SLOW = 200, 50
PEOPLE, CLAIMANTS = 6_000, 3_000
ROUNDS, QUICK_ROUNDS = 12, 2
ASKED, QUICK_ASKED = 100, 25  # in a round, each way: below the ten seconds that the node gives a handshake
MOST_S = 120.0

Way = tuple[str, bool]
"""How a question travels, "kept" or "new" connection, and whether under attack."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks each question once, with certificate and token."""

    port: int
    context: ssl.SSLContext
    tokens: NodeClient
    questions: Questions

    def connect(self) -> http.client.HTTPSConnection:
        """A connection for one question or for many, not opened yet."""
        return http.client.HTTPSConnection(HOST, self.port, timeout=30, context=self.context)

    def ask(self, connection: http.client.HTTPSConnection) -> float:
        """Ask the next question; the seconds it took, with the handshake if it had to be done."""
        headers = {"Authorization": f"Bearer {self.tokens.token()}", "Content-Type": "application/json"}
        (body,) = self.questions.peek(1)
        self.questions.use_up(1)
        began_s = time.perf_counter()
        try:
            connection.request("POST", PATH, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NodeFailed(f"a good question was not answered: {type(error).__name__}") from None
        taken_s = time.perf_counter() - began_s
        if answer.status != http.HTTPStatus.OK:
            raise NodeFailed(f"a good question was answered {answer.status}: {content.decode('utf-8', 'replace')}")
        return taken_s


@dataclass(slots=True)
class Timings:
    """Seconds by way, of all rounds."""

    taken: dict[Way, list[float]] = field(default_factory=lambda: defaultdict(list))

    def round(self, asker: Asker, asked: int, *, attacked: bool) -> None:
        """Ask so many questions each way."""
        kept = asker.connect()
        asker.ask(kept)
        self.taken["kept", attacked] += [asker.ask(kept) for _ in range(asked)]
        kept.close()
        for _ in range(asked):
            new = asker.connect()
            self.taken["new", attacked].append(asker.ask(new))
            new.close()

    def table(self) -> str:
        """Milliseconds and shares, one line a way and percentile."""
        lines = ["connection  percentile  quiet ms  attacked ms  attacked/quiet"]
        for way in ("kept", "new"):
            for percent in (50, 99):
                quiet, attacked = (percentile(self.taken[way, under], percent) for under in (False, True))
                lines.append(
                    f"{way:10}  p{percent:<9}  {quiet * 1e3:8.2f}  {attacked * 1e3:11.2f}  {attacked / quiet:14.2f}"
                )
        return "\n".join(lines)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least `percent` of a hundred do not exceed. Raises `ValueError` for none."""
    if not values:
        raise ValueError("nothing was measured")
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


@contextmanager
def attack(port: int) -> Iterator[list[socket.socket]]:
    """The idle and the slow, while the block runs: half of the slow stop in the middle, half drip on."""
    hello = client_hello()
    stop = threading.Event()
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection((HOST, port), timeout=10)) for _ in range(IDLE + SLOW)]
        halves, drips = opened[IDLE::2], opened[IDLE + 1 :: 2]
        for connection in halves:
            connection.sendall(hello[: len(hello) // 2])
        thread = threading.Thread(target=_drip, args=(drips, hello, stop))
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        yield opened


def _drip(connections: Sequence[socket.socket], hello: bytes, stop: threading.Event) -> None:
    for byte in hello:
        for connection in connections:
            with suppress(OSError):
                connection.send(bytes([byte]))
        if stop.wait(0.2):
            return


def client_hello() -> bytes:
    """The first message of a handshake."""
    arriving, leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(arriving, leaving, server_hostname=HOST).do_handshake()
    return leaving.read()


def standing(connections: Sequence[socket.socket]) -> int:
    """How many of them the node has not closed."""
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            count += bool(connection.recv(1))
        except BlockingIOError:
            count += 1
        except OSError:
            continue
    return count


def measure(var: Path, port: int, rounds: int, asked: int) -> Timings:
    """Take the rounds, as far as the time goes. Raises `NodeFailed` where a question fails or the attack falls."""
    pki = var / "pki"
    certificate, key = pki / f"{CLIENT}.pem", pki / f"{CLIENT}.key"
    url = f"https://{HOST}:{port}"
    tokens = NodeClient(url, ca=pki / "ca.pem", certificate=certificate, key=key, client_id=CLIENT)
    asker = Asker(port, node.client_context(var), tokens, Questions(var))
    Timings().round(asker, asked, attacked=False)  # warm up
    timings = Timings()
    until_s = time.monotonic() + MOST_S
    for _ in range(rounds):
        timings.round(asker, asked, attacked=False)
        with attack(port) as attackers:
            timings.round(asker, asked, attacked=True)
            if (left := standing(attackers)) < len(attackers):
                raise NodeFailed(f"{len(attackers) - left} attackers were closed early: ask less in a round")
        if time.monotonic() > until_s:
            break
    return timings


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=ROUNDS, show_default=True)
@click.option("--quick", is_flag=True, help="Few questions: does it run, and is everybody answered?")
def main(*, rounds: int, quick: bool) -> None:
    """Ask good questions with and without idle connections and slow handshakes; exit 0 only if all are answered."""
    try:
        with node.folder(PEOPLE, CLAIMANTS) as var:
            port = node.free_port()
            with running(var, port):
                timings = measure(var, port, QUICK_ROUNDS if quick else rounds, QUICK_ASKED if quick else ASKED)
    except NodeFailed as error:
        sys.exit(f"bench: {error}")
    asked = sum(map(len, timings.taken.values()))
    click.echo(f"{IDLE} idle connections, {SLOW} slow handshakes; all {asked} questions answered")
    click.echo(timings.table())


if __name__ == "__main__":
    main()
