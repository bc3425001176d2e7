"""The handshake: who gets in, who is turned away before HTTP, and what needs a certificate after it."""

from __future__ import annotations

import json
import socket
import ssl
from pathlib import Path

import pytest

from tests.servers.node import RunningNode

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


def test_spoofed_certificate_header_is_ignored(node: RunningNode) -> None:
    stolen = (node.var / "pki" / "hz-hrss-benefits.pem").read_text().replace("\n", "")
    context = ssl.create_default_context(cafile=node.var / "pki" / "ca.pem")
    with (
        socket.create_connection(("127.0.0.1", node.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        lines = ["GET /v1/services HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
        lines += [f"{name}: :{stolen}:" for name in ("Client-Cert", "X-Client-Cert", "X-Forwarded-Client-Cert")]
        secured.sendall("\r\n".join([*lines, "", ""]).encode())
        status = secured.recv(65_536).split()[1]
    assert status == b"401"
