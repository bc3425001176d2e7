"""Locked out or narrowed while something is under way: twins of certificates, and bodies that are sent slowly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509

from app.life_cycle import agreements
from app.life_cycle.desk import Act
from app.refusals import Refusal
from app.trust.twins import twin_of
from bench.callers import unchecked_caller
from tests.nodes.office import Office, open_office, outcome
from tests.nodes.problems import problem
from tests.nodes.running import Ground


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with open_office(ground, tmp_path_factory.mktemp("narrowed")) as made:
        yield made


def test_certificate_that_is_locked_out_does_not_come_back_as_its_twin(office: Office) -> None:
    """Its holder rewrites the signature (r, s) as (r, n - s): another thumbprint, the same certificate."""
    name = office.register("hz-hrss-twin")
    lost = office.holder(name)
    twin = twin_of(lost.certificate, office.authority.certificate)
    assert twin is not None
    callers = [
        office.caller(name, holder)
        for holder in (lost, replace(lost, certificate=x509.load_der_x509_certificate(twin)))
    ]
    assert all(caller.token() for caller in callers)
    office.taken(office.lock(name, lost))
    for caller in callers:
        problem(caller.form(grant_type="client_credentials", client_id=name), "certificate-not-trusted")
    assert outcome(office.caller(name, office.holder(name)), "nothing") != "certificate-not-trusted"


def test_step_is_not_taken_by_rights_that_were_withdrawn_since_it_began(office: Office) -> None:
    """The head of a request comes at once, its body when its sender likes."""
    identifier = office.parties.active()
    name = office.register("hz-tax-second-steward", department="hz-tax", roles=["steward"])
    client = office.node.node.current.followed().departments.clients[name]
    begun = Act(unchecked_caller(client, {"steward", "catalogue"}), datetime.now(UTC), b"")
    office.change(name, roles=["consumer"])
    with pytest.raises(Refusal, match="was changed while"):
        agreements.revoke(office.node.node.desk(), begun, identifier, "No need.")
    assert office.parties.agreement(identifier)["state"] == "active"
