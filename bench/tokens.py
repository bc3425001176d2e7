"""`python -m bench tokens`: what verifying an access token again costs, as a share of verifying a new one.

Both are measured in turn, round by round, by processor time, so that a load beside them falls on each alike. Beside
them stand the bare signature, and what a forged token costs the node.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import click
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from app.identity.token import Tokens
from app.refusals import Refusal
from bench.decisions import Ratio

CACHED_LIMIT = 0.05
TOKENS = 300  # verified anew in one round
REPEATS = 10_000  # of one that is known
ISSUER, CLIENT, CERTIFICATE = "https://node.example", "hz-hrss-benefits", "A" * 43
SCOPES = ("catalogue", *(f"verify:service-{number}" for number in range(9)))


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure: `run` once for each of what `prepare` gives, which is not measured."""

    name: str
    prepare: Callable[[], Sequence[str]]
    run: Callable[[str], object]


@click.command()
@click.option(
    "--rounds", type=click.IntRange(1, 50), default=9, show_default=True, help="Rounds to take the median of."
)
@click.option("--quick", is_flag=True, help="Two rounds: does it run at all?")
def main(*, rounds: int, quick: bool) -> None:
    """Measure a token verified anew and again; exit 0 only if again costs at most 5 % of anew."""
    us = measured(cases(), 2 if quick else rounds)
    for name, taken in us.items():
        click.echo(f"{name:24} {median(taken):8.2f} µs")
    ratio = Ratio.of("again/anew", us["again"], us["anew"], CACHED_LIMIT)
    click.echo(ratio.text())
    sys.exit(not ratio.held)


def cases() -> list[Case]:
    """What is measured, warmed up."""
    tokens, now = Tokens(ec.generate_private_key(ec.SECP256R1()), ISSUER, 600), datetime.now(UTC)

    def issued() -> list[str]:
        return [tokens.issue(CLIENT, CERTIFICATE, SCOPES, now)[0] for _ in range(TOKENS)]

    def verify(token: str) -> None:
        tokens.verify(token, CERTIFICATE, now)

    def refuse(token: str) -> None:
        with suppress(Refusal):
            tokens.verify(token, CERTIFICATE, now)
            raise AssertionError("a forged token was accepted")

    [known] = issued()[:1]
    verify(known)
    return [
        Case("bare signature", lambda: [known] * TOKENS, _bare()),
        Case("anew", issued, verify),
        Case("again", lambda: [known] * REPEATS, verify),
        Case("forged", lambda: [token[:-8] + "AAAAAAAA" for token in issued()], refuse),
        Case("malformed", lambda: ["token"] * TOKENS, refuse),
    ]


def measured(chosen: Sequence[Case], rounds: int) -> dict[str, list[float]]:
    """Microseconds of processor time for one of each, by round; every other round runs backwards."""
    taken: dict[str, list[float]] = {case.name: [] for case in chosen}
    gc.collect()
    gc.freeze()  # as the server does before the first request
    for number in range(rounds):
        for case in chosen if number % 2 == 0 else reversed(chosen):
            found, run = case.prepare(), case.run
            started_s = time.process_time()
            for token in found:
                run(token)
            taken[case.name].append((time.process_time() - started_s) / len(found) * 1e6)
    return taken


def _bare() -> Callable[[str], None]:
    """ECDSA over P-256 alone."""
    key, data, ecdsa = ec.generate_private_key(ec.SECP256R1()), b"x" * 700, ec.ECDSA(SHA256())
    public, signature = key.public_key(), key.sign(data, ecdsa)
    return lambda _: public.verify(signature, data, ecdsa)
