"""The handshake: who gets in, who is turned away before HTTP, and what needs a certificate after it.

Then certificates replaced under a running node, and the node without TLS of its own, behind a proxy.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.demo.pki import write_pki
from tests.servers.node import RunningNode, demo_folder, free_port, running_node
from tests.servers.worker import client_context

WITHIN_S = 2.0

PUBLIC = ("/livez", "/docs", "/openapi.json", "/.well-known/jwks.json", "/.well-known/log.vkey")
SECURED = ("/v1/services", "/v1/decisions/x", "/log/checkpoint", "/oauth2/token", "/nowhere")


def get(node: RunningNode, path: str, certificate: Path | None = None, **limits: ssl.TLSVersion) -> tuple[int, bytes]:
    """Status and body of one GET over a connection of its own, by the standard library alone."""
    context = ssl.create_default_context(cafile=node.var / "pki" / "ca.pem")
    for name, version in limits.items():
        setattr(context, name, version)
    if certificate is not None:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with (
        socket.create_connection(("127.0.0.1", node.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        reply = b"".join(iter(lambda: secured.recv(65_536), b""))
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize("path", PUBLIC)
def test_public_route_needs_no_certificate(node: RunningNode, path: str) -> None:
    assert get(node, path)[0] == 200


@pytest.mark.parametrize("path", SECURED)
def test_without_certificate_every_other_route_is_refused(node: RunningNode, path: str) -> None:
    status, body = get(node, path)
    assert status == 401
    assert json.loads(body)["type"] == "certificate-required"


@pytest.mark.parametrize("name", ["expired", "foreign"])
def test_expired_or_foreign_certificate_ends_in_the_handshake(node: RunningNode, name: str) -> None:
    with pytest.raises(OSError, match=r"alert|EOF|reset|closed"):
        get(node, "/livez", node.var / "pki" / "bad" / f"{name}.pem")
    assert node.is_live()


def test_certificate_of_nobody_registered_is_not_trusted(node: RunningNode) -> None:
    status, body = get(node, "/v1/services", node.var / "pki" / "bad" / "unregistered.pem")
    assert status == 401
    assert json.loads(body)["type"] == "certificate-not-trusted"


def test_tls_1_2_is_refused_by_default(node: RunningNode) -> None:
    with pytest.raises(ssl.SSLError):
        get(node, "/livez", maximum_version=ssl.TLSVersion.TLSv1_2)


@pytest.mark.parametrize(("header", "status"), [("Client-Cert", b"400"), ("X-Client-Cert", b"401")])
def test_spoofed_certificate_header_opens_nothing(node: RunningNode, header: str, status: bytes) -> None:
    stolen = (node.var / "pki" / "hz-hrss-benefits.pem").read_text().replace("\n", "")
    context = client_context(node.var / "pki")
    with (
        socket.create_connection(("127.0.0.1", node.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        lines = ["GET /v1/services HTTP/1.1", "Host: 127.0.0.1", "Connection: close", f"{header}: :{stolen}:"]
        secured.sendall("\r\n".join([*lines, "", ""]).encode())
        assert secured.recv(65_536).split()[1] == status


@pytest.fixture(scope="module")
def changing() -> Iterator[RunningNode]:
    """A node that speaks TLS 1.2 too, and whose certificates are the tests' to replace."""
    with demo_folder() as var, running_node(var, HECHA_TLS_MINIMUM="1.2") as running:
        yield running


@pytest.fixture
def other(changing: RunningNode) -> Iterator[Path]:
    """Another PKI; afterwards the node has its own certificates again."""
    pki, kept, other = (changing.var / name for name in ("pki", "kept", "other"))
    shutil.copytree(pki, kept)
    other.mkdir()
    write_pki(other, {"hz-hrss-benefits": "benefits.example"}, datetime.now(UTC))
    yield other
    for name in ("server.pem", "server.key", "ca.pem"):
        shutil.copyfile(kept / name, pki / name)
    shutil.rmtree(kept)
    shutil.rmtree(other)
    eventually(lambda: gets_in(changing, pki, pki / "hz-hrss-benefits.pem"))


def eventually(holds: Callable[[], bool], within_s: float = 2 * WITHIN_S) -> None:
    """Wait until it holds for every worker: several times over, on connections of their own."""
    deadline = time.monotonic() + within_s
    times = 0
    while times < 12:
        times = times + 1 if holds() else 0
        assert time.monotonic() < deadline


def gets_in(node: RunningNode, trusted: Path, certificate: Path | None = None) -> bool:
    """Whether a client that trusts this PKI, with that certificate or none, gets an answer."""
    context = client_context(trusted)
    if certificate is not None:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", node.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return secured.recv(64).startswith(b"HTTP/1.1 200")
    return False


def test_tls_1_2_is_accepted_by_setting(changing: RunningNode) -> None:
    certificate = changing.var / "pki" / "hz-hrss-benefits.pem"
    assert get(changing, "/livez", certificate, maximum_version=ssl.TLSVersion.TLSv1_2)[0] == 200
    assert get(changing, "/livez", certificate)[0] == 200


def test_replaced_server_certificate_is_served_without_restart(changing: RunningNode, other: Path) -> None:
    pki = changing.var / "pki"
    assert not gets_in(changing, other)
    for name in ("server.pem", "server.key"):
        shutil.copyfile(other / name, pki / name)
    replaced = time.monotonic()
    eventually(lambda: gets_in(changing, other))
    assert not gets_in(changing, pki)
    assert time.monotonic() - replaced < 2 * WITHIN_S


