"""Revocation lists at the door: what they name is refused, what they are silent about is not taken for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from tests.e2e.certificate_cases import CASES, DAY, NOW, World
from tests.nodes import running
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT
from tests.nodes.running import Ground, RunningNode
from tests.unit.app.trust import pki
from tests.unit.app.trust.pki import Holder

LIFE = (NOW - DAY, NOW + DAY)
WITHIN_S = 60


@pytest.fixture(scope="module")
def world() -> World:
    return World.made()


@pytest.fixture
def lists(tmp_path: Path, world: World) -> Path:
    """The file with the lists of the root and of the issuing authority, in PEM."""
    path = tmp_path / "lists.pem"
    write(path, world)
    return path


def write(path: Path, world: World, *revoked: Holder, number: int = 1) -> None:
    issuing = pki.revocation_list(world.issuing, *revoked, life=LIFE, number=number)
    content = pki.as_pem(pki.revocation_list(world.root, life=LIFE)) + pki.as_pem(issuing)
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


@pytest.fixture
def listed(ground: Ground, tmp_path: Path, world: World, lists: Path) -> Iterator[RunningNode]:
    """A node that trusts the world's authorities, with revocation lists."""
    (tmp_path / "trusted.pem").write_bytes(world.trusted)
    made = running.start(ground, tmp_path, TLS_CLIENT_CA=str(tmp_path / "trusted.pem"), CLIENT_CRLS=str(lists))
    yield made
    made.close()


def client(node: RunningNode, holder: Holder) -> Consumer:
    return Consumer(node.app, CLIENT, holder.der)


def asked(node: RunningNode, holder: Holder) -> TestResponse:
    return client(node, holder).form(grant_type="client_credentials", client_id=CLIENT)


def test_certificate_that_a_list_names_is_revoked(listed: RunningNode, world: World, lists: Path) -> None:
    """Within 60 s at most, without a restart; tokens over it are worth nothing, another certificate goes on."""
    one, other = world.good(), world.good()
    assert client(listed, one).get("/v1/services").status_code == 200
    write(lists, world, one, number=2)
    deadline = time.monotonic() + WITHIN_S
    while (
        response := client(listed, one).form(grant_type="client_credentials", client_id=CLIENT)
    ).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    problem(response, "certificate-revoked")
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    assert client(listed, other).get("/v1/services").status_code == 200


def test_certificate_whose_authority_has_no_list_is_not_taken_for_good(listed: RunningNode, world: World) -> None:
    response = asked(listed, CASES["of an authority without a list"](world))
    problem(response, "revocation-unknown")
    assert int(response.headers["Retry-After"]) > 0
