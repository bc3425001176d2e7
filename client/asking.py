"""One question to a node, with all that must be kept of it: the reply, its receipt and the proof of the log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from client.errors import ClientError
from client.evidence_file import Evidence

if TYPE_CHECKING:
    from client.http import NodeClient, Reply


@dataclass(frozen=True, slots=True)
class Asked:
    """The `reply`, and the `evidence` of it; None if the node gave no receipt (it did not know the caller)."""

    reply: Reply
    evidence: Evidence | None


def ask(client: NodeClient, service: str, body: dict[str, Any], idempotency_key: str | None = None) -> Asked:
    """Ask one question and return the reply with its evidence, nothing in it verified; raises a `ClientError`."""
    reply = client.ask(service, body, idempotency_key)
    receipt = reply.body.get("receipt")
    if not isinstance(receipt, str):
        return Asked(reply, None)
    return Asked(reply, Evidence(service=service, body=body, reply=reply.body, receipt=receipt))


def with_proof(client: NodeClient, evidence: Evidence) -> Evidence:
    """Return the evidence with the proof of its record as the node gives it now, unchanged if it gives none."""
    identifier = evidence.reply.get("id") or evidence.reply.get("instance")
    if not isinstance(identifier, str):
        return evidence
    path = f"/v1/decisions/{quote(identifier.rpartition('/')[2], safe='')}/proof"
    try:
        proof = client.get_bytes(path, "text/plain").decode()
    except (ClientError, UnicodeDecodeError):
        return evidence
    return replace(evidence, proof=proof)
