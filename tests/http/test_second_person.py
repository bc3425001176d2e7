"""Attacks on the two persons that letting somebody in takes, and on the ids, names and certificates they go by."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from werkzeug.test import TestResponse

from app.identity.certificate import thumbprint_of
from app.life_cycle import proposals
from app.log.check import check
from app.refusals import Refusal
from tests.nodes.consumer import Consumer
from tests.nodes.directories import BEGIN, REVISION, publish
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
    pin,
)
from tests.nodes.problems import pointers, problem, recorded
from tests.nodes.running import Ground, edited
from tests.nodes.steps import act_of, purpose
from tests.unit.app.trust.pki import Holder

NAMES = (f"second-{number}" for number in itertools.count(1))
DNS = "tls_client_auth_san_dns"
MAIL = "tls_client_auth_san_email"
OFFICERS = {"department": "hz-ops", "roles": ["security-admin"]}
STEWARD = "hz-hrss-steward"


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with open_office(ground, tmp_path_factory.mktemp("office")) as made:
        yield made


def officer(office: Office, holder: Holder | None = None) -> Consumer:
    """A new administrator with this certificate's key, or with any."""
    name = office.register(next(NAMES), **OFFICERS)
    names = (x509.DNSName(host(name)),)
    return office.caller(name, office.holder(name, names=names, key=holder.key) if holder else office.holder(name))


def sent(office: Office, by: Consumer, path: str, body: object) -> str:
    """The id of a proposal made over the caller's own certificate."""
    return office.proposed(by.open("POST", path, json=body, headers={"Authorization": f"Bearer {by.token()}"}))


def decided(by: Consumer, proposal: str, body: object = APPROVE) -> TestResponse:
    headers = {"Authorization": f"Bearer {by.token()}"}
    return by.open("POST", f"{CHANGES}/{proposal}/decision", json=body, headers=headers)


def certificate_of(caller: Consumer) -> str:
    assert caller.certificate is not None
    return thumbprint_of(caller.certificate)


def test_one_key_is_not_pinned_for_two_clients(office: Office) -> None:
    one, other = next(NAMES), next(NAMES)
    key = office.holder(one)
    office.register(one, certificate={DNS: host(one), "public_keys": pin(key)})
    pinned = {"public_keys": pin(key, office.holder(other))}
    response = office.send(CLIENTS, document(other, certificate={DNS: host(other), **pinned}))
    assert pointers(response).keys() == {"/certificate/public_keys"}
    office.register(other)
    body = document(other, department=None, client=None, certificate={DNS: host(other), **pinned})
    response = office.send(f"{CLIENTS}/{other}", body, method="PUT")
    assert pointers(response).keys() == {"/certificate/public_keys"}
    # Its own pin it keeps.
    office.change(one, certificate={DNS: host(one), "public_keys": pin(key)}, title={"en": "Other", "zh": "其他"})


def test_two_proposals_with_one_key_are_not_both_approved(office: Office) -> None:
    one, other = next(NAMES), next(NAMES)
    pins = pin(office.holder(one))
    first, second = (
        office.propose(name, certificate={DNS: host(name), "public_keys": pins}) for name in (one, other)
    )
    office.approve(first)
    problem(office.decide(second), "conflict")


@pytest.mark.parametrize("verdict", [APPROVE, REJECT])
def test_one_key_under_two_ids_is_no_second_person(office: Office, verdict: dict[str, str]) -> None:
    holder = office.holder("one-key")
    one, other = officer(office, holder), officer(office, holder)
    proposal = sent(office, one, CLIENTS, document(next(NAMES)))
    response = decided(other, proposal, verdict)
    recorded(office.node, response, "not-permitted")
    (reason,) = problem(response, "not-permitted")["reasons"]
    assert reason["rule"] == "second-person"
    assert office.read(f"{CHANGES}/{proposal}")["state"] == "proposed"
    office.approve(proposal)


