"""A client whose agreement demands signed questions, with its pen: what it sends, and what must come of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import http_sf
import orjson
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from app.log import tables
from app.log.sealing import Sealer
from app.recording import evidence_name
from evidence.receipt import verify_receipt
from evidence.record import open_commitment
from evidence.signed_request import SignedRequest
from tests.nodes.consumer import Consumer
from tests.nodes.office import Office, open_office
from tests.nodes.problems import recorded
from tests.nodes.running import Ground, RunningNode
from tests.nodes.signed import COVERED, Pen, signed
from tests.nodes.steps import purpose, question

CLIENT, SERVICE = "hz-hrss-benefits", "employment-status"


@dataclass(frozen=True, slots=True)
class Desk:
    """`demanding` is a question under the `agreement` that demands signatures, `free` one where nobody does."""

    office: Office
    node: RunningNode
    consumer: Consumer
    pen: Pen
    demanding: bytes
    free: bytes
    agreement: str

    def at(self, node: RunningNode) -> Desk:
        """The same client at another node."""
        return replace(self, node=node, consumer=node.consumer(CLIENT))

    def holding(self, consumer: Consumer, pen: Pen) -> Desk:
        """The same desk with another certificate."""
        return replace(self, consumer=consumer, pen=pen)

    def send(self, fields: Mapping[str, str], body: bytes | None = None) -> TestResponse:
        """Ask with these fields."""
        sent = {name.replace("-", "_"): value for name, value in fields.items()}
        return self.consumer.ask(SERVICE, self.demanding if body is None else body, **sent)

    def signed(self, body: bytes | None = None, **flaws: Any) -> dict[str, str]:
        """The fields of a question that is signed, perhaps with flaws."""
        pen = flaws.pop("pen", self.pen)
        return signed(pen, self.consumer, SERVICE, self.demanding if body is None else body, **flaws)

    def ask(self, body: bytes | None = None, **flaws: Any) -> TestResponse:
        """Ask a signed question."""
        return self.send(self.signed(body, **flaws), body)

    def answered(self, response: TestResponse) -> dict[str, Any]:
        """The answer to a signed question: its record has the signature, which verifies; the receipt opens it."""
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.get_json()
        self.proved(answer["id"], answer["receipt"])
        return answer

    def kept(self, response: TestResponse) -> SignedRequest:
        """The evidence of a signed question that is answered."""
        answer = self.answered(response)
        return self.proved(answer["id"], answer["receipt"])

    def proved(self, identifier: str, receipt: str) -> SignedRequest:
        """The evidence of a decision, which is about its record."""
        found = verify_receipt(receipt, self.node.receipt_keys())
        assert found.record == self.node.record(identifier)
        kept = self.evidence(identifier)
        assert kept is not None
        assert open_commitment(found.record, "signature", found.openings["signature"], dict(kept.committed()))
        kept.check()
        kept.check_record(found.record, found.openings)
        return kept

    def evidence(self, identifier: str) -> SignedRequest | None:
        """What the node keeps of a signed question, opened with its seal key; None where it keeps nothing."""
        row, index = tables.signed_request.c, tables.decision.c
        query = select(row.sealed).join(tables.decision, index.idx == row.idx).where(index.id == identifier)
        with self.node.node.store.reading() as connection:
            sealed = connection.execute(query).scalar()
        if sealed is None:
            return None
        opened = Sealer(self.node.node.keys.seal).open(bytes(sealed), evidence_name(identifier))
        return SignedRequest.parse(opened)

    def refused(self, response: TestResponse) -> str:
        """Why a signature is refused: recorded, with challenges; a good one right after is answered."""
        recorded(self.node, response, "signature-invalid", 401)
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="hecha"'
        accepted(response)
        problem = response.get_json()
        commitments = self.node.record(problem["instance"])["commitments"]
        assert "signature" not in commitments
        assert "question" in commitments
        assert self.evidence(problem["instance"]) is None
        assert self.answered(self.ask())["result"] == "match"
        detail: str = problem["detail"]
        return detail

    def nonces(self) -> int:
        """How many nonces the node knows."""
        with self.node.node.store.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(tables.nonce)).scalar_one())


def accepted(response: TestResponse) -> dict[str, Any]:
    """The parameters of Accept-Signature, which names what must be covered (RFC 9421 §5.1)."""
    parsed = cast("dict[str, Any]", http_sf.parse(response.headers["Accept-Signature"].encode(), tltype="dictionary"))
    ((label, (components, parameters)),) = parsed.items()
    assert label == parameters["tag"] == "hecha"
    assert components == [(name, {}) for name in COVERED]
    assert parameters["created"] is True
    assert 16 <= len(parameters["nonce"]) <= 128
    return dict(parameters)


@contextmanager
def signing_desk(ground: Ground, folder: Path, **settings: str) -> Iterator[Desk]:
    """A desk at a node of its own."""
    with open_office(ground, folder, **settings) as office:
        demanding, free = purpose(), purpose()
        agreement = office.parties.active({"request_signature": True}, purposes=[demanding])
        office.parties.active(purposes=[free])
        yield Desk(
            office=office,
            node=office.node,
            consumer=office.node.consumer(CLIENT),
            pen=Pen.of(ground.folder / "pki", CLIENT),
            demanding=orjson.dumps(question(demanding)),
            free=orjson.dumps(question(free)),
            agreement=agreement,
        )
