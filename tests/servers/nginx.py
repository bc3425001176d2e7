"""A real nginx with `deploy/nginx.conf`, its paths and address replaced by a test's own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from tests.servers.node import ROOT, free_port

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
LINES = 80  # of base64 in a certificate's PEM form; 80 hold 3,840 bytes
MISSING = "nginx is not installed (apt-get install nginx-light)"
START_WITHIN_S = 10
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx; `folder` holds its logs and what it may keep on disk for a while."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def logs(self) -> str:
        """All that it has written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def temporary(self) -> list[Path]:
        """Folders that bodies and answers would be written to on their way."""
        return [self.folder / name for name in _TEMPORARY]


def program() -> str | None:
    """Where nginx is, None if it is not installed."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def certificate_map(lines: int = LINES) -> str:
    """The line of the configuration that joins a PEM body to a Byte Sequence: nginx has no base64 of its own."""
    names = [f"pem{number:02d}" for number in range(1, lines + 1)]
    captures = "".join(rf"(?:(?<{name}>[0-9A-Za-z+/=]+)\n)?" for name in names)
    joined = "".join(f"${name}" for name in names)
    return f'"~^-----BEGIN CERTIFICATE-----\\n{captures}-----END CERTIFICATE-----\\n?$" ":{joined}:";'


def rendered(folder: Path, port: int, node: Path, pki: Path) -> str:
    """The configuration as it lies, with these paths and this port instead of those at its top.

    Raises AssertionError for a path that is not there to be replaced.
    """
    text = CONFIGURATION.read_text("utf-8")
    for stated, own in {
        "user www-data;": "user root;" if os.geteuid() == 0 else "",
        "/run/nginx.pid": folder / "nginx.pid",
        "/var/log/nginx/hecha-error.log": folder / "error.log",
        "/var/log/nginx/hecha-access.log": folder / "access.log",
        "server unix:/run/hecha/node.sock;": f"server unix:{node};",
        "/etc/hecha/tls/server.pem": pki / "server.pem",
        "/etc/hecha/tls/server.key": pki / "server.key",
        "/etc/hecha/tls/clients-ca.pem": pki / "ca.pem",
        "listen 8443 ssl": f"listen 127.0.0.1:{port} ssl",
        "listen [::]:8443 ssl;": f"listen [::1]:{port} ssl;" if _speaks_ipv6() else "",
    }.items():
        assert text.count(stated) == 1, stated
        text = text.replace(stated, str(own))
    # Where it was built to keep them, only root may write.
    places = "".join(f"    {name}_temp_path {folder / name};\n" for name in _TEMPORARY)
    return re.sub(r"^http \{\n", lambda found: found[0] + places, text, count=1, flags=re.MULTILINE)


def _speaks_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@contextmanager
def running_nginx(folder: Path, node: Path, pki: Path) -> Iterator[Nginx]:
    """nginx in front of the node that listens at the Unix socket `node`, until the block ends."""
    nginx = Nginx(folder, free_port())
    configuration = folder / "nginx.conf"
    configuration.write_text(rendered(folder, nginx.port, node, pki), "utf-8")
    command = [str(program()), "-e", str(folder / "start.log"), "-p", str(folder), "-c", str(configuration)]
    process = subprocess.Popen([*command, "-g", "daemon off;"], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_WITHIN_S
        while not (folder / "nginx.pid").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start: {nginx.logs()}")
            time.sleep(0.02)
        yield nginx
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def mirror(path: Path) -> Iterator[None]:
    """In the node's place: whoever answers every request with its own head."""

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(head), head)
            )

    def listen() -> None:
        with suppress(OSError):
            while True:
                answer(listener.accept()[0])

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        thread = Thread(target=listen)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
