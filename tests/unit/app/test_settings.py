from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from app.settings import SettingInvalid, Settings, names
from examples.demo.departments import NODE_DIR

SOUND = {"HECHA_NODE_DIR": str(NODE_DIR)}


def test_without_any_setting_the_missing_one_is_named() -> None:
    with pytest.raises(SettingInvalid, match="HECHA_NODE_DIR is missing"):
        Settings.from_env({})


def test_defaults_suit_a_single_machine() -> None:
    settings = Settings.from_env(SOUND)
    assert settings.bind == "127.0.0.1:8443"
    assert (settings.host, settings.port) == ("127.0.0.1", 8443)
    assert settings.issuer == "https://127.0.0.1:8443"
    assert settings.database_url == f"sqlite:///{Path('var/state/node.db').absolute()}"
    assert settings.redis_url is None
    assert settings.tls_minimum == "1.3"


def test_paths_are_absolute_and_empty_values_count_as_unset() -> None:
    settings = Settings.from_env(SOUND | {"HECHA_KEYS_DIR": "keys", "HECHA_REDIS_URL": "", "HECHA_WORKERS": ""})
    assert settings.keys_dir == Path("keys").absolute()
    assert settings.redis_url is None
    assert settings.workers >= 1


def test_settings_cannot_be_changed() -> None:
    settings = Settings.from_env(SOUND)
    with pytest.raises(FrozenInstanceError):
        settings.issuer = "https://elsewhere"  # type: ignore[misc]


def test_issuer_follows_the_address_unless_it_is_set() -> None:
    bound = SOUND | {"HECHA_BIND": "[::1]:9000"}
    assert Settings.from_env(bound).issuer == "https://[::1]:9000"
    assert Settings.from_env(bound).host == "::1"
    assert Settings.from_env(bound | {"HECHA_ISSUER": "https://node.example"}).issuer == "https://node.example"


BAD = [
    ("BIND", "unix:relative.sock"),
    ("BIND", "unix:/" + "a" * 105),
    ("PROXY_PEERS", "localhost"),
    ("PROXY_PEERS", "0.0.0.0/0"),
    ("PROXY_PEERS", "::/0"),
    ("PROXY_PEERS", "10.0.0.1/8"),
    ("CLIENT_CRLS", "/no/such.crl"),
    ("CLIENT_CRLS", "ftp://crl.example/x"),
    ("CLIENT_CRLS", "http://user@crl.example/x"),
    ("CRL_CHECK", "none"),
    ("CRL_GRACE", "604801"),
    ("CONNECTIONS", "10"),
    ("NODE_DIR", "/no/such/folder"),
    ("NODE_DIR", __file__),
    ("BIND", "8443"),
    ("BIND", "localhost:8443"),
    ("BIND", "127.0.0.1"),
    ("BIND", "127.0.0.1:"),
    ("BIND", "127.0.0.1:65536"),
    ("BIND", "127.0.0.1:-1"),
    ("BIND", "127.0.0.1:https"),
    ("BIND", "127.0.0.1: 80"),
    ("BIND", "127.0.0.1:+80"),
    ("BIND", "300.0.0.1:8443"),
    ("BIND", "::1:8443"),
    ("BIND", "[127.0.0.1:8443"),
    ("ISSUER", "http://node.example"),
    ("ISSUER", "https://node.example/"),
    ("ISSUER", "https://node.example?x=1"),
    ("ISSUER", "https://node.example#x"),
    ("ISSUER", "node.example"),
    ("ISSUER", "https://"),
    ("TLS_CERTIFICATE", "/no/such/file"),
    ("TLS_KEY", "/no/such/file"),
    ("TLS_CLIENT_CA", "/"),
    ("TLS_MINIMUM", "1.1"),
    ("TLS_MINIMUM", "TLSv1.3"),
    ("WORKERS", "0"),
    ("WORKERS", "65"),
    ("WORKERS", "two"),
    ("WORKERS", "2.0"),
    ("WORKERS", "-1"),
    ("WORKERS", "٢"),
    ("THREADS", "0"),
    ("THREADS", "513"),
    ("TOKEN_LIFETIME", "29"),
    ("TOKEN_LIFETIME", "601"),
    ("MAX_BODY", "1023"),
    ("MAX_BODY", "1048577"),
    ("SOURCE_TIMEOUT", "0"),
    ("SOURCE_TIMEOUT", "61"),
    ("SOURCE_TIMEOUT", "1e3"),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{name}={value}" for name, value in BAD])
def test_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingInvalid, match=f"^HECHA_{name}="):
        Settings.from_env(SOUND | {f"HECHA_{name}": value})


