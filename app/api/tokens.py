"""POST /oauth2/token (RFC 6749 §4.4, RFC 8705 §2.1): an access token bound to the certificate of the connection."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response, g, jsonify

from app.api import introspection, well_known
from app.api.oauth import OAuthError, blueprint, desk, documented, endpoint, responses
from app.api.security import node
from app.life_cycle.tokens import ScopeNotGranted

# The routes of these modules are of the same blueprint.
__all__ = ["blueprint", "introspection", "well_known"]

_TOKEN = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in", "scope"],
    "properties": {
        "access_token": {"type": "string"},
        "token_type": {"type": "string", "const": "Bearer"},
        "expires_in": {"type": "integer"},
        "scope": {"type": "string"},
    },
}
_SCOPE = {
    "type": "string",
    "pattern": "^[!#-\\[\\]-~ ]*$",
    "description": "Scopes separated by spaces; left out: all that the client may have.",
}


@blueprint.route("/oauth2/token", methods=["POST"])
@blueprint.doc(
    summary="Get an access token bound to the client certificate of this connection",
    operationId="token",
    requestBody=documented(
        ["grant_type"],
        {"grant_type": {"type": "string", "const": "client_credentials"}, "scope": _SCOPE},
        {"grant_type": "client_credentials"},
    ),
    responses=responses(
        {"description": "The token", "content": {"application/json": {"schema": _TOKEN}}},
        ", unsupported_grant_type, invalid_scope",
    ),
    security=[{"mtls": []}],
)
@endpoint
def token(form: Mapping[str, str]) -> Response:
    """Issue a token to the client that the certificate of this connection belongs to."""
    if "grant_type" not in form:
        raise OAuthError("invalid_request", "grant_type is missing: use client_credentials")
    if form["grant_type"] != "client_credentials":
        raise OAuthError("unsupported_grant_type", "use client_credentials")
    try:
        issued = desk().issue(g.caller, frozenset(form.get("scope", "").split()))
    except ScopeNotGranted:
        raise OAuthError("invalid_scope", "a scope is not one this client may have") from None
    return jsonify(
        access_token=issued.token,
        token_type="Bearer",  # noqa: S106 - RFC 6750's word
        expires_in=node().identity.tokens.lifetime_s,
        scope=" ".join(sorted(issued.scopes)),
    )
