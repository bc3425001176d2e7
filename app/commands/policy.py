"""`python -m app policy`: sign a node directory, check it as start would, say what it would change."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from app.commands.opened import console, opened, read_span, since_ms, tracked
from app.keys import node_keys as keys
from app.policy_diff import Change, Difference, Proposal
from app.recorded import Documents, count, since
from app.registry import node_directory
from app.registry.current import Current
from app.registry.revision import sign_directory

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group()
def policy() -> None:
    """Rules, agreements and registers as one signed revision of the node directory."""


@policy.command()
@click.argument("folder", type=_FOLDER)
@click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=True, help="P-256, PEM."
)
def sign(folder: Path, key: Path) -> None:
    """Check FOLDER and write its `revision.jws`. Raise `policy_revision` in node.yaml first."""
    revision = sign_directory(folder, keys.read_signing_key(key))
    click.echo(
        f"signed revision {revision.number} of {revision.node}: {len(revision.files)} files, by {revision.signer}"
    )


@policy.command()
@click.argument("folder", type=_FOLDER)
def check(folder: Path) -> None:
    """Refuse FOLDER as start and reload would, for the node of these settings; nothing is changed or recorded."""
    from app.server import revisions_of  # noqa: PLC0415 - gunicorn is only needed there

    with opened() as (settings, store):
        plan = revisions_of(settings, store).examine(folder)
    found = "would be put in force" if plan.changes else "is in force already"
    new = f"; new agreements: {', '.join(item.draft.id for item in plan.missing)}" if plan.missing else ""
    click.echo(f"revision {plan.directory.rules.revision} {found}{new}")


@policy.command()
@click.argument("folder", type=_FOLDER)
@click.option("--since", "span", callback=read_span, default="30d", show_default=True, help="Such as 12h, 30d or 8w.")
def diff(folder: Path, span: timedelta) -> None:
    """Decide recorded questions under FOLDER and under the rules in force, and say who would lose or gain what.

    FOLDER need not be signed. Exit code 0: nothing changes, 1: something does, 2: some questions could not be asked
    again.
    """
    proposed = node_directory.load(folder)
    begin_ms = since_ms(span)
    with opened() as (_, store):
        proposal = Proposal(Current(store, lambda _services: {}).registry, proposed)
        with store.reading() as connection:
            questions = tracked("deciding anew", count(connection, begin_ms), since(connection, begin_ms))
            found = proposal.difference(questions, Documents(connection))
    _show(found)
    sys.exit(1 if found.changes else 2 if found.flawed else 0)


def _show(found: Difference) -> None:
    flawed = f"; {found.flawed:,} could not be asked again: see replay --all" if found.flawed else ""
    changed = found.changes.total()
    click.echo(f"{found.asked:,} recorded questions asked again: {changed:,} would be decided otherwise{flawed}")
    if not changed:
        return
    table = Table(box=SIMPLE_HEAD)
    for heading in ("consumer", "service", "purpose", "", "questions", "rules now", "rules then"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "questions" else "left")
    for change, number in sorted(found.changes.items(), key=lambda item: (_order(item[0]), item[0])):
        now, then = "\n".join(change.now), "\n".join(change.then)
        table.add_row(
            change.consumer, change.service, change.purpose or "(not kept)", change.kind, f"{number:,}", now, then
        )
    console().print(table)


def _order(change: Change) -> int:
    return ("loses", "gains", "other rules").index(change.kind)
