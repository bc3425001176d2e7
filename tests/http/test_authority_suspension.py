"""What the authority suspended stays so, whatever both sides sign, resume, revoke or file (山东 第六条)."""

from __future__ import annotations

import pytest

from app.recording import Recorder
from app.steps import Step
from tests.http.test_reload import reload
from tests.nodes.agreements import moved
from tests.nodes.directories import AGREEMENT, BEGIN, REVISION, publish
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import OwnNode, RunningNode
from tests.nodes.steps import APPLICANT, AUTHORITY, CONSUMER_STEWARD, STEWARD, Parties, asked, path, places, purpose

RULE = "authority-resumes"
FILED = AGREEMENT.removeprefix("agreements/")


def refused(response: object) -> None:
    """Refused as what is the authority's alone."""
    document = problem(response, "not-permitted")  # type: ignore[arg-type]
    assert [item["rule"] for item in document["reasons"]] == [RULE]


def last_signature(parties: Parties, identifier: str) -> object:
    parties.taken(parties.sign(identifier, STEWARD, "hz-tax"))
    return parties.sign(identifier, APPLICANT, "hz-hrss")


@pytest.mark.parametrize("supersedes", [True, False], ids=["superseding", "beside it"])
def test_signing_anew_does_not_lift_the_suspension(own: RunningNode, parties: Parties, *, supersedes: bool) -> None:
    word, other = purpose(), purpose()
    old = parties.active(purposes=[word])
    parties.taken(parties.control(old, "suspension", AUTHORITY))
    new = parties.drafted(purposes=[word, other], supersedes=old if supersedes else None)
    refused(last_signature(parties, new))
    assert [parties.agreement(item)["state"] for item in (old, new)] == ["suspended", "approved"]
    assert places(own, new) == []
    assert asked(parties, word) == "not-permitted"
    parties.taken(parties.control(old, "suspension", AUTHORITY, method="DELETE"))
    assert asked(parties, word) == "match"


def test_another_purpose_is_signed_all_the_same(parties: Parties) -> None:
    parties.taken(parties.control(parties.active(), "suspension", AUTHORITY))
    word = purpose()
    parties.active(purposes=[word])
    assert asked(parties, word) == "match"


def test_what_the_provider_suspended_is_superseded_as_before(parties: Parties) -> None:
    word = purpose()
    old = parties.active(purposes=[word])
    parties.taken(parties.control(old, "suspension"))
    parties.active(purposes=[word], supersedes=old)
    assert parties.agreement(old)["state"] == "superseded"


def test_suspended_agreement_beside_it_is_not_resumed_by_the_provider(parties: Parties) -> None:
    word = purpose()
    first = parties.active(purposes=[word])
    parties.taken(parties.control(first, "suspension"))
    second = parties.active(purposes=[word])
    parties.taken(parties.control(second, "suspension", AUTHORITY))
    refused(parties.control(first, "suspension", method="DELETE"))
    assert asked(parties, word) == "not-permitted"
    # The authority knows what it suspended: it may choose which of the two goes on.
    parties.taken(parties.control(first, "suspension", AUTHORITY, method="DELETE"))
    assert asked(parties, word) == "match"


@pytest.mark.parametrize("name", [STEWARD, CONSUMER_STEWARD])
def test_revoking_to_sign_anew_does_not_lift_the_suspension(parties: Parties, name: str) -> None:
    identifier = parties.active()
    parties.taken(parties.control(identifier, "suspension", AUTHORITY))
    refused(parties.control(identifier, "revocation", name))
    assert parties.taken(parties.control(identifier, "revocation", AUTHORITY))["state"] == "revoked"


