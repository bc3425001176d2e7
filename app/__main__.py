"""`python -m app …`: what operators run beside the HTTP interface."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
import orjson

from adapters.base import BindingInvalid
from app.commands.explain import explain
from app.commands.keys import keys
from app.commands.pki import pki
from app.commands.policy import policy
from app.commands.replay import replay_command
from app.commands.signature import signature
from app.keys import node_keys
from app.keys.node_keys import KeyInvalid
from app.log.storage import Store, StoreUnavailable
from app.refusals import Refusal
from app.registry import node_directory
from app.registry.current import NotInForce
from app.registry.files import NodeFileInvalid
from app.settings import SettingInvalid, Settings
from app.trial.register import PkiInvalid
from app.trust.authorities import AuthoritiesInvalid
from app.valkey import ValkeyFailed
from evidence.note import NoteSigner

# What an operator can put right: told in one line, without a traceback.
_OPERATOR_FAULTS = (
    AuthoritiesInvalid,
    BindingInvalid,
    SettingInvalid,
    NodeFileInvalid,
    NotInForce,
    KeyInvalid,
    PkiInvalid,
    StoreUnavailable,
    ValkeyFailed,
    Refusal,
)


@click.group()
def cli() -> None:
    """Operate a Hecha node. Settings come from HECHA_* (docs/settings.md)."""


@cli.command()
def serve() -> None:
    """Run the node until SIGTERM."""
    from app.server import serve as run  # noqa: PLC0415 - gunicorn is only needed here

    run(Settings.from_env(os.environ))


@cli.command()
def prepare() -> None:
    """Bring database and limiter into shape, as `serve` does by itself: for nodes under another WSGI server."""
    from app.server import prepare_state  # noqa: PLC0415

    prepare_state(Settings.from_env(os.environ))
    click.echo("database and limiter are prepared")


@cli.command("write-openapi")
@click.option("--node", "folder", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
def write_openapi(folder: Path, output: Path) -> None:
    """Write the OpenAPI document of a node directory."""
    output.write_bytes(openapi(folder))
    click.echo(f"wrote {output}")


@cli.command("check-log")
def check_log() -> None:
    """Re-derive the whole decision log from storage and compare it with its signed head."""
    from app.log.check import check  # noqa: PLC0415
    from app.services import origin_of  # noqa: PLC0415

    settings = Settings.from_env(os.environ)
    origin = origin_of(settings.node_dir)
    store = Store(settings.database_url, settings.state_dir / "writer.lock")
    try:
        report = check(store, NoteSigner(origin, node_keys.load(settings.keys_dir).log).vkey)
    finally:
        store.close()
    click.echo(report.text())
    sys.exit(0 if report.sound else 1)


for command in (explain, keys, pki, policy, replay_command, signature):
    cli.add_command(command)


def openapi(folder: Path) -> bytes:
    """The OpenAPI document of a node directory, with sorted members, as it is committed."""
    from app.factory import bare_app  # noqa: PLC0415

    directory = node_directory.load(folder)
    application = bare_app(directory, directory.agreements_if_active(), 65_536)
    with application.test_client() as client:
        document = client.get("/openapi.json").get_json()
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def main() -> None:
    """Run the command line; a fault that an operator can mend ends with exit code 2 and one line."""
    try:
        cli()
    except _OPERATOR_FAULTS as error:
        click.echo(f"hecha: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
