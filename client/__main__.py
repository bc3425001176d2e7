"""Commands for consuming systems, auditors and stewards: verify evidence, audit a log, ask, accept an agreement.

Exit codes: 0 verified and complete; 1 not verified, or no reply; 2 wrong usage; 3 signed, but without proof of
the log; 4 the node did not answer the question.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from client import asking
from client.audit import FolderSource, HttpSource, verify_log
from client.errors import ClientError
from client.evidence_file import append_evidence, read_documents
from client.http import NodeClient, Reply
from client.report import Tally, print_log, progress_bar
from client.signing import KeyInvalid, accept, accepted_by, read_document, read_private_key, read_public_key
from client.verify import Outcome, Trust, check_document, check_evidence
from evidence.canonical import NotCanonical
from evidence.checkpoint import NoteVerifier
from evidence.errors import KeyNotVerified, NotVerified
from evidence.jwk import ValidKey, valid_keys_from_jwks

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
REFUSED = 4

JWKS_HELP = "The node's public keys, as /.well-known/jwks.json serves them."
_vkey = click.option("--vkey", type=FILE, help="The log's verifier key, as /.well-known/log.vkey serves it.")


def connection(*, required: bool) -> Callable[[Command], Command]:
    """Return the decorator that adds the options of an HTTPS connection to a command."""

    def decorate(command: Command) -> Command:
        for option in (
            click.option("--client-id", required=required, help="The client that the certificate belongs to."),
            click.option("--key", type=FILE, required=required, help="Its private key, PEM."),
            click.option("--certificate", type=FILE, required=required, help="The client certificate, PEM."),
            click.option("--ca", type=FILE, required=required, help="The only trusted certificate authority."),
            click.option("--url", required=required, help="The node, https://host:port."),
        ):
            command = option(command)
        return command

    return decorate


@click.group()
def main() -> None:
    """Ask a node, keep evidence, and verify it without trusting anyone but the node's public keys."""


@main.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--jwks", type=FILE, required=True, help=JWKS_HELP)
@_vkey
@click.pass_context
def verify(ctx: click.Context, files: tuple[Path, ...], jwks: Path, vkey: Path | None) -> None:
    """Verify evidence FILES offline (JSON, or NDJSON with one a line).

    Exit code 0: complete. 1: something is forged or altered. 3: all is signed, but some has no proof of the log.
    """
    trust = Trust(_read_keys(jwks), [_read_vkey(vkey)] if vkey else [])
    tally, done = Tally(), 0
    with progress_bar("verifying", sum(path.stat().st_size for path in files)) as advance:
        for path in files:
            for label, document in read_documents(path):
                tally.add(check_document(label, document, trust))
                done += len(document)
                advance(done, None)
    tally.print()
    ctx.exit(tally.outcome().value)


@main.group()
def audit() -> None:
    """Check a node's decision log as a whole."""


@audit.command(name="verify")
@connection(required=False)
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A copy of a log.")
@_vkey
@click.pass_context
def audit_verify(ctx: click.Context, /, *, folder: Path | None, vkey: Path | None, **options: Any) -> None:
    """Re-derive the log's root from all entries, from a node or a folder, and compare it with the signed one."""
    with progress_bar("reading the log") as advance:
        if folder is not None:
            if vkey is None:
                raise click.UsageError("--folder needs --vkey FILE: a copy cannot vouch for its own key.")
            report = _reported(lambda: verify_log(FolderSource(folder), _read_vkey(vkey), advance))
        else:
            with _connect(options) as client:
                verifier = _vkey_of(client, vkey)
                report = _reported(lambda: verify_log(HttpSource(client), verifier, advance))
    print_log(report)
    ctx.exit(0 if report.holds else 1)


