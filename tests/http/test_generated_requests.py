"""Requests that schemathesis makes up from the OpenAPI document: no 5xx, nothing that the document does not say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from app.identity.connection import PEER_CERTIFICATE
from tests.nodes.consumer import Consumer
from tests.nodes.questions import CLIENT
from tests.nodes.routes import example_app
from tests.nodes.running import RunningNode

WSGI = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Door:
    """The WSGI application that schemathesis calls: the node's, once there is one, with a client certificate."""

    def __init__(self) -> None:
        self.app: WSGI = example_app()
        self.certificate: bytes | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self.certificate is not None:
            environ[PEER_CERTIFICATE] = self.certificate
        return self.app(environ, start_response)


DOOR = Door()
SCHEMA = schemathesis.openapi.from_wsgi("/openapi.json", DOOR)


@pytest.fixture(scope="module")
def token(node: RunningNode, consumer: Callable[[str], Consumer]) -> str:
    """Open the door to the shared node under a consumer's certificate."""
    caller = consumer(CLIENT)
    DOOR.app, DOOR.certificate = node.app, caller.certificate
    return caller.token()


@SCHEMA.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_operation_keeps_to_its_document(case: schemathesis.Case[Any], token: str) -> None:
    response = case.call(headers={"Authorization": f"Bearer {token}"})
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            checks.status_code_conformance,
            checks.content_type_conformance,
            checks.response_headers_conformance,
            checks.response_schema_conformance,
            checks.negative_data_rejection,
            checks.allow_header_conformance,
        ],
    )
    if response.status_code >= 400 and not case.path.startswith("/oauth2/"):
        assert response.headers["content-type"] == ["application/problem+json"]
        assert response.json()["status"] == response.status_code
