"""Steps under a clock of the test's choice, and under faults: what is not written has not happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, select, update

from app.api.life_cycle_schemas import ApplicationRequestSchema
from app.life_cycle import agreements, applications, disputes, views
from app.life_cycle.desk import TRIES, Act, Desk, Taken
from app.log import tables
from app.log.sequencer import NotWritten, Place
from app.refusals import Refusal
from app.registry import ledger, node_directory
from app.registry.current import Current, Registry
from app.registry.deadlines import day_of
from app.registry.files import NodeFileInvalid
from app.registry.ledger import Moved
from app.steps import Step
from bench.callers import unchecked_caller
from policies.facts import CHINA
from tests.nodes import running
from tests.nodes.routes import example_directory
from tests.nodes.running import Ground, OwnNode, RunningNode
from tests.nodes.steps import APPLICANT, STEWARD, Parties, act_of, application

MONDAY = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def own(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    made = running.start(ground, tmp_path_factory.mktemp("steps"))
    yield made
    made.close()


@pytest.fixture
def desk(own: RunningNode) -> Desk:
    return own.node.desk()


class Seen(Current):
    """A registry that nothing moves on."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry


def seeing(desk: Desk, **changed: Any) -> Desk:
    """The desk of a process that sees another registry."""
    return replace(desk, current=Seen(replace(desk.current.registry, **changed)))


def wanted() -> dict[str, Any]:
    loaded: dict[str, Any] = ApplicationRequestSchema().load(application())
    return loaded


def submitted(desk: Desk, act: Act) -> str:
    identifier: str = orjson.loads(applications.submit(desk, act, wanted()))["id"]
    return identifier


def size(node: RunningNode) -> int:
    with node.node.store.reading() as connection:
        found: int = connection.execute(select(tables.log_head.c.size)).scalar_one()
    return found


def test_application_is_overdue_from_the_first_moment_after_its_last_day(own: RunningNode, desk: Desk) -> None:
    identifier = submitted(desk, act_of(own, APPLICANT, MONDAY))
    last = datetime(2026, 12, 7, 15, 59, 59, tzinfo=UTC)  # ten working days on, 23:59:59 in Shanghai
    for now, overdue in ((last, False), (last + timedelta(seconds=1), True)):
        found = views.application(desk, act_of(own, STEWARD, now), identifier)["deadline"]
        assert (found["due"], found["overdue"]) == ("2026-12-07", overdue)


def test_dispute_over_silence_opens_the_day_after_the_last(own: RunningNode, desk: Desk) -> None:
    identifier = submitted(desk, act_of(own, APPLICANT, MONDAY))
    last = datetime(2026, 12, 7, 15, 59, 59, tzinfo=UTC)
    with pytest.raises(Refusal) as error:
        disputes.begin(desk, act_of(own, APPLICANT, last), identifier, "Nobody answered.")
    assert error.value.slug == "conflict"
    disputes.begin(desk, act_of(own, APPLICANT, last + timedelta(seconds=1)), identifier, "Nobody answered.")


def test_clock_of_a_reopened_application_begins_at_the_ruling(own: RunningNode, desk: Desk) -> None:
    identifier = submitted(desk, act_of(own, APPLICANT, MONDAY))
    verdict = {"decision": "refuse", "reason": "No duty of yours."}
    applications.decide(desk, act_of(own, STEWARD, MONDAY), identifier, verdict)
    dispute = orjson.loads(disputes.begin(desk, act_of(own, APPLICANT, MONDAY), identifier, "By law."))["id"]
    month = MONDAY + timedelta(days=28)  # 21 December, a Monday
    for step in ({"step": "coordination"}, {"step": "ruling", "outcome": "for-consumer"}):
        disputes.proceed(desk, act_of(own, "hz-data-bureau", month), dispute, {"note": "Heard.", **step})
    found = views.application(desk, act_of(own, STEWARD, month), identifier)["deadline"]
    assert (found["days_left"], found["overdue"]) == (10, False)
    assert found["due"] > "2027-01-03"


