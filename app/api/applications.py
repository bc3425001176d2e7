"""/v1/applications: applications 共享申请 and the provider's decision on them (山东 第二十九条, 四川 第二十三条)."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.life_cycle_schemas import (
    ApplicationLineSchema,
    ApplicationRequestSchema,
    ApplicationSchema,
    DeadlinesSchema,
    StepReplySchema,
    VerdictSchema,
    page_schema,
)
from app.api.security import scope
from app.api.steps import PageQuery, act, body_of, desk, documented, page_of, paged, recorded, replied
from app.life_cycle import applications, views

blueprint = Blueprint("applications", __name__, description="Applying for an agreement, and the provider's decision.")

PATH = "/v1/applications"
APPLICATION = {
    "service": "employment-status",
    "purposes": ["reemployment-subsidy"],
    "legal_basis": "就业促进法 第十七条",
    "users": ["hz-hrss-review"],
    "attributes": ["employed_on"],
    "mode": "query",
    "until": "2030-12-31",
}
CONDITIONS = {
    "security_agreement": True,
    "fold": False,
    "quota": {"count": 1000, "per": "month"},
    "budget": {"bits": 40},
    "case": "^[A-Z]{2}-[0-9-]{4,32}$",
}


@blueprint.route(PATH, methods=["POST"])
@recorded("application")
@scope("catalogue")
@blueprint.doc(
    summary="Apply for an agreement 提出共享申请",
    operationId="apply",
    **documented(ApplicationRequestSchema, APPLICATION, key_required=True),
)
@blueprint.response(201, StepReplySchema)
def apply() -> Response:
    """For consuming systems and stewards. The provider decides within 10 working days; silence grants nothing."""
    made, wanted = body_of(ApplicationRequestSchema, key_required=True)
    return replied(applications.submit(desk(), made, wanted), PATH)


@blueprint.route(PATH)
@scope("catalogue")
@blueprint.doc(summary="Applications that concern your department", operationId="applications")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, page_schema(ApplicationLineSchema, "ApplicationPageSchema"))
def listed(query: dict[str, Any]) -> Any:
    """Your department's own; for the provider's steward those to decide on; for authority and auditors all."""
    return paged(views.applications_page(desk(), act(), page_of(query)))


@blueprint.route(PATH + "/<identifier>")
@scope("catalogue")
@blueprint.doc(summary="One application with its history", operationId="application")
@blueprint.response(200, ApplicationSchema)
def one(identifier: str) -> Any:
    """Document, due date and every step, those of its disputes included."""
    return views.application(desk(), act(), identifier)


@blueprint.route(PATH + "/<identifier>/decision", methods=["POST"])
@recorded("application")
@scope("steward")
@blueprint.doc(
    summary="Approve or refuse an application 审核共享申请",
    operationId="decideApplication",
    **documented(VerdictSchema, {"decision": "approve", "conditions": CONDITIONS}),
)
@blueprint.response(200, StepReplySchema)
def decide(identifier: str) -> Response:
    """For the provider's steward. An approval drafts the agreement, which both departments then sign."""
    made, verdict = body_of(VerdictSchema)
    return replied(applications.decide(desk(), made, identifier, verdict))


@blueprint.route("/v1/deadlines")
@scope("steward", "authority")
@blueprint.doc(summary="Every open clock with its due date 办理期限", operationId="deadlines")
@blueprint.response(200, DeadlinesSchema)
def deadlines() -> Any:
    """For a steward those of its department, on either side; for the authority all of them."""
    request = act()
    everything = "authority" in request.caller.scopes
    return views.deadlines(desk(), request, None if everything else request.department)
