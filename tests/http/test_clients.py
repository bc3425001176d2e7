"""Clients registered over HTTP: one person proposes, another approves; what cannot be is refused by name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from app.api.clients import CERTIFICATE, CHANGED, CLIENT, DECISION
from app.log import tables
from app.log.check import check
from evidence.jwk import thumbprint, to_jwk
from tests.nodes.office import (
    APPROVE,
    CHANGES,
    CLIENTS,
    FIRST,
    REJECT,
    SECOND,
    Office,
    document,
    host,
    open_office,
    outcome,
)
from tests.nodes.problems import pointers, problem, recorded
from tests.nodes.running import Ground
from tests.nodes.steps import epoch, purpose

NAMES = (f"trial-{number}" for number in itertools.count(1))
PHONE = "13800138000"
OTHERS = ("hz-hrss-benefits", "hz-audit", "hz-data-bureau", "hz-sysadmin", "hz-tax-steward", "hz-outsider")
NOBODY = "certificate-not-trusted"


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with open_office(ground, tmp_path_factory.mktemp("office")) as made:
        yield made


@pytest.fixture(scope="module")
def word(office: Office) -> str:
    """A purpose for which every client of `hz-hrss` may ask."""
    made = purpose()
    office.parties.active(purposes=[made])
    return made


def test_proposal_lets_nobody_in_and_the_approval_does_at_once(office: Office, word: str) -> None:
    name, before = next(NAMES), epoch(office.node)
    caller = office.caller(name, office.holder(name))
    identifier = office.propose(name)
    assert outcome(caller, word) == NOBODY
    assert epoch(office.node) == before
    office.approve(identifier)
    assert epoch(office.node) == before + 1
    assert outcome(caller, word) == "match"
    found = office.client(name)
    assert found["document"] == {key: value for key, value in document(name).items() if key != "department"}
    assert (found["source"], found["state"], found["department"]) == ("registered", "active", "hz-hrss")
    assert office.states(name) == ["proposed", "registered"]
    assert found["steps"][-1]["digest"] == found["digest"]


def test_records_name_both_persons_and_the_change_its_decision(office: Office) -> None:
    name = next(NAMES)
    identifier = office.propose(name)
    office.approve(identifier)
    proposed, registered = office.client(name)["steps"]
    assert (proposed["client"], registered["client"]) == (FIRST, SECOND)
    said = registered["document"]
    assert (said["by"], said["proposed_by"], said["proposal"]) == (SECOND, FIRST, identifier)
    assert said["reason"] == APPROVE["reason"]
    found = office.read(f"{CHANGES}/{identifier}")
    assert (found["state"], found["proposed_by"], found["decided_by"]) == ("approved", FIRST, SECOND)
    assert found["document"]["client"] == said["client"]
    assert [step["state"] for step in found["steps"]] == ["proposed", "registered"]


def test_one_person_cannot_register_alone(office: Office, word: str) -> None:
    name = next(NAMES)
    identifier = office.propose(name)
    refused = recorded(office.node, office.decide(identifier, by=FIRST), "not-permitted")
    assert refused.record["kind"] == "client"
    (reason,) = problem(office.decide(identifier, by=FIRST), "not-permitted")["reasons"]
    assert reason["rule"] == "second-person"
    assert reason["basis"]
    assert office.read(f"{CHANGES}/{identifier}")["state"] == "proposed"
    problem(office.decide(identifier, REJECT, by=FIRST), "not-permitted")
    assert outcome(office.caller(name, office.holder(name)), word) == NOBODY


def test_whom_a_change_is_about_does_not_decide_on_it(office: Office) -> None:
    name = office.register(next(NAMES), department="hz-ops", roles=["security-admin"])
    third = office.caller(name, office.holder(name))
    identifier = office.propose_change(name, title={"en": "Promoted", "zh": "升任"}, roles=["security-admin"])
    headers = {"Authorization": f"Bearer {third.token()}"}
    response = third.open("POST", f"{CHANGES}/{identifier}/decision", json=APPROVE, headers=headers)
    problem(response, "not-permitted")
    office.approve(identifier)
    # Nor may what was registered so propose and have it approved by itself.
    sent = third.open("POST", CLIENTS, json=document(next(NAMES)), headers=headers)
    again = sent.get_json()["id"]
    assert sent.status_code == 201
    problem(third.open("POST", f"{CHANGES}/{again}/decision", json=APPROVE, headers=headers), "not-permitted")


def test_rejected_proposal_is_over(office: Office, word: str) -> None:
    name, before = next(NAMES), epoch(office.node)
    identifier = office.propose(name)
    assert office.taken(office.decide(identifier, REJECT))["state"] == "rejected"
    problem(office.decide(identifier), "conflict")
    assert outcome(office.caller(name, office.holder(name)), word) == NOBODY
    found = office.read(f"{CHANGES}/{identifier}")
    assert (found["state"], found["decided_by"]) == ("rejected", SECOND)
    assert [step["state"] for step in found["steps"]] == ["proposed", "rejected"]
    assert epoch(office.node) == before
    problem(office.parties.get(FIRST, f"{CLIENTS}/{name}"), "not-found")
    office.register(name)


@pytest.mark.parametrize("by", OTHERS)
def test_nobody_else_proposes_decides_or_locks_out_and_the_try_is_recorded(office: Office, by: str) -> None:
    name = next(NAMES)
    identifier = office.propose(name)
    tried = [
        office.send(CLIENTS, document(name), by),
        office.send(f"{CLIENTS}/hz-outsider", CHANGED, by, method="PUT"),
        office.decide(identifier, by=by),
        office.send(f"{CLIENTS}/hz-outsider/suspension", {"reason": "No."}, by),
        office.send(f"{CLIENTS}/hz-outsider/resumption", {"reason": "No."}, by),
        office.send(f"{CLIENTS}/hz-outsider/certificates/suspension", CERTIFICATE, by),
    ]
    for response in tried:
        assert recorded(office.node, response, "insufficient-scope").record["client"] == by
    assert office.client("hz-outsider")["state"] == "active"


@pytest.mark.parametrize("path", [CLIENTS, f"{CLIENTS}/hz-outsider", CHANGES])
def test_administrators_and_auditors_read_and_nobody_else(office: Office, path: str) -> None:
    assert {by for by in (*OTHERS, FIRST, SECOND) if office.parties.get(by, path).status_code == 200} == {
        FIRST,
        SECOND,
        "hz-audit",
    }
    problem(office.parties.get("hz-sysadmin", path), "insufficient-scope")


def test_record_of_a_step_is_read_by_administrators_auditors_and_who_tried(office: Office) -> None:
    record = office.client(office.register(next(NAMES)))["steps"][-1]["record"]
    tried = office.send(CLIENTS, document(next(NAMES)), "hz-sysadmin").get_json()["instance"]

    def readers(identifier: str) -> set[str]:
        path = f"/v1/decisions/{identifier}"
        return {by for by in (*OTHERS, FIRST) if office.parties.get(by, path).status_code == 200}

    assert readers(record) == {FIRST, "hz-audit"}
    assert readers(tried) == {FIRST, "hz-audit", "hz-sysadmin"}


KEYS = [to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(2)]
PINS = ["sha256-" + digit * 64 for digit in "0123"]
DNS = "tls_client_auth_san_dns"
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown department": ({"department": "hz-nobody"}, "/department"),
    "id with capitals": ({"client": "HZ-X"}, "/client"),
    "id of one letter": ({"client": "h"}, "/client"),
    "id with a newline": ({"client": "hz-x\n"}, "/client"),
    "id that is a phone number": ({"client": PHONE}, "/client"),
    "no roles": ({"roles": []}, "/roles"),
    "unknown role": ({"roles": ["root"]}, "/roles/0"),
    "role twice": ({"roles": ["consumer", "consumer"]}, "/roles/1"),
    "two administrators": ({"roles": ["system-admin", "security-admin"]}, "/roles"),
    "administrator who audits": ({"roles": ["auditor", "security-admin"]}, "/roles"),
    "authority elsewhere": ({"roles": ["authority"]}, "/roles"),
    "no certificate name": ({"certificate": {"public_keys": PINS[:1]}}, "/certificate"),
    "two certificate names": (
        {"certificate": {DNS: "a.example", "tls_client_auth_san_ip": "10.1.0.1"}},
        "/certificate",
    ),
    "unknown certificate name": ({"certificate": {"cn": "x"}}, "/certificate/cn"),
    "empty certificate name": ({"certificate": {DNS: ""}}, f"/certificate/{DNS}"),
    "name of another client": ({"certificate": {DNS: host("hz-outsider")}}, f"/certificate/{DNS}"),
    "wildcard": ({"certificate": {DNS: "*.hangzhou.example"}}, f"/certificate/{DNS}"),
    "subject with blanks": (
        {"certificate": {"tls_client_auth_subject_dn": "CN=x, C=CN"}},
        "/certificate/tls_client_auth_subject_dn",
    ),
    "subject that is none": (
        {"certificate": {"tls_client_auth_subject_dn": "somebody"}},
        "/certificate/tls_client_auth_subject_dn",
    ),
    "long form of an address": (
        {"certificate": {"tls_client_auth_san_ip": "2001:0db8::1"}},
        "/certificate/tls_client_auth_san_ip",
    ),
    "no address": ({"certificate": {"tls_client_auth_san_ip": "10.1"}}, "/certificate/tls_client_auth_san_ip"),
    "no URI": ({"certificate": {"tls_client_auth_san_uri": "hz-x"}}, "/certificate/tls_client_auth_san_uri"),
    "broken URI": ({"certificate": {"tls_client_auth_san_uri": "u://[x"}}, "/certificate/tls_client_auth_san_uri"),
    "no mail address": (
        {"certificate": {"tls_client_auth_san_email": "a.b"}},
        "/certificate/tls_client_auth_san_email",
    ),
    "phone number in the mail address": (
        {"certificate": {"tls_client_auth_san_email": f"{PHONE}@example.cn"}},
        "/certificate/tls_client_auth_san_email",
    ),
    "three public keys": ({"certificate": {DNS: "a.example", "public_keys": PINS[:3]}}, "/certificate/public_keys"),
    "public key twice": (
        {"certificate": {DNS: "a.example", "public_keys": [PINS[0], PINS[0]]}},
        "/certificate/public_keys/1",
    ),
    "public key that is no digest": (
        {"certificate": {DNS: "a.example", "public_keys": ["sha256-0"]}},
        "/certificate/public_keys/0",
    ),
    "title without Chinese": ({"title": {"en": "x"}}, "/title/zh"),
    "blank title": ({"title": {"en": " ", "zh": "试用"}}, "/title/en"),
    "title with a phone number": ({"title": {"en": f"call {PHONE}", "zh": "试用"}}, "/title/en"),
    "title of two lines": ({"title": {"en": "a\nb", "zh": "试用"}}, "/title/en"),
    "private signing key": ({"signing_keys": [{**KEYS[0], "d": "AAAA"}]}, "/signing_keys/0/d"),
    "signing key off the curve": ({"signing_keys": [KEYS[0], {**KEYS[1], "y": KEYS[1]["x"]}]}, "/signing_keys/1"),
    "signing key under another name": ({"signing_keys": [{**KEYS[0], "kid": "mine"}]}, "/signing_keys/0"),
    "unknown member": ({"suspended": False}, "/suspended"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_registered_is_refused_with_its_place(office: Office, fault: str) -> None:
    changes, pointer = FAULTS[fault]
    before = len(office.node.rows(kind="client", state="proposed"))
    response = office.send(CLIENTS, document(next(NAMES), **changes))
    assert pointer in pointers(response)
    assert PHONE not in response.text
    assert recorded(office.node, response, "invalid-request").record["about"] == "unknown"
    assert len(office.node.rows(kind="client", state="proposed")) == before


def test_authority_is_registered_in_its_own_department(office: Office) -> None:
    name = office.register(next(NAMES), department="hz-data-bureau", roles=["authority", "steward"])
    assert office.client(name)["roles"] == ["authority", "steward"]


@pytest.mark.parametrize("name", ["hz-outsider", "hz-secadmin"])
def test_id_of_a_client_is_not_given_again(office: Office, name: str) -> None:
    problem(office.send(CLIENTS, document(name, certificate={DNS: "new.example"})), "conflict")


def test_what_was_proposed_first_need_not_be_approved_first(office: Office) -> None:
    """One id and one certificate name go to whoever is approved first; the others no longer fit."""
    name, other = next(NAMES), next(NAMES)
    first = office.propose(name)
    same_id = office.propose(name, certificate={DNS: host(other)})
    same_name = office.propose(other, certificate={DNS: host(name)})
    office.approve(same_id)
    problem(office.decide(first), "conflict")
    office.approve(same_name)
    third = next(NAMES)
    problem(office.send(CLIENTS, document(third, certificate={DNS: host(name)})), "invalid-request")
    assert office.read(f"{CHANGES}/{first}")["state"] == "proposed"
    assert office.taken(office.decide(first, REJECT))["state"] == "rejected"


def test_two_approvals_at_once_register_exactly_once(office: Office) -> None:
    for name in (SECOND, FIRST):
        office.parties.client(name).token()
    third = office.register(next(NAMES), department="hz-ops", roles=["security-admin"])
    caller = office.caller(third, office.holder(third))
    headers = {"Authorization": f"Bearer {caller.token()}"}
    for _ in range(6):
        name, before = next(NAMES), epoch(office.node)
        path = f"{CHANGES}/{office.propose(name)}/decision"
        with ThreadPoolExecutor(2) as pool:
            sent = [
                pool.submit(office.send, path, APPROVE, SECOND),
                pool.submit(caller.open, "POST", path, json=APPROVE, headers=headers),
            ]
            assert sorted(item.result().status_code for item in sent) == [200, 409]
        assert office.states(name) == ["proposed", "registered"]
        assert epoch(office.node) == before + 1


def test_proposal_of_an_administrator_who_was_locked_out_since_is_not_approved(office: Office) -> None:
    officer = office.register(next(NAMES), department="hz-ops", roles=["security-admin"])
    caller, name = office.caller(officer, office.holder(officer)), next(NAMES)
    headers = {"Authorization": f"Bearer {caller.token()}"}
    sent = caller.open("POST", CLIENTS, json=document(name), headers=headers)
    office.suspend(officer)
    problem(office.decide(sent.get_json()["id"]), "conflict")
    assert office.taken(office.decide(sent.get_json()["id"], REJECT))["state"] == "rejected"


def test_repeated_request_with_its_key_proposes_once(office: Office) -> None:
    name = next(NAMES)
    sent = [office.send(CLIENTS, document(name), Idempotency_Key=f"register-{name}") for _ in range(2)]
    assert sent[0].data == sent[1].data
    assert [item.status_code for item in sent] == [201, 201]
    assert len([row for row in office.read(f"{CHANGES}?page_size=200")["items"] if row["client"] == name]) == 1
    other = office.send(CLIENTS, document(name, roles=["steward"]), Idempotency_Key=f"register-{name}")
    problem(other, "idempotency-conflict", 422)


NAMED: dict[str, tuple[str, x509.GeneralName | None]] = {
    "tls_client_auth_subject_dn": ("CN=trial subject,O=Hecha tests,C=CN", None),
    "tls_client_auth_san_dns": ("a-1.example", x509.DNSName("a-1.example")),
    "tls_client_auth_san_uri": ("urn:hz:trial", x509.UniformResourceIdentifier("urn:hz:trial")),
    "tls_client_auth_san_email": ("trial@hangzhou.example", x509.RFC822Name("trial@hangzhou.example")),
}


@pytest.mark.parametrize("kind", NAMED)
def test_client_is_known_by_whichever_name_its_authority_gives(office: Office, word: str, kind: str) -> None:
    """RFC 8705 §2.1.2."""
    value, held = NAMED[kind]
    name = office.register(next(NAMES), certificate={kind: value})
    names = (held,) if held else (x509.DNSName("unregistered.example"),)
    common = "trial subject" if held is None else "somebody"
    from tests.unit.app.trust import pki

    holder = office.holder(name, names=names, subject=pki.name(common))
    assert outcome(office.caller(name, holder), word) == "match"
    other = office.holder(name, names=(x509.DNSName("b.example"),), subject=pki.name("nobody"))
    assert outcome(office.caller(name, other), word) == NOBODY


def test_client_is_known_by_its_address(office: Office, word: str) -> None:
    from ipaddress import ip_address

    name = office.register(next(NAMES), certificate={"tls_client_auth_san_ip": "2001:db8::1"})
    holder = office.holder(name, names=(x509.IPAddress(ip_address("2001:db8::1")),))
    assert outcome(office.caller(name, holder), word) == "match"


def test_signing_keys_are_registered_by_thumbprint_and_one_clients_alone(office: Office) -> None:
    key = to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
    bare = {member: key[member] for member in ("kty", "crv", "x", "y")}
    name = office.register(next(NAMES), signing_keys=[bare])
    assert office.client(name)["document"]["signing_keys"] == [key]
    assert list(office.node.node.registry.departments.clients[name].signing_keys) == [key["kid"]]
    assert "/signing_keys" in pointers(office.send(CLIENTS, document(next(NAMES), signing_keys=[bare])))
    departments = {name: one.public_key() for name, one in office.node.ground.signing_keys().items()}
    theirs = to_jwk(departments["hz-tax"])
    assert theirs["kid"] == thumbprint(departments["hz-tax"])
    assert "/signing_keys" in pointers(office.send(CLIENTS, document(next(NAMES), signing_keys=[theirs])))


def test_lists_filter_and_their_pages_join(office: Office) -> None:
    name = office.register(next(NAMES))
    office.suspend(name)
    whole = office.read(f"{CLIENTS}?page_size=200")["items"]
    joined: list[Any] = []
    cursor = ""
    while True:
        page = office.read(f"{CLIENTS}?page_size=3&cursor={cursor}")
        joined += page["items"]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert joined == whole == sorted(whole, key=lambda item: str(item["client"]))
    assert {item["client"] for item in whole if item["source"] == "directory"} == set(
        office.node.node.registry.directory.departments.clients
    )
    suspended = office.read(f"{CLIENTS}?state=suspended&page_size=200")["items"]
    assert name in {item["client"] for item in suspended}
    assert {item["state"] for item in suspended} == {"suspended"}
    ops = office.read(f"{CLIENTS}?department=hz-ops&state=active")["items"]
    assert {FIRST, SECOND, "hz-sysadmin"} <= {item["client"] for item in ops}
    assert {item["department"] for item in ops} == {"hz-ops"}
    problem(office.parties.get(FIRST, f"{CLIENTS}?state=gone"), "invalid-request")
    problem(office.parties.get(FIRST, f"{CLIENTS}?cursor=%21"), "invalid-request")


def test_list_of_proposals_filters_by_state_and_pages_join(office: Office) -> None:
    waiting = office.propose(next(NAMES))
    office.register(next(NAMES))
    whole = office.read(f"{CHANGES}?page_size=200")["items"]
    page = office.read(f"{CHANGES}?page_size=1")
    assert [page["items"][0], office.read(f"{CHANGES}?page_size=1&cursor={page['next']}")["items"][0]] == whole[:2]
    proposed = office.read(f"{CHANGES}?page_size=200&state=proposed")["items"]
    assert waiting in {item["id"] for item in proposed}
    assert {item["state"] for item in proposed} == {"proposed"}
    assert {item["decided_by"] for item in proposed} == {None}
    problem(office.parties.get(FIRST, f"{CHANGES}/{waiting[:-1]}x"), "not-found")
    problem(office.decide(waiting[:-1] + "x"), "not-found")


@pytest.mark.parametrize("reason", [f"Ask {PHONE}.", "  ", "a\nb", ""])
def test_reason_names_nobody_and_says_something(office: Office, reason: str) -> None:
    identifier = office.propose(next(NAMES))
    response = office.decide(identifier, {"decision": "approve", "reason": reason})
    assert "/reason" in pointers(response)
    assert office.read(f"{CHANGES}/{identifier}")["state"] == "proposed"


def test_what_was_refused_is_kept_nowhere(office: Office) -> None:
    title = {"en": f"Dial {PHONE}", "zh": "试用"}
    response = office.send(CLIENTS, document(next(NAMES), title=title))
    record = office.node.record(problem(response, "invalid-request")["instance"])
    with office.node.node.store.reading() as connection:
        kept = connection.execute(
            select(tables.archive.c.content).where(tables.archive.c.digest == record["document"])
        ).scalar_one()
        everything = b"".join(connection.execute(select(tables.archive.c.content)).scalars())
    assert orjson.loads(kept) == {"refused": "invalid-request", "request": f"POST {CLIENTS}"}
    assert PHONE.encode() not in everything


def test_record_and_index_hold_ids_and_digests_alone(office: Office) -> None:
    name = office.register(next(NAMES), title={"en": "Words for people", "zh": "给人看的"})
    (row,) = [row for row in office.node.rows(kind="client", state="registered") if row.client == SECOND][-1:]
    record = office.node.record(row.id)
    assert record["about"] == f"client:{name}"
    held = str(record) + str(row)
    assert "Words" not in held
    assert "给人看的" not in held
    assert APPROVE["reason"] not in held


def test_documented_examples_are_registered_and_changed(office: Office) -> None:
    identifier = office.proposed(office.send(CLIENTS, CLIENT))
    office.taken(office.decide(identifier, DECISION))
    name = str(CLIENT["client"])
    problem(office.send(f"{CLIENTS}/{name}", CHANGED, method="PUT"), "conflict")
    assert office.taken(office.send(f"{CLIENTS}/{name}/certificates/suspension", CERTIFICATE))["certificate"]


def test_log_is_sound_after_all_of_this(office: Office) -> None:
    assert check(office.node.node.store, office.node.node.vkey).sound
