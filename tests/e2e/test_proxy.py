"""Certificates in headers, sent to real nodes: 1,000 spoofs by whoever is no proxy, and over a proxy's connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.http import NodeClient
from tests.nodes.consumer import der
from tests.servers import nginx
from tests.servers.node import RunningNode, running_node
from tests.servers.proxy import NodeBehind, node_behind, running_proxy
from tests.servers.spoofs import COUNT, KINDS, Forgery, Spoof, spoofs
from tests.servers.wire import ask, field, none_accepted, over_tls, over_unix, request, statuses, tell, token_of

OWN, VICTIM = "hz-hrss-benefits", "hz-tax-levy"
PROXY, STRANGER = "127.0.0.3", "127.0.0.2"


@pytest.fixture(scope="module")
def var(node: RunningNode) -> Path:
    return node.var


@pytest.fixture(scope="module")
def hop(var: Path) -> Iterator[RunningNode]:
    """A node with TLS of its own that trusts the proxy at one address."""
    state = var / "hop"
    settings = {"HECHA_STATE_DIR": str(state), "HECHA_DATABASE_URL": f"sqlite:///{state / 'node.db'}"}
    with running_node(var, HECHA_WORKERS="1", HECHA_PROXY_PEERS=PROXY, **settings) as made:
        yield made


@pytest.fixture(scope="module")
def behind(var: Path) -> Iterator[NodeBehind]:
    """A node on a Unix socket, behind a proxy."""
    with node_behind(var, HECHA_WORKERS="1") as made:
        yield made


def forgery_of(var: Path, token: str) -> Forgery:
    return Forgery(der(var / "pki" / f"{VICTIM}.pem"), token)


def test_spoofs_are_a_thousand_of_all_kinds_and_repeatable(var: Path) -> None:
    made = list(spoofs(forgery_of(var, "token")))
    assert len({spoof.request for spoof in made}) == len(made) == COUNT
    assert {spoof.kind for spoof in made} == KINDS.keys()
    assert made == list(spoofs(forgery_of(var, "token")))


@pytest.mark.slow
def test_node_without_proxies_accepts_no_spoof(var: Path, node: RunningNode) -> None:
    victim = over_tls(node.port, var / "pki", VICTIM)
    forgery = forgery_of(var, token_of(victim, VICTIM))
    counted = none_accepted(tell(over_tls(node.port, var / "pki", source=STRANGER), list(spoofs(forgery))), COUNT)
    assert counted[400] > COUNT / 2
    # What is passed off is good: its holder is let in, with the field it is refused.
    assert statuses(ask(victim, request(forgery.token))) == (200,)
    assert statuses(ask(victim, request(forgery.token, field(var / "pki", VICTIM)))) == (400,)


@pytest.mark.slow
def test_stranger_to_a_node_with_a_proxy_gets_no_spoof_accepted(var: Path, hop: RunningNode) -> None:
    victim = over_tls(hop.port, var / "pki", VICTIM, source=STRANGER)
    forgery = forgery_of(var, token_of(victim, VICTIM))
    none_accepted(tell(over_tls(hop.port, var / "pki", source=STRANGER), list(spoofs(forgery))), COUNT)
    assert statuses(ask(victim, request(forgery.token))) == (200,)
    # From the proxy the field is believed, and so are many of the spoofs: it is for the proxy to keep them out.
    proxy = over_tls(hop.port, var / "pki", source=PROXY)
    assert sum(one.statuses == (200,) for one in tell(proxy, list(spoofs(forgery, 100)))) > 10
    assert statuses(ask(proxy, request(forgery.token, field(var / "pki", VICTIM)))) == (200,)


def test_stranger_with_a_certificate_of_its_own_stays_itself(var: Path, hop: RunningNode) -> None:
    mine = over_tls(hop.port, var / "pki", OWN, source=STRANGER)
    forgery = forgery_of(var, token_of(over_tls(hop.port, var / "pki", VICTIM, source=STRANGER), VICTIM))
    none_accepted(tell(mine, list(spoofs(forgery, 200))), 200)
    assert statuses(ask(mine, request(token_of(mine, OWN)))) == (200,)


def test_own_certificate_of_a_proxy_on_its_way_to_the_node_is_nobodys(var: Path, hop: RunningNode) -> None:
    """Even if it is that of a registered client, with that client's token."""
    token = token_of(over_tls(hop.port, var / "pki", OWN, source=STRANGER), OWN)
    proxy = over_tls(hop.port, var / "pki", OWN, source=PROXY)
    assert b'"certificate-required"' in ask(proxy, request(token))
    assert b'"token-not-bound"' in ask(proxy, request(token, field(var / "pki", VICTIM)))
    assert statuses(ask(proxy, request(token, field(var / "pki", OWN)))) == (200,)