@main.command()
@click.argument("service")
@click.option("--question", type=FILE, required=True, help="The question's body, JSON.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Evidence file to append to.")
@click.option("--sign", is_flag=True, help="Sign the question (RFC 9421) with the certificate's key.")
@click.option("--signing-key", type=FILE, help="Sign it with this key, PEM, which is registered for the client.")
@connection(required=True)
@click.option("--jwks", type=FILE, help=JWKS_HELP)
@_vkey
@click.pass_context
def ask(
    ctx: click.Context,
    /,
    *,
    service: str,
    question: Path,
    save: Path | None,
    jwks: Path | None,
    vkey: Path | None,
    **options: Any,
) -> None:
    """Ask SERVICE one question, save the evidence and print the verdict.

    Exit code 0: answered, and the evidence is complete. 1, 3: as with verify. 4: the node did not answer.
    """
    body = _read_question(question)
    with _connect(options) as client:
        asked = _reported(lambda: asking.ask(client, service, body))
        if asked.evidence is None:
            click.echo(_verdict(asked.reply))
            ctx.exit(REFUSED)
        evidence = asking.with_proof(client, asked.evidence)
        path = save or Path(f"{service}.evidence.ndjson")
        append_evidence(path, evidence)  # kept before it is judged: what is forged is evidence too
        trust = _reported(lambda: _trust_of(client, jwks, vkey))
    finding = check_evidence(service, evidence, trust)
    click.echo(_verdict(asked.reply))
    click.echo(finding.text)
    click.echo(f"evidence in {path}")
    refused = finding.outcome is Outcome.COMPLETE and asked.reply.status != 200
    ctx.exit(REFUSED if refused else finding.outcome.value)


@main.command()
@click.argument("agreement", type=FILE)
@click.option(
    "--key", type=FILE, required=True, help="Your department's signing key, PEM; public suffices to verify."
)
@click.option("--verify", "signature", help="Check this signature instead of making one.")
def sign(agreement: Path, key: Path, signature: str | None) -> None:
    """Accept AGREEMENT for your department: print its digest and the detached signature over it.

    AGREEMENT is the document as the node gives it (JSON). Read it first: the digest names every word of it. With
    --verify, exit code 0 if the signature is by this key over this document, else 1.
    """
    try:
        document = read_document(agreement.read_bytes())
    except NotCanonical as error:
        raise click.UsageError(f"{agreement}: {error}") from None
    click.echo(document.digest)
    try:
        if signature is None:
            click.echo(accept(document, read_private_key(key.read_bytes(), _password)))
        else:
            public = read_public_key(key.read_bytes(), _password)
            click.echo(f"signed by {_reported(lambda: accepted_by(document, signature, public))}")
    except KeyInvalid as error:
        raise click.UsageError(f"{key}: {error}") from None


def _password() -> bytes:
    return str(click.prompt("Password of the key", hide_input=True, err=True)).encode()


def _verdict(reply: Reply) -> str:
    body = reply.body
    return str(body.get("result") or f"{body.get('title', reply.status)}: {body.get('detail', '')}")


def _trust_of(client: NodeClient, jwks: Path | None, vkey: Path | None) -> Trust:
    keys = _read_keys(jwks) if jwks else valid_keys_from_jwks(client.get_bytes("/.well-known/jwks.json"))
    return Trust(keys, [_vkey_of(client, vkey)])


def _vkey_of(client: NodeClient, vkey: Path | None) -> NoteVerifier:
    if vkey is not None:
        return _read_vkey(vkey)
    return _reported(lambda: NoteVerifier.parse(client.get_bytes("/.well-known/log.vkey").decode("ascii", "replace")))


def _read_keys(path: Path) -> dict[str, ValidKey]:
    try:
        return valid_keys_from_jwks(path.read_bytes())
    except KeyNotVerified as error:
        raise click.UsageError(f"{path}: {error}") from None


def _read_vkey(path: Path) -> NoteVerifier:
    try:
        return NoteVerifier.parse(path.read_text())
    except (KeyNotVerified, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: {error}") from None


def _read_question(path: Path) -> dict[str, Any]:
    try:
        body = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise click.UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise click.UsageError(f"{path} is not a JSON object.")
    return body


def _connect(options: dict[str, Any]) -> NodeClient:
    missing = [
        f"--{name.replace('_', '-')}" for name, value in options.items() if value is None and name != "signing_key"
    ]
    if missing:
        raise click.UsageError(f"{', '.join(missing)} is needed to reach a node.")
    url = options.pop("url")
    try:
        return NodeClient(url, **options)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"No connection can be made with these options: {error}") from None


Value = TypeVar("Value")


def _reported(action: Callable[[], Value]) -> Value:
    """Return what `action` returns; its errors become one line for the person and exit code 1."""
    try:
        return action()
    except (ClientError, NotVerified) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
