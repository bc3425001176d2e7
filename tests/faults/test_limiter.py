"""Redis killed, emptied, replaced or set back while clients ask: nobody is answered beyond the charge rows.

The nodes are whole ones in this process, two on one database and one Valkey of their own, as two worker processes
are: what one has seen, the other has not.
"""

from __future__ import annotations

import random
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select

from app.log import tables
from app.valkey import EmbeddedValkey
from tests.nodes import running
from tests.nodes.questions import CLIENT, SERVICE, Question, claimants
from tests.nodes.running import Ground, RunningNode

TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
DAYS = ("2026-01-01", "2026-02-01", "2026-03-01")


@dataclass(slots=True)
class Server:
    """A Valkey that can be killed, and started again on what it kept, on less, or on nothing."""

    folder: Path
    valkey: EmbeddedValkey

    def kill(self) -> None:
        """As a power cut would."""
        process = self.valkey._process
        assert process is not None
        process.kill()
        process.wait()
        self.valkey._process = None

    def start(self) -> None:
        self.valkey.start()

    def lose_everything(self) -> None:
        shutil.rmtree(self.folder / "valkey")

    def remember(self) -> None:
        """Copy what is kept now."""
        shutil.rmtree(self.folder / "earlier", ignore_errors=True)
        shutil.copytree(self.folder / "valkey", self.folder / "earlier")

    def lose_the_tail(self) -> None:
        """Go back to what was remembered: writes since then never reached the disk."""
        self.lose_everything()
        shutil.copytree(self.folder / "earlier", self.folder / "valkey")

    def truncate(self) -> None:
        """Cut the append-only file in the middle of its last third."""
        (log,) = (self.folder / "valkey" / "appendonlydir").glob("*.incr.aof")
        with log.open("r+b") as file:
            file.truncate(log.stat().st_size * 5 // 6)

    def flush(self) -> None:
        with closing(redis.Redis(unix_socket_path=str(self.valkey.socket))) as client:
            client.flushall()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two nodes as two processes of one, and their Valkey."""

    nodes: tuple[RunningNode, RunningNode]
    server: Server

    def ask(self, number: int, question: Question) -> str:
        """The state that the answer of one of the nodes is in."""
        response = self.nodes[number % 2].consumer(CLIENT).ask(SERVICE, question)
        return "answered" if response.status_code == 200 else str(response.get_json()["type"])

    def charged(self, prefix: str) -> dict[str, int]:
        """What the charge rows add up to, by account."""
        charge = tables.charge.c
        query = select(charge.account, func.sum(charge.amount)).where(charge.account.startswith(prefix))
        with self.nodes[0].node.store.reading() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query.group_by(charge.account))}


MakePair = Callable[..., Pair]


@pytest.fixture
def pair(ground: Ground) -> Iterator[MakePair]:
    """Makes a pair whose one agreement has this quota and this budget, and no masks."""
    with ExitStack() as stack:

        def make(*, count: int = 1_000_000, bits: int = 100_000) -> Pair:
            folder = Path(tempfile.mkdtemp(prefix="hecha-", dir=ground.folder))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            server = Server(folder, EmbeddedValkey(folder))
            server.start()
            stack.callback(server.valkey.stop)

            def terms(text: str) -> str:
                text = re.sub(r"quota: {.*}", f"quota: {{count: {count}, per: month}}", text)
                return re.sub(r"budget: {.*}", f"budget: {{bits: {bits}}}", text).replace("[employer]}", "[]}")

            settings = {
                "NODE_DIR": str(running.edited(ground, folder, {TERMS: terms})),
                "REDIS_URL": f"unix://{server.valkey.socket}",
            }
            nodes = []
            for _ in range(2):
                nodes.append(running.start(ground, folder, **settings))
                stack.callback(nodes[-1].close)
            return Pair((nodes[0], nodes[1]), server)

        yield make


@pytest.fixture
def questions(ground: Ground) -> list[Question]:
    found = claimants(ground.folder)
    return [next(found) for _ in range(400)]


def test_process_that_saw_less_finds_out_that_redis_lost_its_tail(pair: MakePair, questions: list[Question]) -> None:
    """The append-only file is written once a second: what one process drew since, another has never seen."""
    made = pair(count=6)
    assert made.ask(1, questions[0]) == "answered"
    made.server.remember()
    assert [made.ask(0, question) for question in questions[1:6]] == ["answered"] * 5
    made.server.kill()
    made.server.lose_the_tail()
    made.server.start()
    assert made.ask(1, questions[6]) == "quota-exceeded"
    assert made.ask(0, questions[7]) == "quota-exceeded"
    assert sum(made.charged("quota/").values()) == 6


FAULTS: dict[str, Callable[[Server], None]] = {
    "flushed": Server.flush,
    "replaced by an empty server": Server.lose_everything,
    "file truncated": Server.truncate,
    "tail lost": Server.lose_the_tail,
    "killed and started again": lambda server: None,
}


def suffer(server: Server, fault: str) -> None:
    """Let a fault happen; but for a flush, the server is killed before and started after."""
    if fault == "flushed":
        server.flush()
        return
    server.kill()
    FAULTS[fault](server)
    server.start()


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_gives_nobody_a_fresh_budget_or_quota(pair: MakePair, questions: list[Question], fault: str) -> None:
    """Both nodes are asked first by turns: neither answers on what the server has forgotten."""
    made = pair(count=8, bits=2)
    assert made.ask(0, questions[0]) == "answered"
    made.server.remember()
    assert [made.ask(number, questions[number]) for number in range(1, 6)] == ["answered"] * 5
    suffer(made.server, fault)
    later = [{**question, "declared": {"employed_on": DAYS[0]}} for question in questions[:6]]
    assert [made.ask(number + 1, question) for number, question in enumerate(later)] == ["budget-exhausted"] * 6
    assert made.ask(0, questions[0]) == "answered", "a paid question stays free"
    assert [made.ask(0, question) for question in questions[6:9]] == ["answered", "quota-exceeded", "quota-exceeded"]
    assert made.ask(1, questions[9]) == "quota-exceeded"
    assert sum(made.charged("quota/").values()) == 8
    assert max(made.charged("budget/").values()) <= 2_000


def test_nobody_is_answered_while_redis_is_gone(pair: MakePair, questions: list[Question]) -> None:
    """T16: the limiter fails closed, with a record, and never fails open."""
    made = pair()
    assert made.ask(0, questions[0]) == "answered"
    made.server.kill()
    assert [made.ask(number, questions[number]) for number in range(6)] == ["limiter-unavailable"] * 6
    assert len(made.nodes[0].rows(state="limiter-unavailable")) == 6
    assert sum(made.charged("quota/").values()) == 1
    made.server.start()
    assert made.ask(1, questions[1]) == "answered"


class Load:
    """Threads that ask until they are told to stop; each question goes to one of the nodes by chance."""

    def __init__(self, pair: Pair, ask_for: Callable[[random.Random], Question]) -> None:
        self.seen: Counter[str] = Counter()
        self._pair = pair
        self._ask_for = ask_for
        self._done = threading.Event()
        self._pool = ThreadPoolExecutor(12)
        self._running = [self._pool.submit(self._run, seed) for seed in range(12)]

    def _run(self, seed: int) -> Counter[str]:
        rng, own = random.Random(seed), Counter[str]()
        while not self._done.is_set():
            own[self._pair.ask(rng.randrange(2), self._ask_for(rng))] += 1
        return own

    def finish(self) -> Counter[str]:
        """Stop, and count every answer by its state."""
        self._done.set()
        for running_one in self._running:
            self.seen += running_one.result(60)
        self._pool.shutdown()
        return self.seen


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_answer_beyond_the_quota_however_often_redis_is_killed(pair: MakePair, questions: list[Question]) -> None:
    made = pair(count=700)
    for node in made.nodes:
        node.consumer(CLIENT).token()
    load = Load(made, lambda rng: rng.choice(questions))
    rng = random.Random(16)
    for fault in [*FAULTS, *rng.choices(list(FAULTS), k=5)]:
        made.server.remember()
        time.sleep(rng.uniform(0.1, 0.4))
        suffer(made.server, fault)
    deadline = time.monotonic() + 60
    while sum(made.charged("quota/").values()) < 700:
        assert time.monotonic() < deadline, load.finish()
        time.sleep(0.1)
    time.sleep(0.5)
    seen = load.finish()
    assert seen["answered"] == sum(made.charged("quota/").values()) == 700
    assert seen.keys() <= {"answered", "quota-exceeded", "limiter-unavailable"}
    assert seen["quota-exceeded"] > 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_answer_beyond_the_budgets_however_often_redis_is_killed(
    pair: MakePair, questions: list[Question]
) -> None:
    """Every subject is asked about on three days, by many threads at once; its two bits pay for one of them."""
    made = pair(bits=2)
    for node in made.nodes:
        node.consumer(CLIENT).token()
    subjects = questions[:150]
    load = Load(made, lambda rng: {**rng.choice(subjects), "declared": {"employed_on": rng.choice(DAYS)}})
    rng = random.Random(2)
    for fault in [*FAULTS, *rng.choices(list(FAULTS), k=5)]:
        made.server.remember()
        time.sleep(rng.uniform(0.1, 0.4))
        suffer(made.server, fault)
    time.sleep(1)
    seen = load.finish()
    assert seen.keys() == {"answered", "budget-exhausted", "limiter-unavailable"} or "limiter-unavailable" not in seen
    assert made.charged("budget/")
    charge = tables.charge.c
    query = select(charge.account, func.count(charge.question.distinct())).where(
        charge.question.is_not(None), charge.amount > 0
    )
    with made.nodes[0].node.store.reading() as connection:
        questions_paid = {row[0]: row[1] for row in connection.execute(query.group_by(charge.account))}
    assert set(questions_paid.values()) == {1}, "no account paid for a second distinct question"
