"""`python -m bench.decisions`: what one policy decision costs, as a share of a bare Cedar evaluation.

Bare is `cedarpy.is_authorized` over the same rules with everything prepared: policies, schema, entities, request.
All are measured in turn, round by round, by processor time, so that a load beside them falls on each alike.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from statistics import median

import cedarpy
import click

from policies import request
from policies.decision import RuleSet
from policies.facts import CHINA, Facts, Hours, Terms
from policies.facts_document import document_bytes
from policies.packaged import packaged_rules, packaged_schema

FEW, MANY, SERVICES = 10, 10_000, 500
BARE = 300  # evaluations by Cedar in one round
MORNING = datetime(2026, 6, 2, 9, 0, tzinfo=CHINA)
COLD_LIMIT, CACHED_LIMIT, MANY_LIMIT = 1.3, 0.3, 1.3


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure: `run` once for each of the questions that `ask` makes, whose making is not measured."""

    name: str
    ask: Callable[[], Sequence[Facts]]
    run: Callable[[Facts], object]


@dataclass(frozen=True, slots=True)
class Ratio:
    """What counts: the median of the rounds' own ratios, and the most that it may be."""

    name: str
    rounds: Sequence[float]
    limit: float

    @classmethod
    def of(cls, name: str, ours: Sequence[float], base: Sequence[float], limit: float) -> Ratio:
        """The ratios of measurements of the same rounds."""
        return cls(name, [one / other for one, other in zip(ours, base, strict=True)], limit)

    @property
    def held(self) -> bool:
        """Whether the limit is kept."""
        return median(self.rounds) <= self.limit

    def text(self) -> str:
        """The line that counts."""
        spread = f"{len(self.rounds)} rounds, {min(self.rounds):.3f} to {max(self.rounds):.3f}"
        verdict = "kept" if self.held else "BROKEN"
        return f"{self.name} = {median(self.rounds):.3f}  ({spread}; limit {self.limit}: {verdict})"


@click.command()
@click.option(
    "--rounds", type=click.IntRange(1, 50), default=9, show_default=True, help="Rounds to take the median of."
)
@click.option("--quick", is_flag=True, help="Two rounds: does it run at all?")
def main(*, rounds: int, quick: bool) -> None:
    """Measure a decision cold, kept, and among 10,000 agreements; exit 0 only if every ratio keeps its limit."""
    resident = resident_mb()
    us = measured(cases(), 2 if quick else rounds)
    for name, taken in us.items():
        click.echo(f"{name:32} {median(taken):8.2f} µs")
    ratios = [
        Ratio.of("cold/bare", us["cold"], us["bare"], COLD_LIMIT),
        Ratio.of("kept/bare", us["kept"], us["bare"], CACHED_LIMIT),
        Ratio.of("10,000 agreements/10", us["10,000 agreements"], us["10 agreements"], MANY_LIMIT),
    ]
    for found in ratios:
        click.echo(found.text())
    click.echo(f"resident for 10,000 agreements: {resident:.1f} MB more")
    sys.exit(not all(found.held for found in ratios))


