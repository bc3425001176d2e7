"""`python -m app pki`: a certificate authority for trials. Production takes certificates of the government's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table

from app.commands.opened import console
from app.trial.authority import SERVER_NAMES
from app.trial.pki import SERVER, Terms, TrialPki
from app.trial.register import REASONS, Entry
from app.trial.request import read_request

Command = TypeVar("Command", bound=Callable[..., Any])

NOTE = (
    "FOR TRIALS ONLY: this authority's keys lie on this disk, not encrypted, and nobody has checked who is who. A "
    "node of a real network must not trust it. Production takes certificates of the government's authority "
    "(山东 第三十五条): docs/certificates.md"
)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_days = click.option("--days", type=click.IntRange(1, 397), default=90, show_default=True)
_crl_url = click.option("--crl-url", metavar="URL", help="Where issuing.crl is served; said in the certificate.")
_csr = click.option("--csr", type=_FILE, help="A certificate signing request (PEM): the key stays where it was made.")


def _dir(command: Command) -> Command:
    option = click.option(
        "--dir",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("var/trial-pki"),
        show_default=True,
        help="The folder of the authority.",
    )
    return option(command)


@click.group()
def pki() -> None:
    """A certificate authority FOR TRIALS ONLY. Production takes certificates of the government's authority."""


@pki.command()
@_dir
@click.option("--crl-url", metavar="URL", help="Where root.crl will be served; said in the issuing certificate.")
def init(folder: Path, crl_url: str | None) -> None:
    """Make a root and an issuing authority in a new folder."""
    _warn()
    made = TrialPki.found(folder, _now(), crl_url)
    click.echo(
        f"made a root and an issuing authority in {made.folder}: ca.pem is for HECHA_TLS_CLIENT_CA, crls.pem for"
    )
    click.echo("HECHA_CLIENT_CRLS; next: `python -m app pki server`, `python -m app pki issue <client-id> --dns …`")


@pki.command()
@_dir
@click.option("--name", "names", multiple=True, default=SERVER_NAMES, show_default=True, help="DNS name or address.")
@_days
@_crl_url
def server(folder: Path, names: tuple[str, ...], days: int, crl_url: str | None) -> None:
    """Issue the certificate of a node, with a new key."""
    _warn()
    _tell(TrialPki(folder), TrialPki(folder).server(names, _now(), Terms(days, crl_url)))


@pki.command()
@click.argument("client")
@_dir
@click.option("--dns", multiple=True, help="The name that the node knows the client by; may be repeated.")
@_csr
@_days
@_crl_url
def issue(client: str, folder: Path, dns: tuple[str, ...], csr: Path | None, **terms: Any) -> None:
    """Issue the first certificate of CLIENT, with a new key or for the key of a --csr.

    Of a request the key is taken, and the names given here; without --dns you are shown its names and asked.
    """
    _warn()
    if csr is not None:
        request = read_request(csr.read_bytes())
        terms["key"], dns = request.key, dns or _approved(request.names, request.others)
    _tell(TrialPki(folder), TrialPki(folder).issue(client, dns, _now(), Terms(**terms)))


@pki.command()
@click.argument("client")
@_dir
@click.option("--same-key", is_flag=True, help="Keep the key of the present certificate.")
@_csr
@_days
@_crl_url
def renew(client: str, folder: Path, same_key: bool, csr: Path | None, **terms: Any) -> None:  # noqa: FBT001 - click's
    """Issue the next certificate of CLIENT under the same names; the present one stays valid until it ends."""
    _warn()
    if same_key and csr is not None:
        raise click.UsageError("--same-key and --csr name two keys: give one of them")
    made = TrialPki(folder)
    if csr is not None:
        terms["key"] = read_request(csr.read_bytes()).key
    elif same_key:
        terms["key"] = made.public_key(client)
    _tell(made, made.renew(client, _now(), Terms(**terms)))


@pki.command()
@click.argument("which", metavar="SERIAL|CLIENT")
@_dir
@click.option("--reason", type=click.Choice(list(REASONS)), required=True)
def revoke(which: str, folder: Path, reason: str) -> None:
    """Revoke one certificate by its serial number, or all of a client, and write the lists anew."""
    for entry in TrialPki(folder).revoke(which, reason, _now()):
        click.echo(f"revoked {entry.serial:x} of {entry.holder} ({reason})")
    click.echo(f"written: {folder / 'crls.pem'}; give it to the nodes that HECHA_CLIENT_CRLS names it for")


@pki.command()
@_dir
@click.option(
    "--days", type=click.IntRange(1, 397), help="How long they are good for. Default: as last time, 7 at first."
)
def crl(folder: Path, days: int | None) -> None:
    """Write the revocation lists of both authorities anew; do so before their nextUpdate."""
    made = TrialPki(folder)
    number = made.write_lists(_now(), days)
    click.echo(
        f"list number {number}, next update within {made.register().list_days} days: {folder / 'crls.pem'} "
        f"(both, PEM), {folder / 'root.crl'} and {folder / 'issuing.crl'} (DER)"
    )


@pki.command("list")
@_dir
def list_certificates(folder: Path) -> None:
    """Show every certificate that was issued, oldest first."""
    now, table = _now(), Table(box=SIMPLE_HEAD)
    for heading in ("serial", "client", "state", "not after", "names"):
        table.add_column(heading, overflow="fold")
    for entry in TrialPki(folder).register().entries:
        state = f"revoked: {entry.reason}" if entry.revoked_at else entry.state(now)
        table.add_row(
            f"{entry.serial:x}", entry.holder, state, f"{entry.not_after:%Y-%m-%d %H:%MZ}", ", ".join(entry.names)
        )
    console().print(table)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _warn() -> None:
    click.secho(NOTE, err=True, bold=True, fg="yellow")


def _approved(names: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """The names of a request, once a person has said that they are the client's."""
    if not names:
        raise click.UsageError("the request has no DNS name: give the client's with --dns")
    click.echo(f"The request asks for: {_printable(', '.join(names))}")
    click.echo(f"It also says what is left out: {_printable('; '.join(others))}")
    click.confirm("Are these names this client's, and nobody else's?", abort=True)
    return names


def _printable(text: str) -> str:
    """A stranger wrote it: nothing of it moves the cursor of the terminal where it is judged."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _tell(made: TrialPki, entry: Entry) -> None:
    is_key_here = (made.folder / f"{entry.holder}.key").is_file()
    files = f"{entry.holder}.pem" + (f" and {entry.holder}.key" if is_key_here else "")
    click.echo(
        f"issued {entry.serial:x} to {entry.holder} until {entry.not_after:%Y-%m-%d}: {files} in {made.folder}"
    )
    if entry.holder != SERVER:
        click.echo(f"public key, for pinning: {entry.key}")
