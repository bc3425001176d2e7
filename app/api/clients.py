"""/v1/clients and /v1/client-changes: registering clients by two persons, locking them out by one (等保三级)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.client_schemas import (
    CertificateSuspensionSchema,
    ChangeQuery,
    ClientChangeLineSchema,
    ClientChangeRequestSchema,
    ClientChangeSchema,
    ClientLineSchema,
    ClientQuery,
    ClientRequestSchema,
    ClientSchema,
    ClientStepSchema,
    DecisionSchema,
)
from app.api.life_cycle_schemas import ReasonSchema, page_schema
from app.api.security import scope
from app.api.steps import body_of, desk, documented, page_of, paged, recorded, replied
from app.life_cycle import client_views, clients, proposals

blueprint = Blueprint("clients", __name__, description="Clients of departments: who may call this node.")

PATH = "/v1/clients"
CHANGES = "/v1/client-changes"
CHANGED = {
    "title": {"en": "Food permits", "zh": "食品经营许可审批系统"},
    "roles": ["consumer"],
    "certificate": {"tls_client_auth_san_dns": "hz-food-permits.clients.hangzhou.example"},
}
CLIENT = {"department": "hz-market", "client": "hz-food-permits", **CHANGED}
DECISION = {"decision": "approve", "reason": "Held against the department's letter."}
REASON = {"reason": "The department reported a stolen key."}
CERTIFICATE = {"certificate": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0", **REASON}


@blueprint.route(PATH)
@scope("security-admin", "audit")
@blueprint.doc(summary="Every client, of the node directory and registered here", operationId="clients")
@blueprint.arguments(ClientQuery, location="query")
@blueprint.response(200, page_schema(ClientLineSchema, "ClientPageSchema"))
def listed(query: dict[str, Any]) -> Any:
    """In the order of ids."""
    wanted = {name: query[name] for name in ("department", "state") if query[name]}
    return paged(client_views.clients_page(desk(), replace(page_of(query), wanted=wanted)))


@blueprint.route(PATH + "/<identifier>")
@scope("security-admin", "audit")
@blueprint.doc(summary="One client, with what is suspended of it and its history", operationId="client")
@blueprint.response(200, ClientSchema)
def one(identifier: str) -> Any:
    """`document` has the form of an entry in the node directory's department files."""
    return client_views.client(desk(), identifier)


@blueprint.route(PATH, methods=["POST"])
@recorded("client")
@scope("security-admin")
@blueprint.doc(
    summary="Propose a new client 登记使用系统",
    operationId="registerClient",
    **documented(ClientRequestSchema, CLIENT),
)
@blueprint.response(201, ClientStepSchema)
def register() -> Response:
    """Nothing holds before another security administrator approves the proposal."""
    made, wanted = body_of(ClientRequestSchema)
    return replied(proposals.register(desk(), made, wanted), CHANGES)


@blueprint.route(PATH + "/<identifier>", methods=["PUT"])
@recorded("client")
@scope("security-admin")
@blueprint.doc(
    summary="Propose a change of a registered client 变更登记",
    operationId="changeClient",
    **documented(ClientChangeRequestSchema, CHANGED),
)
@blueprint.response(201, ClientStepSchema)
def change(identifier: str) -> Response:
    """The whole of it but id and department. A client of the node directory is changed there."""
    made, wanted = body_of(ClientChangeRequestSchema)
    return replied(proposals.change(desk(), made, identifier, wanted), CHANGES)


@blueprint.route(CHANGES)
@scope("security-admin", "audit")
@blueprint.doc(summary="Proposals about clients", operationId="clientChanges")
@blueprint.arguments(ChangeQuery, location="query")
@blueprint.response(200, page_schema(ClientChangeLineSchema, "ClientChangePageSchema"))
def changes(query: dict[str, Any]) -> Any:
    """In the order of ids; `state=proposed` are those that wait for a second person."""
    return paged(client_views.changes_page(desk(), replace(page_of(query), party=None)))


@blueprint.route(CHANGES + "/<identifier>")
@scope("security-admin", "audit")
@blueprint.doc(summary="One proposal with what it came to", operationId="clientChange")
@blueprint.response(200, ClientChangeSchema)
def proposal(identifier: str) -> Any:
    """`document` is what is decided on: the proposal's record has its digest."""
    return client_views.change(desk(), identifier)


@blueprint.route(CHANGES + "/<identifier>/decision", methods=["POST"])
@recorded("client")
@scope("security-admin")
@blueprint.doc(
    summary="Approve or reject a proposal 复核",
    operationId="decideClientChange",
    **documented(DecisionSchema, DECISION),
)
@blueprint.response(200, ClientStepSchema)
def decide(identifier: str) -> Response:
    """By another security administrator than the one who proposed it, and than the one it is about."""
    made, wanted = body_of(DecisionSchema)
    return replied(proposals.decide(desk(), made, identifier, wanted))


@blueprint.route(PATH + "/<identifier>/suspension", methods=["POST"])
@recorded("client")
@scope("security-admin")
@blueprint.doc(
    summary="Lock a client out at once 暂停使用系统", operationId="suspendClient", **documented(ReasonSchema, REASON)
)
@blueprint.response(200, ClientStepSchema)
def suspend(identifier: str) -> Response:
    """By one security administrator. No permit of the client follows this record in the log."""
    made, wanted = body_of(ReasonSchema)
    return replied(clients.suspend(desk(), made, identifier, wanted["reason"]))


@blueprint.route(PATH + "/<identifier>/resumption", methods=["POST"])
@recorded("client")
@scope("security-admin")
@blueprint.doc(
    summary="Propose to let a suspended client in again 恢复使用系统",
    operationId="resumeClient",
    **documented(ReasonSchema, REASON),
)
@blueprint.response(201, ClientStepSchema)
def resume(identifier: str) -> Response:
    """Nothing holds before another security administrator approves the proposal."""
    made, wanted = body_of(ReasonSchema)
    return replied(proposals.resume(desk(), made, identifier, wanted["reason"]), CHANGES)


@blueprint.route(PATH + "/<identifier>/certificates/suspension", methods=["POST"])
@recorded("client")
@scope("security-admin")
@blueprint.doc(
    summary="Lock one certificate out for good 停用证书",
    operationId="suspendCertificate",
    **documented(CertificateSuspensionSchema, CERTIFICATE),
)
@blueprint.response(200, ClientStepSchema)
def suspend_certificate(identifier: str) -> Response:
    """Whatever its authority says of it; another certificate with the client's name goes on."""
    made, wanted = body_of(CertificateSuspensionSchema)
    return replied(clients.suspend_certificate(desk(), made, identifier, wanted))
