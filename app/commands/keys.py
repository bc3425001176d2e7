"""`python -m app keys`: make the node's own keys, show which there are, rotate those of tokens and receipts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from app.commands.opened import console
from app.keys import key_history, node_keys, rotation
from app.keys.hsm import ED25519
from app.keys.key_files import MAKE_KEYS, check_folder, reading
from app.keys.key_history import USES
from app.keys.signing_keys import NEXT, Pair, named, pair, read_required
from evidence.base64s import encode
from evidence.jwk import thumbprint

_DIR = click.option(
    "--dir", "folder", type=click.Path(path_type=Path), envvar="HECHA_KEYS_DIR", help="Default: HECHA_KEYS_DIR."
)


@click.group(invoke_without_command=True)
@click.option("--init", is_flag=True, help="Create the keys that the folder lacks, mode 0600.")
@_DIR
@click.pass_context
def keys(ctx: click.Context, init: bool, folder: Path | None) -> None:  # noqa: FBT001 - click hands over the flag
    """The node's own keys: --init makes them, `list` shows them, `rotate` replaces those of tokens and receipts."""
    if init is (ctx.invoked_subcommand is not None):
        raise click.UsageError("give --init, or one of list and rotate", ctx)
    ctx.obj = folder
    if init:
        made = node_keys.create(_given(ctx, None))
        told = f"created in {folder}: {', '.join(made)}" if made else f"{folder}: every key is there"
        click.echo(told)


@keys.command("list")
@_DIR
@click.pass_context
def list_keys(ctx: click.Context, folder: Path | None) -> None:
    """Show every key: what it is for, its public name, where it is, and from when until when it is used."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("key", "state", "public name", "where", "from", "until"):
        table.add_column(heading, overflow="fold")
    folder = _given(ctx, folder)
    check_folder(folder, MAKE_KEYS)
    with reading(folder):
        for row in _rows(folder):
            table.add_row(*row)
    console().print(table)


@keys.command()
@click.argument("use", type=click.Choice(USES))
@click.option(
    "--prepare", is_flag=True, help="Only make the next key, which the node publishes and does not use yet."
)
@click.option("--now", "unprepared", is_flag=True, help="Rotate even if no key was prepared.")
@click.option(
    "--restart-within",
    "minutes",
    type=click.IntRange(0, 1_440),
    default=10,
    show_default=True,
    metavar="MINUTES",
    help="How long a node that still runs may sign with the former key; 0 if that was stolen.",
)
@_DIR
@click.pass_context
def rotate(ctx: click.Context, /, *, use: str, folder: Path | None, **how: Any) -> None:
    """Replace the key that signs tokens or receipts: first --prepare, days later without it.

    What the former key signed stays valid, what is dated after its end counts as forged. Every step may be
    interrupted: the node starts all the same, and the next run finishes it.
    """
    place = _given(ctx, folder)
    if how["prepare"]:
        _prepare(place, use)
    else:
        _rotate(place, use, timedelta(minutes=how["minutes"]), unprepared=how["unprepared"])


def _prepare(folder: Path, use: str) -> None:
    kid, made = rotation.prepare(folder, use)
    click.echo(
        f"{named(folder, use + NEXT).name} {'is made' if made else 'was prepared already'}: {kid}. Restart the node, "
        f"which publishes it; `python -m app keys rotate {use}` when everybody has fetched /.well-known/jwks.json"
    )


def _rotate(folder: Path, use: str, within: timedelta, *, unprepared: bool) -> None:
    now = datetime.now(UTC)
    is_in_module = named(folder, use).suffix == ".uri"
    done = rotation.rotate(folder, use, now, now + within, unprepared=unprepared)
    if done.was_begun:
        click.echo("a rotation that was interrupted is finished now; no other was begun")
    click.echo(
        f"{use}: {done.kid} is current, {done.former.kid} ends at {_written(done.former.valid_until)}. Restart every "
        "instance of the node by then: what it signs with the former key after that counts as forged"
    )
    if is_in_module:
        click.echo("the former key is still in the hardware module: destroy it there after the restart")


def _given(ctx: click.Context, folder: Path | None) -> Path:
    found = folder or ctx.obj
    if found is None:
        raise click.UsageError("give --dir, or set HECHA_KEYS_DIR", ctx)
    return Path(found)


def _rows(folder: Path) -> Iterator[tuple[str, ...]]:
    history = key_history.read(folder)
    for use in USES:
        yield from _signing_rows(folder, use, pair(folder, use, history))
        for past in history.past:
            if past.use == use:
                bounds = (_written(past.valid_from), _written(past.valid_until))
                yield (use, "former", past.kid, key_history.HISTORY, *bounds)
    log = read_required(folder, "log", ED25519)
    # The last part of the line at /.well-known/log.vkey.
    name = encode(b"\x01" + log.public_key().public_bytes_raw())
    yield ("log", "current", name, named(folder, "log").name, "", "")
    for secret in node_keys.SECRET:
        there = (folder / f"{secret}.key").is_file()
        yield (secret, "current" if there else "missing", "", f"{secret}.key", "", "")


def _signing_rows(folder: Path, use: str, found: Pair) -> Iterator[tuple[str, ...]]:
    place = named(folder, use + NEXT if found.is_unfinished else use).name
    yield (use, "current", thumbprint(found.current.public_key()), place, _written(found.since), "")
    if found.following is not None:
        yield (use, "next", thumbprint(found.following.public_key()), named(folder, use + NEXT).name, "", "")


def _written(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else "unknown"
