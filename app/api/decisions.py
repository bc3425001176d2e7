"""GET /v1/decisions/{id} and its proof: for the department that asked, and for auditors."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response, g
from flask_smorest import Blueprint

from app.api.operating_schemas import AccountsSchema
from app.api.schemas import RecordSchema
from app.api.security import node, scope
from app.identity.caller import Caller
from app.log import storage
from app.refusals import Refusal
from app.usage import accounts_of
from evidence.merkle import inclusion_proof
from evidence.proof import format_proof

blueprint = Blueprint("decisions", __name__, description="Records of the decision log and their proofs.")

STEPS = frozenset(("application", "agreement", "dispute", "revision"))
OF_CLIENTS = "client"  # the kind of record
_UNKNOWN = "There is no such decision of your department."


@blueprint.route("/v1/decisions/<identifier>")
@scope()
@blueprint.doc(summary="The record of one decision", operationId="decision")
@blueprint.response(200, RecordSchema)
def record(identifier: str) -> Any:
    """The record as it stands in the log: commitments, rules, digests; nothing that names the subject."""
    with node().store.reading() as connection:
        row = _find(connection, identifier)
    return {"id": row.id, "index": row.idx, "record": orjson.loads(row.body)}


@blueprint.route("/v1/decisions/<identifier>/proof")
@scope()
@blueprint.doc(
    summary="Proof that the record is in the log (c2sp.org/tlog-proof@v1)",
    operationId="proof",
    responses={"200": {"description": "Proof", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def proof(identifier: str) -> Response:
    """Inclusion in the newest checkpoint; with the receipt it verifies offline."""
    with node().store.reading() as connection:
        row = _find(connection, identifier)
        size, note = storage.checkpoint(connection)
        hashes = inclusion_proof(
            row.idx, size, lambda level, index, width: storage.tile(connection, level, index, width)
        )
    return Response(format_proof(row.idx, hashes, note), content_type="text/plain; charset=utf-8")


@blueprint.route("/v1/decisions/<identifier>/accounts")
@scope("audit")
@blueprint.doc(summary="The accounts of a decision, as they stand now", operationId="accounts")
@blueprint.response(200, AccountsSchema)
def accounts(identifier: str) -> Any:
    """Quota and disclosure budgets: spent, limit and left. No account is named, nor its subject."""
    with node().store.reading() as connection:
        row = _find(connection, identifier)
        return {"id": row.id, "accounts": list(accounts_of(connection, row.idx))}


def _find(connection: Any, identifier: str) -> Any:
    caller: Caller = g.caller
    row = storage.find_decision(connection, identifier)
    # Another department's decision and an unknown one are the same to the caller (OWASP API1).
    if row is None or not _concerns(caller, row):
        raise Refusal("not-found", _UNKNOWN)
    return row


def _concerns(caller: Caller, row: Any) -> bool:
    """Whether a record is the caller's to read: its department's, or an auditor's.

    Of steps, the provider's too, and theirs who took them: a refused step names no consumer, only who tried. Steps
    about clients are the security administrators' alone, and of who tried one.
    """
    department = caller.client.department
    if "audit" in caller.scopes or department == row.consumer:
        return True
    if row.kind == OF_CLIENTS:
        return "security-admin" in caller.scopes or row.client == caller.client.name
    if row.kind not in STEPS:
        return False
    return department in {row.provider, orjson.loads(row.body).get("department")}
