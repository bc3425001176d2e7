"""Asking: a source that fails is no answer; an answer is given again only while nothing changed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from adapters.base import Answer, AttributeAnswer, Code, SourceError, SourceMisbehaved, SourceUnavailable
from app.limits.account import Reservation
from app.log import tables
from app.log.sealing import Sealer
from app.log.sequencer import Sequencer
from app.log.storage import Store
from app.recording import SALT, Event, Permitted
from app.refusals import Refusal
from app.registry.departments import Client
from app.registry.question import QuestionReader
from app.sources import Sources, keep
from bench.callers import unchecked_caller
from evidence.note import NoteSigner
from evidence.record import seal
from policies.obligations import Freshness
from tests.nodes.routes import example_agreements, example_directory
from tests.nodes.sources import CountingSource
from tests.unit.app.log.entries import entry

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
AS_OF = "2026-11-21T22:00:00.000Z"
SEALER = Sealer(b"k" * 32)
CALLER = unchecked_caller(Client("c", {}, "d", frozenset(), "tls_client_auth_san_dns", "c"))
ANSWER = Answer(
    Code.MATCH,
    {"employed_on": AttributeAnswer(Code.MATCH), "employer": AttributeAnswer(Code.MATCH, masked="杭州****公司")},
    {"start_date": frozenset([bytes(16)])},
)


@pytest.fixture
def sources(store: Store) -> Sources:
    return Sources(store, SEALER, timeout_s=1.0)


def permitted(*obligations: Any) -> Permitted:
    """The example question about employment, under an agreement with these obligations on top."""
    service = example_directory().catalogue.services["employment-status"]
    agreement = example_agreements().find("hz-hrss-employment-status-unemployment-benefit")
    assert agreement is not None
    body = {"purpose": "unemployment-benefit", "case": "UB-1", "operator": "op-1", **service.example}
    agreement = replace(agreement, obligations=(*agreement.obligations, *obligations))
    return Permitted(service, QuestionReader(service).read(body), agreement)


def event(paid_at: int | None = None, as_of: str | None = AS_OF) -> Event:
    made = Event(id="decision-00000001", at=NOW, caller=CALLER, as_of=as_of)
    made.reservation = Reservation("decision-00000001", (), (), 1, paid_at=paid_at)
    return made


def recorded(store: Store, signer: NoteSigner, content: bytes, as_of: str | None = AS_OF) -> int:
    """An answer as the recorder keeps it: sealed behind its record's salt; its index in the log."""
    made = entry(7, sealed_salt=SEALER.seal(bytes(SALT) + content, "decision-00000007"))
    who = {"consumer": "c", "client": "c"}
    record = {
        "kind": "question",
        "id": "decision-00000007",
        "at": "2026-11-22T06:00:00Z",
        "state": "malformed",
        **who,
    }
    made.body = seal(record | ({"as_of": as_of} if as_of else {}), {}, bytes(32)).body
    return Sequencer(store, signer).append(made)


def test_recorded_answer_is_given_again_with_its_masks_and_no_values(
    sources: Sources, store: Store, signer: NoteSigner
) -> None:
    """Values are not kept: who is answered from the log has learnt nothing of the source."""
    index = recorded(store, signer, keep(ANSWER))
    assert sources.kept(event(paid_at=index)) == replace(ANSWER, values={})


@pytest.mark.parametrize("made", [event(), event(paid_at=0, as_of=None), Event(id="x", at=NOW, caller=CALLER)])
def test_question_that_was_not_paid_for_or_whose_source_tells_no_update_is_asked(
    sources: Sources, store: Store, signer: NoteSigner, made: Event
) -> None:
    recorded(store, signer, keep(ANSWER))
    assert sources.kept(made) is None


def test_answer_from_before_the_last_update_is_not_given_again(
    sources: Sources, store: Store, signer: NoteSigner
) -> None:
    index = recorded(store, signer, keep(ANSWER))
    assert sources.kept(event(paid_at=index, as_of="2026-11-22T05:00:00.000Z")) is None


def test_answer_of_a_source_that_told_no_update_then_is_not_given_again(
    sources: Sources, store: Store, signer: NoteSigner
) -> None:
    assert sources.kept(event(paid_at=recorded(store, signer, keep(ANSWER), as_of=None))) is None


def test_answer_whose_salt_was_erased_is_forgotten(sources: Sources, store: Store, signer: NoteSigner) -> None:
    index = recorded(store, signer, keep(ANSWER))
    with store.writing() as connection:
        connection.execute(delete(tables.salt))
    assert sources.kept(event(paid_at=index)) is None


