"""`python -m examples.demo build | serve | run`: the demonstration's data, its node left running, or all of it."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console

from client.errors import ClientError
from evidence.errors import NotVerified
from examples.demo.build import build
from examples.demo.node import HOST, Node, NodeFailed, running
from examples.demo.run import run

VAR = click.option(
    "--var",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/demo"),
    show_default=True,
    help="Folder for keys, data and state.",
)
PORT = click.option("--port", type=click.IntRange(1, 65_535), default=8_443, show_default=True)


@click.group()
def cli() -> None:
    """Hecha's demonstration. Everything in it is synthetic, and nothing leaves this machine."""


@cli.command("build")
@VAR
def build_command(var: Path) -> None:
    """Build certificates, sources, personas and claimants where they are missing or out of date."""
    build(var, progress=click.echo)


@cli.command("serve")
@VAR
@PORT
def serve_command(var: Path, port: int) -> None:
    """Run the node until Ctrl-C."""
    build(var, progress=click.echo)
    with running(var, port) as node:
        click.echo(_invitation(node, var.absolute()))
        while True:
            time.sleep(0.5)
            node.require_running()


@cli.command("run")
@VAR
@PORT
def run_command(var: Path, port: int) -> None:
    """Run everything once: data, node, questions, the month's cross-check, evidence. Exit 0 only if all held."""
    sys.exit(run(var, port, Console()))


def _invitation(node: Node, var: Path) -> str:
    pki = var / "pki"
    client = pki / "hz-hrss-benefits"
    certificate = f"--noproxy {HOST} --cacert {pki / 'ca.pem'} --cert {client}.pem --key {client}.key"
    body = (
        '{"purpose":"unemployment-benefit","case":"UB-2026-0001","operator":"li.wei",'
        '"subject":{"id_number":"339881197803120013"},"confirm":{"name":"沈建国"},'
        '"declared":{"employed_on":"2026-09-15"}}'
    )
    return f"""
The node answers on {node.url} (Ctrl-C stops it). Its interface is described on {node.url}/docs.
Certificates are in {pki}, published test subjects in {var / "personas.json"}, its log in {node.log}.

A question, ready to paste:

  TLS="{certificate}"
  TOKEN=$(curl -s $TLS -d grant_type=client_credentials -d client_id=hz-hrss-benefits \\
    {node.url}/oauth2/token | sed -E 's/.*"access_token": ?"([^"]+)".*/\\1/')
  curl $TLS -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
    -d '{body}' \\
    {node.url}/v1/services/employment-status/verifications
"""


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    # SIGTERM unwinds as Ctrl-C does, so that the node is stopped too.
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; what can be put right is told in one line and ends with exit code 2."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        cli(standalone_mode=False)
    except (KeyboardInterrupt, click.exceptions.Abort):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (NodeFailed, ClientError, NotVerified, ValueError) as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
