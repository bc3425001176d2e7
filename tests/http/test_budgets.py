"""Disclosure budgets: whose they are, what a repeat costs, and the only ways in which one begins anew.

The source is a real one that the test rewrites; only that it is asked, and when it was updated, is watched.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.base import Adapter, Answer, Probe
from app.factory import app_for
from app.limits.account import price
from examples.demo.departments import NODE_DIR
from tests.nodes.problems import recorded
from tests.nodes.questions import CLIENT, SERVICE, Question, employment
from tests.nodes.running import Edits, OwnNode, RunningNode

BENEFITS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
REVIEW = "agreements/hz-hrss-employment-status-benefit-review.yaml"
DIBAO = "agreements/hz-civil-employment-status-low-income-household.yaml"
NUMBER = employment()["subject"]["id_number"]
UPDATED = datetime(2026, 11, 15, 22, tzinfo=UTC)
ONE = "{bits: 2}"  # one question of log2(3) bits fits, a second does not


@dataclass(slots=True)
class Watched:
    """A real source that counts how often it is asked, and says when it was updated as the test tells it."""

    source: Adapter
    updated: datetime = UPDATED
    asked: int = 0

    def answer(self, questions: Sequence[Any], *, timeout_s: float) -> list[Answer]:
        self.asked += len(questions)
        return self.source.answer(questions, timeout_s=timeout_s)

    def probe(self) -> Probe:
        return self.source.probe()

    def as_of(self) -> datetime:
        return self.updated

    def close(self) -> None:
        self.source.close()


@dataclass(slots=True)
class Register:
    """The wage register of one person, rewritten by the test; every rewriting is an update of the source."""

    path: Path
    watched: Watched
    node: RunningNode
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000)))

    def holds(self, *periods: tuple[str, str | None]) -> None:
        """Let these be the person's employments, none else, as of a later update."""
        self.watched.updated += timedelta(days=1)
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("DELETE FROM wage_declarations WHERE id_no = ?", (NUMBER,))
            connection.executemany(
                "INSERT INTO wage_declarations (id_no, employer_name, start_date, end_date) VALUES (?, ?, ?, ?)",
                [(NUMBER, "杭州之江示范纺织有限公司", start, end) for start, end in periods],
            )

    def ask(self, day: str, client: str = CLIENT, **members: Any) -> Any:
        """Ask whether the person was employed on a day."""
        body: Question = employment(declared={"employed_on": day}, **members)
        return self.node.consumer(client).ask(SERVICE, body)

    def result(self, day: str) -> str:
        """The result of an answered question."""
        return str(self.ask(day).get_json()["result"])

    def refuses(self, day: str) -> bool:
        """Whether the budget is used up for this question."""
        response = self.ask(day)
        if response.status_code == 200:
            return False
        recorded(self.node, response, "budget-exhausted")
        return True


def budget(text: str) -> Callable[[str], str]:
    """A rewrite of an agreement's budget, and of its masks to none."""
    return lambda terms: re.sub(r"budget: {.*}", f"budget: {text}", terms).replace("[employer]}", "[]}")


@pytest.fixture
def register(own_node: OwnNode, tmp_path: Path) -> Callable[..., Register]:
    """Makes a node with these edits over a wage register of its own."""

    def make(edits: Edits | None = None, **settings: str) -> Register:
        path = tmp_path / "tax.db"
        node = own_node(edits or {BENEFITS: budget(ONE)}, SOURCE_HZ_TAX=f"sqlite:///{path}", **settings)
        shutil.copy(node.ground.folder / "sources" / "hz-tax.db", path)
        watched = Watched(node.node.current.registry.adapters[SERVICE])
        return Register(path, watched, node.with_adapter(SERVICE, watched))

    return make


MakeRegister = Callable[..., Register]


def budgets(register: Register, identifier: str) -> dict[str, int]:
    charges = register.node.charges(identifier)
    return {account: amount for account, amount in charges.items() if account.startswith("budget/")}


def test_two_clients_of_a_department_draw_on_one_account(register: MakeRegister) -> None:
    made = register({BENEFITS: budget("{bits: 4}"), REVIEW: budget("{bits: 4}")})
    first = made.ask("2026-01-01").get_json()["id"]
    second = made.ask("2026-02-01", "hz-hrss-review", purpose="benefit-review").get_json()["id"]
    # The name is confirmed already, so that the second question draws on what it asks about alone.
    assert set() < budgets(made, second).keys() < budgets(made, first).keys()
    third = made.ask("2026-03-01", "hz-hrss-review", purpose="benefit-review")
    recorded(made.node, third, "budget-exhausted")
    assert made.refuses("2026-03-01")


