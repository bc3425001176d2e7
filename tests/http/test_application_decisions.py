"""Decisions on applications over HTTP: who takes them, what approval drafts, and that silence grants nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from app.log import tables
from evidence.canonical import canonical
from tests.nodes.problems import pointers, problem
from tests.nodes.running import RunningNode
from tests.nodes.steps import (
    APPLICANT,
    CONDITIONS,
    STEWARD,
    Parties,
    age,
)

PATH = "/v1/applications"


def test_approval_drafts_the_canonical_agreement_and_permits_nothing(parties: Parties) -> None:
    wanted: dict[str, Any] = {"purposes": ["benefit-audit"], "users": ["hz-hrss-review"], "case": "^BA-[0-9]{6}$"}
    identifier = parties.apply(**wanted)["id"]
    conditions: dict[str, Any] = {
        "fold": True,
        "human_review": True,
        "quota": {"count": 100, "per": "day"},
        "budget": {"bits": 40, "renews": "year"},
        "hours": {"weekdays": [1, 2, 3, 4, 5], "from": "08:00", "until": "18:00"},
        "networks": ["127.0.0.0/8"],
        "freshness": "7d",
        "obligations": ["notify-provider"],
        "operator": "^[a-z.]{3,20}$",
        "valid_from": "2026-12-01",
    }
    reply = parties.approve(identifier, **conditions)
    assert reply["deadline"]["clock"] == "delivery"
    assert reply["deadline"]["days_left"] == 5
    agreement = parties.agreement(reply["agreement"])
    document = agreement["document"]
    assert agreement["canonical"].encode() == canonical(document)
    assert agreement["digest"] == reply["digest"]
    assert document == {
        "agreement": reply["agreement"],
        "kind": "agreement",
        "service": "employment-status",
        "provider": "hz-tax",
        "consumer": "hz-hrss",
        "clients": ["hz-hrss-review"],
        "purposes": ["benefit-audit"],
        "legal_basis": "失业保险条例 第十五条",
        "attributes": ["employed_on"],
        "disclosure": {"level": "overall", "masked": []},
        "security_agreement": True,
        "case": "^BA-[0-9]{6}$",
        "valid": {"from": "2026-12-01T00:00:00+08:00", "until": "2032-01-01T00:00:00+08:00"},
        **{name: value for name, value in conditions.items() if name != "valid_from"},
    }
    assert (agreement["state"], agreement["signatures"]) == ("approved", {})
    assert agreement["awaiting"] == ["hz-tax", "hz-hrss"]
    assert parties.states(f"{PATH}/{identifier}") == ["submitted", "approved"]
    asked = parties.client("hz-hrss-review").ask(
        "employment-status",
        {
            "purpose": "benefit-audit",
            "case": "BA-000001",
            "operator": "demo.operator",
            "subject": {"id_number": "339881197803120013"},
            "confirm": {"name": "沈建国"},
            "declared": {"employed_on": "2026-09-15"},
        },
    )
    problem(asked, "not-permitted")


def test_refusal_states_its_reason(parties: Parties) -> None:
    identifier = parties.apply()["id"]
    path = f"{PATH}/{identifier}/decision"
    for verdict in ({"decision": "refuse"}, {"decision": "refuse", "reason": " "}):
        assert "/reason" in pointers(parties.send(STEWARD, path, verdict))
    both = {"decision": "refuse", "reason": "No duty of yours.", "conditions": CONDITIONS}
    assert "/conditions" in pointers(parties.send(STEWARD, path, both))
    named = {"decision": "refuse", "reason": "see 339881197803120013"}
    assert "/reason" in pointers(parties.send(STEWARD, path, named))
    parties.refuse(identifier)
    found = parties.get(APPLICANT, f"{PATH}/{identifier}").get_json()
    assert (found["state"], found["deadline"], found["agreement"]) == ("refused", None, None)
    assert found["steps"][-1]["document"]["reason"] == "The duty named does not need this."


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("hz-market-steward", "not-found"),  # a stranger
        ("hz-hrss-steward", "not-permitted"),  # the applicant's own department
        ("hz-hrss-benefits", "insufficient-scope"),
        ("hz-data-bureau", "insufficient-scope"),
        ("hz-tax-levy", "insufficient-scope"),
    ],
)
def test_decision_by_anybody_but_the_providers_steward_is_refused(parties: Parties, name: str, slug: str) -> None:
    identifier = parties.apply()["id"]
    verdict = {"decision": "approve", "conditions": CONDITIONS}
    document = problem(parties.send(name, f"{PATH}/{identifier}/decision", verdict), slug)
    if slug == "not-permitted":
        assert [reason["rule"] for reason in document["reasons"]] == ["own-application"]
        assert document["reasons"][0]["basis"] == ["四川 第二十三条", "山东 第二十九条"]
    assert parties.get(APPLICANT, f"{PATH}/{identifier}").get_json()["state"] == "submitted"


def test_second_decision_conflicts(parties: Parties) -> None:
    for decide in (parties.approve, parties.refuse):
        identifier = parties.apply()["id"]
        decide(identifier)
        for verdict in ({"decision": "approve", "conditions": CONDITIONS}, {"decision": "refuse", "reason": "No."}):
            problem(parties.send(STEWARD, f"{PATH}/{identifier}/decision", verdict), "conflict")


def test_two_stewards_deciding_at_once_decide_once(parties: Parties) -> None:
    parties.client(STEWARD).token()
    for _ in range(5):
        identifier = parties.apply()["id"]
        send = partial(parties.send, STEWARD, f"{PATH}/{identifier}/decision")
        verdicts = [{"decision": "approve", "conditions": CONDITIONS}, {"decision": "refuse", "reason": "No."}] * 3
        with ThreadPoolExecutor(6) as pool:
            codes = sorted(response.status_code for response in pool.map(send, verdicts))
        assert codes == [200, 409, 409, 409, 409, 409]
        assert len(parties.states(f"{PATH}/{identifier}")) == 2


@pytest.mark.parametrize(
    ("conditions", "pointer"),
    [
        ({"security_agreement": False}, "/conditions/security_agreement"),
        ({"security_agreement": "yes"}, "/conditions/security_agreement"),
        ({"fold": 1}, "/conditions/fold"),
        ({"disclosure": {"level": "per_attribute", "masked": []}}, "/conditions/disclosure/level"),
        ({"disclosure": {"level": "overall", "masked": ["employer"]}}, "/conditions/disclosure/masked/0"),
        ({"quota": {"count": 0, "per": "day"}}, "/conditions/quota/count"),
        ({"quota": {"count": 5, "per": "hour"}}, "/conditions/quota/per"),
        ({"budget": {"bits": 1.5}}, "/conditions/budget/bits"),
        ({"hours": {"weekdays": [1], "from": "18:00", "until": "08:00"}}, "/conditions/hours"),
        ({"hours": {"weekdays": [8], "from": "08:00", "until": "18:00"}}, "/conditions/hours/weekdays/0"),
        ({"hours": {"weekdays": [1], "from": "8", "until": "18:00"}}, "/conditions/hours/from"),
        ({"networks": ["10.0.0.1/8"]}, "/conditions/networks/0"),
        ({"freshness": "soon"}, "/conditions/freshness"),
        ({"obligations": ["sing"]}, "/conditions/obligations/0"),
        ({"case": "(a*)*"}, "/conditions"),
        ({"valid_from": "2040-01-01"}, "/conditions/valid_from"),
        ({"batch": {"rows": 1}}, "/conditions/batch/rows"),
        ({"attributes": ["employer"]}, "/conditions/attributes"),
    ],
)
def test_conditions_that_widen_or_cannot_be_are_refused(
    parties: Parties, conditions: dict[str, Any], pointer: str
) -> None:
    identifier = parties.apply()["id"]
    verdict = {"decision": "approve", "conditions": CONDITIONS | conditions}
    assert pointer in pointers(parties.send(STEWARD, f"{PATH}/{identifier}/decision", verdict))
    assert parties.states(f"{PATH}/{identifier}") == ["submitted"]


def test_approval_without_conditions_is_refused(parties: Parties) -> None:
    path = f"{PATH}/{parties.apply()['id']}/decision"
    assert "/conditions" in pointers(parties.send(STEWARD, path, {"decision": "approve"}))


def test_provider_may_narrow_what_was_applied_for(parties: Parties) -> None:
    wanted = {
        "attributes": ["employed_on", "employer"],
        "disclosure": {"level": "per_attribute", "masked": ["employer"]},
        "mode": "batch",
        "batch": {"rows": 20_000},
    }
    narrowed = {"disclosure": {"level": "overall", "masked": []}, "batch": {"rows": 500}}
    agreement = parties.agreement(parties.drafted(narrowed, **wanted))["document"]
    assert (agreement["disclosure"], agreement["batch"]) == (narrowed["disclosure"], narrowed["batch"])


def test_silence_grants_nothing_and_shows_as_overdue(own: RunningNode, parties: Parties) -> None:
    identifier = parties.apply()["id"]
    age(own, identifier, days=60)
    found = parties.get(STEWARD, f"{PATH}/{identifier}").get_json()
    assert found["state"] == "submitted"
    assert (found["deadline"]["overdue"], found["deadline"]["days_left"]) == (True, 0)
    listed = parties.get(STEWARD, "/v1/deadlines").get_json()["items"]
    assert next(item for item in listed if item["id"] == identifier)["overdue"]
    # Late, but the provider still decides.
    parties.approve(identifier)


def test_deadlines_list_what_is_open_on_either_side_and_nothing_else(parties: Parties) -> None:
    waiting, undelivered = parties.apply()["id"], parties.drafted()
    decided, active = parties.apply()["id"], parties.active()
    parties.refuse(decided)
    for name in (STEWARD, "hz-hrss-steward", "hz-data-bureau"):
        items = parties.get(name, "/v1/deadlines").get_json()["items"]
        clocks = {item["id"]: item["clock"] for item in items}
        assert (clocks[waiting], clocks[undelivered]) == ("decision", "delivery")
        assert not {decided, active} & clocks.keys()
        assert [item["due"] for item in items] == sorted(item["due"] for item in items)
    strangers = parties.get("hz-market-steward", "/v1/deadlines").get_json()["items"]
    assert not {waiting, undelivered} & {item["id"] for item in strangers}
    problem(parties.get(APPLICANT, "/v1/deadlines"), "insufficient-scope")


def test_year_without_a_published_calendar_marks_the_due_date_provisional(own: RunningNode, parties: Parties) -> None:
    identifier = parties.apply()["id"]
    with own.node.store.writing() as connection:
        table = tables.application
        connection.execute(update(table).where(table.c.id == identifier).values(submitted_at=4_000_000_000))
    assert parties.get(STEWARD, f"{PATH}/{identifier}").get_json()["deadline"]["provisional"]
