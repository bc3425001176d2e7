"""Signed questions over real TLS: demanded by an agreement, good once over all workers, and after kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from app.commands.signature import signature
from client import asking
from client.evidence_file import Evidence
from client.http import NodeClient
from client.request_signing import RequestSigner
from client.verify import Outcome, Trust, check_evidence
from evidence.checkpoint import NoteVerifier
from evidence.receipt import keys_from_jwks
from tests.house.pages import fences, read
from tests.nodes import running
from tests.nodes.questions import CLIENT, SERVICE, claimants, employment
from tests.nodes.running import Ground
from tests.servers.node import ROOT, RunningNode, demo_folder, running_node

TERMS = f"agreements/hz-hrss-{SERVICE}-unemployment-benefit.yaml"
PATH = f"/v1/services/{SERVICE}/verifications"
WORKERS, AT_ONCE = 4, 24
REPLAYED = "The nonce was used before: sign each request anew."


@pytest.fixture(scope="module")
def demanding() -> Iterator[RunningNode]:
    """A node of four worker processes, whose agreement on unemployment benefits demands signed questions."""
    with demo_folder() as var:
        (var / "edited").mkdir()
        edits = {TERMS: lambda text: f"{text}request_signature: true\n"}
        folder = running.edited(Ground(var, var / "unused", iter(())), var / "edited", edits)
        settings = {"HECHA_NODE_DIR": str(folder), "HECHA_WORKERS": str(WORKERS), "HECHA_THREADS": "8"}
        with running_node(var, **settings) as made:
            yield made


def connected(node: RunningNode, **signing: Any) -> NodeClient:
    pki = node.var / "pki"
    return NodeClient(
        node.url,
        ca=pki / "ca.pem",
        certificate=pki / f"{CLIENT}.pem",
        key=pki / f"{CLIENT}.key",
        client_id=CLIENT,
        maxsize=AT_ONCE,
        **signing,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """One signed request, to be sent as often as one likes."""

    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, client: NodeClient, node: RunningNode, question: dict[str, Any]) -> Request:
        body, pki = orjson.dumps(question), node.var / "pki"
        signer = RequestSigner.of_certificate(pki / f"{CLIENT}.pem", pki / f"{CLIENT}.key")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {client.token()}"}
        return cls(signer.signed("POST", node.url + PATH, headers, body), body)

    def send(self, node: RunningNode) -> tuple[int, str]:
        """Status, and result or detail of the reply, over a connection of its own, which any worker may get."""
        with connected(node) as client:
            raw = client._send("POST", PATH, self.headers, self.body)
        reply = orjson.loads(raw.data)
        return raw.status, reply.get("result") or reply["detail"]


def test_question_must_be_signed_and_its_evidence_is_complete(demanding: RunningNode) -> None:
    with connected(demanding) as client:
        reply = client.ask(SERVICE, employment())
        assert (reply.status, reply.body["reasons"][0]["rule"]) == (403, "signature-required")
        assert reply.headers["accept-signature"].startswith('hecha=("@method" ')
    with connected(demanding, sign=True) as client:
        asked = asking.ask(client, SERVICE, employment())
        assert (asked.reply.status, asked.reply.body["result"]) == (200, "match")
        assert isinstance(asked.evidence, Evidence)
        evidence = asking.with_proof(client, asked.evidence)
        keys = keys_from_jwks(client.get_bytes("/.well-known/jwks.json"))
        log = NoteVerifier.parse(client.get_bytes("/.well-known/log.vkey").decode())
    finding = check_evidence("asked", evidence, Trust(keys, [log]))
    assert finding.outcome is Outcome.COMPLETE, finding.text
    assert finding.receipt is not None
    assert "signature" in finding.receipt.openings
    hidden = {name: None for name in os.environ if name.startswith("HECHA_")}
    shown = CliRunner().invoke(signature, [asked.reply.body["id"]], env={**hidden, **demanding.env})
    assert (shown.exit_code, shown.output.splitlines()[-1][:6]) == (0, "holds:"), shown.output


def test_request_that_is_sent_many_times_at_once_is_answered_once(demanding: RunningNode) -> None:
    questions = claimants(demanding.var)
    for _ in range(3):
        with connected(demanding) as client:
            request = Request.of(client, demanding, next(questions))
        start = threading.Barrier(AT_ONCE)

        def send(_: int, request: Request = request, start: threading.Barrier = start) -> tuple[int, str]:
            start.wait(30)
            return request.send(demanding)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            replies = list(pool.map(send, range(AT_ONCE)))
        assert sorted(status for status, _ in replies) == [200] + [401] * (AT_ONCE - 1)
        assert {said for status, said in replies if status == 401} == {REPLAYED}


@pytest.mark.slow
def test_request_is_not_good_again_after_the_node_was_killed(demanding: RunningNode) -> None:
    with connected(demanding) as client:
        request = Request.of(client, demanding, employment())
    assert request.send(demanding) == (200, "match")
    demanding.kill()
    demanding.start()
    assert request.send(demanding) == (401, REPLAYED)
    with connected(demanding) as client:
        assert Request.of(client, demanding, employment()).send(demanding) == (200, "match")


def test_example_of_the_consumers_page_is_answered(node: RunningNode, tmp_path: Path) -> None:
    (script,) = [code for code in fences(read("docs/consumer.md"), "python") if "HTTPMessageSigner" in code]
    assert script.count("https://127.0.0.1:8443") == script.count('Path("var/demo/pki")') == 1
    script = script.replace("https://127.0.0.1:8443", node.url).replace("var/demo/pki", str(node.var / "pki"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["200", "match"]


def test_command_of_the_consumers_page_is_answered(node: RunningNode, tmp_path: Path) -> None:
    (block,) = [code for code in fences(read("docs/consumer.md"), "sh") if "--sign " in code]
    (tmp_path / "var" / "demo").mkdir(parents=True)
    (tmp_path / "var" / "demo" / "question.json").write_bytes(orjson.dumps(employment()))
    names = f"pki={node.var / 'pki'}; me={CLIENT}; node={node.url}\n"
    done = subprocess.run(
        ["bash", "-euc", names + block.replace(".venv/bin/python", sys.executable)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.startswith("match\n")
