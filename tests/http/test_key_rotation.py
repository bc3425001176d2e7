"""A whole node over the rotation of its keys, and over keys that lie in a hardware module."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.keys import node_keys as keys
from app.keys import rotation
from evidence.jwk import thumbprint, valid_keys_from_jwks
from evidence.note import NoteVerifier
from evidence.receipt import verify_receipt
from tests.nodes.questions import CLIENT, SERVICE, Question, employment
from tests.nodes.running import Ground, RunningNode, start
from tests.servers import softhsm
from tests.servers.softhsm import SoftHsm

USES = ("token", "receipt")
Restart = Callable[[], RunningNode]


@pytest.fixture
def folder(ground: Ground, tmp_path: Path) -> Path:
    """Keys of this test's own."""
    return Path(shutil.copytree(ground.folder / "keys", tmp_path / "keys"))


@pytest.fixture
def restart(ground: Ground, folder: Path) -> Iterator[Restart]:
    """Starts the node of those keys on one state, the running one ended first."""
    # A short path: a unix socket may lie in it.
    state = ground.folder / f"rotation-{folder.parent.name}"
    state.mkdir()
    running: list[RunningNode] = []
    url = ground.redis_url()

    def started() -> RunningNode:
        if running:
            running.pop().close()
        running.append(start(ground, state, KEYS_DIR=str(folder), REDIS_URL=url))
        return running[0]

    yield started
    running.pop().close()


def jwks(node: RunningNode) -> dict[str, list[dict[str, str]]]:
    lifetime = timedelta(seconds=node.node.settings.token_lifetime_s)
    return keys.published(node.node.keys, lifetime, datetime.now(UTC))


def asked(node: RunningNode, question: Question, **headers: str) -> str:
    """The receipt of an answer."""
    reply = node.consumer(CLIENT).ask(SERVICE, question, **headers)
    assert reply.status_code == 200, reply.text
    return str(reply.get_json()["receipt"])


def test_tokens_and_receipts_of_the_former_keys_hold_over_a_rotation(folder: Path, restart: Restart) -> None:
    before = restart()
    token = before.consumer(CLIENT).token()
    old = asked(before, employment(), Authorization=f"Bearer {token}")
    for use in USES:
        rotation.prepare(folder, use)
    prepared = restart()
    known = {key["kid"] for key in jwks(prepared)["keys"]}
    # Whoever keeps a copy of the key set fetches it here, before anything is signed with the next keys.
    copy = valid_keys_from_jwks(jwks(prepared))
    now = datetime.now(UTC)
    for use in USES:
        rotation.rotate(folder, use, now, now)
    after = restart()
    new = asked(after, employment(), Authorization=f"Bearer {token}")
    assert after.consumer(CLIENT).get("/v1/services").status_code == 200, "a token of the new key"
    kids = [verify_receipt(receipt, copy).kid for receipt in (old, new)]
    assert kids == [thumbprint(node.node.keys.receipt.public_key()) for node in (before, after)]
    assert kids[0] != kids[1]
    today = valid_keys_from_jwks(jwks(after))
    assert [verify_receipt(receipt, today).kid for receipt in (old, new)] == kids
    assert {key["kid"] for key in jwks(after)["keys"]} == known


def test_token_of_a_former_key_ends_with_its_overlap(folder: Path, restart: Restart) -> None:
    token = restart().consumer(CLIENT).token()
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    rotation.rotate(folder, "token", long_ago, long_ago, unprepared=True)
    after = restart()
    refused = after.consumer(CLIENT).ask(SERVICE, employment(), Authorization=f"Bearer {token}")
    assert (refused.status_code, refused.get_json()["type"]) == (401, "token-invalid")
    asked(after, employment())


@pytest.mark.skipif(not softhsm.is_installed(), reason=softhsm.MISSING)
def test_node_answers_with_its_keys_in_a_module(
    folder: Path, restart: Restart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.keys import cryptoki

    token = SoftHsm(tmp_path / "hsm")
    token.init()
    curves = {"token": "p256", "receipt": "p256", "log": "ed25519"}
    token.make(*({"curve": curve, "label": name} for name, curve in curves.items()))
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.conf))
    cryptoki.stop_all()
    (folder / "key-history.json").unlink()
    for name in curves:
        (folder / f"{name}.pem").unlink()
        token.write_uri(folder / f"{name}.uri", name)
    node = restart()
    receipt = verify_receipt(asked(node, employment()), valid_keys_from_jwks(jwks(node)))
    proof = node.consumer(CLIENT).get(f"/v1/decisions/{receipt.record['id']}/proof").text
    receipt.check_proof(proof, [NoteVerifier.parse(node.node.vkey)])

    away = token.tokens.rename(token.folder / "away")
    cryptoki.stop_all()
    refused = node.consumer(CLIENT).open(
        "POST", "/oauth2/token", data={"grant_type": "client_credentials", "client_id": CLIENT}
    )
    assert refused.status_code == 503
    away.rename(token.tokens)
    asked(node, employment())
    cryptoki.stop_all()
