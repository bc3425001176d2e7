"""Who may call which route. Every route needs a certificate, but for the few that are public; most need a scope.

A route declares its need with `scope`; a test holds that every route has declared one or is public.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import Response, current_app, g, request

from app.identity.caller import Caller
from app.refusals import Refusal
from app.registry.current import Registry
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
    if request.path.startswith(PUBLIC):
        _refuse_spoofed()
        return
    running, now = node(), datetime.now(UTC)
    try:
        g.caller = running.identity.certified(request.environ, running.registry, now)
    except Refusal as refusal:
        if refusal.slug != "certificate-not-trusted" or not running.current.has_moved():
            raise
        # Registered or let in again a moment ago, at another worker.
        g.caller = running.identity.certified(request.environ, running.current.refresh(), now)


def _refuse_spoofed() -> None:
    """Where nobody's certificate is needed, one that is handed over by nobody who may is refused all the same."""
    running: Node | None = current_app.extensions.get("hecha")  # none where the document alone is written
    if running is not None:
        running.identity.connections.of(request.environ)


def keep_apart(response: Response) -> Response:
    """After every request: caches keep nothing that depends on a certificate, or for that one alone."""
    # SPEC: RFC 9440 §2.4: uncacheable, or `Vary: Client-Cert`. The same without a proxy, where no cache can stand.
    if request.path.startswith(PUBLIC) or "no-store" in response.headers.get("Cache-Control", ""):
        return response
    if "Cache-Control" in response.headers:
        response.vary.add("Client-Cert")
    else:
        response.headers["Cache-Control"] = "no-store"
    return response


def authenticated(registry: Registry | None = None) -> Caller:
    """The certified caller with the scopes of its token, by this registry or the one in force. Raises `Refusal`.

    What is not held against the registry as it is recorded needs the one in force, not the one last looked at.
    """
    caller: Caller = g.caller
    running = node()
    authorization = request.headers.get("Authorization")
    return running.identity.authenticated(
        caller, authorization, registry or running.current.followed(), datetime.now(UTC)
    )


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
