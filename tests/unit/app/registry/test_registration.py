"""Clients on their way into the register: their document is theirs alone, and says all that the client is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.refusals import Refusal
from app.registry.departments import Client, Departments, client_of
from app.registry.files import Members, NodeFileInvalid, parse
from app.registry.registration import Room, check_client, document_of
from evidence.jwk import to_jwk
from tests.nodes.routes import example_directory

DNS = "tls_client_auth_san_dns"
KEY = to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
FULL = {
    "client": "hz-new",
    "title": {"en": "New", "zh": "新"},
    "roles": ["steward", "consumer"],
    "certificate": {"public_keys": ["sha256-" + "f" * 64, "sha256-" + "0" * 64], DNS: "new.example"},
    "signing_keys": [KEY],
}
HELD = f"""\
department: hz-tax
name: {{en: Tax, zh: 税务}}
clients:
  - client: hz-tax-levy
    title: {{en: Levy, zh: 征收}}
    roles: [consumer]
    certificate: {{{DNS}: levy.example}}
"""


def room(department: str = "hz-tax") -> Room:
    return Room(Departments([parse("hz-tax.yaml", HELD.encode())]), "hz-data-bureau", department)


def read(document: dict[str, Any]) -> Client:
    return client_of(Members("client", document), "hz-tax")


@pytest.mark.parametrize("client", example_directory().departments.clients.values(), ids=lambda client: client.name)
def test_document_of_a_client_is_read_as_the_same_client(client: Client) -> None:
    assert client_of(Members("client", document_of(client)), client.department) == client


def test_document_is_the_same_however_it_was_written() -> None:
    """It is archived by its digest: what was proposed and what is registered must not differ by order or spelling."""
    bare = {member: KEY[member] for member in ("kty", "crv", "x", "y")}
    one, other = check_client(FULL, room()), check_client({**FULL, "signing_keys": [bare]}, room())
    assert document_of(one) == document_of(other) == document_of(read(document_of(one)))
    assert document_of(one)["roles"] == ["consumer", "steward"]
    assert document_of(one)["certificate"]["public_keys"] == ["sha256-" + "0" * 64, "sha256-" + "f" * 64]
    assert document_of(one)["signing_keys"] == [KEY]


def test_whoever_has_no_keys_has_none_in_the_document() -> None:
    bare = {**FULL, "certificate": {DNS: "new.example", "public_keys": []}, "signing_keys": []}
    assert document_of(check_client(bare, room())).keys() == {"client", "title", "roles", "certificate"}
    assert document_of(check_client(bare, room()))["certificate"] == {DNS: "new.example"}


def test_client_keeps_its_own_name_and_keys() -> None:
    """What it is held against is everybody else."""
    departments = Departments([parse("hz-tax.yaml", HELD.encode())])
    assert check_client({**FULL, "client": "hz-tax-levy", "certificate": {DNS: "levy.example"}}, room())
    made = Room(departments, "hz-data-bureau", "hz-tax")
    with pytest.raises(Refusal) as refused:
        check_client({**FULL, "certificate": {DNS: "levy.example"}}, made)
    assert [error["pointer"] for error in refused.value.members["errors"]] == [f"/certificate/{DNS}"]


@pytest.mark.parametrize("value", ["Levy.example", "LEVY.EXAMPLE"])
def test_host_in_another_case_is_not_read_from_a_file_either(value: str) -> None:
    with pytest.raises(NodeFileInvalid, match="its host in lower case"):
        Departments([parse("hz-tax.yaml", HELD.replace("levy.example", value).encode())])
    mail = HELD.replace(DNS, "tls_client_auth_san_email").replace("levy.example", f"a@{value}")
    with pytest.raises(NodeFileInvalid, match="its host in lower case"):
        Departments([parse("hz-tax.yaml", mail.encode())])


@pytest.mark.parametrize("value", ["CN=Levy,C=CN", "CN=levy,C=CN"])
def test_name_of_two_clients_is_the_same_in_whatever_case(value: str) -> None:
    text = HELD.replace(f"{DNS}: levy.example", 'tls_client_auth_subject_dn: "CN=levy,C=CN"')
    other = text.replace("hz-tax", "hz-hrss").replace("CN=levy,C=CN", value)
    with pytest.raises(NodeFileInvalid, match="stands twice"):
        Departments([parse("hz-tax.yaml", text.encode()), parse("hz-hrss.yaml", other.encode())])


def test_one_key_is_not_pinned_for_two_clients_of_the_directory() -> None:
    text = HELD.replace("levy.example}", "levy.example, public_keys: [sha256-" + "0" * 64 + "]}")
    other = text.replace("hz-tax", "hz-hrss").replace("levy.example", "other.example")
    with pytest.raises(NodeFileInvalid, match="pinned for another client"):
        Departments([parse("hz-tax.yaml", text.encode()), parse("hz-hrss.yaml", other.encode())])


def test_every_fault_is_told_at_once() -> None:
    flawed = {
        **FULL,
        "client": "13800138000",
        "title": {"en": " ", "zh": "新"},
        "roles": ["authority", "auditor", "auditor"],
        "certificate": {DNS: "*.example", "public_keys": ["sha256-" + "0" * 64] * 2},
    }
    with pytest.raises(Refusal) as refused:
        check_client(flawed, room())
    assert {error["pointer"] for error in refused.value.members["errors"]} == {
        "/client",
        "/title/en",
        "/roles",
        "/roles/2",
        f"/certificate/{DNS}",
        "/certificate/public_keys/1",
    }
    assert "13800138000" not in str(refused.value.members)


@pytest.mark.parametrize("name", ["HZ", "h", "-hz", "hz_x", "hz-x\n", "x" * 64, ""])
def test_id_is_one_as_the_directory_takes_it(name: str) -> None:
    assert pointers({**FULL, "client": name}, check_client) == {"/client"}


def test_fault_that_only_the_reader_finds_is_told_too() -> None:
    with pytest.raises(Refusal) as refused:
        check_client({**FULL, "certificate": {DNS: "new.example", "public_keys": ["sha256-0"]}}, room())
    (error,) = refused.value.members["errors"]
    assert error["pointer"] == ""
    assert "public_keys are at most 2 digests" in error["reason"]


NAMES: dict[str, tuple[list[str], list[str]]] = {
    "tls_client_auth_subject_dn": (
        ["CN=x", "CN=杭州,O=a\\,b,C=CN", "2.5.4.97=91330100MA2ABCDE1F,CN=x", "CN=a+OU=b,C=CN"],
        ["", "x", "CN=x, C=CN", "cn=x", "CN=", "CN=x,"],
    ),
    DNS: (
        ["a", "a.example", "a-1.b_c.example", "x" * 63 + ".example"],
        ["", ".a", "a.", "a..b", "*.a", "-a.b", "a-.b", "a b", "x" * 64, "ä.example", "a.example\n", "a/b", "A.b"],
    ),
    "tls_client_auth_san_ip": (["10.1.0.1", "2001:db8::1", "::1"], ["10.1", "10.01.0.1", "2001:DB8::1", "0::1", "x"]),
    "tls_client_auth_san_uri": (["urn:hz:x", "https://a.example/b"], ["", "x", "//a", "urn:ä", "u:a b", "u://[x"]),
    "tls_client_auth_san_email": (
        ["a@b.example", "a+B@c"],
        ["", "a", "@b", "a@", "a@b@c", "a b@c", "ä@c", "a@b.example\n", "a@B.example"],
    ),
}


def pointers(document: dict[str, Any], check: Callable[[dict[str, Any], Room], Client]) -> set[str]:
    try:
        check(document, room())
    except Refusal as refused:
        return {error["pointer"] for error in refused.members["errors"]}
    return set()


@pytest.mark.parametrize("kind", NAMES)
def test_names_are_written_as_certificates_are_read(kind: str) -> None:
    good, bad = NAMES[kind]
    for value in good:
        assert pointers({**FULL, "certificate": {kind: value}}, check_client) == set(), value
    for value in bad:
        assert pointers({**FULL, "certificate": {kind: value}}, check_client) == {f"/certificate/{kind}"}, value
