"""A thousand ways to pass off another's certificate in a request, generated from a seed.

Each asks for a route that needs a caller, with the victim's own token: whoever takes the certificate for the caller's
answers 200.
"""

from __future__ import annotations

import itertools
import random
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

COUNT = 1_000
SEED = 9440
TARGET = b"/v1/services"
NAME = b"Client-Cert"
# Names that other proxies use, and names that might be taken for what a server says itself.
LOOK_ALIKES = (
    *(b"X-Client-Cert", b"X-SSL-Client-Cert", b"SSL-Client-Cert", b"SSL_CLIENT_CERT", b"X-ARR-ClientCert"),
    *(b"X-Forwarded-Client-Cert", b"Ssl-Client-Verify", b"X-SSL-Client-Verify", b"X-SSL-Client-S-DN", b"ClientCert"),
    *(b"X-Forwarded-Tls-Client-Cert", b"X-Amzn-Mtls-Clientcert", b"X-Amzn-Mtls-Clientcert-Leaf", b"Cf-Client-Cert"),
    *(b"Client-Certificate", b"Client-Cert-Chains", b"Client-Certs", b"X-Client-Certificate", b"X-TLS-Client-Cert"),
    *(b"Hecha-Peer-Certificate", b"hecha.peer_certificate", b"hecha.peer-certificate", b"Hecha.Peer", b"Hecha-Peer"),
    *(b"gunicorn.socket", b"Gunicorn-Socket", b"Remote-Addr", b"REMOTE_ADDR", b"Peer-Certificate", b"wsgi.input"),
)
UNDERSCORES = (
    *(b"Client_Cert", b"client_cert", b"CLIENT_CERT", b"HTTP_CLIENT_CERT", b"Client-Cert_", b"_Client-Cert"),
    *(
        b"Client__Cert",
        b"HTTP-CLIENT-CERT",
        b"Client_Cert_Chain",
        b"Client-Cert_Chain",
        b"Client~Cert",
        b"Client.Cert",
    ),
    *(b"Client--Cert", b"-Client-Cert", b"Client-Cert-", b"Client|Cert", b"Client+Cert", b"Client'Cert"),
)


@dataclass(frozen=True, slots=True)
class Forgery:
    """Whose certificate (DER) and token are passed off."""

    certificate: bytes
    token: str

    @property
    def value(self) -> bytes:
        """The certificate as a trusted proxy would write it."""
        return b":" + b64encode(self.certificate) + b":"


@dataclass(frozen=True, slots=True)
class Spoof:
    """One request, or more than one in a row; after `ends` nothing further goes over its connection."""

    kind: str
    request: bytes
    ends: bool = False


def spoofs(forgery: Forgery, count: int = COUNT, seed: int = SEED) -> Iterator[Spoof]:
    """So many different spoofs, of all kinds in turn, the same ones for the same seed."""
    generator = random.Random(seed)
    made: set[bytes] = set()
    for kind in itertools.cycle(KINDS):
        spoof = KINDS[kind](_Maker(forgery, generator))
        one = Spoof(kind, *spoof) if isinstance(spoof, tuple) else Spoof(kind, spoof)
        if one.request not in made:
            made.add(one.request)
            yield one
        if len(made) == count:
            return


class _Maker:
    """What the kinds below are written with."""

    def __init__(self, forgery: Forgery, generator: random.Random) -> None:
        self.forgery = forgery
        self.value = forgery.value
        self.generator = generator
        self.one = generator.choice

    def head(self, *lines: bytes, line: bytes = b"GET " + TARGET + b" HTTP/1.1", close: bool = False) -> bytes:
        """A head with these lines somewhere among the usual ones."""
        usual = [b"Host: node.example", b"Authorization: Bearer " + self.forgery.token.encode(), b"Accept: */*"]
        usual += [b"Connection: close"] if close else []
        place = self.generator.randint(1, len(usual))
        return b"\r\n".join([line, *usual[:place], *lines, *usual[place:], b"", b""])

    def field(self, name: bytes | None = None, value: bytes | None = None) -> bytes:
        chosen = self.one((NAME, self.cased())) if name is None else name
        return chosen + b": " + (self.value if value is None else value)

    def cased(self, name: bytes = NAME) -> bytes:
        return bytes(self.one((letter, letter ^ 0x20)) if chr(letter).isalpha() else letter for letter in name)

    def encoded(self) -> bytes:
        """The certificate in one of the forms that other proxies send it in."""
        der = self.forgery.certificate
        plain = b64encode(der)
        pem = x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        return self.one(
            [
                *(plain, b":" + plain, plain + b":", b'"' + plain + b'"', urlsafe_b64encode(der)),
                *(
                    b":" + urlsafe_b64encode(der).rstrip(b"=") + b":",
                    der.hex().encode(),
                    b":" + der.hex().encode() + b":",
                ),
                *(pem.replace(b"\n", b" "), pem.replace(b"\n", b"\t"), pem.replace(b"\n", b""), quote(pem).encode()),
                *(b":" + plain[:76] + b" " + plain[76:] + b":", b"::" + plain + b"::", b":" + plain + b"=:"),
                *(b":" + plain.rstrip(b"=")[:-1] + b":", b":%" + plain + b":", b"%3A" + plain + b"%3A", b"SUCCESS"),
                *(b'Hash=00;Cert="' + quote(pem).encode() + b'"', b"CN=hz-hrss-review", b"", b"::", b"?1", b"0"),
            ]
        )


