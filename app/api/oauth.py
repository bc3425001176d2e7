"""What the OAuth endpoints share: the form by RFC 6749 §3.2, the errors of §5.2, and their records.

Clients authenticate by the certificate of the connection and by nothing else (RFC 8705 §2.1, `tls_client_auth`).
There is one grant, which every client may use, so `unauthorized_client` does not occur.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from flask import Response, g, jsonify, request
from flask_smorest import Blueprint

from app.api.schemas import ProblemSchema
from app.api.security import itself, node
from app.identity.certificate import CHALLENGE
from app.life_cycle.tokens import TokenDesk
from app.recording import Event

FORM = "application/x-www-form-urlencoded"
# SPEC: RFC 6749 §2.3: a client uses one method of authentication in a request; these are of others.
OTHER_METHODS = frozenset(("client_secret", "client_assertion", "client_assertion_type"))
_ERROR = {
    "type": "object",
    "required": ["error", "error_description"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}

blueprint = Blueprint("tokens", __name__, description="Certificate-bound access tokens and public keys.")


class OAuthError(Exception):
    """A request that an OAuth endpoint refuses: the code of RFC 6749 §5.2, what to do, and the HTTP status."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status


def endpoint(view: Callable[[Mapping[str, str]], Response]) -> Callable[[], Response]:
    """A view of the client's form, without parameters that are empty; what it refuses is answered and recorded."""

    @itself
    @wraps(view)
    def answered() -> Response:
        try:
            response = view(_form())
        except OAuthError as error:
            _record(error.code)
            response = refused(error)
        response.headers["Cache-Control"] = "no-store"  # SPEC: RFC 6749 §5.1
        return response

    return answered


def desk() -> TokenDesk:
    """Where tokens are issued, looked up and revoked."""
    running = node()
    return TokenDesk(running.identity.tokens, running.recorder, running.current, running.limiter.announce)


def refused(error: OAuthError) -> Response:
    """The JSON of RFC 6749 §5.2."""
    response = jsonify(error=error.code, error_description=error.description)
    response.status_code = error.status
    if error.status == 401:
        response.headers.extend(CHALLENGE)  # SPEC: RFC 9110 §15.5.2: a 401 names a challenge
    return response


def _form() -> dict[str, str]:
    """The parameters of the client whose certificate it is. Raises `OAuthError`."""
    if request.mimetype != FORM:
        raise OAuthError("invalid_request", f"send a form: {FORM}")
    form = request.form
    # SPEC: RFC 6749 §3.2: no parameter more than once; one that is empty is left out, an unknown one is ignored.
    if any(len(values) > 1 for values in form.listvalues()):
        raise OAuthError("invalid_request", "a parameter stands twice")
    found = {name: value for name, value in form.items() if value}
    scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
    if OTHER_METHODS & found.keys() or scheme not in ("", "bearer"):
        raise OAuthError("invalid_request", "authenticate with the client certificate alone")
    # SPEC: RFC 8705 §2: client_id tells which client's registration the certificate is held against.
    if found.get("client_id") != g.caller.client.name:
        raise OAuthError("invalid_client", "client_id is not the client of this certificate", 401)
    return found


def _record(code: str) -> None:
    """Record what is refused: no request for a token ends without a trace (等保三级)."""
    event = Event(
        id=str(uuid.uuid4()), at=datetime.now(UTC), caller=g.caller, kind="token", state=code.replace("_", "-")
    )
    node().recorder.record(event)


def documented(required: list[str], properties: Mapping[str, Any], example: Mapping[str, str]) -> dict[str, Any]:
    """What the OpenAPI document says of a request with a form; `client_id` is in every one."""
    members = {"client_id": {"type": "string", "description": "The client of the certificate"}, **properties}
    # SPEC: RFC 6749 §3.2: what is unknown is ignored, and nothing stands twice.
    other = {"additionalProperties": {"type": "string"}}
    schema = {"type": "object", "required": ["client_id", *required], "properties": members, **other}
    content = {FORM: {"schema": schema, "example": {"client_id": "hz-hrss-benefits", **example}}}
    return {"required": True, "content": content}


def responses(success: Mapping[str, Any], errors: str = "") -> dict[str, Any]:
    """What the OpenAPI document says of the replies; `errors`: codes beside `invalid_request`."""
    return {
        "200": success,
        "400": {
            "description": f"RFC 6749 §5.2: invalid_request{errors}",
            "content": {"application/json": {"schema": _ERROR}},
        },
        "401": {
            "description": "RFC 6749 §5.2: invalid_client; or there is no certificate that the node trusts",
            "content": {
                "application/json": {"schema": _ERROR},
                "application/problem+json": {"schema": ProblemSchema},
            },
        },
    }
