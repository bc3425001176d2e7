"""/v1/disputes: negotiation, coordination, joint review, ruling (海珠 第三十三条, 四川 第二十五条)."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.life_cycle_schemas import (
    DisputeLineSchema,
    DisputeRequestSchema,
    DisputeSchema,
    DisputeStepSchema,
    StepReplySchema,
    page_schema,
)
from app.api.security import scope
from app.api.steps import PageQuery, act, body_of, desk, documented, page_of, paged, recorded, replied
from app.life_cycle import disputes, views

blueprint = Blueprint("disputes", __name__, description="Disputes over refused and overdue applications.")

PATH = "/v1/disputes"


@blueprint.route(PATH, methods=["POST"])
@recorded("dispute")
@scope("catalogue")
@blueprint.doc(
    summary="Open a dispute over an application 提出争议",
    operationId="openDispute",
    **documented(
        DisputeRequestSchema,
        {"application": "8b1f6a2e-6a51-4f0e-9a42-6f5a4a3f7d10", "grounds": "The duty is in the law cited."},
    ),
)
@blueprint.response(201, StepReplySchema)
def begin() -> Response:
    """For the department that applied, after a refusal or once the provider is overdue."""
    made, wanted = body_of(DisputeRequestSchema)
    return replied(disputes.begin(desk(), made, wanted["application"], wanted["grounds"]), PATH)


@blueprint.route(PATH)
@scope("catalogue")
@blueprint.doc(summary="Disputes that concern your department", operationId="disputes")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, page_schema(DisputeLineSchema, "DisputePageSchema"))
def listed(query: dict[str, Any]) -> Any:
    """For the authority and auditors, every dispute."""
    return paged(views.disputes_page(desk(), act(), page_of({**query, "service": ""})))


@blueprint.route(PATH + "/<identifier>")
@scope("catalogue")
@blueprint.doc(summary="One dispute with its history", operationId="dispute")
@blueprint.response(200, DisputeSchema)
def one(identifier: str) -> Any:
    """Every step with its document."""
    return views.dispute(desk(), act(), identifier)


@blueprint.route(PATH + "/<identifier>/steps", methods=["POST"])
@recorded("dispute")
@scope("steward", "authority", "catalogue")
@blueprint.doc(
    summary="Take the next step of a dispute 处理争议",
    operationId="proceedDispute",
    **documented(DisputeStepSchema, {"step": "coordination", "note": "Both sides are heard on Monday."}),
)
@blueprint.response(200, StepReplySchema)
def proceed(identifier: str) -> Response:
    """The parties negotiate; the authority coordinates, reviews and rules.

    A ruling for the consumer opens the application again, with a new clock; it grants nothing by itself.
    """
    made, wanted = body_of(DisputeStepSchema)
    return replied(disputes.proceed(desk(), made, identifier, wanted))
