"""HTTPS to one node under a client certificate: TLS 1.3, one trust anchor, kept connections.

No proxies, no redirects, no retries: what was sent was sent once, and went to the node and nowhere else.
"""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

import orjson
from urllib3 import HTTPSConnectionPool, Timeout
from urllib3.exceptions import (
    DecodeError,
    HTTPError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    TimeoutError,  # noqa: A004 - urllib3's own, which is no subclass of Python's
)
from urllib3.util import parse_url

from client.errors import NodeUnreachable, ReplyNotUnderstood, RequestRefused, TokenRefused
from client.request_signing import RequestSigner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_REPLY = 64 * 1024 * 1024  # bytes; a full entry bundle has at most 16 MiB
_RENEW_BEFORE_S = 60
_PUBLIC = "/.well-known/"


@dataclass(frozen=True, slots=True)
class Reply:
    """HTTP `status`, the JSON object that came with it, and the response headers (names in lower case)."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Raw:
    status: int
    data: bytes
    headers: Mapping[str, str]


class NodeClient:
    """One registered client of one node; its methods may be called from several threads.

    `ca` is the only trust anchor; `certificate` and `key` are PEM files. With `sign` every question is signed (RFC
    9421), by `key`, or by `signing_key` if that is given; `base_url` must be what the node itself is known by then.
    Raises `ValueError` for a base URL that is not https, or a key that cannot sign, `OSError` (`ssl.SSLError`) for
    unusable files.
    """

    def __init__(  # noqa: PLR0913 - settings, by name only
        self,
        base_url: str,
        *,
        ca: Path,
        certificate: Path,
        key: Path,
        client_id: str,
        sign: bool = False,
        signing_key: Path | None = None,
        timeout_s: float = 30.0,
        maxsize: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        host, port = _parse_base(base_url)
        self.base_url = f"https://{host}:{port}"
        # SPEC: RFC 9421 §2.2.2: the target URI; the port of https is left out of one (RFC 9110 §4.2.3).
        self._target = self.base_url.removesuffix(":443")
        self._signer = _signer(certificate, key, signing_key) if sign or signing_key else None
        self._client_id = client_id
        self._clock = clock
        self._tokens: dict[str | None, tuple[str, float]] = {}
        self._token_lock = threading.Lock()
        self._pool = HTTPSConnectionPool(
            host,
            port,
            timeout=Timeout(connect=timeout_s, read=timeout_s),
            maxsize=maxsize,
            block=True,
            retries=False,
            ssl_context=_tls(ca, certificate, key),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()

    def token(self, scope: str | None = None) -> str:
        """Return an access token for `scope` (without one: all the client has), kept until 60 s before its end.

        Raises `TokenRefused`, `NodeUnreachable`.
        """
        with self._token_lock:  # threads that need the same token wait for one request
            token, expires_at = self._tokens.get(scope, ("", 0.0))
            if not token or self._clock() >= expires_at - _RENEW_BEFORE_S:
                token, expires_at = self._fetch_token(scope)
                self._tokens[scope] = token, expires_at
            return token

    def ask(self, service: str, question: Mapping[str, Any], idempotency_key: str | None = None) -> Reply:
        """Send one question and return the reply, whether answer or problem document.

        The question goes out as compact JSON with its members in their order. Raises a `ClientError`.
        """
        path = f"/v1/services/{quote(service, safe='')}/verifications"
        return self._post(path, question, idempotency_key, self._signer)

    def post(self, path: str, document: Mapping[str, Any], idempotency_key: str | None = None) -> Reply:
        """Send one step (an application, a signature, …) and return the reply, whatever its status.

        Raises a `ClientError`.
        """
        return self._post(path, document, idempotency_key, None)

    def _post(
        self, path: str, document: Mapping[str, Any], idempotency_key: str | None, signer: RequestSigner | None
    ) -> Reply:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token()}"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        body = orjson.dumps(document)
        if signer is not None:
            headers = signer.signed("POST", self._target + path, headers, body)
        return _json(self._send("POST", path, headers, body))

    def get(self, path: str, accept: str | None = None) -> Reply:
        """Return the JSON object at `path`, whatever its status; raises a `ClientError`."""
        return _json(self._get(path, accept or "application/json"))

    def get_bytes(self, path: str, accept: str | None = None) -> bytes:
        """Return the body at `path`; raises `RequestRefused` for any status but 200, or another `ClientError`."""
        raw = self._get(path, accept or "*/*")
        if raw.status != 200:
            raise RequestRefused(raw.status, f"{self.base_url}{path} is refused: {_reason(raw)}.")
        return raw.data

    def _get(self, path: str, accept: str) -> _Raw:
        headers = {"Accept": accept}
        if not path.startswith(_PUBLIC):
            headers["Authorization"] = f"Bearer {self.token()}"
        return self._send("GET", path, headers)

    def _fetch_token(self, scope: str | None) -> tuple[str, float]:
        form = {"grant_type": "client_credentials", "client_id": self._client_id}
        if scope is not None:
            form["scope"] = scope
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        now = self._clock()
        raw = self._send("POST", "/oauth2/token", headers, urlencode(form).encode())
        if raw.status != 200:
            raise TokenRefused(f"The node gives {self._client_id} no access token: {_reason(raw)}.")
        body = _json(raw).body
        token, lifetime_s = body.get("access_token"), body.get("expires_in")
        if not isinstance(token, str) or not token or type(lifetime_s) is not int:
            raise TokenRefused("The node's token reply holds no access token with a lifetime.")
        return token, now + lifetime_s

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> _Raw:
        try:
            response = self._pool.urlopen(
                method, path, body, headers, retries=False, redirect=False, preload_content=False
            )
            data = response.read(MAX_REPLY + 1)
        except DecodeError:
            raise ReplyNotUnderstood(f"The reply of {self.base_url}{path} cannot be unpacked.") from None
        except HTTPError as error:
            raise NodeUnreachable(f"The node at {self.base_url} cannot be reached: {_cause(error)}.") from error
        if len(data) > MAX_REPLY:
            response.close()  # the rest is unread, so the connection is of no further use
            raise ReplyNotUnderstood(f"The reply of {self.base_url}{path} is larger than any reply of a node.")
        response.release_conn()
        return _Raw(response.status, data, {name.lower(): value for name, value in response.headers.items()})


def _parse_base(base_url: str) -> tuple[str, int]:
    try:
        url = parse_url(base_url)
    except LocationParseError:
        url = None
    if url is None or url.scheme != "https" or not url.host or url.auth or (url.path or "/") != "/" or url.query:
        raise ValueError(f"{base_url!r} is not the base URL of a node: https://host:port")
    return url.host, url.port or 443


def _tls(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    # PROTOCOL_TLS_CLIENT checks host names and loads no trust anchors of the system.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cafile=ca)
    context.load_cert_chain(certificate, key)
    return context


def _signer(certificate: Path, key: Path, signing_key: Path | None) -> RequestSigner:
    return (
        RequestSigner.of_certificate(certificate, key) if signing_key is None else RequestSigner.of_key(signing_key)
    )


def _cause(error: Exception) -> str:
    """Return in plain words what kept a request from its reply."""
    inner = error.args[0] if error.args else None
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {inner.verify_message.rstrip('.')}"
    if isinstance(error, NameResolutionError):
        return "its name is not known"
    if isinstance(error, NewConnectionError):  # asked before the timeouts, among which urllib3 counts it
        return "no connection is accepted there"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(inner, ssl.SSLError) or isinstance(error, ProtocolError):
        return f"the connection ended, perhaps over the client certificate ({inner})"
    return str(error)


def _json(raw: _Raw) -> Reply:
    try:
        body = orjson.loads(raw.data)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise ReplyNotUnderstood(f"The node's reply (HTTP {raw.status}) is not a JSON object.")
    return Reply(raw.status, body, raw.headers)


def _reason(raw: _Raw) -> str:
    """Return what a problem document (RFC 9457) or an OAuth error (RFC 6749 §5.2) says, or the bare status."""
    try:
        body = _json(raw).body
    except ReplyNotUnderstood:
        body = {}
    found = [body.get(name) for name in ("title", "detail", "error", "error_description")]
    return "; ".join(text for text in found if isinstance(text, str)) or f"HTTP {raw.status}"
