"""The token endpoint by RFC 6749 and RFC 8705, and the public documents: what they say is what the node does."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import jwt
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update
from werkzeug.test import TestResponse

from app.log import tables
from app.registry.lockouts import suspend_client
from evidence.base64s import encode_url
from evidence.jwk import keys_from_jwks
from evidence.note import NoteVerifier
from tests.http.token_forge import thumbprint
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import ISSUER, OwnNode, RunningNode
from tests.nodes.steps import epoch

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
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWK_MEMBERS = {"kty", "crv", "x", "y", "alg", "use", "kid", "hecha_use", "hecha_from", "hecha_until"}
FORM = "application/x-www-form-urlencoded"
ENDPOINTS = ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"]


def error(response: TestResponse, code: str, status: int = 400) -> None:
    """RFC 6749 §5.2: JSON with the error's code, not to be stored; a 401 has a challenge (RFC 9110 §15.5.2)."""
    assert response.status_code == status, response.text
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    document = response.get_json()
    assert document.keys() == {"error", "error_description"}
    assert document["error"] == code
    assert (response.headers.get("WWW-Authenticate") == 'Bearer realm="hecha"') is (status == 401)


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


def metadata_of(node: RunningNode) -> dict[str, Any]:
    found = node.nobody().open("GET", "/.well-known/oauth-authorization-server")
    assert (found.status_code, found.content_type) == (200, "application/json")
    document: dict[str, Any] = found.get_json()
    return document


def test_metadata_names_what_there_is_and_nothing_else(node: RunningNode) -> None:
    """RFC 8414 §2, RFC 8705 §3.3."""
    metadata = metadata_of(node)
    assert metadata == {
        "issuer": ISSUER,
        "token_endpoint": f"{ISSUER}/oauth2/token",
        "introspection_endpoint": f"{ISSUER}/oauth2/introspect",
        "revocation_endpoint": f"{ISSUER}/oauth2/revoke",
        "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
        "service_documentation": f"{ISSUER}/docs",
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        "introspection_endpoint_auth_methods_supported": ["tls_client_auth"],
        "revocation_endpoint_auth_methods_supported": ["tls_client_auth"],
        "tls_client_certificate_bound_access_tokens": True,
        "scopes_supported": sorted(set().union(*GRANTED.values())),
    }


def test_what_the_metadata_names_works(node: RunningNode, consumer: Consumers) -> None:
    metadata, caller, nobody = metadata_of(node), consumer(CLIENT), node.nobody()
    paths = {name: value.removeprefix(ISSUER) for name, value in metadata.items() if name.endswith("endpoint")}
    (grant,) = metadata["grant_types_supported"]
    issued = caller.open("POST", paths["token_endpoint"], data={"grant_type": grant, "client_id": CLIENT})
    token = issued.get_json()["access_token"]
    form = {"client_id": CLIENT, "token": token}
    assert caller.open("POST", paths["introspection_endpoint"], data=form).get_json()["active"] is True
    assert caller.open("POST", paths["revocation_endpoint"], data=form).status_code == 200
    assert caller.open("POST", paths["introspection_endpoint"], data=form).get_json() == {"active": False}
    assert nobody.open("GET", metadata["jwks_uri"].removeprefix(ISSUER)).get_json() == node.node.jwks
    assert nobody.open("GET", metadata["service_documentation"].removeprefix(ISSUER)).status_code == 200


def test_every_scope_that_the_metadata_names_is_granted_to_somebody(node: RunningNode, consumer: Consumers) -> None:
    left = set(metadata_of(node)["scopes_supported"])
    for client, scopes in GRANTED.items():
        response = consumer(client).form(
            grant_type="client_credentials", client_id=client, scope=" ".join(scopes & left)
        )
        left -= set(response.get_json()["scope"].split())
    assert left == set()


def self_signed(caller: Consumer) -> bytes:
    """A certificate with the names of the caller's, by an authority that is nobody but itself."""
    assert caller.certificate is not None
    real, key = x509.load_der_x509_certificate(caller.certificate), ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(real.subject, real.subject, key.public_key(), 1)
    builder = builder.not_valid_before(real.not_valid_before_utc).not_valid_after(real.not_valid_after_utc)
    for extension in real.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier | x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_method_that_the_metadata_does_not_name_is_refused(
    node: RunningNode, consumer: Consumers, endpoint: str
) -> None:
    """Every other method of the registry of RFC 8414 §7.1, beside the certificate and in place of it."""
    caller, form = consumer(CLIENT), {**ASKED, "token": "x"}
    basic = {"Authorization": "Basic aHotaHJzcy1iZW5lZml0czpzZWNyZXQ="}
    assertion = {"client_assertion_type": JWT_BEARER, "client_assertion": caller.token()}
    methods: dict[str, tuple[dict[str, str], dict[str, str]]] = {
        "none": ({}, {}),
        "client_secret_basic": ({}, basic),
        "client_secret_post": ({"client_secret": "x"}, {}),
        "client_secret_jwt": (assertion, {}),
        "private_key_jwt": (assertion, {}),
    }
    for name, (fields, headers) in methods.items():
        problem(node.nobody().open("POST", endpoint, data=form | fields, headers=headers), "certificate-required")
        if name != "none":
            error(caller.open("POST", endpoint, data=form | fields, headers=headers), "invalid_request")
    alone = Consumer(node.app, CLIENT, self_signed(caller))
    problem(alone.open("POST", endpoint, data=form), "certificate-not-trusted")


def test_grant_that_the_metadata_does_not_name_is_refused(consumer: Consumers) -> None:
    for grant in ("urn:ietf:params:oauth:grant-type:token-exchange", JWT_BEARER, "implicit", "device_code"):
        error(consumer(CLIENT).form(grant_type=grant, client_id=CLIENT), "unsupported_grant_type")


def test_published_keys_are_public_and_name_their_use(node: RunningNode) -> None:
    """RFC 7517, RFC 7638: nothing private, one algorithm each, and the thumbprint for a name."""
    response = node.nobody().open("GET", "/.well-known/jwks.json")
    assert response.headers["Cache-Control"] == "public, max-age=300"
    document = response.get_json()
    assert document.keys() == {"keys"}
    kids = [key["kid"] for key in document["keys"]]
    assert len(set(kids)) == len(kids) >= 2
    for key in document["keys"]:
        assert {"kty", "crv", "x", "y", "alg", "use", "kid", "hecha_use"} <= key.keys() <= JWK_MEMBERS
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
        assert key["hecha_use"] in {"token", "receipt"}
        required = {name: key[name] for name in ("crv", "kty", "x", "y")}
        assert key["kid"] == encode_url(sha256(orjson.dumps(required)).digest())
    # The token key is not among those that a receipt is trusted by.
    assert keys_from_jwks(document).keys() == {node.node.recorder.signer.kid}
    assert node.node.identity.tokens.kid in {key["kid"] for key in document["keys"] if key["hecha_use"] == "token"}


def test_log_key_verifies_the_checkpoint_under_the_nodes_origin(node: RunningNode) -> None:
    response = node.nobody().open("GET", "/.well-known/log.vkey")
    assert response.content_type == "text/plain; charset=utf-8"
    assert NoteVerifier.parse(response.text.strip()).name == "node.hangzhou.example/hecha"


def test_livez_says_ok_and_nothing_more(node: RunningNode) -> None:
    response = node.nobody().open("GET", "/livez")
    assert (response.status_code, response.text, response.content_type) == (200, "ok\n", "text/plain; charset=utf-8")
