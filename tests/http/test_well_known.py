"""The public documents: the metadata is what the node does, and the keys are public."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from evidence.base64s import encode_url
from evidence.jwk import keys_from_jwks
from evidence.note import NoteVerifier
from tests.http.oauth import ASKED, ENDPOINTS, GRANTED, error
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT
from tests.nodes.running import ISSUER, RunningNode

Consumers = Callable[[str], Consumer]

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWK_MEMBERS = {"kty", "crv", "x", "y", "alg", "use", "kid", "hecha_use", "hecha_from", "hecha_until"}


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