def test_two_departments_have_accounts_of_their_own(register: MakeRegister) -> None:
    made = register({BENEFITS: budget(ONE), DIBAO: budget("{bits: 1}")})
    hrss = made.ask("2026-01-01").get_json()["id"]
    assert made.refuses("2026-02-01")
    civil = made.ask("2026-02-01", "hz-civil-dibao", purpose="low-income-household")
    assert civil.status_code == 200
    assert not budgets(made, hrss).keys() & budgets(made, civil.get_json()["id"]).keys()
    other = made.ask("2026-01-01", "hz-civil-dibao", purpose="low-income-household")
    recorded(made.node, other, "budget-exhausted")


def test_the_tightest_budget_of_a_department_holds_under_every_agreement(register: MakeRegister) -> None:
    made = register({BENEFITS: budget("{bits: 1000}"), REVIEW: budget(ONE)})
    assert made.ask("2026-01-01").status_code == 200
    assert made.refuses("2026-02-01")


def test_repeat_gets_the_stored_answer_without_asking_the_source(register: MakeRegister) -> None:
    made = register()
    first = made.ask("2026-09-15").get_json()
    for case in ("UB-OTHER-1", "UB-OTHER-2"):
        again = made.ask("2026-09-15", case=case, operator="somebody.else").get_json()
        assert {**again, "id": "", "receipt": ""} == {**first, "id": "", "receipt": ""}
        assert budgets(made, again["id"]) == {}
    assert made.watched.asked == 1


def test_stored_answer_is_given_even_where_the_source_would_now_say_otherwise(register: MakeRegister) -> None:
    """The source says that it was not updated: then its answer is the one it gave."""
    made = register()
    made.holds(("2026-01-01", None))
    assert made.result("2026-09-15") == "match"
    before = made.watched.updated
    made.holds()
    made.watched.updated = before
    assert made.result("2026-09-15") == "match"
    made.watched.updated = before + timedelta(days=1)
    assert made.result("2026-09-15") == "no_match"


def test_repeat_after_an_update_asks_again_and_is_free_if_nothing_changed(register: MakeRegister) -> None:
    made = register()
    made.holds(("2026-01-01", None))
    first = made.ask("2026-09-15").get_json()
    made.holds(("2026-01-01", None))
    again = made.ask("2026-09-15").get_json()
    assert made.watched.asked == 2
    assert again["as_of"] > first["as_of"]
    assert again["result"] == first["result"]
    assert budgets(made, again["id"]) == {}
    assert made.refuses("2026-02-01"), "nothing begins anew"


def test_budget_begins_anew_when_the_value_has_changed(register: MakeRegister) -> None:
    made = register()
    made.holds(("2024-01-01", "2024-12-31"))
    assert made.result("2026-09-15") == "no_match"
    assert made.refuses("2026-10-15")
    made.holds(("2026-10-01", None))
    answer = made.ask("2026-10-15").get_json()
    assert answer["result"] == "match"
    assert set(budgets(made, answer["id"]).values()) == {price(3)}
    assert made.refuses("2026-11-15"), "anew, not without end"


def test_repeat_about_a_changed_value_is_charged_again(register: MakeRegister) -> None:
    """The same words ask about something new: the answer is no longer one that was paid for."""
    made = register()
    made.holds(("2024-01-01", "2024-12-31"))
    assert made.result("2026-10-15") == "no_match"
    made.holds(("2026-10-01", None))
    answer = made.ask("2026-10-15").get_json()
    assert answer["result"] == "match"
    assert set(budgets(made, answer["id"]).values()) == {price(3)}
    assert made.refuses("2026-09-15")


def test_history_that_only_grows_never_renews(register: MakeRegister) -> None:
    """Every month a row more: what was asked about still stands there."""
    made = register()
    months = [(f"2025-{month:02d}-01", f"2025-{month:02d}-28") for month in range(1, 13)]
    made.holds(months[0])
    assert made.result("2026-09-15") == "no_match"
    for length in range(2, 13):
        made.holds(*months[:length])
        assert made.refuses("2026-10-15")


