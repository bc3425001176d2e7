"""gunicorn as the node's own server: with its own TLS, or plain behind a proxy on the same machine.

One port. Everything gunicorn can be told by a header, an environment variable or a default is told here instead.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import socket
import stat
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from app.factory import create_app
from app.keys import node_keys as keys
from app.keys.node_keys import KeyInvalid
from app.limits.limiter import Limiter
from app.log.migration import upgrade
from app.log.storage import Store, StoreUnavailable, log_name, prepare
from app.refusals import Refusal
from app.revisions import REFUSALS, Revisions
from app.services import check_sources, make_recorder, origin_of, redis_url
from app.settings import SettingInvalid, Settings
from app.tls import Contexts
from app.valkey import EmbeddedValkey
from app.worker import Worker
from evidence.note import NoteSigner

logger = logging.getLogger(__name__)

KEEPALIVE_S = 75
SPARE_FILES = 256  # that a worker has open beside its connections, at most

# What a header, a proxy or a client could otherwise tell gunicorn. Most of it is gunicorn's own default, said here so
# that neither a new version nor its environment variables change it.
UNTRUSTING: dict[str, Any] = {
    "header_map": "drop",  # a header with an underscore could pass for one with a hyphen
    "forwarder_headers": "",
    "forwarded_allow_ips": "",
    "secure_scheme_headers": {},  # gunicorn believes them of whoever comes over a Unix socket
    "proxy_protocol": "off",
    "proxy_allow_ips": "",
    "protocol": "http",
    "http_protocols": "h1",
    "http2_cleartext": "off",
    "http_parser": "python",  # never whichever happens to be installed
    "permit_obsolete_folding": False,
    "strip_header_spaces": False,
    "permit_unconventional_http_method": False,
    "permit_unconventional_http_version": False,
    "casefold_http_method": False,
    "sendfile": False,  # it would go past the connection's own pace
    "limit_request_line": 2_048,
    "limit_request_fields": 40,
    "limit_request_field_size": 8_190,
}


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn told by our settings instead of its own command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.contexts = Contexts.of(settings)
        self.max_body_bytes = settings.max_body_bytes
        super().__init__()

    def load_config(self) -> None:
        """Translate settings into gunicorn's."""
        settings = self._settings
        for name, value in {
            "bind": settings.bind,
            "umask": 0o117,  # of a Unix socket, which has mode 0660 from the start; gunicorn's own would be 0777
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_connections": settings.connections,
            "worker_class": Worker,
            "keepalive": KEEPALIVE_S,
            "graceful_timeout": 10,
            "proc_name": "hecha",
            "control_socket_disable": True,
            **UNTRUSTING,
        }.items():
            self.cfg.set(name, value)
        if self.contexts is not None:
            # By this gunicorn knows that the scheme is https; connections come from `contexts`.
            self.cfg.set("certfile", str(settings.tls_certificate))
            self.cfg.set("keyfile", str(settings.tls_key))

    def reload(self) -> None:
        """On SIGHUP, in the master: put the directory on disk in force, then start workers anew.

        A directory that is refused leaves the running one in force; the reason is in the log.
        """
        super().reload()
        if self.contexts is not None:
            self.contexts.refresh(at_once=True)
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


def serve(settings: Settings) -> None:
    """Prepare database, limiter and the embedded Valkey, then serve until SIGTERM. Raises what start-up refuses."""
    check_listener(settings)
    server = Server(settings)
    _allow_files(settings.connections + SPARE_FILES)
    # Database, socket and logs are the node's alone: they hold case numbers and operators in clear.
    os.umask(0o077)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    embedded = None if settings.redis_url else EmbeddedValkey(settings.state_dir)
    master = os.getpid()
    if embedded is not None:
        embedded.start()
    try:
        prepare_state(settings)
        server.run()
    finally:
        # A worker that ends comes by here too, and would take the server from under all others.
        if embedded is not None and os.getpid() == master:
            embedded.stop()


def check_listener(settings: Settings) -> None:
    """Refuse to listen where the node would be seen in clear, or where somebody else is. Raises `SettingInvalid`."""
    if settings.tls_certificate is None:
        if not settings.proxy_peers:
            raise SettingInvalid(
                "HECHA_TLS_CERTIFICATE is missing: without TLS of its own the node serves a proxy only, "
                "which HECHA_PROXY_PEERS names"
            )
        if not settings.is_local_socket and not ip_address(settings.host).is_loopback:
            raise SettingInvalid(
                f"HECHA_BIND={settings.bind}: without HECHA_TLS_CERTIFICATE, a Unix socket or a loopback address"
            )
    if settings.is_local_socket:
        _check_socket(Path(settings.host))


def _check_socket(path: Path) -> None:
    if not path.parent.is_dir():
        raise SettingInvalid(f"HECHA_BIND: {path.parent} is no folder")
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise SettingInvalid(f"HECHA_BIND: {path} is there and is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        # A stale socket, of a node that was killed, refuses; gunicorn removes it.
        if probe.connect_ex(str(path)) == 0:
            raise SettingInvalid(f"HECHA_BIND: somebody listens at {path} already")


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SettingInvalid(
            f"HECHA_CONNECTIONS needs {wanted} open files, and the system allows {hard}: raise its limit"
        )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
