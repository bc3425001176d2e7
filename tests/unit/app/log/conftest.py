"""A log of more than one tile, written once and copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.log.migration import upgrade
from app.log.sequencer import Sequencer
from app.log.storage import Store, prepare
from evidence.note import NoteSigner
from tests.unit.app.log.entries import SIZE, entry


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, signer: NoteSigner) -> Path:
    """The database of a log with a full tile and ten entries more."""
    path = tmp_path_factory.mktemp("log") / "node.db"
    store = Store(f"sqlite:///{path}", path.with_name("writer.lock"))
    upgrade(store)
    prepare(store, signer)
    sequencer = Sequencer(store, signer)
    for number in range(SIZE):
        sequencer.append(entry(number))
    # The last connection's end brings everything from the write-ahead log into the file.
    store.close()
    return path


@pytest.fixture
def log(written: Path, tmp_path: Path) -> Iterator[Store]:
    """The long log, this test's own."""
    shutil.copy(written, tmp_path / "log.db")
    store = Store(f"sqlite:///{tmp_path / 'log.db'}", tmp_path / "log.lock")
    yield store
    store.close()
