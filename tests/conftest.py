"""Fixtures for tests that need a whole node: one is shared by a worker's tests, others are a test's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.nodes import running
from tests.nodes.consumer import Consumer
from tests.nodes.questions import Question, claimants
from tests.nodes.running import Edits, Ground, OwnNode, RunningNode


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """Demonstration data, PKI, keys and a Valkey, built once in each worker process."""
    with running.ground() as made:
        yield made


@pytest.fixture(scope="session")
def node(ground: Ground) -> Iterator[RunningNode]:
    """The worker's shared node over the example directory; tests leave it able to answer."""
    folder = ground.folder / "shared"
    folder.mkdir()
    made = running.start(ground, folder)
    yield made
    made.close()


@pytest.fixture(scope="session")
def consumer(node: RunningNode) -> Callable[[str], Consumer]:
    """A client of the shared node by its id, with one set of tokens for all tests."""
    known: dict[str, Consumer] = {}

    def named(name: str) -> Consumer:
        if name not in known:
            known[name] = node.consumer(name)
        return known[name]

    return named


@pytest.fixture(scope="session")
def claimant(ground: Ground) -> Iterator[Question]:
    """Questions about claimants, each a subject that no other test has asked about."""
    return claimants(ground.folder)


@pytest.fixture
def own_node(ground: Ground) -> Iterator[OwnNode]:
    """Makes nodes of the test's own: `own_node({"agreements/x.yaml": rewrite}, TOKEN_LIFETIME="30")`."""
    with ExitStack() as stack:

        def make(edits: Edits | None = None, **settings: str) -> RunningNode:
            folder = Path(tempfile.mkdtemp(prefix="hecha-", dir=ground.folder))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            if edits:
                settings["NODE_DIR"] = str(running.edited(ground, folder, edits))
            made = running.start(ground, folder, **settings)
            stack.callback(made.close)
            return made

        yield make
