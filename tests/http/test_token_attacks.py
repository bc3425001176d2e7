"""Tokens at a question's door: whatever is wrong with one, the refusal is recorded and nothing is asked."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem, recorded
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.routes import Route, routes
from tests.nodes.running import RunningNode

Consumers = Callable[[str], Consumer]
SCOPED = [route for route in routes() if not route.public and route.view.needs != ("itself",)]


def thumbprint(caller: Consumer) -> str:
    assert caller.certificate is not None
    return urlsafe_b64encode(hashlib.sha256(caller.certificate).digest()).rstrip(b"=").decode()


def part(value: object) -> str:
    return urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    found: dict[str, object] = orjson.loads(urlsafe_b64decode(payload + "=="))
    return found


def minted(node: RunningNode, caller: Consumer, **changes: object) -> str:
    """A token signed by the node's own key, as its own but for these claims; None leaves a claim out."""
    claims = {name: value for name, value in (claims_of(caller.token()) | changes).items() if value is not None}
    headers = {"typ": "at+jwt", "kid": node.node.identity.tokens.kid}
    return jwt.encode(claims, node.node.keys.token, "ES256", headers=headers)


def refused(node: RunningNode, caller: Consumer, token: str, slug: str) -> str:
    """Ask with the token; the refusal is recorded, tied to the question. Returns the challenge."""
    question = employment()
    response = caller.ask(SERVICE, question, Authorization=f"Bearer {token}")
    receipt = recorded(node, response, slug)
    assert receipt.record["client"] == caller.name
    receipt.check_question(question, SERVICE)
    return str(response.headers["WWW-Authenticate"])


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer ", "Basic aHo6aHo=", "DPoP x.y.z", "Negotiate"])
def test_missing_token_is_challenged_without_an_error_code(node: RunningNode, consumer: Consumers, sent: str) -> None:
    """RFC 6750 §3.1: who sent no token is told the scheme, not an error."""
    question = employment()
    response = consumer(CLIENT).ask(SERVICE, question, Authorization=sent)
    recorded(node, response, "token-invalid").check_question(question, SERVICE)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="hecha"'


