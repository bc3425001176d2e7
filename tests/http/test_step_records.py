"""Who reads the record of a step and the history it stands in: its parties, and whoever took or tried it."""

from __future__ import annotations

import pytest

from tests.nodes.problems import problem
from tests.nodes.steps import APPLICANT, AUTHORITY, CONSUMER_STEWARD, STEWARD, Parties, application

LEVY = "hz-tax-levy"
OTHERS = ("hz-market-steward", "hz-outsider")


def statuses(parties: Parties, name: str, record: str) -> set[int]:
    return {parties.get(name, f"/v1/decisions/{record}{suffix}").status_code for suffix in ("", "/proof")}


def readers(parties: Parties, record: str, names: tuple[str, ...]) -> set[str]:
    """Those who read record and proof; to all others both are unknown."""
    found = {name: statuses(parties, name, record) for name in names}
    assert all(status in ({200}, {404}) for status in found.values())
    return {name for name, status in found.items() if status == {200}}


def test_refused_step_is_read_by_who_tried_it_and_by_no_other_side(parties: Parties) -> None:
    """A refusal has a receipt and a record: whoever holds the one can have the proof of the other."""
    refused = problem(parties.control(parties.drafted(), "suspension"), "conflict")["instance"]
    names = (STEWARD, LEVY, APPLICANT, CONSUMER_STEWARD, AUTHORITY, "hz-audit", *OTHERS)
    assert readers(parties, refused, names) == {STEWARD, LEVY, "hz-audit"}


def test_refused_application_is_read_by_who_sent_it(parties: Parties) -> None:
    body = application(until="2020-01-01")
    sent = parties.send(APPLICANT, "/v1/applications", body, Idempotency_Key="refused-application")
    names = (STEWARD, APPLICANT, CONSUMER_STEWARD, AUTHORITY, *OTHERS)
    assert readers(parties, sent.get_json()["instance"], names) == {APPLICANT, CONSUMER_STEWARD}


def test_authority_reads_the_record_of_its_own_step(parties: Parties) -> None:
    record = parties.taken(parties.control(parties.active(), "suspension", AUTHORITY))["record"]
    names = (STEWARD, LEVY, APPLICANT, AUTHORITY, *OTHERS)
    assert readers(parties, record, names) == {STEWARD, LEVY, APPLICANT, AUTHORITY}


@pytest.mark.parametrize("name", [LEVY, STEWARD, APPLICANT, AUTHORITY, "hz-audit"])
def test_providers_systems_do_not_read_the_application_in_the_agreements_history(parties: Parties, name: str) -> None:
    """What is not found at its own address stands nowhere else either."""
    applied = parties.apply()["id"]
    identifier = parties.approve(applied)["agreement"]
    parties.taken(parties.sign(identifier, STEWARD, "hz-tax"))
    seen = parties.get(name, f"/v1/applications/{applied}").status_code == 200
    assert seen is (name != LEVY)
    steps = parties.agreement(identifier, name)["steps"]
    assert [step["kind"] for step in steps if step["about"] == identifier] == ["agreement"]
    assert any(step["about"] == applied for step in steps) is seen
