"""Steps of applications, agreements, disputes, clients and revisions: each is a record, with the change it makes.

A step's document says it in full; it is archived by its digest, which is all that the record holds of it. The node
answers nobody under a change whose record was not written, since both stand in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from app.identity.caller import Caller
from app.log.sequencer import Place
from app.log.storage import archive
from evidence.base64s import encode_url
from evidence.canonical import canonical


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of an application, agreement or dispute, or of the node directory's revision.

    `about` is the id of what it is about; `document` says the step in full, is archived, and its digest stands in
    the record. `change` makes it true inside the record's transaction, or raises `Refusal`: then nothing is written.
    `consumer` and `provider` are its parties; the caller, None for the node's own steps, is who took it.
    """

    id: str
    at: datetime
    kind: str
    state: str
    about: str
    document: Mapping[str, Any]
    caller: Caller | None = None
    consumer: str | None = None
    provider: str | None = None
    service: str | None = None
    agreement: str | None = None  # its digest
    members: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[Connection, Place], None] | None = None
    moves_epoch: bool = False
    epoch: int | None = None  # the registry's by which its caller was let in: it is recorded under no other
    stored: Callable[[str], Mapping[str, Any]] | None = None
    refused: bool = False  # nothing was done: a record, but no part of anything's history
    also: tuple[Step, ...] = ()  # what happens by it to others, each a record of its own behind this one

    @cached_property
    def content(self) -> bytes:
        """The document's canonical bytes."""
        return canonical(self.document)

    @property
    def digest(self) -> str:
        """The document's digest."""
        return "sha256-" + sha256(self.content).hexdigest()

    def make(self, connection: Connection, place: Place) -> None:
        """Archive the document and make the change, inside the record's transaction. Raises `Refusal`."""
        archive(connection, self.kind, self.content)
        if self.change is not None:
            self.change(connection, place)

    def clear(self) -> dict[str, Any]:
        """The clear members of the step's record: none of them is free text."""
        members: dict[str, Any] = {"kind": self.kind, "id": self.id, "at": rfc3339(self.at), "state": self.state}
        members |= {"about": self.about, "document": self.digest}
        parties = {name: getattr(self, name) for name in ("consumer", "provider", "service", "agreement")}
        members |= {name: value for name, value in parties.items() if value is not None}
        if self.caller is not None:
            client = self.caller.client
            members |= {"department": client.department, "client": client.name}
            members |= {"certificate": self.caller.certificate}
        return members | dict(self.members)

    def index_row(self) -> dict[str, Any]:
        """The step's row in the search index of all records."""
        absent = ("purpose", "decision", "result", "subject_tag", "case_number", "operator", "facts")
        return {
            **dict.fromkeys(absent),
            "id": self.id,
            "at": int(self.at.timestamp() * 1_000),
            "kind": self.kind,
            "consumer": self.consumer or "",
            "client": self.caller.client.name if self.caller else "",
            "provider": self.provider,
            "service": self.service,
            "agreement": self.about if self.kind == "agreement" else None,
            "limit_reached": "none",
            "state": self.state,
        }

    def row(self) -> dict[str, Any]:
        """The step's row in the history of what it is about."""
        client = self.caller.client if self.caller else None
        return {
            "about": self.about,
            "kind": self.kind,
            "state": self.state,
            "at": int(self.at.timestamp() * 1_000),
            "department": client.department if client else None,
            "client": client.name if client else None,
            "digest": self.digest,
        }


def rfc3339(moment: datetime) -> str:
    """The moment in UTC with milliseconds, as records write it."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def digest_of(content: bytes) -> str:
    """Base64url of the SHA-256, as records name what was decided from."""
    return encode_url(sha256(content).digest())