def test_proposal_over_a_certificate_that_was_suspended_since_is_not_approved(office: Office) -> None:
    thief = officer(office)
    proposal = sent(office, thief, CLIENTS, document(next(NAMES), **OFFICERS))
    office.taken(office.lock(thief.name, certificate_of(thief)))
    assert "certificate" in problem(office.decide(proposal), "conflict")["detail"]
    assert office.taken(office.decide(proposal, REJECT))["state"] == "rejected"


def test_proposal_of_whoever_was_suspended_and_resumed_since_is_not_approved(office: Office) -> None:
    thief = officer(office)
    proposal = sent(office, thief, CLIENTS, document(next(NAMES), **OFFICERS))
    office.suspend(thief.name)
    office.resume(thief.name)
    assert "suspended or changed since" in problem(office.decide(proposal), "conflict")["detail"]
    # What it proposes from now on counts.
    office.approve(sent(office, thief, CLIENTS, document(next(NAMES))))


def test_proposal_with_a_key_that_was_taken_out_since_is_not_approved(office: Office) -> None:
    thief = officer(office)
    proposal = sent(office, thief, CLIENTS, document(next(NAMES)))
    pins = pin(office.holder(thief.name))
    office.change(thief.name, roles=["security-admin"], certificate={DNS: host(thief.name), "public_keys": pins})
    problem(office.decide(proposal), "conflict")


@pytest.mark.parametrize(("days", "lapsed"), [(30, False), (31, True)])
def test_proposal_that_nobody_looked_at_for_a_month_lapses(office: Office, days: int, *, lapsed: bool) -> None:
    proposal = office.propose(next(NAMES))
    late = act_of(office.node, SECOND, datetime.now(UTC) + timedelta(days=days) - timedelta(minutes=1))
    desk = office.node.node.desk()
    if lapsed:
        with pytest.raises(Refusal, match="lapsed 30 days after"):
            proposals.decide(desk, late, proposal, APPROVE)
        proposals.decide(desk, late, proposal, REJECT)
    else:
        proposals.decide(desk, late, proposal, APPROVE)


def test_proposal_says_over_which_certificate_it_was_sent(office: Office) -> None:
    by = officer(office)
    said = office.read(f"{CHANGES}/{sent(office, by, CLIENTS, document(next(NAMES)))}")["document"]["sent"]
    assert certificate_of(by) in said["certificates"]
    assert said["key"].startswith("sha256-")
    assert said["epoch"] == office.node.node.current.refresh().epoch


@pytest.mark.parametrize(
    "certificate",
    [{DNS: host(FIRST).upper()}, {DNS: host(FIRST).replace("hz", "HZ")}, {MAIL: "trial@Hangzhou.example"}],
)
def test_host_that_differs_in_case_alone_is_not_registered(office: Office, certificate: dict[str, str]) -> None:
    (kind,) = certificate
    response = office.send(CLIENTS, document(next(NAMES), certificate=certificate))
    assert f"/certificate/{kind}" in pointers(response)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        (MAIL, "case@hangzhou.example", "CASE@hangzhou.example"),
        ("tls_client_auth_subject_dn", "CN=case,C=CN", "CN=Case,C=CN"),
        ("tls_client_auth_san_uri", "urn:hz:case", "urn:hz:Case"),
    ],
)
def test_name_that_differs_from_anothers_in_case_alone_is_taken(
    office: Office, kind: str, one: str, other: str
) -> None:
    office.register(next(NAMES), certificate={kind: one})
    response = office.send(CLIENTS, document(next(NAMES), certificate={kind: other}))
    assert pointers(response).keys() == {f"/certificate/{kind}"}


def test_certificate_with_a_name_in_another_case_is_nobodys(office: Office) -> None:
    holder = office.holder("upper", names=(x509.DNSName(host("hz-outsider").upper()),))
    assert outcome(office.caller("hz-outsider", holder), "any") == "certificate-not-trusted"


