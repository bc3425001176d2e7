"""A node database on disk, as every process of a node opens it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.log.migration import upgrade
from app.log.storage import Store, prepare
from evidence.note import NoteSigner


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
