"""Departments with clients beside those of the directory: nobody else's place, and nobody who cannot be read."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from app.registry.departments import Client, Departments, Registered
from app.registry.files import parse

FILE = """\
department: hz-tax
name: {en: Tax, zh: 税务}
clients:
  - client: hz-tax-levy
    title: {en: Levy, zh: 征收}
    roles: [consumer]
    certificate: {tls_client_auth_san_dns: levy.example}
"""
EMPTY = """\
department: hz-hrss
name: {en: Labour, zh: 人社}
clients: []
"""


@pytest.fixture
def departments() -> Departments:
    return Departments([parse("hz-tax.yaml", FILE.encode()), parse("hz-hrss.yaml", EMPTY.encode())])


def document(name: str = "hz-new", certificate: str = "new.example", **changes: Any) -> dict[str, Any]:
    return {
        "client": name,
        "title": {"en": "New", "zh": "新"},
        "roles": ["consumer"],
        "certificate": {"tls_client_auth_san_dns": certificate},
        **changes,
    }


def row(*, department: str = "hz-hrss", suspended: bool = False, **changes: Any) -> Registered:
    made = document(**changes)
    return Registered(made["client"], department, made, suspended)


def held(client: Client | None) -> tuple[str, str, bool] | None:
    return None if client is None else (client.name, client.department, client.suspended)


def found(departments: Departments, certificate: str) -> tuple[str, str, bool] | None:
    return held(departments.find([("tls_client_auth_san_dns", certificate)]))


def test_without_rows_nothing_is_added(departments: Departments) -> None:
    made = departments.with_registered(())
    assert (made.clients, made.all) == (departments.clients, departments.all)


def test_registered_client_is_one_of_its_department_and_found_by_its_certificate(departments: Departments) -> None:
    made = departments.with_registered([row()])
    assert found(made, "new.example") == ("hz-new", "hz-hrss", False)
    assert [client.name for client in made.all["hz-hrss"].clients] == ["hz-new"]
    assert made.clients["hz-new"] is made.all["hz-hrss"].clients[0]


def test_what_is_registered_leaves_the_directory_as_it_was(departments: Departments) -> None:
    departments.with_registered([row(), Registered("hz-tax-levy", "hz-tax", None, suspended=True)])
    assert departments.clients.keys() == {"hz-tax-levy"}
    assert found(departments, "new.example") is None
    assert found(departments, "levy.example") == ("hz-tax-levy", "hz-tax", False)
    assert departments.all["hz-hrss"].clients == ()


def test_suspension_reaches_a_client_of_the_directory_everywhere(departments: Departments) -> None:
    made = departments.with_registered([Registered("hz-tax-levy", "hz-tax", None, suspended=True)])
    assert found(made, "levy.example") == ("hz-tax-levy", "hz-tax", True)
    assert made.clients["hz-tax-levy"].suspended
    assert [client.suspended for client in made.all["hz-tax"].clients] == [True]


def test_resumed_client_of_the_directory_is_as_the_directory_says(departments: Departments) -> None:
    made = departments.with_registered([Registered("hz-tax-levy", "hz-tax", None, suspended=False)])
    assert made.clients == departments.clients


@pytest.mark.parametrize(
    ("in_document", "in_row", "suspended"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_registered_client_is_suspended_by_its_document_or_its_row(
    departments: Departments, *, in_document: bool, in_row: bool, suspended: bool
) -> None:
    made = departments.with_registered([row(suspended=in_row)])
    if in_document:
        flagged = Registered("hz-new", "hz-hrss", document(suspended=True), in_row)
        made = departments.with_registered([flagged])
    assert made.clients["hz-new"].suspended is suspended


LEFT_OUT = {
    "id of the directory's": row(name="hz-tax-levy"),
    "certificate of the directory's": row(certificate="levy.example"),
    "department that is gone": row(department="hz-gone"),
    "no document": Registered("hz-new", "hz-hrss", {}, suspended=False),
    "two administrators": row(roles=["auditor", "system-admin"]),
    "unknown member": row(more="x"),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_whom_there_is_no_room_for_is_left_out_and_logged(
    departments: Departments, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        made = departments.with_registered([LEFT_OUT[kind]])
    assert made.clients == departments.clients
    assert found(made, "levy.example") == ("hz-tax-levy", "hz-tax", False)
    assert found(made, "new.example") is None
    assert [record.message.endswith("it is left out") for record in caplog.records] == [True]


def test_of_two_with_one_certificate_name_the_first_stands(departments: Departments) -> None:
    made = departments.with_registered([row(name="hz-a"), row(name="hz-b")])
    assert found(made, "new.example") == ("hz-a", "hz-hrss", False)
    assert "hz-b" not in made.clients


def test_lock_out_of_somebody_unknown_changes_nothing(departments: Departments) -> None:
    made = departments.with_registered([Registered("hz-gone", "hz-tax", None, suspended=True)])
    assert made.clients == departments.clients


def test_registered_anew_at_every_revision(departments: Departments) -> None:
    once = departments.with_registered([row()])
    again = departments.with_registered([row(), row(name="hz-more", certificate="more.example")])
    assert once.clients["hz-new"] == again.clients["hz-new"]
    assert again.clients.keys() == {"hz-tax-levy", "hz-new", "hz-more"}