def test_all_values_must_have_changed(register: MakeRegister) -> None:
    made = register()
    made.holds(("2024-01-01", "2024-02-01"), ("2024-03-01", "2024-04-01"))
    assert made.result("2026-09-15") == "no_match"
    made.holds(("2024-03-01", "2024-04-01"), ("2026-01-01", None))
    assert made.refuses("2026-10-15"), "one of the two records still stands"
    made.holds(("2026-01-01", None))
    assert made.result("2026-10-15") == "match"


def test_value_that_swings_back_and_forth_renews_once_for_each_value(register: MakeRegister) -> None:
    """Were each swing a change, answers about the one value would add up over the swings."""
    made = register()
    one, other = ("2024-01-01", "2024-12-31"), ("2026-01-01", "2026-06-30")
    answered = []
    for month, period in enumerate((one, other, one, other, one), start=1):
        made.holds(period)
        days = (f"2024-{month:02}-01", f"2025-{month:02}-15", f"2026-{month:02}-20")
        answered.append(sum(made.ask(day).status_code == 200 for day in days))
    assert answered == [1, 1, 0, 0, 0]


def test_end_of_a_record_alone_renews_only_the_attribute_that_changed(register: MakeRegister) -> None:
    """The start still stands: as long as one attribute's account is used up, the question is refused."""
    made = register()
    made.holds(("2026-01-01", None))
    assert made.result("2026-09-15") == "match"
    made.holds(("2026-01-01", "2026-10-31"))
    assert made.refuses("2026-11-15")


def test_subject_without_records_renews_nothing(register: MakeRegister) -> None:
    """No value is known, so none can be seen to have changed: gone, come back, and never been there alike."""
    made = register()
    made.holds()
    assert made.result("2026-09-15") == "no_match"
    made.holds(("2026-10-01", None))
    assert made.refuses("2026-10-15")
    made.holds()
    assert made.refuses("2026-10-15")


def test_unconfirmed_subject_renews_like_a_confirmed_one(register: MakeRegister) -> None:
    """`not_found` says nothing of the records, and charges and renews no otherwise than an answer that does."""
    made = register()
    made.holds(("2024-01-01", "2024-12-31"))
    wrong: dict[str, Any] = {"confirm": {"name": "无名氏"}}
    assert made.ask("2026-09-15", **wrong).get_json()["result"] == "not_found"
    recorded(made.node, made.ask("2026-10-15", **wrong), "budget-exhausted")
    made.holds(("2024-01-01", "2024-12-31"))
    recorded(made.node, made.ask("2026-10-15", **wrong), "budget-exhausted")
    made.holds(("2026-10-01", None))
    assert made.ask("2026-10-15", **wrong).get_json()["result"] == "not_found"


def test_more_values_than_are_kept_never_renew(register: MakeRegister) -> None:
    made = register()
    made.holds(*[(f"20{year:02d}-01-01", f"20{year:02d}-02-01") for year in range(33)])
    assert made.result("2026-09-15") == "no_match"
    made.holds(("2026-10-01", None))
    assert made.refuses("2026-10-15")


def test_values_that_add_up_beyond_what_is_kept_never_renew(register: MakeRegister) -> None:
    """Twenty values, then twenty others beside one old one: none of the forty may be forgotten."""
    made = register({BENEFITS: budget("{bits: 4}")})
    first = [(f"20{year:02d}-01-01", f"20{year:02d}-02-01") for year in range(20)]
    second = [(f"19{year:02d}-01-01", f"19{year:02d}-02-01") for year in range(60, 79)]
    made.holds(*first)
    assert made.result("2026-09-15") == "no_match"
    made.holds(first[0], *second)
    assert made.result("2026-08-15") == "no_match"
    made.holds(("2026-10-01", None))
    assert made.refuses("2026-10-15")


def test_renewal_survives_a_flushed_redis(register: MakeRegister) -> None:
    made = register()
    made.holds(("2024-01-01", "2024-12-31"))
    assert made.result("2026-09-15") == "no_match"
    made.holds(("2026-10-01", None))
    assert made.result("2026-10-15") == "match"
    with closing(made.node.redis()) as client:
        client.flushdb()
    assert made.refuses("2026-09-15")
    assert made.result("2026-10-15") == "match", "what was paid since is still free"


