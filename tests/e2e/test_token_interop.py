"""Tokens in the hands of other people's software, over real TLS: Authlib, joserfc and plain curl."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc6749 import JsonRequest
from authlib.oauth2.rfc6750.errors import InsufficientScopeError, InvalidTokenError
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.servers.node import RunningNode


def session(node: RunningNode, name: str) -> OAuth2Session:
    """Authlib's client, which knows the node by its metadata alone."""
    pki = node.var / "pki"
    made = OAuth2Session(client_id=name, token_endpoint_auth_method="none", revocation_endpoint_auth_method="none")
    made.trust_env = False
    made.verify, made.cert = str(pki / "ca.pem"), (str(pki / f"{name}.pem"), str(pki / f"{name}.key"))
    made.metadata.update(made.get(f"{node.url}/.well-known/oauth-authorization-server", withhold_token=True).json())
    return made


@pytest.fixture(scope="module")
def client(node: RunningNode) -> Iterator[OAuth2Session]:
    with session(node, CLIENT) as made:
        yield made


def jwks(node: RunningNode, client: OAuth2Session) -> Any:
    return client.get(client.metadata["jwks_uri"], withhold_token=True).json()


def test_metadata_is_sound_to_authlib(node: RunningNode, client: OAuth2Session) -> None:
    """RFC 8414 §2, member by member."""
    # There is no authorization endpoint, so there are no response types; Authlib takes an empty list for none at all.
    assert client.metadata["response_types_supported"] == []
    metadata = AuthorizationServerMetadata(client.metadata | {"response_types_supported": ["none"]})
    metadata.validate()
    assert metadata.issuer == node.url


def test_authlib_gets_a_token_asks_looks_it_up_and_revokes_it(client: OAuth2Session) -> None:
    metadata = client.metadata
    token = client.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 600)
    path = f"{metadata['issuer']}/v1/services/{SERVICE}/verifications"
    assert client.post(path, json=employment()).json()["result"] == "match"
    found = client.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
    assert (found.status_code, found.json()["active"], found.json()["client_id"]) == (200, True, CLIENT)
    done = client.revoke_token(
        metadata["revocation_endpoint"], token=token["access_token"], token_type_hint="access_token"
    )
    assert (done.status_code, done.content) == (200, b"")
    after = client.introspect_token(metadata["introspection_endpoint"], token=token["access_token"])
    assert after.json() == {"active": False}
    refused = client.post(path, json=employment())
    assert (refused.status_code, refused.json()["type"]) == (401, "token-invalid")


def test_authlib_understands_the_errors(client: OAuth2Session) -> None:
    for fields, code in (
        ({"grant_type": "client_credentials", "scope": "audit"}, "invalid_scope"),
        ({"grant_type": "password", "username": "x", "password": "x"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "client_secret": "x"}, "invalid_request"),
    ):
        with pytest.raises(OAuthError) as error:
            client.fetch_token(client.metadata["token_endpoint"], **fields)
        assert error.value.error == code


class Validator(JWTBearerTokenValidator):  # type: ignore[misc]
    """Authlib's resource server by RFC 9068."""

    def __init__(self, issuer: str, keys: Any) -> None:
        super().__init__(issuer=issuer, resource_server=issuer)
        self.keys = keys

    def get_jwks(self) -> Any:
        return KeySet.import_key_set(self.keys)


def test_authlib_accepts_the_token_by_rfc_9068(node: RunningNode, client: OAuth2Session) -> None:
    token = client.fetch_token(client.metadata["token_endpoint"], grant_type="client_credentials")["access_token"]
    keys = jwks(node, client)
    validator = Validator(node.url, keys)
    claims = validator.authenticate_token(token)
    request = JsonRequest("POST", node.url)
    validator.validate_token(claims, [f"verify:{SERVICE}"], request)
    with pytest.raises(InsufficientScopeError):
        validator.validate_token(claims, ["audit"], request)
    other = Validator("https://node.suzhou.example", keys)
    with pytest.raises(InvalidTokenError):
        other.validate_token(other.authenticate_token(token), [], request)


def test_joserfc_verifies_the_token_with_the_published_key_and_no_other(
    node: RunningNode, client: OAuth2Session
) -> None:
    token = client.fetch_token(client.metadata["token_endpoint"], grant_type="client_credentials")["access_token"]
    published = jwks(node, client)
    decoded = jwt.decode(token, KeySet.import_key_set(published), algorithms=["ES256"])
    assert decoded.header.keys() == {"alg", "typ", "kid"}
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": node.url},
        aud={"essential": True, "value": node.url},
        exp={"essential": True},
        iat={"essential": True},
        jti={"essential": True},
        sub={"essential": True, "value": CLIENT},
    )
    registry.validate(decoded.claims)
    receipts: Any = {"keys": [key for key in published["keys"] if key["hecha_use"] == "receipt"]}
    with pytest.raises(InvalidKeyIdError):
        jwt.decode(token, KeySet.import_key_set(receipts), algorithms=["ES256"])


def curl(node: RunningNode, path: str, *arguments: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body, as curl has them."""
    pki = node.var / "pki"
    command = ["curl", "--disable", "--silent", "--show-error", "--noproxy", "*", "--include"]
    command += ["--cacert", str(pki / "ca.pem"), "--cert", str(pki / f"{CLIENT}.pem")]
    command += ["--key", str(pki / f"{CLIENT}.key"), *arguments, f"{node.url}{path}"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, body


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_a_token_asks_looks_it_up_and_revokes_it(node: RunningNode) -> None:
    me = ("--data", f"client_id={CLIENT}")
    status, headers, body = curl(node, "/oauth2/token", *me, "--data", "grant_type=client_credentials")
    assert (status, headers["cache-control"], headers["content-type"]) == (200, "no-store", "application/json")
    token = json.loads(body)["access_token"]
    held = ("--data-urlencode", f"token={token}")
    asked = ("--header", f"Authorization: Bearer {token}", "--json", json.dumps(employment()))
    status, _, body = curl(node, f"/v1/services/{SERVICE}/verifications", *asked)
    assert (status, json.loads(body)["result"]) == (200, "match")
    status, _, body = curl(node, "/oauth2/introspect", *me, *held)
    assert (status, json.loads(body)["active"]) == (200, True)
    status, headers, body = curl(node, "/oauth2/revoke", *me, *held)
    assert (status, body, headers["content-length"]) == (200, b"", "0")
    status, headers, body = curl(node, "/oauth2/introspect", *me, *held)
    assert (status, body) == (200, b'{"active":false}')
    status, headers, body = curl(node, f"/v1/services/{SERVICE}/verifications", *asked)
    assert (status, json.loads(body)["type"]) == (401, "token-invalid")
    assert 'error="invalid_token"' in headers["www-authenticate"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_with_a_secret_beside_the_certificate_is_refused(node: RunningNode) -> None:
    form = ("--data", "grant_type=client_credentials", "--data", f"client_id={CLIENT}")
    status, _, body = curl(node, "/oauth2/token", *form, "--user", f"{CLIENT}:secret")
    assert (status, json.loads(body)["error"]) == (400, "invalid_request")
