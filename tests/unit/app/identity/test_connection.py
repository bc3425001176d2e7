from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.identity.connection import PEER, PEER_CERTIFICATE, UNKNOWN, Connection, Connections
from app.refusals import Refusal

MINE, THEIRS, ABOVE = b"\x30\x01mine", b"\x30\x01theirs", b"\x30\x01above"
PROXY = "10.0.0.2"


def field(*ders: bytes) -> str:
    return ", ".join(f":{b64encode(der).decode()}:" for der in ders)


FORWARDED = {"HTTP_CLIENT_CERT": field(THEIRS), "HTTP_CLIENT_CERT_CHAIN": field(ABOVE, MINE)}


@dataclass(frozen=True, slots=True)
class TlsSocket:
    """What gunicorn hands over of a TLS connection; without an address the other end is gone."""

    address: str | None
    certificate: bytes | None = None
    family: int = socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        if self.address is None:
            raise OSError("not connected")
        return self.address, 4711

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        assert binary_form
        return self.certificate


@pytest.fixture
def local() -> Iterator[socket.socket]:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        yield one


def refused(connections: Connections, environ: dict[str, Any]) -> str:
    with pytest.raises(Refusal) as error:
        connections.of(environ)
    assert error.value.slug == "malformed"
    return error.value.detail


def test_no_proxy_is_trusted_unless_it_is_named(local: socket.socket) -> None:
    for peer in (
        {PEER: "unix"},
        {PEER: PROXY},
        {"gunicorn.socket": local},
        {"gunicorn.socket": TlsSocket(PROXY)},
        {},
    ):
        refused(Connections(), peer | FORWARDED)
        assert Connections().of(peer).certificate is None


def test_certificate_is_that_of_the_tls_layer() -> None:
    assert Connections().of({"gunicorn.socket": TlsSocket("10.1.2.3", MINE)}) == Connection(MINE, (), "10.1.2.3")
    assert Connections().of({PEER_CERTIFICATE: MINE, "REMOTE_ADDR": "::1"}) == Connection(MINE, (), "::1")


def test_gunicorn_socket_is_believed_before_anything_else() -> None:
    """Behind gunicorn nothing else in the environment says who is there."""
    said = {PEER: "unix", PEER_CERTIFICATE: THEIRS, "REMOTE_ADDR": PROXY, "gunicorn.socket": TlsSocket("10.1.2.3")}
    assert Connections(("unix", PROXY)).of(said) == Connection(None, (), "10.1.2.3")
    refused(Connections(("unix", PROXY)), said | FORWARDED)


def test_trusted_address_forwards_certificate_chain_and_address() -> None:
    environ = FORWARDED | {"gunicorn.socket": TlsSocket(PROXY), "HTTP_X_FORWARDED_FOR": "10.1.2.3"}
    expected = Connection(THEIRS, (ABOVE, MINE), "10.1.2.3")
    assert Connections((f"{PROXY}/32",)).of(environ) == expected
    assert Connections(("unix", "2001:db8::/32", "10.0.0.0/30")).of(environ) == expected


def test_trusted_unix_socket_forwards_certificate_and_address(local: socket.socket) -> None:
    environ = FORWARDED | {"gunicorn.socket": local, "HTTP_X_FORWARDED_FOR": "10.1.2.3"}
    assert Connections(("unix",)).of(environ) == Connection(THEIRS, (ABOVE, MINE), "10.1.2.3")
    refused(Connections(("0.0.0.0/1", "128.0.0.0/1", "::/1")), environ)


def test_other_server_names_the_peer_itself() -> None:
    environ = FORWARDED | {PEER: PROXY, "REMOTE_ADDR": "10.1.2.3"}
    assert Connections((PROXY,)).of(environ) == Connection(THEIRS, (ABOVE, MINE), UNKNOWN)
    assert Connections(("unix",)).of(FORWARDED | {PEER: "unix"}).certificate == THEIRS


def test_own_certificate_of_a_proxy_never_becomes_the_callers() -> None:
    connections = Connections((PROXY,))
    hop = {"gunicorn.socket": TlsSocket(PROXY, MINE), PEER_CERTIFICATE: MINE}
    assert connections.of(hop) == Connection(None, (), UNKNOWN)
    assert connections.of(hop | FORWARDED).certificate == THEIRS
    assert connections.of({PEER: PROXY, PEER_CERTIFICATE: MINE}).certificate is None


