"""gunicorn as the node's own TLS server, with one SSLContext per worker instead of one per connection.

One port: a client certificate may be missing in the handshake, since some routes are public, but a bad one ends it.
"""

from __future__ import annotations

import gc
import os
import ssl
from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from app.factory import create_app
from app.identity import keys
from app.limits import Limiter
from app.log.migration import upgrade
from app.log.storage import Store, prepare
from app.registry import node_directory
from app.services import redis_url
from app.settings import SettingInvalid, Settings
from app.valkey import EmbeddedValkey
from evidence.note import NoteSigner

KEEPALIVE_S = 75


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
            "worker_class": "gthread",
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
    return context


def serve(settings: Settings) -> None:
    """Prepare database, limiter and the embedded Valkey, then serve until SIGTERM. Raises what start-up refuses."""
    if settings.tls_certificate is None:
        raise SettingInvalid("HECHA_TLS_CERTIFICATE is missing: the node speaks TLS only")
    # Database, socket and logs are the node's alone: they hold case numbers and operators in clear.
    os.umask(0o077)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    embedded = None if settings.redis_url else EmbeddedValkey(settings.state_dir)
    if embedded is not None:
        embedded.start()
    try:
        prepare_state(settings)
        Server(settings).run()
    finally:
        if embedded is not None:
            embedded.stop()


def prepare_state(settings: Settings) -> None:
    """Once, before any worker: database shape, head of the log, and the limiter rebuilt from the charge rows."""
    directory = node_directory.load(settings.node_dir)
    store = Store(settings.database_url, settings.state_dir / "writer.lock")
    try:
        upgrade(store)
        prepare(store, NoteSigner(directory.origin, keys.load(settings.keys_dir).log))
        Limiter(redis_url(settings), store).rebuild(at_start=True)
    finally:
        store.close()
