"""Steps about clients that another step overtakes between reading and writing: each is made anew, or refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import pytest

from app.life_cycle import clients, proposals
from app.life_cycle.desk import Act, Desk
from app.log.sequencer import NotWritten
from app.refusals import Refusal
from app.steps import Step
from tests.nodes.office import APPROVE, FIRST, REASON, SECOND, Office, changed, document, open_office
from tests.nodes.running import Ground
from tests.nodes.steps import act_of, epoch

NAMES = (f"overtaken-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with open_office(ground, tmp_path_factory.mktemp("office")) as made:
        yield made


class Overtaken:
    """The node's recorder, with another step taken between the reading and the writing of the first one."""

    def __init__(self, desk: Desk, first: Callable[[], object]) -> None:
        self._recorder, self._first = desk.recorder, [first]

    def record_step(self, step: Step) -> str:
        while self._first:
            self._first.pop()()
        return self._recorder.record_step(step)


def overtaken(office: Office, first: Callable[[], object]) -> Desk:
    desk = office.node.node.desk()
    return replace(desk, recorder=Overtaken(desk, first))  # type: ignore[arg-type]


def act(office: Office, name: str = FIRST) -> Act:
    """A step of an administrator, whose token grants what its roles did when it was issued."""
    return act_of(office.node, name, datetime.now(UTC))


def wanted(name: str, **changes: Any) -> dict[str, Any]:
    return {"signing_keys": [], **document(name, **changes)}


def refused(call: Callable[[], object], slug: str) -> str:
    with pytest.raises(Refusal) as error:
        call()
    assert error.value.slug == slug
    return error.value.detail


def officer(office: Office) -> str:
    """A third administrator."""
    return office.register(next(NAMES), department="hz-ops", roles=["security-admin"])


def test_administrator_who_loses_the_role_meanwhile_locks_nobody_out(office: Office) -> None:
    name, target = officer(office), office.register(next(NAMES))
    act_of_third = act(office, name)
    slow = overtaken(office, lambda: office.change(name, roles=["consumer"]))
    refused(lambda: clients.suspend(slow, act_of_third, target, REASON["reason"]), "conflict")
    assert office.client(target)["state"] == "active"


def test_administrator_who_is_locked_out_meanwhile_approves_nothing(office: Office) -> None:
    name, proposal = officer(office), office.propose(next(NAMES))
    act_of_third = act(office, name)
    slow = overtaken(office, lambda: office.suspend(name))
    call = partial(proposals.decide, slow, act_of_third, proposal, APPROVE)
    refused(call, "certificate-not-trusted")
    assert office.read(f"/v1/client-changes/{proposal}")["state"] == "proposed"


def test_certificate_that_is_locked_out_meanwhile_takes_no_step(office: Office) -> None:
    name, target = officer(office), office.register(next(NAMES))
    act_of_third = act(office, name)
    thumbprint = "B" * 42 + "A"
    caller = replace(act_of_third.caller, presented=replace(act_of_third.caller.presented, thumbprint=thumbprint))
    slow = overtaken(office, lambda: office.taken(office.lock(name, thumbprint)))
    late = replace(act_of_third, caller=caller)
    refused(lambda: clients.suspend(slow, late, target, REASON["reason"]), "certificate-not-trusted")
    assert office.client(target)["state"] == "active"


def test_two_administrators_who_lock_each_other_out_leave_one(ground: Ground, tmp_path: Any) -> None:
    with open_office(ground, tmp_path) as office:
        mine, theirs = act(office, FIRST), act(office, SECOND)
        desk = office.node.node.desk()
        slow = overtaken(office, lambda: clients.suspend(desk, theirs, FIRST, REASON["reason"]))
        refused(lambda: clients.suspend(slow, mine, SECOND, REASON["reason"]), "certificate-not-trusted")
        found = {name: office.read(f"/v1/clients/{name}", SECOND)["state"] for name in (FIRST, SECOND)}
        assert found == {FIRST: "suspended", SECOND: "active"}


