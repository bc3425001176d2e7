"""Requests that schemathesis makes up, over mutual TLS: as every role with a good token, and with each defect.

All checks of schemathesis are made. Two have little to find: `use_after_free`, since nothing here is deleted for
good, and `object_level_authorization`, which knows no callers by certificate. `max_response_time` alone is left out:
without a limit it checks nothing, and times are held elsewhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
from schemathesis.checks import CHECKS
from werkzeug.exceptions import MethodNotAllowed, NotFound

from app.api.problems import CONTENT_TYPE, PROBLEMS
from app.api.security import PUBLIC
from app.keys import node_keys
from tests.e2e.generated import ALL, Exchange, Findings, Plan, Sender, run
from tests.e2e.test_token_revocation import revoke
from tests.http.test_access import DECLARED, HOLDERS
from tests.nodes.questions import CLIENT, SERVICE
from tests.nodes.routes import example_app, routes
from tests.servers.node import RunningNode, demo_folder, running_node

OTHER = "hz-tax-levy"
UNREGISTERED = "bad/unregistered"
LIFETIME_S = 600
QUESTIONS, ASKED = "POST /v1/services/<service>/verifications", f"/v1/services/{SERVICE}/verifications"
OAUTH = "/oauth2/"  # where the certificate is enough
ROUTES = example_app().url_map.bind("localhost")
ANY = ("any",)  # a token of this node, whatever its scopes
NEEDS = {str(found): found.view.needs for found in routes() if not found.path.startswith((*PUBLIC, OAUTH))}
# Where a defect is met in each kind of request; the whole document is covered when more examples are asked for.
COVERED = {f"POST {ASKED}", "GET /v1/services", "DELETE /v1/agreements/{identifier}/suspension", "POST /v1/reload"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600 if ALL else 300)]


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """A node of these tests alone: what they make up revokes agreements and suspends clients."""
    with demo_folder() as var, running_node(var) as made:
        yield made


@pytest.fixture(autouse=True)
def own_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP client below schemathesis would rather trust, and ask, whom the environment names."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def route(method: str, path: str) -> str:
    """The route of a request, as docs/access.md names it; the slug of the problem where there is none."""
    try:
        rule, _ = ROUTES.match(path, method, return_rule=True)
    except NotFound:
        return "not-found"
    except MethodNotAllowed:
        return "method-not-allowed"
    return f"{method} {rule.rule}"


def is_open(label: str, role: str) -> bool:
    """Whether docs/access.md opens a documented operation to the role."""
    method, path = label.split()
    return DECLARED[route(method, re.sub("[{}]", "", path))][role]


def refused(exchange: Exchange, slug: str) -> None:
    """A refusal of this kind, told as every problem is (RFC 9457)."""
    assert exchange.headers["content-type"] == CONTENT_TYPE, exchange
    document, status = exchange.document, PROBLEMS[slug].status
    assert (document["type"], document["status"], exchange.status) == (slug, status, status), exchange
    assert document["title"] == PROBLEMS[slug].title, exchange
    assert document["detail"].endswith("."), exchange


def sound(findings: Findings) -> list[Exchange]:
    """All exchanges of a run in which every check was made and none failed."""
    assert not findings.faults, f"{len(findings.faults)} faults\n\n" + "\n\n".join(findings.faults[:20])
    # What becomes of things that were made or deleted shows in sequences alone.
    in_sequences = set() if ALL else {"use_after_free", "ensure_resource_availability"}
    assert findings.checks.keys() >= set(CHECKS.get_all_names()) - in_sequences
    return findings.exchanges


def answers(node: RunningNode, name: str) -> bool:
    """Whether a good request of that client is answered."""
    with node.client(name) as client:
        return client.get_bytes("/log/checkpoint") != b""


@pytest.mark.parametrize("role", HOLDERS)
def test_role_meets_nothing_that_the_document_does_not_say(node: RunningNode, role: str) -> None:
    """What is open to it lets it in; what is not refuses it for its scopes."""
    with node.client(HOLDERS[role]) as client:
        sender = Sender(HOLDERS[role], client.token())
    plan = Plan(lambda _: True, lambda label: is_open(label, role), sequences=True, spared={*HOLDERS.values(), OTHER})
    asked = [(route(found.method, found.path), found) for found in sound(run(node, sender, plan))]
    assert {place for place, _ in asked} >= NEEDS.keys()
    for place, exchange in asked:
        if place not in NEEDS:
            continue
        if exchange.authorization != sender.authorization:
            # schemathesis leaves the token out, and makes up others.
            refused(exchange, "token-invalid")
        elif not DECLARED[place][role]:
            refused(exchange, "insufficient-scope")
        elif exchange.status in {401, 403}:
            assert exchange.document["type"] == "not-permitted", exchange
    assert answers(node, HOLDERS[role])


@dataclass(frozen=True, slots=True)
class Defect:
    """What is wrong with every request of a run, and how each is to be refused."""

    slug: str
    token: Callable[[RunningNode], str | None]
    certificate: str | None = CLIENT
    error: str | None = None  # the code of RFC 6750 §3.1

    @property
    def of_certificate(self) -> bool:
        return self.slug.startswith("certificate")


def good_token(node: RunningNode) -> str:
    with node.client(CLIENT) as client:
        return client.token()


def stolen_token(node: RunningNode) -> str:
    with node.client(OTHER) as client:
        return client.token()


def narrow_token(node: RunningNode) -> str:
    with node.client(CLIENT) as client:
        return client.token(f"verify:{SERVICE}")


def expired_token(node: RunningNode) -> str:
    """A token of the node's own key that was good until a second ago."""
    good, now = good_token(node), int(time.time())
    claims: dict[str, Any] = jwt.decode(good, options={"verify_signature": False})
    claims |= {"iat": now - LIFETIME_S - 1, "nbf": now - LIFETIME_S - 1, "exp": now - 1}
    head = jwt.get_unverified_header(good)
    key = node_keys.load(node.var / "keys").token
    return jwt.encode(claims, key, "ES256", headers={name: head[name] for name in ("typ", "kid")})


