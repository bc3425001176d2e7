"""A node database as every process of a node opens it: SQLite on disk, or a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from app.log import tables
from app.log.migration import upgrade
from app.log.storage import Store, prepare
from evidence.note import NoteSigner
from tests.servers.postgres import PostgresServer, start_postgres


@pytest.fixture(scope="session")
def signer() -> NoteSigner:
    return NoteSigner("node.example/log", Ed25519PrivateKey.from_private_bytes(b"s" * 32))


@pytest.fixture
def store(tmp_path: Path, signer: NoteSigner) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path / 'node.db'}", tmp_path / "writer.lock")
    upgrade(made)
    prepare(made, signer)
    yield made
    made.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of this worker's own, started when the first test needs it."""
    with start_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A node database on it, which tests empty for themselves."""
    url = postgres.create_database("node")
    made = Store(url, tmp_path_factory.mktemp("postgres") / "writer.lock")
    upgrade(made)
    made.close()
    return url


@pytest.fixture
def postgres_store(postgres_url: str, tmp_path: Path, signer: NoteSigner) -> Iterator[Store]:
    made = Store(postgres_url, tmp_path / "writer.lock")
    with made.writing() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(tables.metadata.tables)}"))
    prepare(made, signer)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either_store(request: pytest.FixtureRequest) -> Store:
    """Every node database that the node supports, in turn."""
    found: Store = request.getfixturevalue({"sqlite": "store", "postgresql": "postgres_store"}[request.param])
    return found
