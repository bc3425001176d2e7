"""GET /v1/usage and /v1/notices: what a provider's steward learns of the use of its services (山东 第三十六条)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flask import g
from flask_smorest import Blueprint

from app.api.operating_schemas import NoticePageSchema, NoticeQuery, UsageQuery, UsageSchema
from app.api.security import node, scope
from app.limits.account import SHANGHAI
from app.steps import rfc3339
from app.usage import bits, month_of, notices, totals

blueprint = Blueprint("usage", __name__, description="How a department's own services are used; no subjects.")


@blueprint.route("/v1/usage")
@scope("steward")
@blueprint.doc(summary="A month's questions to your department's services", operationId="usage")
@blueprint.arguments(UsageQuery, location="query")
@blueprint.response(200, UsageSchema)
def usage(query: dict[str, Any]) -> Any:
    """Totals by consumer, service and purpose."""
    now, provider = datetime.now(UTC), g.caller.client.department
    month = month_of(query["month"]) if query["month"] else now.astimezone(SHANGHAI)
    registry = node().registry
    with node().store.reading() as connection:
        found = totals(connection, registry, provider, month=month, now=now)
    items = [asdict(total) | {"bits": bits(total.millibits)} for total in found]
    return {"month": month.strftime("%Y-%m"), "provider": provider, "items": items}


@blueprint.route("/v1/notices")
@scope("steward")
@blueprint.doc(summary="Answers that your department is to be told of", operationId="notices")
@blueprint.arguments(NoticeQuery, location="query")
@blueprint.response(200, NoticePageSchema)
def noticed(query: dict[str, Any]) -> Any:
    """Answers under agreements with the obligation `notify-provider`, in the order of the log."""
    size = query["page_size"]
    with node().store.reading() as connection:
        found = notices(connection, g.caller.client.department, query["after"], size + 1)
    page = found[:size]
    return {
        "items": [
            {
                "index": row.idx,
                "id": row.id,
                "at": rfc3339(datetime.fromtimestamp(row.at / 1_000, UTC)),
                "consumer": row.consumer,
                "service": row.service,
                "purpose": row.purpose,
            }
            for row in page
        ],
        "next": page[-1].idx if len(found) > size else None,
    }
