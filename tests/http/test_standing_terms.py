"""Standing terms over HTTP: which may be, signed by the provider alone, published to everybody."""

from __future__ import annotations

from typing import Any

import pytest

from tests.nodes.problems import pointers, problem
from tests.nodes.questions import body as question_of
from tests.nodes.questions import persona
from tests.nodes.running import RunningNode
from tests.nodes.steps import (
    APPLICANT,
    AUTHORITY,
    CONDITIONS,
    Parties,
    path,
    places,
    purpose,
)


def test_standing_terms_are_published_to_everybody(parties: Parties) -> None:
    for name in ("hz-outsider", "hz-civil-dibao", "hz-market-steward"):
        listed = parties.get(name, "/v1/agreements?page_size=200").get_json()["items"]
        assert "hz-market-enterprise-basic-standing-terms" in {item["id"] for item in listed}
        assert parties.get(name, path("hz-market-enterprise-basic-standing-terms")).status_code == 200


TERMS = {
    "service": "enterprise-basic",
    "legal_basis": "四川 第二十三条",
    "attributes": ["legal_representative", "status"],
    "disclosure": {"level": "per_attribute", "masked": []},
    "until": "2031-12-31",
    "conditions": CONDITIONS,
}


def standing_terms(parties: Parties, **changes: Any) -> Any:
    return parties.send("hz-market-steward", "/v1/standing-terms", {**TERMS, "purposes": [purpose()], **changes})


def test_standing_terms_are_signed_by_the_provider_alone(own: RunningNode, parties: Parties) -> None:
    word = purpose()
    reply = parties.taken(standing_terms(parties, purposes=[word]), 201)
    found = parties.agreement(reply["id"], "hz-market-steward")
    assert (found["kind"], found["awaiting"], found["consumer"]) == ("standing-terms", ["hz-market"], None)
    body = {"signature": parties.signature(reply["id"], "hz-market", "hz-market-steward")}
    problem(parties.send("hz-outsider", f"{path(reply['id'])}/signatures", body), "not-found")
    signed = parties.taken(parties.sign(reply["id"], "hz-market-steward", "hz-market"))
    assert signed["state"] == "active"
    problem(parties.send("hz-outsider", f"{path(reply['id'])}/signatures", body), "not-permitted")
    assert parties.states(path(reply["id"])) == ["approved", "active"]
    assert [row.party for row in places(own, reply["id"])] == [""]


def test_standing_terms_may_demand_signed_questions(own: RunningNode, parties: Parties) -> None:
    word = purpose()
    terms = CONDITIONS | {"request_signature": True}
    identifier = parties.taken(standing_terms(parties, purposes=[word], conditions=terms), 201)["id"]
    parties.taken(parties.sign(identifier, "hz-market-steward", "hz-market"))
    body = question_of(persona("enterprise-basic", "match")) | {"purpose": word}
    denial = problem(parties.client(APPLICANT).ask("enterprise-basic", body), "not-permitted")
    assert [reason["rule"] for reason in denial["reasons"]] == ["signature-required"]
    problem(
        parties.send(
            "hz-market-steward",
            "/v1/standing-terms",
            {**TERMS, "purposes": [word], "conditions": terms | {"request_signature": 1}},
        ),
        "invalid-request",
    )


@pytest.mark.parametrize("dropped", [False, True], ids=["draft", "dropped draft"])
def test_terms_that_were_never_signed_are_nobody_elses_to_read(parties: Parties, *, dropped: bool) -> None:
    """What a provider thinks of offering is not what it offers."""
    identifier = parties.taken(standing_terms(parties), 201)["id"]
    if dropped:
        parties.taken(parties.control(identifier, "revocation", "hz-market-steward"))
    for name, sees in (("hz-outsider", False), (APPLICANT, False), ("hz-market-steward", True), (AUTHORITY, True)):
        listed = parties.get(name, "/v1/agreements?page_size=200").get_json()["items"]
        assert (identifier in {item["id"] for item in listed}) is sees
        assert parties.get(name, path(identifier)).status_code == (200 if sees else 404)


def test_standing_terms_supersede_those_before(parties: Parties) -> None:
    word = purpose()
    old = parties.taken(standing_terms(parties, purposes=[word]), 201)["id"]
    parties.taken(parties.sign(old, "hz-market-steward", "hz-market"))
    again = parties.taken(standing_terms(parties, purposes=[word]), 201)["id"]
    problem(parties.sign(again, "hz-market-steward", "hz-market"), "conflict")
    new = parties.taken(standing_terms(parties, purposes=[word], supersedes=old), 201)["id"]
    parties.taken(parties.sign(new, "hz-market-steward", "hz-market"))
    assert parties.agreement(old, AUTHORITY)["state"] == "superseded"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"service": "employment-status"}, "/service"),
        ({"service": "business-registration", "attributes": ["role"]}, "/statutory"),
        ({"statutory": True}, "/departments"),
        ({"departments": ["hz-nobody"]}, "/departments/0"),
        ({"departments": ["hz-hrss", "hz-hrss"]}, "/departments/1"),
        ({"legal_basis": ""}, "/legal_basis"),
        ({"until": "2020-01-01"}, "/until"),
        ({"supersedes": "hz-police-person-basic-standing-terms"}, "/supersedes"),
        ({"conditions": {}}, "/conditions/security_agreement"),
        ({"conditions": {"security_agreement": False}}, "/conditions/security_agreement"),
    ],
)
def test_standing_terms_that_may_not_be_are_refused(parties: Parties, changes: dict[str, Any], pointer: str) -> None:
    assert pointer in pointers(standing_terms(parties, **changes))


def test_consumer_drafts_no_standing_terms(parties: Parties) -> None:
    problem(parties.send(APPLICANT, "/v1/standing-terms", TERMS | {"purposes": [purpose()]}), "insufficient-scope")