@pytest.mark.parametrize("name", ["HECHA_NODEDIR", "HECHA_", "HECHA_WORKER", "HECHA_TLS_MIN", "HECHA_bind"])
def test_misspelt_setting_is_refused(name: str) -> None:
    with pytest.raises(SettingInvalid, match=f"^{name} is not a setting"):
        Settings.from_env(SOUND | {name: "1"})


def test_other_variables_and_sources_are_left_alone() -> None:
    others = {
        "PATH": "/bin",
        "HECHA_SOURCE_HZ_TAX": "sqlite:///x",
        "HECHA_TEST_POSTGRES_BIN": "/x",
        "XHECHA_BIND": "?",
    }
    assert Settings.from_env(SOUND | others) == Settings.from_env(SOUND)


@pytest.mark.parametrize("given", [{"CERTIFICATE"}, {"KEY"}, {"CERTIFICATE", "KEY"}, {"KEY", "CLIENT_CA"}])
def test_half_a_tls_configuration_is_refused(given: set[str]) -> None:
    with pytest.raises(SettingInvalid, match="belong together"):
        Settings.from_env(SOUND | {f"HECHA_TLS_{name}": __file__ for name in given})


def test_unix_socket_is_a_place_to_listen_for_a_proxy() -> None:
    settings = Settings.from_env(SOUND | {"HECHA_BIND": "unix:/run/hecha/node.sock"})
    assert (settings.is_local_socket, settings.host, settings.port) == (True, "/run/hecha/node.sock", 0)
    assert settings.issuer == "https://localhost"


def test_proxies_are_the_unix_socket_addresses_and_networks() -> None:
    assert Settings.from_env(SOUND).proxy_peers == ()
    settings = Settings.from_env(SOUND | {"HECHA_PROXY_PEERS": "unix, 10.0.0.2 10.1.0.0/30,::1"})
    assert settings.proxy_peers == ("unix", "10.0.0.2/32", "10.1.0.0/30", "::1/128")


def test_revocation_lists_are_files_and_urls() -> None:
    value = f"{__file__}, http://crl.example/root.crl https://crl.example/issuing.crl"
    settings = Settings.from_env(SOUND | {"HECHA_TLS_CLIENT_CA": __file__, "HECHA_CLIENT_CRLS": value})
    assert settings.client_crls == (__file__, "http://crl.example/root.crl", "https://crl.example/issuing.crl")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"CLIENT_CRLS": __file__}, "needs HECHA_TLS_CLIENT_CA"),
        (
            {"BIND": "unix:/run/x.sock", **dict.fromkeys(("TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA"), __file__)},
            "TLS",
        ),
        ({"THREADS": "200", "CONNECTIONS": "100"}, "HECHA_THREADS"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingInvalid, match=reason):
        Settings.from_env(SOUND | {f"HECHA_{name}": value for name, value in given.items()})


def test_names_are_what_the_environment_calls_them() -> None:
    assert "HECHA_TOKEN_LIFETIME" in names()
    assert "HECHA_MAX_BODY" in names()
    assert all(re.fullmatch(r"HECHA_[A-Z_]+", name) for name in names())
    assert not any(name.endswith(("_S", "_BYTES")) for name in names())


@pytest.mark.parametrize("name", sorted(names()))
def test_every_setting_can_be_given(name: str, tmp_path: Path) -> None:
    """A setting that `names` tells of and `from_env` does not read would be ignored in silence."""
    values = {
        "HECHA_NODE_DIR": str(NODE_DIR),
        "HECHA_STATE_DIR": str(tmp_path),
        "HECHA_KEYS_DIR": str(tmp_path),
        "HECHA_DATABASE_URL": "sqlite:////tmp/other.db",
        "HECHA_REDIS_URL": "redis://127.0.0.1/5",
        "HECHA_BIND": "127.0.0.9:9",
        "HECHA_ISSUER": "https://other.example",
        "HECHA_TLS_MINIMUM": "1.2",
        "HECHA_WORKERS": "7",
        "HECHA_THREADS": "7",
        "HECHA_TOKEN_LIFETIME": "77",
        "HECHA_MAX_BODY": "7777",
        "HECHA_SOURCE_TIMEOUT": "7",
    }
    env = SOUND | ({name: values[name]} if name in values else dict.fromkeys(TLS, __file__))
    changed = Settings.from_env(env)
    assert name == "HECHA_NODE_DIR" or changed != Settings.from_env(SOUND)


TLS = ("HECHA_TLS_CERTIFICATE", "HECHA_TLS_KEY", "HECHA_TLS_CLIENT_CA")
