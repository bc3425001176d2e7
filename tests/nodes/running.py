"""A node in process for tests: real files, real SQLite, real Valkey, the real Flask application, no TLS in front.

The certificate that the TLS layer would have verified comes in through the WSGI environment.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import redis
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from sqlalchemy import select

from adapters.base import Adapter
from app import services
from app.factory import app_for
from app.keys import node_keys as keys
from app.log import tables
from app.log.sealing import Sealer
from app.recording import SALT
from app.registry.current import Current
from app.server import prepare_state
from app.services import Node
from app.settings import Settings
from app.valkey import EmbeddedValkey
from evidence.base64s import encode_url
from evidence.jwk import keys_from_jwks
from evidence.record import field_salt
from examples.demo import signing
from examples.demo.build import PROVIDERS, build
from examples.demo.departments import NODE_DIR
from tests.nodes.consumer import Consumer

Edits: TypeAlias = "Mapping[str, Callable[[str], str]]"
"""Files of a node directory, each with the function that rewrites it."""
OwnNode: TypeAlias = "Callable[..., RunningNode]"
"""What makes nodes of a test's own: `own_node(edits, **settings)`."""

ISSUER = "https://node.hangzhou.example"
DATABASES = 16  # a Valkey's own default


@dataclass(frozen=True, slots=True)
class Ground:
    """What the nodes of one worker stand on: demonstration data, keys, a Valkey with a database for each node."""

    folder: Path
    valkey: Path
    taken: Iterator[int]

    def signing_keys(self) -> dict[str, ec.EllipticCurvePrivateKey]:
        """The key that each department accepts agreements with, and the policy signer's (`signing.POLICY`)."""
        return signing.read_keys(self.folder / "pki" / "signing")

    def redis_url(self) -> str:
        """The URL of a database of the Valkey that no node of this worker uses now, empty."""
        url = f"unix://{self.valkey}?db={next(self.taken)}"
        with closing(redis.Redis.from_url(url)) as client:
            client.flushdb()
        return url


@dataclass(frozen=True, slots=True)
class RunningNode:
    """One node with its application; `folder` is its own, `ground` is shared."""

    node: Node
    app: Flask
    folder: Path
    ground: Ground

    def consumer(self, name: str) -> Consumer:
        """The registered client of that name, with its own certificate."""
        return Consumer.of(self.app, self.ground.folder / "pki", name)

    def stranger(self, pem: str) -> Consumer:
        """Whoever holds the certificate in this file of the demonstration's PKI."""
        return Consumer.of(self.app, self.ground.folder / "pki", pem)

    def nobody(self) -> Consumer:
        """A caller without a certificate."""
        return Consumer(self.app, "nobody", None)

    def with_adapter(self, service: str, adapter: Adapter) -> RunningNode:
        """The same node with another source behind one service."""
        adapters = {**self.node.current.registry.adapters, service: adapter}
        current = Current(self.node.store, lambda _: adapters)
        verification = replace(self.node.verification, current=current)
        node = replace(self.node, current=current, verification=verification)
        return replace(self, node=node, app=app_for(node))

    def receipt_keys(self) -> dict[str, Any]:
        """The public keys that receipts are verified with."""
        return dict(keys_from_jwks(self.node.jwks))

    def rows(self, **wanted: Any) -> list[Any]:
        """The index rows of the decision log with these values, oldest first."""
        query = select(tables.decision).order_by(tables.decision.c.idx)
        for name, value in wanted.items():
            query = query.where(tables.decision.c[name] == value)
        with self.node.store.reading() as connection:
            return list(connection.execute(query))

    def record(self, identifier: str) -> dict[str, Any]:
        """The record of one decision as it stands in the log."""
        query = (
            select(tables.log_entry.c.body)
            .join(tables.decision, tables.decision.c.idx == tables.log_entry.c.idx)
            .where(tables.decision.c.id == identifier)
        )
        with self.node.store.reading() as connection:
            found: dict[str, Any] = orjson.loads(connection.execute(query).scalar_one())
        return found

    def charges(self, identifier: str) -> dict[str, int]:
        """The amounts charged for one decision, by account."""
        query = (
            select(tables.charge)
            .join(tables.decision, tables.decision.c.idx == tables.charge.c.idx)
            .where(tables.decision.c.id == identifier, tables.charge.c.amount > 0)
        )
        with self.node.store.reading() as connection:
            return {row.account: row.amount for row in connection.execute(query)}

    def opening(self, identifier: str, field: str) -> str:
        """The salt that opens one commitment of a record: what two auditors may take out of the sealed store."""
        query = (
            select(tables.salt.c.sealed)
            .join(tables.decision, tables.decision.c.idx == tables.salt.c.idx)
            .where(tables.decision.c.id == identifier)
        )
        with self.node.store.reading() as connection:
            sealed = bytes(connection.execute(query).scalar_one())
        return encode_url(field_salt(Sealer(self.node.keys.seal).open(sealed, identifier)[:SALT], field))

    def redis(self) -> redis.Redis:
        """A client of the node's own Valkey database; the caller closes it."""
        return redis.Redis.from_url(services.redis_url(self.node.settings))

    def close(self) -> None:
        """Give back what the node holds."""
        self.node.close()


