"""Every long-lived object of a node is built here, once, in the order in which each needs the one before."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from adapters.base import Adapter
from adapters.registry import load_adapter
from app.charging import Charging
from app.identity.caller import Identity
from app.identity.certificate import Certificates
from app.identity.connection import Connections
from app.identity.signature import Signatures
from app.identity.token import MAX_LIFETIME_S, Tokens, VerificationKey
from app.keys import node_keys
from app.keys.node_keys import NodeKeys
from app.life_cycle.agreements import expire_due
from app.life_cycle.desk import Desk
from app.limits.account import keyed
from app.limits.limiter import Limiter
from app.log.idempotency import Idempotency
from app.log.sealing import Sealer
from app.log.sequencer import Sequencer
from app.log.storage import Store
from app.recording import Recorder
from app.registry import files
from app.registry.catalogue import Service
from app.registry.current import Current, Registry
from app.registry.node_directory import NodeDirectory
from app.revisions import Revisions
from app.settings import SettingInvalid, Settings
from app.sources import Sources
from app.trust.authorities import Authorities
from app.trust.revocation import RevocationLists
from app.verification import Verification
from evidence.jwk import thumbprint
from evidence.note import NoteSigner
from evidence.receipt import ReceiptSigner

_PLACEHOLDER = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Node:
    """A running node: what HTTP and the command line work with."""

    settings: Settings
    current: Current
    keys: NodeKeys
    store: Store
    limiter: Limiter
    identity: Identity
    recorder: Recorder
    verification: Verification
    revisions: Revisions
    vkey: str

    @property
    def registry(self) -> Registry:
        """What is in force, looked after once a second."""
        return self.current.look()

    @property
    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public keys of tokens and receipts (RFC 7517)."""
        return node_keys.published(self.keys, timedelta(seconds=MAX_LIFETIME_S), datetime.now(UTC))

    def desk(self) -> Desk:
        """Where steps of applications, agreements and disputes are taken, over what is in force now."""
        self.current.followed()
        return Desk(
            store=self.store,
            recorder=self.recorder,
            idempotency=self.verification.idempotency,
            key=self.verification.account_key,
            current=self.current,
            announce=self.limiter.announce,
        )

    def close(self) -> None:
        """Give back sources and the node database."""
        self.identity.certificates.close()
        self.current.close()
        self.store.close()


def build(settings: Settings, env: Mapping[str, str] | None = None) -> Node:
    """Build a node on a prepared database.

    Raises `SettingInvalid`, `NotInForce`, `KeyInvalid` or `StoreUnavailable`.
    """
    keys = node_keys.load(settings.keys_dir)
    store = Store(settings.database_url, settings.state_dir / "writer.lock")
    variables = os.environ if env is None else env
    current = Current(store, lambda services: bind(services, keys.fingerprint, variables))
    origin = current.registry.directory.origin
    log_signer = NoteSigner(origin, keys.log)
    sealer = Sealer(keys.seal)
    recorder = make_recorder(settings, keys, store, origin)
    limiter = Limiter(redis_url(settings), store)
    verification = Verification(
        current=current,
        recorder=recorder,
        charging=Charging(limiter, recorder.sequencer, keys.account, keyed(keys.fingerprint, "id")[:6]),
        idempotency=Idempotency(store, sealer),
        sources=Sources(store, sealer, settings.source_timeout_s),
        signatures=Signatures(store, settings.issuer),
        account_key=keys.account,
    )
    node = Node(
        settings=settings,
        current=current,
        keys=keys,
        store=store,
        limiter=limiter,
        identity=make_identity(settings, keys),
        recorder=recorder,
        verification=verification,
        revisions=Revisions(store, recorder, settings.keys_dir, partial(check_sources, env=variables)),
        vkey=log_signer.vkey,
    )
    # What ran out while the node was down is recorded before anything else; the rules deny it either way.
    expire_due(node.desk(), datetime.now(UTC))
    return node


def make_identity(settings: Settings, keys: NodeKeys) -> Identity:
    """What tells who asks. Raises `SettingInvalid` and `AuthoritiesInvalid`."""
    if settings.tls_client_ca is None:
        raise SettingInvalid("HECHA_TLS_CLIENT_CA is missing: the authorities that client certificates lead to")
    authorities = Authorities(settings.tls_client_ca)
    lists = RevocationLists(
        settings.client_crls,
        authorities,
        check=settings.crl_check,
        grace_s=settings.crl_grace_s,
        folder=settings.state_dir / "crls",
    )
    lists.start()
    return Identity(
        connections=Connections(settings.proxy_peers),
        certificates=Certificates(authorities, lists),
        tokens=Tokens(keys.token, settings.issuer, settings.token_lifetime_s, _other_token_keys(keys)),
    )


def _other_token_keys(keys: NodeKeys) -> list[VerificationKey]:
    """What tokens are verified with beside the key that signs them: those retired, and the one that follows."""
    found = [VerificationKey.of(past.key, past.valid_until) for past in keys.history if past.use == "token"]
    return [*found, VerificationKey.of(keys.token_next)] if keys.token_next is not None else found


def make_recorder(settings: Settings, keys: NodeKeys, store: Store, origin: str) -> Recorder:
    """What writes the decision log named `origin`."""
    return Recorder(
        sequencer=Sequencer(store, NoteSigner(origin, keys.log)),
        signer=ReceiptSigner(keys.receipt, thumbprint(keys.receipt.public_key())),
        sealer=Sealer(keys.seal),
        index_key=keys.index,
        origin=origin,
        issuer=settings.issuer,
    )


def origin_of(folder: Path) -> str:
    """The name of the log (C2SP) that a node directory on disk gives. Raises `NodeFileInvalid`."""
    return files.read(folder / "node.yaml").text("origin")


def redis_url(settings: Settings) -> str:
    """The Redis to use: the configured one, or the embedded Valkey on its unix socket."""
    return settings.redis_url or f"unix://{settings.state_dir / 'valkey.sock'}"


def check_sources(directory: NodeDirectory, env: Mapping[str, str]) -> None:
    """Bind every service to its source once, to be told of a bad binding before any worker starts."""
    for adapter in bind(directory.catalogue.services, bytes(32), env).values():
        adapter.close()


def bind(services: Mapping[str, Service], key: bytes, env: Mapping[str, str]) -> dict[str, Adapter]:
    """Open the source of every service that has one. Raises `SettingInvalid` and `BindingInvalid`."""
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
