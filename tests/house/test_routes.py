"""House rules about routes: each says who may call it, or is one of the few that are public."""

from __future__ import annotations

import pytest

from app.api.security import PUBLIC
from app.identity.caller import ROLE_SCOPES
from app.registry.departments import ROLES
from tests.nodes.routes import Route, routes

ROUTES = list(routes())
SCOPES = {scope for scopes in ROLE_SCOPES.values() for scope in scopes}


def every_route() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", ROUTES, ids=str)


@every_route()
def test_route_declares_what_it_needs_or_is_public(route: Route) -> None:
    """API5: a new route without a declaration fails here."""
    needs = getattr(route.view, "needs", None)
    assert route.public or needs, f"{route}: decorate the view with app.api.security.scope"
    assert route.public is (needs in {None, ("public",)})


@every_route()
def test_scope_of_a_route_can_be_granted_to_some_role(route: Route) -> None:
    needs = set(getattr(route.view, "needs", ()))
    assert needs <= SCOPES | {"public", "any", "itself"}


@every_route()
def test_public_route_only_reads(route: Route) -> None:
    assert not route.public or route.method == "GET"


def test_public_paths_are_those_of_the_design() -> None:
    assert PUBLIC == ("/.well-known/", "/docs", "/openapi.json", "/livez")


def test_only_questions_and_tokens_look_at_their_caller_themselves() -> None:
    own = {route.path for route in ROUTES if getattr(route.view, "needs", None) == ("itself",)}
    oauth = {"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"}
    assert own == oauth | {"/v1/services/employment-status/verifications"}


def test_every_role_has_scopes() -> None:
    assert ROLE_SCOPES.keys() == set(ROLES)
