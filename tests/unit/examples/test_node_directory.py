from __future__ import annotations

import re
from datetime import datetime
from itertools import combinations
from typing import Any

import pytest
import yaml

from examples.demo.departments import NODE_DIR, client_names
from examples.demo.personas import personas
from examples.demo.sources import LOADED_AT
from examples.demo.world import Scale

Document = dict[str, Any]

DESIGN_CLIENTS = {
    "hz-hrss-benefits": "consumer",
    "hz-hrss-review": "consumer",
    "hz-tax-levy": "consumer",
    "hz-civil-dibao": "consumer",
    "hz-outsider": "consumer",
    "hz-audit": "auditor",
    "hz-audit-2": "auditor",
    "hz-data-bureau": "authority",
    "hz-tax-steward": "steward",
    "hz-market-steward": "steward",
    "hz-hrss-steward": "steward",
    "hz-sysadmin": "system-admin",
    "hz-secadmin": "security-admin",
    "hz-secadmin-2": "security-admin",
}


def read(folder: str, key: str) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for path in sorted((NODE_DIR / folder).glob("*.yaml")):
        document: Document = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert document[key] == path.stem
        found[path.stem] = document
    return found


DEPARTMENTS = read("departments", "department")
SERVICES = read("services", "service")
AGREEMENTS = read("agreements", "agreement")
CLIENTS = {client["client"]: (name, client) for name, d in DEPARTMENTS.items() for client in d["clients"]}
LOADED = datetime.fromisoformat(LOADED_AT)
ANSWERING = sorted(name for name, service in SERVICES.items() if service["sharing"] != "withheld")


def is_current(agreement: Document) -> bool:
    return datetime.fromisoformat(agreement["valid"]["until"]) > LOADED


def columns_of(binding: Any) -> list[str]:
    if not isinstance(binding, dict):
        return []
    return [binding[role] for role in ("column", "from", "to") if role in binding]


def test_clients_are_those_of_the_design() -> None:
    assert {name: client["roles"] for name, (_, client) in CLIENTS.items()} == {
        name: [role] for name, role in DESIGN_CLIENTS.items()
    }
    assert len(set(client_names().values())) == len(CLIENTS)


def test_no_client_holds_two_administrator_roles() -> None:
    for _, client in CLIENTS.values():
        held = {"system-admin", "security-admin", "auditor"} & set(client["roles"])
        assert not list(combinations(sorted(held), 2))


def test_node_names_a_department_that_holds_the_authority() -> None:
    node = yaml.safe_load((NODE_DIR / "node.yaml").read_text(encoding="utf-8"))
    assert "authority" in CLIENTS[node["authority"]][1]["roles"]
    assert set(node) == {"node", "title", "origin", "policy_revision", "authority"}


def test_catalogue_has_the_demo_services_and_one_withheld() -> None:
    assert set(ANSWERING) == {
        "employment-status",
        "business-registration",
        "death-registration",
        "property-contract",
        "wage-base",
        "person-basic",
        "enterprise-basic",
        "household-registration",
    }
    (withheld,) = set(SERVICES) - set(ANSWERING)
    assert "民法典" in SERVICES[withheld]["basis"][0]
    assert {"source", "subject", "confirm", "attributes"}.isdisjoint(SERVICES[withheld])


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_a_department_a_ground_and_two_languages(name: str) -> None:
    service = SERVICES[name]
    assert service["provider"] in DEPARTMENTS
    assert service["basis"]
    assert set(service["title"]) == set(service["summary"]) == {"en", "zh"}


@pytest.mark.parametrize("name", ANSWERING)
def test_service_is_bound_to_columns_that_the_source_has(name: str, small_columns: dict[str, set[str]]) -> None:
    service = SERVICES[name]
    provider = service["provider"]
    assert service["source"]["url"] == "${HECHA_SOURCE_" + provider.upper().replace("-", "_") + "}"
    relation = small_columns[f"{provider}/{service['source']['relation']}"]
    register = small_columns[f"{provider}/{service['confirm']['register']}"]
    assert set(columns_of(next(iter(service["subject"].values())))) <= relation
    for binding in service["attributes"].values():
        assert set(columns_of(binding)) <= relation
    assert service["confirm"]["column"] in register
    assert set(columns_of(service["confirm"]["name"])) <= register
    updated = service["source"]["updated"]
    assert updated["column"] in small_columns[f"{provider}/{updated['relation']}"]
    assert set(service["required"]) <= set(service["attributes"])


@pytest.mark.parametrize("name", ANSWERING)
def test_example_is_a_persona_that_matches(name: str) -> None:
    example = SERVICES[name]["example"]
    matching = [
        {"subject": p.subject, "confirm": p.confirm, "declared": p.declared}
        for p in personas()
        if p.service == name and p.expect == "match"
    ]
    assert example in matching


