"""GET /v1/services: pages, filters, and match contracts whose digests anybody can recompute."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from evidence.canonical import canonical
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, body, persona
from tests.nodes.routes import example_directory
from tests.nodes.running import RunningNode

Consumers = Callable[[str], Consumer]

NAMES = sorted(example_directory().catalogue.services)


def page(caller: Consumer, **query: Any) -> dict[str, Any]:
    """One page of the catalogue."""
    response = caller.get("/v1/services?" + urlencode(query))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    assert found.keys() == {"items", "next"}
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [item["service"] for item in found["items"]]


@pytest.mark.parametrize("client", [CLIENT, "hz-outsider", "hz-tax-steward", "hz-audit", "hz-data-bureau"])
def test_catalogue_lists_every_service_in_order(consumer: Consumers, client: str) -> None:
    """The withheld one too: not shared, still catalogued (四川 第二十三条)."""
    found = page(consumer(client))
    assert names(found) == NAMES
    assert found["next"] is None


@pytest.mark.parametrize("client", ["hz-sysadmin", "hz-secadmin"])
def test_administrators_have_no_catalogue(consumer: Consumers, client: str) -> None:
    problem(consumer(client).get("/v1/services"), "insufficient-scope")


@pytest.mark.parametrize("size", [1, 2, 4, 8, 9, 200])
def test_pages_join_to_the_whole(consumer: Consumers, size: int) -> None:
    caller, seen, query = consumer(CLIENT), list[str](), {"page_size": str(size)}
    while found := page(caller, **query):
        assert 1 <= len(found["items"]) <= size
        seen += names(found)
        if found["next"] is None:
            break
        query["cursor"] = found["next"]
    assert seen == NAMES


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"provider": "hz-tax"}, ["employment-status", "wage-base"]),
        ({"provider": "nobody"}, []),
        ({"sharing": "withheld"}, ["adoption-registration"]),
        ({"sharing": "unconditional"}, ["enterprise-basic", "person-basic"]),
        ({"sharing": "conditional", "provider": "hz-civil"}, ["death-registration"]),
        ({"q": "就业"}, ["employment-status"]),
        ({"q": "HOUSE"}, ["household-registration", "property-contract"]),
        ({"q": "no such words"}, []),
        ({"unknown": "parameter", "provider": "hz-market"}, ["business-registration", "enterprise-basic"]),
    ],
)
def test_filters_narrow_the_list(consumer: Consumers, query: dict[str, str], expected: list[str]) -> None:
    assert names(page(consumer(CLIENT), **query)) == expected


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"page_size": "0"}, "page_size"),
        ({"page_size": "201"}, "page_size"),
        ({"page_size": "many"}, "page_size"),
        ({"page_size": "1.5"}, "page_size"),
        ({"sharing": "open"}, "sharing"),
        ({"q": "x" * 65}, "q"),
        ({"cursor": "x" * 201}, "cursor"),
    ],
)
def test_wrong_parameter_is_refused_by_name(consumer: Consumers, query: dict[str, str], pointer: str) -> None:
    response = consumer(CLIENT).get("/v1/services?" + urlencode(query))
    document = problem(response, "invalid-request")
    assert [error.keys() for error in document["errors"]] == [{"pointer", "reason"}]
    assert document["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("cursor", ["!", "ä", urlsafe_b64encode(b"\xff\xfe\xff").decode(), "A"])
def test_strange_cursor_is_refused(consumer: Consumers, cursor: str) -> None:
    problem(consumer(CLIENT).get("/v1/services?" + urlencode({"cursor": cursor})), "invalid-request")


@pytest.mark.parametrize("name", NAMES)
def test_digest_of_the_contract_can_be_recomputed(consumer: Consumers, name: str) -> None:
    caller = consumer(CLIENT)
    entry = caller.get(f"/v1/services/{name}").get_json()
    assert entry["contract_digest"] == "sha256-" + hashlib.sha256(canonical(entry["contract"])).hexdigest()
    listed = next(item for item in page(caller)["items"] if item["service"] == name)
    assert {member: value for member, value in entry.items() if member != "contract"} == listed
    assert entry["verifications"] == f"/v1/services/{name}/verifications"
    assert {"en", "zh"} == entry["title"].keys() == entry["summary"].keys()


def test_answer_names_the_published_contract(consumer: Consumers) -> None:
    item = persona("wage-base", "match")
    caller = consumer(item.client)
    entry = caller.get("/v1/services/wage-base").get_json()
    assert caller.ask("wage-base", body(item)).get_json()["contract"] == entry["contract_digest"]


def test_contract_publishes_rules_but_no_columns_of_the_source(node: RunningNode, consumer: Consumers) -> None:
    for name, service in node.node.registry.catalogue.services.items():
        text = consumer(CLIENT).get(f"/v1/services/{name}").text
        if service.answerable is None:
            continue
        binding = service.answerable.binding
        columns = {column for item in binding.attributes for column in item.columns.values()}
        secrets = {
            binding.relation,
            binding.register,
            service.answerable.source.url,
            binding.subject_column,
            *columns,
        }
        published = {binding.subject_field, *service.answerable.confirm, *service.answerable.attributes}
        assert not [secret for secret in secrets - published if f'"{secret}"' in text]


def test_withheld_service_publishes_its_ground_and_no_attributes(consumer: Consumers) -> None:
    entry = consumer(CLIENT).get("/v1/services/adoption-registration").get_json()
    assert entry["basis"] == ["民法典 第一千一百一十条", "四川 第六条"]
    assert not {"attributes", "subject", "confirm"} & entry["contract"].keys()


@pytest.mark.parametrize("name", ["no-such-service", "Employment-Status", "employment-status%20", "%2e%2e"])
def test_unknown_service_is_not_found(consumer: Consumers, name: str) -> None:
    problem(consumer(CLIENT).get(f"/v1/services/{name}"), "not-found")
