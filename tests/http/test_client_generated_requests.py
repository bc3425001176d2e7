"""Requests about clients that schemathesis makes up, sent by a security administrator: no surprises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from app.log.check import check
from tests.http.test_generated_requests import Door
from tests.nodes.office import FIRST, SECOND, Office, open_office
from tests.nodes.running import Ground

DOOR = Door()
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", DOOR).include(path_regex="^/v1/client")


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Open the door to a node under an administrator's certificate."""
    with open_office(ground, tmp_path_factory.mktemp("office")) as made:
        DOOR.app, DOOR.certificate = made.node.app, made.parties.client(FIRST).certificate
        yield made


@SCHEMA.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_operation_about_clients_keeps_to_its_document(case: schemathesis.Case[Any], office: Office) -> None:
    token = office.parties.client(FIRST).token()
    response = case.call(headers={"Authorization": f"Bearer {token}"})
    # Parameters nobody knows are left alone, as everywhere on the web; unknown members of a body are not.
    strict = [checks.negative_data_rejection] if case.method != "GET" else []
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_headers_conformance,
            checks.response_schema_conformance,
            checks.allow_header_conformance,
            *strict,
        ],
    )
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]


def test_log_is_sound_after_all_of_this(office: Office) -> None:
    assert check(office.node.node.store, office.node.node.vkey).sound
    assert office.client(SECOND)["state"] == "active"
