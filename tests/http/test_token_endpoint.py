"""The token endpoint by RFC 6749 and RFC 8705: who gets which token, and the same errors at all OAuth endpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from sqlalchemy import update

from app.log import tables
from app.registry.lockouts import suspend_client
from tests.http.oauth import ASKED, ENDPOINTS, FORM, GRANTED, error
from tests.http.token_forge import thumbprint
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import ISSUER, OwnNode, RunningNode
from tests.nodes.steps import epoch

Consumers = Callable[[str], Consumer]


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


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_missing_client_id_is_refused(consumer: Consumers, endpoint: str) -> None:
    form = {"grant_type": "client_credentials", "token": "x"}
    error(consumer(CLIENT).open("POST", endpoint, data=form), "invalid_client", 401)
    error(consumer(CLIENT).open("POST", endpoint, data={**form, "client_id": ""}), "invalid_client", 401)


def test_swapped_client_ids_of_two_clients_are_refused(consumer: Consumers) -> None:
    for one, other in ((CLIENT, "hz-hrss-review"), ("hz-hrss-review", CLIENT)):
        response = consumer(one).form(grant_type="client_credentials", client_id=other)
        error(response, "invalid_client", 401)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("name", ["grant_type", "client_id", "scope", "token", "anything"])
def test_parameter_that_stands_twice_is_an_invalid_request(consumer: Consumers, endpoint: str, name: str) -> None:
    for values in (f"{name}=a&{name}=b", f"{name}=a&{name}=a", f"{name}=&{name}=a"):
        body = f"grant_type=client_credentials&client_id={CLIENT}&token=x&{values}"
        response = consumer(CLIENT).open("POST", endpoint, data=body, content_type=FORM)
        error(response, "invalid_request")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "text/plain", ""])
def test_other_content_type_is_an_invalid_request(consumer: Consumers, endpoint: str, kind: str) -> None:
    body = f"grant_type=client_credentials&client_id={CLIENT}&token=x"
    error(consumer(CLIENT).open("POST", endpoint, data=body, content_type=kind), "invalid_request")


def test_form_with_a_charset_is_a_form(consumer: Consumers) -> None:
    body = f"grant_type=client_credentials&client_id={CLIENT}"
    response = consumer(CLIENT).open("POST", "/oauth2/token", data=body, content_type=f"{FORM};charset=UTF-8")
    assert response.status_code == 200


@pytest.mark.parametrize("scope", ["审计", "catalogue%00", "catalogue%22", "%FF", "catalogue%0Aaudit"])
def test_scope_that_is_none_is_invalid(consumer: Consumers, scope: str) -> None:
    body = f"grant_type=client_credentials&client_id={CLIENT}&scope={scope}"
    error(consumer(CLIENT).open("POST", "/oauth2/token", data=body.encode(), content_type=FORM), "invalid_scope")


def test_parameters_in_the_query_are_ignored(consumer: Consumers) -> None:
    path = "/oauth2/token?grant_type=client_credentials"
    error(consumer(CLIENT).open("POST", path, data={"client_id": CLIENT}), "invalid_request")


def test_unknown_parameters_are_ignored(consumer: Consumers) -> None:
    """RFC 6749 §3.2, and those that are known elsewhere: RFC 8707, RFC 9396."""
    found = consumer(CLIENT).form(**ASKED, scope="catalogue", foo="bar", resource="https://x.example", audience="y")
    assert found.get_json()["scope"] == "catalogue"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("name", ["client_secret", "client_assertion", "client_assertion_type"])
def test_second_method_of_authentication_in_the_form_is_invalid(
    consumer: Consumers, endpoint: str, name: str
) -> None:
    """RFC 6749 §2.3: one method in a request; the certificate is one already."""
    form = {**ASKED, "token": "x", name: "x"}
    error(consumer(CLIENT).open("POST", endpoint, data=form), "invalid_request")
    # An empty parameter is none.
    assert consumer(CLIENT).open("POST", endpoint, data={**form, name: ""}).status_code == 200


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("sent", ["Basic aHotaHJzcy1iZW5lZml0czpzZWNyZXQ=", "Digest username=x", "Negotiate YII="])
def test_second_method_of_authentication_in_the_header_is_invalid(
    consumer: Consumers, endpoint: str, sent: str
) -> None:
    form = {**ASKED, "token": "x"}
    response = consumer(CLIENT).open("POST", endpoint, data=form, headers={"Authorization": sent})
    error(response, "invalid_request")


def test_access_token_beside_is_no_method_of_authentication(consumer: Consumers) -> None:
    """Libraries send the one they hold with every request."""
    headers = {"Authorization": f"Bearer {consumer(CLIENT).token()}"}
    assert consumer(CLIENT).open("POST", "/oauth2/token", data=ASKED, headers=headers).status_code == 200


def test_form_over_the_limit_is_too_large(consumer: Consumers) -> None:
    problem(consumer(CLIENT).form(**ASKED, scope="x" * 70_000), "too-large")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_is_allowed(consumer: Consumers, endpoint: str, method: str) -> None:
    """RFC 6749 §3.2; in a URL the token of the other two would end up in logs."""
    response = consumer(CLIENT).open(method, f"{endpoint}?client_id={CLIENT}&grant_type=client_credentials&token=x")
    problem(response, "method-not-allowed")
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_issued_token_is_recorded_and_found_by_its_department(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer("hz-tax-levy")
    caller.form(grant_type="client_credentials", client_id="hz-tax-levy", scope="catalogue")
    row = node.rows(kind="token", client="hz-tax-levy")[-1]
    record = node.record(row.id)
    assert (record["kind"], record["state"], record["commitments"]) == ("token", "issued", {})
    assert caller.get(f"/v1/decisions/{row.id}").get_json()["record"] == record


def test_id_of_a_token_is_that_of_its_record(node: RunningNode, consumer: Consumers) -> None:
    """What is told of a token later can be traced to who got it, when and for which certificate."""
    caller = consumer(CLIENT)
    token = caller.form(**ASKED).get_json()["access_token"]
    record = node.record(jwt.decode(token, options={"verify_signature": False})["jti"])
    assert (record["state"], record["client"], record["certificate"]) == ("issued", CLIENT, thumbprint(caller))


@pytest.mark.parametrize("held", [True, False], ids=["a token", "no token"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_client_that_another_worker_suspended_gets_nothing_more(
    own_node: OwnNode, endpoint: str, *, held: bool
) -> None:
    """This worker has not looked since: what it would record stands behind the suspension, so it is not recorded."""
    node = own_node()
    caller = node.consumer(CLIENT)
    token = caller.token()
    moved = epoch(node) + 1
    with node.node.store.writing() as connection:
        suspend_client(connection, CLIENT, "hz-hrss", moved)
        connection.execute(update(tables.log_head).values(epoch=moved))
    assert not node.node.current.registry.departments.clients[CLIENT].suspended
    before = len(node.rows())
    sent = token if held else "x"
    problem(caller.open("POST", endpoint, data={**ASKED, "token": sent}), "certificate-not-trusted")
    assert len(node.rows()) == before


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