def test_officers_certificate_is_not_locked_out_under_anybodys_id(office: Office) -> None:
    target = officer(office)
    target.token()
    response = office.lock("hz-outsider", certificate_of(target))
    assert target.name in problem(response, "conflict")["detail"]
    own = office.parties.client(FIRST)
    assert FIRST in problem(office.lock("hz-outsider", certificate_of(own)), "conflict")["detail"]
    assert target.get(CLIENTS).status_code == 200
    office.taken(office.lock(target.name, certificate_of(target)))
    problem(target.get(CLIENTS), "certificate-not-trusted")


def test_certificate_whose_name_moved_on_is_locked_out_as_its_new_clients(office: Office) -> None:
    name, moved = next(NAMES), next(NAMES)
    holder = office.holder(name)
    office.register(name)
    office.caller(name, holder).token()
    office.change(name, certificate={DNS: host(moved)})
    office.register(moved, certificate={DNS: host(name)})
    office.caller(moved, holder).token()
    problem(office.lock(name, holder), "conflict")
    office.taken(office.lock(moved, holder))


def test_administrators_do_not_lock_their_certificates_out_until_none_is_left(ground: Ground, tmp_path: Path) -> None:
    with open_office(ground, tmp_path) as office:
        first, second = (office.parties.client(name) for name in (FIRST, SECOND))
        second.token()
        office.taken(office.lock(SECOND, certificate_of(second)))
        # By its client alone the other one would still count.
        assert office.client(SECOND)["state"] == "active"
        assert "last" in problem(office.lock(FIRST, certificate_of(first)), "conflict")["detail"]
        problem(office.send(f"{CLIENTS}/{FIRST}/suspension", {"reason": "Gone."}), "conflict")
        # With another certificate it is back, and counts again.
        again = office.holder(SECOND, names=(x509.DNSName(host(SECOND)),))
        office.caller(SECOND, again).token()
        office.taken(office.lock(FIRST, certificate_of(first)))


@pytest.fixture
def begun(ground: Ground, tmp_path: Path) -> Iterator[Office]:
    """Administrators of a node whose directory may be published anew."""
    with open_office(ground, tmp_path, NODE_DIR=str(edited(ground, tmp_path, BEGIN))) as office:
        yield office


def dropped(office: Office) -> None:
    """A revision without the steward of `hz-hrss`."""

    def out(text: str) -> str:
        return re.sub(rf"  - client: {STEWARD}\n(?:    .*\n)+", "", text)

    publish(office.node.ground, office.node.folder, REVISION + 1, {"departments/hz-hrss.yaml": out})
    caller = office.node.consumer("hz-sysadmin")
    headers = {"Authorization": f"Bearer {caller.token()}"}
    assert caller.open("POST", "/v1/reload", headers=headers).status_code == 200
    problem(office.parties.get(FIRST, f"{CLIENTS}/{STEWARD}"), "not-found")


def test_id_with_a_token_of_another_department_is_not_given_again(begun: Office) -> None:
    token = begun.parties.client(STEWARD).token()
    assert token
    dropped(begun)
    again = document(STEWARD, department="hz-market", roles=["steward"])
    assert "another department" in problem(begun.send(CLIENTS, again), "conflict")["detail"]
    begun.register(STEWARD, department="hz-hrss", roles=["steward"])


def test_id_that_was_resumed_for_another_department_is_not_given_again(begun: Office) -> None:
    begun.suspend(STEWARD)
    begun.resume(STEWARD)
    dropped(begun)
    problem(begun.send(CLIENTS, document(STEWARD, department="hz-market")), "conflict")


def test_id_that_got_its_token_behind_the_proposal_is_not_given_again(begun: Office) -> None:
    """Proposed while the id was free for everybody, approved when it was not."""
    name = next(NAMES)
    theirs, ours = begun.propose(name), begun.propose(name, department="hz-market")
    begun.approve(theirs)
    problem(begun.decide(ours), "conflict")


def test_question_is_answered_to_whom_two_persons_let_in_and_the_log_is_sound(office: Office) -> None:
    word, name = purpose(), office.register(next(NAMES))
    office.parties.active(purposes=[word])
    assert outcome(office.caller(name, office.holder(name)), word) == "match"
    assert check(office.node.node.store, office.node.node.vkey).sound
