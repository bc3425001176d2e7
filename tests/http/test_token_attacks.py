"""Tokens at a question's door: whatever is wrong with one, the refusal is recorded and nothing is asked.

What may be wrong with the token itself, `test_token_matrix.py` goes through.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.http.token_forge import Forge, thumbprint
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem, recorded
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.routes import Route, routes
from tests.nodes.running import RunningNode

Consumers = Callable[[str], Consumer]
SCOPED = [route for route in routes() if not route.public and route.view.needs != ("itself",)]


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
    token = Forge(node, consumer(CLIENT), thief).with_claims(cnf={"x5t#S256": thumbprint(thief)})
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
