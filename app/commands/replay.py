"""`python -m app replay`: recorded decisions made again with the facts, rules and agreements of their day."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import click

from app.commands.opened import opened, read_span, since_ms, tracked
from app.log.storage import Store
from app.recorded import Documents, Verdict, count, find, since
from app.replay import Outcome, Replayed, replay

TOLD = 20  # decisions that are named one by one


@click.command("replay")
@click.argument("decision", required=False)
@click.option("--all", "every", is_flag=True, help="Every decided question of the log.")
@click.option("--since", "span", callback=read_span, help="With --all: those of the last 30d, 12h or 8w.")
def replay_command(decision: str | None, every: bool, span: timedelta | None) -> None:  # noqa: FBT001 - click's flag
    """Decide recorded questions again.

    Exit code 0: equal, 1: decided differently, 2: there is nothing to decide by, or a document is missing or altered.
    """
    if (decision is None) is not every or (span is not None and not every):
        raise click.UsageError("name one decision, or give --all, perhaps with --since")
    with opened() as (_, store):
        outcome = _all(store, since_ms(span)) if decision is None else _one(store, decision)
    sys.exit(outcome)


def _one(store: Store, identifier: str) -> Outcome:
    with store.reading() as connection:
        recorded = find(connection, identifier)
        if recorded is None:
            raise click.UsageError("the log has no decision of that id: it is unknown, or was refused undecided")
        replayed = replay(recorded, Documents(connection))
    for line in _told(replayed):
        click.echo(line)
    return replayed.outcome


def _all(store: Store, begin_ms: int) -> Outcome:
    outcomes: Counter[Outcome] = Counter()
    with store.reading() as connection:
        documents = Documents(connection)
        for recorded in tracked("replaying", count(connection, begin_ms), since(connection, begin_ms)):
            replayed = replay(recorded, documents)
            outcomes[replayed.outcome] += 1
            if replayed.outcome and outcomes.total() - outcomes[Outcome.EQUAL] <= TOLD:
                click.echo("\n".join(_told(replayed)))
    figures = (outcomes.total(), outcomes[Outcome.EQUAL], outcomes[Outcome.DIFFERENT], outcomes[Outcome.FLAWED])
    click.echo("{:,} decisions: {:,} equal, {:,} different, {:,} with flawed documents".format(*figures))
    return next((found for found in (Outcome.DIFFERENT, Outcome.FLAWED) if outcomes[found]), Outcome.EQUAL)


def _told(replayed: Replayed) -> list[str]:
    at = datetime.fromtimestamp(replayed.at_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    word = {Outcome.EQUAL: "equal", Outcome.DIFFERENT: "DIFFERENT", Outcome.FLAWED: "NOT REPLAYED"}
    lines = [f"{replayed.id} of {at}: {word[replayed.outcome]}", f"  recorded: {_verdict(replayed.said)}"]
    if replayed.again is not None:
        lines.append(f"  replayed: {_verdict(replayed.again)}")
    return [*lines, *(f"  flaw: {flaw}" for flaw in replayed.flaws)]


def _verdict(verdict: Verdict) -> str:
    return f"{'permit' if verdict.permitted else 'deny'} by {', '.join(verdict.rules)}"
