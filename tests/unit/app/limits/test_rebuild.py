"""The accounts as the charge rows tell them: every doubt counts as spent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from app.limits import rebuild
from app.limits.account import Account
from app.limits.limiter import Limiter
from app.limits.rebuild import Spent, budgets, quotas, refuse_eviction, write_accounts
from app.limits.values import MANY
from app.log import tables
from app.log.sequencer import Sequencer
from app.log.storage import Store
from app.refusals import Refusal
from evidence.note import NoteSigner
from tests.unit.app.log.entries import charge, entry

A, B = "budget/a", "budget/b"
NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
Row = tuple[str, str, int, str, bool]
"""Account, question, amount, source values, renewed."""


def written(store: Store, signer: NoteSigner, *rows: Row) -> None:
    """Charges as a node records them, one decision each."""
    sequencer = Sequencer(store, signer)
    for number, (account, question, amount, values, renewed) in enumerate(rows):
        row = charge(account, amount, question=question or None, fingerprint=values or None, renewed=renewed)
        sequencer.append(entry(number, charges=[row]))


def folded(store: Store, account: str = A) -> Spent:
    with store.reading() as connection:
        return dict(budgets(connection)).get(account, Spent())


def paid(*rows: tuple[str, int, str, bool]) -> list[Row]:
    return [(A, *row) for row in rows]


def test_database_without_charges_has_no_accounts(either_store: Store) -> None:
    with either_store.reading() as connection:
        assert (list(quotas(connection)), list(budgets(connection))) == ([], [])


def test_quotas_are_sums_and_a_question_counts_once(either_store: Store, signer: NoteSigner) -> None:
    rows: list[Row] = [("quota/a", "", 1, "", False), ("quota/a", "", 1, "", False), (B, "q", 1_585, "", False)]
    written(either_store, signer, *rows, (B, "r", 1_000, "", False), (B, "q", 5, "", False))
    with either_store.reading() as connection:
        assert list(quotas(connection)) == [("quota/a", 2)]
        ((name, spent),) = budgets(connection)
    assert (name, spent.total) == (B, 2_585)
    assert spent.questions == {"q": (1_585, 4), "r": (1_000, 3)}, "the dearest charge, the newest answer"


def test_account_that_is_asked_for_is_folded_alone(either_store: Store, signer: NoteSigner) -> None:
    written(either_store, signer, (A, "q", 1_000, "", False), (B, "q", 2_000, "", False))
    with either_store.reading() as connection:
        assert {name: spent.total for name, spent in budgets(connection)} == {A: 1_000, B: 2_000}
        assert {name: spent.total for name, spent in budgets(connection, B)} == {B: 2_000}
        assert list(budgets(connection, "budget/none")) == []


OLD, NEW, BOTH = "k:old", "k:new", "k:new,old"

FOLDS: dict[str, tuple[list[tuple[str, int, str, bool]], int, str]] = {
    "values are remembered together": ([("q", 1, OLD, False), ("r", 2, NEW, False)], 3, BOTH),
    "nothing renews that does not say so": ([("q", 1, OLD, False), ("r", 2, NEW, False)], 3, BOTH),
    "renewed under other values": ([("q", 1, OLD, False), ("r", 2, NEW, True)], 2, BOTH),
    "renewed while an old value stands": ([("q", 1, OLD, False), ("r", 2, BOTH, True)], 3, BOTH),
    "renewed under the same value": ([("q", 1, OLD, False), ("r", 2, OLD, True)], 3, OLD),
    "many values never renew": ([("q", 1, MANY, False), ("r", 2, NEW, True)], 3, MANY),
    "many new values renew nothing": ([("q", 1, OLD, False), ("r", 2, MANY, True)], 3, MANY),
    "values under another key": ([("q", 1, "other:old", False), ("r", 2, NEW, True)], 3, MANY),
    "renewed under unknown values": ([("q", 1, OLD, False), ("r", 2, "", True)], 3, OLD),
    "unknown values are as good as gone": ([("q", 1, "", False), ("r", 2, NEW, True)], 2, NEW),
    "unknown values under unknown ones stay": ([("q", 1, "", False), ("r", 2, "", True)], 3, ""),
    "two that renewed for one change": ([("q", 1, OLD, False), ("r", 2, NEW, True), ("s", 4, NEW, True)], 6, BOTH),
    "asked before and recorded after": ([("q", 1, OLD, False), ("r", 2, NEW, True), ("s", 4, OLD, False)], 6, BOTH),
    "asked after and recorded before": ([("q", 1, OLD, False), ("s", 4, NEW, False), ("r", 2, NEW, True)], 6, BOTH),
    "same question again after renewing": ([("q", 5, OLD, False), ("q", 5, NEW, True)], 5, BOTH),
    "free repeat that saw more": ([("q", 5, OLD, False), ("q", 0, NEW, False)], 5, BOTH),
    "free repeat of what is gone": ([("q", 5, OLD, False), ("r", 1, NEW, True), ("q", 0, NEW, False)], 1, BOTH),
}


@pytest.mark.parametrize("name", FOLDS)
def test_budget_is_folded_in_the_order_of_the_log(store: Store, signer: NoteSigner, name: str) -> None:
    rows, total, known = FOLDS[name]
    written(store, signer, *paid(*rows))
    assert (folded(store).total, folded(store).known) == (total, known)


def test_free_repeat_makes_no_question_paid(store: Store, signer: NoteSigner) -> None:
    """Else a repeat that was under way while its account began anew would be free for ever, for nothing."""
    written(store, signer, *paid(("q", 5, OLD, False), ("r", 1, NEW, True), ("q", 0, NEW, False)))
    assert folded(store).questions == {"r": (1, 1)}


def test_rows_for_the_auditor_change_no_account(store: Store, signer: NoteSigner, url: str) -> None:
    """A question that a limit stopped is neither paid for, nor the newest answer to one that was."""
    written(store, signer, (A, "q", 5, OLD, False), ("quota/a", "", 1, "", False))
    before = folded(store)
    written_later = [
        (A, "q", 0, "", False),
        (A, "r", 0, "", False),
        (B, "q", 0, "", False),
        ("quota/a", "", 0, "", False),
    ]
    with store.writing() as connection:
        rows = [charge(account, amount, question=question or None) for account, question, amount, *_ in written_later]
        connection.execute(insert(tables.charge), [{"idx": 100, **row} for row in rows if row["question"] != "r"])
        connection.execute(insert(tables.charge), [{"idx": 101, **row} for row in rows if row["question"] == "r"])
    with store.reading() as connection:
        assert dict(budgets(connection)) == {A: before}
        assert list(quotas(connection)) == [("quota/a", 1)]


VALUES = st.sampled_from(["", OLD, NEW, BOTH, "k:third", "other:old", MANY])
CHARGES = st.lists(
    st.tuples(st.sampled_from("qrs"), st.integers(0, 9), VALUES, st.booleans()), min_size=1, max_size=12
)


@pytest.fixture
def numbers() -> Iterator[int]:
    return iter(range(10**6))


@given(CHARGES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_no_charge_is_counted_twice_and_the_newest_always(
    store: Store, numbers: Iterator[int], rows: list[tuple[str, int, str, bool]]
) -> None:
    """Without `renewed` every question counts in full; with it, never more, and the last charge never less."""
    account = f"budget/{next(numbers)}"
    base = next(numbers) * 100
    with store.writing() as connection:
        content = [
            {"idx": base + place, **charge(account, amount, question=question, fingerprint=values, renewed=renewed)}
            for place, (question, amount, values, renewed) in enumerate(rows)
        ]
        connection.execute(insert(tables.charge), content)
    dearest: dict[str, int] = {}
    for question, amount, _, _ in rows:
        dearest[question] = max(dearest.get(question, 0), amount)
    found = folded(store, account)
    assert found.total <= sum(dearest.values())
    assert found.total >= rows[-1][1]
    if not any(renewed for *_, renewed in rows):
        assert found.total == sum(dearest.values())


def test_rebuilt_front_holds_every_account_and_nothing_else(
    either_store: Store, signer: NoteSigner, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of whatever size, and over what an older state left behind."""
    monkeypatch.setattr(rebuild, "PIECE", 2)
    rows: list[Row] = [(f"budget/{number}", f"q{number}", 1_000, OLD, False) for number in range(7)]
    written(either_store, signer, ("quota/a", "", 1, "", False), *rows)
    with closing(redis.Redis.from_url(url)) as client:
        for number in range(5):
            client.hset(f"hecha:account:left-{number}", "spent", "9")
        with either_store.reading() as connection:
            write_accounts(client, connection)
        found: dict[str, Any] = {key.decode(): client.hgetall(key) for key in client.scan_iter("*")}
    assert found.pop("hecha:account:quota/a") == {b"spent": b"1"}
    assert found == {
        f"hecha:account:budget/{number}": {
            f"q{number}".encode(): f"1000 {number + 1}".encode(),
            b"spent": b"1000",
            b"f": OLD.encode(),
        }
        for number in range(7)
    }


