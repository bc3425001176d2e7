"""A revocation list published at a URL: fetched as it stands there, bounded in size and time."""

from __future__ import annotations

import hashlib
import time
from urllib.parse import urlsplit

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from app.trust.crl import MAX_BYTES

TIMEOUT_S = 5.0
FETCH_S = 20.0  # for all of a list, however slowly it drips
_PIECE = 65_536


class Unreachable(Exception):
    """The list was not fetched. The text says why, without anything that the server said."""


class UrlSource:
    """One URL. Redirects are not followed, and no proxy of the environment is used; lists prove themselves."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        # A query may hold a secret: its digest tells two of them apart.
        query = f"?sha256-{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}" if parts.query else ""
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path}{query}"
        self._url = url
        self._etag: str | None = None
        self._pool = PoolManager(num_pools=1, maxsize=1, retries=False, timeout=Timeout(TIMEOUT_S, TIMEOUT_S))

    def fetch(self) -> bytes | None:
        """What stands there now; None if that is what was fetched last. Raises `Unreachable`."""
        headers = {"Accept-Encoding": "identity"} | ({"If-None-Match": self._etag} if self._etag else {})
        try:
            response = self._pool.request("GET", self._url, headers=headers, redirect=False, preload_content=False)
            try:
                return self._taken(response)
            finally:
                response.close()
        except (HTTPError, OSError) as error:
            raise Unreachable(f"it cannot be fetched ({type(error).__name__})") from None

    def forget(self) -> None:
        """Fetch all of it the next time, whether or not it has changed."""
        self._etag = None

    def close(self) -> None:
        """Give back the connection."""
        self._pool.clear()

    def _taken(self, response: BaseHTTPResponse) -> bytes | None:
        if response.status == 304 and self._etag:
            return None
        if response.status != 200:
            raise Unreachable(f"it cannot be fetched (status {response.status})")
        content, deadline = bytearray(), time.monotonic() + FETCH_S
        for piece in response.stream(_PIECE, decode_content=False):
            content += piece
            if len(content) > MAX_BYTES:
                raise Unreachable(f"it holds more than {MAX_BYTES} bytes")
            if time.monotonic() > deadline:
                raise Unreachable(f"it took longer than {FETCH_S:.0f} s")
        # Only what came whole may be spared the next time.
        self._etag = response.headers.get("ETag")
        return bytes(content)
