"""Every route by every role, as docs/access.md declares it: one table, which holds in both directions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from werkzeug.test import TestResponse

from app.registry.departments import ROLES
from tests.house.pages import read, table
from tests.nodes.consumer import Consumer
from tests.nodes.routes import Route, routes
from tests.nodes.running import RunningNode

Consumers = Callable[[str], Consumer]

# A client of each role, and nobody: a connection without a certificate.
HOLDERS = {
    "consumer": "hz-hrss-benefits",
    "steward": "hz-tax-steward",
    "authority": "hz-data-bureau",
    "auditor": "hz-audit",
    "system-admin": "hz-sysadmin",
    "security-admin": "hz-secadmin",
}
ANYBODY = "anybody"
WORDS = {"yes": True, "–": False}
ROUTES = {str(route): route for route in routes()}
# What keeps a caller out, as opposed to what is wrong with an empty request.
CLOSED = {"certificate-required", "certificate-not-trusted", "token-invalid", "token-not-bound", "insufficient-scope"}


def declared() -> dict[str, dict[str, bool]]:
    """Who may call which route, by the table."""
    page = read("docs/access.md")
    heads = ("route", "what for", ANYBODY, *ROLES)
    found = {}
    for row in table(page, "route"):
        cells = dict(zip(heads, row, strict=True))
        found[cells["route"].strip("`")] = {name: WORDS[cells[name]] for name in (ANYBODY, *ROLES)}
    return found


DECLARED = declared()
PLACES = [(route, role) for route in sorted(ROUTES) for role in (ANYBODY, *ROLES)]


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    """A new route without a row fails here."""
    assert DECLARED.keys() == ROUTES.keys()


def test_table_says_something_of_every_role() -> None:
    assert HOLDERS.keys() == set(ROLES)
    assert all(row.keys() == {ANYBODY, *ROLES} for row in DECLARED.values())
    assert all(any(row[role] for row in DECLARED.values()) for role in ROLES)


def opened(response: TestResponse) -> bool:
    """Whether the route let its caller in, whatever it then said of an empty request."""
    if response.mimetype != "application/problem+json":
        return True
    slug = response.get_json()["type"]
    assert slug not in {"internal-error", "method-not-allowed"}
    return slug not in CLOSED


@pytest.mark.parametrize(("name", "role"), PLACES, ids=[f"{role}: {route}" for route, role in PLACES])
def test_route_is_open_to_the_roles_of_its_row_and_to_nobody_else(
    node: RunningNode, consumer: Consumers, name: str, role: str
) -> None:
    route = ROUTES[name]
    assert opened(asked(node, consumer, route, role)) is DECLARED[name][role]


def asked(node: RunningNode, consumer: Consumers, route: Route, role: str) -> TestResponse:
    """The route, asked by a client of the role with all the scopes there are for it."""
    if role == ANYBODY:
        return node.nobody().open(route.method, route.path)
    caller = consumer(HOLDERS[role])
    headers = {"Authorization": f"Bearer {caller.token()}"}
    if route.path.startswith("/oauth2/"):
        return caller.open(route.method, route.path, data={"client_id": caller.name}, headers=headers)
    return caller.open(route.method, route.path, json={}, headers=headers)
