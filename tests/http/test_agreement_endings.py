"""Suspending, resuming, revoking and expiring agreements over HTTP: by whom, from which state, with what effect."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import update

from app.log import tables
from app.log.check import check
from tests.nodes.agreements import moved
from tests.nodes.problems import pointers, problem
from tests.nodes.running import OwnNode, RunningNode
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
)


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


def test_agreement_set_back_to_active_in_the_database_is_found_by_the_check(own_node: OwnNode) -> None:
    """Whoever can write the database can say that a revoked agreement is active; the log says otherwise."""
    node = own_node()
    identifier = "hz-hrss-employment-status-unemployment-benefit"
    moved(node, identifier, "revoked")
    assert check(node.node.store, node.node.vkey).sound
    row = tables.agreement
    with node.node.store.writing() as connection:
        connection.execute(update(row).where(row.c.id == identifier).values(state="active"))
    assert check(node.node.store, node.node.vkey).damage == [
        f"agreement {identifier} stands as active, and the log says revoked"
    ]