def test_agreement_expires_at_its_second_and_not_before(own: RunningNode, desk: Desk) -> None:
    last = day_of(datetime.now(UTC)) + timedelta(days=30)
    identifier = Parties(own).active(until=last.isoformat())
    end = datetime.combine(last + timedelta(days=1), time(), CHINA)
    agreements.expire_due(desk, end - timedelta(seconds=1))
    assert Parties(own).agreement(identifier)["state"] == "active"
    assert agreements.expire_due(desk, end) >= 1
    assert Parties(own).agreement(identifier)["state"] == "expired"
    assert agreements.expire_due(desk, end) == 0


@pytest.mark.parametrize(
    ("name", "scopes", "rule"),
    [
        ("hz-data-bureau", {"authority", "steward"}, "provider-decides"),  # sees it, and is another's steward
        ("hz-audit", {"audit", "steward"}, "provider-decides"),
    ],
)
def test_steward_who_only_sees_an_application_does_not_decide(
    own: RunningNode, desk: Desk, *, name: str, scopes: set[str], rule: str
) -> None:
    identifier = submitted(desk, act_of(own, APPLICANT, MONDAY))
    departments = desk.departments.with_registered(())
    client = replace(departments.clients[name], roles=departments.clients[name].roles | {"steward"})
    departments._replace(departments.clients[name], client)
    act, verdict = Act(unchecked_caller(client, scopes), MONDAY, b""), {"decision": "refuse", "reason": "No duty."}
    with pytest.raises(Refusal) as error:
        applications.decide(seeing(desk, departments=departments), act, identifier, verdict)
    assert error.value.members["reasons"][0]["rule"] == rule


@pytest.mark.parametrize("name", [APPLICANT, "hz-tax-levy", "hz-audit"])
def test_consuming_system_or_auditor_never_revokes_whatever_its_token(
    own: RunningNode, desk: Desk, name: str
) -> None:
    identifier = Parties(own).drafted()
    with pytest.raises(Refusal) as error:
        agreements.revoke(desk, act_of(own, name, datetime.now(UTC)), identifier, "No more.")
    assert error.value.members["reasons"][0]["rule"] == "steward-revokes"
    assert Parties(own).agreement(identifier)["state"] == "approved"


NOTICE = 'year: 2094\nholidays: ["2094-01-01", "2094-12-01"]\nworkdays: []\nsource: "made up for tests"\n'


def test_calendar_file_of_the_node_directory_sets_the_due_date(own_node: OwnNode) -> None:
    since = datetime(2094, 11, 29, 2, 0, tzinfo=UTC)  # a Monday; Wednesday is a holiday by the notice alone
    made = own_node({"calendar/2094.yaml": lambda _: NOTICE})
    found = made.node.desk().deadline("delivery", since, since)
    assert (found["due"], found["provisional"]) == ("2094-12-07", False)


def test_calendar_file_that_is_no_notice_refuses_the_directory() -> None:
    files = {**example_directory().files, "calendar/2094.yaml": b"year: 2094\n"}
    with pytest.raises(NodeFileInvalid, match=r"calendar/2094\.yaml: holidays is missing"):
        node_directory.load(files)


class Full:
    """A log on a full disk."""

    last_index = -1

    def append(self, _entry: Any) -> int:
        raise NotWritten("OperationalError")


def on_a_full_disk(desk: Desk) -> Desk:
    return replace(desk, recorder=replace(desk.recorder, sequencer=Full()))  # type: ignore[arg-type]


def step_of(own: RunningNode, record: str, change: Any) -> Taken:
    step = Step(
        id=record,
        at=MONDAY,
        kind="application",
        state="submitted",
        about="none",
        document={"application": "none"},
        caller=act_of(own, APPLICANT, MONDAY).caller,
        change=change,
    )
    return Taken(step, {"id": "none", "state": "submitted"})


def test_change_that_is_refused_leaves_no_record_and_frees_the_key(own: RunningNode, desk: Desk) -> None:
    def refuse(_connection: Connection, _place: Place) -> None:
        raise Refusal("conflict", "Not now.")

    act, before = replace(act_of(own, APPLICANT, MONDAY), key="a-key-of-its-own"), size(own)
    for _ in range(2):
        with pytest.raises(Refusal) as error:
            desk.take(act, lambda record: step_of(own, record, refuse))
        # The second time too: an unfinished claim would say that the first request is still running.
        assert error.value.slug == "conflict"
    assert size(own) == before


