"""How findings are told at the terminal: a plain line each when few, a table of counts when many."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from client.verify import Finding, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from client.audit import LogReport

_FEW = 5
_SHOWN = 20
_WORDS = {
    Outcome.COMPLETE: "complete",
    Outcome.WITHOUT_PROOF: "signed, without proof of the log",
    Outcome.NOT_VERIFIED: "NOT VERIFIED",
}


class Tally:
    """Counts findings by outcome and verdict, and keeps the few that must be told one by one."""

    def __init__(self) -> None:
        self._outcomes: Counter[Outcome] = Counter()
        self._verdicts: Counter[tuple[Outcome, str, str]] = Counter()
        self._first: list[Finding] = []
        self._failed: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Count one finding."""
        self._outcomes[finding.outcome] += 1
        self._verdicts[finding.outcome, *_verdict(finding)] += 1
        if len(self._first) < _FEW:
            self._first.append(finding)
        if finding.outcome is Outcome.NOT_VERIFIED and len(self._failed) < _SHOWN:
            self._failed.append(finding)

    def outcome(self) -> Outcome:
        """Return the worst outcome; nothing at all to verify is not verified."""
        for outcome in (Outcome.NOT_VERIFIED, Outcome.WITHOUT_PROOF, Outcome.COMPLETE):
            if self._outcomes[outcome]:
                return outcome
        return Outcome.NOT_VERIFIED

    def print(self) -> None:
        """Print every finding in words if there are few, else those not verified and a table of counts."""
        many = self._outcomes.total() > _FEW
        for finding in self._failed if many else self._first:
            click.echo(f"{finding.label}: {_WORDS[finding.outcome]}: {finding.text}")
        if not many:
            return
        hidden = self._outcomes[Outcome.NOT_VERIFIED] - len(self._failed)
        if hidden:
            click.echo(f"… and {hidden} more that are not verified")
        table = Table("evidence", "service", "verdict")
        table.add_column("count", justify="right")
        for (outcome, service, verdict), count in sorted(self._verdicts.items(), key=lambda item: -item[1]):
            table.add_row(_WORDS[outcome], service, verdict, f"{count:,}")
        table.add_section()
        table.add_row("all", "", "", f"{self._outcomes.total():,}")
        Console().print(table)


def _verdict(finding: Finding) -> tuple[str, str]:
    # What a document says that is not verified is not counted as said.
    if finding.receipt is None or finding.outcome is Outcome.NOT_VERIFIED:
        return "", ""
    record, result = finding.receipt.record, finding.receipt.result
    verdict = result["result"] if record["state"] == "answered" else record["state"]
    return str(record.get("service", "")), str(verdict)


def print_log(report: LogReport) -> None:
    """Print what an audit of a log found."""
    head = report.checkpoint
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.records.items())) or "none"
    click.echo(f"log      {head.origin}")
    click.echo(f"size     {head.size:,}")
    click.echo(f"root     {head.root.hex()}")
    click.echo(f"records  {counts}")
    if report.fault is None:
        click.echo("The log holds: every record parses and all of them lead to the signed root.")
    else:
        click.echo(f"NOT VERIFIED: {report.fault.text}")


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on stderr if it is a terminal; the yielded function takes what is done and the new total."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done, size: progress.update(task, completed=done, total=size)
