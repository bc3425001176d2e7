"""Agreements over HTTP: signatures that hold and those that do not, one active a purpose, every way to end one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select, update

from app.log import tables
from evidence.base64s import decode_url, encode_url
from evidence.jws import AGREEMENT, REVISION, sign
from tests.nodes import running
from tests.nodes.problems import pointers, problem
from tests.nodes.running import Ground, RunningNode
from tests.nodes.steps import APPLICANT, CONDITIONS, STEWARD, Parties, purpose

AUTHORITY = "hz-data-bureau"
CONSUMER_STEWARD = "hz-hrss-steward"


@pytest.fixture(scope="module")
def own(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    made = running.start(ground, tmp_path_factory.mktemp("agreements"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def parties(own: RunningNode) -> Parties:
    return Parties(own)


def path(identifier: str) -> str:
    return f"/v1/agreements/{identifier}"


def question(word: str) -> dict[str, Any]:
    return {
        "purpose": word,
        "case": "CASE-0001",
        "operator": "demo.operator",
        "subject": {"id_number": "339881197803120013"},
        "confirm": {"name": "沈建国"},
        "declared": {"employed_on": "2026-09-15"},
    }


def asked(parties: Parties, word: str) -> str:
    """The answer to a question for this purpose, or the slug of its refusal."""
    document = parties.client(APPLICANT).ask("employment-status", question(word)).get_json()
    found: str = document.get("result") or document["type"]
    return found


def epoch(node: RunningNode) -> int:
    with node.node.store.reading() as connection:
        found: int = connection.execute(select(tables.log_head.c.epoch)).scalar_one()
    return found


def places(node: RunningNode, identifier: str) -> list[Any]:
    table = tables.agreement_active
    with node.node.store.reading() as connection:
        return list(connection.execute(select(table).where(table.c.agreement == identifier)))


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


def test_suspension_denies_at_once_and_resuming_permits_again(own: RunningNode, parties: Parties) -> None:
    word = purpose()
    identifier = parties.active(purposes=[word])
    assert asked(parties, word) == "match"
    before = epoch(own)
    assert parties.taken(parties.control(identifier, "suspension"))["state"] == "suspended"
    assert asked(parties, word) == "not-permitted"
    problem(parties.control(identifier, "suspension"), "conflict")
    assert parties.taken(parties.control(identifier, "suspension", method="DELETE"))["state"] == "active"
    assert asked(parties, word) == "match"
    assert epoch(own) == before + 2
    problem(parties.control(identifier, "suspension", method="DELETE"), "conflict")
    assert parties.states(path(identifier))[-2:] == ["suspended", "resumed"]


def test_resuming_into_a_place_that_was_taken_conflicts(parties: Parties) -> None:
    word = purpose()
    first = parties.active(purposes=[word])
    parties.taken(parties.control(first, "suspension"))
    second = parties.active(purposes=[word])
    problem(parties.control(first, "suspension", method="DELETE"), "conflict")
    assert parties.agreement(first)["state"] == "suspended"
    assert parties.agreement(second)["state"] == "active"


def test_what_the_authority_suspended_the_provider_does_not_resume(parties: Parties) -> None:
    identifier = parties.active()
    parties.taken(parties.control(identifier, "suspension", AUTHORITY))
    document = problem(parties.control(identifier, "suspension", method="DELETE"), "not-permitted")
    assert document["reasons"][0]["rule"] == "authority-resumes"
    parties.taken(parties.control(identifier, "suspension", AUTHORITY, method="DELETE"))
    # A later suspension of the provider's own is the provider's to lift.
    parties.taken(parties.control(identifier, "suspension"))
    parties.taken(parties.control(identifier, "suspension", method="DELETE"))


@pytest.mark.parametrize("name", [STEWARD, AUTHORITY, CONSUMER_STEWARD])
def test_revocation_by_either_steward_or_the_authority_ends_it_for_good(parties: Parties, name: str) -> None:
    word = purpose()
    identifier = parties.active(purposes=[word])
    assert parties.taken(parties.control(identifier, "revocation", name))["state"] == "revoked"
    assert asked(parties, word) == "not-permitted"
    for change, method in (("revocation", "POST"), ("suspension", "POST"), ("suspension", "DELETE")):
        problem(
            parties.control(identifier, change, name if name != CONSUMER_STEWARD else STEWARD, method=method),
            "conflict",
        )


def test_approved_agreement_can_be_revoked_and_is_then_not_signed(parties: Parties) -> None:
    identifier = parties.drafted()
    parties.taken(parties.control(identifier, "revocation"))
    problem(parties.sign(identifier, STEWARD, "hz-tax"), "conflict")


@pytest.mark.parametrize(
    ("name", "change", "method", "slug"),
    [
        (CONSUMER_STEWARD, "suspension", "POST", "not-permitted"),
        (CONSUMER_STEWARD, "suspension", "DELETE", "not-permitted"),
        ("hz-market-steward", "suspension", "POST", "not-found"),
        ("hz-market-steward", "revocation", "POST", "not-found"),
        (APPLICANT, "revocation", "POST", "insufficient-scope"),
        ("hz-tax-levy", "suspension", "POST", "insufficient-scope"),
        ("hz-audit", "revocation", "POST", "insufficient-scope"),
    ],
)
def test_step_of_an_agreement_by_somebody_else_is_refused(
    parties: Parties, name: str, change: str, *, method: str, slug: str
) -> None:
    identifier = parties.active()
    if method == "DELETE":
        parties.taken(parties.control(identifier, change))
    state = parties.agreement(identifier)["state"]
    document = problem(parties.control(identifier, change, name, method=method), slug)
    if slug == "not-permitted":
        assert document["reasons"][0]["rule"] == "provider-or-authority"
    assert parties.agreement(identifier)["state"] == state


def test_reason_is_needed_and_names_nobody(parties: Parties) -> None:
    identifier = parties.active()
    for reason in ("", "  ", "see 339881197803120013"):
        response = parties.send(STEWARD, f"{path(identifier)}/revocation", {"reason": reason})
        assert pointers(response).keys() == {"/reason"}
    assert parties.agreement(identifier)["state"] == "active"


def test_step_sent_twice_under_one_key_is_taken_once(own: RunningNode, parties: Parties) -> None:
    identifier = parties.active()
    body, key = {"reason": "Reconciliation is outstanding."}, {"Idempotency_Key": purpose()}
    first = parties.send(STEWARD, f"{path(identifier)}/suspension", body, **key)
    before = epoch(own)
    second = parties.send(STEWARD, f"{path(identifier)}/suspension", body, **key)
    assert (first.status_code, first.data) == (second.status_code, second.data)
    assert epoch(own) == before
    # The same body to another path is another request.
    problem(parties.send(STEWARD, f"{path(identifier)}/revocation", body, **key), "idempotency-conflict", 422)


def test_expired_agreement_is_recorded_when_next_looked_at(own: RunningNode, parties: Parties) -> None:
    identifier, drafted = parties.active(), parties.drafted()
    before = epoch(own)
    table = tables.agreement
    with own.node.store.writing() as connection:
        past = int(time.time()) - 1
        connection.execute(update(table).where(table.c.id.in_([identifier, drafted])).values(valid_until=past))
    assert parties.agreement(identifier)["state"] == "expired"
    assert parties.states(path(identifier))[-1] == "expired"
    assert parties.agreement(drafted)["state"] == "expired"
    assert (epoch(own), places(own, identifier)) == (before + 1, [])
    (record,) = own.rows(agreement=identifier, state="expired")
    assert record.client == ""
    # Looked at again, nothing more is recorded.
    parties.agreement(identifier)
    assert len(own.rows(agreement=identifier, state="expired")) == 1
    problem(parties.sign(drafted, STEWARD, "hz-tax"), "conflict")


def test_expired_agreement_leaves_its_place_to_a_new_one(own: RunningNode, parties: Parties) -> None:
    word = purpose()
    old, new = parties.active(purposes=[word]), parties.drafted(purposes=[word])
    parties.taken(parties.sign(new, STEWARD, "hz-tax"))
    body = {"signature": parties.signature(new, "hz-hrss")}
    with own.node.store.writing() as connection:
        table = tables.agreement
        connection.execute(update(table).where(table.c.id == old).values(valid_until=int(time.time()) - 1))
    assert parties.taken(parties.send(APPLICANT, f"{path(new)}/signatures", body))["state"] == "active"


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


def test_standing_terms_are_published_to_everybody(parties: Parties) -> None:
    for name in ("hz-outsider", "hz-civil-dibao", "hz-market-steward"):
        listed = parties.get(name, "/v1/agreements?page_size=200").get_json()["items"]
        assert "hz-market-enterprise-basic-standing-terms" in {item["id"] for item in listed}
        assert parties.get(name, path("hz-market-enterprise-basic-standing-terms")).status_code == 200


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
    found = parties.agreement(reply["id"], "hz-outsider")
    assert (found["kind"], found["awaiting"], found["consumer"]) == ("standing-terms", ["hz-market"], None)
    problem(parties.sign(reply["id"], "hz-outsider", "hz-planning"), "not-permitted")
    signed = parties.taken(parties.sign(reply["id"], "hz-market-steward", "hz-market"))
    assert signed["state"] == "active"
    assert parties.states(path(reply["id"])) == ["approved", "active"]
    assert [row.party for row in places(own, reply["id"])] == [""]


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
