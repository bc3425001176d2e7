"""Standing terms 公布条款: what a provider offers to all, or the law orders; the provider signs alone.

From the signature on they are an agreement like any other (`app.life_cycle.agreements`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from app.life_cycle.desk import Act, Desk, Taken
from app.registry import ledger, standing
from app.registry.agreement_document import ID
from app.registry.applications import invalid
from app.registry.drafting import check_standing_terms, drafted, standing_terms_document
from app.steps import Step


def propose(desk: Desk, act: Act, wanted: Mapping[str, Any]) -> bytes:
    """Draft standing terms of one of the caller's own services, for its department to sign. Raises `Refusal`."""
    service = desk.catalogue.find(wanted["service"])
    if service is None or service.provider != act.department:
        raise invalid({"/service": "is no service of your department"})
    check_standing_terms(wanted, service, desk.departments, act.at)
    number = str(uuid.uuid4())
    named = f"{service.provider}-{service.name}-standing-terms-{number}"
    identifier = named if ID.fullmatch(named) else f"standing-terms-{number}"
    document = standing_terms_document(identifier, wanted, service, act.at)
    draft = drafted(document, desk.catalogue, desk.departments, pointer="/conditions")

    def make(record: str) -> Taken:
        _check_superseded(desk, document)
        step = Step(
            id=record,
            at=act.at,
            kind="agreement",
            state="approved",
            about=draft.id,
            document=document,
            caller=act.caller,
            provider=draft.provider,
            service=draft.service,
            agreement=draft.digest,
            change=lambda connection, place: standing.add(connection, draft, "approved", place.epoch),
        )
        return Taken(step, {"id": draft.id, "state": "approved", "digest": draft.digest})

    return desk.take(act, make)


def _check_superseded(desk: Desk, document: Mapping[str, Any]) -> None:
    if "supersedes" not in document:
        return
    with desk.store.reading() as connection:
        old = standing.find(connection, document["supersedes"])
    if old is None or old.state in ledger.ENDED or (old.kind, old.service) != (document["kind"], document["service"]):
        raise invalid({"/supersedes": "names no standing terms of this service that could be replaced"})
