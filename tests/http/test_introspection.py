"""Introspection by RFC 7662: who may know what a token is worth, and that nobody else learns anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import orjson
import pytest
from cryptography import x509
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.identity.certificate import key_digest, thumbprint_of
from app.log import tables
from app.registry.lockouts import suspend_certificate, suspend_client
from app.trust.twins import twin_of
from tests.http.token_forge import Forge, thumbprint
from tests.nodes.consumer import Consumer
from tests.nodes.office import Office, host, open_office, pin
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT
from tests.nodes.running import ISSUER, Ground, RunningNode
from tests.nodes.steps import epoch

Consumers = Callable[[str], Consumer]

INACTIVE = b'{"active":false}'
OTHER, AUDITOR, SECURITY_ADMIN = "hz-outsider", "hz-audit", "hz-secadmin"


def introspect(caller: Consumer, token: str, **members: str) -> TestResponse:
    form = {"client_id": caller.name, "token": token, **members}
    return caller.open("POST", "/oauth2/introspect", data={name: value for name, value in form.items() if value})


def active(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = response.get_json()
    assert document["active"] is True
    return document


@pytest.fixture
def forge(node: RunningNode, consumer: Consumers) -> Forge:
    return Forge(node, consumer(CLIENT), consumer(OTHER))


@pytest.mark.parametrize("asker", [CLIENT, AUDITOR, SECURITY_ADMIN])
def test_those_entitled_learn_what_the_token_says(consumer: Consumers, asker: str) -> None:
    token = consumer(CLIENT).token()
    claims = jwt.decode(token, options={"verify_signature": False})
    found = active(introspect(consumer(asker), token))
    assert found == {**claims, "active": True, "token_type": "Bearer"}
    assert found["cnf"] == {"x5t#S256": thumbprint(consumer(CLIENT))}
    assert (found["iss"], found["aud"], found["sub"]) == (ISSUER, ISSUER, CLIENT)


def test_hint_is_a_hint(consumer: Consumers) -> None:
    for hint in ("access_token", "refresh_token", "urn:example:other"):
        active(introspect(consumer(CLIENT), consumer(CLIENT).token(), token_type_hint=hint))


def bad(forge: Forge) -> dict[str, str]:
    """Tokens of the caller's own that are not good, and some that are none."""
    past = datetime.now(UTC) - timedelta(seconds=601)
    far = datetime.now(UTC) + timedelta(seconds=75)
    issue = forge.node.node.identity.tokens.issue
    mine = thumbprint(forge.caller)
    return {
        "expired": issue(forge.caller.name, mine, ["catalogue"], past)[0],
        "from the future": issue(forge.caller.name, mine, ["catalogue"], far)[0],
        "revoked": forge.revoked(),
        "of a client that there is not": forge.with_claims(client_id="nobody", sub="nobody"),
        "of another node": forge.with_claims(iss="https://node.suzhou.example"),
        "forged": forge.with_header(alg="none"),
        "malformed": "token",
        "too large": "A" * 60_000,
        "a receipt": forge.receipt(),
    }


@pytest.mark.parametrize("asker", [CLIENT, OTHER, AUDITOR, SECURITY_ADMIN])
def test_whatever_is_not_good_gets_the_same_bytes_and_headers(forge: Forge, consumer: Consumers, asker: str) -> None:
    seen = {}
    for name, token in bad(forge).items():
        response = introspect(consumer(asker), token)
        seen[name] = (response.status_code, response.data, tuple(response.headers))
    assert set(seen.values()) == {(200, INACTIVE, next(iter(seen.values()))[2])}, seen


@pytest.mark.parametrize("asker", [OTHER, "hz-tax-steward", "hz-data-bureau", "hz-sysadmin", "hz-hrss-review"])
def test_good_token_of_another_client_looks_like_none(forge: Forge, consumer: Consumers, asker: str) -> None:
    """Not even another system of the same department learns whether a token that it found is good."""
    good, none = (introspect(consumer(asker), token) for token in (consumer(CLIENT).token(), "token"))
    assert (good.status_code, good.data) == (none.status_code, none.data) == (200, INACTIVE)
    assert list(good.headers) == list(none.headers)


def latest(node: RunningNode, before: set[str]) -> list[Any]:
    return [row for row in node.rows() if row.id not in before]


def test_looking_up_ones_own_token_leaves_no_record(node: RunningNode, consumer: Consumers) -> None:
    token = consumer(CLIENT).token()
    before = {row.id for row in node.rows()}
    active(introspect(consumer(CLIENT), token))
    assert latest(node, before) == []


