"""/v1/agreements and /v1/standing-terms: signing, suspending, resuming and revoking agreements 共享协议."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_smorest import Blueprint

from app.api.applications import CONDITIONS
from app.api.life_cycle_schemas import (
    AgreementLineSchema,
    AgreementSchema,
    ReasonSchema,
    SignatureSchema,
    StandingTermsRequestSchema,
    StepReplySchema,
    page_schema,
)
from app.api.security import scope
from app.api.steps import PageQuery, act, body_of, desk, documented, page_of, paged, recorded, replied
from app.life_cycle import agreements, standing_terms, views

blueprint = Blueprint("agreements", __name__, description="Agreements and standing terms: their whole life.")

PATH = "/v1/agreements"
STANDING_TERMS = {
    "service": "enterprise-basic",
    "purposes": ["food-licence"],
    "legal_basis": "四川 第二十三条",
    "attributes": ["legal_representative", "status"],
    "until": "2030-12-31",
    "conditions": CONDITIONS,
}
REASON = {"reason": "Monthly reconciliation is outstanding."}


@blueprint.route(PATH)
@scope("catalogue")
@blueprint.doc(summary="Agreements of your department, and all standing terms", operationId="agreements")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, page_schema(AgreementLineSchema, "AgreementPageSchema"))
def listed(query: dict[str, Any]) -> Any:
    """For the authority and auditors, every agreement."""
    place = desk()
    agreements.expire_due(place, act().at)
    return paged(views.agreements_page(place, page_of(query)))


@blueprint.route(PATH + "/<identifier>")
@scope("catalogue")
@blueprint.doc(summary="One agreement with its signatures and history", operationId="agreement")
@blueprint.response(200, AgreementSchema)
def one(identifier: str) -> Any:
    """`canonical` holds the bytes to sign; what is signed never changes."""
    place, request = desk(), act()
    agreements.expire_due(place, request.at)
    return views.agreement(place, request, identifier)


@blueprint.route(PATH + "/<identifier>/signatures", methods=["POST"])
@recorded("agreement")
@scope("catalogue")
@blueprint.doc(
    summary="Accept an agreement for your department 签署共享协议",
    operationId="signAgreement",
    **documented(SignatureSchema, {"signature": "eyJhbGciOiJFUzI1NiIs…..MEUCIQ…"}),
)
@blueprint.response(200, StepReplySchema)
def sign(identifier: str) -> Response:
    """A detached JWS by a key registered for your department. The last one needed makes the agreement active."""
    made, wanted = body_of(SignatureSchema)
    return replied(agreements.sign(desk(), made, identifier, wanted["signature"]))


@blueprint.route(PATH + "/<identifier>/suspension", methods=["POST"])
@recorded("agreement")
@scope("steward", "authority")
@blueprint.doc(
    summary="Suspend an agreement 暂停共享", operationId="suspendAgreement", **documented(ReasonSchema, REASON)
)
@blueprint.response(200, StepReplySchema)
def suspend(identifier: str) -> Response:
    """For the provider's steward and the authority; no permit follows this record in the log."""
    made, wanted = body_of(ReasonSchema)
    return replied(agreements.suspend(desk(), made, identifier, wanted["reason"]))


@blueprint.route(PATH + "/<identifier>/suspension", methods=["DELETE"])
@recorded("agreement")
@scope("steward", "authority")
@blueprint.doc(
    summary="Resume a suspended agreement 恢复共享",
    operationId="resumeAgreement",
    **documented(ReasonSchema, REASON),
)
@blueprint.response(200, StepReplySchema)
def resume(identifier: str) -> Response:
    """For the provider's steward and the authority; what the authority suspended it alone resumes."""
    made, wanted = body_of(ReasonSchema)
    return replied(agreements.resume(desk(), made, identifier, wanted["reason"]))


@blueprint.route(PATH + "/<identifier>/revocation", methods=["POST"])
@recorded("agreement")
@scope("steward", "authority")
@blueprint.doc(
    summary="End an agreement for good 终止共享", operationId="revokeAgreement", **documented(ReasonSchema, REASON)
)
@blueprint.response(200, StepReplySchema)
def revoke(identifier: str) -> Response:
    """For the stewards of both sides (the consumer withdraws) and the authority."""
    made, wanted = body_of(ReasonSchema)
    return replied(agreements.revoke(desk(), made, identifier, wanted["reason"]))


@blueprint.route("/v1/standing-terms", methods=["POST"])
@recorded("agreement")
@scope("steward")
@blueprint.doc(
    summary="Draft standing terms of your own service 拟定公布条款",
    operationId="proposeStandingTerms",
    **documented(StandingTermsRequestSchema, STANDING_TERMS),
)
@blueprint.response(201, StepReplySchema)
def propose() -> Response:
    """For unconditional services, and for what the law orders; your department signs them alone."""
    made, wanted = body_of(StandingTermsRequestSchema)
    return replied(standing_terms.propose(desk(), made, wanted), PATH)