def test_last_administrator_does_not_leave_while_the_other_is_locked_out(ground: Ground, tmp_path: Any) -> None:
    """It was one of two when it was read."""
    with open_office(ground, tmp_path) as office:
        mine = act(office)
        slow = overtaken(office, lambda: office.suspend(SECOND))
        assert "last" in refused(lambda: clients.suspend(slow, mine, FIRST, REASON["reason"]), "conflict")


def test_client_suspended_meanwhile_is_not_suspended_twice(office: Office) -> None:
    name = office.register(next(NAMES))
    mine = act(office)
    slow = overtaken(office, lambda: office.suspend(name, by=SECOND))
    refused(lambda: clients.suspend(slow, mine, name, REASON["reason"]), "conflict")
    assert office.states(name).count("suspended") == 1


def test_certificate_suspended_meanwhile_is_not_suspended_twice(office: Office) -> None:
    name, mine = office.register(next(NAMES)), act(office)
    slow = overtaken(office, lambda: office.taken(office.lock(name, "C" * 42 + "A", by=SECOND)))
    body = {"certificate": "C" * 42 + "A", **REASON}
    refused(lambda: clients.suspend_certificate(slow, mine, name, body), "conflict")
    assert len(office.client(name)["suspended_certificates"]) == 1


def test_proposal_decided_meanwhile_is_not_decided_twice(office: Office) -> None:
    name, third = next(NAMES), officer(office)
    late, proposal = act(office, third), office.propose(name)
    slow = overtaken(office, lambda: office.approve(proposal))
    before = epoch(office.node)
    refused(lambda: proposals.decide(slow, late, proposal, APPROVE), "conflict")
    assert epoch(office.node) == before + 1
    # A rejection moves no epoch, and is found all the same.
    again = office.propose(next(NAMES))
    slow = overtaken(office, lambda: office.decide(again, {"decision": "reject", "reason": "No."}))
    refused(lambda: proposals.decide(slow, late, again, APPROVE), "conflict")
    assert office.read(f"/v1/client-changes/{again}")["state"] == "rejected"


def test_id_registered_meanwhile_is_not_proposed(office: Office) -> None:
    name, mine = next(NAMES), act(office)
    slow = overtaken(office, lambda: office.register(name))
    refused(lambda: proposals.register(slow, mine, wanted(name)), "conflict")


def test_change_proposed_of_what_was_changed_meanwhile_is_about_what_is_there_now(office: Office) -> None:
    name, mine = office.register(next(NAMES)), act(office)
    slow = overtaken(office, lambda: office.change(name, roles=["consumer", "steward"]))
    body = {"signing_keys": [], **changed(name, title={"en": "Other", "zh": "其他"})}
    reply = orjson.loads(proposals.change(slow, mine, name, body))
    said = office.read(f"/v1/client-changes/{reply['id']}")["document"]
    assert said["of"] == office.client(name)["digest"]
    office.approve(reply["id"])


class Full:
    """A log on a full disk."""

    last_index = -1

    def append(self, _entry: Any) -> int:
        raise NotWritten("OperationalError")


def test_step_whose_record_cannot_be_written_changes_nothing(office: Office) -> None:
    desk = office.node.node.desk()
    broken = replace(desk, recorder=replace(desk.recorder, sequencer=Full()))  # type: ignore[arg-type]
    name, other = office.register(next(NAMES)), next(NAMES)
    proposal, mine, theirs = office.propose(other), act(office), act(office, SECOND)
    calls: list[Callable[[], object]] = [
        lambda: clients.suspend(broken, mine, name, REASON["reason"]),
        lambda: clients.suspend_certificate(broken, mine, name, {"certificate": "D" * 42 + "A", **REASON}),
        lambda: proposals.register(broken, mine, wanted(next(NAMES))),
        lambda: proposals.decide(broken, theirs, proposal, APPROVE),
    ]
    for call in calls:
        refused(call, "record-not-written")
    found = office.client(name)
    assert (found["state"], found["suspended_certificates"]) == ("active", [])
    assert office.read(f"/v1/client-changes/{proposal}")["state"] == "proposed"
    office.approve(proposal)
