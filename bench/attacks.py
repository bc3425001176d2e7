"""`python -m bench.attacks`: what a consuming department could add up from answers, with two years to do so.

T2: bisection of a contract's price by an adaptive attacker with every disguise there is. T1: enumeration of a hundred
thousand valid numbers. Both against a real node (`bench.simulated`); the exit code is 0 only if both limits held.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle, product
from random import Random
from statistics import median

import click
from sqlalchemy import func, select

from app.limits.account import MILLIBITS
from app.log import tables
from bench.attackers import PriceHunter, amounts, labels, spellings
from bench.simulated import Reply, Rewrite, Simulated, Subject, buyers, id_numbers, months, quota_of, simulated
from examples.demo.departments import NODE_DIR

SUBJECTS, NUMBERS, QUOTA = 1_000, 100_000, 2_000
MONTHS, RENEWED_AFTER = 24, 12
THREADS = 32
TOLERANCE = GRID = 2_000_000  # fen: the published contract of the service
BAND = 2 * TOLERANCE
LEAST_LEFT = 0.25  # of the band
BRACKETS = (8, 16, 64)  # steps of the grid that the attackers know the price to lie in beforehand
TRIES = 2  # disguises a month for a question that was refused
AGREEMENT = "agreements/hz-tax-property-contract-property-tax.yaml"
DEPARTMENT = "departments/hz-tax.yaml"
SECOND = "agreements/hz-tax-property-contract-tax-audit.yaml"
RENEWED = "agreements/hz-tax-property-contract-property-tax-2.yaml"
FOLDED = "agreements/hz-civil-property-contract-low-income-household.yaml"
ASKERS = tuple(product(("hz-tax-levy", "hz-tax-review"), ("property-tax", "deed-tax", "tax-audit")))


@dataclass(slots=True)
class Bisection:
    """What came of it: fractions of the band that are left, one a subject, and what the node answered."""

    left: list[float] = field(default_factory=list)
    slugs: Counter[str] = field(default_factory=Counter)
    most_answers: int = 0

    @property
    def held(self) -> bool:
        """Whether every subject keeps its part of the band."""
        return min(self.left) >= LEAST_LEFT

    def text(self) -> str:
        """The line that counts."""
        kept = sum(part >= LEAST_LEFT for part in self.left)
        return (
            f"bisection: {kept:,} of {len(self.left):,} subjects keep {LEAST_LEFT:.0%} of the band; smallest "
            f"{min(self.left):.1%}, median {median(self.left):.1%}; {self.slugs['answered']:,} answers, at most "
            f"{self.most_answers} about one subject; {self.slugs['budget-exhausted']:,} refusals"
        )


@dataclass(frozen=True, slots=True)
class Enumeration:
    """What came of it: questions, answers, and the bits that the charge rows say they may have disclosed."""

    quota: int
    asked: int
    answers: int
    bits: float
    slugs: Mapping[str, int]

    @property
    def held(self) -> bool:
        """Whether exactly the quota was answered, for at most a bit each."""
        return self.answers == self.quota and self.bits <= self.quota

    def text(self) -> str:
        """The line that counts."""
        return (
            f"enumeration: {self.asked:,} valid numbers under a quota of {self.quota:,}: {self.answers:,} answers, "
            f"{self.bits:,.1f} bits; {self.slugs}"
        )


class _Attack:
    """One attacker: a buyer's price, and disguises that go round through all there are."""

    def __init__(self, target: Simulated, subject: Subject, bracket: int, seed: int) -> None:
        rng = Random(seed)
        low = max(0, subject.price // GRID - rng.randrange(bracket)) * GRID
        self.hunter = PriceHunter(TOLERANCE, GRID, [(low, low + bracket * GRID)])
        self.subject = subject
        self.slugs: Counter[str] = Counter()
        self._target = target
        self._rng = rng
        askers = list(product(ASKERS, spellings(subject.id_number)))
        rng.shuffle(askers)
        self._askers = cycle(askers)

    def month(self) -> None:
        """Ask until nothing more is to be learnt, or every try of this month was refused."""
        refused = 0
        while refused < TRIES and (point := self.hunter.next()) is not None:
            reply = self._ask(point)
            self.slugs[reply.slug] += 1
            if reply.slug == "answered":
                self.hunter.learn(point, agrees=reply.document["attributes"]["price"] == "match")
            else:
                refused += 1

    def left(self) -> float:
        """The part of the band that is left; the truth must be in it."""
        price = self.subject.price
        assert any(low <= price < high for low, high in self.hunter.left), "the attacker reckons wrongly"
        return self.hunter.remaining / BAND

    def _ask(self, point: int) -> Reply:
        (client, purpose), number = next(self._askers)
        body = {
            "purpose": purpose,
            **labels(self._rng),
            "subject": {"id_number": number},
            "confirm": {"name": self.subject.name},
            "declared": {"contract_number": self.subject.contract, "price": amounts(self._rng, point, GRID)},
        }
        return self._target.ask(client, body)


def bisect(count: int, *, bits: int = 16, seen: Callable[[], object] = lambda: None) -> Bisection:
    """Let `count` attackers work for two years under a budget; `seen` is called after each month."""
    subjects = buyers(count, Random(20261122), GRID)
    found = Bisection()
    with simulated(subjects, agreements(bits)) as target, ThreadPoolExecutor(THREADS) as pool:
        attacks = [
            _Attack(target, subject, BRACKETS[place // 4 % len(BRACKETS)], place)
            for place, subject in enumerate(subjects)
        ]
        for number, moment in enumerate(months(MONTHS)):
            target.clock.turn(moment)
            if number == RENEWED_AFTER:
                target.install(renewed(bits), revision=2)
            list(pool.map(_Attack.month, attacks))
            seen()
    for attack in attacks:
        found.left.append(attack.left())
        found.slugs += attack.slugs
        found.most_answers = max(found.most_answers, attack.slugs["answered"])
    return found


def enumerate_numbers(count: int, quota: int, *, seen: Callable[[int], object] = lambda _: None) -> Enumeration:
    """Ask about `count` valid numbers, of which one in a hundred has a contract, with names that may be right."""
    rng = Random(20261123)
    numbers = list(id_numbers(count))
    subjects = [Subject(number, rng.choice("王李张陈刘") + "伟", "2025YS000001", GRID) for number in numbers[::100]]
    rng.shuffle(numbers)
    lock, slugs = threading.Lock(), Counter[str]()
    with simulated(subjects, {FOLDED: quota_of(quota)}) as target, ThreadPoolExecutor(THREADS) as pool:

        def ask(chunk: Sequence[str]) -> None:
            own = Counter(target.ask("hz-civil-dibao", _guess(number, rng)).slug for number in chunk)
            with lock:
                slugs.update(own)
                seen(len(chunk))

        list(pool.map(ask, _chunks(numbers, 250)))
        bits = _bits(target)
    return Enumeration(quota, len(numbers), slugs["answered"], bits, dict(slugs))


def agreements(bits: int) -> dict[str, Rewrite]:
    """A second client of the department, more purposes, and a second agreement whose own budget is looser."""

    def client(text: str) -> str:
        second = """  - client: hz-tax-review
    title: {en: "Review", zh: "复核系统"}
    roles: [consumer]
    certificate: {tls_client_auth_san_dns: "hz-tax-review.clients.hangzhou.example"}
"""
        return text + second

    return {DEPARTMENT: client, AGREEMENT: lambda _: _terms(bits), SECOND: lambda _: _second(bits)}


def renewed(bits: int) -> dict[str, Rewrite]:
    """The same, with a new agreement in the place of the first."""

    def text(_: str) -> str:
        first = "agreement: hz-tax-property-contract-property-tax\n"
        return _terms(bits).replace(first, f"{first[:-1]}-2\nsupersedes: {first[11:]}")

    return agreements(bits) | {RENEWED: text}


def _terms(bits: int) -> str:
    text = (NODE_DIR / AGREEMENT).read_text("utf-8")
    text = text.replace("clients: [hz-tax-levy]", "clients: [hz-tax-levy, hz-tax-review]")
    text = text.replace("purposes: [property-tax]", "purposes: [property-tax, deed-tax]")
    return text.replace("budget: {bits: 16}", f"budget: {{bits: {bits}}}")


def _second(bits: int) -> str:
    text = _terms(bits + 24).replace("purposes: [property-tax, deed-tax]", "purposes: [tax-audit]")
    return text.replace("-property-contract-property-tax\n", "-property-contract-tax-audit\n")


def _guess(number: str, rng: Random) -> dict[str, object]:
    return {
        "purpose": "low-income-household",
        **labels(rng),
        "subject": {"id_number": rng.choice(spellings(number))},
        "confirm": {"name": rng.choice("王李张陈刘") + "伟"},
        "declared": {"contract_number": "2025YS000001"},
    }


def _bits(target: Simulated) -> float:
    """What the charge rows add up to, for the source attribute that costs most."""
    charge = tables.charge.c
    query = select(func.sum(charge.amount)).where(charge.question.is_not(None)).group_by(charge.attribute)
    with target.node.store.reading() as connection:
        return max(map(int, connection.execute(query).scalars())) / MILLIBITS


def _chunks(numbers: Sequence[str], size: int) -> list[Sequence[str]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


@click.command()
@click.option("--subjects", type=click.IntRange(1, 10_000), default=SUBJECTS, show_default=True)
@click.option("--numbers", type=click.IntRange(100, 200_000), default=NUMBERS, show_default=True)
@click.option("--quota", type=click.IntRange(1, 100_000), default=QUOTA, show_default=True)
@click.option("--quick", is_flag=True, help="50 subjects and 4,000 numbers: does it run at all?")
def main(*, subjects: int, numbers: int, quota: int, quick: bool) -> None:
    """Attack a node by bisection and by enumeration; exit 0 only if both limits held."""
    if quick:
        subjects, numbers, quota = 50, 4_000, 200
    started_s = time.monotonic()
    with click.progressbar(length=MONTHS, label=f"{subjects:,} bisections, months") as bar:
        bisection = bisect(subjects, seen=lambda: bar.update(1))
    click.echo(f"{bisection.text()}; {time.monotonic() - started_s:.0f} s")
    started_s = time.monotonic()
    with click.progressbar(length=numbers, label=f"{numbers:,} numbers") as bar:
        enumeration = enumerate_numbers(numbers, quota, seen=bar.update)
    click.echo(f"{enumeration.text()}; {time.monotonic() - started_s:.0f} s")
    sys.exit(not (bisection.held and enumeration.held))


if __name__ == "__main__":
    main()
