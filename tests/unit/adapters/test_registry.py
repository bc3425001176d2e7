"""Adapters are found by name, and an unknown one stops the node before it starts."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from adapters import registry
from adapters.base import Adapter, BindingInvalid
from adapters.registry import load_adapter
from adapters.sql import SqlAdapter


def test_sql_needs_no_installation() -> None:
    assert load_adapter("sql") is SqlAdapter


@pytest.mark.parametrize("name", ["", "SQL", "mongodb", "adapters.sql:SqlAdapter"])
def test_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(BindingInvalid, match="no adapter"):
        load_adapter(name)


def installed(monkeypatch: pytest.MonkeyPatch, value: str) -> Callable[..., Adapter]:
    def found(*, group: str, name: str) -> EntryPoints:
        return EntryPoints([EntryPoint("rest", value, group)]).select(name=name, group="hecha.adapters")

    monkeypatch.setattr(registry, "entry_points", found)
    return load_adapter("rest")


def test_installed_adapter_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed(monkeypatch, "adapters.sql:SqlAdapter") is SqlAdapter


@pytest.mark.parametrize("value", ["no_such_module:Adapter", "adapters.sql:NoSuchAdapter"])
def test_adapter_that_cannot_be_loaded_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(BindingInvalid, match="cannot be loaded"):
        installed(monkeypatch, value)
