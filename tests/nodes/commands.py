"""`python -m app …` run against a node of a test's own, with that node's settings and no others."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from click.testing import CliRunner, Result

from app import __main__ as command_line
from tests.nodes.running import RunningNode, environment


def settings_of(node: RunningNode, **given: str) -> dict[str, str]:
    """The settings that a node of its own runs with; `given` replace some, named without their prefix."""
    settings = {"NODE_DIR": str(node.node.settings.node_dir), "REDIS_URL": str(node.node.settings.redis_url)}
    return environment(node.ground, node.folder, **{**settings, **given})


def run(*arguments: str, **env: str) -> Result:
    """Run a command with these settings only; what it ends with that is no exit code is raised."""
    hidden = {name: None for name in os.environ if name.startswith("HECHA_")}
    result = CliRunner().invoke(command_line.cli, list(arguments), env={**hidden, **env})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def copied_database(node: RunningNode, target: Path) -> str:
    """A copy of the node's database in a folder, as a URL; what a test does to it, the node does not see."""
    with (
        closing(sqlite3.connect(node.folder / "node.db")) as source,
        closing(sqlite3.connect(target / "copy.db")) as copy,
    ):
        source.backup(copy)
    return f"sqlite:///{target / 'copy.db'}"


def altered(url: str, statement: str, *values: object) -> None:
    """What somebody with the database in his hands does; it must hit something."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        assert connection.execute(statement, values).rowcount > 0
