"""The token endpoint by RFC 6749 and RFC 8705, and the public documents: what they say is what the node does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from werkzeug.test import TestResponse

from evidence.jwk import keys_from_jwks
from evidence.note import NoteVerifier
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import ISSUER, RunningNode

Consumers = Callable[[str], Consumer]

SERVICES = {
    "adoption-registration",
    "business-registration",
    "death-registration",
    "employment-status",
    "enterprise-basic",
    "household-registration",
    "person-basic",
    "property-contract",
    "wage-base",
}
VERIFY = {f"verify:{name}" for name in SERVICES}
GRANTED = {
    "hz-hrss-benefits": {"catalogue", *VERIFY},
    "hz-outsider": {"catalogue", *VERIFY},
    "hz-tax-steward": {"catalogue", "steward"},
    "hz-data-bureau": {"catalogue", "authority"},
    "hz-audit": {"catalogue", "audit"},
    "hz-sysadmin": {"system-admin"},
    "hz-secadmin": {"security-admin"},
}
ASKED = {"grant_type": "client_credentials", "client_id": CLIENT}


def error(response: TestResponse, code: str, status: int = 400) -> None:
    """RFC 6749 §5.2: JSON with the error's code, not to be stored."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    document = response.get_json()
    assert document.keys() == {"error", "error_description"}
    assert document["error"] == code


@pytest.mark.parametrize(("client", "scopes"), GRANTED.items(), ids=GRANTED.keys())
def test_without_scope_a_client_gets_all_that_its_roles_give(
    consumer: Consumers, client: str, scopes: set[str]
) -> None:
    response = consumer(client).form(grant_type="client_credentials", client_id=client)
    document = response.get_json()
    assert document.keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 600)
    assert set(document["scope"].split()) == scopes
    assert response.headers["Cache-Control"] == "no-store"
    assert response.content_type == "application/json"


def test_asked_scope_is_granted_and_echoed(consumer: Consumers) -> None:
    response = consumer(CLIENT).form(**ASKED, scope="verify:wage-base catalogue")
    assert response.get_json()["scope"] == "catalogue verify:wage-base"


def test_empty_scope_counts_as_left_out(consumer: Consumers) -> None:
    """RFC 6749 §3.2: a parameter without a value is treated as if it were omitted."""
    assert set(consumer(CLIENT).form(**ASKED, scope="").get_json()["scope"].split()) == GRANTED[CLIENT]


@pytest.mark.parametrize(
    "scope", ["audit", "verify:no-such-service", "catalogue steward", "verify:*", "CATALOGUE", "security-admin"]
)
def test_scope_beyond_the_roles_is_invalid(consumer: Consumers, scope: str) -> None:
    error(consumer(CLIENT).form(**ASKED, scope=scope), "invalid_scope")


def test_missing_grant_type_is_an_invalid_request(consumer: Consumers) -> None:
    error(consumer(CLIENT).form(client_id=CLIENT), "invalid_request")


@pytest.mark.parametrize("grant", ["authorization_code", "password", "refresh_token", "CLIENT_CREDENTIALS"])
def test_other_grant_type_is_unsupported(consumer: Consumers, grant: str) -> None:
    error(consumer(CLIENT).form(grant_type=grant, client_id=CLIENT), "unsupported_grant_type")


@pytest.mark.parametrize("name", ["", "hz-hrss-review", "hz-hrss-benefits ", "nobody"])
def test_client_id_of_another_client_is_refused(consumer: Consumers, name: str) -> None:
    error(consumer(CLIENT).form(grant_type="client_credentials", client_id=name), "invalid_client", 401)


def test_missing_client_id_is_refused(consumer: Consumers) -> None:
    error(consumer(CLIENT).form(grant_type="client_credentials"), "invalid_client", 401)


def test_swapped_client_ids_of_two_clients_are_refused(consumer: Consumers) -> None:
    for one, other in ((CLIENT, "hz-hrss-review"), ("hz-hrss-review", CLIENT)):
        response = consumer(one).form(grant_type="client_credentials", client_id=other)
        error(response, "invalid_client", 401)


@pytest.mark.parametrize("name", ["grant_type", "client_id", "scope", "anything"])
def test_parameter_that_stands_twice_is_an_invalid_request(consumer: Consumers, name: str) -> None:
    body = f"grant_type=client_credentials&client_id={CLIENT}&{name}=a&{name}=b"
    response = consumer(CLIENT).open(
        "POST", "/oauth2/token", data=body, content_type="application/x-www-form-urlencoded"
    )
    error(response, "invalid_request")


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain", ""])
def test_other_content_type_is_an_invalid_request(consumer: Consumers, kind: str) -> None:
    body = f"grant_type=client_credentials&client_id={CLIENT}"
    error(consumer(CLIENT).open("POST", "/oauth2/token", data=body, content_type=kind), "invalid_request")


def test_parameters_in_the_query_are_ignored(consumer: Consumers) -> None:
    path = f"/oauth2/token?grant_type=client_credentials&client_id={CLIENT}"
    response = consumer(CLIENT).open("POST", path, content_type="application/x-www-form-urlencoded")
    error(response, "invalid_request")


