"""`python -m app signature`: who signed a recorded question, when, with which key, and whether it still holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import click
from cryptography import x509

from app.commands.opened import opened
from app.keys import node_keys as keys
from app.log.sealing import Sealer
from app.signed_requests import Kept, NothingToShow
from app.signed_requests import opened as evidence_of
from app.steps import rfc3339
from evidence.errors import NotVerified

HOLDS, FORGED = 0, 1


@click.command()
@click.argument("decision")
@click.option("--show-body", is_flag=True, help="Print the body that was signed as well: it names a person.")
def signature(decision: str, show_body: bool) -> None:  # noqa: FBT001 - click's flag
    """Verify the signature of a recorded question anew, and hold it against the record.

    Exit code 0: it holds, 1: it was altered or forged, 2: there is nothing to verify.
    """
    with opened() as (settings, store):
        sealer = Sealer(keys.load(settings.keys_dir).seal)
        try:
            with store.reading() as connection:
                kept = evidence_of(connection, sealer, decision)
            for line in _told(kept):
                click.echo(line)
            kept.check()
        except NothingToShow as nothing:
            raise click.UsageError(f"{decision}: {nothing}") from None
        except NotVerified as flaw:
            click.echo(f"does not hold: {flaw}")
            sys.exit(FORGED)
    click.echo("holds: the client signed this question with this key, and the record is about it")
    if show_body:
        click.echo(kept.request.body)
    sys.exit(HOLDS)


def _told(kept: Kept) -> Iterator[str]:
    """What record and signature say, line by line: nothing of the question, and not the token that was covered."""
    record, request = kept.record, kept.request
    parameters = request.parameters
    yield f"entry {kept.index}, recorded at {record['at']}: {record['state']}"
    yield f"by {record['client']} of {record['consumer']}, about {record.get('service', 'no service')}"
    created = parameters.get("created")
    signed_at = rfc3339(datetime.fromtimestamp(created, UTC)) if type(created) is int else "no time"
    yield f"signed at {signed_at}, covering {', '.join(request.components)}"
    if request.certificate is None:
        yield f"with the key {request.keyid}, registered for the client"
    else:
        yield f"with the key of its certificate {request.keyid}{_named(request.certificate)}"


def _named(certificate: bytes) -> str:
    try:
        found = x509.load_der_x509_certificate(certificate)
    except ValueError:
        return ""
    return f": {found.subject.rfc4514_string()}, issued by {found.issuer.rfc4514_string()}"
