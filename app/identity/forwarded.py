"""What a trusted proxy says of the connection it ended: the client's certificate (RFC 9440) and its address.

The fields come from a program that writes them in one form, so one form is read and everything else is refused:

- `Client-Cert` is one Byte Sequence (RFC 8941 §3.3.5) in canonical base64, without parameters, on one field line.
- `Client-Cert-Chain` is a List of such Byte Sequences and stands beside `Client-Cert` only.
- `X-Forwarded-For` is the one address that the proxy saw: what it was sent, it has overwritten.

Who is trusted, `app.identity.connection` decides; whether a certificate is any good, `app.identity.certificate`.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

from app.refusals import Refusal
from app.trust.path import MAX_CERTIFICATE, MAX_CHAIN, MAX_TOTAL

CERTIFICATE = "HTTP_CLIENT_CERT"
CHAIN = "HTTP_CLIENT_CERT_CHAIN"
ADDRESS = "HTTP_X_FORWARDED_FOR"

_BYTE_SEQUENCE = re.compile(r":((?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?):")
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}")


def refuse_certificate(environ: Mapping[str, Any]) -> None:
    """Raise `Refusal` malformed if a request that did not come from a trusted proxy carries a certificate.

    Passing over it would do as well; but whoever sends it is attacking, or a proxy that was not made known.
    """
    if CERTIFICATE in environ or CHAIN in environ:
        raise _malformed("Client-Cert and Client-Cert-Chain are believed of a trusted proxy only: do not send them.")


def certificates(environ: Mapping[str, Any]) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The client's certificate (DER), None without one, and those sent above it. Raises `Refusal` malformed."""
    field, chain = environ.get(CERTIFICATE), environ.get(CHAIN)
    if field is None:
        # SPEC: RFC 9440 §2.3: the chain has no meaning without the certificate that it is for.
        if chain is not None:
            raise _malformed("Client-Cert-Chain stands without Client-Cert.")
        return None, ()
    # SPEC: RFC 9440 §2.2: a singleton. A server that met it twice has joined the values by a comma: no Byte Sequence.
    certificate = _bytes(field, "Client-Cert")
    above = () if chain is None else _list(chain)
    if len(above) > MAX_CHAIN or sum(map(len, (certificate, *above))) > MAX_TOTAL:
        raise _malformed(
            f"Client-Cert-Chain has at most {MAX_CHAIN} certificates, {MAX_TOTAL} bytes with Client-Cert."
        )
    return certificate, above


def address(environ: Mapping[str, Any]) -> str | None:
    """The client's address as the proxy saw it, None if it does not say. Raises `Refusal` malformed."""
    field = environ.get(ADDRESS)
    if field is None:
        return None
    # More than one address, or one with a port, a zone or a name in its place, was not written by our proxy alone.
    found = canonical(field) if _ADDRESS.fullmatch(field) else None
    if found is None:
        raise _malformed("X-Forwarded-For is not exactly one address: the proxy must overwrite it.")
    return found


def canonical(text: str) -> str | None:
    """An address in its canonical form, IPv4 in IPv6 as IPv4 (RFC 4291 §2.5.5.2); None if it is none."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return str((found.ipv4_mapped if isinstance(found, IPv6Address) else None) or found)


def _list(field: str) -> tuple[bytes, ...]:
    members = field.split(",")
    if len(members) > MAX_CHAIN:
        raise _malformed(f"Client-Cert-Chain has more than {MAX_CHAIN} certificates.")
    # SPEC: RFC 8941 §4.2.1: optional white space around commas, no empty member.
    return tuple(_bytes(member.strip(" \t"), "Client-Cert-Chain") for member in members)


def _bytes(text: str, name: str) -> bytes:
    found = _BYTE_SEQUENCE.fullmatch(text) if len(text) <= 2 * MAX_CERTIFICATE else None
    value = b64decode(found[1]) if found else b""
    # INVARIANT: one certificate, one spelling. RFC 8941 §4.2.7 would have a parser be lenient with padding; no proxy
    # pads otherwise than RFC 4648 §4, so leniency would serve nobody but attackers.
    if not 0 < len(value) <= MAX_CERTIFICATE or f":{b64encode(value).decode()}:" != text:
        raise _malformed(f"{name} is no certificate of at most {MAX_CERTIFICATE} bytes as RFC 9440 §2.1 writes it.")
    return value


def _malformed(detail: str) -> Refusal:
    return Refusal("malformed", detail)
