"""A real node for tests: its own process group, TLS port and state, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app.keys import node_keys as keys
from app.valkey import EmbeddedValkey
from client.http import NodeClient
from examples.demo.build import build
from examples.demo.node import environment

ROOT = Path(__file__).parents[2]
START_WITHIN_S = 60


@dataclass
class RunningNode:
    """A node under `var`; `settings` are added to the demonstration's own."""

    var: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        return environment(self.var, self.port) | dict(self.settings)

    def start(self) -> None:
        """Start the node and wait until it answers."""
        with (self.var / f"node-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_WITHIN_S
        while not self.is_live():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the node did not start: {self.log()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the whole group, as a power cut would; nobody gets to say goodbye."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Ask the node to end, and wait for it."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    def log(self) -> str:
        return (self.var / f"node-{self.port}.log").read_text(errors="replace")

    def is_live(self) -> bool:
        context = ssl.create_default_context(cafile=self.var / "pki" / "ca.pem")
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=1) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
            ):
                secured.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return secured.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def client(self, name: str, maxsize: int = 8) -> NodeClient:
        """An HTTPS client of this node under the demonstration's certificate of `name`."""
        pki = self.var / "pki"
        certificate, key = pki / f"{name}.pem", pki / f"{name}.key"
        return NodeClient(
            self.url, ca=pki / "ca.pem", certificate=certificate, key=key, client_id=name, maxsize=maxsize
        )


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def demo_folder() -> Iterator[Path]:
    """A small demonstration under a short path, as unix sockets need; gone afterwards, its Valkey too."""
    var = Path(tempfile.mkdtemp(prefix="hecha-"))
    try:
        build(var, people=3_000, enterprises=600, claimants=500, hits=8, confirmable=4)
        keys.create(var / "keys")
        yield var
    finally:
        # A node that was killed leaves its Valkey behind for its successor; here there is none.
        EmbeddedValkey(var / "state").stop()
        shutil.rmtree(var, ignore_errors=True)


@contextmanager
def running_node(var: Path, **settings: str) -> Iterator[RunningNode]:
    """A node that runs until the block ends."""
    node = RunningNode(var, free_port(), settings)
    node.start()
    try:
        yield node
    finally:
        node.stop()
