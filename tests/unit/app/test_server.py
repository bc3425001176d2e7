from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from app import server
from app.factory import create_app
from app.log.sequencer import NotWritten
from app.server import Server, Worker, prepare_state, serve, tls_context
from app.settings import SettingInvalid, Settings
from tests.nodes.running import Ground, environment


@pytest.fixture
def env(ground: Ground, tmp_path: Path) -> dict[str, str]:
    """The settings of a node with its certificates."""
    pki = ground.folder / "pki"
    files = {"TLS_CERTIFICATE": "server.pem", "TLS_KEY": "server.key", "TLS_CLIENT_CA": "ca.pem"}
    return environment(ground, tmp_path, **{name: str(pki / file) for name, file in files.items()})


def test_nothing_is_served_without_tls(ground: Ground, tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="HECHA_TLS_CERTIFICATE is missing"):
        serve(Settings.from_env(environment(ground, tmp_path / "state")))
    assert not (tmp_path / "state").exists()


def test_tls_is_1_3_and_asks_for_a_certificate_without_demanding_one(env: dict[str, str]) -> None:
    context = tls_context(Settings.from_env(env))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert (
        tls_context(Settings.from_env(env | {"HECHA_TLS_MINIMUM": "1.2"})).minimum_version is ssl.TLSVersion.TLSv1_2
    )


def test_gunicorn_is_told_by_our_settings(env: dict[str, str]) -> None:
    server = Server(
        Settings.from_env(env | {"HECHA_WORKERS": "3", "HECHA_THREADS": "5", "HECHA_BIND": "127.0.0.1:9"})
    )
    config = server.cfg
    assert (config.bind, config.workers, config.threads) == (["127.0.0.1:9"], 3, 5)
    assert config.worker_class is Worker
    assert config.cert_reqs == ssl.CERT_OPTIONAL


def test_no_header_of_a_proxy_is_believed(env: dict[str, str]) -> None:
    """T7: gunicorn believes X-Forwarded-Proto and its like from loopback unless it is told not to."""
    config = Server(Settings.from_env(env)).cfg
    assert config.forwarder_headers == []
    assert list(config.forwarded_allow_ips) == []
    assert config.header_map == "drop"


def test_one_context_serves_every_connection_of_a_process(env: dict[str, str]) -> None:
    config = Server(Settings.from_env(env)).cfg
    first = config.ssl_context(config, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    assert config.ssl_context(config, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) is first
    assert first.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("fault", ["KEYS_DIR", "NODE_DIR", "DATABASE_URL"])
def test_reload_that_fails_leaves_the_master_alive(
    env: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """gunicorn's master ends with whatever its SIGHUP handler raises, and all workers with it."""
    (tmp_path / "empty").mkdir()
    broken = f"sqlite:///{tmp_path}" if fault == "DATABASE_URL" else str(tmp_path / "empty")
    Server(Settings.from_env(env | {f"HECHA_{fault}": broken})).reload()
    assert "the running revision stays in force: " in caplog.text


@pytest.mark.parametrize("error", [NotWritten("locked"), RuntimeError("canary"), KeyError("canary")])
def test_reload_that_fails_in_a_way_nobody_thought_of_leaves_the_master_alive(
    env: dict[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> bool:
        raise error

    monkeypatch.setattr(server, "put_in_force", fail)
    Server(Settings.from_env(env)).reload()
    assert f"the running revision stays in force: {type(error).__name__}" in caplog.text
    assert "canary" not in caplog.text


def test_application_is_made_from_the_environment(
    env: dict[str, str], ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    env["HECHA_REDIS_URL"] = ground.redis_url()
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    prepare_state(Settings.from_env(env))
    app = create_app(Settings.from_env(env))
    assert app.test_client().get("/livez").text == "ok\n"
    app.extensions["hecha"].close()