def _framing(make: _Maker) -> tuple[bytes, bool]:
    """Two readings of where a request ends; in one of them a second request begins, with the certificate."""
    hidden = make.head(make.field(), close=True)
    chunked = b"Transfer-Encoding: chunked"
    coding = make.one(
        [
            *(
                chunked,
                b"Transfer-Encoding : chunked",
                b"Transfer-Encoding:\tchunked",
                b"Transfer-Encoding: xchunked",
            ),
            *(b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked", b" " + chunked),
            *(
                b"Transfer_Encoding: chunked",
                b"Transfer-Encoding: \x0bchunked",
                b"Transfer-Encoding: chunked\r\n" + chunked,
            ),
        ]
    )
    body = b"0\r\n\r\n" + hidden
    length = make.one([b"%d", b"+%d", b"0%d", b"%d,%d", b"%d\r\nContent-Length: 0", b"0x%x"])
    length = length.replace(b"%d", str(len(body)).encode()).replace(b"%x", f"{len(body):x}".encode())
    lines = [b"Content-Length: " + length, coding]
    return make.head(*lines[:: make.one((1, -1))], close=True) + body, True


def _body(make: _Maker) -> tuple[bytes, bool]:
    """A whole request with the certificate inside the body of another, and one without it behind them."""
    hidden = make.head(make.field())
    if make.one((True, False)):
        first = make.head(b"Transfer-Encoding: chunked") + _chunks(hidden) + b"\r\n"
    else:
        first = make.head(b"Content-Length: %d" % len(hidden)) + hidden
    return first + make.head(close=True), True


def _trailer(make: _Maker) -> tuple[bytes, bool]:
    name = make.one((NAME, make.cased(), b"Client_Cert", b"Client-Cert-Chain"))
    announced = make.one(((), (b"Trailer: Client-Cert",), (b"TE: trailers", b"Trailer: " + name)))
    head = make.head(b"Transfer-Encoding: chunked", *announced, close=True)
    return head + _chunks(make.one((b"", b"{}"))) + make.field(name) + b"\r\n\r\n", True


def _chunks(body: bytes) -> bytes:
    return (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n"


def _line_ends(make: _Maker) -> tuple[bytes, bool]:
    end = make.one(
        (b"\n", b"\r", b"\r\r\n", b"\n\r\n ", b"\0\r\n", b"\x0b", b"\x85", b"\xe2\x80\xa8", b"%0d%0a", b"\\r\\n")
    )
    return make.head(make.one((b"X-A: b", b"Accept: */*")) + end + make.field(), close=True), True


def _white_space(make: _Maker) -> tuple[bytes, bool]:
    space = make.one((b" ", b"\t", b"  ", b"\x0b", b"\x0c", b"\xa0", b"\0", b"\x7f", b"\x1f", b"\xe2\x80\x8b"))
    return make.head(
        make.one((NAME + space + b": ", space + NAME + b": ", b"Client" + space + b"-Cert: ", NAME + b":" + space))
        + make.value
        + make.one((b"", space)),
        close=True,
    ), True


def _folded(make: _Maker) -> tuple[bytes, bool]:
    blank = make.one((b" ", b"\t", b"   "))
    cut = make.generator.randint(1, len(make.value) - 1)
    return make.head(
        make.one(
            [
                NAME + b":\r\n" + blank + make.value,
                make.field(value=make.value[:cut] + b"\r\n" + blank + make.value[cut:]),
                b"X-A: b\r\n" + blank + make.field(),
                NAME + b"\r\n" + blank + b": " + make.value,
                make.field(value=b"\r\n" + blank + b"\r\n" + blank + make.value),
            ]
        ),
        close=True,
    ), True


def _version(make: _Maker) -> tuple[bytes, bool]:
    version = make.one(
        (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"HTTP/01.1", b"HTTPS/1.1")
    )
    request = make.head(make.field(), line=b"GET " + TARGET + b" " + version, close=True)
    return make.one((b"", b"\r\n")) + request, True


def _preface(make: _Maker) -> tuple[bytes, bool]:
    """What a balancer says before the first request."""
    second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\1\x7f\0\0\1\0\x50\0\x50"
    first = make.one(
        [
            *(b"PROXY TCP4 127.0.0.1 127.0.0.1 80 443\r\n", b"PROXY UNKNOWN\r\n", second),
            *(b"PROXY TCP6 ::1 ::1 80 443\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ]
    )
    return first + make.head(make.field(), close=True), True


def _target(make: _Maker) -> tuple[bytes, bool]:
    target = make.one(
        [
            *(b"https://127.0.0.1" + TARGET, b"http://unix" + TARGET, b"https://node.example:1" + TARGET),
            *(TARGET + b"?client-cert=" + quote(make.value).encode(), TARGET + b"#Client-Cert"),
        ]
    )
    return make.head(make.field(), line=b"GET " + target[:1_900] + b" HTTP/1.1", close=True), True


def _twice(make: _Maker) -> bytes:
    others = (make.value, b"", b"::", b"x", make.encoded())
    lines = [make.field(), *(make.field(NAME, make.one(others)) for _ in range(3))]
    chosen = lines[: make.generator.randint(2, 4)]
    make.generator.shuffle(chosen)
    return make.head(*chosen)


def _list(make: _Maker) -> bytes:
    comma = make.one((b",", b", ", b" , ", b",,", b";", b" "))
    return make.head(
        make.field(value=comma.join([make.value] * make.generator.randint(2, 3)) + make.one((b"", b",")))
    )


def _parameters(make: _Maker) -> bytes:
    before, behind = make.one(
        ((b"", b";a"), (b"", b"; a=1"), (b"(", b")"), (b"cert=", b""), (b"", b";q=0.1"), (b"", b":"))
    )
    return make.head(make.field(value=before + make.value + behind))


def _chain(make: _Maker) -> bytes:
    chain = make.field(b"Client-Cert-Chain", make.one((make.value, make.value + b", " + make.value, b"", b"::")))
    return make.head(*make.one(((chain,), (chain, make.field()), (make.field(), chain), (chain, chain))))


def _as_proxy(make: _Maker) -> bytes:
    """Everything that says: I am the proxy."""
    said = make.one(
        [
            *(b"X-Forwarded-For: 127.0.0.1", b"X-Real-IP: 127.0.0.1", b"Forwarded: for=127.0.0.1;by=unix"),
            *(b"X-Forwarded-For: unix", b"X-Forwarded-Proto: https", b"Via: 1.1 hecha", b"REMOTE_ADDR: 127.0.0.1"),
            *(b"X-Forwarded-For: 127.0.0.1, 127.0.0.1", b"Hecha-Peer: unix", b"X-Forwarded-Host: unix"),
        ]
    )
    return make.head(said, make.field())


def _hop_by_hop(make: _Maker) -> bytes:
    """Names that a proxy may be told to leave out."""
    named = make.one(
        (b"Client-Cert", b"X-Forwarded-For", b"Authorization", b"Host", b"client-cert, client-cert-chain")
    )
    return make.head(b"Connection: " + named, make.field())


KINDS: dict[str, Callable[[_Maker], bytes | tuple[bytes, bool]]] = {
    "case": lambda make: make.head(make.field(make.cased())),
    "underscore": lambda make: make.head(make.field(make.cased(make.one(UNDERSCORES)))),
    "look-alike": lambda make: make.head(make.field(make.one(LOOK_ALIKES), make.one((make.value, make.encoded())))),
    "encoding": lambda make: make.head(make.field(value=make.encoded())),
    "duplicate": _twice,
    "list": _list,
    "parameters": _parameters,
    "chain": _chain,
    "as the proxy": _as_proxy,
    "hop by hop": _hop_by_hop,
    "folded": _folded,
    "white space": _white_space,
    "line end": _line_ends,
    "trailer": _trailer,
    "framing": _framing,
    "body": _body,
    "version": _version,
    "preface": _preface,
    "target": _target,
}