def test_step_that_was_overtaken_is_made_anew_and_given_up_at_last(own: RunningNode, desk: Desk) -> None:
    calls = 0

    def moved(_connection: Connection, _place: Place) -> None:
        raise Moved

    def make(record: str) -> Taken:
        nonlocal calls
        calls += 1
        return step_of(own, record, moved)

    with pytest.raises(Moved):
        desk.take(act_of(own, APPLICANT, MONDAY), make)
    assert calls == TRIES


class Overtaken:
    """The node's recorder, with another step taken between the reading and the writing of the first one."""

    def __init__(self, desk: Desk, first: Callable[[], object]) -> None:
        self._recorder, self._first = desk.recorder, [first]

    def record_step(self, step: Step) -> str:
        while self._first:
            self._first.pop()()
        return self._recorder.record_step(step)


def overtaken(desk: Desk, first: Callable[[], object]) -> Desk:
    return replace(desk, recorder=Overtaken(desk, first))  # type: ignore[arg-type]


def test_dispute_opened_between_reading_and_writing_another_leaves_one(own: RunningNode, desk: Desk) -> None:
    identifier = submitted(desk, act_of(own, APPLICANT, MONDAY))
    act, late = act_of(own, APPLICANT, MONDAY + timedelta(days=60)), "Nobody answered."
    slow = overtaken(desk, lambda: disputes.begin(desk, act, identifier, late))
    with pytest.raises(Refusal) as error:
        disputes.begin(slow, act, identifier, late)
    assert error.value.slug == "conflict"
    assert len(views.application(desk, act, identifier)["disputes"]) == 1


def test_application_approved_between_reading_and_writing_is_not_disputed(own: RunningNode, desk: Desk) -> None:
    identifier = submitted(desk, act_of(own, APPLICANT, MONDAY))
    month = MONDAY + timedelta(days=60)
    conditions = {"security_agreement": True, "fold": True, "human_review": True, "budget": {"bits": 200}}
    verdict = {"decision": "approve", "conditions": conditions}
    slow = overtaken(desk, lambda: applications.decide(desk, act_of(own, STEWARD, month), identifier, verdict))
    with pytest.raises(Refusal) as error:
        disputes.begin(slow, act_of(own, APPLICANT, month), identifier, "Nobody answered.")
    assert error.value.slug == "conflict"
    assert views.application(desk, act_of(own, STEWARD, month), identifier)["disputes"] == []


def test_application_reopened_twice_between_reading_and_writing_is_decided_on_what_it_is_now(
    own: RunningNode, desk: Desk
) -> None:
    """The state is `reopened` as it was read, and the case another one: the refusal is made anew."""
    identifier = submitted(desk, act_of(own, APPLICANT, MONDAY))
    refusal = {"decision": "refuse", "reason": "The duty named does not need this."}
    steward, applicant = act_of(own, STEWARD, MONDAY), act_of(own, APPLICANT, MONDAY)

    def reopened() -> None:
        applications.decide(desk, steward, identifier, refusal)
        begun = orjson.loads(disputes.begin(desk, applicant, identifier, "It does."))
        disputes.proceed(desk, steward, begun["id"], {"step": "settlement", "note": "It may."})

    reopened()
    tried: list[Step] = []

    class Counting(Overtaken):
        def record_step(self, step: Step) -> str:
            tried.append(step)
            return super().record_step(step)

    slow = replace(desk, recorder=Counting(desk, reopened))  # type: ignore[arg-type]
    applications.decide(slow, steward, identifier, refusal)
    assert len(tried) == 2, "the first was made of what had moved"