def test_renewed_agreement_brings_no_fresh_budget(register: MakeRegister) -> None:
    name = "hz-hrss-employment-status-unemployment-benefit"

    def renewed(_: str) -> str:
        text = budget(ONE)((NODE_DIR / BENEFITS).read_text("utf-8"))
        return text.replace(f"agreement: {name}\n", f"agreement: {name}-2\nsupersedes: {name}\n")

    made = register({BENEFITS: budget(ONE), f"agreements/{name}-2.yaml": renewed})
    assert made.ask("2026-01-01").status_code == 200
    assert made.node.node.registry.agreements.find(f"{name}-2") is not None
    assert made.refuses("2026-02-01")


@dataclass(slots=True)
class Calendar:
    """A clock that the test sets."""

    at: datetime

    def __call__(self) -> datetime:
        return self.at


def in_time(register: Register, at: str) -> tuple[Register, Calendar]:
    """The same node under a clock that stands still."""
    clock = Calendar(datetime.fromisoformat(at))
    verification = replace(register.node.node.verification, clock=clock)
    node = register.node
    inner = replace(node.node, verification=verification)
    return replace(register, node=replace(node, node=inner, app=app_for(inner))), clock


def test_yearly_budget_begins_anew_with_the_year_in_shanghai(register: MakeRegister) -> None:
    yearly = budget("{bits: 2, renews: year}")
    made, clock = in_time(register({BENEFITS: yearly, REVIEW: yearly}), "2026-12-31T15:59:58+00:00")
    assert made.ask("2026-01-01").status_code == 200
    response = made.ask("2026-02-01")
    recorded(made.node, response, "budget-exhausted")
    assert response.headers["Retry-After"] == "2"
    clock.at += timedelta(seconds=2)
    assert made.ask("2026-02-01").status_code == 200
    assert made.refuses("2026-03-01")


def test_budget_without_renewal_outlasts_every_new_year(register: MakeRegister) -> None:
    made, clock = in_time(register(), "2026-12-31T00:00:00+00:00")
    assert made.ask("2026-01-01").status_code == 200
    for year in range(2027, 2031):
        clock.at = datetime(year, 1, 1, 12, tzinfo=UTC)
        response = made.ask("2026-02-01")
        recorded(made.node, response, "budget-exhausted")
        assert "Retry-After" not in response.headers


def test_budget_renews_with_the_year_only_where_every_agreement_says_so(register: MakeRegister) -> None:
    edits = {BENEFITS: budget("{bits: 2, renews: year}"), REVIEW: budget("{bits: 2}")}
    made, clock = in_time(register(edits), "2026-12-31T00:00:00+00:00")
    assert made.ask("2026-01-01").status_code == 200
    clock.at = datetime(2027, 1, 2, tzinfo=UTC)
    assert made.refuses("2026-02-01")


def test_worker_killed_before_it_recorded_leaves_nobody_short(register: MakeRegister) -> None:
    """What it reserved is given back once it can be recorded no more, and no node has to be started for that."""
    made = register()
    limiter = made.node.node.limiter
    drawn: list[Any] = []
    reserve = limiter.reserve

    def killed(*args: Any, **members: Any) -> Any:
        drawn.append(reserve(*args, **members))
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limiter, "reserve", killed)
        with pytest.raises(KeyboardInterrupt):
            made.ask("2026-01-01")
    assert drawn
    assert made.refuses("2026-02-01")
    limiter.sweep(drawn[0].until + 86_400)
    assert made.ask("2026-02-01").status_code == 200


def test_question_slower_than_its_reservation_is_decided_anew_and_drawn_once(register: MakeRegister) -> None:
    """T16: else it would be recorded after its reservation was swept up, and answered beyond the budget."""
    made = register()
    limiter = made.node.node.limiter
    reserve, drawn = limiter.reserve, []

    def slow(*args: Any, **members: Any) -> Any:
        drawn.append(reserve(*args, **members))
        return replace(drawn[-1], until=0.0) if len(drawn) == 1 else drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limiter, "reserve", slow)
        answer = made.ask("2026-01-01")
    assert answer.status_code == 200
    assert [reservation.spent for reservation in drawn] == [drawn[0].spent] * 2
    assert len(made.node.rows(kind="question")) == 1
    assert made.refuses("2026-02-01")
