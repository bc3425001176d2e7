"""What commands open: the node's settings and database, a terminal to write to, and spans of time to read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.engine import make_url

from app.log.storage import Store
from app.settings import SettingInvalid, Settings

WIDE = 240  # columns where there is no terminal that says how many it has
T = TypeVar("T")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@contextmanager
def opened() -> Iterator[tuple[Settings, Store]]:
    """The settings of the environment and the database they name. Raises `SettingInvalid`, `StoreUnavailable`."""
    settings = Settings.from_env(os.environ)
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        # Opening it would make an empty one.
        raise SettingInvalid("HECHA_DATABASE_URL: there is no database yet: run `python -m app prepare`")
    with closing(Store(settings.database_url, settings.state_dir / "writer.lock")) as store:
        yield settings, store


def console(*, err: bool = False) -> Console:
    """Where a command writes: as wide as the terminal, or `WIDE`."""
    found = Console(stderr=err, highlight=False, soft_wrap=False)
    return found if found.is_terminal else Console(stderr=err, highlight=False, width=WIDE)


def tracked(title: str, total: int, items: Iterable[T]) -> Iterator[T]:
    """The items, one by one, with a bar on standard error where that is a terminal."""
    if not (terminal := console(err=True)).is_terminal:
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True) as bar:
        yield from bar.track(items, total=total, description=title)


def read_span(_ctx: click.Context, _param: click.Parameter, text: str | None) -> timedelta | None:
    """A span of time up to now, such as `12h`, `30d` or `8w`. Raises `BadParameter`."""
    if text is None:
        return None
    if not (found := re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)):
        raise click.BadParameter("a number with h, d or w is needed, such as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def since_ms(span: timedelta | None) -> int:
    """Milliseconds since 1970 of the moment that long ago; 0 for no span."""
    return int((datetime.now(UTC) - span).timestamp() * 1_000) if span is not None else 0
