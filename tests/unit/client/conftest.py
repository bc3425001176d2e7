from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.client.pki import Pki, make_pki
from tests.unit.client.servers import HttpsServer, MemoryNode

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def foreign_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("foreign"))


@pytest.fixture
def node() -> MemoryNode:
    return MemoryNode()


@pytest.fixture
def server(pki: Pki, node: MemoryNode) -> Iterator[HttpsServer]:
    with HttpsServer(pki, node) as server:
        yield server