def test_token_in_the_query_or_body_is_no_token(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    path = f"/v1/services/{SERVICE}/verifications?access_token={caller.token()}"
    recorded(node, caller.open("POST", path, json=employment()), "token-invalid")
    question = employment(access_token=caller.token())
    recorded(node, caller.ask(SERVICE, question, Authorization=""), "token-invalid")


@pytest.mark.parametrize("thief", ["hz-hrss-review", "hz-outsider", "hz-audit"])
def test_stolen_token_is_not_bound_to_the_thiefs_certificate(
    node: RunningNode, consumer: Consumers, thief: str
) -> None:
    challenge = refused(node, consumer(thief), consumer(CLIENT).token(), "token-not-bound")
    assert 'error="invalid_token"' in challenge


def test_token_of_another_client_bound_to_this_certificate_is_invalid(node: RunningNode, consumer: Consumers) -> None:
    thief = consumer("hz-outsider")
    token = minted(node, consumer(CLIENT), cnf={"x5t#S256": thumbprint(thief)})
    assert 'error="invalid_token"' in refused(node, thief, token, "token-invalid")


def test_expired_token_is_invalid_from_its_last_second_on(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    lifetime = node.node.identity.tokens.lifetime_s
    past = datetime.now(UTC) - timedelta(seconds=lifetime)
    token, _ = node.node.identity.tokens.issue(CLIENT, thumbprint(caller), [f"verify:{SERVICE}"], past)
    assert "expired" in refused(node, caller, token, "token-invalid")


def test_token_from_the_future_is_invalid_but_a_clock_10_s_ahead_is_not(
    node: RunningNode, consumer: Consumers
) -> None:
    """FAPI 2.0 §5.3.2.1: accept up to 10 s, refuse above 60 s."""
    caller, now = consumer(CLIENT), datetime.now(UTC)
    issue = node.node.identity.tokens.issue
    ahead, _ = issue(CLIENT, thumbprint(caller), [f"verify:{SERVICE}"], now + timedelta(seconds=10))
    assert caller.ask(SERVICE, employment(), Authorization=f"Bearer {ahead}").status_code == 200
    far, _ = issue(CLIENT, thumbprint(caller), [f"verify:{SERVICE}"], now + timedelta(seconds=75))
    assert "future" in refused(node, caller, far, "token-invalid")


def test_every_flipped_character_of_the_signature_is_noticed(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    head, payload, signature = caller.token().split(".")
    for place in range(0, len(signature), 7):
        flipped = signature[:place] + ("A" if signature[place] != "A" else "B") + signature[place + 1 :]
        refused(node, caller, f"{head}.{payload}.{flipped}", "token-invalid")


def test_widened_scope_breaks_the_signature(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    head, _, signature = caller.token().split(".")
    widened = claims_of(caller.token()) | {"scope": "audit verify:employment-status"}
    refused(node, caller, f"{head}.{part(widened)}.{signature}", "token-invalid")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE"])
def test_unsigned_token_is_invalid(node: RunningNode, consumer: Consumers, alg: str) -> None:
    caller = consumer(CLIENT)
    header = part({"alg": alg, "typ": "at+jwt", "kid": node.node.identity.tokens.kid})
    payload = part(claims_of(caller.token()))
    for token in (f"{header}.{payload}.", f"{header}.{payload}.AA", f"{header}.{payload}"):
        refused(node, caller, token, "token-invalid")


def test_public_key_as_hmac_secret_is_no_key(node: RunningNode, consumer: Consumers) -> None:
    """The classic confusion: everybody knows the public key, so everybody could sign."""
    caller = consumer(CLIENT)
    header = part({"alg": "HS256", "typ": "at+jwt", "kid": node.node.identity.tokens.kid})
    signed = f"{header}.{part(claims_of(caller.token()))}"
    for encoding in (Encoding.PEM, Encoding.DER):
        secret = node.node.keys.token.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        mac = urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).rstrip(b"=").decode()
        refused(node, caller, f"{signed}.{mac}", "token-invalid")


def test_token_of_a_key_that_it_brings_along_is_invalid(node: RunningNode, consumer: Consumers) -> None:
    caller, own = consumer(CLIENT), ec.generate_private_key(ec.SECP256R1())
    jwk = orjson.loads(jwt.algorithms.ECAlgorithm.to_jwk(own.public_key()))
    kid = node.node.identity.tokens.kid
    for extra in ({"jwk": jwk}, {"jku": "https://attacker.example/jwks"}, {"x5u": "https://attacker.example/c"}, {}):
        headers = {"typ": "at+jwt", "kid": kid, **extra}
        token = jwt.encode(claims_of(caller.token()), own, "ES256", headers=headers)
        refused(node, caller, token, "token-invalid")


def test_receipt_key_signs_no_tokens(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    headers = {"typ": "at+jwt", "kid": node.node.recorder.signer.kid}
    token = jwt.encode(claims_of(caller.token()), node.node.keys.receipt, "ES256", headers=headers)
    refused(node, caller, token, "token-invalid")


def test_receipt_is_no_token(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    receipt = caller.ask(SERVICE, employment()).get_json()["receipt"]
    refused(node, caller, receipt, "token-invalid")


def test_token_without_the_services_scope_is_insufficient(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    challenge = refused(node, caller, caller.token("catalogue"), "insufficient-scope")
    assert 'error="insufficient_scope"' in challenge
    assert f'scope="verify:{SERVICE}"' in challenge


def test_scope_of_one_service_opens_no_other(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    refused(node, caller, caller.token("verify:person-basic"), "insufficient-scope")


@pytest.mark.parametrize("route", SCOPED, ids=str)
def test_no_route_works_without_a_token(consumer: Consumers, route: Route) -> None:
    response = consumer(CLIENT).open(route.method, route.path)
    problem(response, "token-invalid")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="hecha"'


@pytest.mark.parametrize("route", SCOPED, ids=str)
def test_no_route_works_with_a_stolen_token(consumer: Consumers, route: Route) -> None:
    stolen = {"Authorization": f"Bearer {consumer('hz-audit').token()}"}
    problem(consumer(CLIENT).open(route.method, route.path, headers=stolen), "token-not-bound")


@pytest.mark.parametrize("route", [route for route in SCOPED if route.view.needs != ("any",)], ids=str)
def test_scoped_route_refuses_a_token_without_its_scope(consumer: Consumers, route: Route) -> None:
    caller = consumer("hz-hrss-benefits")
    headers = {"Authorization": f"Bearer {caller.token(f'verify:{SERVICE}')}"}
    response = caller.open(route.method, route.path, headers=headers)
    problem(response, "insufficient-scope")
    assert f'scope="{route.view.needs[0]}"' in response.headers["WWW-Authenticate"]