def test_form_over_the_limit_is_too_large(consumer: Consumers) -> None:
    problem(consumer(CLIENT).form(**ASKED, scope="x" * 70_000), "too-large")


def test_get_is_not_allowed(consumer: Consumers) -> None:
    response = consumer(CLIENT).open("GET", "/oauth2/token")
    problem(response, "method-not-allowed")
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_issued_token_is_recorded_and_found_by_its_department(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer("hz-tax-levy")
    caller.form(grant_type="client_credentials", client_id="hz-tax-levy", scope="catalogue")
    row = node.rows(kind="token", client="hz-tax-levy")[-1]
    record = node.record(row.id)
    assert (record["kind"], record["state"], record["commitments"]) == ("token", "issued", {})
    assert caller.get(f"/v1/decisions/{row.id}").get_json()["record"] == record


REFUSED = {
    "invalid-scope": {"grant_type": "client_credentials", "client_id": "hz-secadmin", "scope": "audit"},
    "invalid-client": {"grant_type": "client_credentials", "client_id": "hz-sysadmin"},
    "unsupported-grant-type": {"grant_type": "password", "client_id": "hz-secadmin"},
    "invalid-request": {"client_id": "hz-secadmin"},
}


@pytest.mark.parametrize(("state", "fields"), REFUSED.items(), ids=REFUSED.keys())
def test_refused_token_request_is_recorded_with_its_reason(
    node: RunningNode, consumer: Consumers, state: str, fields: dict[str, str]
) -> None:
    """Under the client of the certificate, whatever client the form names."""
    before = {row.id for row in node.rows()}
    assert consumer("hz-secadmin").form(**fields).status_code in {400, 401}
    (row,) = [row for row in node.rows() if row.id not in before]
    assert (row.kind, row.client, row.state) == ("token", "hz-secadmin", state)
    record = node.record(row.id)
    assert (record["state"], record["commitments"]) == (state, {})


def test_token_is_an_at_jwt_bound_to_the_certificate(node: RunningNode, consumer: Consumers) -> None:
    """RFC 9068 §2 and RFC 8705 §3.1, read by another library with nothing but the published key."""
    caller = consumer(CLIENT)
    token = caller.token()
    jwks = jwt.PyJWKSet.from_dict(node.nobody().open("GET", "/.well-known/jwks.json").get_json())
    header = jwt.get_unverified_header(token)
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    claims: dict[str, Any] = jwt.decode(
        token, jwks[header["kid"]].key, algorithms=["ES256"], audience=ISSUER, issuer=ISSUER
    )
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "scope", "cnf"} <= claims.keys()
    assert claims["exp"] - claims["iat"] == 600
    assert claims["sub"] == claims["client_id"] == CLIENT
    assert len(claims["cnf"]["x5t#S256"]) == 43


def test_tokens_are_distinct_and_reusable(consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    tokens = {caller.form(**ASKED).get_json()["access_token"] for _ in range(3)}
    assert len(tokens) == 3
    for token in tokens:
        for _ in range(2):
            assert caller.ask(SERVICE, employment(), Authorization=f"Bearer {token}").status_code == 200


def test_metadata_is_what_the_node_does(node: RunningNode, consumer: Consumers) -> None:
    """RFC 8414: each advertised method works; what is not advertised is refused by the tests above."""
    found = node.nobody().open("GET", "/.well-known/oauth-authorization-server")
    assert found.content_type == "application/json"
    metadata = found.get_json()
    assert metadata["issuer"] == ISSUER
    assert metadata["response_types_supported"] == []
    assert metadata["grant_types_supported"] == ["client_credentials"]
    assert metadata["token_endpoint_auth_methods_supported"] == ["tls_client_auth"]
    assert metadata["tls_client_certificate_bound_access_tokens"] is True
    assert set(metadata["scopes_supported"]) == set().union(*GRANTED.values())
    token_path = metadata["token_endpoint"].removeprefix(ISSUER)
    assert consumer(CLIENT).open("POST", token_path, data=ASKED).status_code == 200
    jwks_path = metadata["jwks_uri"].removeprefix(ISSUER)
    assert node.nobody().open("GET", jwks_path).get_json() == node.node.jwks


def test_published_keys_hold_nothing_private(node: RunningNode) -> None:
    document = node.nobody().open("GET", "/.well-known/jwks.json").get_json()
    for key in document["keys"]:
        assert key.keys() == {"kty", "crv", "x", "y", "alg", "use", "kid", "hecha_use"}
    # The token key is not among those that a receipt is trusted by.
    assert keys_from_jwks(document).keys() == {node.node.recorder.signer.kid}


def test_log_key_verifies_the_checkpoint_under_the_nodes_origin(node: RunningNode) -> None:
    response = node.nobody().open("GET", "/.well-known/log.vkey")
    assert response.content_type == "text/plain; charset=utf-8"
    assert NoteVerifier.parse(response.text.strip()).name == "node.hangzhou.example/hecha"


def test_livez_says_ok_and_nothing_more(node: RunningNode) -> None:
    response = node.nobody().open("GET", "/livez")
    assert (response.status_code, response.text, response.content_type) == (200, "ok\n", "text/plain; charset=utf-8")
