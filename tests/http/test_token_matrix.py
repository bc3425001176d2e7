"""Every forgery of a token that we could think of, at a question and at a read: refused, and a good request is not.

Nothing is fetched for any of them: the node connects to its own Valkey and to nothing else.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.http import token_mutations
from tests.http.token_forge import LEFT_OUT, Forge
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem, recorded
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.routes import Route, routes
from tests.nodes.running import RunningNode

Consumers = Callable[[str], Consumer]

READ = "/v1/services"
QUESTION = f"/v1/services/{SERVICE}/verifications"
# What a consumer's roles do not open.
BEYOND = [
    route for route in routes() if not route.public and not {"any", "itself", "catalogue"} & set(route.view.needs)
]
_REACHES_OUT = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")
_WATCHES: list[list[object]] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _REACHES_OUT:
        for watch in _WATCHES:
            watch.append(arguments[-1] if event == "socket.connect" else arguments)


# A hook of the interpreter cannot be taken away again; without a watch it does nothing.
sys.addaudithook(_heard)


@pytest.fixture
def outbound(node: RunningNode) -> Iterator[list[object]]:
    """Where this process has connected to, its own Valkey left out; nowhere, by the end of the test."""
    seen: list[object] = []
    _WATCHES.append(seen)
    yield seen
    _WATCHES.remove(seen)
    assert [where for where in seen if where != str(node.ground.valkey)] == []


@pytest.fixture(scope="module")
def forge(node: RunningNode, consumer: Consumers) -> Forge:
    return Forge(node, consumer(CLIENT), consumer("hz-outsider"))


def ask(caller: Consumer, token: str) -> TestResponse:
    """One question; the header is written as it stands, whatever a client library would refuse to send."""
    sent = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    return caller.open("POST", QUESTION, json=employment(), environ_overrides=sent)


def read(caller: Consumer, token: str) -> TestResponse:
    return caller.open("GET", READ, environ_overrides={"HTTP_AUTHORIZATION": f"Bearer {token}"})


@pytest.mark.parametrize("name", token_mutations.ALL)
def test_forgery_is_refused_and_a_good_request_after_it_is_not(
    forge: Forge, outbound: list[object], name: str
) -> None:
    slug = "token-not-bound" if name in token_mutations.NOT_BOUND else "token-invalid"
    token = token_mutations.ALL[name](forge)
    asked = ask(forge.caller, token)
    receipt = recorded(forge.node, asked, slug, 401)
    assert receipt.record["client"] == forge.caller.name
    challenge = asked.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="hecha", error="invalid_token", error_description="')
    looked = read(forge.caller, token)
    problem(looked, slug, 401)
    assert looked.headers["WWW-Authenticate"] == challenge
    good = forge.caller.token()
    assert ask(forge.caller, good).status_code == 200
    assert read(forge.caller, good).status_code == 200


def test_there_are_at_least_sixty_forgeries() -> None:
    m = token_mutations
    groups = [m.TYPES, m.HEADERS, m.KEYS, m.SIGNATURES, m.FORMS, m.ISSUERS, m.TIMES, m.HOLDERS, m.NOT_BOUND]
    assert len(m.ALL) == sum(map(len, groups)) >= 60


def test_token_of_the_forge_without_a_fault_is_good(forge: Forge, outbound: list[object]) -> None:
    """The forgeries are refused for their one fault each, not for how they are made."""
    for token in (forge.signed(), forge.with_header(typ="application/at+jwt"), forge.with_claims(nbf=LEFT_OUT)):
        assert ask(forge.caller, token).status_code == 200


def test_challenge_tells_a_forger_nothing_of_what_was_wrong(forge: Forge) -> None:
    """One text for all that is not the node's: whoever tries learns nothing by trying."""
    names = [*token_mutations.HEADERS, *token_mutations.KEYS, *token_mutations.ISSUERS]
    told = {read(forge.caller, token_mutations.ALL[name](forge)).headers["WWW-Authenticate"] for name in names}
    assert len(told) <= 2, "malformed, or not the node's own"


@pytest.mark.parametrize("route", BEYOND, ids=str)
def test_scope_beyond_the_roles_opens_nothing_even_in_a_token_of_the_nodes_own_key(
    forge: Forge, route: Route
) -> None:
    token = forge.with_claims(scope="audit authority catalogue security-admin steward system-admin")
    response = forge.caller.open(route.method, route.path, headers={"Authorization": f"Bearer {token}"})
    problem(response, "insufficient-scope")
    assert 'error="insufficient_scope"' in response.headers["WWW-Authenticate"]


def test_watch_sees_whoever_reaches_out() -> None:
    """The matrix counts connections; this one is seen."""
    seen: list[object] = []
    _WATCHES.append(seen)
    try:
        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(("127.0.0.1", 1))
        socket.getaddrinfo("127.0.0.1", 1)
    finally:
        _WATCHES.remove(seen)
    assert seen[0] == ("127.0.0.1", 1)
    assert len(seen) == 2
