"""Rotation of the token key as callers see it: no token is refused that was issued a moment ago, at any worker."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from app.keys import rotation
from tests.http.token_forge import thumbprint
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import Ground, OwnNode, RunningNode


@pytest.fixture
def folder(ground: Ground, tmp_path: Path) -> Path:
    """Keys of the test's own."""
    return Path(shutil.copytree(ground.folder / "keys", tmp_path / "keys"))


def status(node: RunningNode, token: str) -> int:
    return node.consumer(CLIENT).ask(SERVICE, employment(), Authorization=f"Bearer {token}").status_code


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def test_tokens_hold_through_a_rotation_at_workers_that_changed_over_and_at_those_that_did_not(
    own_node: OwnNode, folder: Path
) -> None:
    """Before and after are two workers of one node: same issuer, same folder of keys, read at different times."""
    following, _ = rotation.prepare(folder, "token")
    before = own_node(KEYS_DIR=str(folder))
    now = datetime.now(UTC)
    rotation.rotate(folder, "token", now, now)
    after = own_node(KEYS_DIR=str(folder))
    old, new = before.consumer(CLIENT).token(), after.consumer(CLIENT).token()
    assert (kid(new), kid(old)) == (following, before.node.identity.tokens.kid)
    assert kid(old) != kid(new)
    for node in (before, after):
        for token in (old, new):
            assert status(node, token) == 200


@pytest.mark.parametrize(("ago_s", "expected"), [(0, 200), (640, 401)])
def test_retired_key_makes_no_token_dated_after_its_end(
    own_node: OwnNode, folder: Path, ago_s: int, expected: int
) -> None:
    """Whoever finds the private half of a key that was retired has found nothing."""
    before = own_node(KEYS_DIR=str(folder))
    ended = datetime.now(UTC) - timedelta(seconds=ago_s)
    rotation.rotate(folder, "token", ended, ended, unprepared=True)
    after = own_node(KEYS_DIR=str(folder))
    mine = thumbprint(after.consumer(CLIENT))
    forged, _ = before.node.identity.tokens.issue(CLIENT, mine, [f"verify:{SERVICE}"], datetime.now(UTC))
    assert status(after, forged) == expected


def test_tokens_of_a_key_that_nobody_prepared_are_refused_by_a_worker_that_has_not_heard_of_it(
    own_node: OwnNode, folder: Path
) -> None:
    """Which is why the next key is prepared first."""
    before, now = own_node(KEYS_DIR=str(folder)), datetime.now(UTC)
    rotation.rotate(folder, "token", now, now, unprepared=True)
    token = own_node(KEYS_DIR=str(folder)).consumer(CLIENT).token()
    response = before.consumer(CLIENT).open("GET", "/v1/services", headers={"Authorization": f"Bearer {token}"})
    problem(response, "token-invalid")
