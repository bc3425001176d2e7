from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from examples.demo.build import build


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a built demonstration of 2,000 people: 200 claimants, 8 hits, 4 of them confirmable."""
    var = tmp_path_factory.mktemp("demo")
    build(var, people=2_000, enterprises=150, claimants=200, hits=8, confirmable=4)
    return var


@pytest.fixture(scope="session")
def small_columns(small: Path) -> dict[str, set[str]]:
    """Return the columns of every relation of the small demonstration, by `<department>/<relation>`."""
    found: dict[str, set[str]] = {}
    for path in (small / "sources").glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                columns = connection.execute("SELECT name FROM pragma_table_info(?)", (name,)).fetchall()
                found[f"{path.stem}/{name}"] = {column for (column,) in columns}
    return found