def test_neighbour_of_a_proxy_is_none(local: socket.socket) -> None:
    for address in ("10.0.0.3", "110.0.0.2", "::ffff:10.0.0.3", "::10.0.0.2", "64:ff9b::10.0.0.2"):
        connected = TlsSocket(address, MINE, socket.AF_INET6 if ":" in address else socket.AF_INET)
        refused(Connections((PROXY,)), FORWARDED | {"gunicorn.socket": connected})
        assert Connections((PROXY,)).of({"gunicorn.socket": connected}).certificate == MINE
    refused(Connections((PROXY,)), FORWARDED | {"gunicorn.socket": local})


def test_ipv4_address_in_ipv6_form_is_the_same_proxy() -> None:
    connected = TlsSocket(f"::ffff:{PROXY}", family=socket.AF_INET6)
    assert Connections((PROXY,)).of(FORWARDED | {"gunicorn.socket": connected}).certificate == THEIRS


def test_zone_of_a_link_local_address_is_left_out() -> None:
    connected = TlsSocket("fe80::7%eth0", MINE, socket.AF_INET6)
    assert Connections().of({"gunicorn.socket": connected}).address == "fe80::7"
    assert Connections(("fe80::7",)).of(FORWARDED | {"gunicorn.socket": connected}).certificate == THEIRS


@pytest.mark.parametrize("name", ["REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "HTTP_HECHA_PEER", "HTTP_X_REAL_IP"])
def test_peer_is_never_read_from_what_a_header_could_set(name: str) -> None:
    for connections in (Connections(("unix",)), Connections((PROXY,))):
        for value in ("unix", PROXY):
            refused(connections, FORWARDED | {name: value})
            refused(connections, FORWARDED | {name: value, "gunicorn.socket": TlsSocket("10.1.2.3")})


@pytest.mark.parametrize("peer", ["", "unix:", "UNIX", "localhost", f" {PROXY}", f"{PROXY}:443", f"{PROXY},unix"])
def test_peer_that_is_no_address_is_no_proxy(peer: str) -> None:
    refused(Connections(("unix", PROXY)), FORWARDED | {PEER: peer})


def test_connection_that_is_gone_is_no_proxy() -> None:
    connections = Connections(("unix", "0.0.0.0/1"))
    refused(connections, FORWARDED | {"gunicorn.socket": TlsSocket(None)})
    assert connections.of({"gunicorn.socket": TlsSocket(None)}) == Connection(None, (), UNKNOWN)


def test_forwarded_address_is_believed_of_a_proxy_only(local: socket.socket) -> None:
    said = {"HTTP_X_FORWARDED_FOR": "127.0.0.1", "HTTP_FORWARDED": "for=127.0.0.1", "HTTP_X_REAL_IP": "127.0.0.1"}
    for connections in (Connections(), Connections((PROXY,))):
        assert connections.of(said | {"gunicorn.socket": TlsSocket("203.0.113.7")}).address == "203.0.113.7"
        assert connections.of(said | {"REMOTE_ADDR": "203.0.113.7"}).address == "203.0.113.7"
        assert connections.of(said | {"gunicorn.socket": local}).address == UNKNOWN
    assert Connections((PROXY,)).of(said | {PEER: PROXY}).address == "127.0.0.1"


def test_address_that_the_proxy_does_not_say_is_unknown() -> None:
    said = {"HTTP_FORWARDED": "for=127.0.0.1", "HTTP_X_REAL_IP": "127.0.0.1", "REMOTE_ADDR": "127.0.0.1"}
    assert Connections((PROXY,)).of(said | {PEER: PROXY}).address == UNKNOWN


def test_forwarded_address_that_is_appended_to_is_malformed() -> None:
    refused(Connections((PROXY,)), {PEER: PROXY, "HTTP_X_FORWARDED_FOR": "127.0.0.1, 10.1.2.3"})


def test_plain_connection_shows_no_certificate() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert Connections().of({"gunicorn.socket": one, PEER_CERTIFICATE: MINE}).certificate is None
