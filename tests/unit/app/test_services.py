from __future__ import annotations

from pathlib import Path

import pytest

from app import services
from app.keys.node_keys import KeyInvalid
from app.log.migration import upgrade
from app.log.storage import Store, StoreUnavailable
from app.registry.current import NotInForce
from app.registry.files import NodeFileInvalid
from app.server import prepare_state
from app.settings import SettingInvalid, Settings
from tests.nodes.running import Ground, RunningNode, environment


@pytest.fixture
def env(ground: Ground, tmp_path: Path) -> dict[str, str]:
    """The settings of a node whose database is ready, its directory in force."""
    found = environment(ground, tmp_path)
    prepare_state(Settings.from_env(found | {"HECHA_REDIS_URL": ground.redis_url()}), found)
    return found


def test_node_is_built_from_its_settings(env: dict[str, str], tmp_path: Path) -> None:
    node = services.build(Settings.from_env(env), env)
    assert services.redis_url(node.settings) == f"unix://{tmp_path / 'valkey.sock'}"
    answering = {name for name, item in node.registry.catalogue.services.items() if item.answerable}
    assert node.current.registry.adapters.keys() == answering
    node.close()


def test_configured_redis_goes_before_the_embedded_one(env: dict[str, str]) -> None:
    settings = Settings.from_env(env | {"HECHA_REDIS_URL": "rediss://redis.example/1"})
    assert services.redis_url(settings) == "rediss://redis.example/1"


def test_node_shows_none_of_its_secrets(node: RunningNode) -> None:
    """A node in a traceback, a log or a test report must not be the end of its keys."""
    shown, keys = repr(node.node), node.node.keys
    for secret in (keys.seal, keys.index, keys.account, keys.fingerprint):
        assert repr(secret) not in shown
        assert secret.hex() not in shown


@pytest.mark.parametrize("value", [None, ""])
def test_source_without_an_address_is_named(env: dict[str, str], value: str | None) -> None:
    given = {name: text for name, text in env.items() if name != "HECHA_SOURCE_HZ_TAX"}
    given |= {} if value is None else {"HECHA_SOURCE_HZ_TAX": value}
    with pytest.raises(SettingInvalid, match="HECHA_SOURCE_HZ_TAX is not set: service employment-status"):
        services.build(Settings.from_env(env), given)


def test_missing_keys_refuse_to_start(env: dict[str, str], tmp_path: Path) -> None:
    settings = Settings.from_env(env | {"HECHA_KEYS_DIR": str(tmp_path / "none")})
    with pytest.raises(KeyInvalid, match="keys --init"):
        services.build(settings, env)


def test_database_without_its_tables_refuses_to_start(env: dict[str, str], tmp_path: Path) -> None:
    settings = Settings.from_env(env | {"HECHA_DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}"})
    with pytest.raises(StoreUnavailable):
        services.build(settings, env)


def test_empty_node_directory_refuses_to_start(env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "directory"
    folder.mkdir()
    settings = Settings.from_env(env | {"HECHA_NODE_DIR": str(folder)})
    with pytest.raises(NodeFileInvalid, match=r"revision\.jws is missing"):
        prepare_state(settings, env)


def test_node_is_built_from_what_is_in_force_not_from_what_lies_on_disk(env: dict[str, str], tmp_path: Path) -> None:
    """Workers that start at different moments must all run with the revision that the log names."""
    folder = tmp_path / "directory"
    folder.mkdir()
    node = services.build(Settings.from_env(env | {"HECHA_NODE_DIR": str(folder)}), env)
    assert node.registry.catalogue.services
    node.close()


def test_database_without_a_directory_in_force_refuses_to_start(env: dict[str, str], tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "new.lock")
    upgrade(store)
    store.close()
    settings = Settings.from_env(env | {"HECHA_DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"})
    with pytest.raises(NotInForce, match="app prepare"):
        services.build(settings, env)
