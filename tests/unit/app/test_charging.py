"""Drawing on accounts: a used-up budget is looked at once per update, and begins anew under other values only."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from adapters.base import Answer, Code
from app.charging import REMEMBERED, Charging
from app.limits.account import Account, Exhausted
from app.limits.limiter import Limiter
from app.limits.values import text_of
from app.log.sequencer import RegistryChanged, Sequencer
from app.log.storage import Store
from app.recording import Event, Permitted
from app.refusals import Refusal
from app.registry.departments import Client
from app.registry.question import QuestionReader
from bench.callers import unchecked_caller
from evidence.note import NoteSigner
from tests.nodes.routes import example_agreements, example_directory
from tests.nodes.running import Ground
from tests.unit.app.log.entries import entry

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
CALLER = unchecked_caller(Client("hz-hrss-review", {}, "hz-hrss", frozenset(), "tls_client_auth_san_dns", "c"))
START = Account("budget/START", 1_000, 1_000, attribute="hz-tax/wages.start", column="start")
END = Account("budget/END", 1_000, 1_000, attribute="hz-tax/wages.end", column="end")
QUOTA = Account("quota/q", 1, 10)


@pytest.fixture
def charging(ground: Ground, store: Store, signer: NoteSigner) -> Charging:
    return Charging(Limiter(ground.redis_url(), store), Sequencer(store, signer), account_key=b"k" * 32, key_id="k")


def drawn(question: str) -> list[Account]:
    return [QUOTA, replace(END, question=question), replace(START, question=question)]


def answer(start: bytes = b"", end: bytes = b"") -> Answer:
    """What a source answers in which these values stand; none is no row."""
    columns = {"start": start, "end": end}
    return Answer(
        Code.MATCH, {}, {name: frozenset([value]) if value else frozenset() for name, value in columns.items()}
    )


@dataclass(slots=True)
class Source:
    """Answers alike and remembers which accounts it was looked at for."""

    says: Answer | None
    looks: list[str] = field(default_factory=list)

    def __call__(self, account: Account) -> Answer | None:
        self.looks.append(account.name)
        return self.says


def event(number: int) -> Event:
    return Event(id=f"decision-{number:08d}", at=NOW, caller=CALLER)


def finished(charging: Charging, made: Event, given: Answer, number: int) -> Event:
    """Record and settle the question."""
    charging.charge(made, given)
    assert made.reservation is not None
    made.index = charging.sequencer.append(entry(number, charges=made.reservation.charges))
    charging.settle(made)
    return made


def asked(charging: Charging, number: int, question: str, source: Source) -> Event:
    """The whole way of one question, whose source is asked unless it was looked at."""
    made = event(number)
    found = charging.draw(made, drawn(question), source)
    if found is None:
        assert source.says is not None
        found = source.says
        charging.renew(made, drawn(question), found)
    return finished(charging, made, found, number)


def charges(made: Event) -> dict[str, tuple[int, str | None, bool]]:
    assert made.reservation is not None
    return {row["account"]: (row["amount"], row["fingerprint"], row["renewed"]) for row in made.reservation.charges}


def text(value: bytes) -> str:
    return text_of([value], "k")


OLD, NEW = answer(b"old-start", b"old-end"), answer(b"new-start", b"new-end")


def test_charges_say_which_values_the_answer_is_about(charging: Charging) -> None:
    assert charges(asked(charging, 1, "q1", Source(OLD))) == {
        QUOTA.name: (1, None, False),
        START.name: (1_000, text(b"old-start"), False),
        END.name: (1_000, text(b"old-end"), False),
    }


def test_column_that_the_source_leaves_out_is_unknown(charging: Charging) -> None:
    made = asked(charging, 1, "q1", Source(Answer(Code.NOT_FOUND, {})))
    assert {fingerprint for _, fingerprint, _ in charges(made).values()} == {None}


def test_used_up_budget_whose_values_stand_is_exhausted_after_one_look(charging: Charging) -> None:
    asked(charging, 1, "q1", Source(OLD))
    for number, source in ((2, Source(OLD)), (3, Source(None)), (4, Source(answer()))):
        made = event(number)
        with pytest.raises(Exhausted):
            charging.draw(made, drawn("q2"), source)
        assert source.looks == [END.name]
        assert made.reservation is None


def test_one_column_that_changed_renews_no_other(charging: Charging) -> None:
    """The whole question is stopped while one of its accounts is."""
    asked(charging, 1, "q1", Source(OLD))
    made = event(2)
    with pytest.raises(Exhausted) as refused:
        charging.draw(made, drawn("q2"), Source(answer(b"old-start", b"new-end")))
    assert refused.value.account.name == START.name


def test_used_up_budgets_whose_values_have_all_gone_begin_anew_with_one_look(charging: Charging) -> None:
    asked(charging, 1, "q1", Source(OLD))
    source = Source(NEW)
    made = asked(charging, 2, "q2", source)
    assert source.looks == [END.name], "the source is asked once, whatever the number of accounts"
    assert charges(made) == {
        QUOTA.name: (1, None, False),
        START.name: (1_000, text(b"new-start"), True),
        END.name: (1_000, text(b"new-end"), True),
    }
    with pytest.raises(Exhausted):
        charging.draw(event(3), drawn("q3"), Source(NEW))


def test_repeat_that_is_free_is_charged_anew_once_its_values_have_gone(charging: Charging) -> None:
    """Its answer is news by then."""
    asked(charging, 1, "q1", Source(OLD))
    made = asked(charging, 2, "q1", Source(NEW))
    assert {name: row[0] for name, row in charges(made).items()} == {
        QUOTA.name: 1,
        START.name: 1_000,
        END.name: 1_000,
    }
    assert charges(made)[START.name][2] is True


def test_repeat_that_is_free_and_unchanged_is_charged_nothing(charging: Charging) -> None:
    asked(charging, 1, "q1", Source(OLD))
    assert charges(asked(charging, 2, "q1", Source(OLD))) == {QUOTA.name: (1, None, False)}


def test_free_repeat_about_a_further_value_is_noted(charging: Charging) -> None:
    """A row was added and the old one still stands: later, when only the new one does, it was answered about."""
    both = Answer(Code.MATCH, {}, {"start": frozenset([b"old-start", b"new-start"]), "end": frozenset([b"old-end"])})
    asked(charging, 1, "q1", Source(OLD))
    made = asked(charging, 2, "q1", Source(both))
    assert charges(made) == {
        QUOTA.name: (1, None, False),
        START.name: (0, text_of([b"old-start", b"new-start"], "k"), False),
    }
    with pytest.raises(Exhausted):
        charging.draw(event(3), drawn("q2"), Source(answer(b"new-start", b"new-end")))


def test_kept_answer_brings_no_values_and_changes_nothing(charging: Charging) -> None:
    asked(charging, 1, "q1", Source(OLD))
    made = event(2)
    assert charging.draw(made, drawn("q1"), Source(None)) is None
    finished(charging, made, Answer(Code.MATCH, {}), 2)
    assert charges(made) == {QUOTA.name: (1, None, False)}


def test_question_that_draws_on_nothing_is_reserved_all_the_same(charging: Charging) -> None:
    made = event(1)
    assert charging.draw(made, [], Source(None)) is None
    assert made.reservation is not None
    assert made.reservation.charges == ()


def test_used_up_quota_is_looked_at_by_nobody(charging: Charging) -> None:
    source = Source(NEW)
    with pytest.raises(Refusal) as refused:
        charging.draw(event(1), [replace(QUOTA, limit=0)], source)
    assert (refused.value.slug, source.looks) == ("quota-exceeded", [])


def test_decision_of_an_epoch_that_has_passed_draws_nothing(charging: Charging) -> None:
    charging.draw(event(1), [], Source(None))
    charging.limiter.announce(3)
    late = event(2)
    late.epoch = 2
    with pytest.raises(RegistryChanged):
        charging.draw(late, drawn("q1"), Source(None))
    assert late.reservation is None


def test_event_without_a_reservation_has_nothing_to_charge_renew_or_settle(charging: Charging) -> None:
    made = event(1)
    charging.renew(made, drawn("q1"), NEW)
    charging.charge(made, NEW)
    charging.settle(made)
    assert made.reservation is None


def test_exhausted_account_is_worth_one_look_for_each_update(charging: Charging) -> None:
    assert charging.may_have_changed(START, "monday")
    assert not charging.may_have_changed(START, "monday")
    assert charging.may_have_changed(END, "monday")
    assert charging.may_have_changed(START, "tuesday")


def test_source_that_does_not_tell_its_updates_is_looked_at_once_a_minute(
    charging: Charging, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [600.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert charging.may_have_changed(START, None)
    clock[0] += 59
    assert not charging.may_have_changed(START, None)
    clock[0] += 2
    assert charging.may_have_changed(START, None)


def test_remembered_looks_are_bounded(charging: Charging) -> None:
    for number in range(REMEMBERED + 1):
        charging.may_have_changed(replace(START, name=str(number)), "monday")
    assert len(charging._looked) == 1


def test_accounts_are_those_of_the_callers_department(charging: Charging) -> None:
    service = example_directory().catalogue.services["employment-status"]
    agreement = example_agreements().find("hz-hrss-employment-status-benefit-review")
    assert agreement is not None
    body = {"purpose": "benefit-review", "case": "UB-1", "operator": "op-1", **service.example}
    permitted = Permitted(service, QuestionReader(service).read(body), agreement)
    quota, *budgets = charging.accounts(event(1), permitted, {})
    assert quota.name.startswith("quota/hz-hrss/")
    assert [account.column for account in budgets] == ["end_date", "start_date", "taxpayers.full_name"]
