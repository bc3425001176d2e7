"""What a connection shows: the client's certificate with what came above it, and the address it came from.

The certificate is that of the TLS layer, or what a trusted proxy says it was (RFC 9440). A proxy's own certificate
never becomes the caller's, and nobody else's header fields are believed.

INVARIANT: who is at the other end is read from the socket. Nothing that a header could set has a say in it: names of
header fields make keys that begin with `HTTP_` and hold no dot, and gunicorn is told to believe no forwarded address.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from app.identity import forwarded

PEER_CERTIFICATE = "hecha.peer_certificate"  # environ: DER bytes, set by the server, never from a header
PEER = "hecha.peer"  # environ: `unix` or an address, set by a server other than gunicorn, never from a header
UNIX = "unix"
UNKNOWN = "::"  # SPEC: RFC 4291 §2.5.2: the absence of an address; no network that an agreement names holds it


@dataclass(frozen=True, slots=True)
class Connection:
    """The client's certificate (DER), None without one; the certificates sent above it; the client's address."""

    certificate: bytes | None
    chain: tuple[bytes, ...]
    address: str


class Connections:
    """Reads what a request came over; `peers` are the trusted proxies: `unix`, addresses and networks."""

    def __init__(self, peers: Sequence[str] = ()) -> None:
        self._unix = UNIX in peers
        self._networks = tuple(ip_network(peer) for peer in peers if peer != UNIX)

    def of(self, environ: Mapping[str, Any]) -> Connection:
        """What the request's connection shows. Raises `Refusal` malformed."""
        peer = _peer(environ)
        if self._trusts(peer):
            return Connection(*forwarded.certificates(environ), forwarded.address(environ) or UNKNOWN)
        forwarded.refuse_certificate(environ)
        return Connection(_presented(environ), (), _address(environ, peer))

    def _trusts(self, peer: str | None) -> bool:
        if peer is None or peer == UNIX:
            return self._unix and peer is not None
        return bool(self._networks) and any(ip_address(peer) in network for network in self._networks)


def _peer(environ: Mapping[str, Any]) -> str | None:
    """Who is at the other end of the connection: `unix` or an address; None if that cannot be told."""
    connected = environ.get("gunicorn.socket")
    if connected is None:
        found: str | None = environ.get(PEER)
        return found if found in (None, UNIX) else forwarded.canonical(found)
    if connected.family == socket.AF_UNIX:
        return UNIX
    try:
        # A zone ("fe80::1%eth0") tells where this machine met the address; no network has one.
        return forwarded.canonical(connected.getpeername()[0].partition("%")[0])
    except OSError:
        return None  # it is gone already


def _presented(environ: Mapping[str, Any]) -> bytes | None:
    connected = environ.get("gunicorn.socket")
    der: bytes | None
    if connected is None:
        der = environ.get(PEER_CERTIFICATE)
    else:
        # A connection without TLS has nothing to show, whoever it comes from.
        der = connected.getpeercert(binary_form=True) if hasattr(connected, "getpeercert") else None
    return der


def _address(environ: Mapping[str, Any], peer: str | None) -> str:
    if "gunicorn.socket" in environ:
        return peer if peer not in (None, UNIX) else UNKNOWN
    found: str = environ.get("REMOTE_ADDR", "")  # another server's word, which PEP 3333 leaves to it
    return found