@pytest.mark.parametrize("asker", [AUDITOR, SECURITY_ADMIN, OTHER])
def test_looking_up_anothers_token_is_a_record_that_its_department_finds(
    node: RunningNode, consumer: Consumers, asker: str
) -> None:
    token = consumer(CLIENT).token()
    before = {row.id for row in node.rows()}
    introspect(consumer(asker), token)
    (row,) = latest(node, before)
    record = node.record(row.id)
    assert (record["kind"], record["state"], record["client"]) == ("token", "introspected", asker)
    assert record["about"] == jwt.decode(token, options={"verify_signature": False})["jti"]
    assert token.split(".")[2] not in orjson.dumps(record).decode()
    found = consumer(CLIENT).get(f"/v1/decisions/{row.id}")
    assert found.get_json()["record"] == record
    with node.node.store.reading() as connection:
        history = connection.execute(select(tables.step).where(tables.step.c.about == record["about"])).all()
    assert history == [], "nothing became of it"
    # What it is about is the record of its issue.
    assert node.record(record["about"])["state"] == "issued"


def test_looking_up_what_is_no_token_is_a_record_without_it(node: RunningNode, consumer: Consumers) -> None:
    before = {row.id for row in node.rows()}
    introspect(consumer(AUDITOR), "someone's secret")
    (row,) = latest(node, before)
    record = node.record(row.id)
    assert (record["state"], record["about"]) == ("introspected", "unknown")
    assert "secret" not in orjson.dumps(record).decode()


def moved(node: RunningNode, change: Callable[[Any], object]) -> None:
    """A change of who is let in, as another worker would have made it."""
    with node.node.store.writing() as connection:
        change(connection)
        connection.execute(tables.log_head.update().values(epoch=tables.log_head.c.epoch + 1))


def test_token_is_not_active_once_its_certificate_is_locked_out(own: RunningNode) -> None:
    """Introspection says what the node would do, not what the token says."""
    owner, auditor = own.consumer("hz-civil-dibao"), own.consumer(AUDITOR)
    token = owner.token()
    active(introspect(auditor, token))
    moved(own, lambda it: suspend_certificate(it, thumbprint(owner), owner.name, datetime.now(UTC)))
    assert introspect(auditor, token).data == INACTIVE
    problem(introspect(owner, token), "certificate-not-trusted")


def test_token_is_not_active_once_its_client_is_suspended(own: RunningNode) -> None:
    owner, auditor = own.consumer("hz-tax-levy"), own.consumer(AUDITOR)
    token = owner.token()
    active(introspect(auditor, token))
    moved(own, lambda it: suspend_client(it, owner.name, "hz-tax", epoch(own) + 1))
    assert introspect(auditor, token).data == INACTIVE
    problem(introspect(owner, token), "certificate-not-trusted")


def test_scopes_are_those_that_the_token_still_opens(forge: Forge, consumer: Consumers) -> None:
    """Beyond its roles a client has none, whatever a token of the node's own key says."""
    token = forge.with_claims(scope="audit catalogue")
    assert active(introspect(consumer(CLIENT), token))["scope"] == "catalogue"


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with open_office(ground, tmp_path_factory.mktemp("office")) as made:
        yield made


def held(office: Office, name: str, **changes: Any) -> tuple[Consumer, str]:
    """A new client that holds a token, active as the auditor sees it."""
    caller = office.caller(office.register(name, **changes), office.holder(name))
    token = caller.token()
    active(introspect(office.parties.client(AUDITOR), token))
    return caller, token


def seen(office: Office, token: str) -> bytes:
    data: bytes = introspect(office.parties.client(AUDITOR), token).data
    return data


def test_token_is_not_active_once_its_key_is_not_its_clients_any_more(office: Office) -> None:
    name, dns = "moved-key", {"tls_client_auth_san_dns": host("moved-key")}
    caller, token = held(office, name)
    assert caller.certificate is not None
    mine = key_digest(x509.load_der_x509_certificate(caller.certificate))
    other = pin(office.holder(name))
    office.change(name, certificate={**dns, "public_keys": [mine, *other]})
    active(introspect(office.parties.client(AUDITOR), token))
    office.change(name, certificate={**dns, "public_keys": other})
    assert seen(office, token) == INACTIVE
    problem(introspect(caller, token), "certificate-not-trusted")


def test_token_is_not_active_once_its_certificate_has_another_name_than_its_client(office: Office) -> None:
    _, token = held(office, "moved-name")
    office.change("moved-name", certificate={"tls_client_auth_san_dns": host("moved-elsewhere")})
    assert seen(office, token) == INACTIVE


def test_token_is_not_active_once_no_scope_is_left(office: Office) -> None:
    _, token = held(office, "moved-role", department="hz-ops", roles=["security-admin"])
    office.change("moved-role", roles=["consumer"])
    assert seen(office, token) == INACTIVE


def test_token_is_not_active_once_the_twin_of_its_certificate_is_locked_out(office: Office) -> None:
    """The twin is the same certificate under another thumbprint."""
    name = "moved-twin"
    office.register(name)
    holder = office.holder(name)
    twin = twin_of(holder.certificate, office.authority.certificate)
    assert twin is not None
    token = office.caller(name, holder).token()
    active(introspect(office.parties.client(AUDITOR), token))
    office.taken(office.lock(name, thumbprint_of(twin)))
    assert seen(office, token) == INACTIVE
