"""Changes of registered clients: keys renewed without a new agreement, roles taken away, what has been overtaken."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select

from app.log import tables
from app.log.check import check
from tests.nodes.office import CHANGES, CLIENTS, FIRST, SECOND, Office, changed, host, open_office, outcome, pin
from tests.nodes.problems import pointers, problem, recorded
from tests.nodes.running import Ground
from tests.nodes.steps import epoch, purpose

NAMES = (f"changing-{number}" for number in itertools.count(1))
DNS = "tls_client_auth_san_dns"
NOBODY = "certificate-not-trusted"


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with open_office(ground, tmp_path_factory.mktemp("office")) as made:
        yield made


@dataclass(frozen=True)
class Agreed:
    """An agreement of `hz-hrss` with nobody's name in it, and its purpose."""

    identifier: str
    word: str

    def row(self, office: Office) -> Any:
        """All that the database says of it."""
        with office.node.node.store.reading() as connection:
            return connection.execute(select(tables.agreement).where(tables.agreement.c.id == self.identifier)).one()


@pytest.fixture(scope="module")
def agreed(office: Office) -> Agreed:
    word = purpose()
    return Agreed(office.parties.active(purposes=[word]), word)


def pinned(name: str, *pins: str) -> dict[str, Any]:
    return {"certificate": {DNS: host(name), "public_keys": list(pins)}}


def test_renewal_with_the_same_key_needs_nothing(office: Office, agreed: Agreed) -> None:
    name = next(NAMES)
    old = office.holder(name)
    office.register(name, **pinned(name, *pin(old)))
    before, size = agreed.row(office), len(office.node.rows(kind="client"))
    new = office.holder(name, key=old.key)
    assert new.certificate.serial_number != old.certificate.serial_number
    assert [outcome(office.caller(name, holder), agreed.word) for holder in (old, new)] == ["match", "match"]
    assert (agreed.row(office), len(office.node.rows(kind="client"))) == (before, size)


def test_overlap_of_two_keys_carries_a_client_over_without_a_new_agreement(office: Office, agreed: Agreed) -> None:
    name = next(NAMES)
    old, new = office.holder(name), office.holder(name)
    office.register(name, **pinned(name, *pin(old)))
    before = agreed.row(office)

    def outcomes() -> list[str]:
        return [outcome(office.caller(name, holder), agreed.word) for holder in (old, new)]

    assert outcomes() == ["match", NOBODY]
    office.change(name, **pinned(name, *pin(old, new)))
    assert outcomes() == ["match", "match"]
    office.change(name, **pinned(name, *pin(new)))
    assert outcomes() == [NOBODY, "match"]
    assert agreed.row(office) == before
    assert office.states(name) == ["proposed", "registered", "proposed", "changed", "proposed", "changed"]


def test_agreement_names_registered_clients_alone_or_among_others(office: Office) -> None:
    named, other, word = office.register(next(NAMES)), office.register(next(NAMES)), purpose()
    identifier = office.parties.active(purposes=[word], users=[named])
    assert office.parties.agreement(identifier)["document"]["clients"] == [named]
    assert outcome(office.caller(named, office.holder(named)), word) == "match"
    assert outcome(office.caller(other, office.holder(other)), word) == "not-permitted"


def test_key_that_is_not_registered_is_refused_whatever_certificate_holds_it(office: Office, agreed: Agreed) -> None:
    name = next(NAMES)
    old, stolen = office.holder(name), office.holder(name)
    office.register(name, **pinned(name, *pin(old)))
    good = office.caller(name, old)
    token = good.token()
    headers = {"Authorization": f"Bearer {token}"}
    response = office.caller(name, stolen).open("GET", "/v1/services", headers=headers)
    assert "another key" in problem(response, NOBODY)["detail"]
    assert outcome(good, agreed.word) == "match"


def test_certificate_name_moves_with_the_approval(office: Office, agreed: Agreed) -> None:
    name, moved = next(NAMES), next(NAMES)
    office.register(name)
    old, new = office.holder(name), office.holder(moved)
    identifier = office.propose_change(name, certificate={DNS: host(moved)})
    assert outcome(office.caller(name, old), agreed.word) == "match"
    office.approve(identifier)
    assert outcome(office.caller(name, old), agreed.word) == NOBODY
    assert outcome(office.caller(name, new), agreed.word) == "match"
    # The name that it had is free again.
    office.register(moved, certificate={DNS: host(name)})
    assert outcome(office.caller(moved, old), agreed.word) == "match"


