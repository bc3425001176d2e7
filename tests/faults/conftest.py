from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.node import demo_folder


@pytest.fixture
def var() -> Iterator[Path]:
    """A small demonstration of the test's own: what happens to it is nobody else's matter."""
    with demo_folder() as folder:
        yield folder
