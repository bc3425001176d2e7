"""Requests that schemathesis makes up, over mutual TLS: as every role with a good token, and with each defect.

All checks of schemathesis are made. Two have little to find: `use_after_free`, since nothing here is ever deleted for
good, and `object_level_authorization`, which knows no identities that are certificates (tests/http has those tests).
Left out is only `max_response_time`, which holds nothing unless a limit is set: times stand in docs/performance.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from schemathesis.checks import CHECKS
from werkzeug.exceptions import MethodNotAllowed, NotFound

from app.keys import node_keys
from client.http import NodeClient
from tests.e2e.generated import ALL, Exchange, Findings, Sender, run
from tests.http.test_access import DECLARED, HOLDERS
from tests.nodes.questions import CLIENT, SERVICE
from tests.nodes.routes import example_app
from tests.servers.node import RunningNode, demo_folder, running_node

OTHER = "hz-tax-levy"
UNREGISTERED = "bad/unregistered"
LIVES_S = 600
NEED = f"verify:{SERVICE}"
QUESTIONS = "POST /v1/services/<service>/verifications"
CERTIFICATE_ALONE = "/oauth2/"
ROUTES = example_app().url_map.bind("localhost")
PROBLEM = "application/problem+json"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600 if ALL else 300)]


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """A node of these tests alone: what they make up suspends and revokes."""
    with demo_folder() as var, running_node(var) as made:
        yield made


@pytest.fixture(autouse=True)
def own_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP client below schemathesis would rather trust and ask whom the environment names."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def route(exchange: Exchange) -> str:
    """The route that a request reaches, as docs/access.md names it; the slug of its problem where there is none."""
    try:
        rule, _ = ROUTES.match(exchange.path, exchange.method, return_rule=True)
    except NotFound:
        return "not-found"
    except MethodNotAllowed:
        return "method-not-allowed"
    return f"{exchange.method} {rule.rule}"


def refused(exchange: Exchange, slug: str, status: int) -> None:
    """A refusal of this kind, told as every problem is (RFC 9457)."""
    assert exchange.status == status, exchange
    assert exchange.headers["content-type"] == PROBLEM, exchange
    document = exchange.document
    assert (document["type"], document["status"]) == (slug, status), exchange
    assert document["title"], exchange
    assert document["detail"].endswith("."), exchange


def sound(findings: Findings) -> list[Exchange]:
    """All exchanges of a run in which every check was made and none failed."""
    assert not findings.faults, f"{len(findings.faults)} faults\n\n" + "\n\n".join(findings.faults[:20])
    assert findings.checks.keys() == set(CHECKS.get_all_names())
    assert findings.exchanges
    assert all(exchange.status < 500 for exchange in findings.exchanges)
    return findings.exchanges


def answers(node: RunningNode, name: str = CLIENT) -> bool:
    """Whether a good request of that client is answered."""
    with node.client(name) as client:
        return client.get("/log/checkpoint").status == 200


def role_sender(node: RunningNode, role: str) -> Sender:
    with node.client(HOLDERS[role]) as client:
        return Sender(HOLDERS[role], client.token())


@pytest.mark.parametrize("role", HOLDERS)
def test_role_meets_nothing_that_the_document_does_not_say(node: RunningNode, role: str) -> None:
    """What is open to it lets it in; what is not, refuses it for its scopes."""
    sender = role_sender(node, role)
    for exchange in sound(run(node, sender, lambda _: True)):
        place = route(exchange)
        if exchange.authorization != sender.authorization or place not in DECLARED or CERTIFICATE_ALONE in place:
            continue
        if not DECLARED[place][role]:
            refused(exchange, "insufficient-scope", 403)
        elif exchange.status in {401, 403}:
            assert exchange.document["type"] == "not-permitted", exchange
    assert answers(node, HOLDERS[role])


@pytest.mark.parametrize("role", HOLDERS)
def test_role_meets_nothing_unexpected_from_one_step_to_the_next(node: RunningNode, role: str) -> None:
    """Steps that follow each other: what one reply names goes into the next request."""
    sound(run(node, role_sender(node, role), lambda _: True, ("stateful",)))


Tokens = Callable[[NodeClient], str | None]


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong with all requests of a run, and how each is to be refused."""

    slug: str
    token: Callable[[RunningNode], str | None]
    certificate: str | None = CLIENT
    status: int = 401
    error: str | None = None


def good_token(node: RunningNode) -> str:
    with node.client(CLIENT) as client:
        return client.token()


def stolen_token(node: RunningNode) -> str:
    with node.client(OTHER) as client:
        return client.token()


def narrow_token(node: RunningNode) -> str:
    with node.client(CLIENT) as client:
        return client.token(NEED)


def expired_token(node: RunningNode) -> str:
    """A token of the node's own key that was good until a second ago."""
    keys, good = node_keys.load(node.var / "keys"), good_token(node)
    claims: dict[str, Any] = jwt.decode(good, options={"verify_signature": False})
    now = int(time.time())
    claims |= {"iat": now - LIVES_S - 1, "nbf": now - LIVES_S - 1, "exp": now - 1}
    head = jwt.get_unverified_header(good)
    return jwt.encode(claims, keys.token, "ES256", headers={"typ": head["typ"], "kid": head["kid"]})


def revoked_token(node: RunningNode) -> str:
    with node.client(CLIENT) as client:
        token = client.token()
        form = {"client_id": CLIENT, "token": token}
        assert client.post_form("/oauth2/revoke", form).status == 200
        return token


DEFECTS = {
    "no certificate": Defect("certificate-required", good_token, certificate=None),
    "unregistered certificate": Defect("certificate-not-trusted", good_token, certificate=UNREGISTERED),
    "no token": Defect("token-invalid", lambda _: None),
    "malformed token": Defect("token-invalid", lambda _: "x.y.z", error="invalid_token"),
    "expired token": Defect("token-invalid", expired_token, error="invalid_token"),
    "stolen token": Defect("token-not-bound", stolen_token, error="invalid_token"),
    "revoked token": Defect("token-invalid", revoked_token, error="invalid_token"),
    "too few scopes": Defect("insufficient-scope", narrow_token, status=403, error="insufficient_scope"),
}
