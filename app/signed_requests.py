"""What proves that a client asked a question: opened from its sealed store, and held against key and record.

The evidence is kept apart from the log, beside the salts, and is erased as they are: then nothing can be shown any
more, and the log stays whole. `evidence.signed_request` says what is checked; nothing here needs the node to run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from sqlalchemy import Connection, select

from app.log import tables
from app.log.sealing import Sealer
from app.recording import SALT, evidence_name
from evidence.base64s import encode_url
from evidence.errors import NotVerified
from evidence.merkle import leaf_hash
from evidence.record import field_salt
from evidence.signed_request import FIELD, SignedRequest


class NothingToShow(LookupError):
    """There is no such decision, its request was not signed, or what showed it was erased. The text says which."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The evidence of one signed request with its record.

    `salts` open the record's commitments to signature and question. `unaltered`: the record has its leaf hash.
    """

    index: int
    record: dict[str, Any]
    unaltered: bool
    request: SignedRequest
    salts: dict[str, str]

    def check(self) -> None:
        """Verify the signature anew and hold it against the record. Raises a `NotVerified` of its flaw."""
        if not self.unaltered:
            raise NotVerified("The record was altered: it does not have its leaf hash; run check-log.")
        self.request.check()
        self.request.check_record(self.record, self.salts)


def opened(connection: Connection, sealer: Sealer, identifier: str) -> Kept:
    """Open the evidence of one decision.

    Raises `NothingToShow`, and `NotVerified` where what is sealed was altered, or sealed under another key.
    """
    row = connection.execute(_query(identifier)).first()
    if row is None:
        raise NothingToShow("the log has no decision of that id")
    record = orjson.loads(row.body)
    if FIELD not in record.get("commitments", {}):
        raise NothingToShow("the request was not signed")
    if row.signed is None or row.salt is None:
        raise NothingToShow("the request was signed, and what shows it was erased")
    try:
        master = sealer.open(bytes(row.salt), identifier)[:SALT]
        evidence = sealer.open(bytes(row.signed), evidence_name(identifier))
    except InvalidTag:
        raise NotVerified("What is sealed was altered, or is of another decision or seal key.") from None
    return Kept(
        index=row.idx,
        record=record,
        unaltered=leaf_hash(bytes(row.body)) == bytes(row.leaf_hash),
        request=SignedRequest.parse(evidence),
        salts={field: encode_url(field_salt(master, field)) for field in (FIELD, "question")},
    )


def _query(identifier: str) -> Any:
    entry, decision, salt, signed = tables.log_entry, tables.decision, tables.salt, tables.signed_request
    columns = (decision.c.idx, entry.c.body, entry.c.leaf_hash, salt.c.sealed.label("salt"))
    return (
        select(*columns, signed.c.sealed.label("signed"))
        .join_from(decision, entry, entry.c.idx == decision.c.idx)
        .outerjoin(salt, salt.c.idx == decision.c.idx)
        .outerjoin(signed, signed.c.idx == decision.c.idx)
        .where(decision.c.id == identifier)
    )
