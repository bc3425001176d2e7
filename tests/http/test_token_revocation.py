"""Revocation by RFC 7009: whose tokens one may end, and that nothing is accepted behind the record that says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import orjson
import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from adapters.base import Answer
from app import services
from app.factory import app_for
from app.log import storage, tables
from tests.http.token_forge import Forge, mirrored
from tests.nodes import running
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem, recorded
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import RunningNode
from tests.nodes.sources import CountingSource
from tests.nodes.steps import application, epoch

OTHER, SECURITY_ADMIN = "hz-outsider", "hz-secadmin"


@pytest.fixture(scope="module")
def holder(own: RunningNode) -> Consumer:
    return own.consumer(CLIENT)


@pytest.fixture(scope="module")
def worker(own: RunningNode) -> Iterator[RunningNode]:
    """Another worker of the same node: the same database and Valkey, objects of its own."""
    env = running.environment(own.ground, own.folder, REDIS_URL=str(own.node.settings.redis_url))
    node = services.build(own.node.settings, env)
    yield RunningNode(node, app_for(node), own.folder, own.ground)
    node.close()


def fresh(caller: Consumer) -> str:
    """A token of the caller's that nobody has seen yet."""
    token: str = caller.form(grant_type="client_credentials", client_id=caller.name).get_json()["access_token"]
    return token


def jti(token: str) -> str:
    found: str = jwt.decode(token, options={"verify_signature": False})["jti"]
    return found


def revoke(caller: Consumer, token: str, **members: str) -> TestResponse:
    return caller.open("POST", "/oauth2/revoke", data={"client_id": caller.name, "token": token, **members})


def ask(caller: Consumer, token: str, **headers: str) -> TestResponse:
    return caller.ask(SERVICE, employment(), Authorization=f"Bearer {token}", **headers)


def read(caller: Consumer, token: str) -> TestResponse:
    return caller.open("GET", "/v1/services", headers={"Authorization": f"Bearer {token}"})


def done(response: TestResponse) -> None:
    """RFC 7009 §2.2: the status says it all."""
    assert (response.status_code, response.data) == (200, b""), response.text
    assert response.headers["Cache-Control"] == "no-store"


def revocations(node: RunningNode, token: str) -> list[dict[str, Any]]:
    found = [node.record(row.id) for row in node.rows(kind="token", state="revoked")]
    return [record for record in found if record["about"] == jti(token)]


def latest(node: RunningNode, before: int) -> list[dict[str, Any]]:
    return [node.record(row.id) for row in node.rows()[before:]]


def test_revoked_token_opens_nothing_at_any_worker(own: RunningNode, worker: RunningNode, holder: Consumer) -> None:
    elsewhere, token = worker.consumer(CLIENT), fresh(holder)
    for caller in (holder, elsewhere):
        assert ask(caller, token).status_code == 200
        assert read(caller, token).status_code == 200
    done(revoke(holder, token))
    for node, caller in ((worker, elsewhere), (own, holder)):
        problem(read(caller, token), "token-invalid")
        assert "revoked" in read(caller, token).headers["WWW-Authenticate"]
        recorded(node, ask(caller, token), "token-invalid")
        applied = caller.open(
            "POST",
            "/v1/applications",
            json=application(),
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "one"},
        )
        problem(applied, "token-invalid")
    assert ask(holder, fresh(holder)).status_code == 200


def test_revocation_is_a_record_without_the_token(own: RunningNode, holder: Consumer) -> None:
    token, before = fresh(holder), epoch(own)
    done(revoke(holder, token, token_type_hint="refresh_token"))
    (record,) = revocations(own, token)
    assert epoch(own) == before + 1
    assert (record["client"], record["consumer"], record["commitments"]) == (CLIENT, "hz-hrss", {})
    with own.node.store.reading() as connection:
        document = storage.archived(connection, record["document"])
    assert document is not None
    assert orjson.loads(document)["token"].keys() == {"jti", "client", "expires_at"}
    for part in token.split("."):
        assert part.encode() not in document + orjson.dumps(record)
    assert holder.get(f"/v1/decisions/{record['id']}").get_json()["record"] == record
    assert own.record(record["about"])["state"] == "issued"


def test_security_admin_revokes_any_token(own: RunningNode, holder: Consumer) -> None:
    token = fresh(holder)
    done(revoke(own.consumer(SECURITY_ADMIN), token))
    (record,) = revocations(own, token)
    assert (record["client"], record["consumer"]) == (SECURITY_ADMIN, "hz-hrss")
    problem(read(holder, token), "token-invalid")


@pytest.mark.parametrize("name", [OTHER, "hz-hrss-review", "hz-audit", "hz-sysadmin", "hz-data-bureau"])
def test_token_of_another_client_is_not_ones_to_revoke(own: RunningNode, holder: Consumer, name: str) -> None:
    """The reply does not tell whether it is still good; the attempt is on record."""
    forge = Forge(own, holder, holder)
    good, caller, replies = fresh(holder), own.consumer(name), []
    for token in (
        good,
        forge.expired(),
        forge.revoked(),
        forge.with_claims(iat=9_999_999_999, exp=9_999_999_999 + 1),
    ):
        before = len(own.rows())
        response = revoke(caller, token)
        assert (response.status_code, response.get_json()["error"]) == (400, "invalid_grant")
        (record,) = latest(own, before)
        assert (record["state"], record["about"], record["client"]) == ("invalid-grant", jti(token), name)
        replies.append((response.data, list(response.headers)))
    assert all(reply == replies[0] for reply in replies)
    assert read(holder, good).status_code == 200


