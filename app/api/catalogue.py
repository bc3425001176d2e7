"""GET /v1/services: the catalogue 目录, with each service's published match contract."""

from __future__ import annotations

from typing import Any

from flask_smorest import Blueprint
from marshmallow import EXCLUDE, Schema, fields, validate

from app.api.published import CURSOR
from app.api.schemas import ServicePageSchema, ServiceWithContractSchema
from app.api.security import node, scope
from app.refusals import Refusal
from app.registry.catalogue import SHARING, Service
from evidence.base64s import decode_url, encode_url

blueprint = Blueprint("catalogue", __name__, description="What may be asked, and by which rules it is compared.")


class CatalogueQuery(Schema):
    """Filters and page of the catalogue."""

    class Meta:
        """Parameters nobody knows are left alone, as everywhere on the web."""

        unknown = EXCLUDE

    page_size = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    cursor = fields.String(load_default="", validate=validate.Length(max=200), metadata={"pattern": CURSOR})
    q = fields.String(load_default="", validate=validate.Length(max=64))
    provider = fields.String(load_default="", validate=validate.Length(max=64))
    sharing = fields.String(load_default="", validate=validate.OneOf(("", *SHARING)))


@blueprint.route("/v1/services")
@scope("catalogue")
@blueprint.doc(summary="The catalogue", operationId="services")
@blueprint.arguments(CatalogueQuery, location="query")
@blueprint.response(200, ServicePageSchema)
def services(query: dict[str, Any]) -> Any:
    """Services in the order of names, a page at a time."""
    after = _decoded(query["cursor"])
    found = [
        service
        for service in node().registry.catalogue.services.values()
        if service.name > after and _fits(service, query)
    ]
    page = found[: query["page_size"]]
    more = len(found) > len(page)
    return {
        "items": [summary(service) for service in page],
        "next": _encoded(page[-1].name) if more else None,
    }


@blueprint.route("/v1/services/<service>")
@scope("catalogue")
@blueprint.doc(summary="One service with its match contract", operationId="service")
@blueprint.response(200, ServiceWithContractSchema)
def service(service: str) -> Any:
    """The catalogue entry with the whole match contract, its version and digest."""
    found = node().registry.catalogue.find(service)
    if found is None:
        raise Refusal("not-found", "There is no such service: GET /v1/services lists the catalogue.")
    return summary(found) | {"contract": dict(found.contract)}


def summary(service: Service) -> dict[str, Any]:
    """A service as the catalogue lists it (山东 第十六条, 四川 第八条)."""
    return {
        "service": service.name,
        "version": service.version,
        "title": dict(service.title),
        "summary": dict(service.summary),
        "category": service.category,
        "provider": service.provider,
        "sharing": service.sharing,
        "basis": list(service.basis),
        "update_cycle": service.update_cycle,
        "population": dict(service.population) if service.population else None,
        "disclosure": service.disclosure if service.answerable else None,
        "masks": sorted(service.masks),
        "contract_digest": service.contract_digest,
        "verifications": f"/v1/services/{service.name}/verifications",
    }


def _fits(service: Service, query: dict[str, Any]) -> bool:
    words = query["q"].casefold()
    text = " ".join((service.name, *service.title.values(), *service.summary.values())).casefold()
    return words in text and query["provider"] in {"", service.provider} and query["sharing"] in {"", service.sharing}


def _encoded(name: str) -> str:
    return encode_url(name.encode())


def _decoded(cursor: str) -> str:
    try:
        return decode_url(cursor).decode()
    except ValueError:
        raise Refusal("invalid-request", "The cursor is not one of this catalogue: start without one.") from None
