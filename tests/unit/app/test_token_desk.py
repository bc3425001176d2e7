"""The desk of tokens where the registry never stands still."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.identity.token import Tokens
from app.life_cycle.tokens import TRIES, TokenDesk
from app.log.sequencer import RegistryChanged
from app.refusals import Refusal
from app.registry.departments import Client
from bench.callers import unchecked_caller

CONSUMER = Client(
    "hz-a", {"en": "a", "zh": "a"}, "hz", frozenset({"auditor"}), "tls_client_auth_san_dns", "a.example"
)


class Restless:
    """A log and a registry that move on before every record, and count how often they were asked."""

    def __init__(self) -> None:
        departments = SimpleNamespace(find=lambda _: CONSUMER, clients={CONSUMER.name: CONSUMER})
        lockouts = SimpleNamespace(certificates=frozenset(), tokens=frozenset())
        self.registry = SimpleNamespace(epoch=1, departments=departments, lockouts=lockouts, catalogue=None)
        self.tried = self.refreshed = 0

    def record(self, _: object) -> str:
        self.tried += 1
        raise RegistryChanged

    record_step = record

    def refresh(self) -> object:
        self.refreshed += 1
        return self.registry

    def followed(self) -> object:
        return self.registry


@pytest.fixture
def restless() -> Restless:
    return Restless()


@pytest.fixture
def desk(restless: Restless) -> TokenDesk:
    tokens = Tokens(ec.generate_private_key(ec.SECP256R1()), "https://node.example", 600)
    return TokenDesk(tokens, cast("Any", restless), cast("Any", restless), lambda _: pytest.fail("nothing moved"))


def test_token_that_cannot_be_recorded_is_not_issued(desk: TokenDesk, restless: Restless) -> None:
    with pytest.raises(Refusal) as error:
        desk.issue(unchecked_caller(CONSUMER), frozenset())
    assert (error.value.slug, error.value.headers) == ("record-not-written", {"Retry-After": "1"})
    assert (restless.tried, restless.refreshed) == (TRIES, TRIES)


def test_revocation_that_cannot_be_recorded_is_not_confirmed(desk: TokenDesk) -> None:
    token, _ = desk.tokens.issue(CONSUMER.name, "A" * 43, ["catalogue"], datetime.now(UTC))
    with pytest.raises(Refusal) as error:
        desk.revoke(unchecked_caller(CONSUMER), token)
    assert error.value.slug == "record-not-written"


def test_look_up_that_cannot_be_recorded_tells_nothing(desk: TokenDesk) -> None:
    with pytest.raises(Refusal) as error:
        desk.introspect(unchecked_caller(CONSUMER), "token", cast("Any", None))
    assert error.value.slug == "record-not-written"