@pytest.mark.slow
def test_proxy_that_appends_to_what_it_was_sent_gets_no_spoof_accepted(var: Path, behind: NodeBehind) -> None:
    """The mistake of RFC 9440 §4: the client's fields are left in, and the proxy's own is added behind them."""
    connect = over_unix(behind.socket)
    token = token_of(connect, VICTIM, field(var / "pki", VICTIM))
    own = field(var / "pki", OWN)
    sent = [appended(spoof, own) for spoof in spoofs(forgery_of(var, token))]
    none_accepted(tell(connect, sent), COUNT)
    assert statuses(ask(connect, request(token_of(connect, OWN, own), own))) == (200,)


def appended(spoof: Spoof, line: bytes) -> Spoof:
    """The spoof with a line at the end of its head, which comes last where something else stands before it."""
    end = spoof.request.rfind(b"\r\n\r\n") if spoof.kind == "preface" else spoof.request.find(b"\r\n\r\n")
    return Spoof(spoof.kind, spoof.request[:end] + b"\r\n" + line + spoof.request[end:], spoof.ends)


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, OWN])
def test_proxy_that_overwrites_keeps_every_spoof_from_the_node(
    var: Path, behind: NodeBehind, name: str | None
) -> None:
    """Without a certificate nobody is let in; with its own, a client is itself, whatever it says beside.

    All of them where there is no nginx, through which they go otherwise.
    """
    upstream = over_unix(behind.socket)
    count = COUNT if nginx.program() is None else COUNT // 5
    with running_proxy(var / "pki", upstream) as port:
        connect = over_tls(port, var / "pki", name)
        told = tell(
            connect, list(spoofs(forgery_of(var, token_of(upstream, VICTIM, field(var / "pki", VICTIM))), count))
        )
        none_accepted(told, count)
        if name is not None:
            mine = token_of(connect, name)
            own = [one.statuses for one in tell(connect, list(spoofs(forgery_of(var, mine), count)))]
            assert {*own} <= {(200,), (400,), ()}
            assert own.count((200,)) > count / 2


def test_client_behind_the_proxy_asks_its_question(var: Path, behind: NodeBehind) -> None:
    """All of it as in life: certificate, token, agreed networks, answer."""
    persona = json.loads((var / "personas.json").read_text("utf-8"))[0]
    pki, client = var / "pki", persona["client"]
    with running_proxy(pki, over_unix(behind.socket)) as port:
        caller = NodeClient(
            f"https://127.0.0.1:{port}",
            ca=pki / "ca.pem",
            certificate=pki / f"{client}.pem",
            key=pki / f"{client}.key",
            client_id=client,
        )
        names = ("purpose", "case", "operator", "subject", "confirm", "declared")
        answer = caller.ask(persona["service"], {name: persona[name] for name in names})
        assert answer.body["result"] == persona["expect"]


def test_node_on_a_unix_socket_lets_only_its_group_connect(behind: NodeBehind) -> None:
    assert behind.socket.stat().st_mode & 0o007 == 0
