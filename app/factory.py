"""create_app: Flask with the node's blueprints, problem handlers and documentation."""

from __future__ import annotations

from flask import Flask, Response

from app import services
from app.api import (
    agreements,
    applications,
    catalogue,
    clients,
    decisions,
    disputes,
    documents,
    log,
    operations,
    problems,
    security,
    tokens,
    usage,
    verifications,
)
from app.log.storage import StoreUnavailable
from app.refusals import Refusal
from app.registry.agreements import Agreements
from app.registry.current import Registry
from app.registry.node_directory import NodeDirectory
from app.services import Node
from app.settings import Settings


def create_app(settings: Settings) -> Flask:
    """The application of a node with these settings; opens its database, sources and keys."""
    return app_for(services.build(settings))


def app_for(node: Node) -> Flask:
    """The application of a node that is already built."""
    limit = node.settings.max_body_bytes
    # The questions of every service are documented when the document is first asked for: 500 take seconds.
    app = _routes(limit)
    app.extensions["hecha"] = node

    def document(registry: Registry) -> bytes:
        return documents.written(bare_app(registry.directory, registry.agreements, limit).extensions[documents.API])

    app.extensions[documents.CURRENT] = documents.CurrentDocument(lambda: node.registry, document)
    return app


def bare_app(directory: NodeDirectory, held: Agreements, max_body_bytes: int) -> Flask:
    """Routes and documents without a node behind them: enough to write openapi.json."""
    app = _routes(max_body_bytes)
    documents.add_questions(app.extensions[documents.API], directory.catalogue, held)
    return app


def _routes(max_body_bytes: int) -> Flask:
    app = Flask("hecha", static_folder=None)
    app.url_map.merge_slashes = False  # a path with an empty part is unknown, not somewhere else
    app.config.update(documents.DOCUMENT_SETTINGS, MAX_CONTENT_LENGTH=max_body_bytes, JSON_SORT_KEYS=False)
    app.before_request(security.certify)
    app.after_request(security.keep_apart)
    app.register_error_handler(Refusal, problems.from_refusal)
    api = documents.open_api(app)
    app.register_error_handler(StoreUnavailable, problems.from_store)
    app.register_error_handler(Exception, problems.from_unknown)
    for module in (tokens, catalogue, decisions, usage, applications, agreements, disputes, clients, log, operations):
        api.register_blueprint(module.blueprint)
    app.register_blueprint(verifications.blueprint)
    documents.add_pages(app)

    @app.route("/livez")
    def livez() -> Response:
        """The process is there; readiness is another matter."""
        return Response("ok\n", content_type="text/plain; charset=utf-8")

    livez.needs = ("public",)  # type: ignore[attr-defined]
    return app