@contextmanager
def ground() -> Iterator[Ground]:
    """Build the small demonstration and start a Valkey, both gone when the block ends."""
    # A unix socket's path has at most 107 bytes, so pytest's own folders lie too deep.
    folder = Path(tempfile.mkdtemp(prefix="hecha-", dir="/tmp" if Path("/tmp").is_dir() else None))
    valkey = EmbeddedValkey(folder)
    try:
        build(folder, people=3_000, enterprises=600, claimants=500, hits=8, confirmable=4)
        keys.create(folder / "keys")
        valkey.start()
        yield Ground(folder, valkey.socket, _databases())
    finally:
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _databases() -> Iterator[int]:
    # Database 0 belongs to the worker's shared node; the others take turns, a few being alive at a time.
    yield 0
    while True:
        yield from range(1, DATABASES)


def environment(ground: Ground, folder: Path, **settings: str) -> dict[str, str]:
    """The settings of a node whose state lies in `folder`; `settings` are named without their prefix."""
    sources = {
        f"HECHA_SOURCE_{provider.upper().replace('-', '_')}": f"sqlite:///{ground.folder / 'sources' / provider}.db"
        for provider in PROVIDERS
    }
    own = {
        "NODE_DIR": str(ground.folder / "node"),
        "STATE_DIR": str(folder),
        "KEYS_DIR": str(ground.folder / "keys"),
        "DATABASE_URL": f"sqlite:///{folder / 'node.db'}",
        "ISSUER": ISSUER,
        "TLS_CLIENT_CA": str(ground.folder / "pki" / "ca.pem"),
        **settings,
    }
    return sources | {f"HECHA_{name}": value for name, value in own.items()}


def start(ground: Ground, folder: Path, **settings: str) -> RunningNode:
    """Start a node of its own state on shared ground; `close` it afterwards."""
    settings.setdefault("REDIS_URL", ground.redis_url())
    env = environment(ground, folder, **settings)
    read = Settings.from_env(env)
    prepare_state(read, env)
    node = services.build(read, env)
    return RunningNode(node, app_for(node), folder, ground)


def edited(ground: Ground, folder: Path, files: Edits) -> Path:
    """The example node directory in `folder`, each named file rewritten by its function, and signed anew.

    A file that is not there yet is rewritten from nothing. Raises AssertionError where a function changes nothing:
    the test would not test what it says.
    """
    source, target = folder / "template", folder / "directory"
    shutil.copytree(NODE_DIR, source)
    for name, rewrite in files.items():
        path = source / name
        text = path.read_text("utf-8") if path.exists() else ""
        changed = rewrite(text)
        assert changed != text, name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed, "utf-8")
    signing.signed_directory(source, target, ground.signing_keys())
    return target
