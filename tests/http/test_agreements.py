"""Agreements over HTTP: signatures that hold and those that do not, one active a purpose, who reads what."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from evidence.base64s import decode_url, encode_url
from evidence.jws import AGREEMENT, REVISION, sign
from tests.nodes.problems import pointers, problem
from tests.nodes.running import RunningNode
from tests.nodes.steps import (
    APPLICANT,
    AUTHORITY,
    CONSUMER_STEWARD,
    STEWARD,
    Parties,
    asked,
    epoch,
    path,
    places,
    purpose,
    question,
)


def test_agreement_is_active_once_both_sides_have_signed(own: RunningNode, parties: Parties) -> None:
    word = purpose()
    identifier = parties.drafted(purposes=[word])
    before = epoch(own)
    first = parties.taken(parties.sign(identifier, APPLICANT, "hz-hrss"))
    assert (first["state"], first["awaiting"]) == ("approved", ["hz-tax"])
    assert epoch(own) == before
    assert asked(parties, word) == "not-permitted"
    second = parties.taken(parties.sign(identifier, STEWARD, "hz-tax"))
    assert (second["state"], second["awaiting"]) == ("active", [])
    assert epoch(own) == before + 1
    assert asked(parties, word) == "match"
    found = parties.agreement(identifier)
    assert (found["state"], found["awaiting"], found["deadline"]) == ("active", [], None)
    assert found["signatures"].keys() == {"hz-tax", "hz-hrss"}
    assert parties.states(path(identifier)) == ["submitted", "approved", "signed", "active"]


def test_record_of_an_answer_names_the_digest_that_was_signed(own: RunningNode, parties: Parties) -> None:
    word = purpose()
    identifier = parties.active(purposes=[word])
    answer = parties.client(APPLICANT).ask("employment-status", question(word)).get_json()
    assert own.record(answer["id"])["agreement"] == parties.agreement(identifier)["digest"]


def forged(kind: str, parties: Parties, identifier: str) -> str:
    """A signature by `hz-hrss` with one flaw."""
    keys = parties.node.ground.signing_keys()
    own, content = keys["hz-hrss"], parties.agreement(identifier)["canonical"].encode()
    good = sign(own, AGREEMENT, content, detached=True)
    header, _, signature = good.split(".")
    document = orjson.loads(content)
    flawed = {
        "key of the other side": sign(keys["hz-tax"], AGREEMENT, content, detached=True),
        "key of a third department": sign(keys["hz-civil"], AGREEMENT, content, detached=True),
        "key of nobody": sign(ec.generate_private_key(ec.SECP256R1()), AGREEMENT, content, detached=True),
        "other bytes": sign(own, AGREEMENT, content + b" ", detached=True),
        "other terms": sign(own, AGREEMENT, orjson.dumps({**document, "fold": True}), detached=True),
        "not canonical": sign(own, AGREEMENT, orjson.dumps(document, option=orjson.OPT_INDENT_2), detached=True),
        "digest instead of bytes": sign(own, AGREEMENT, b"sha256", detached=True),
        "another kind of document": sign(own, REVISION, content, detached=True),
        "payload attached": sign(own, AGREEMENT, content),
        "bit flipped": f"{header}..{encode_url(bytes([decode_url(signature)[0] ^ 1]) + decode_url(signature)[1:])}",
        "no algorithm": encode_url(b'{"alg":"none","typ":"hecha-agreement+jws"}') + "..",
        "no signature": "not a signature",
    }
    return flawed[kind]


FLAWS = (
    "key of the other side",
    "key of a third department",
    "key of nobody",
    "other bytes",
    "other terms",
    "not canonical",
    "digest instead of bytes",
    "another kind of document",
    "payload attached",
    "bit flipped",
    "no algorithm",
    "no signature",
)


@pytest.mark.parametrize("flaw", FLAWS)
def test_signature_with_a_flaw_is_refused(parties: Parties, flaw: str) -> None:
    identifier = parties.drafted()
    body = {"signature": forged(flaw, parties, identifier)}
    response = parties.send(APPLICANT, f"{path(identifier)}/signatures", body)
    assert pointers(response).keys() == {"/signature"}
    found = parties.agreement(identifier)
    assert (found["state"], found["signatures"]) == ("approved", {})


def test_signature_over_another_agreement_is_refused(parties: Parties) -> None:
    one, other = parties.drafted(), parties.drafted()
    body = {"signature": parties.signature(other, "hz-hrss")}
    assert pointers(parties.send(APPLICANT, f"{path(one)}/signatures", body)).keys() == {"/signature"}


def test_second_signature_of_one_department_conflicts_and_makes_nothing_active(parties: Parties) -> None:
    identifier = parties.drafted()
    parties.taken(parties.sign(identifier, APPLICANT, "hz-hrss"))
    problem(parties.sign(identifier, CONSUMER_STEWARD, "hz-hrss"), "conflict")
    assert parties.agreement(identifier)["state"] == "approved"


def test_signature_of_an_active_agreement_conflicts(parties: Parties) -> None:
    identifier = parties.active()
    problem(parties.sign(identifier, APPLICANT, "hz-hrss"), "conflict")


@pytest.mark.parametrize(
    ("name", "slug"),
    [("hz-outsider", "not-found"), ("hz-market-steward", "not-found"), (AUTHORITY, "not-permitted")],
)
def test_signature_by_no_party_is_refused(parties: Parties, name: str, slug: str) -> None:
    identifier = parties.drafted()
    body = {"signature": parties.signature(identifier, "hz-hrss")}
    document = problem(parties.send(name, f"{path(identifier)}/signatures", body), slug)
    if slug == "not-permitted":
        assert document["reasons"][0]["rule"] == "parties-sign"


def test_two_sides_signing_at_once_make_it_active_exactly_once(own: RunningNode, parties: Parties) -> None:
    for client in (STEWARD, APPLICANT):
        parties.client(client).token()
    for _ in range(8):
        identifier, before = parties.drafted(), epoch(own)
        pairs = ((STEWARD, "hz-tax"), (APPLICANT, "hz-hrss"))
        bodies = {client: {"signature": parties.signature(identifier, department)} for client, department in pairs}
        with ThreadPoolExecutor(2) as pool:
            sent = [
                pool.submit(parties.send, client, f"{path(identifier)}/signatures", body)
                for client, body in bodies.items()
            ]
            states = sorted(parties.taken(item.result())["state"] for item in sent)
        assert states == ["active", "approved"]
        assert parties.states(path(identifier))[-2:] == ["signed", "active"]
        assert epoch(own) == before + 1


def test_second_active_agreement_for_a_purpose_conflicts(own: RunningNode, parties: Parties) -> None:
    word = purpose()
    first, second = parties.active(purposes=[word]), parties.drafted(purposes=[purpose(), word])
    parties.taken(parties.sign(second, STEWARD, "hz-tax"))
    before = epoch(own)
    problem(parties.sign(second, APPLICANT, "hz-hrss"), "conflict")
    assert parties.agreement(second)["state"] == "approved"
    assert parties.agreement(second)["awaiting"] == ["hz-hrss"]
    assert (epoch(own), places(own, second)) == (before, [])
    # Once the first has ended, the same signature makes the second active.
    parties.taken(parties.control(first, "revocation"))
    assert parties.taken(parties.sign(second, APPLICANT, "hz-hrss"))["state"] == "active"


def test_new_agreement_supersedes_the_old_one_in_one_step(own: RunningNode, parties: Parties) -> None:
    word = purpose()
    old = parties.active(purposes=[word])
    new = parties.drafted({"fold": True}, purposes=[word], supersedes=old)
    parties.taken(parties.sign(new, STEWARD, "hz-tax"))
    assert parties.agreement(old)["state"] == "active"
    before = epoch(own)
    parties.taken(parties.sign(new, APPLICANT, "hz-hrss"))
    assert (parties.agreement(old)["state"], parties.agreement(new)["state"]) == ("superseded", "active")
    assert epoch(own) == before + 1
    assert [row.agreement for row in places(own, new)] == [new]
    assert places(own, old) == []
    answer = parties.client(APPLICANT).ask("employment-status", question(word)).get_json()
    assert own.record(answer["id"])["agreement"] == parties.agreement(new)["digest"]
    assert parties.get(STEWARD, path(new)).get_json()["steps"][-1]["document"]["supersedes"] == old


@pytest.mark.parametrize("change", ["suspension", "revocation"])
def test_superseded_agreement_takes_no_step(parties: Parties, change: str) -> None:
    word = purpose()
    old = parties.active(purposes=[word])
    parties.active(purposes=[word], supersedes=old)
    problem(parties.control(old, change), "conflict")


def test_application_cannot_supersede_what_has_ended_or_is_anothers(parties: Parties) -> None:
    ended = parties.active()
    parties.taken(parties.control(ended, "revocation"))
    others = "hz-civil-employment-status-low-income-household"
    for identifier in (ended, others):
        sent = parties.send(
            APPLICANT,
            "/v1/applications",
            {
                "service": "employment-status",
                "purposes": [purpose()],
                "legal_basis": "失业保险条例 第十五条",
                "attributes": ["employed_on"],
                "until": "2031-12-31",
                "supersedes": identifier,
            },
            Idempotency_Key=purpose(),
        )
        assert "/supersedes" in pointers(sent)


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        (APPLICANT, True),
        ("hz-hrss-review", True),
        (CONSUMER_STEWARD, True),
        (STEWARD, True),
        ("hz-tax-levy", True),
        (AUTHORITY, True),
        ("hz-audit", True),
        ("hz-civil-dibao", False),
        ("hz-outsider", False),
        ("hz-market-steward", False),
    ],
)
def test_agreement_is_read_by_its_parties_authority_and_auditors(parties: Parties, name: str, *, seen: bool) -> None:
    identifier = "hz-hrss-employment-status-unemployment-benefit"
    response = parties.get(name, path(identifier))
    assert response.status_code == (200 if seen else 404)
    listed = parties.get(name, "/v1/agreements?service=employment-status&page_size=200").get_json()["items"]
    assert (identifier in {item["id"] for item in listed}) is seen


def test_list_filters_by_state_and_pages_join(parties: Parties) -> None:
    parties.active()
    whole = parties.get(AUTHORITY, "/v1/agreements?page_size=200").get_json()["items"]
    joined: list[str] = []
    cursor = ""
    while True:
        page = parties.get(AUTHORITY, f"/v1/agreements?page_size=5&cursor={cursor}").get_json()
        joined += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert joined == [item["id"] for item in whole]
    active = parties.get(AUTHORITY, "/v1/agreements?page_size=200&state=active").get_json()["items"]
    assert {item["state"] for item in active} == {"active"}
    assert {item["id"] for item in active} == {item["id"] for item in whole if item["state"] == "active"}
