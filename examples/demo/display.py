"""What the demonstration shows: progress while it works, answers by service, and figures beside expected ones."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.demo.asking import Answered

_RESULTS = ("match", "no_match", "not_found")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the run beside the one that is expected; `held` unless they differ."""

    name: str
    found: str
    expected: str
    held: bool

    @classmethod
    def equal(cls, name: str, found: int, expected: int) -> Figure:
        """A figure that must be exactly the expected number."""
        return cls(name, f"{found:,}", f"{expected:,}", found == expected)


@contextlib.contextmanager
def phase(console: Console, title: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """Show one phase of work while the block runs; the block calls what it gets after each of `total` steps.

    On a terminal that is a progress bar, elsewhere one line at the end.
    """
    began = time.monotonic()
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task(title, total=total)
            yield lambda: progress.advance(task)
            progress.update(task, total=total or 1, completed=total or 1)
        return
    yield lambda: None
    console.print(f"{title}: {time.monotonic() - began:.1f} s", highlight=False)


def answers_table(answers: Iterable[Answered]) -> Table:
    """Return one row for each service: asked, match, no match, not found, denied, and whatever else came back."""
    counts: dict[str, Counter[str]] = {}
    for answer in answers:
        counts.setdefault(answer.question.service, Counter())[_column(answer)] += 1
    table = Table(title="Answers by service", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("service", no_wrap=True)
    for heading in ("asked", "match", "no match", "not found", "denied", "other"):
        table.add_column(heading, justify="right")
    for service, found in sorted(counts.items()):
        cells = (found.total(), *(found[column] for column in (*_RESULTS, "denied", "other")))
        table.add_row(service, *(f"{cell:,}" for cell in cells))
    return table


def figures_table(figures: Sequence[Figure]) -> Table:
    """Return found and expected side by side."""
    table = Table(title="Figures", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("", "found", "expected", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for figure in figures:
        mark = "[green]held[/green]" if figure.held else "[red]OFF[/red]"
        table.add_row(figure.name, figure.found, figure.expected, mark)
    return table


def _column(answer: Answered) -> str:
    if answer.status == 200:
        return answer.outcome
    return "denied" if answer.outcome == "not-permitted" else "other"