def test_role_that_was_taken_away_is_gone_from_tokens_in_hand(office: Office) -> None:
    name = next(NAMES)
    office.register(name, roles=["consumer", "steward"])
    caller = office.caller(name, office.holder(name))
    assert caller.get("/v1/usage").status_code == 200
    office.change(name, roles=["consumer"])
    problem(caller.get("/v1/usage"), "insufficient-scope")
    assert caller.get("/v1/services").status_code == 200


def test_administrator_who_lost_the_role_approves_nothing_more(office: Office) -> None:
    name = next(NAMES)
    office.register(name, department="hz-ops", roles=["security-admin"])
    caller = office.caller(name, office.holder(name))
    headers = {"Authorization": f"Bearer {caller.token()}"}
    waiting = office.propose(next(NAMES))
    office.change(name, roles=["consumer"])
    body = {"decision": "approve", "reason": "Still here."}
    response = caller.open("POST", f"{CHANGES}/{waiting}/decision", json=body, headers=headers)
    recorded(office.node, response, "insufficient-scope")


def test_client_of_the_directory_is_changed_there(office: Office) -> None:
    response = office.send(f"{CLIENTS}/hz-outsider", changed("hz-outsider"), method="PUT")
    receipt = recorded(office.node, response, "conflict")
    assert "signed node directory" in response.get_json()["detail"]
    assert receipt.record["about"] == "hz-outsider"


def test_change_that_changes_nothing_conflicts(office: Office) -> None:
    name = office.register(next(NAMES))
    problem(office.send(f"{CLIENTS}/{name}", changed(name), method="PUT"), "conflict")


@pytest.mark.parametrize("member", ["department", "client"])
def test_department_and_id_never_change(office: Office, member: str) -> None:
    name = office.register(next(NAMES))
    response = office.send(f"{CLIENTS}/{name}", changed(name, **{member: "hz-tax"}), method="PUT")
    assert pointers(response).keys() == {f"/{member}"}


def test_change_to_another_clients_name_or_two_administrators_is_refused(office: Office) -> None:
    name = office.register(next(NAMES))
    path = f"{CLIENTS}/{name}"
    taken = office.send(path, changed(name, certificate={DNS: host("hz-outsider")}), method="PUT")
    assert pointers(taken).keys() == {f"/certificate/{DNS}"}
    both = office.send(path, changed(name, roles=["auditor", "system-admin"]), method="PUT")
    assert pointers(both).keys() == {"/roles"}


def test_unknown_client_is_not_found(office: Office) -> None:
    for path, method, body in (
        (f"{CLIENTS}/hz-nobody", "PUT", changed("hz-nobody")),
        (f"{CLIENTS}/hz-nobody/suspension", "POST", {"reason": "No."}),
        (f"{CLIENTS}/hz-nobody/resumption", "POST", {"reason": "No."}),
        (f"{CLIENTS}/hz-nobody/certificates/suspension", "POST", {"reason": "No.", "certificate": "A" * 43}),
    ):
        recorded(office.node, office.send(path, body, method=method), "not-found")


def test_of_two_changes_the_one_approved_second_was_overtaken(office: Office) -> None:
    name = office.register(next(NAMES))
    first = office.propose_change(name, roles=["consumer", "steward"])
    second = office.propose_change(name, by=SECOND, title={"en": "Other", "zh": "其他"})
    office.approve(second, by=FIRST)
    before = epoch(office.node)
    recorded(office.node, office.decide(first), "conflict")
    assert epoch(office.node) == before
    assert office.client(name)["roles"] == ["consumer"]
    assert office.client(name)["title"]["en"] == "Other"


def test_change_whose_name_was_taken_meanwhile_is_overtaken(office: Office) -> None:
    name, other = office.register(next(NAMES)), next(NAMES)
    waiting = office.propose_change(name, certificate={DNS: host(other)})
    office.register(other)
    problem(office.decide(waiting), "conflict")


def test_suspended_client_may_be_changed_and_stays_suspended(office: Office, agreed: Agreed) -> None:
    name = office.register(next(NAMES))
    office.suspend(name)
    office.change(name, title={"en": "Other", "zh": "其他"})
    assert office.client(name)["state"] == "suspended"
    assert outcome(office.caller(name, office.holder(name)), agreed.word) == NOBODY


def test_log_is_sound_after_all_of_this(office: Office) -> None:
    assert check(office.node.node.store, office.node.node.vkey).sound
