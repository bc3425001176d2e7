"""Two security administrators of a node who register clients, and an authority that issues to these clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from werkzeug.test import TestResponse

from app.identity.certificate import key_digest, thumbprint_of
from evidence.receipt import verify_receipt
from tests.nodes import running
from tests.nodes.consumer import Consumer
from tests.nodes.running import Ground, RunningNode
from tests.nodes.steps import Parties, question
from tests.unit.app.trust import pki
from tests.unit.app.trust.pki import Holder

FIRST, SECOND = "hz-secadmin", "hz-secadmin-2"
CLIENTS, CHANGES = "/v1/clients", "/v1/client-changes"
APPROVE = {"decision": "approve", "reason": "Held against the department's letter."}
REJECT = {"decision": "reject", "reason": "The department knows nothing of it."}
REASON = {"reason": "The department reported a stolen key."}
_YEAR = timedelta(days=365)


def life() -> tuple[datetime, datetime]:
    """A year before and behind this moment."""
    now = datetime.now(UTC).replace(microsecond=0)
    return now - _YEAR, now + _YEAR


def host(name: str) -> str:
    """The name in the certificate of the client of that id."""
    return f"{name}.clients.hangzhou.example"


def document(name: str, **changes: Any) -> dict[str, Any]:
    """A new consuming system of `hz-hrss`; a change to None leaves the member out."""
    wanted = {
        "department": "hz-hrss",
        "client": name,
        "title": {"en": "Trial system", "zh": "试用系统"},
        "roles": ["consumer"],
        "certificate": {"tls_client_auth_san_dns": host(name)},
    } | changes
    return {member: value for member, value in wanted.items() if value is not None}


def changed(name: str, **changes: Any) -> dict[str, Any]:
    """The same as the body of a change."""
    return document(name, **({"department": None, "client": None} | changes))


def pin(*holders: Holder) -> list[str]:
    """The digests of these certificates' keys, as they are registered."""
    return [key_digest(holder.certificate) for holder in holders]


def thumbprint(holder: Holder) -> str:
    """The certificate's thumbprint."""
    return thumbprint_of(holder.der)


@dataclass(slots=True)
class Office:
    """The administrators at one node; `holder` issues what its clients show."""

    node: RunningNode
    parties: Parties
    authority: Holder
    _known: dict[str, Consumer] = field(default_factory=dict)

    def holder(self, name: str, **plan: Any) -> Holder:
        """A new certificate with the client's name."""
        given = {"names": (x509.DNSName(host(name)),), "life": life()} | plan
        return pki.leaf(self.authority, name, **given)

    def caller(self, name: str, holder: Holder) -> Consumer:
        """Whoever shows this certificate and says to be that client."""
        return Consumer(self.node.app, name, holder.der)

    def send(self, path: str, body: Any, by: str = FIRST, *, method: str = "POST", **headers: str) -> TestResponse:
        """A request of an administrator."""
        return self.parties.send(by, path, body, method=method, **headers)

    def read(self, path: str, by: str = FIRST) -> dict[str, Any]:
        """What an administrator reads."""
        response = self.parties.get(by, path)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.get_json()
        return found

    def client(self, name: str) -> dict[str, Any]:
        """One client."""
        return self.read(f"{CLIENTS}/{name}")

    def taken(self, response: TestResponse, status: int = 200) -> dict[str, Any]:
        """The reply to a step, whose receipt verifies and whose record is in the log."""
        assert response.status_code == status, response.text
        reply: dict[str, Any] = response.get_json()
        receipt = verify_receipt(reply["receipt"], self.node.receipt_keys())
        assert receipt.record == self.node.record(reply["record"])
        assert receipt.record["kind"] == "client"
        assert receipt.record["about"] == f"client:{reply.get('client', reply['id'])}"
        return reply

    def proposed(self, response: TestResponse) -> str:
        """The id of a proposal that was made."""
        reply = self.taken(response, 201)
        assert reply["state"] == "proposed"
        assert response.headers["Location"] == f"{CHANGES}/{reply['id']}"
        identifier: str = reply["id"]
        return identifier

    def propose(self, name: str, by: str = FIRST, **changes: Any) -> str:
        """The id of a proposal of a new client."""
        return self.proposed(self.send(CLIENTS, document(name, **changes), by))

    def propose_change(self, name: str, by: str = FIRST, **changes: Any) -> str:
        """The id of a proposal of a change."""
        return self.proposed(self.send(f"{CLIENTS}/{name}", changed(name, **changes), by, method="PUT"))

    def propose_resumption(self, name: str, by: str = FIRST) -> str:
        """The id of a proposal to let a client in again."""
        return self.proposed(self.send(f"{CLIENTS}/{name}/resumption", REASON, by))

    def decide(self, identifier: str, body: Any = None, by: str = SECOND) -> TestResponse:
        """A decision of the other administrator."""
        return self.send(f"{CHANGES}/{identifier}/decision", body or APPROVE, by)

    def approve(self, identifier: str, by: str = SECOND) -> dict[str, Any]:
        """The reply to an approval."""
        reply = self.taken(self.decide(identifier, by=by))
        assert reply["state"] == "approved"
        return reply

    def register(self, name: str, **changes: Any) -> str:
        """Register a client; its id."""
        self.approve(self.propose(name, **changes))
        return name

    def change(self, name: str, **changes: Any) -> None:
        """Change a client."""
        self.approve(self.propose_change(name, **changes))

    def suspend(self, name: str, by: str = FIRST) -> dict[str, Any]:
        """The reply to a suspension."""
        return self.taken(self.send(f"{CLIENTS}/{name}/suspension", REASON, by))

    def resume(self, name: str) -> None:
        """Let a client in again."""
        self.approve(self.propose_resumption(name))

    def lock(self, name: str, holder: Holder | str, by: str = FIRST) -> TestResponse:
        """Suspend a certificate."""
        wanted = holder if isinstance(holder, str) else thumbprint(holder)
        return self.send(f"{CLIENTS}/{name}/certificates/suspension", {"certificate": wanted, **REASON}, by)

    def states(self, name: str) -> list[str]:
        """The states of a client's history, oldest first; every document has the digest that its record names."""
        steps = self.client(name)["steps"]
        for step in steps:
            record = self.node.record(step["record"])
            assert (record["document"], record["state"]) == (step["digest"], step["state"])
            assert (step["document"]["change"], step["document"]["id"]) == (step["state"], name)
        return [step["state"] for step in steps]


def outcome(caller: Consumer, word: str) -> str:
    """The result of a question for this purpose, or the slug of its refusal; without a token, that of the token."""
    asked = caller.form(grant_type="client_credentials", client_id=caller.name)
    if asked.status_code != 200:
        slug: str = asked.get_json()["type"]
        return slug
    token = asked.get_json()["access_token"]
    reply = caller.ask("employment-status", question(word), Authorization=f"Bearer {token}").get_json()
    found: str = reply.get("result") or reply["type"]
    return found


@contextmanager
def open_office(ground: Ground, folder: Path, **settings: str) -> Iterator[Office]:
    """The administrators of a node of its own, which trusts one authority more than the demonstration's."""
    authority = pki.root("Trial root", life=life())
    trusted = folder / "authorities.pem"
    trusted.write_bytes((ground.folder / "pki" / "ca.pem").read_bytes() + authority.pem)
    node = running.start(ground, folder, TLS_CLIENT_CA=str(trusted), **settings)
    try:
        yield Office(node, Parties(node), authority)
    finally:
        node.close()
