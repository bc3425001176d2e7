"""What a consumer and an auditor check afterwards: every receipt, the whole log, and that each receipt is in it.

Nothing here trusts the node beyond its published keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from client.audit import HttpSource, LogReport, verify_log
from client.evidence_file import Evidence
from client.http import NodeClient
from client.verify import Finding, Outcome, Trust, check_evidence
from evidence.checkpoint import NoteVerifier
from evidence.jwk import valid_keys_from_jwks
from evidence.merkle import TILE_WIDTH, leaf_hash
from evidence.tiles import decode_entries, parse_position

JWKS = "/.well-known/jwks.json"
VKEY = "/.well-known/log.vkey"


def trust_of(client: NodeClient) -> Trust:
    """Return the node's published keys: of its receipts and of its log."""
    verifier = NoteVerifier.parse(client.get_bytes(VKEY).decode())
    return Trust(valid_keys_from_jwks(client.get_bytes(JWKS)), [verifier])


def check_receipts(evidence: Iterable[Evidence], trust: Trust, tick: Callable[[], None]) -> list[Finding]:
    """Return the finding for each piece of evidence: signature, question, reply, and proof where one is kept."""
    found = []
    for number, one in enumerate(evidence, start=1):
        found.append(check_evidence(f"receipt {number}", one, trust))
        tick()
    return found


def split(findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Return the findings whose receipts hold, with or without proof, and those that do not."""
    held: list[Finding] = []
    failed: list[Finding] = []
    for finding in findings:
        (failed if finding.outcome is Outcome.NOT_VERIFIED else held).append(finding)
    return held, failed


def audit_log(
    auditor: NodeClient, trust: Trust, progress: Callable[[int, int], None]
) -> tuple[LogReport, Mapping[int, bytes]]:
    """Read the whole log as an auditor; return the report on it and the leaf hash of each entry by index.

    Raises a `NotVerified` if there is no checkpoint signed by the log's key.
    """
    source = _Remembering(auditor)
    report = verify_log(source, trust.log[0], progress)
    return report, source.leaves


def in_log(findings: Sequence[Finding], leaves: Mapping[int, bytes]) -> int:
    """Return how many receipts' records are the very entry that stands at the receipt's index."""
    receipts = [finding.receipt for finding in findings if finding.receipt is not None]
    return sum(leaves.get(receipt.index) == receipt.leaf_hash for receipt in receipts)


class _Remembering(HttpSource):
    """A log over HTTPS that remembers the leaf hash of each entry it handed out."""

    def __init__(self, client: NodeClient) -> None:
        super().__init__(client)
        self.leaves: dict[int, bytes] = {}

    def read(self, path: str) -> bytes | None:
        data = super().read(path)
        prefix = "tile/entries/"
        if data is not None and path.startswith(prefix):
            first = TILE_WIDTH * parse_position(path.removeprefix(prefix)).number
            self.leaves |= {index: leaf_hash(entry) for index, entry in enumerate(decode_entries(data), first)}
        return data
