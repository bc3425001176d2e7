"""POST /oauth2/token (RFC 6749 §4.4, RFC 8705 §2.1) and the public documents under /.well-known/."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from flask import Response, g, jsonify, request
from flask_smorest import Blueprint

from app.api.schemas import ProblemSchema
from app.api.security import itself, node
from app.identity.caller import Caller, grantable
from app.recording import Event
from app.registry.departments import Client

_ERROR = {
    "type": "object",
    "required": ["error", "error_description"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
}

blueprint = Blueprint("tokens", __name__, description="Certificate-bound access tokens and public keys.")


@blueprint.route("/oauth2/token", methods=["POST"])
@blueprint.doc(
    summary="Get an access token bound to the client certificate of this connection",
    operationId="token",
    requestBody={
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type", "client_id"],
                    "properties": {
                        "grant_type": {"type": "string", "const": "client_credentials"},
                        "client_id": {"type": "string"},
                        "scope": {
                            "type": "string",
                            "description": "Scopes separated by spaces; left out: all that the client may have.",
                        },
                    },
                },
                "example": {"grant_type": "client_credentials", "client_id": "hz-hrss-benefits"},
            }
        },
    },
    responses={
        "200": {
            "description": "The token",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["access_token", "token_type", "expires_in", "scope"],
                        "properties": {
                            "access_token": {"type": "string"},
                            "token_type": {"type": "string", "const": "Bearer"},
                            "expires_in": {"type": "integer"},
                            "scope": {"type": "string"},
                        },
                    }
                }
            },
        },
        "400": {
            "description": "RFC 6749 §5.2: invalid_request, unsupported_grant_type, invalid_scope",
            "content": {"application/json": {"schema": _ERROR}},
        },
        "401": {
            "description": "RFC 6749 §5.2: invalid_client; or there is no certificate that the node trusts",
            "content": {
                "application/json": {"schema": _ERROR},
                "application/problem+json": {"schema": ProblemSchema},
            },
        },
    },
    security=[{"mtls": []}],
)
@itself
def token() -> tuple[Response, int]:
    """Issue a token to the client that the certificate of this connection belongs to."""
    if request.mimetype != "application/x-www-form-urlencoded":
        return _error("invalid_request", "send a form: application/x-www-form-urlencoded")
    form = request.form
    if any(len(form.getlist(name)) > 1 for name in form):
        return _error("invalid_request", "a parameter stands twice")  # SPEC: RFC 6749 §3.2
    if form.get("grant_type") != "client_credentials":
        missing = "grant_type" not in form
        return _error("invalid_request" if missing else "unsupported_grant_type", "use client_credentials")
    caller: Caller = g.caller
    # SPEC: RFC 8705 §2: client_id is needed to tell which client's registration the certificate is held against.
    if form.get("client_id") != caller.client.name:
        return _error("invalid_client", "client_id is not the client of this certificate", 401)
    granted = grantable(caller.client, node().registry.catalogue.services)
    asked = frozenset(form.get("scope", "").split())
    if not asked <= granted:
        return _error("invalid_scope", "a scope is not one this client may have")
    return _issue(caller, asked or granted), 200


def _issue(caller: Caller, scopes: frozenset[str]) -> Response:
    now = datetime.now(UTC)
    access_token, _jti = node().identity.tokens.issue(caller.client.name, caller.certificate, scopes, now)
    _record("issued", now)
    response = jsonify(
        access_token=access_token,
        token_type="Bearer",  # noqa: S106 - RFC 6750's word
        expires_in=node().identity.tokens.lifetime_s,
        scope=" ".join(sorted(scopes)),
    )
    response.headers["Cache-Control"] = "no-store"  # SPEC: RFC 6749 §5.1
    return response


def _record(state: str, now: datetime) -> None:
    """Record what became of a token request: no token leaves, and none is refused, without a trace (等保三级)."""
    node().recorder.record(Event(id=str(uuid.uuid4()), at=now, caller=g.caller, kind="token", state=state))


def _error(error: str, description: str, status: int = 400) -> tuple[Response, int]:
    _record(error.replace("_", "-"), datetime.now(UTC))
    response = jsonify(error=error, error_description=description)
    response.headers["Cache-Control"] = "no-store"
    return response, status


@blueprint.route("/.well-known/oauth-authorization-server")
@blueprint.doc(summary="Authorization server metadata (RFC 8414)", operationId="metadata")
@blueprint.response(200, {"type": "object"})
def metadata() -> Response:
    """What the token endpoint does, for clients that configure themselves."""
    issuer = node().settings.issuer
    scopes = {scope for client in node().registry.departments.clients.values() for scope in _scopes(client)}
    return jsonify(
        issuer=issuer,
        token_endpoint=f"{issuer}/oauth2/token",
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        grant_types_supported=["client_credentials"],
        response_types_supported=[],
        token_endpoint_auth_methods_supported=["tls_client_auth"],
        tls_client_certificate_bound_access_tokens=True,
        scopes_supported=sorted(scopes),
    )


def _scopes(client: Client) -> frozenset[str]:
    return grantable(client, node().registry.catalogue.services)


@blueprint.route("/.well-known/jwks.json")
@blueprint.doc(summary="Public keys of tokens and receipts (RFC 7517)", operationId="jwks")
@blueprint.response(200, {"type": "object"})
def jwks() -> Response:
    """The node's public signing keys."""
    return jsonify(node().jwks)


@blueprint.route("/.well-known/log.vkey")
@blueprint.doc(
    summary="The log's signed-note verifier key (C2SP)",
    operationId="logKey",
    responses={"200": {"description": "The key", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def log_key() -> Response:
    """The key that checkpoints are verified with."""
    return Response(node().vkey + "\n", content_type="text/plain; charset=utf-8")