def test_front_is_rebuilt_from_a_postgresql(postgres_store: Store, signer: NoteSigner, url: str) -> None:
    written(postgres_store, signer, (A, "q", 1_000, OLD, False))
    limiter = Limiter(url, postgres_store)
    limiter.rebuild(at_start=True)
    with closing(redis.Redis.from_url(url)) as client:
        assert client.hget(f"hecha:account:{A}", "spent") == b"1000"


class HiddenSettings(redis.Redis):
    """A hosted Redis, which tells nobody how it is set up."""

    def config_get(self, *_: Any, **__: Any) -> Any:
        """Refuse."""
        raise redis.ResponseError("unknown command")


def test_hosted_redis_that_hides_its_settings_is_taken_at_its_word() -> None:
    with closing(HiddenSettings()) as client:
        refuse_eviction(client)


def test_accounts_that_were_flushed_while_they_were_written_answer_nobody(
    store: Store, signer: NoteSigner, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next rebuild, undisturbed, does."""
    written(store, signer, ("quota/a", "", 3, "", False))
    limiter, quota = Limiter(url, store), Account("quota/a", 1, 3)
    writing = rebuild.write_accounts

    def disturbed(client: redis.Redis, connection: Any) -> None:
        writing(client, connection)
        client.flushdb()

    with monkeypatch.context() as patched:
        patched.setattr("app.limits.limiter.write_accounts", disturbed)
        with pytest.raises(Refusal, match="cannot be checked"):
            limiter.reserve("early", [quota], -1, NOW)
    with pytest.raises(Refusal, match="used up"):
        limiter.reserve("later", [quota], -1, NOW)


def test_rebuild_that_another_overtook_does_not_say_that_the_others_accounts_are_complete(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its commit and its last word, the next one may have begun: its accounts are half written then."""
    limiter = Limiter(url, store)
    with closing(redis.Redis.from_url(url)) as client:
        writing = rebuild.write_accounts

        def overtaken(own: redis.Redis, connection: Any) -> None:
            writing(own, connection)
            client.set(rebuild.REBUILD, "another")

        with monkeypatch.context() as patched:
            patched.setattr("app.limits.limiter.write_accounts", overtaken)
            limiter.rebuild()
        assert not client.exists(rebuild.STATE)
        assert client.get(rebuild.REBUILD) == b"another"
        limiter.rebuild()
        assert client.exists(rebuild.STATE)
        assert not client.exists(rebuild.REBUILD)