def test_agreement_revoked_between_reading_and_writing_is_not_made_active(own: RunningNode, desk: Desk) -> None:
    parties, now = Parties(own), datetime.now(UTC)
    identifier = parties.drafted()
    parties.taken(parties.sign(identifier, STEWARD, "hz-tax"))
    signature = parties.signature(identifier, "hz-hrss")
    revoker = act_of(own, STEWARD, now)
    slow = overtaken(desk, lambda: agreements.revoke(desk, revoker, identifier, "A mistake in it."))
    with pytest.raises(Refusal) as error:
        agreements.sign(slow, act_of(own, APPLICANT, now), identifier, signature)
    assert error.value.slug == "conflict"
    assert parties.agreement(identifier)["state"] == "revoked"


def test_what_ran_out_while_the_node_was_down_is_recorded_at_its_start(ground: Ground, tmp_path: Path) -> None:
    first = running.start(ground, tmp_path)
    identifier = Parties(first).active()
    with first.node.store.writing() as connection:
        row = tables.agreement
        connection.execute(update(row).where(row.c.id == identifier).values(valid_until=1_700_000_000))
    first.close()
    second = running.start(ground, tmp_path)
    assert [row.kind for row in second.rows(agreement=identifier, state="expired")] == ["agreement"]
    second.close()


def test_step_whose_record_cannot_be_written_changes_nothing(own: RunningNode, desk: Desk) -> None:
    broken = on_a_full_disk(desk)
    identifier = submitted(desk, act_of(own, APPLICANT, MONDAY))
    with pytest.raises(Refusal) as error:
        applications.decide(
            broken, act_of(own, STEWARD, MONDAY), identifier, {"decision": "refuse", "reason": "No duty of yours."}
        )
    assert error.value.slug == "record-not-written"
    with own.node.store.reading() as connection:
        row: Any = ledger.application(connection, identifier)
    assert row.state == "submitted"
    now = datetime.now(UTC)
    identifier = Parties(own).active(until=day_of(now + timedelta(days=40)).isoformat())
    assert agreements.expire_due(broken, now + timedelta(days=60)) == 0
    assert Parties(own).agreement(identifier)["state"] == "active"
    assert agreements.expire_due(desk, now + timedelta(days=60)) >= 1


def test_last_signature_after_the_end_makes_nothing_active_even_if_the_end_is_not_recorded_yet(
    own: RunningNode, desk: Desk
) -> None:
    parties, now = Parties(own), datetime.now(UTC)
    identifier = parties.drafted(until=day_of(now + timedelta(days=3)).isoformat())
    parties.taken(parties.sign(identifier, STEWARD, "hz-tax"))
    signature = parties.signature(identifier, "hz-hrss")
    broken = on_a_full_disk(desk)
    with pytest.raises(Refusal) as error:
        agreements.sign(broken, act_of(own, APPLICANT, now + timedelta(days=9)), identifier, signature)
    assert error.value.slug == "conflict"


def test_agreement_that_no_longer_fits_the_catalogue_is_not_made_active(own: RunningNode, desk: Desk) -> None:
    """The catalogue may change between approval and signature: what is signed then would mean something else."""
    parties = Parties(own)
    identifier = parties.drafted()
    parties.taken(parties.sign(identifier, STEWARD, "hz-tax"))
    signature = parties.signature(identifier, "hz-hrss")
    less = type(desk.catalogue)([], [])
    with pytest.raises(Refusal) as error:
        agreements.sign(
            seeing(desk, directory=replace(desk.current.registry.directory, catalogue=less)),
            act_of(own, APPLICANT, datetime.now(UTC)),
            identifier,
            signature,
        )
    assert error.value.slug == "conflict"
    assert parties.agreement(identifier)["state"] == "approved"


def test_signature_under_a_key_withdrawn_since_has_to_be_given_anew(own: RunningNode, desk: Desk) -> None:
    parties = Parties(own)
    identifier = parties.drafted()
    parties.taken(parties.sign(identifier, STEWARD, "hz-tax"))
    signature = parties.signature(identifier, "hz-hrss")
    departments = desk.departments.with_registered(())
    departments.all = {**desk.departments.all, "hz-tax": replace(desk.departments.all["hz-tax"], signing_keys={})}
    later = seeing(desk, departments=departments)
    reply = orjson.loads(agreements.sign(later, act_of(own, APPLICANT, datetime.now(UTC)), identifier, signature))
    assert (reply["state"], reply["awaiting"]) == ("approved", ["hz-tax"])
