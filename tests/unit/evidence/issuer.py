"""A node in memory that seals, logs and signs as the real one does: the tests' source of true evidence."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence.canonical import canonical
from evidence.checkpoint import Checkpoint, NoteSigner, NoteVerifier
from evidence.merkle import TILE_WIDTH, Frontier, inclusion_proof, leaf_hash
from evidence.proof import format_proof
from evidence.receipt import ReceiptSigner, payload, to_jwk
from evidence.record import seal
from evidence.tiles import encode_entries, entries_path, tile_path, tile_width

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "hz-tax.example/log"
SERVICE = "employment-status"
QUESTION: dict[str, Any] = {
    "purpose": "unemployment-benefit",
    "case": "SY-2026-0001",
    "operator": "op-17",
    "subject": {"id_number": "000000199001010012"},
    "confirm": {"name": "张三"},
    "declared": {"employed_on": "2026-03-01"},
}
RESULT = {"result": "match", "attributes": {"employed_on": "match"}, "disclosed": {"employer": "杭州**公司"}}


class Issuer:
    """Everything that one node holds: keys, entries, tiles, the edge of its tree."""

    def __init__(self, seed: int = 1) -> None:
        receipt_key = ec.derive_private_key(seed, ec.SECP256R1())
        self.jwk = to_jwk(receipt_key.public_key())
        self.keys = {self.jwk["kid"]: receipt_key.public_key()}
        self.signer = ReceiptSigner(receipt_key, self.jwk["kid"])
        self.log = NoteSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))
        self.verifier = NoteVerifier.parse(self.log.vkey)
        self.entries: list[bytes] = []
        self.hashes: dict[tuple[int, int], bytes] = {}
        self.frontier = Frontier()

    def append(self, *bodies: bytes) -> int:
        """Append entries and return the index of the first."""
        first = len(self.entries)
        leaves = [leaf_hash(body) for body in bodies]
        self.entries += bodies
        self.hashes |= {(0, first + i): leaf for i, leaf in enumerate(leaves)}
        extended = self.frontier.extend(leaves)
        self.frontier = extended.frontier
        self.hashes |= {(level, index): node for level, index, node in extended.nodes}
        return first

    def tokens(self, count: int) -> None:
        """Append records of issued tokens, to fill the log."""
        self.append(
            *(
                seal({"kind": "token", "id": f"token-{i:010d}", "at": "2026-03-05T01:02:03Z"}, {}, bytes(32)).body
                for i in range(count)
            )
        )

    def answer(self, question: dict[str, Any] = QUESTION, **members: Any) -> tuple[str, int]:
        """Record an answer or, by `members`, a refusal; return its receipt and index."""
        record = {
            "kind": "question",
            "id": f"0192f0c1-7c5e-7b51-9a3e-{len(self.entries):012d}",
            "at": "2026-03-05T01:02:03.456Z",
            "consumer": "hz-hrss",
            "client": "hz-hrss-benefits",
            "service": SERVICE,
            "purpose": question["purpose"],
            "decision": "permit",
            "limit": "none",
            "state": "answered",
            **members,
        }
        parts: dict[str, Any] = {
            name: question[name] for name in ("subject", "declared", "case", "operator") if name in question
        }
        secrets: dict[str, Any] = {"question": question, **parts}
        answered = record["state"] == "answered"
        if answered:
            secrets |= {"result": RESULT, "true_result": {"result": "not_found"}}
        return self.issue(record, secrets, RESULT if answered else None)

    def issue(self, record: dict[str, Any], secrets: dict[str, Any], result: Any = None) -> tuple[str, int]:
        """Seal, append and sign; return the receipt and its index."""
        # A master salt per record, repeatable so that a failing test fails again.
        sealed = seal(record, secrets, hashlib.sha256(canonical(record)).digest())
        index = self.append(sealed.body)
        document = payload(
            issuer="https://hz-tax.example",
            issued_at=1_772_672_523,
            record=sealed.body,
            origin=ORIGIN,
            index=index,
            openings={name: salt for name, salt in sealed.openings.items() if name != "true_result"},
            result=result,
        )
        return self.signer.sign(document), index

    def read(self, level: int, tile: int, width: int) -> list[bytes]:
        """Return the first hashes of a tile."""
        return [self.hashes[level, TILE_WIDTH * tile + i] for i in range(width)]

    def checkpoint(self) -> str:
        """Return the signed checkpoint of all entries."""
        return self.log.sign(Checkpoint(ORIGIN, self.frontier.size, self.frontier.root()).text())

    def proof(self, index: int) -> str:
        """Return the tlog-proof of one entry under the newest checkpoint."""
        size = self.frontier.size
        return format_proof(index, inclusion_proof(index, size, self.read), self.checkpoint())

    def files(self) -> dict[str, bytes]:
        """Return the whole log as the paths and bytes of C2SP tlog-tiles."""
        size = self.frontier.size
        files = {"checkpoint": self.checkpoint().encode()}
        for number in range(-(-size // TILE_WIDTH)):
            width = tile_width(size, 0, number)
            first = TILE_WIDTH * number
            files[entries_path(number, width)] = encode_entries(self.entries[first : first + width])
        for level in range(8):
            number = 0
            while width := tile_width(size, level, number):
                files[tile_path(level, number, width)] = b"".join(self.read(level, number, width))
                number += 1
        return files

    def publish(self, folder: Path) -> None:
        """Write the whole log as files under `folder`."""
        for path, content in self.files().items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
