"""`python -m bench`: one question's throughput as a share of a bare Flask JSON echo's, or where its time goes.

With a name it runs another benchmark: `attacks`, `decisions`, `handshakes`, `registry`, `timing`, `tokens`, each
with a `--help` of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import click

from bench import attacks, decisions, handshakes, node, registry, timing, tokens
from bench.hotspots import hotspots
from bench.load import LoadFailed
from bench.questions import Questions
from bench.rounds import HEADING, RoundFailed, Runner, line, verdict
from examples.demo.node import NodeFailed

PEOPLE, CLAIMANTS = 20_000, 11_000
QUICK_PEOPLE, QUICK_CLAIMANTS = 6_000, 3_000
ASKED = 2_000


@click.group(invoke_without_command=True)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=7, show_default=True, help="Rounds to take the median of."
)
@click.option("--seconds", type=click.FloatRange(0.5, 60), default=4, show_default=True, help="Length of one load.")
@click.option(
    "--connections", type=click.IntRange(1, 512), default=32, show_default=True, help="Kept-alive connections."
)
@click.option("--profile", is_flag=True, help="Instead: the node in this process under cProfile, top ten.")
@click.option("--quick", is_flag=True, help="Less data, three rounds of one second: does it run at all?")
@click.pass_context
def main(
    context: click.Context, *, rounds: int, seconds: float, connections: int, profile: bool, quick: bool
) -> None:
    """Measure verification/echo over mTLS, on SQLite and the embedded Valkey; only ratios mean anything."""
    if context.invoked_subcommand is not None:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders are cleared up then too
    if quick:
        rounds, seconds = 3, 1.0
    try:
        with node.folder(*((QUICK_PEOPLE, QUICK_CLAIMANTS) if quick else (PEOPLE, CLAIMANTS))) as var:
            click.echo(
                f"{os.cpu_count()} CPUs; a durable write takes {_durable_write_ms(var):.2f} ms in {var.parent}"
            )
            if profile:
                click.echo(hotspots(var, ASKED // 10 if quick else ASKED).text())
                return
            _measure(var, rounds, seconds, connections)
    except (NodeFailed, LoadFailed, RoundFailed) as error:
        sys.exit(f"bench: {error}")


main.add_command(attacks.main, "attacks")
main.add_command(decisions.main, "decisions")
main.add_command(handshakes.main, "handshakes")
main.add_command(registry.main, "registry")
main.add_command(timing.main, "timing")
main.add_command(tokens.main, "tokens")


def _measure(var: Path, rounds: int, seconds: float, connections: int) -> None:
    with node.servers(var) as bench:
        runner = Runner(bench, Questions(var), connections, seconds)
        runner.warm_up()
        click.echo(f"{connections} connections, {seconds:g} s a load, echo and verification in turn")
        click.echo(HEADING)
        measured = runner.rounds(rounds, lambda seen: click.echo(line(seen)))
    click.echo(verdict(measured))


def _durable_write_ms(folder: Path, writes: int = 50) -> float:
    """Median of a 4 KiB append with fdatasync: an answer waits for at least one of them."""
    took = []
    with (folder / "durable").open("wb", buffering=0) as file:
        for _ in range(writes):
            started = time.perf_counter()
            file.write(bytes(4_096))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
    return sorted(took)[writes // 2] * 1_000


if __name__ == "__main__":
    main()
