"""Every long-lived object of a node is built here, once, in the order in which each needs the one before."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.base import Adapter
from adapters.registry import load_adapter
from app.identity import keys as node_keys
from app.identity.caller import Identity
from app.identity.certificate import Certificates
from app.identity.keys import NodeKeys
from app.identity.token import Tokens
from app.limits import Limiter
from app.log.idempotency import Idempotency
from app.log.sealing import Sealer
from app.log.sequencer import Sequencer
from app.log.storage import Store, prepare
from app.recording import Recorder
from app.registry import node_directory
from app.registry.catalogue import Service
from app.registry.node_directory import NodeDirectory
from app.registry.question import QuestionReader
from app.settings import SettingInvalid, Settings
from app.verification import Registry, Verification
from evidence.jwk import PURPOSE, thumbprint, to_jwk
from evidence.note import NoteSigner
from evidence.receipt import ReceiptSigner

_PLACEHOLDER = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Node:
    """A running node: what HTTP and the command line work with."""

    settings: Settings
    directory: NodeDirectory
    keys: NodeKeys
    store: Store
    limiter: Limiter
    identity: Identity
    recorder: Recorder
    verification: Verification
    vkey: str

    @property
    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys of tokens and receipts (RFC 7517)."""
        token, receipt = to_jwk(self.keys.token.public_key()), to_jwk(self.keys.receipt.public_key())
        # Which key is for what: whoever steals the one must not be able to forge the other's documents.
        return {"keys": [token | {PURPOSE: "token"}, receipt | {PURPOSE: "receipt"}]}

    def close(self) -> None:
        """Give back sources and the node database."""
        for adapter in self.verification.registry.adapters.values():
            adapter.close()
        self.store.close()


def build(settings: Settings, env: Mapping[str, str] | None = None) -> Node:
    """Build a node. Raises `SettingInvalid`, `NodeFileInvalid`, `KeyInvalid` or `StoreUnavailable`."""
    directory = node_directory.load(settings.node_dir)
    keys = node_keys.load(settings.keys_dir)
    store = Store(settings.database_url, settings.state_dir / "writer.lock")
    log_signer = NoteSigner(directory.origin, keys.log)
    prepare(store, log_signer)
    sealer = Sealer(keys.seal)
    recorder = Recorder(
        sequencer=Sequencer(store, log_signer),
        signer=ReceiptSigner(keys.receipt, thumbprint(keys.receipt.public_key())),
        sealer=sealer,
        index_key=keys.index,
        origin=directory.origin,
        issuer=settings.issuer,
    )
    limiter = Limiter(redis_url(settings), store)
    services = directory.catalogue.services
    adapters = _adapters(services, keys.fingerprint, os.environ if env is None else env)
    verification = Verification(
        registry=Registry(
            departments=directory.departments,
            catalogue=directory.catalogue,
            agreements=directory.agreements,
            rules=directory.rules,
            readers={name: QuestionReader(service) for name, service in services.items()},
            adapters=adapters,
        ),
        recorder=recorder,
        limiter=limiter,
        idempotency=Idempotency(store, sealer),
        account_key=keys.account,
        source_timeout_s=settings.source_timeout_s,
    )
    tokens = Tokens(keys.token, settings.issuer, settings.token_lifetime_s)
    identity = Identity(Certificates(directory.departments), tokens)
    return Node(settings, directory, keys, store, limiter, identity, recorder, verification, vkey=log_signer.vkey)


def redis_url(settings: Settings) -> str:
    """The Redis to use: the configured one, or the embedded Valkey on its unix socket."""
    return settings.redis_url or f"unix://{settings.state_dir / 'valkey.sock'}"


def check_sources(directory: NodeDirectory, env: Mapping[str, str]) -> None:
    """Bind every service to its source once, to be told of a bad binding before any worker starts."""
    for adapter in _adapters(directory.catalogue.services, bytes(32), env).values():
        adapter.close()


def _adapters(services: Mapping[str, Service], key: bytes, env: Mapping[str, str]) -> dict[str, Adapter]:
    adapters = {}
    for name, service in services.items():
        if service.answerable is None:
            continue
        source = service.answerable.source
        adapters[name] = load_adapter(source.adapter)(
            service.answerable.binding,
            url=_expanded(source.url, name, env),
            fingerprint_key=key,
            updated=source.updated,
        )
    return adapters


def _expanded(url: str, service: str, env: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if not env.get(found[1]):
            raise SettingInvalid(f"{found[1]} is not set: service {service} needs it to reach its source")
        return env[found[1]]

    return _PLACEHOLDER.sub(value, url)
