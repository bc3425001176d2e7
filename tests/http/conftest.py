"""Fixtures for tests of applications, agreements and disputes, which change what is in force: a node of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nodes import running
from tests.nodes.running import Ground, RunningNode
from tests.nodes.steps import Parties


@pytest.fixture(scope="module")
def own(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node of the module's own."""
    made = running.start(ground, tmp_path_factory.mktemp("own"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def parties(own: RunningNode) -> Parties:
    """The clients of the module's own node."""
    return Parties(own)
