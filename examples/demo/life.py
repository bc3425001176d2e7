"""One agreement's whole life, as its departments live it: applied for, approved, signed, used, revoked.

The planning bureau has no agreement about employment. It applies for one, the tax office approves it under
conditions, both sign the same bytes with their own keys, the bureau's question is answered, and denied again once
the agreement is revoked.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from client.http import NodeClient, Reply
from client.signing import accept, read_document
from examples.demo import cast
from examples.demo.asking import Tick
from examples.demo.personas import OPERATOR
from examples.demo.signing import read_keys

CONSUMER, STEWARD = "hz-outsider", "hz-tax-steward"
SIDES = {"hz-planning": CONSUMER, "hz-tax": STEWARD}
"""Who sends each department's signature."""
PURPOSE = "talent-housing"
STAGES = (
    "denied without an agreement",
    "applied for",
    "approved by the provider's steward",
    "not in force on one signature",
    "active with both signatures",
    "answered under it",
    "revoked",
    "denied after the revocation",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage and what came of it; `held` if that is what must come of it."""

    name: str
    found: str
    expected: str

    @property
    def held(self) -> bool:
        """Whether the stage ended as it must."""
        return self.found == self.expected

    @property
    def text(self) -> str:
        """The stage in words, for a report of what is off."""
        return f"{self.name}: {self.found} instead of {self.expected}"


def live(clients: Mapping[str, NodeClient], var: Path, tick: Tick) -> list[Stage]:
    """Go through all stages and return what came of each; `tick` is called after each. Raises `ClientError`."""
    stages = []
    for name, (found, expected) in zip(STAGES, _stages(clients, var), strict=False):
        stages.append(Stage(name, found, expected))
        tick()
        if found != expected:
            break  # what follows rests on it
    return stages


def _stages(clients: Mapping[str, NodeClient], var: Path) -> Iterator[tuple[str, str]]:
    consumer, steward = clients[CONSUMER], clients[STEWARD]
    yield _outcome(_ask(consumer)), "not-permitted"
    applied = consumer.post("/v1/applications", _application(), idempotency_key=str(uuid.uuid4()))
    yield _outcome(applied), "submitted"
    path = f"/v1/applications/{applied.body['id']}/decision"
    approved = steward.post(path, {"decision": "approve", "conditions": _CONDITIONS})
    yield _outcome(approved), "approved"
    agreement = f"/v1/agreements/{approved.body['agreement']}"
    keys = read_keys(var / "pki" / "signing")
    document = read_document(consumer.get(agreement).body["canonical"].encode())
    for department, expected in (("hz-planning", "approved"), ("hz-tax", "active")):
        signature = {"signature": accept(document, keys[department])}
        yield _outcome(clients[SIDES[department]].post(f"{agreement}/signatures", signature)), expected
    yield _outcome(_ask(consumer)), "match"
    reason = {"reason": "The demonstration is over."}
    yield _outcome(steward.post(f"{agreement}/revocation", reason)), "revoked"
    yield _outcome(_ask(consumer)), "not-permitted"


def _ask(consumer: NodeClient) -> Reply:
    person = cast.EMPLOYED
    question = {
        "purpose": PURPOSE,
        "case": "TH-DEMO-001",
        "operator": OPERATOR,
        "subject": {"id_number": person.id_number},
        "confirm": {"name": person.name},
        "declared": {"employed_on": "2026-09-15"},
    }
    return consumer.ask("employment-status", question)


def _application() -> dict[str, Any]:
    return {
        "service": "employment-status",
        "purposes": [PURPOSE],
        "legal_basis": "山东 第二十九条",
        "users": [CONSUMER],
        "attributes": ["employed_on"],
        "until": str((datetime.now(UTC) + timedelta(days=365)).date()),
    }


_CONDITIONS = {
    "human_review": True,
    "quota": {"count": 1_000, "per": "month"},
    "budget": {"bits": 40},
    "security_agreement": True,
}


def _outcome(reply: Reply) -> str:
    """A result, a state, or a problem's slug."""
    body = reply.body
    return str(body.get("result") or body.get("state") or body.get("type") or reply.status)
