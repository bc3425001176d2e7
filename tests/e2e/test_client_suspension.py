"""No permit of a client follows its suspension in the log, and no answer leaves after it; so with one certificate.

Asserted on the order of the log, under load over four worker processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509

from client.http import NodeClient, Reply
from tests.nodes.office import APPROVE, CHANGES, CLIENTS, FIRST, REASON, SECOND, host, life, thumbprint
from tests.nodes.questions import CLIENT, SERVICE
from tests.servers.load import Body, Record, claimants, loaded, log_of
from tests.servers.node import RunningNode, demo_folder, running_node
from tests.unit.app.trust import pki

REVIEW, PURPOSE = "hz-hrss-review", "benefit-review"
ROUNDS = 8
THREADS = 12


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """A node of four worker processes that trusts one authority more than the demonstration's."""
    with demo_folder() as var:
        authority = pki.root("Trial root", life=life())
        trusted = var / "authorities.pem"
        trusted.write_bytes((var / "pki" / "ca.pem").read_bytes() + authority.pem)
        for name in ("lost", "kept"):
            names = (x509.DNSName(host(REVIEW)),)
            holder = pki.leaf(authority, REVIEW, names=names, life=life())
            (var / "pki" / f"{name}.pem").write_bytes(holder.pem)
            (var / "pki" / f"{name}.key").write_bytes(holder.key_pem)
            (var / "pki" / f"{name}.x5t").write_text(thumbprint(holder), "ascii")
        settings = {"HECHA_WORKERS": "4", "HECHA_THREADS": "8", "HECHA_TLS_CLIENT_CA": str(trusted)}
        with running_node(var, **settings) as made:
            yield made


def ask(client: NodeClient, body: Body) -> Reply:
    return client.ask(SERVICE, body)


def step(client: NodeClient, path: str, body: Body, status: int = 200) -> Body:
    reply = client.post(path, body)
    assert reply.status == status, reply.body
    return reply.body


def places(records: Sequence[Record], **wanted: str) -> list[int]:
    """The places of all records with these members."""
    return [
        place for place, item in enumerate(records) if all(item.get(name) == value for name, value in wanted.items())
    ]


@pytest.mark.slow
def test_no_permit_of_a_client_follows_its_suspension_in_the_log(node: RunningNode) -> None:
    """It is locked out by one administrator and let in again by two, while a dozen threads ask in its name."""
    windows: list[tuple[float, float]] = []
    with ExitStack() as stack:
        first, second = (stack.enter_context(node.client(name)) for name in (FIRST, SECOND))
        load = stack.enter_context(loaded(ask, partial(node.client, CLIENT, maxsize=1), claimants(node), THREADS))
        for _ in range(ROUNDS):
            load.wait_for(2 * THREADS, 200, time.time())
            step(first, f"{CLIENTS}/{CLIENT}/suspension", REASON)
            answered_at = time.time()
            load.wait_for(THREADS, 401, answered_at)
            waiting = step(first, f"{CLIENTS}/{CLIENT}/resumption", REASON, 201)["id"]
            resumed_at = time.time()
            step(second, f"{CHANGES}/{waiting}/decision", APPROVE)
            windows.append((answered_at, resumed_at))
        load.wait_for(THREADS, 200, time.time())
    assert [load.statuses(*window) for window in windows] == [{401}] * ROUNDS
    assert load.statuses(0) == {200, 401}
    records = log_of(node)
    suspended = places(records, about=f"client:{CLIENT}", state="suspended")
    resumed = places(records, about=f"client:{CLIENT}", state="resumed")
    permits = places(records, client=CLIENT, decision="permit")
    assert (len(suspended), len(resumed)) == (ROUNDS, ROUNDS)
    for out, back in zip(suspended, resumed, strict=True):
        assert not [place for place in permits if out < place < back], "a permit behind the suspension"
        assert not [item for item in records[out:back] if item.get("client") == CLIENT and "decision" in item]
    where = {item["id"]: place for place, item in enumerate(records)}
    answers = [where[one.id] for one in load.replies if one.status == 200 and one.id]
    assert len(answers) == sum(one.status == 200 for one in load.replies)
    assert not [
        place for place in answers for out, back in zip(suspended, resumed, strict=True) if out < place < back
    ]
    gaps = [min(out - place for place in permits if place < out) for out in suspended]
    assert min(gaps) <= THREADS, "permits were written up to just before"
    assert all(back < out for back, out in pairwise(sorted((*suspended, *resumed)))), "one after the other"


@pytest.mark.slow
def test_no_permit_under_a_certificate_follows_its_suspension_and_the_other_goes_on(node: RunningNode) -> None:
    def open_client(name: str) -> NodeClient:
        pems: Path = node.var / "pki"
        certificate, key = pems / f"{name}.pem", pems / f"{name}.key"
        return NodeClient(node.url, ca=pems / "ca.pem", certificate=certificate, key=key, client_id=REVIEW, maxsize=1)

    lost, kept = ((node.var / "pki" / f"{name}.x5t").read_text("ascii") for name in ("lost", "kept"))
    bodies = claimants(node, PURPOSE)
    with ExitStack() as stack:
        officer = stack.enter_context(node.client(FIRST))
        loads = [
            stack.enter_context(loaded(ask, partial(open_client, name), bodies, THREADS // 2))
            for name in ("lost", "kept")
        ]
        for load in loads:
            load.wait_for(2 * THREADS, 200)
        step(officer, f"{CLIENTS}/{REVIEW}/certificates/suspension", {"certificate": lost, **REASON})
        answered_at = time.time()
        loads[0].wait_for(THREADS, 401, answered_at)
        loads[1].wait_for(THREADS, 200, answered_at)
    assert loads[0].statuses(answered_at) == {401}
    assert loads[1].statuses(0) == {200}
    records = log_of(node)
    (out,) = places(records, about=f"client:{REVIEW}", state="certificate-suspended")
    permits = places(records, certificate=lost, decision="permit")
    assert max(permits) < out
    assert out - max(permits) <= 4 * THREADS, "permits were written up to just before"
    assert max(places(records, certificate=kept, decision="permit")) > out
