"""The OpenAPI document is what the node does: its examples run, and every answer fits the schema it publishes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from app.api.problems import PROBLEMS
from app.registry.catalogue import Service
from examples.demo.personas import personas
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, body, employment
from tests.nodes.routes import example_agreements, example_app, example_directory, routes
from tests.nodes.running import RunningNode

Consumers = Callable[[str], Consumer]
Document = dict[str, Any]

DOCUMENT: Document = example_app().test_client().get("/openapi.json").get_json()
SERVICES = example_directory().catalogue.services
OPERATIONS = [
    (path, method, found)
    for path, item in DOCUMENT["paths"].items()
    for method, found in item.items()
    if method in {"get", "post", "put", "patch", "delete"}
]
PAGES = {"/openapi.json", "/docs", "/docs/static/<path:name>", "/livez"}


def every_service() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())


def path_of(service: str) -> str:
    return f"/v1/services/{service}/verifications"


def operation(service: str) -> Document:
    """The documented question of a service."""
    found: Document = DOCUMENT["paths"][path_of(service)]["post"]
    return found


def check(schema: Document, value: Any) -> None:
    """Hold a value against a schema of the document; raises jsonschema_rs.ValidationError."""
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "components": DOCUMENT["components"],
        **schema,
    }
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(value)


def askers(service: str, purpose: str) -> list[str]:
    """The clients that may ask this service for this purpose, by the node directory."""
    found = []
    for agreement in example_agreements().of_service(service):
        if purpose in agreement.terms.purposes:
            departments = agreement.terms.departments or {"hz-planning"}
            found += [
                client.name
                for client in example_directory().departments.clients.values()
                if client.department in departments
                and "consumer" in client.roles
                and (not agreement.terms.clients or client.name in agreement.terms.clients)
            ]
    return found


@every_service()
def test_documented_example_is_answered(consumer: Consumers, service: Service) -> None:
    content = operation(service.name)["requestBody"]["content"]["application/json"]
    if service.sharing == "withheld":
        assert "example" not in content
        return
    example = content["example"]
    check(content["schema"], example)
    response = consumer(askers(service.name, example["purpose"])[0]).ask(service.name, example)
    assert response.status_code == 200, response.text
    assert response.get_json()["result"] == "match"


@every_service()
def test_service_has_its_own_path_and_closed_schema(service: Service) -> None:
    found = operation(service.name)
    assert found["operationId"] == f"verify-{service.name}"
    assert found["security"] == [{"mtls": [], "token": []}]
    schema = found["requestBody"]["content"]["application/json"]["schema"]
    resolved = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    assert resolved["additionalProperties"] is False
    assert {"purpose", "case", "operator"} <= set(resolved["required"])
    for title in service.title.values():
        assert title in found["summary"]
    assert ("200" in found["responses"]) is (service.sharing != "withheld")


@pytest.mark.parametrize("number", range(len(personas())))
def test_question_and_answer_of_every_persona_fit_the_document(consumer: Consumers, number: int) -> None:
    persona = personas()[number]
    found = operation(persona.service)
    question = body(persona)
    check(found["requestBody"]["content"]["application/json"]["schema"], question)
    response = consumer(persona.client).ask(persona.service, question)
    documented = found["responses"].get(str(response.status_code), {"$ref": "#/components/responses/Refusal"})
    if "$ref" in documented:
        documented = DOCUMENT["components"]["responses"]["Refusal"]
    check(documented["content"][response.content_type]["schema"], response.get_json())


def test_answer_with_one_member_more_would_not_fit(consumer: Consumers) -> None:
    """API3: the published answer is closed, so that a test notices whatever is added to it."""
    answer = consumer(CLIENT).ask(SERVICE, employment()).get_json()
    schema = operation(SERVICE)["responses"]["200"]["content"]["application/json"]["schema"]
    check(schema, answer)
    for widened in ({**answer, "employer": "…"}, {**answer, "disclosed": {"employer": "…", "wage": "1"}}):
        with pytest.raises(jsonschema_rs.ValidationError):
            check(schema, widened)


def test_every_route_is_documented_and_every_documented_path_is_a_route() -> None:
    """API9: routes minus document is the pages about the document itself."""
    adapter = example_app().url_map.bind("localhost")
    running = {(route.method.lower(), route.rule) for route in routes()}
    documented = set()
    for path, method, _ in OPERATIONS:
        rule, _ = adapter.match(path.replace("{", "").replace("}", ""), method.upper(), return_rule=True)
        documented.add((method, rule.rule))
    assert running - documented == {("get", page) for page in PAGES}


def test_every_operation_documents_refusals_as_problem_documents() -> None:
    """flask-smorest documents error bodies as application/json unless told otherwise."""
    (refusal,) = DOCUMENT["components"]["responses"].values()
    assert refusal["content"].keys() == {"application/problem+json"}
    for path, _, found in OPERATIONS:
        assert found["responses"]["default"] == {"$ref": "#/components/responses/Refusal"}
        for code, response in found["responses"].items():
            refused = code != "default" and code >= "400" and not path.startswith("/oauth2/")
            assert not refused or "application/json" not in response["content"]


def test_every_operation_says_who_may_call_it() -> None:
    for path, _, found in OPERATIONS:
        assert ("security" in found) is (not path.startswith("/.well-known/"))
        assert found["summary"]


def test_operation_ids_are_unique() -> None:
    ids = [found["operationId"] for _, _, found in OPERATIONS]
    assert len(ids) == len(set(ids))


def test_document_served_by_a_node_is_that_of_its_directory(node: RunningNode) -> None:
    assert node.nobody().open("GET", "/openapi.json").get_json() == DOCUMENT


def test_problem_schema_admits_every_problem(node: RunningNode, consumer: Consumers) -> None:
    schema = DOCUMENT["components"]["schemas"]["Problem"]
    caller = consumer(CLIENT)
    seen = {
        "malformed": caller.ask(SERVICE, b"{"),
        "invalid-request": caller.ask(SERVICE, {}),
        "not-permitted": caller.ask(SERVICE, employment(purpose="recruitment")),
        "token-invalid": caller.ask(SERVICE, employment(), Authorization=""),
        "not-found": caller.get("/v1/services/none"),
        "method-not-allowed": caller.open("DELETE", "/v1/services"),
        "certificate-required": node.nobody().open("GET", "/v1/services"),
    }
    for slug, response in seen.items():
        check(schema, problem(response, slug))
    assert seen.keys() <= PROBLEMS.keys()
