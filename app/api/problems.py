"""Problem documents (RFC 9457): the one table of slugs, and the one place where an error becomes a response.

`type` is a stable slug; `instance` is the id of the decision that recorded the refusal, where there is one.
An exception we do not know says nothing outward.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Response
from werkzeug.exceptions import HTTPException

from app.log.storage import StoreUnavailable
from app.refusals import Refusal, unexpected

logger = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One type of problem: its HTTP status and its title, which never changes."""

    status: int
    title: str


PROBLEMS = {
    "certificate-required": Problem(401, "A client certificate is required"),
    "certificate-not-trusted": Problem(401, "The client certificate is not trusted"),
    "certificate-revoked": Problem(401, "The client certificate is revoked"),
    "token-invalid": Problem(401, "The access token is missing or invalid"),
    "token-not-bound": Problem(401, "The access token is bound to another certificate"),
    "signature-invalid": Problem(401, "The request signature is missing or invalid"),
    "insufficient-scope": Problem(403, "The access token lacks a scope"),
    "not-permitted": Problem(403, "The rules do not permit this"),
    "malformed": Problem(400, "The request could not be read"),
    "not-found": Problem(404, "There is no such thing here"),
    "method-not-allowed": Problem(405, "The method is not allowed here"),
    "revision-refused": Problem(409, "The node directory is refused"),
    "conflict": Problem(409, "The step does not fit the present state"),
    "idempotency-conflict": Problem(409, "The Idempotency-Key is taken"),
    "too-large": Problem(413, "The request is too large"),
    "unsupported-media-type": Problem(415, "The content type is not supported"),
    "invalid-request": Problem(422, "The request does not fit its schema"),
    "quota-exceeded": Problem(429, "The agreed number of questions is used up"),
    "budget-exhausted": Problem(429, "The disclosure budget is used up"),
    "internal-error": Problem(500, "The node failed"),
    "source-misbehaved": Problem(502, "The source answered wrongly"),
    "revocation-unknown": Problem(503, "Whether the client certificate is revoked cannot be told"),
    "source-unavailable": Problem(503, "The source is unavailable"),
    "source-stale": Problem(503, "The source is out of date"),
    "obligation-not-met": Problem(503, "An obligation cannot be met"),
    "record-not-written": Problem(503, "The decision log cannot be written"),
    "log-unavailable": Problem(503, "The decision log cannot be read"),
    "limiter-unavailable": Problem(503, "Quota and budget cannot be checked"),
}

_BY_STATUS = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid-request",
}


def respond(refusal: Refusal, identifier: str | None = None, receipt: str | None = None) -> Response:
    """The problem document of a refusal; `identifier` and `receipt` are those of its record."""
    problem = PROBLEMS[refusal.slug]
    members = dict(refusal.members)
    status = members.pop("status", problem.status)
    document: dict[str, Any] = {
        "type": refusal.slug,
        "title": problem.title,
        "status": status,
        "detail": refusal.detail,
        **members,
    }
    if identifier is not None:
        document["instance"] = identifier
    if receipt is not None:
        document["receipt"] = receipt
    response = Response(orjson.dumps(document), status, content_type=CONTENT_TYPE)
    response.headers.extend(refusal.headers)
    return response


def from_refusal(refusal: Refusal) -> Response:
    """Flask's handler for refusals that no record was made of."""
    return respond(refusal)


def from_http(error: HTTPException) -> Response:
    """Flask's own errors (unknown path, wrong method, body too large) as problem documents."""
    code = error.code or 500
    slug = _BY_STATUS.get(code, "malformed" if 400 <= code < 500 else "internal-error")
    refusal = Refusal(slug, _DETAILS.get(slug, PROBLEMS[slug].title))
    errors = getattr(error, "data", {}).get("messages") if hasattr(error, "data") else None
    if errors:
        refusal.members["errors"] = _faults(errors)
    response = respond(refusal)
    if getattr(error, "valid_methods", None):
        # SPEC: RFC 9110 §15.5.6: a 405 must list what is allowed.
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # type: ignore[attr-defined]
    return response


def from_store(error: StoreUnavailable) -> Response:
    """The node database cannot be read: which kind of fault goes to the log, nothing more."""
    logger.error("the decision log cannot be read: %s", error)
    return respond(
        Refusal(
            "log-unavailable", "The decision log cannot be read: try again shortly.", headers={"Retry-After": "5"}
        )
    )


def from_unknown(error: Exception) -> Response:
    """An exception that nobody expected says nothing outward."""
    return respond(unexpected(error))


def _faults(messages: Mapping[str, Mapping[str, list[str]]]) -> list[dict[str, str]]:
    """What webargs found, as pointers and reasons: it names members and rules, never values."""
    return [
        {"pointer": name, "reason": reason}
        for location in messages.values()
        for name, reasons in location.items()
        for reason in reasons
    ]


_DETAILS = {
    "malformed": "The request could not be read.",
    "not-found": "There is no such path: /openapi.json lists what there is.",
    "method-not-allowed": "The method is not allowed here: see Allow.",
    "too-large": "The body is larger than this node accepts.",
    "unsupported-media-type": "Send application/json.",
    "invalid-request": "The request does not fit its schema: see errors.",
}
