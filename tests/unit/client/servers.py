"""A small real HTTPS server that demands a client certificate, and a node in memory behind it."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs

import orjson

from tests.unit.evidence.issuer import RESULT, Issuer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.pki import Pki


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Told:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def told(status: int, document: Any, **headers: str) -> Told:
    return Told(status, orjson.dumps(document), {"Content-Type": "application/json", **headers})


class HttpsServer:
    """Serves `answer` over TLS on a free port of 127.0.0.1 while entered; keeps what was asked."""

    def __init__(
        self,
        pki: Pki,
        answer: Callable[[Asked], Told],
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        self.asked: list[Asked] = []
        self.answer = answer
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = newest
        context.load_cert_chain(pki.server.certificate, pki.server.key)
        context.load_verify_locations(pki.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        # The handshake belongs to the connection's own thread, so that a refused one stops nobody else.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                try:
                    super().handle()
                except (ssl.SSLError, ConnectionError):
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
                return

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body, self.client_address[1])
                server.asked.append(asked)
                reply = server.answer(asked)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_POST = do_GET  # noqa: N815 - the base class's names

        return Handler


class MemoryNode:
    """Answers as a node does: token, questions, proofs, keys and the log of an `Issuer`."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.issuer.tokens(300)
        self.members: dict[str, Any] = {}
        self.change: Callable[[dict[str, Any]], None] = lambda reply: None
        self.proofs = True
        self._index: dict[str, int] = {}

    def __call__(self, asked: Asked) -> Told:
        if asked.path == "/oauth2/token":
            form = parse_qs(asked.body.decode())
            if form.get("client_id") != ["hz-hrss-benefits"]:
                return told(401, {"error": "invalid_client", "error_description": "not this certificate's"})
            return told(200, {"access_token": "good", "token_type": "Bearer", "expires_in": 300})
        if asked.path == "/.well-known/jwks.json":
            return told(200, {"keys": [self.issuer.jwk]})
        if asked.path == "/.well-known/log.vkey":
            return Told(200, self.issuer.log.vkey.encode() + b"\n")
        if asked.headers.get("authorization") != "Bearer good":
            return told(401, {"type": "token-invalid", "title": "The access token is missing or invalid"})
        return self._asked(asked)

    def _asked(self, asked: Asked) -> Told:
        if asked.path.endswith("/verifications"):
            return self._answer(orjson.loads(asked.body))
        if asked.path.endswith("/proof") and self.proofs:
            index = self._index[asked.path.split("/")[3]]
            return Told(200, self.issuer.proof(index).encode(), {"Content-Type": "text/plain"})
        file = self.issuer.files().get(asked.path.removeprefix("/log/"))
        return told(404, {"title": "There is no such thing here"}) if file is None else Told(200, file)

    def _answer(self, question: dict[str, Any]) -> Told:
        receipt, index = self.issuer.answer(question, **self.members)
        identifier = orjson.loads(self.issuer.entries[index])["id"]
        self._index[identifier] = index
        state = self.members.get("state", "answered")
        reply: dict[str, Any] = {"type": state, "title": "Refused", "status": 403, "instance": identifier}
        if state == "answered":
            reply = {"id": identifier, "service": "employment-status", **RESULT, "obligations": []}
        reply["receipt"] = receipt
        self.change(reply)
        return told(200 if state == "answered" else 403, reply)