def test_what_is_no_good_token_needs_no_revocation(own: RunningNode, holder: Consumer) -> None:
    """RFC 7009 §2.2: also an answer of 200, since the purpose is reached."""
    forge = Forge(own, holder, own.consumer(OTHER))
    for token in ("token", forge.expired(), forge.with_header(alg="none"), forge.receipt(), "A" * 60_000):
        before, at = len(own.rows()), epoch(own)
        for caller in (holder, own.consumer(SECURITY_ADMIN)):
            done(revoke(caller, token))
        assert (latest(own, before), epoch(own)) == ([], at)


def test_revoking_twice_is_one_record(own: RunningNode, holder: Consumer) -> None:
    token = fresh(holder)
    for caller in (holder, holder, own.consumer(SECURITY_ADMIN)):
        done(revoke(caller, token))
    assert len(revocations(own, token)) == 1


def test_many_who_revoke_at_once_make_one_record(own: RunningNode, worker: RunningNode, holder: Consumer) -> None:
    token = fresh(holder)
    callers = [holder, worker.consumer(CLIENT), own.consumer(SECURITY_ADMIN), worker.consumer(SECURITY_ADMIN)] * 2
    barrier = threading.Barrier(len(callers))

    def at_once(caller: Consumer) -> None:
        barrier.wait()
        done(revoke(caller, token))

    with ThreadPoolExecutor(len(callers)) as pool:
        list(pool.map(at_once, callers))
    assert len(revocations(own, token)) == 1


def test_mirrored_signature_does_not_save_a_revoked_token(own: RunningNode, holder: Consumer) -> None:
    """ECDSA has two signatures of everything; what is revoked is the token's id."""
    token = fresh(holder)
    other = mirrored(token)
    assert read(holder, other).status_code == 200
    done(revoke(holder, token))
    problem(read(holder, other), "token-invalid")


def test_revocation_may_name_the_mirrored_token(own: RunningNode, holder: Consumer) -> None:
    token = fresh(holder)
    done(revoke(holder, mirrored(token)))
    problem(read(holder, token), "token-invalid")


class SlowSource(CountingSource):
    """A source that something happens to while it is asked."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile = meanwhile

    def answer(self, questions: Sequence[Any], *, timeout_s: float) -> list[Answer]:
        self._meanwhile()
        return super().answer(questions, timeout_s=timeout_s)


def test_token_revoked_while_the_source_is_asked_gets_no_answer(own: RunningNode, worker: RunningNode) -> None:
    """Revoked at another worker, which this one has not looked at since."""
    token = fresh(own.consumer(CLIENT))
    source = SlowSource(lambda: done(revoke(worker.consumer(CLIENT), token)))
    watched = own.with_adapter(SERVICE, source)
    question = employment(purpose="unemployment-benefit")
    response = watched.consumer(CLIENT).ask(SERVICE, question, Authorization=f"Bearer {token}")
    assert len(source.asked) == 1, "it was let in when it came"
    receipt = recorded(watched, response, "token-invalid")
    (row,) = own.rows(id=receipt.record["id"])
    assert row.decision is None
    assert not own.charges(row.id)


def test_no_source_is_asked_in_vain_for_a_token_that_another_worker_revoked(
    own: RunningNode, worker: RunningNode
) -> None:
    """The worker has not looked since, and yet it is told before it asks."""
    token, source = fresh(own.consumer(CLIENT)), CountingSource()
    watched = worker.with_adapter(SERVICE, source)
    done(revoke(own.consumer(CLIENT), token))
    recorded(watched, ask(watched.consumer(CLIENT), token), "token-invalid")
    assert source.asked == []


def test_stored_answer_is_not_handed_out_to_a_revoked_token(own: RunningNode, holder: Consumer) -> None:
    token, key = fresh(holder), {"Idempotency-Key": "revoked-meanwhile"}
    assert ask(holder, token, **key).status_code == 200
    done(revoke(holder, token))
    recorded(own, ask(holder, token, **key), "token-invalid")
    assert ask(holder, fresh(holder), **key).status_code == 200


def test_revoked_tokens_are_forgotten_long_after_their_end(own: RunningNode, holder: Consumer) -> None:
    """The table holds what could still be presented, and no more."""
    table, first, second = tables.revoked_token, fresh(holder), fresh(holder)
    done(revoke(holder, first))
    with own.node.store.writing() as connection:
        connection.execute(table.update().where(table.c.jti == jti(first)).values(expires_at=1))
    done(revoke(holder, second))
    with own.node.store.reading() as connection:
        held = set(connection.execute(select(table.c.jti)).scalars())
    assert jti(first) not in held
    assert jti(second) in held


@pytest.mark.parametrize("path", ["/oauth2/introspect", "/oauth2/revoke"])
def test_request_without_a_token_is_invalid(own: RunningNode, holder: Consumer, path: str) -> None:
    for form in ({}, {"token": ""}):
        before = len(own.rows())
        response = holder.open("POST", path, data={"client_id": CLIENT, **form})
        assert (response.status_code, response.get_json()["error"]) == (400, "invalid_request")
        (record,) = latest(own, before)
        assert (record["kind"], record["state"]) == ("token", "invalid-request")