@pytest.mark.parametrize("name", AGREEMENTS)
def test_agreement_names_what_exists(name: str) -> None:
    agreement = AGREEMENTS[name]
    service = SERVICES[agreement["service"]]
    assert agreement["provider"] == service["provider"]
    assert set(agreement["attributes"]) <= set(service["attributes"])
    assert set(agreement["attributes"]) >= set(service["required"])
    assert set(agreement["disclosure"]["masked"]) <= set(agreement["attributes"])
    assert all("mask" in service["attributes"][masked] for masked in agreement["disclosure"]["masked"])
    assert agreement["security_agreement"] is True
    assert agreement["legal_basis"]
    for pattern in ("case", "operator"):
        assert re.compile(agreement[pattern]).fullmatch("demo.operator" if pattern == "operator" else "UB-2026-09")
    if agreement["kind"] == "agreement":
        assert agreement["consumer"] in DEPARTMENTS
        assert service["sharing"] == "conditional"
        for client in agreement["clients"]:
            department, held = CLIENTS[client]
            assert department == agreement["consumer"]
            assert held["roles"] == ["consumer"]
    else:
        assert "consumer" not in agreement
        assert set(agreement.get("departments", [])) <= set(DEPARTMENTS)
        assert service["sharing"] == "unconditional" or agreement["statutory"] is True


def test_at_most_one_agreement_for_each_department_service_and_purpose() -> None:
    seen: set[tuple[str, str, str]] = set()
    for agreement in AGREEMENTS.values():
        parties = [agreement["consumer"]] if "consumer" in agreement else agreement.get("departments") or ["*"]
        for party in parties:
            for purpose in agreement["purposes"]:
                key = (party, agreement["service"], purpose)
                assert key not in seen
                seen.add(key)


def test_one_agreement_has_run_out_and_one_is_bound_to_networks_and_hours() -> None:
    over = [name for name, agreement in AGREEMENTS.items() if not is_current(agreement)]
    assert over == ["hz-tax-property-contract-forecast-2025"]
    assert any("networks" in a and "hours" in a for a in AGREEMENTS.values())


def test_no_agreement_says_where_it_stands_and_the_template_is_unsigned() -> None:
    """States live in the node's database; nobody could keep the keys of a signed template."""
    assert not [name for name, agreement in AGREEMENTS.items() if "state" in agreement]
    assert not [name for name, department in DEPARTMENTS.items() if "signing_keys" in department]
    assert not list(NODE_DIR.rglob("*.jws")) + list(NODE_DIR.rglob("*.json"))


def test_cross_check_of_the_month_is_agreed_as_a_batch() -> None:
    batches = {a["service"]: a["batch"]["rows"] for a in AGREEMENTS.values() if "batch" in a}
    assert batches.keys() == {"employment-status", "business-registration", "death-registration"}
    assert min(batches.values()) > Scale().claimants


def covering(service: str, client: str, purpose: str) -> list[Document]:
    department = CLIENTS[client][0]
    return [
        a
        for a in AGREEMENTS.values()
        if a["service"] == service
        and purpose in a["purposes"]
        and is_current(a)
        and client in (a.get("clients") or [client])
        and a.get("consumer", department) == department
        and department in (a.get("departments") or [department])
    ]


@pytest.mark.parametrize("number", range(len(personas())))
def test_personas_that_get_an_answer_have_terms_and_refused_ones_have_none(number: int) -> None:
    persona = personas()[number]
    terms = [
        a
        for a in covering(persona.service, persona.client, persona.purpose)
        if set(persona.declared) <= set(a["attributes"])
    ]
    assert len(terms) == (0 if persona.expect == "not-permitted" else 1)
    if persona.expect == "not_found":
        assert terms[0]["fold"] is False


@pytest.mark.parametrize("name", ANSWERING)
def test_every_answering_service_has_personas_of_each_result(name: str) -> None:
    asked = [persona for persona in personas() if persona.service == name]
    expected = {persona.expect for persona in asked}
    folds = all(a["fold"] for a in AGREEMENTS.values() if a["service"] == name and is_current(a))
    assert expected - {"not-permitted"} == ({"match", "no_match"} if folds else {"match", "no_match", "not_found"})
    subjects = {tuple(persona.subject.items()) for persona in asked if persona.expect == "no_match"}
    assert len(subjects) >= 2


def test_every_consumer_has_something_to_ask() -> None:
    asking = {persona.client for persona in personas() if persona.expect != "not-permitted"}
    assert asking == {name for name, role in DESIGN_CLIENTS.items() if role == "consumer"}
