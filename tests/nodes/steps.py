"""Departments that apply, decide, sign and dispute on a node, as their systems would, over the WSGI interface."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from app.identity.caller import grantable
from app.life_cycle.desk import Act
from app.log import tables
from bench.callers import unchecked_caller
from evidence.jws import AGREEMENT, sign
from evidence.receipt import verify_receipt
from tests.nodes.consumer import Consumer
from tests.nodes.running import RunningNode

APPLICANT = "hz-hrss-benefits"
STEWARD = "hz-tax-steward"
CONSUMER_STEWARD = "hz-hrss-steward"
AUTHORITY = "hz-data-bureau"
CONDITIONS = {"security_agreement": True, "fold": False, "budget": {"bits": 200}}
_NUMBERS = itertools.count(1)


def purpose() -> str:
    """A purpose that no test has used yet."""
    number = next(_NUMBERS)
    return "purpose-" + "".join(chr(ord("a") + number // 26**place % 26) for place in (2, 1, 0))


def application(**changes: Any) -> dict[str, Any]:
    """What `hz-hrss` applies for at `hz-tax`; a change to None leaves the member out."""
    wanted = {
        "service": "employment-status",
        "purposes": [purpose()],
        "legal_basis": "失业保险条例 第十五条",
        "attributes": ["employed_on"],
        "until": "2031-12-31",
    } | changes
    return {name: value for name, value in wanted.items() if value is not None}


@dataclass(slots=True)
class Parties:
    """The clients of one node, each with its tokens."""

    node: RunningNode
    _clients: dict[str, Consumer] = field(default_factory=dict)

    def client(self, name: str) -> Consumer:
        """The client of that id."""
        if name not in self._clients:
            self._clients[name] = self.node.consumer(name)
        return self._clients[name]

    def get(self, name: str, path: str) -> TestResponse:
        """GET as that client."""
        return self.client(name).get(path)

    def send(self, name: str, path: str, body: Any, *, method: str = "POST", **headers: str) -> TestResponse:
        """A request with a JSON body as that client; underscores in names of headers stand for hyphens."""
        client = self.client(name)
        sent = {"Authorization": f"Bearer {client.token()}", "Content-Type": "application/json"}
        sent |= {member.replace("_", "-"): value for member, value in headers.items()}
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return client.open(method, path, data=data, headers={key: value for key, value in sent.items() if value})

    def taken(self, response: TestResponse, status: int = 200) -> dict[str, Any]:
        """The reply to a step, whose receipt verifies and whose record is in the log."""
        assert response.status_code == status, response.text
        reply: dict[str, Any] = response.get_json()
        receipt = verify_receipt(reply["receipt"], self.node.receipt_keys())
        assert receipt.record == self.node.record(reply["record"])
        assert receipt.record["about"] == reply["id"]
        assert receipt.result is None
        return reply

    def apply(self, name: str = APPLICANT, **changes: Any) -> dict[str, Any]:
        """The reply to an application that is sound."""
        response = self.send(name, "/v1/applications", application(**changes), Idempotency_Key=str(uuid.uuid4()))
        return self.taken(response, 201)

    def approve(self, identifier: str, name: str = STEWARD, **conditions: Any) -> dict[str, Any]:
        """The reply to an approval."""
        verdict = {"decision": "approve", "conditions": CONDITIONS | conditions}
        return self.taken(self.send(name, f"/v1/applications/{identifier}/decision", verdict))

    def refuse(self, identifier: str, name: str = STEWARD) -> dict[str, Any]:
        """The reply to a refusal."""
        verdict = {"decision": "refuse", "reason": "The duty named does not need this."}
        return self.taken(self.send(name, f"/v1/applications/{identifier}/decision", verdict))

    def agreement(self, identifier: str, name: str = STEWARD) -> dict[str, Any]:
        """An agreement as that client reads it."""
        response = self.get(name, f"/v1/agreements/{identifier}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.get_json()
        return found

    def signature(self, identifier: str, department: str, name: str = STEWARD) -> str:
        """The detached JWS with which a department accepts an agreement."""
        content = self.agreement(identifier, name)["canonical"].encode()
        return sign(self.node.ground.signing_keys()[department], AGREEMENT, content, detached=True)

    def sign(self, identifier: str, name: str, department: str, **headers: str) -> TestResponse:
        """Sign as a client of that department."""
        body = {"signature": self.signature(identifier, department, name)}
        return self.send(name, f"/v1/agreements/{identifier}/signatures", body, **headers)

    def drafted(self, conditions: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """The id of an approved agreement between `hz-tax` and `hz-hrss` that nobody has signed."""
        identifier: str = self.approve(self.apply(**changes)["id"], **(conditions or {}))["agreement"]
        return identifier

    def active(self, conditions: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """The id of an active agreement between `hz-tax` and `hz-hrss`."""
        identifier = self.drafted(conditions, **changes)
        self.taken(self.sign(identifier, STEWARD, "hz-tax"))
        reply = self.taken(self.sign(identifier, APPLICANT, "hz-hrss"))
        assert reply["state"] == "active"
        return identifier

    def control(self, identifier: str, change: str, name: str = STEWARD, *, method: str = "POST") -> TestResponse:
        """Suspend, resume (method DELETE) or revoke an agreement with a reason."""
        body = {"reason": "Monthly reconciliation is outstanding."}
        return self.send(name, f"/v1/agreements/{identifier}/{change}", body, method=method)

    def states(self, path: str, name: str = STEWARD) -> list[str]:
        """The states of a history, oldest first; every step's document has the digest that its record names."""
        steps = self.get(name, path).get_json()["steps"]
        for step in steps:
            record = self.node.record(step["record"])
            assert (record["document"], record["about"], record["state"]) == (
                step["digest"],
                step["about"],
                step["state"],
            )
        return [step["state"] for step in steps]


def path(identifier: str) -> str:
    """Where an agreement is."""
    return f"/v1/agreements/{identifier}"


def question(word: str) -> dict[str, Any]:
    """A question for this purpose whose answer is a match."""
    return {
        "purpose": word,
        "case": "CASE-0001",
        "operator": "demo.operator",
        "subject": {"id_number": "339881197803120013"},
        "confirm": {"name": "沈建国"},
        "declared": {"employed_on": "2026-09-15"},
    }


def asked(parties: Parties, word: str) -> str:
    """The answer to that question, or the slug of its refusal."""
    document = parties.client(APPLICANT).ask("employment-status", question(word)).get_json()
    found: str = document.get("result") or document["type"]
    return found


def epoch(node: RunningNode) -> int:
    """The epoch of what is in force."""
    with node.node.store.reading() as connection:
        found: int = connection.execute(select(tables.log_head.c.epoch)).scalar_one()
    return found


def places(node: RunningNode, identifier: str) -> list[Any]:
    """The places that an agreement holds as the active one."""
    table = tables.agreement_active
    with node.node.store.reading() as connection:
        return list(connection.execute(select(table).where(table.c.agreement == identifier)))


def age(node: RunningNode, identifier: str, *, days: int) -> None:
    """Let an application have been submitted so many days earlier."""
    table = tables.application
    with node.node.store.writing() as connection:
        older = table.c.submitted_at - days * 86_400
        connection.execute(update(table).where(table.c.id == identifier).values(submitted_at=older))


def act_of(node: RunningNode, name: str, at: Any) -> Act:
    """A step that a client takes at a moment of the test's choice."""
    client = node.node.registry.departments.clients[name]
    scopes = grantable(client, node.node.registry.catalogue)
    return Act(unchecked_caller(client, scopes, "x5t"), at, b"")
