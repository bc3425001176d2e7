"""POST /v1/services/{service}/verifications: HTTP around `app.verification`, and nothing else."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from app.api import problems
from app.api.security import authenticated, itself, node
from app.identity.signature_input import Message
from app.refusals import Refusal
from app.verification import Request

# Documented per service, each with its own typed schema, by app.api.documents.
blueprint = Blueprint("verifications", __name__)


@blueprint.route("/v1/services/<service>/verifications", methods=["POST"])
@itself
def verify(service: str) -> Response:
    """Ask one question."""
    refusal: Refusal | None = None
    caller, body = g.caller, b""
    try:
        body = read_body()
    except Refusal as error:
        refusal = error
    try:
        # What the question comes to is held against the registry in force as it is recorded.
        caller = authenticated(node().current.registry)
    except Refusal as error:
        # The caller is known by its certificate, so the refusal is recorded like any other, with what was asked.
        refusal = error
    reply = node().verification.ask(
        Request(
            caller=caller,
            service=service,
            body=body,
            address=caller.address,
            idempotency_key=request.headers.get("Idempotency-Key"),
            refusal=refusal,
            message=_message(),
        )
    )
    if reply.refusal is not None:
        return problems.respond(reply.refusal, reply.id, reply.receipt)
    response = Response(reply.body, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers.extend(reply.headers)
    return response


def _message() -> Message | None:
    """The head of a request that may bear a signature (RFC 9421); None for all others, which are most."""
    environ = request.environ
    if "HTTP_SIGNATURE_INPUT" not in environ:
        return None
    fields = {name.lower(): value for name, value in request.headers.items()}
    # What was asked for, byte for byte: the path that Flask gives is decoded.
    return Message(request.method, environ.get("RAW_URI", ""), fields)


def read_body() -> bytes:
    """The body as sent. Raises `unsupported-media-type` and `too-large`."""
    if request.mimetype != "application/json" or request.headers.get("Content-Encoding"):
        raise Refusal("unsupported-media-type", "Send the body as application/json, not compressed.")
    limit = node().settings.max_body_bytes
    if (request.content_length or 0) > limit:
        raise Refusal("too-large", f"A body has at most {limit} bytes.")
    try:
        # One byte more than allowed: a body without a length is cut off otherwise, and what is left might be read.
        body: bytes = request.environ["wsgi.input"].read(min(request.content_length or limit + 1, limit + 1))
    except Exception:  # noqa: BLE001 - whatever the server finds wrong with chunks
        raise Refusal("malformed", "The body could not be read to its end.") from None
    if len(body) > limit:
        raise Refusal("too-large", f"A body has at most {limit} bytes.")
    return body