def test_every_worker_serves_a_replaced_certificate_within_two_seconds(changing: RunningNode, other: Path) -> None:
    for name in ("server.pem", "server.key"):
        shutil.copyfile(other / name, changing.var / "pki" / name)
    time.sleep(WITHIN_S)
    assert all(gets_in(changing, other) for _ in range(20))


def test_replaced_authorities_refuse_the_old_clients_and_admit_the_new(changing: RunningNode, other: Path) -> None:
    kept, pki = changing.var / "kept", changing.var / "pki"
    old, new = pki / "hz-hrss-benefits.pem", other / "hz-hrss-benefits.pem"
    with secured_with(changing, kept, old) as connection:
        assert gets_in(changing, kept, old)
        assert not gets_in(changing, kept, new)
        shutil.copyfile(other / "ca.pem", pki / "ca.pem")
        time.sleep(WITHIN_S)
        assert all(gets_in(changing, kept, new) for _ in range(10))
        assert not any(gets_in(changing, kept, old) for _ in range(10))
        assert connection.recv(1) == b""  # and who was in is out


def secured_with(node: RunningNode, trusted: Path, certificate: Path) -> ssl.SSLSocket:
    """A connection that stays open, after one request."""
    context = client_context(trusted)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    plain = socket.create_connection(("127.0.0.1", node.port), timeout=10)
    connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    received = b""
    while not received.endswith(b"ok\n"):
        received += connection.recv(65_536)
    return connection


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_from_before_new_authorities_opens_nothing(
    changing: RunningNode, other: Path, version: ssl.TLSVersion
) -> None:
    kept, pki = changing.var / "kept", changing.var / "pki"
    context = client_context(kept, "hz-hrss-benefits")
    context.maximum_version = version

    def ask(session: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
        with (
            socket.create_connection(("127.0.0.1", changing.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secured,
        ):
            secured.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if not secured.recv(64).startswith(b"HTTP/1.1 200"):
                raise ConnectionError("turned away")
            return secured.session

    session = ask()
    shutil.copyfile(other / "ca.pem", pki / "ca.pem")
    time.sleep(WITHIN_S)
    for _ in range(6):
        with pytest.raises(OSError, match=r"alert|EOF|reset|closed|turned away"):
            ask(session)


def test_broken_replacement_leaves_the_old_certificate_in_force(changing: RunningNode, other: Path) -> None:
    pki = changing.var / "pki"
    said = changing.log().count("the TLS files in force stay")
    shutil.copyfile(other / "server.pem", pki / "server.pem")  # the key has not come yet
    time.sleep(WITHIN_S + 1.5)
    assert all(gets_in(changing, pki) for _ in range(10))
    lines = [line for line in changing.log().splitlines() if "the TLS files in force stay" in line][said:]
    assert len(lines) == 2  # one of each worker, however often it tried
    assert all("KEY_VALUES_MISMATCH" in line and str(pki) not in line for line in lines)
    shutil.copyfile(other / "server.key", pki / "server.key")
    eventually(lambda: gets_in(changing, other))


def test_workers_that_start_while_a_replacement_is_broken_serve_what_is_in_force(
    changing: RunningNode, other: Path
) -> None:
    pki, booted = changing.var / "pki", changing.log().count("Booting worker")
    shutil.copyfile(other / "server.pem", pki / "server.pem")
    assert changing.process is not None
    os.kill(changing.process.pid, signal.SIGHUP)
    eventually(lambda: changing.log().count("Booting worker") == booted + 2, within_s=15)
    eventually(lambda: changing.log().count("Worker exiting") >= booted, within_s=15)
    assert all(gets_in(changing, pki) for _ in range(10))
    assert changing.process.poll() is None


class BehindProxy(RunningNode):
    """A node that listens on a Unix socket, without TLS."""

    @property
    def path(self) -> Path:
        return self.var / "node.sock"

    @property
    def env(self) -> dict[str, str]:
        own = {"HECHA_BIND": f"unix:{self.path}", "HECHA_PROXY_PEERS": "unix"}
        env = super().env | own
        return {name: value for name, value in env.items() if name not in ("HECHA_TLS_CERTIFICATE", "HECHA_TLS_KEY")}

    def answer(self, path: str) -> bytes:
        """The start of the answer to a GET, b"" without one."""
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.path))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65_536), b""))
        return b""

    def is_live(self) -> bool:
        return self.answer("/livez").startswith(b"HTTP/1.1 200")


@pytest.mark.slow
def test_node_behind_a_proxy_listens_on_a_unix_socket_for_its_group_only() -> None:
    with demo_folder() as var:
        node = BehindProxy(var, free_port())
        node.start()
        try:
            assert stat.S_IMODE(node.path.stat().st_mode) == 0o660
            refused = node.answer("/v1/services")
            assert refused.startswith(b"HTTP/1.1 401")
            assert b"certificate-required" in refused
            node.kill()
            assert node.path.is_socket()  # stale
            node.start()
            assert stat.S_IMODE(node.path.stat().st_mode) == 0o660
        finally:
            node.stop()
        assert not node.path.exists()
