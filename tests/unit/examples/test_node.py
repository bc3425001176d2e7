from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from app.settings import Settings
from examples.demo import node
from examples.demo.build import PROVIDERS
from examples.demo.node import NodeFailed, environment, running


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((node.HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def test_environment_is_one_the_node_accepts(small: Path) -> None:
    settings = Settings.from_env(environment(small, 9_443))
    assert settings.bind == "127.0.0.1:9443"
    assert settings.issuer == "https://127.0.0.1:9443"
    assert settings.state_dir == small / "state"
    assert settings.node_dir == small / "node"
    assert settings.database_url == f"sqlite:///{small}/state/node.db"


def test_environment_names_a_source_for_every_provider(small: Path) -> None:
    settings = environment(small, 9_443)
    for provider in PROVIDERS:
        url = settings["HECHA_SOURCE_" + provider.upper().replace("-", "_")]
        assert Path(url.removeprefix("sqlite:///")).is_file()


def test_settings_of_the_surroundings_do_not_reach_the_node(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HECHA_DATABASE_URL", "postgresql://elsewhere/other")
    monkeypatch.setenv("HECHA_WORKERS", "64")
    settings = environment(small, 9_443)
    assert "elsewhere" not in settings["HECHA_DATABASE_URL"]
    assert "HECHA_WORKERS" not in settings


def test_relative_folder_becomes_absolute(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent)
    assert environment(Path(small.name), 9_443) == environment(small, 9_443)


def test_taken_port_is_told_with_what_to_do(small: Path, free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind((node.HOST, free_port))
        taken.listen()
        with pytest.raises(NodeFailed, match=r"cannot be used .* PORT="), running(small, free_port):
            pytest.fail("the node ran on a taken port")


def test_node_that_cannot_start_is_told_with_the_end_of_its_log(small: Path, tmp_path: Path, free_port: int) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.pem").write_bytes((small / "pki" / "ca.pem").read_bytes())
    shutil.copytree(small / "node", tmp_path / "node")
    with pytest.raises(NodeFailed, match="HECHA_TLS_CERTIFICATE"), running(tmp_path, free_port):
        pytest.fail("a node without certificates ran")
    assert "HECHA_TLS_CERTIFICATE" in (tmp_path / "node.log").read_text()
