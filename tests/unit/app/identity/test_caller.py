from __future__ import annotations

from dataclasses import replace

import pytest

from app.identity.caller import ROLE_SCOPES, grantable
from app.refusals import Refusal
from app.registry.catalogue import Catalogue
from app.registry.departments import ROLES, Client
from bench.callers import unchecked_caller

CLIENT = Client("a", {"en": "a", "zh": "b"}, "hz-hrss", frozenset(), "tls_client_auth_san_dns", "a.example")


CATALOGUE = Catalogue([], [])
CATALOGUE.services = {"wage-base": None, "person-basic": None}  # type: ignore[dict-item]


def test_client_without_a_role_is_granted_nothing() -> None:
    assert grantable(CLIENT, CATALOGUE) == frozenset()


@pytest.mark.parametrize("role", ROLES)
def test_only_consumers_may_ask_services(role: str) -> None:
    scopes = grantable(replace(CLIENT, roles=frozenset([role])), CATALOGUE)
    asked = {scope for scope in scopes if scope.startswith("verify:")}
    assert asked == ({"verify:wage-base", "verify:person-basic"} if role == "consumer" else set())
    assert scopes - asked == set(ROLE_SCOPES[role])


def test_roles_add_up() -> None:
    both = replace(CLIENT, roles=frozenset(["consumer", "steward"]))
    assert grantable(both, Catalogue([], [])) == {"catalogue", "steward"}


def test_no_administrators_scope_comes_with_another_role() -> None:
    for scope in ("audit", "system-admin", "security-admin"):
        assert sum(scope in scopes for scopes in ROLE_SCOPES.values()) == 1


@pytest.mark.parametrize("held", [set(), {"verify:other"}, {"verify"}, {"verify:wage-base2"}, {"VERIFY:WAGE-BASE"}])
def test_scope_that_the_token_lacks_is_refused_by_name(held: set[str]) -> None:
    with pytest.raises(Refusal, match="verify:wage-base"):
        unchecked_caller(CLIENT, held).need("verify:wage-base")


def test_scope_that_the_token_has_is_enough() -> None:
    unchecked_caller(CLIENT, ["verify:wage-base"]).need("verify:wage-base")
