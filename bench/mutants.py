"""`mutmut results --all true | python -m bench.mutants`: how many of the faults put into the policies were found.

A fault is found where a test fails, or never ends, or the types no longer agree. Whatever was not tried counts as
not found, so that a run that broke off passes for nothing.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable

import click

LEAST = 0.85
FOUND = frozenset(("killed", "timeout", "caught by type check"))


def statuses(lines: Iterable[str]) -> Counter[str]:
    """How many mutants have which status, by lines of `<mutant>: <status>`; other lines are none."""
    return Counter(line.rpartition(":")[2].strip() for line in lines if "__mutmut_" in line and ":" in line)


def score(counted: Counter[str]) -> float:
    """The share that was found; 0 where there were none."""
    return sum(counted[status] for status in FOUND) / counted.total() if counted else 0.0


@click.command()
@click.option("--least", type=click.FloatRange(0, 1), default=LEAST, show_default=True, help="Share to be found.")
def main(*, least: float) -> None:
    """Read mutmut's results from standard input; exit 0 only if enough of its faults were found."""
    lines = sys.stdin.readlines()
    counted = statuses(lines)
    for status, number in counted.most_common():
        click.echo(f"{status:24} {number:,}")
    for line in lines:
        if statuses([line]).keys() - FOUND:
            click.echo(line.strip())
    found = score(counted)
    click.echo(f"{found:.1%} of {counted.total():,} faults found, at least {least:.0%} needed")
    sys.exit(found < least)


if __name__ == "__main__":
    main()
