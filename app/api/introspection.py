"""POST /oauth2/introspect (RFC 7662) and /oauth2/revoke (RFC 7009): what a token is worth, and the end of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, g, jsonify

from app.api.oauth import OAuthError, blueprint, desk, documented, endpoint, refused, responses
from app.api.security import node
from app.life_cycle.tokens import ForeignToken

# SPEC: RFC 7662 §2.2: nothing more about a token that is not active; the same bytes, whyever it is not.
INACTIVE = b'{"active":false}'
_FORM = documented(
    ["token"],
    {
        "token": {"type": "string", "minLength": 1},
        "token_type_hint": {"type": "string", "description": "Not needed: there are access tokens only."},
    },
    {"token": "eyJhbGciOiJFUzI1NiIs…"},
)
_ACTIVE = {
    "type": "object",
    "required": ["active"],
    "properties": {
        "active": {"type": "boolean"},
        "scope": {"type": "string"},
        "client_id": {"type": "string"},
        "token_type": {"type": "string", "const": "Bearer"},
        "exp": {"type": "integer"},
        "iat": {"type": "integer"},
        "nbf": {"type": "integer"},
        "sub": {"type": "string"},
        "aud": {"type": "string"},
        "iss": {"type": "string"},
        "jti": {"type": "string", "description": "The id of the record that says it was issued"},
        "cnf": {"type": "object", "properties": {"x5t#S256": {"type": "string"}}},
    },
}


@blueprint.route("/oauth2/introspect", methods=["POST"])
@blueprint.doc(
    summary="What an access token is worth now (RFC 7662)",
    operationId="introspect",
    description="For the client that it was issued to, security administrators and auditors; for everybody else, and "
    "for a token that is not good, the reply is the same. Held against the registry in force, the client's "
    "certificate name and its keys among it; not against revocation lists, which the node looks at when it is used.",
    requestBody=_FORM,
    responses=responses({"description": "Its state", "content": {"application/json": {"schema": _ACTIVE}}}),
    security=[{"mtls": []}],
)
@endpoint
def introspect(form: Mapping[str, str]) -> Response:
    """Say whether a token is active, and what it says."""
    grant = desk().introspect(g.caller, _token(form), node().store)
    if grant is None:
        return Response(INACTIVE, content_type="application/json")
    issuer = node().identity.tokens.issuer
    return jsonify(
        active=True,
        scope=" ".join(sorted(grant.scopes)),
        client_id=grant.client,
        token_type="Bearer",  # noqa: S106 - RFC 6750's word
        exp=grant.expires_at,
        iat=grant.issued_at,
        nbf=grant.not_before,
        sub=grant.client,
        aud=issuer,
        iss=issuer,
        jti=grant.id,
        cnf={"x5t#S256": grant.certificate},
    )


@blueprint.route("/oauth2/revoke", methods=["POST"])
@blueprint.doc(
    summary="Revoke an access token (RFC 7009)",
    operationId="revoke",
    description="A client's own, or any as security administrator. Every worker and instance refuses it from the "
    "record of its revocation on. A token that is not good any more is answered with 200 too.",
    requestBody=_FORM,
    responses=responses({"description": "The token is not good any more"}, ", invalid_grant"),
    security=[{"mtls": []}],
)
@endpoint
def revoke(form: Mapping[str, str]) -> Response:
    """End a token before its time."""
    try:
        desk().revoke(g.caller, _token(form))
    except ForeignToken:
        # SPEC: RFC 7009 §2.1, RFC 6749 §5.2. Recorded where it was found, and the same whether or not it is good.
        return refused(OAuthError("invalid_grant", "the token was issued to another client"))
    response = Response()
    response.headers.remove("Content-Type")  # SPEC: RFC 7009 §2.2: the status says it all
    return response


def _token(form: Mapping[str, Any]) -> str:
    if "token" not in form:
        raise OAuthError("invalid_request", "token is missing")
    found: str = form["token"]
    return found
