"""A web server on the loopback that publishes one revocation list, well or badly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Published:
    """What the server answers, and what it was asked."""

    url: str
    content: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str = ""
    length: int | None = None  # what Content-Length says, if not the truth
    hangs: threading.Event = field(default_factory=threading.Event)
    asked: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def list_server() -> Iterator[Published]:
    """Serve until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    published = Published(f"http://127.0.0.1:{server.server_port}/ca.crl")
    server.published = published  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield published
    finally:
        published.hangs.clear()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer as told."""
        published: Published = self.server.published  # type: ignore[attr-defined]
        published.asked.append(dict(self.headers.items()) | {"path": self.path})
        if published.etag and self.headers.get("If-None-Match") == published.etag:
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(published.status)
        for name, value in published.headers.items():
            self.send_header(name, value)
        if published.etag:
            self.send_header("ETag", published.etag)
        self.send_header(
            "Content-Length", str(len(published.content) if published.length is None else published.length)
        )
        self.end_headers()
        if published.hangs.is_set():
            threading.Event().wait(1.0)
        self.wfile.write(published.content)

    def log_message(self, *args: object) -> None:
        """Say nothing."""
