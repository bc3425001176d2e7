"""`python -m bench.attacks`: what a consuming department could add up from answers, with two years to do so.

T2: bisection of a contract's price, and of an employment's days (`bench.day_attacks`), by adaptive attackers with
every disguise there is. T1: enumeration of a hundred thousand valid numbers. All against a real node
(`bench.simulated`); the exit code is 0 only if every limit held.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, product
from math import log2
from random import Random
from statistics import median
from typing import TypeAlias

import click
from sqlalchemy import func, select

from app.limits.account import MILLIBITS, price
from app.log import tables
from bench import day_attacks
from bench.attackers import PriceHunter, amounts, labels, spellings
from bench.simulated import Reply, Rewrite, Simulated, Subject, buyers, id_numbers, months, quota_of, simulated
from examples.demo.departments import NODE_DIR

SUBJECTS, NUMBERS, QUOTA = 1_000, 100_000, 2_000
REGISTERED = 100  # one number in so many has a contract
FEWER = 10  # of numbers and quota where not found is not folded, of people whose days are hunted
MONTHS, RENEWED_AFTER = 24, 12
THREADS = 32
TOLERANCE = GRID = 2_000_000  # fen: the published contract of the service
BAND = 2 * TOLERANCE
LEAST_LEFT = 0.25  # of the band
BRACKETS = (8, 16, 64)  # steps of the grid that the attackers know the price to lie in beforehand
TRIES = 2  # disguises a month for a question that was refused
Outcome: TypeAlias = "Bisection | Enumeration | day_attacks.Days"
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
    """What came of it: questions, answers, and the bits that the charge rows say they may have disclosed.

    `possible`: how many different answers a question has, two where not found is folded and three where it is not.
    """

    quota: int
    asked: int
    possible: int
    bits: float
    results: Mapping[str, int]
    slugs: Mapping[str, int]

    @property
    def answers(self) -> int:
        """How many questions were answered."""
        return sum(self.results.values())

    @property
    def most_bits(self) -> float:
        """What all of the quota may cost at most."""
        return self.quota * price(self.possible) / MILLIBITS

    @property
    def entropy(self) -> float:
        """Bits that these answers carried, by how often each was given."""
        return sum(number * log2(self.answers / number) for number in self.results.values())

    @property
    def held(self) -> bool:
        """Whether exactly the quota was answered, each answer was paid for, and none told more than was paid."""
        return self.answers == self.quota and self.entropy <= self.bits <= self.most_bits

    def text(self) -> str:
        """The line that counts."""
        return (
            f"enumeration, {'folded' if self.possible == 2 else 'not folded'}: {self.asked:,} valid numbers under a "
            f"quota of {self.quota:,}: {self.answers:,} answers; paid for with {self.bits:,.1f} bits of at most "
            f"{self.most_bits:,.1f}, which bounds anyone, whatever he knew before; these answers carried "
            f"{self.entropy:,.1f} bits, one number in {REGISTERED} being registered; {dict(self.results)}; "
            f"{dict(self.slugs)}"
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


def enumerate_numbers(
    count: int, quota: int, *, folded: bool = True, seen: Callable[[int], object] = lambda _: None
) -> Enumeration:
    """Ask about `count` valid numbers, of which one in a hundred has a contract, with names that may be right."""
    rng = Random(20261123)
    numbers = list(id_numbers(count))
    subjects = [
        Subject(number, rng.choice("王李张陈刘") + "伟", "2025YS000001", GRID) for number in numbers[::REGISTERED]
    ]
    rng.shuffle(numbers)
    lock, slugs, results = threading.Lock(), Counter[str](), Counter[str]()
    terms = {FOLDED: lambda text: _folded(quota_of(quota)(text), folded=folded)}
    with simulated(subjects, terms) as target, ThreadPoolExecutor(THREADS) as pool:

        def ask(chunk: Sequence[str]) -> None:
            own = [target.ask("hz-civil-dibao", _guess(number, rng)) for number in chunk]
            with lock:
                slugs.update(reply.slug for reply in own)
                results.update(reply.document["result"] for reply in own if reply.slug == "answered")
                seen(len(chunk))

        list(pool.map(ask, _chunks(numbers, 250)))
        bits = _bits(target)
    return Enumeration(quota, len(numbers), 2 if folded else 3, bits, results, slugs)


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


def _folded(text: str, *, folded: bool) -> str:
    assert "fold: true" in text
    return text.replace("fold: true", f"fold: {str(folded).lower()}")


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
@click.option("--quick", is_flag=True, help="Few people and few numbers: does it run at all?")
def main(*, subjects: int, numbers: int, quota: int, quick: bool) -> None:
    """Attack a node by bisection and by enumeration; exit 0 only if every limit held."""
    if quick:
        subjects, numbers, quota = 50, 4_000, 200
    found: list[bool] = []
    for attack in _attacks(subjects, numbers, quota):
        started_s = time.monotonic()
        outcome = attack()
        click.echo(f"{outcome.text()}; {time.monotonic() - started_s:.0f} s")
        found.append(outcome.held)
    sys.exit(not all(found))


def _attacks(subjects: int, numbers: int, quota: int) -> Iterator[Callable[[], Outcome]]:
    yield lambda: _bisection(subjects)
    for terms in (day_attacks.FOLDED, day_attacks.DETAILED):
        yield partial(day_attacks.bisect_days, max(20, subjects // FEWER), terms)
    yield lambda: _enumeration(numbers, quota, folded=True)
    yield lambda: _enumeration(numbers // FEWER, quota // FEWER, folded=False)


def _bisection(subjects: int) -> Bisection:
    with click.progressbar(length=MONTHS, label=f"{subjects:,} bisections, months") as bar:
        return bisect(subjects, seen=lambda: bar.update(1))


def _enumeration(numbers: int, quota: int, *, folded: bool) -> Enumeration:
    with click.progressbar(length=numbers, label=f"{numbers:,} numbers") as bar:
        return enumerate_numbers(numbers, quota, folded=folded, seen=bar.update)


if __name__ == "__main__":
    main()
