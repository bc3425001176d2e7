"""A limiter over a Valkey database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from app.limits.limiter import Limiter
from app.log.storage import Store
from tests.nodes.running import Ground


@pytest.fixture
def url(ground: Ground) -> str:
    return ground.redis_url()


@pytest.fixture
def limiter(url: str, store: Store) -> Limiter:
    return Limiter(url, store)


@pytest.fixture
def names() -> Iterator[str]:
    """Ids of decisions, each new."""
    return (f"decision-{number}" for number in count())