def cases() -> list[Case]:
    """What is measured, warmed up: a kept decision is compared with kept ones, a cold one with Cedar alone."""
    [question], few, many = list(questions(1)), list(questions(FEW)), list(questions(MANY))
    same = [question] * BARE
    rules = _rules()
    assert all(rules.decide(facts).permitted for facts in many)
    return [
        Case("bare", lambda: same, _bare(question)),
        Case("bare, request checked too", lambda: same, _bare(question, checked=True)),
        Case("cold", _unlike(question), _rules().decide),
        Case("kept", lambda: same * 10, rules.decide),
        Case("first question of an agreement", _unknown(question), _rules().decide),
        Case("10 agreements", lambda: few * (MANY // FEW), rules.decide),
        Case("10,000 agreements", lambda: many, rules.decide),
        Case("facts document", _later(question), document_bytes),
    ]


def measured(chosen: Sequence[Case], rounds: int) -> dict[str, list[float]]:
    """Microseconds of processor time for one of each, by round; every other round runs backwards."""
    taken: dict[str, list[float]] = {case.name: [] for case in chosen}
    gc.collect()
    gc.freeze()  # as the server does before the first request
    for number in range(rounds):
        for case in chosen if number % 2 == 0 else reversed(chosen):
            asked, run = case.ask(), case.run
            started_s = time.process_time()
            for facts in asked:
                run(facts)
            taken[case.name].append((time.process_time() - started_s) / len(asked) * 1e6)
    return taken


def resident_mb() -> float:
    """Megabytes that this process grows by when 10,000 agreements are each asked about once, terms not counted."""
    asked = list(questions(MANY))
    rules = _rules()
    before = _resident_kb()
    for facts in asked:
        rules.decide(facts)
    return (_resident_kb() - before) / 1024


def questions(agreements: int) -> Iterator[Facts]:
    """One question that is permitted, under each of so many agreements over 500 services."""
    for number in range(agreements):
        department, service = f"dept-{number // SERVICES}", f"service-{number % SERVICES}"
        purpose = f"purpose-{number}"
        terms = Terms(
            id=f"agreement-{number}",
            digest=f"{number:064x}",
            kind="agreement",
            statutory=False,
            state="active",
            signed=True,
            legal_basis="失业保险条例 第十五条",
            valid_from=datetime(2026, 1, 1, tzinfo=CHINA),
            valid_until=datetime(2027, 1, 1, tzinfo=CHINA) + timedelta(days=number % 28),
            departments=frozenset({department}),
            clients=frozenset({f"{department}-client"}),
            purposes=frozenset({purpose}),
            attributes=frozenset({"employed_on", "employer"}),
            level="overall",
            masked=frozenset(),
            hours=Hours(frozenset({1, 2, 3, 4, 5}), 8 * 60, 18 * 60),
            networks=("10.8.0.0/16",),
            batch_rows=0,
            security_agreement=True,
        )
        yield Facts(
            client=f"{department}-client",
            department=department,
            client_suspended=False,
            department_restricted=False,
            service=service,
            sharing="conditional",
            provider="hz-tax",
            provider_suspended=False,
            withheld_basis=None,
            service_level="overall",
            service_masks=frozenset(),
            purpose=purpose,
            attributes=frozenset({"employed_on"}),
            terms=terms,
            case_agreed=True,
            operator_agreed=True,
            address="10.8.3.4",
            at=MORNING,
        )


def _rules() -> RuleSet:
    return RuleSet.from_texts(packaged_rules(), packaged_schema(), 1)


def _bare(question: Facts, *, checked: bool = False) -> Callable[[Facts], object]:
    policies = cedarpy.PolicySet.from_str("\n".join(packaged_rules().values()))
    schema = cedarpy.Schema.from_str(packaged_schema())
    entities = cedarpy.Entities.from_json_str(request.entities(question), schema)
    asked = request.request(question, request.second(question))
    return lambda _: cedarpy.is_authorized(asked, policies, entities, schema if checked else None)


def _unlike(question: Facts) -> Callable[[], Sequence[Facts]]:
    """Questions of one agreement, each with a number of rows of its own: only the entities were seen before."""
    assert question.terms is not None
    terms = replace(question.terms, batch_rows=10**9)
    rows = count(1)
    return lambda: [replace(question, terms=terms, rows=next(rows)) for _ in range(BARE)]


def _unknown(question: Facts) -> Callable[[], Sequence[Facts]]:
    """Questions of as many agreements, none of which was asked about before."""
    terms, digests = question.terms, count()
    assert terms is not None
    return lambda: [replace(question, terms=replace(terms, digest=f"{next(digests):064x}")) for _ in range(BARE)]


def _later(question: Facts) -> Callable[[], Sequence[Facts]]:
    return lambda: [replace(question, at=MORNING + timedelta(seconds=later)) for later in range(BARE)]


def _resident_kb() -> int:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
