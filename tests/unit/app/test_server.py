from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest

from app import server
from app.factory import create_app
from app.log.sequencer import NotWritten
from app.server import SPARE_FILES, UNTRUSTING, Server, check_listener, prepare_state, serve
from app.settings import SettingInvalid, Settings
from app.worker import Worker
from tests.nodes.running import Ground, environment


@pytest.fixture
def env(ground: Ground, tmp_path: Path) -> dict[str, str]:
    """The settings of a node with its certificates."""
    pki = ground.folder / "pki"
    files = {"TLS_CERTIFICATE": "server.pem", "TLS_KEY": "server.key", "TLS_CLIENT_CA": "ca.pem"}
    return environment(ground, tmp_path, **{name: str(pki / file) for name, file in files.items()})


PROXY = {"PROXY_PEERS": "unix, 127.0.0.1"}


def test_nothing_is_served_without_tls(ground: Ground, tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="HECHA_TLS_CERTIFICATE is missing"):
        serve(Settings.from_env(environment(ground, tmp_path / "state")))
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("bind", ["0.0.0.0:8443", "10.1.2.3:8443", "[::]:8443", "[2001:db8::1]:8443"])
def test_without_tls_nothing_is_served_to_a_network(ground: Ground, tmp_path: Path, bind: str) -> None:
    """What a proxy says of a certificate must not cross a network in clear."""
    env = environment(ground, tmp_path / "state", BIND=bind, ISSUER="https://node.example", **PROXY)
    with pytest.raises(SettingInvalid, match="without HECHA_TLS_CERTIFICATE"):
        serve(Settings.from_env(env))
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("bind", ["127.0.0.1:8080", "127.1.2.3:8080", "[::1]:8080", "unix:{folder}/node.sock"])
def test_proxy_on_the_same_machine_is_served_without_tls(ground: Ground, tmp_path: Path, bind: str) -> None:
    env = environment(ground, tmp_path, BIND=bind.format(folder=tmp_path), ISSUER="https://node.example", **PROXY)
    settings = Settings.from_env(env)
    check_listener(settings)
    server = Server(settings)
    assert server.contexts is None
    assert not server.cfg.is_ssl


def test_proxy_may_be_served_under_tls(env: dict[str, str]) -> None:
    settings = Settings.from_env(env | {"HECHA_PROXY_PEERS": "10.0.0.7", "HECHA_BIND": "10.0.0.8:8443"})
    check_listener(settings)
    assert Server(settings).contexts is not None


def local(ground: Ground, folder: Path, path: Path) -> Settings:
    env = environment(ground, folder, BIND=f"unix:{path}", ISSUER="https://node.example", **PROXY)
    return Settings.from_env(env)


def test_unix_socket_of_a_node_that_was_killed_is_no_hindrance(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(SettingInvalid, match="somebody listens at"):
            check_listener(local(ground, tmp_path, path))
    check_listener(local(ground, tmp_path, path))


def test_unix_socket_takes_no_other_file_s_place(ground: Ground, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not ours")
    with pytest.raises(SettingInvalid, match="is there and is no socket"):
        check_listener(local(ground, tmp_path, tmp_path / "file"))
    with pytest.raises(SettingInvalid, match="is no folder"):
        check_listener(local(ground, tmp_path, tmp_path / "none" / "node.sock"))


def test_unix_socket_is_for_the_node_s_account_and_group(ground: Ground, tmp_path: Path) -> None:
    config = Server(local(ground, tmp_path, tmp_path / "node.sock")).cfg
    assert config.umask == 0o117
    assert config.address == [str(tmp_path / "node.sock")]


def test_path_of_a_unix_socket_is_never_taken_for_a_relative_one(ground: Ground, tmp_path: Path) -> None:
    assert Server(local(ground, tmp_path, tmp_path / "s")).cfg.address == [f"{tmp_path}/s"]
    with pytest.raises(SettingInvalid, match="HECHA_BIND"):
        local(ground, tmp_path, Path(f"/{tmp_path}/s"))


def test_gunicorn_is_told_by_our_settings(env: dict[str, str]) -> None:
    told = {"HECHA_WORKERS": "3", "HECHA_THREADS": "5", "HECHA_CONNECTIONS": "77", "HECHA_BIND": "127.0.0.1:9"}
    config = Server(Settings.from_env(env | told)).cfg
    assert (config.bind, config.workers, config.threads) == (["127.0.0.1:9"], 3, 5)
    assert config.worker_connections == 77
    assert config.worker_class is Worker
    assert config.is_ssl


def test_no_header_of_a_proxy_is_believed(env: dict[str, str]) -> None:
    """T7: gunicorn believes X-Forwarded-Proto and its like from loopback unless it is told not to."""
    config = Server(Settings.from_env(env)).cfg
    assert config.forwarder_headers == []
    assert list(config.forwarded_allow_ips) == []
    assert config.secure_scheme_headers == {}
    assert config.header_map == "drop"
    assert (config.proxy_protocol, list(config.proxy_allow_ips)) == ("off", [])


def test_http_is_read_in_one_way_only(env: dict[str, str]) -> None:
    config = Server(Settings.from_env(env)).cfg
    assert (config.protocol, config.http_parser, config.http2_cleartext) == ("http", "python", "off")
    assert list(config.http_protocols) == ["h1"]
    for name in ("permit_obsolete_folding", "strip_header_spaces", "casefold_http_method", "sendfile"):
        assert getattr(config, name) is False, name
    assert not config.permit_unconventional_http_method
    assert not config.permit_unconventional_http_version


def test_environment_of_gunicorn_changes_nothing(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--header-map=dangerous --proxy-protocol")
    config = Server(Settings.from_env(env)).cfg
    assert list(config.forwarded_allow_ips) == []
    assert (config.header_map, config.proxy_protocol) == ("drop", "off")


def test_every_option_of_gunicorn_that_loosens_its_reading_is_set_here(env: dict[str, str]) -> None:
    """A new one in a new version shall be looked at."""
    config = Server(Settings.from_env(env)).cfg
    words = ("permit", "header", "forward", "proxy", "strip", "casefold", "http", "tolerate")
    loose = {name for name in config.settings if any(word in name for word in words)}
    elsewhere = {"proxy_allow_ips", "http2_max_concurrent_streams", "http2_initial_window_size"}
    elsewhere |= {"http2_max_frame_size", "http2_max_header_list_size"}  # HTTP/2 is off
    assert loose - elsewhere <= UNTRUSTING.keys()


def test_node_raises_its_limit_of_open_files_or_says_that_it_cannot(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda *told: asked.append(told))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    server._allow_files(1_000 + SPARE_FILES)
    assert asked == [(resource.RLIMIT_NOFILE, (1_000 + SPARE_FILES, 4_096))]
    with pytest.raises(SettingInvalid, match="HECHA_CONNECTIONS needs 10256 open files"):
        serve(Settings.from_env(env | {"HECHA_CONNECTIONS": "10000"}))


def test_node_does_not_start_on_certificates_that_do_not_fit(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    with pytest.raises(SettingInvalid, match=r"empty\.pem cannot be used"):
        serve(Settings.from_env(env | {"HECHA_TLS_CLIENT_CA": str(tmp_path / "empty.pem")}))


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
