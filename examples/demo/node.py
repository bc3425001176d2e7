"""Prepares the example node and runs it as the separate process that it is in life: keys, sources, TLS, state."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from examples.demo.build import PROVIDERS

HOST = "127.0.0.1"
START_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0

_REPOSITORY = Path(__file__).resolve().parents[2]


class NodeFailed(Exception):
    """The node could not be started or did not keep running. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Node:
    """A running node: its address and its process. `log` is what it wrote to its output."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def require_running(self) -> None:
        """Raise `NodeFailed` with the end of the log if the process has ended."""
        if (code := self.process.poll()) is not None:
            raise NodeFailed(f"the node ended with exit code {code}; {self.log} ends with:\n{_tail(self.log)}")


def environment(var: Path, port: int) -> dict[str, str]:
    """Return the settings of the demonstration's node, and the rest of this process's environment without any."""
    var = var.absolute()
    settings = {
        "HECHA_NODE_DIR": str(var / "node"),
        "HECHA_STATE_DIR": str(var / "state"),
        "HECHA_DATABASE_URL": f"sqlite:///{var / 'state' / 'node.db'}",
        "HECHA_KEYS_DIR": str(var / "keys"),
        "HECHA_BIND": f"{HOST}:{port}",
        "HECHA_ISSUER": f"https://{HOST}:{port}",
        "HECHA_TLS_CERTIFICATE": str(var / "pki" / "server.pem"),
        "HECHA_TLS_KEY": str(var / "pki" / "server.key"),
        "HECHA_TLS_CLIENT_CA": str(var / "pki" / "ca.pem"),
    }
    for provider in PROVIDERS:
        name = f"HECHA_SOURCE_{provider.upper().replace('-', '_')}"
        settings[name] = f"sqlite:///{var / 'sources' / provider}.db"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HECHA_")}
    return inherited | settings


@contextlib.contextmanager
def running(var: Path, port: int) -> Iterator[Node]:
    """Run the node until the block ends, then stop it and wait. Raises `NodeFailed` if it does not start.

    What it writes goes to `node.log` under `var`, anew each time.
    """
    _require_free(port)
    settings = environment(var, port)
    (var / "state").mkdir(parents=True, exist_ok=True, mode=0o700)
    log = var / "node.log"
    with log.open("wb") as output:
        _run_once(("keys", "--init"), settings, log)
        # A process group of its own: Ctrl-C in a terminal reaches this process only, which then stops the node.
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            cwd=_REPOSITORY,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    node = Node(f"https://{HOST}:{port}", process, log)
    try:
        _wait_until_live(node, port, var / "pki" / "ca.pem")
        yield node
    finally:
        _stop(process)


def _run_once(arguments: tuple[str, ...], settings: Mapping[str, str], log: Path) -> None:
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=_REPOSITORY,
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise NodeFailed(f"`app {' '.join(arguments)}` failed; {log} ends with:\n{_tail(log)}")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise NodeFailed(
                f"{HOST}:{port} cannot be used ({error.strerror}): stop what listens there, or choose another port, "
                f"for example PORT={port + 1000 if port < 60_000 else 9443}"
            ) from None


def _wait_until_live(node: Node, port: int, ca: Path) -> None:
    context = ssl.create_default_context(cafile=ca)
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        node.require_running()
        if _is_live(port, context):
            return
        time.sleep(0.1)
    raise NodeFailed(
        f"the node did not answer /livez within {START_WITHIN_S:.0f} s; {node.log} ends with:\n{_tail(node.log)}"
    )


def _is_live(port: int, context: ssl.SSLContext) -> bool:
    connection = http.client.HTTPSConnection(HOST, port, timeout=2, context=context)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        # Whatever is left of the group, workers included; its id is the id of its first process.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
