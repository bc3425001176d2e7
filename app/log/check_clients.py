"""fsck for clients: their rows, proposals about them and locked-out certificates against the steps in the log.

Whoever holds the database could let somebody in by a row: each row is derived anew from the records of kind `client`
and from the documents that these name by digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, select

from app.log import tables
from app.log.storage import archived

# The columns that are derived, the first of them the row's key; the epoch of a change stands in no record.
_CLIENT = ("id", "department", "digest", "suspended")
_CHANGE = ("id", "client", "department", "action", "digest", "state", "proposed_by", "proposed_at", "decided_by")
_CERTIFICATE = ("thumbprint", "client", "since")


def check_clients(connection: Connection, records: Iterable[tuple[int, Mapping[str, Any]]]) -> list[str]:
    """Every damage, in words; `records` are those of kind `client` in the order of the log, each with its index."""
    said, damage = _Said(), []
    for index, record in records:
        state = str(record.get("state"))
        # The record of a refused step has the slug of a problem, and changed nothing.
        if state not in _STEPS:
            continue
        document = _document(connection, str(record.get("document")))
        if document.get("change") != state:
            damage.append(f"the archive does not hold what entry {index} says of a client, or not unaltered")
            continue
        try:
            _STEPS[state](said, record, document)
        except (KeyError, ValueError):
            damage.append(f"entry {index} does not say what a step about a client says")
    return [*damage, *said.differences(connection)]


@dataclass(slots=True)
class _Said:
    """What the rows must be by the steps so far, by their keys."""

    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    certificates: dict[str, dict[str, Any]] = field(default_factory=dict)

    def differences(self, connection: Connection) -> Iterator[str]:
        """Each row that is another than the log says."""
        for table, columns, said, what in (
            (tables.client, _CLIENT, self.clients, "client"),
            (tables.client_change, _CHANGE, self.changes, "proposal"),
            (tables.suspended_certificate, _CERTIFICATE, self.certificates, "suspended certificate"),
        ):
            held = _rows(connection, table, columns)
            for key in sorted(held.keys() | said.keys()):
                if held.get(key) != said.get(key):
                    yield f"{what} {key} {_difference(held.get(key), said.get(key))}"

    def proposed(self, record: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        """A proposal is made."""
        self.changes[document["proposal"]] = {
            "id": document["proposal"],
            "client": document["id"],
            "department": document["department"],
            "action": document["action"],
            "digest": record["document"],
            "state": "proposed",
            "proposed_by": record["client"],
            "proposed_at": _seconds(record["at"]),
            "decided_by": None,
        }

    def rejected(self, record: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        """A proposal is over."""
        self._decided("rejected", record, document)

    def registered(self, record: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        """A proposal is true: there is a client."""
        self._decided("approved", record, document)
        self._client(document, department=document["department"], digest=record["document"], suspended=False)

    def changed(self, record: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        """A proposal is true: a client has another document."""
        self._decided("approved", record, document)
        self._client(document, digest=record["document"])

    def resumed(self, record: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        """A proposal is true: a client is let in again."""
        self._decided("approved", record, document)
        self._client(document, suspended=False)

    def suspended(self, _record: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        """A client is locked out."""
        self._client(document, department=document["department"], suspended=True)

    def certificate_suspended(self, record: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        """A certificate is locked out."""
        key, since = document["certificate"], _seconds(record["at"])
        self.certificates[key] = {"thumbprint": key, "client": document["id"], "since": since}

    def _client(self, document: Mapping[str, Any], **values: Any) -> None:
        new = {"id": document["id"], "department": document["department"], "digest": None, "suspended": False}
        self.clients.setdefault(document["id"], new).update(values)

    def _decided(self, state: str, record: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        decided = {"state": state, "decided_by": record["client"]}
        self.changes.setdefault(document["proposal"], {"id": document["proposal"]}).update(decided)


_STEPS = {
    "proposed": _Said.proposed,
    "rejected": _Said.rejected,
    "registered": _Said.registered,
    "changed": _Said.changed,
    "resumed": _Said.resumed,
    "suspended": _Said.suspended,
    "certificate-suspended": _Said.certificate_suspended,
}


def _document(connection: Connection, digest: str) -> Mapping[str, Any]:
    """The archived document of that digest; an empty one where there is none, or none of these."""
    content = archived(connection, digest)
    try:
        document = json.loads(content) if content is not None else {}
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _rows(connection: Connection, table: Table, columns: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    query = select(*(table.c[name] for name in columns))
    return {row[0]: dict(zip(columns, row, strict=True)) for row in connection.execute(query)}


def _difference(held: Mapping[str, Any] | None, said: Mapping[str, Any] | None) -> str:
    if said is None:
        return "stands in the database, and the log says nothing of it"
    if held is None:
        return "is missing from the database, and the log tells of it"
    names = ", ".join(sorted(name for name in held if held[name] != said.get(name)))
    return f"has another {names} than the log says"


def _seconds(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp())
