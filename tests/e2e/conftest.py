from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.node import RunningNode, demo_folder, running_node


@pytest.fixture(scope="session")
def node() -> Iterator[RunningNode]:
    """One node over TLS for all tests of a worker process."""
    with demo_folder() as var, running_node(var) as running:
        yield running
