"""The two servers under measurement, each a process group of its own on a free port, over demonstration data."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import echo, questions
from bench.load import HOST, Plan
from examples.demo.build import build
from examples.demo.node import NodeFailed, environment, running

START_WITHIN_S = 30.0
STOP_WITHIN_S = 15.0

_REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: where questions go, and its first process."""

    name: str
    port: int
    path: str
    pid: int


@dataclass(frozen=True, slots=True)
class Bench:
    """The demonstration's folder and the two servers that run over it."""

    var: Path
    echo: Target
    verification: Target

    def plan(self, target: Target, token: str, connections: int, seconds: float) -> Plan:
        """Return the plan of one load on one of the servers, as the client of `bench.questions`."""
        pki = self.var / "pki"
        return Plan(
            port=target.port,
            path=target.path,
            authorization=f"Bearer {token}",
            ca=str(pki / "ca.pem"),
            certificate=str(pki / f"{questions.CLIENT}.pem"),
            key=str(pki / f"{questions.CLIENT}.key"),
            connections=connections,
            seconds=seconds,
            pid=target.pid,
        )

    def token(self) -> str:
        """Return a new access token from the node; it lasts longer than any round. Raises `NodeFailed`."""
        body = f"grant_type=client_credentials&client_id={questions.CLIENT}&scope=verify:{questions.SERVICE}"
        context = client_context(self.var)
        connection = http.client.HTTPSConnection(HOST, self.verification.port, timeout=10, context=context)
        try:
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", "/oauth2/token", body, kind)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise NodeFailed(f"the node gave no token: {answer.status} {content.decode('utf-8', 'replace')}")
        return str(json.loads(content)["access_token"])


@contextlib.contextmanager
def folder(people: int, claimants: int) -> Iterator[Path]:
    """Build PKI and data in a temporary folder, read every source once, and remove all of it at the end."""
    with tempfile.TemporaryDirectory(prefix="hecha-bench-", ignore_cleanup_errors=True) as name:
        var = Path(name)
        build(var, people=people, enterprises=people // 5, claimants=claimants)
        for source in sorted((var / "sources").iterdir()):
            source.read_bytes()
        yield var


@contextlib.contextmanager
def servers(var: Path) -> Iterator[Bench]:
    """Run the node and the echo until the block ends. Raises `NodeFailed` if one does not start."""
    port = free_port()
    with running(var, port) as node, _echo(var) as yardstick:
        yield Bench(var, yardstick, Target("verification", port, questions.PATH, node.process.pid))


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def client_context(var: Path) -> ssl.SSLContext:
    """Return a TLS context that trusts the demonstration's authority and presents the client's certificate."""
    context = ssl.create_default_context(cafile=var / "pki" / "ca.pem")
    context.load_cert_chain(var / "pki" / f"{questions.CLIENT}.pem", var / "pki" / f"{questions.CLIENT}.key")
    return context


@contextlib.contextmanager
def _echo(var: Path) -> Iterator[Target]:
    port = free_port()
    log = var / "echo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.echo"],
            cwd=_REPOSITORY,
            env=environment(var, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(process, port, client_context(var), log)
        yield Target("echo", port, echo.PATH, process.pid)
    finally:
        _stop(process)


def _wait_for(process: subprocess.Popen[bytes], port: int, context: ssl.SSLContext, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection((HOST, port), timeout=2) as plain:
                context.wrap_socket(plain, server_hostname=HOST).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise NodeFailed(f"the echo did not start: {log.read_text('utf-8', 'replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        # The group's id is the id of its first process; it holds the workers.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
