"""The command line: what an operator can mend ends with exit code 2 and one line, never with a traceback."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import __main__ as command_line
from app.keys import node_keys
from app.log.migration import upgrade
from app.log.storage import Store, prepare
from evidence.note import NoteSigner
from examples.demo.departments import NODE_DIR
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import Ground, OwnNode, RunningNode, environment

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Runs a command with these settings only."""

    def invoke(*arguments: str, **env: str) -> Result:
        hidden = {name: None for name in os.environ if name.startswith("HECHA_")}
        return CliRunner().invoke(command_line.cli, list(arguments), env={**hidden, **env})

    return invoke


def settings_of(node: RunningNode) -> dict[str, str]:
    return environment(node.ground, node.folder)


def test_without_a_command_the_commands_are_listed(run: Run) -> None:
    listed = run("--help").output
    commands = (
        "serve",
        "prepare",
        "keys",
        "pki",
        "write-openapi",
        "check-log",
        "explain",
        "replay",
        "policy",
        "signature",
    )
    assert all(name in listed for name in commands)


def test_openapi_is_written(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "openapi.json"
    assert run("write-openapi", "--node", str(NODE_DIR), "--output", str(output)).exit_code == 0
    assert output.read_bytes() == command_line.openapi(NODE_DIR)
    assert output.read_bytes().endswith(b"}\n")


def test_log_of_a_used_node_is_sound(run: Run, own_node: OwnNode) -> None:
    node = own_node()
    node.consumer(CLIENT).ask(SERVICE, employment())
    result = run("check-log", **settings_of(node))
    entries = len(node.rows())
    assert entries > 2
    assert (result.exit_code, result.output) == (0, f"{entries} entries: the log is sound\n")


def test_damaged_log_ends_with_exit_code_1(run: Run, own_node: OwnNode) -> None:
    node = own_node()
    node.consumer(CLIENT).ask(SERVICE, employment())
    with closing(sqlite3.connect(node.folder / "node.db", isolation_level=None)) as connection:
        connection.execute("UPDATE log_entry SET leaf_hash = zeroblob(32) WHERE idx = 1")
    result = run("check-log", **settings_of(node))
    assert result.exit_code == 1
    assert "entry 1 does not have its leaf hash" in result.output


def test_prepare_brings_a_new_database_into_shape(run: Run, ground: Ground, tmp_path: Path) -> None:
    env = environment(ground, tmp_path, REDIS_URL=ground.redis_url())
    found = set()
    for _ in range(2):
        result = run("prepare", **env)
        assert (result.exit_code, result.output) == (0, "database and limiter are prepared\n")
        found.add(run("check-log", **env).output)
    # The revision and every agreement of the directory are recorded, once.
    filed = len(list((NODE_DIR / "agreements").glob("*.yaml")))
    assert found == {f"{1 + filed} entries: the log is sound\n"}


FAULTS = {
    "no node directory": ({}, "HECHA_NODE_DIR is missing"),
    "misspelt setting": ({"HECHA_NODE_DIR": str(NODE_DIR), "HECHA_PORT": "1"}, "HECHA_PORT is not a setting"),
    "empty node directory": ({"HECHA_NODE_DIR": "/tmp"}, "node.yaml: No such file"),
}


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Runs `python -m app` with these settings, keys and nothing else; what it said on its way out with code 2."""
    node_keys.create(tmp_path)
    own = {"HECHA_KEYS_DIR": str(tmp_path), "HECHA_STATE_DIR": str(tmp_path / "state")}

    def said(command: str, env: dict[str, str]) -> str:
        for name in [name for name in os.environ if name.startswith("HECHA_")]:
            monkeypatch.delenv(name)
        for name, value in (own | env).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["app", command])
        with pytest.raises(SystemExit, match="2"):
            command_line.main()
        return capsys.readouterr().err

    return said


@pytest.mark.parametrize("command", ["check-log", "prepare", "serve"])
@pytest.mark.parametrize(("env", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_fault_of_the_set_up_is_one_line(
    ended: Callable[..., str], command: str, env: dict[str, str], words: str
) -> None:
    said = ended(command, env)
    assert said.startswith("hecha: ")
    assert words in said or "HECHA_TLS_CERTIFICATE is missing" in said
    assert said.count("\n") == 1


def test_serving_without_tls_is_refused(run: Run, ground: Ground, tmp_path: Path) -> None:
    result = run("serve", **environment(ground, tmp_path))
    assert "HECHA_TLS_CERTIFICATE is missing" in str(result.exception)


def test_database_of_another_log_is_not_sound(run: Run, ground: Ground, tmp_path: Path, signer: NoteSigner) -> None:
    """A database whose head another key signed is another node's."""
    store = Store(f"sqlite:///{tmp_path / 'node.db'}", tmp_path / "writer.lock")
    upgrade(store)
    prepare(store, signer)
    store.close()
    result = run("check-log", **environment(ground, tmp_path))
    assert (result.exit_code, "the signed head: " in result.output) == (1, True)
