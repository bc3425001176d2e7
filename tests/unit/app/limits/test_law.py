"""The law of front and truth: whatever happens in whichever order, Redis never stands lower than the charge rows.

Questions of two processes go step by step, in any order, on one account, the same question under several prices among
them: reserved, answered by a source whose value changes, recorded, settled; or failed, decided anew after a refund
that was lost, left behind by a killed process and swept up. What Redis holds then is held against the rows' fold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count, repeat
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from adapters.base import Answer, Code
from app.charging import Charging
from app.limits.account import Account
from app.limits.limiter import Limiter
from app.limits.rebuild import Spent, budgets
from app.limits.values import merged
from app.log.sequencer import RegistryChanged, Sequencer
from app.log.storage import Store
from app.recording import Event
from app.refusals import Refusal
from app.registry.departments import Client
from bench.callers import unchecked_caller
from evidence.note import NoteSigner
from tests.unit.app.log.entries import entry

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
CALLER = unchecked_caller(Client("c", {}, "d", frozenset(), "tls_client_auth_san_dns", "c"))
PRICE, LIMIT = 1_000, 3_000
QUESTIONS = 5
LATER = 10**11  # long after everything that is reserved can be recorded no more
STEPS = ("reserve", "ask", "record", "settle")


@dataclass(slots=True)
class Ground:
    """Two processes of a node, one database, one Redis; accounts and decisions are new in each example."""

    charging: tuple[Charging, Charging]
    store: Store
    client: redis.Redis
    numbers: Iterator[int] = field(default_factory=count)


@pytest.fixture
def ground_of_law(url: str, store: Store, signer: NoteSigner) -> Iterator[Ground]:
    processes = [
        Charging(Limiter(url, store), Sequencer(store, signer), account_key=b"k" * 32, key_id="k") for _ in range(2)
    ]
    with closing(redis.Redis.from_url(url)) as client:
        yield Ground((processes[0], processes[1]), store, client)


@dataclass(slots=True)
class Asking:
    """One question under way at one process; `step` is the next of `STEPS`."""

    charging: Charging
    event: Event
    drawn: list[Account]
    number: int
    step: int = 0
    answer: Answer | None = None

    def go_on(self, now: Answer) -> bool:
        """Take the next step under what the source answers now; whether there is another one after it."""
        getattr(self, STEPS[self.step])(now)
        self.step += 1
        return self.step < len(STEPS)

    def reserve(self, now: Answer) -> None:
        self.answer = self.charging.draw(self.event, self.drawn, lambda _: now)

    def ask(self, now: Answer) -> None:
        if self.answer is None:
            self.answer = now
            self.charging.renew(self.event, self.drawn, now)

    def record(self, now: Answer) -> None:
        assert self.answer is not None
        self.charging.charge(self.event, self.answer)
        reservation = self.event.reservation
        assert reservation is not None
        held = {"generation": reservation.generation, "until": reservation.until}
        self.event.index = self.charging.sequencer.append(entry(self.number, charges=reservation.charges, **held))

    def settle(self, _: Answer) -> None:
        self.charging.settle(self.event)

    def outlive(self) -> None:
        """Take so long that it may be recorded no more."""
        if self.event.reservation is not None:
            self.event.reservation = replace(self.event.reservation, until=0.0)

    def decide_anew(self, price: int) -> None:
        """Begin again under the same id and at another price; what was reserved was never given back."""
        if self.step < STEPS.index("settle"):
            self.event.reservation, self.answer, self.step = None, None, 0
            self.drawn = [replace(account, amount=price) for account in self.drawn]

    def fail(self) -> None:
        if self.event.reservation is not None and self.step < STEPS.index("settle"):
            self.charging.limiter.refund(self.event.reservation)


def answer_of(values: frozenset[int]) -> Answer:
    """The answer of a source in which these values stand."""
    return Answer(Code.MATCH, {}, {"start": frozenset(number.to_bytes(16, "big") for number in values)})


def in_redis(ground: Ground, account: str) -> dict[str, str]:
    found: Any = ground.client.hgetall(f"hecha:account:{account}")
    return {name.decode(): value.decode() for name, value in found.items()}


def in_rows(ground: Ground, account: str) -> Spent:
    with ground.store.reading() as connection:
        return dict(budgets(connection, account)).get(account, Spent())


def begun(ground: Ground, account: str, question: int, limit: int = LIMIT) -> Asking:
    """A question that nobody has reserved anything for yet, at one of two prices and one of two processes."""
    number, (price, question) = next(ground.numbers), divmod(question, QUESTIONS)
    event = Event(id=f"decision-{number:08d}", at=NOW, caller=CALLER)
    drawn = [Account(account, PRICE + price * 500, limit, question=f"q{question}", attribute="a", column="start")]
    return Asking(ground.charging[number % 2], event, drawn, number)


Run = list[tuple[str, int]]
"""What happens: a question begins at a process, one of those under way goes on or fails, the source changes."""


@dataclass(slots=True)
class Play:
    """What happens on one account, step by step."""

    ground: Ground
    values: Iterator[frozenset[int]]
    account: str
    now: Answer
    under_way: list[Asking] = field(default_factory=list)

    def take(self, what: str, which: int) -> None:
        """One step; of those under way, the one at that place takes it."""
        if what == "begin":
            self.under_way.append(begun(self.ground, self.account, which))
            self.go_on(self.under_way[-1])
        elif what == "change":
            self.now = answer_of(next(self.values))
        elif what == "sweep":
            self.sweep(which)
        elif self.under_way:
            getattr(self, what.replace(" ", "_"))(self.under_way[which % len(self.under_way)])

    def sweep(self, which: int) -> None:
        """An hour later: whatever is not recorded yet never will be."""
        for asking in self.under_way:
            asking.outlive()
        self.ground.charging[which % 2].limiter.sweep(LATER)

    def kill(self, asking: Asking) -> None:
        """Nobody gives back what it reserved, nor tells of its record."""
        self.under_way.remove(asking)

    def lose(self, asking: Asking) -> None:
        """Its refund, and have it decided anew."""
        asking.decide_anew(PRICE + 250)

    def go_on(self, asking: Asking) -> None:
        try:
            goes_on = asking.go_on(self.now)
        except (Refusal, RegistryChanged):
            self.fail(asking)
            return
        if not goes_on:
            self.under_way.remove(asking)

    def fail(self, asking: Asking) -> None:
        asking.fail()
        self.under_way.remove(asking)

    def end(self) -> None:
        """End what is under way, and tell Redis of every record."""
        while self.under_way:
            self.go_on(self.under_way[0])
        self.sweep(0)
        # Where the account began anew and every request that drew on it failed since, the next record says so.
        last = begun(self.ground, self.account, QUESTIONS - 1, limit=10**6)
        while last.go_on(self.now):
            pass
        for charging in self.ground.charging:
            charging.limiter.refund(charging.limiter.reserve("news", [], -1, NOW))


def adds_up(ground: Ground, account: str) -> None:
    """At any moment what is spent is what is under way, and what was paid for each question once."""
    front = in_redis(ground, account)
    paid = sum(int(value.split()[0]) for name, value in front.items() if name.startswith("q"))
    assert int(front.get("spent", "0")) == int(front.get("h", "0")) + paid


def run(ground: Ground, steps: Run, values: Iterator[frozenset[int]]) -> str:
    """Let it happen; the account's name."""
    note(f"{steps}")
    play = Play(ground, values, f"budget/{next(ground.numbers)}", answer_of(next(values)))
    for what, which in steps:
        play.take(what, which)
        adds_up(ground, play.account)
    play.end()
    return play.account


