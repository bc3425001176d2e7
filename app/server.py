"""gunicorn as the node's own TLS server, with one SSLContext per worker instead of one per connection.

One port: a client certificate may be missing in the handshake, since some routes are public, but a bad one ends it.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from app.factory import create_app
from app.identity import keys
from app.identity.keys import KeyInvalid
from app.limits.limiter import Limiter
from app.log.migration import upgrade
from app.log.storage import Store, StoreUnavailable, log_name, prepare
from app.refusals import Refusal
from app.revisions import REFUSALS, Revisions
from app.services import check_sources, make_recorder, origin_of, redis_url
from app.settings import SettingInvalid, Settings
from app.valkey import EmbeddedValkey
from evidence.note import NoteSigner

logger = logging.getLogger(__name__)

KEEPALIVE_S = 75
STALLED_S = 10  # how long a handshake, a head or a body may stand still before its thread is given back

_DOCUMENT = (
    b'{"type":"malformed","title":"The request could not be read","status":400,'
    b'"detail":"The request is not HTTP/1.1 as this node reads it."}'
)
_UNREADABLE = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
    b"Content-Length: " + str(len(_DOCUMENT)).encode() + b"\r\n\r\n" + _DOCUMENT
)


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's thread worker, but for requests it cannot read: their text goes neither to the log nor back."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:  # noqa: ARG002
        """Answer with a problem document; the log is told the kind of fault only."""
        self.log.warning("a request could not be read: %s", type(exc).__name__)
        try:
            client.sendall(_UNREADABLE)
        except OSError:
            self.log.debug("the caller is gone")


class PatientSocket(ssl.SSLSocket):
    """A connection that stands still for `STALLED_S` in a handshake, a head or a body counts as cut.

    gunicorn reads from blocking sockets without end, so a few silent connections would hold every thread.
    """

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - the standard library's own signature
        """Blocking means waiting for `STALLED_S` at most."""
        self.settimeout(STALLED_S if flag else 0)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the same
        """Shake hands, or raise `ConnectionResetError`."""
        self.settimeout(STALLED_S)
        try:
            super().do_handshake(block)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "stalled in the handshake") from None

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read what is there, or raise `ConnectionResetError`."""
        try:
            return super().recv(buflen, flags)
        except TimeoutError:
            raise ConnectionResetError(errno.ECONNRESET, "stalled in a request") from None


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn told by our settings instead of its own command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Translate settings into gunicorn's."""
        settings = self._settings
        for name, value in {
            "bind": settings.bind,
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_class": Worker,
            "keepalive": KEEPALIVE_S,
            "graceful_timeout": 10,
            "proc_name": "hecha",
            "control_socket_disable": True,
            "certfile": str(settings.tls_certificate),
            "keyfile": str(settings.tls_key),
            "ca_certs": str(settings.tls_client_ca),
            "cert_reqs": ssl.CERT_OPTIONAL,
            "ssl_context": _cached_context(settings),
            "limit_request_line": 2_048,
            "limit_request_fields": 40,
            "limit_request_field_size": 8_190,
            "forwarder_headers": "",
            "forwarded_allow_ips": "",
        }.items():
            self.cfg.set(name, value)

    def reload(self) -> None:
        """On SIGHUP, in the master: put the directory on disk in force, then start workers anew.

        A directory that is refused leaves the running one in force; the reason is in the log.
        """
        super().reload()
        try:
            with closing(Store(self._settings.database_url, self._settings.state_dir / "writer.lock")) as store:
                changed = put_in_force(self._settings, store)
        except (*REFUSALS, KeyInvalid, StoreUnavailable, Refusal, OSError) as error:
            logger.error("the running revision stays in force: %s", error)  # noqa: TRY400
        except Exception as error:  # noqa: BLE001 - INVARIANT: nothing leaves this method, or gunicorn's master ends
            # Its text may hold anything, so the log is told the kind alone.
            logger.error("the running revision stays in force: %s", type(error).__name__)  # noqa: TRY400
        else:
            logger.warning("the node directory was %s", "put in force" if changed else "in force already")

    def load(self) -> Flask:
        """The application of one worker; what it starts with is never collected again."""
        application = create_app(self._settings)
        gc.collect()
        gc.freeze()
        return application


def _cached_context(settings: Settings) -> Callable[[Any, Callable[[], ssl.SSLContext]], ssl.SSLContext]:
    made: dict[int, ssl.SSLContext] = {}

    def context(_config: Any, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        # gunicorn asks for a context on every connection; building one reads three files and costs 4 ms.
        process = os.getpid()
        if process not in made:
            made[process] = tls_context(settings)
        return made[process]

    return context


def tls_context(settings: Settings) -> ssl.SSLContext:
    """TLS 1.3 (1.2 by setting); a client certificate may be missing, but a bad one ends the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}[settings.tls_minimum]
    context.load_cert_chain(str(settings.tls_certificate), str(settings.tls_key))
    context.load_verify_locations(str(settings.tls_client_ca))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = PatientSocket
    return context


def serve(settings: Settings) -> None:
    """Prepare database, limiter and the embedded Valkey, then serve until SIGTERM. Raises what start-up refuses."""
    if settings.tls_certificate is None:
        raise SettingInvalid("HECHA_TLS_CERTIFICATE is missing: the node speaks TLS only")
    # Database, socket and logs are the node's alone: they hold case numbers and operators in clear.
    os.umask(0o077)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    embedded = None if settings.redis_url else EmbeddedValkey(settings.state_dir)
    master = os.getpid()
    if embedded is not None:
        embedded.start()
    try:
        prepare_state(settings)
        Server(settings).run()
    finally:
        # A worker that ends comes by here too, and would take the server from under all others.
        if embedded is not None and os.getpid() == master:
            embedded.stop()


def prepare_state(settings: Settings, env: Mapping[str, str] | None = None) -> None:
    """Once, before any worker: database shape, node directory in force, limiter rebuilt from the charge rows.

    Raises what start-up refuses: `NodeFileInvalid` for a directory that is not signed, altered, or rolled back.
    """
    held = keys.load(settings.keys_dir)
    with closing(Store(settings.database_url, settings.state_dir / "writer.lock")) as store:
        upgrade(store)
        if log_name(store) is None:
            prepare(store, NoteSigner(origin_of(settings.node_dir), held.log))
        put_in_force(settings, store, env)
        Limiter(redis_url(settings), store).rebuild(at_start=True)


def put_in_force(settings: Settings, store: Store, env: Mapping[str, str] | None = None) -> bool:
    """Put the node directory on disk in force; whether anything changed. Raises as `Revisions.install`."""
    return revisions_of(settings, store, env).install(settings.node_dir)


def revisions_of(settings: Settings, store: Store, env: Mapping[str, str] | None = None) -> Revisions:
    """What holds a node directory against the one in force, on a prepared database. Raises `KeyInvalid`."""
    held = keys.load(settings.keys_dir)
    # The log knows its name, so that a directory that cannot even be read is refused on the record.
    recorder = make_recorder(settings, held, store, log_name(store) or origin_of(settings.node_dir))
    check = partial(check_sources, env=os.environ if env is None else env)
    return Revisions(store, recorder, settings.keys_dir, check)
