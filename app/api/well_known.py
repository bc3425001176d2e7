"""The public documents under /.well-known/: metadata of the authorization server, public keys, the log's key."""

from __future__ import annotations

from flask import Response, jsonify

from app.api.oauth import blueprint
from app.api.security import node
from app.identity.caller import grantable

KEPT_S = 300  # how long others may hold on to the key set: a rotation publishes the next key days ahead
_METHODS = ["tls_client_auth"]


@blueprint.route("/.well-known/oauth-authorization-server")
@blueprint.doc(summary="Authorization server metadata (RFC 8414)", operationId="metadata")
@blueprint.response(200, {"type": "object"})
def metadata() -> Response:
    """What the OAuth endpoints do, for clients that configure themselves."""
    issuer, registry = node().settings.issuer, node().registry
    clients = registry.departments.clients.values()
    return jsonify(
        issuer=issuer,
        token_endpoint=f"{issuer}/oauth2/token",
        token_endpoint_auth_methods_supported=_METHODS,
        introspection_endpoint=f"{issuer}/oauth2/introspect",
        introspection_endpoint_auth_methods_supported=_METHODS,
        revocation_endpoint=f"{issuer}/oauth2/revoke",
        revocation_endpoint_auth_methods_supported=_METHODS,
        jwks_uri=f"{issuer}/.well-known/jwks.json",
        service_documentation=f"{issuer}/docs",
        grant_types_supported=["client_credentials"],
        response_types_supported=[],
        tls_client_certificate_bound_access_tokens=True,
        scopes_supported=sorted({scope for client in clients for scope in grantable(client, registry.catalogue)}),
    )


@blueprint.route("/.well-known/jwks.json")
@blueprint.doc(summary="Public keys of tokens and receipts (RFC 7517)", operationId="jwks")
@blueprint.response(200, {"type": "object"})
def jwks() -> Response:
    """The node's public signing keys: in use, to follow, and retired."""
    response = jsonify(node().jwks)
    response.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
    return response


@blueprint.route("/.well-known/log.vkey")
@blueprint.doc(
    summary="The log's signed-note verifier key (C2SP)",
    operationId="logKey",
    responses={"200": {"description": "The key", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def log_key() -> Response:
    """The key that checkpoints are verified with."""
    return Response(node().vkey + "\n", content_type="text/plain; charset=utf-8")
