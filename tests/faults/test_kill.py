"""kill -9 of the whole node, again and again, while clients ask: no answered question may be lost."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from client.audit import HttpSource, verify_log
from client.errors import ClientError
from evidence.canonical import canonical
from evidence.jwk import keys_from_jwks
from evidence.note import NoteVerifier
from evidence.receipt import verify_receipt
from evidence.tiles import decode_entries, entries_path, tile_width
from tests.servers.node import ROOT, RunningNode, free_port

KILLS = int(os.environ.get("HECHA_TEST_KILLS", "20"))
ASKERS = 4


class Asker(threading.Thread):
    """Asks without end, keeps every answer's receipt, and asks on when the node is gone."""

    def __init__(self, node: RunningNode, questions: list[dict[str, Any]]) -> None:
        super().__init__(daemon=True)
        self._node = node
        self._questions = questions
        self._done = threading.Event()
        self.receipts: list[str] = []
        self.strange: list[str] = []

    def run(self) -> None:
        client = self._node.client("hz-hrss-benefits")
        for question in self._endless():
            try:
                reply = client.ask("employment-status", question)
            except ClientError:
                time.sleep(0.05)
                continue
            if reply.status == 200:
                self.receipts.append(reply.body["receipt"])
            elif reply.status != 503:
                self.strange.append(str(reply.body.get("type")))

    def _endless(self) -> Iterator[dict[str, Any]]:
        while not self._done.is_set():
            yield random.choice(self._questions)

    def finish(self) -> None:
        self._done.set()
        self.join(30)
        assert not self.is_alive()


def claimants(var: Path) -> list[dict[str, Any]]:
    header = {"purpose": "unemployment-benefit", "case": "UB-2026-0001", "operator": "operator-1"}
    return [header | json.loads(line) for line in (var / "claimants.ndjson").read_text().splitlines()]


@contextmanager
def asking(node: RunningNode) -> Iterator[list[Asker]]:
    askers = [Asker(node, claimants(node.var)) for _ in range(ASKERS)]
    for asker in askers:
        asker.start()
    try:
        yield askers
    finally:
        for asker in askers:
            asker.finish()


def bodies(node: RunningNode, size: int) -> list[bytes]:
    """Every record of the log, as the auditor fetches them."""
    found: list[bytes] = []
    with node.client("hz-audit") as auditor:
        for number in range((size + 255) // 256):
            path = entries_path(number, tile_width(size, 0, number))
            found += decode_entries(auditor.get_bytes(f"/log/{path}"))
    return found


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kill_of_the_server_loses_no_answered_question(var: Path) -> None:
    node = RunningNode(var, free_port())
    node.start()
    with asking(node) as askers:
        for _ in range(KILLS):
            time.sleep(random.uniform(0.2, 0.8))
            node.kill()
            node.start()
        time.sleep(0.5)
    receipts = [receipt for asker in askers for receipt in asker.receipts]
    try:
        assert [text for asker in askers for text in asker.strange] == []
        assert len(receipts) > KILLS
        with node.client("hz-audit") as auditor:
            keys = keys_from_jwks(auditor.get("/.well-known/jwks.json").body)
            verifier = NoteVerifier.parse(auditor.get_bytes("/.well-known/log.vkey").decode().strip())
            report = verify_log(HttpSource(auditor), verifier)
        assert report.holds
        log = bodies(node, report.checkpoint.size)
        verified = [verify_receipt(receipt, keys) for receipt in receipts]
        missing = [item for item in verified if log[item.index] != canonical(item.record)]
        assert missing == []
        assert len({item.index for item in verified}) == len(verified)
    finally:
        node.stop()
    done = subprocess.run(
        [sys.executable, "-m", "app", "check-log"],
        cwd=ROOT,
        env=node.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