WHAT = ["begin", "begin", *["go on"] * 5, "fail", "change", "kill", "lose", "sweep"]
RUNS = st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 2 * QUESTIONS - 2)), max_size=50)
SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)


def check(ground: Ground, account: str) -> None:
    """Redis is as strict as the rows, or stricter: in what is spent and in what is known; what is free was paid."""
    front, truth = in_redis(ground, account), in_rows(ground, account)
    assert int(front.get("spent", "0")) >= truth.total
    for name in truth.questions.keys() & front.keys():
        assert int(front[name].split()[0]) >= truth.questions[name][0]
    assert front.get("h", "0") == "0", "nothing is under way"
    assert merged(front.get("f", ""), truth.known) == front.get("f", "")


@pytest.mark.parametrize("standing", [1, 2], ids=["another value", "one value more, one less"])
@given(steps=RUNS)
@SETTINGS
def test_redis_never_stands_lower_than_the_rows(ground_of_law: Ground, standing: int, steps: Run) -> None:
    """Over a source whose values change for good, all at once or one after the other."""
    values = (frozenset(range(number, number + standing)) for number in count())
    check(ground_of_law, run(ground_of_law, steps, values))


@given(RUNS)
@SETTINGS
def test_without_concurrency_redis_stands_exactly_where_the_rows_do(ground_of_law: Ground, steps: Run) -> None:
    whole = [("go on", 0)] * (len(STEPS) - 1)
    alone = [item for step in steps for item in ([step, *whole] if step[0] == "begin" else [step])]
    alone = [item for item in alone if item[0] not in ("fail", "kill", "lose")]
    account = run(ground_of_law, alone, (frozenset([number, number + 1]) for number in count()))
    front, truth = in_redis(ground_of_law, account), in_rows(ground_of_law, account)
    assert int(front.get("spent", "0")) == truth.total
    assert front.get("f", "") == truth.known
    assert {name for name in front if name.startswith("q")} == truth.questions.keys()


@given(RUNS)
@SETTINGS
def test_however_many_ask_at_once_and_fail_redis_stands_exactly_where_the_rows_do(
    ground_of_law: Ground, steps: Run
) -> None:
    """Over a source that does not change: copies count once, the dearest; what failed or was left behind, nothing."""
    account = run(ground_of_law, steps, repeat(frozenset([1])))
    front, truth = in_redis(ground_of_law, account), in_rows(ground_of_law, account)
    assert (int(front.pop("spent")), front.pop("f"), front.pop("h")) == (truth.total, truth.known, "0")
    assert {name: int(value.split()[0]) for name, value in front.items()} == {
        name: amount for name, (amount, _) in truth.questions.items()
    }