def test_index_beyond_the_log_is_no_answer(sources: Sources) -> None:
    assert sources.kept(event(paid_at=99)) is None


def test_record_that_keeps_no_answer_gives_none(sources: Sources, store: Store, signer: NoteSigner) -> None:
    assert sources.kept(event(paid_at=recorded(store, signer, b""))) is None


def test_answer_that_was_altered_or_moved_is_asked_for_again(
    sources: Sources, store: Store, signer: NoteSigner, caplog: pytest.LogCaptureFixture
) -> None:
    index = recorded(store, signer, keep(ANSWER))
    for sealed in (b"", b"x" * 60, SEALER.seal(bytes(SALT) + keep(ANSWER), "another-decision")):
        caplog.clear()
        with store.writing() as connection:
            connection.execute(update(tables.salt).values(sealed=sealed))
        with caplog.at_level(logging.ERROR):
            assert sources.kept(event(paid_at=index)) is None
        assert "cannot be opened" in caplog.text


def test_kept_answer_holds_codes_and_masks_and_nothing_of_the_question() -> None:
    assert keep(ANSWER) == '["m",{"employed_on":["m",null],"employer":["m","杭州****公司"]}]'.encode()


@pytest.mark.parametrize("code", list(Code))
def test_every_result_is_kept_in_the_same_length_and_read_again(
    sources: Sources, store: Store, signer: NoteSigner, code: Code
) -> None:
    """T4: the length of what is sealed must not tell what was folded."""
    answer = Answer(code, {"employed_on": AttributeAnswer(code)})
    assert len(keep(answer)) == len(keep(Answer(Code.MATCH, {"employed_on": AttributeAnswer(Code.MATCH)})))
    assert sources.kept(event(paid_at=recorded(store, signer, keep(answer)))) == answer


def test_source_is_asked_what_was_declared_and_for_the_agreed_masks(sources: Sources) -> None:
    source = CountingSource()
    assert sources.ask(source, permitted()).result is Code.MATCH
    (question,) = source.asked
    assert question.subject == "339881197803120013"
    assert question.declared.keys() == {"employed_on"}
    assert question.masks == {"employer"}


@dataclass(slots=True)
class BrokenClock(CountingSource):
    """A source that does not tell when it was updated, or cannot."""

    def as_of(self) -> datetime | None:  # type: ignore[override]
        """Nothing, or the error."""
        if self.error is not None:
            raise self.error
        return None


FAILURES: list[tuple[SourceError, str, dict[str, str]]] = [
    (SourceUnavailable("hz-tax: no connection"), "source-unavailable", {"Retry-After": "5"}),
    (SourceMisbehaved("hz-tax: no such column"), "source-misbehaved", {}),
]


@pytest.mark.parametrize(("error", "slug", "headers"), FAILURES)
def test_source_that_fails_is_a_refusal_and_never_a_result(
    sources: Sources, error: SourceError, slug: str, headers: dict[str, str]
) -> None:
    for attempt in (
        lambda: sources.ask(CountingSource(error=error), permitted()),
        lambda: sources.as_of(BrokenClock(error=error), event(), permitted()),
    ):
        with pytest.raises(Refusal) as refused:
            attempt()
        assert (refused.value.slug, dict(refused.value.headers)) == (slug, headers)
        assert "hz-tax" not in refused.value.detail


def test_last_update_of_the_source_is_noted(sources: Sources) -> None:
    made = event(as_of=None)
    sources.as_of(CountingSource(updated=datetime(2026, 11, 21, 22, 0, tzinfo=UTC)), made, permitted())
    assert made.as_of == AS_OF
    sources.as_of(BrokenClock(), made, permitted())
    assert made.as_of is None


DAY = Freshness(timedelta(days=1))


@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=1), timedelta(seconds=-5)])
def test_source_that_is_fresh_enough_to_the_second_is_asked(sources: Sources, age: timedelta) -> None:
    made = event(as_of=None)
    sources.as_of(CountingSource(updated=NOW - age), made, permitted(DAY))
    assert made.as_of is not None


def test_source_older_than_agreed_is_stale_from_the_next_second_on(sources: Sources) -> None:
    made = event(as_of=None)
    late = CountingSource(updated=NOW - timedelta(days=1, seconds=1))
    with pytest.raises(Refusal) as refused:
        sources.as_of(late, made, permitted(DAY))
    assert (refused.value.slug, made.as_of) == ("source-stale", None)


def test_source_that_does_not_tell_its_age_is_stale_where_freshness_was_agreed(sources: Sources) -> None:
    with pytest.raises(Refusal, match="longer ago"):
        sources.as_of(BrokenClock(), event(), permitted(DAY))
