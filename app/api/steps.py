"""HTTP around steps: the body against its published schema, the caller's act, and the reply with its receipt."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import orjson
from flask import Response, g, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from app.api import problems
from app.api.published import CURSOR, KEY
from app.api.security import node
from app.api.verifications import read_body
from app.identity.caller import Caller
from app.life_cycle.desk import Act, Desk
from app.refusals import Refusal
from app.registry.applications import invalid
from app.registry.ledger import Page
from app.registry.question import MAX_FAULTS
from app.steps import Step
from app.strict_json import read_object
from evidence.base64s import decode_url, encode_url

KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and request within 24 hours get the stored reply; nothing is done twice",
    "schema": KEY,
}


EXISTING = frozenset(("not-permitted", "conflict"))
"""Refusals of a step on something that is there."""

P = ParamSpec("P")
R = TypeVar("R")


class PageQuery(Schema):
    """Which page of a list, and which state and service."""

    class Meta:
        """Parameters nobody knows are left alone, as everywhere on the web."""

        unknown = EXCLUDE

    page_size = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    cursor = fields.String(load_default="", validate=validate.Length(max=400), metadata={"pattern": CURSOR})
    state = fields.String(load_default="", validate=validate.Length(max=32))
    service = fields.String(load_default="", validate=validate.Length(max=64))


def recorded(kind: str) -> Callable[[Callable[P, R]], Callable[P, R | Response]]:
    """A view of steps whose refusals are records too (等保三级): the problem names the record and has its receipt."""

    def decorate(view: Callable[P, R]) -> Callable[P, R | Response]:
        @wraps(view)
        def observed(*args: P.args, **kwargs: P.kwargs) -> R | Response:
            try:
                return view(*args, **kwargs)
            except Refusal as refusal:
                return _refused(kind, kwargs.get("identifier"), refusal)

        return observed

    return decorate


def _refused(kind: str, about: object, refusal: Refusal) -> Response:
    # An id is the caller's own text unless something of that id exists.
    known = isinstance(about, str) and refusal.slug in EXISTING
    step = Step(
        id=str(uuid.uuid4()),
        at=datetime.now(UTC),
        kind=kind,
        state=refusal.slug,
        about=about if known and isinstance(about, str) else "unknown",
        document={"refused": refusal.slug, "request": f"{request.method} {request.url_rule}"},
        caller=g.caller,
        refused=True,
    )
    receipt = node().recorder.record_step(step)
    return problems.respond(refusal, step.id, receipt)


def desk() -> Desk:
    """Where steps are taken, over what is in force now."""
    return node().desk()


def act(sent: bytes = b"") -> Act:
    """The request as a step that its caller takes."""
    message = b"\x00".join((request.method.encode(), request.path.encode(), sent))
    return Act(g.caller, datetime.now(UTC), message, request.headers.get("Idempotency-Key"))


def body_of(schema: type[Schema], *, key_required: bool = False) -> tuple[Act, dict[str, Any]]:
    """The caller's act and the body, which fits the schema. Raises `Refusal`."""
    sent = read_body()
    made = act(sent)
    if key_required and made.key is None:
        raise Refusal("malformed", "Send an Idempotency-Key, so that a repeated request applies once only.")
    try:
        loaded: dict[str, Any] = schema().load(read_object(sent))
    except ValidationError as error:
        found = list(_faults(error.messages, ""))
        raise invalid(dict(found[:MAX_FAULTS])) from None
    return made, loaded


def replied(body: bytes, made_in: str | None = None) -> Response:
    """A reply that is stored and sent as the same bytes; `made_in`: the collection that has one more by it."""
    response = Response(body, 200, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    if made_in is not None:
        response.status_code = 201
        response.headers["Location"] = f"{made_in}/{orjson.loads(body)['id']}"
    return response


def page_of(query: Mapping[str, Any]) -> Page:
    """The page asked for; callers other than the authority and auditors see what concerns their department."""
    caller: Caller = g.caller
    party = None if caller.scopes & {"authority", "audit"} else caller.client.department
    wanted = {name: query[name] for name in ("state", "service") if query.get(name)}
    return Page(query["page_size"], _decoded(query["cursor"]), wanted, party)


def paged(found: Mapping[str, Any]) -> dict[str, Any]:
    """A page with the cursor of the next one, or null."""
    after = found["next"]
    return {"items": found["items"], "next": None if after is None else encode_url(after.encode())}


def documented(schema: type[Schema], example: Mapping[str, Any], *, key_required: bool = False) -> dict[str, Any]:
    """What the OpenAPI document says of a request: its body, an example that runs, and the key."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": dict(example)}},
        },
        "parameters": [{**KEY_PARAMETER, "required": key_required}],
    }


def _decoded(cursor: str) -> str:
    try:
        return decode_url(cursor).decode()
    except ValueError:
        raise Refusal("invalid-request", "The cursor is not one of this list: start without one.") from None


def _named(name: str) -> str:
    """A member's name for a pointer; one that we would not give may hold anything, so it is hidden."""
    return name if re.fullmatch(r"[a-z_]{1,40}|[0-9]{1,5}", name) else "?"


def _faults(messages: Any, pointer: str) -> Iterator[tuple[str, str]]:
    """What marshmallow found, as pointers and reasons: it names members and rules, never values."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            place = pointer if name == "_schema" else f"{pointer}/{_named(str(name))}"
            yield from _faults(inner, place)
    else:
        yield pointer, " ".join(str(message) for message in messages)
