"""A consuming system as tests see it: a certificate, a token, questions over the real WSGI interface."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from flask import Flask
from werkzeug.test import TestResponse

from app.identity.connection import PEER_CERTIFICATE


def der(pem: Path) -> bytes:
    """The first certificate of a PEM file, as a TLS layer hands it over."""
    return x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(Encoding.DER)


@dataclass(slots=True)
class Consumer:
    """A caller of the node; `certificate` is DER, None for a connection without one."""

    app: Flask
    name: str
    certificate: bytes | None
    _tokens: dict[str | None, str] = field(default_factory=dict)

    @classmethod
    def of(cls, app: Flask, pki: Path, name: str) -> Consumer:
        """The holder of the certificate `<name>.pem`."""
        return cls(app, name, der(pki / f"{name}.pem"))

    def open(self, method: str, path: str, **arguments: Any) -> TestResponse:
        """One request without a token; `arguments` are those of werkzeug's test client."""
        environ = dict(arguments.pop("environ_overrides", {}))
        if self.certificate is not None:
            environ[PEER_CERTIFICATE] = self.certificate
        # A client for each request: no cookies, and threads may share the consumer.
        return self.app.test_client().open(path, method=method, environ_overrides=environ, buffered=True, **arguments)

    def form(self, **fields: str) -> TestResponse:
        """Ask the token endpoint with exactly these form fields."""
        return self.open("POST", "/oauth2/token", data=fields)

    def token(self, scope: str | None = None) -> str:
        """An access token with these scopes, all there are by default; asked for once."""
        if scope not in self._tokens:
            fields = {"grant_type": "client_credentials", "client_id": self.name}
            response = self.form(**fields, **({} if scope is None else {"scope": scope}))
            assert response.status_code == 200, response.text
            self._tokens[scope] = response.get_json()["access_token"]
        return self._tokens[scope]

    def get(self, path: str, scope: str | None = None, **arguments: Any) -> TestResponse:
        """GET with a token."""
        headers = {"Authorization": f"Bearer {self.token(scope)}"} | arguments.pop("headers", {})
        return self.open("GET", path, headers=headers, **arguments)

    def ask(self, service: str, body: dict[str, Any] | bytes, **headers: str) -> TestResponse:
        """Ask one question with a token; underscores in names of headers stand for hyphens.

        A header given as empty text is left out: `Authorization=""` asks without a token.
        """
        sent = {"Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if "Authorization" not in sent:
            sent["Authorization"] = f"Bearer {self.token()}"
        return self.open(
            "POST",
            f"/v1/services/{service}/verifications",
            data=body if isinstance(body, bytes) else orjson.dumps(body),
            headers={name: value for name, value in sent.items() if value},
        )
