"""Disputes over HTTP: negotiation, coordination, joint review, ruling; each step recorded, none that grants."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.nodes.problems import pointers, problem
from tests.nodes.running import RunningNode
from tests.nodes.steps import APPLICANT, AUTHORITY, CONSUMER_STEWARD, STEWARD, Parties, age

PATH = "/v1/disputes"
NOTE = "Both sides were heard."


def begin(parties: Parties, application: str, name: str = APPLICANT, **headers: str) -> TestResponse:
    body = {"application": application, "grounds": "The duty is in the law cited."}
    return parties.send(name, PATH, body, **headers)


def step(parties: Parties, dispute: str, word: str, name: str = AUTHORITY, **more: Any) -> TestResponse:
    return parties.send(name, f"{PATH}/{dispute}/steps", {"step": word, "note": NOTE, **more})


def refused(parties: Parties) -> str:
    identifier: str = parties.apply()["id"]
    parties.refuse(identifier)
    return identifier


def opened(parties: Parties, application: str | None = None) -> str:
    reply = parties.taken(begin(parties, application or refused(parties)), 201)
    assert reply["state"] == "negotiation"
    identifier: str = reply["id"]
    return identifier


def state_of(parties: Parties, application: str) -> Any:
    return parties.get(STEWARD, f"/v1/applications/{application}").get_json()


def test_ruling_for_the_consumer_opens_the_application_again_and_grants_nothing(parties: Parties) -> None:
    application = refused(parties)
    dispute = opened(parties, application)
    for word, state in (("coordination", "coordination"), ("joint-review", "joint-review")):
        assert parties.taken(step(parties, dispute, word))["state"] == state
    reply = parties.taken(step(parties, dispute, "ruling", outcome="for-consumer"))
    assert (reply["state"], reply["application"]) == ("ruled", application)
    assert (reply["deadline"]["clock"], reply["deadline"]["days_left"]) == ("decision", 10)
    found = state_of(parties, application)
    assert (found["state"], found["agreement"]) == ("reopened", None)
    assert found["deadline"]["days_left"] == 10
    assert found["disputes"] == [dispute]
    history = ["submitted", "refused", "negotiation", "coordination", "joint-review", "ruled-for-consumer"]
    assert parties.states(f"/v1/applications/{application}") == history
    # The provider still decides, and may now approve.
    assert parties.agreement(parties.approve(application)["agreement"])["state"] == "approved"


def test_ruling_for_the_provider_leaves_the_refusal(parties: Parties) -> None:
    application = refused(parties)
    dispute = opened(parties, application)
    parties.taken(step(parties, dispute, "coordination"))
    reply = parties.taken(step(parties, dispute, "ruling", outcome="for-provider"))
    assert "deadline" not in reply
    assert state_of(parties, application)["state"] == "refused"
    assert parties.states(f"{PATH}/{dispute}")[-1] == "ruled-for-provider"


def test_provider_that_gives_way_opens_the_application_again(parties: Parties) -> None:
    application = refused(parties)
    dispute = opened(parties, application)
    parties.taken(step(parties, dispute, "negotiation", STEWARD))
    assert parties.taken(step(parties, dispute, "settlement", STEWARD))["state"] == "settled"
    assert state_of(parties, application)["state"] == "reopened"


def test_consumer_withdraws_its_dispute(parties: Parties) -> None:
    application = refused(parties)
    dispute = opened(parties, application)
    assert parties.taken(step(parties, dispute, "withdrawal", APPLICANT))["state"] == "withdrawn"
    assert state_of(parties, application)["state"] == "refused"
    problem(step(parties, dispute, "coordination"), "conflict")
    # Nothing is left open, so another may be opened.
    opened(parties, application)


def test_overdue_application_can_be_disputed_and_its_clock_starts_anew(own: RunningNode, parties: Parties) -> None:
    application = parties.apply()["id"]
    problem(begin(parties, application), "conflict")
    age(own, application, days=60)
    assert state_of(parties, application)["deadline"]["overdue"]
    dispute = opened(parties, application)
    parties.taken(step(parties, dispute, "coordination"))
    parties.taken(step(parties, dispute, "ruling", outcome="for-consumer"))
    found = state_of(parties, application)
    assert (found["state"], found["deadline"]["overdue"]) == ("reopened", False)


def test_ruling_after_the_provider_approved_opens_nothing(own: RunningNode, parties: Parties) -> None:
    application = parties.apply()["id"]
    age(own, application, days=60)
    dispute = opened(parties, application)
    agreement = parties.approve(application)["agreement"]
    parties.taken(step(parties, dispute, "coordination"))
    reply = parties.taken(step(parties, dispute, "ruling", outcome="for-consumer"))
    assert "deadline" not in reply
    assert (state_of(parties, application)["state"], state_of(parties, application)["agreement"]) == (
        "approved",
        agreement,
    )


def test_approved_application_cannot_be_disputed(parties: Parties) -> None:
    application = parties.apply()["id"]
    parties.approve(application)
    problem(begin(parties, application), "conflict")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        (STEWARD, "not-permitted"),
        (AUTHORITY, "not-permitted"),
        ("hz-outsider", "not-found"),
        ("hz-tax-levy", "not-found"),
    ],
)
def test_dispute_by_anybody_but_the_applicants_department_is_refused(parties: Parties, name: str, slug: str) -> None:
    document = problem(begin(parties, refused(parties), name), slug)
    if slug == "not-permitted":
        assert document["reasons"][0]["rule"] == "applicant-disputes"


def test_second_open_dispute_over_one_application_conflicts(parties: Parties) -> None:
    application = refused(parties)
    opened(parties, application)
    problem(begin(parties, application, CONSUMER_STEWARD), "conflict")


def test_disputes_opened_at_once_are_one(parties: Parties) -> None:
    application = refused(parties)
    parties.client(APPLICANT).token()
    with ThreadPoolExecutor(6) as pool:
        codes = sorted(response.status_code for response in pool.map(partial(begin, parties), [application] * 6))
    assert codes == [201, 409, 409, 409, 409, 409]


@pytest.mark.parametrize(
    ("word", "name", "slug"),
    [
        ("joint-review", AUTHORITY, "conflict"),
        ("ruling", AUTHORITY, "conflict"),
        ("coordination", APPLICANT, "not-permitted"),
        ("coordination", STEWARD, "not-permitted"),
        ("ruling", STEWARD, "not-permitted"),
        ("settlement", APPLICANT, "not-permitted"),
        ("settlement", AUTHORITY, "not-permitted"),
        ("withdrawal", STEWARD, "not-permitted"),
        ("negotiation", AUTHORITY, "not-permitted"),
        ("coordination", "hz-audit", "not-permitted"),
        ("coordination", "hz-market-steward", "not-found"),
        ("withdrawal", "hz-outsider", "not-found"),
        ("withdrawal", "hz-tax-levy", "not-found"),
    ],
)
def test_step_out_of_turn_or_by_another_side_is_refused(parties: Parties, word: str, name: str, slug: str) -> None:
    dispute = opened(parties)
    more = {"outcome": "for-consumer"} if word == "ruling" else {}
    document = problem(step(parties, dispute, word, name, **more), slug)
    if slug == "not-permitted":
        assert document["reasons"][0]["basis"] == ["海珠 第三十三条", "四川 第二十五条"]
    assert parties.states(f"{PATH}/{dispute}") == ["negotiation"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"step": "ruling", "note": NOTE}, "/outcome"),
        ({"step": "joint-review", "note": NOTE, "outcome": "for-consumer"}, "/outcome"),
        ({"step": "ruling", "note": NOTE, "outcome": "nobody"}, "/outcome"),
        ({"step": "joint-review", "note": " "}, "/note"),
        ({"step": "joint-review"}, "/note"),
        ({"step": "joint-review", "note": "about 339881197803120013"}, "/note"),
        ({"step": "duel", "note": NOTE}, "/step"),
    ],
)
def test_step_that_does_not_fit_is_refused_by_pointer(parties: Parties, body: dict[str, Any], pointer: str) -> None:
    dispute = opened(parties)
    parties.taken(step(parties, dispute, "coordination"))
    assert pointers(parties.send(AUTHORITY, f"{PATH}/{dispute}/steps", body)).keys() == {pointer}
    assert len(parties.states(f"{PATH}/{dispute}")) == 2


def test_grounds_name_nobody(parties: Parties) -> None:
    body = {"application": refused(parties), "grounds": "about 339881197803120013"}
    assert pointers(parties.send(APPLICANT, PATH, body)).keys() == {"/grounds"}


def test_ruling_sent_twice_under_one_key_is_given_once(parties: Parties) -> None:
    dispute = opened(parties)
    parties.taken(step(parties, dispute, "coordination"))
    body = {"step": "ruling", "note": NOTE, "outcome": "for-consumer"}
    sent = [
        parties.send(AUTHORITY, f"{PATH}/{dispute}/steps", body, Idempotency_Key=f"ruling-{dispute}")
        for _ in range(2)
    ]
    assert sent[0].data == sent[1].data
    assert parties.states(f"{PATH}/{dispute}").count("ruled-for-consumer") == 1


def test_dispute_is_listed_to_both_sides_and_the_authority_only(parties: Parties) -> None:
    dispute = opened(parties)
    for name, seen in (
        (APPLICANT, True),
        (STEWARD, True),
        (AUTHORITY, True),
        ("hz-audit", True),
        ("hz-tax-levy", False),
        ("hz-outsider", False),
        ("hz-market-steward", False),
    ):
        listed = parties.get(name, f"{PATH}?page_size=200&state=negotiation").get_json()["items"]
        assert (dispute in {item["id"] for item in listed}) is seen, name
        assert parties.get(name, f"{PATH}/{dispute}").status_code == (200 if seen else 404)
