"""Who may call which route. Every route needs a certificate, but for the few that are public; most need a scope.

A route declares its need with `scope`; a test holds that every route has declared one or is public.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import current_app, g, request

from app.identity.caller import Caller
from app.services import Node

PUBLIC = ("/.well-known/", "/docs", "/openapi.json", "/livez")

P = ParamSpec("P")
R = TypeVar("R")


def node() -> Node:
    """The node that this application serves."""
    found: Node = current_app.extensions["hecha"]
    return found


def certify() -> None:
    """Before every request: the caller by certificate. Raises `Refusal` where a route needs one."""
    path = request.path
    if path.startswith(PUBLIC):
        return
    g.caller = node().identity.certified(request.environ, datetime.now(UTC))


def authenticated() -> Caller:
    """The certified caller with the scopes of its token. Raises `Refusal`."""
    caller: Caller = g.caller
    return node().identity.authenticated(caller, request.headers.get("Authorization"), datetime.now(UTC))


def scope(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A view that needs a token with one of these scopes; without names, any token of this node."""

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def secured(*args: P.args, **kwargs: P.kwargs) -> R:
            caller = authenticated()
            if names and not caller.scopes & set(names):
                caller.need(names[0])
            g.caller = caller
            return view(*args, **kwargs)

        secured.needs = names or ("any",)  # type: ignore[attr-defined]
        return secured

    return decorate


def itself(view: Callable[P, R]) -> Callable[P, R]:
    """A view that looks at the caller itself: the token endpoint, and questions, whose refusals are recorded."""
    view.needs = ("itself",)  # type: ignore[attr-defined]
    return view