def test_authority_adds_its_suspension_to_the_providers(parties: Parties) -> None:
    identifier = parties.active()
    parties.taken(parties.control(identifier, "suspension"))
    parties.taken(parties.control(identifier, "suspension", AUTHORITY))
    problem(parties.control(identifier, "suspension", AUTHORITY), "conflict")
    problem(parties.control(identifier, "suspension"), "conflict")
    refused(parties.control(identifier, "suspension", method="DELETE"))
    parties.taken(parties.control(identifier, "suspension", AUTHORITY, method="DELETE"))
    assert parties.states(path(identifier))[-3:] == ["suspended", "suspended", "resumed"]


@pytest.mark.parametrize("resumed_between", [True, False], ids=["resumed between", "added"])
def test_late_resumption_does_not_undo_the_authoritys_suspension(
    parties: Parties, monkeypatch: pytest.MonkeyPatch, *, resumed_between: bool
) -> None:
    """The state is as it was read, `suspended`, but by somebody else: the provider read its own suspension."""
    identifier = parties.active()
    parties.taken(parties.control(identifier, "suspension"))
    record = Recorder.record_step
    late: list[Step] = []

    def after_the_authority(self: Recorder, step: Step) -> str:
        if step.state == "resumed" and not late:
            late.append(step)
            if resumed_between:
                parties.taken(parties.control(identifier, "suspension", method="DELETE"))
            parties.taken(parties.control(identifier, "suspension", AUTHORITY))
        return record(self, step)

    monkeypatch.setattr(Recorder, "record_step", after_the_authority)
    refused(parties.control(identifier, "suspension", method="DELETE"))
    assert late
    assert parties.agreement(identifier)["state"] == "suspended"


def test_standing_terms_for_everybody_do_not_take_the_place_either(parties: Parties) -> None:
    word = purpose()
    terms = {
        "service": "enterprise-basic",
        "legal_basis": "四川 第二十三条",
        "attributes": ["status"],
        "until": "2031-12-31",
        "purposes": [word],
        "conditions": {"security_agreement": True, "fold": False, "budget": {"bits": 200}},
    }
    steward = "hz-market-steward"
    named = parties.taken(parties.send(steward, "/v1/standing-terms", terms | {"departments": ["hz-hrss"]}), 201)[
        "id"
    ]
    parties.taken(parties.sign(named, steward, "hz-market"))
    parties.taken(parties.control(named, "suspension", AUTHORITY))
    for_all = parties.taken(parties.send(steward, "/v1/standing-terms", terms), 201)["id"]
    refused(parties.sign(for_all, steward, "hz-market"))


def suspended_by_the_authority(node: RunningNode) -> Parties:
    parties = Parties(node)
    parties.taken(parties.control(FILED, "suspension", AUTHORITY))
    return parties


@pytest.mark.parametrize("supersedes", [True, False], ids=["superseding", "beside it"])
def test_filing_anew_does_not_lift_the_suspension(own_node: OwnNode, *, supersedes: bool) -> None:
    node = own_node(BEGIN)
    parties = suspended_by_the_authority(node)

    def anew(text: str) -> str:
        return text.replace("agreement: hz-hrss-", "agreement: hz-hrss-new-") + (
            f"supersedes: {FILED}\n" if supersedes else ""
        )

    publish(node.ground, node.folder, REVISION + 1, {f"{AGREEMENT}.yaml": anew})
    document = problem(reload(node), "revision-refused")
    assert f"the sharing authority has suspended {FILED}" in document["detail"]
    assert parties.agreement(FILED)["state"] == "suspended"
    problem(node.consumer(CLIENT).ask(SERVICE, employment()), "not-permitted")


def test_agreement_suspended_without_a_known_side_is_superseded_as_before(own_node: OwnNode) -> None:
    node = own_node(BEGIN)
    moved(node, FILED, "suspended")
    edits = {
        f"{AGREEMENT}.yaml": lambda text: (
            text.replace("agreement: hz-hrss-", "agreement: hz-hrss-new-") + f"supersedes: {FILED}\n"
        )
    }
    publish(node.ground, node.folder, REVISION + 1, edits)
    assert reload(node).status_code == 200
