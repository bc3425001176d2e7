"""The sources that every contract test runs against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.people import DEPOT, MILL, NA, PEOPLE, WAGES, WEI, YONG
from tests.contract.sources import PostgresSource, SourceUnderTest, SqliteSource
from tests.servers.postgres import PostgresServer, start_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with start_postgres() as server:
        yield server


@pytest.fixture
def sqlite_source(tmp_path: Path) -> Iterator[SqliteSource]:
    source = SqliteSource(tmp_path / "source of a department #1.db")
    yield source
    source.close()


@pytest.fixture
def postgres_source(postgres: PostgresServer) -> Iterator[PostgresSource]:
    source = PostgresSource(postgres)
    yield source
    source.close()


@pytest.fixture(params=["sqlite", "postgres"])
def source(request: pytest.FixtureRequest) -> SourceUnderTest:
    found: SourceUnderTest = request.getfixturevalue(f"{request.param}_source")
    return found


@pytest.fixture
def filled(source: SourceUnderTest) -> SourceUnderTest:
    source.fill(
        "wages",
        WAGES,
        [
            (WEI, "张伟", "2020-01-01", None, MILL),
            (NA, "李娜", "2020-01-01", "2023-12-31", DEPOT),
        ],
    )
    source.fill("people", PEOPLE, [(WEI, "张伟"), (NA, "李娜"), (YONG, "王勇")])
    return source
