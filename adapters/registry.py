"""Adapters by name: `sql` is built in, others are found by the entry point group `hecha.adapters`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Final, cast

from adapters.base import Adapter, BindingInvalid
from adapters.sql import SqlAdapter

GROUP: Final = "hecha.adapters"
"""The entry point group in which a package announces its adapters."""


def load_adapter(name: str) -> Callable[..., Adapter]:
    """Return what makes an adapter of that name, called as `(binding, *, url, fingerprint_key, updated)`.

    The project runs from a checkout too, where no entry point is installed, so `sql` needs none and cannot
    be replaced. Raises `BindingInvalid` where no adapter has the name, or its package cannot be imported.
    """
    if name == "sql":
        return SqlAdapter
    found = entry_points(group=GROUP, name=name)
    if not found:
        raise BindingInvalid(f"adapter: no adapter {name!r} is installed")
    try:
        return cast("Callable[..., Adapter]", next(iter(found)).load())
    except (ImportError, AttributeError) as error:
        raise BindingInvalid(f"adapter: {name!r} cannot be loaded ({type(error).__name__})") from error
