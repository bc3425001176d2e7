"""The OpenAPI 3.1 document: each service has its own path and typed schema; /docs shows it from local files only."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import orjson
from apispec import BasePlugin
from flask import Flask, Response, current_app, send_from_directory
from flask_smorest import Api
from werkzeug.routing import Rule

from app.api import problems
from app.api.published import KEY
from app.api.schemas import ProblemSchema, answer_schema, question_schema
from app.api.security import PUBLIC
from app.registry.agreements import Agreements
from app.registry.catalogue import Catalogue, Service
from app.registry.current import Registry

SWAGGER_FILES = str(files("flask_swagger_ui") / "dist")
QUICKSTART = files("app.api").joinpath("quickstart.md").read_text("utf-8")
DOCUMENT_SETTINGS = {
    "API_TITLE": "Hecha 核查",
    "API_VERSION": "v1",
    "OPENAPI_VERSION": "3.1.0",
    "API_SPEC_OPTIONS": {
        "info": {"description": QUICKSTART, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
    },
    "OPENAPI_URL_PREFIX": "/",
    "OPENAPI_JSON_PATH": "openapi.json",
    "OPENAPI_SWAGGER_UI_PATH": "docs",
    "OPENAPI_SWAGGER_UI_URL": "/docs/static/",
    # Without this the page would ask a validator on a public host.
    "OPENAPI_SWAGGER_UI_CONFIG": {"validatorUrl": None, "docExpansion": "list"},
}
API = "hecha-api"
CURRENT = "hecha-document"  # an application's extension that knows the document in force
_CSP = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
_EXAMPLE_CALL = {"case": "CASE-2026-0001", "operator": "operator-1"}


class ProblemApi(Api):
    """flask-smorest with problem documents in place of its own errors."""

    ERROR_SCHEMA = ProblemSchema
    DEFAULT_ERROR_RESPONSE_NAME = None

    def _openapi_json(self) -> Response:
        """The document of what is in force; without a node, this API's own."""
        current: CurrentDocument | None = current_app.extensions.get(CURRENT)
        return Response(current.content() if current else written(self), content_type="application/json")

    def handle_http_exception(self, error: Any) -> Response:
        """Every HTTP error as RFC 9457, with Allow on 405."""
        return problems.from_http(error)


class CurrentDocument:
    """The OpenAPI document of the node directory in force, written once for each directory."""

    def __init__(self, registry: Callable[[], Registry], write: Callable[[Registry], bytes]) -> None:
        self._registry = registry
        self._write = write
        self._held = ("", b"")

    def content(self) -> bytes:
        """The document as JSON."""
        registry, (digest, content) = self._registry(), self._held
        if digest != registry.digest:
            # Threads may do this twice, to the same end.
            content = self._write(registry)
            self._held = registry.digest, content
        return content


def written(api: Api) -> bytes:
    """The document of an API as JSON."""
    return orjson.dumps(api.spec.to_dict(), option=orjson.OPT_NON_STR_KEYS)


class _Everywhere(BasePlugin):
    """What holds for every operation: a refusal is a problem document, and only the public ones take anybody.

    Of every schema, also what no field of it can say: its `rules`, keywords of JSON Schema.
    """

    def schema_helper(self, name: str, definition: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # noqa: ARG002
        found: dict[str, Any] = getattr(kwargs.get("schema"), "rules", {})
        return found

    def operation_helper(self, path: str | None = None, operations: dict[str, Any] | None = None, **_: Any) -> None:
        for operation in (operations or {}).values():
            # flask-smorest would document its own 422, as application/json.
            operation["responses"].pop(422, None)
            operation["responses"].setdefault("default", "Refusal")
            if not str(path).startswith(PUBLIC):
                operation.setdefault("security", [{"mtls": [], "token": []}])


def open_api(app: Flask) -> Api:
    """The API of an application, with questions as the first thing its page shows."""
    api = ProblemApi(app, spec_kwargs={"extra_plugins": [_Everywhere()]})
    app.extensions[API] = api
    api.spec.components.response("Refusal", _problem("Any refusal: docs/problems.md lists every type"))
    api.spec.tag({"name": "verifications", "description": "Ask one question and get a verdict."})
    return api


def add_questions(api: Api, catalogue: Catalogue, agreements: Agreements) -> None:
    """Document `POST /v1/services/{service}/verifications` for every service by its own path."""
    api.spec.components.security_scheme(
        "mtls", {"type": "mutualTLS", "description": "A client certificate of a CA that the node trusts"}
    )
    api.spec.components.security_scheme(
        "token",
        {"type": "http", "scheme": "bearer", "bearerFormat": "at+jwt", "description": "POST /oauth2/token"},
    )
    for service in catalogue.services.values():
        # The running route is one for all services; the document has one for each.
        rule = Rule(f"/v1/services/{service.name}/verifications")
        api.spec.path(rule=rule, operations={"post": _operation(service, agreements)})


def _operation(service: Service, agreements: Agreements) -> dict[str, Any]:
    question: dict[str, Any] = {"schema": question_schema(service)}
    if service.example:
        question["example"] = {"purpose": _purpose(service, agreements), **_EXAMPLE_CALL, **service.example}
    responses: dict[str, Any] = {
        "403": _problem("Not permitted: reasons name rules and articles (also: the token lacks the scope)"),
    }
    if service.answerable is not None:
        responses["200"] = {
            "description": "The verdict",
            "content": {"application/json": {"schema": answer_schema(service)}},
        }
    return {
        "operationId": "verify-" + service.name,
        "tags": ["verifications"],
        "summary": f"{service.title['en']} {service.title['zh']}",
        "description": f"{service.summary['en']}\n\n{service.summary['zh']}\n\nProvider: {service.provider}. "
        f"Sharing: {service.sharing} ({'; '.join(service.basis)}). Scope: `verify:{service.name}`.",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key and body within 24 hours get the stored answer",
                "schema": KEY,
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": question}},
        "responses": responses,
    }


def _purpose(service: Service, agreements: Agreements) -> str:
    """A purpose for which some department may ask the service's example."""
    return agreements.purpose_for(service.name, service.example.get("declared", {})) or "as-agreed"


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {problems.CONTENT_TYPE: {"schema": ProblemSchema}}}


def add_pages(app: Flask) -> None:
    """Serve the documentation's own files, under a policy that lets the page ask no other host."""

    @app.route("/docs/static/<path:name>")
    def docs_file(name: str) -> Response:
        return send_from_directory(SWAGGER_FILES, name)

    docs_file.needs = ("public",)  # type: ignore[attr-defined]

    @app.after_request
    def headers(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        if response.mimetype == "text/html":
            response.headers["Content-Security-Policy"] = _CSP
        return response