def revoked_token(node: RunningNode) -> str:
    with node.client(CLIENT) as client:
        revoke(client, token := client.token())
        return token


DEFECTS = {
    "no certificate": Defect("certificate-required", good_token, certificate=None),
    "unregistered certificate": Defect("certificate-not-trusted", good_token, certificate=UNREGISTERED),
    "no token": Defect("token-invalid", lambda _: None),
    "malformed token": Defect("token-invalid", lambda _: "x.y.z", error="invalid_token"),
    "expired token": Defect("token-invalid", expired_token, error="invalid_token"),
    "stolen token": Defect("token-not-bound", stolen_token, error="invalid_token"),
    "revoked token": Defect("token-invalid", revoked_token, error="invalid_token"),
    "too few scopes": Defect("insufficient-scope", narrow_token, error="insufficient_scope"),
}


def is_met(defect: Defect, exchange: Exchange) -> bool:
    """Whether the request comes to where its defect is noticed, and not to where nothing is kept closed."""
    place = route(exchange.method, exchange.path)
    if defect.of_certificate:
        return True
    if place in {"not-found", "method-not-allowed"}:
        refused(exchange, place)
        return False
    if exchange.method == "OPTIONS":
        # What may be sent to a path, the public document tells too.
        assert (exchange.status, exchange.content) == (200, b""), exchange
        return False
    if defect.slug != "insufficient-scope":
        return True
    return exchange.path != ASKED if place == QUESTIONS else NEEDS[place] != ANY


@pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
def test_every_request_with_the_defect_is_refused_for_it(node: RunningNode, defect: Defect) -> None:
    sender = Sender(defect.certificate, defect.token(node))
    outside = PUBLIC if defect.of_certificate else (*PUBLIC, OAUTH)
    plan = Plan(lambda label: not label.split()[1].startswith(outside), COVERED.__contains__)
    met = [exchange for exchange in sound(run(node, sender, plan)) if is_met(defect, exchange)]
    reached = {route(exchange.method, exchange.path) for exchange in met}
    assert reached >= {place for place, need in NEEDS.items() if need != ANY or defect.slug != "insufficient-scope"}
    for exchange in met:
        own = exchange.authorization == sender.authorization
        refused(exchange, defect.slug if own or defect.of_certificate else "token-invalid")
        challenge = exchange.headers["www-authenticate"]
        assert challenge.startswith('Bearer realm="hecha"'), exchange
        assert not own or defect.error is None or f'error="{defect.error}"' in challenge, exchange
    assert answers(node, CLIENT)
