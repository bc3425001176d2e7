"""One question's whole journey over real TLS: token, verdict, receipt, proof, audit; and with stolen tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client.audit import HttpSource, verify_log
from client.http import NodeClient
from evidence.note import NoteVerifier
from tests.servers.node import ROOT, RunningNode


def personas(node: RunningNode) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((node.var / "personas.json").read_text())
    return found


def body_of(persona: dict[str, Any]) -> dict[str, Any]:
    names = ("purpose", "case", "operator", "subject", "confirm", "declared")
    return {name: persona[name] for name in names if name in persona}


def test_every_persona_answers_as_published(node: RunningNode) -> None:
    clients: dict[str, NodeClient] = {}
    wrong = []
    for persona in personas(node):
        client = clients.setdefault(persona["client"], node.client(persona["client"]))
        reply = client.ask(persona["service"], body_of(persona))
        outcome = reply.body.get("result", reply.body.get("type"))
        if outcome != persona["expect"]:
            wrong.append((persona["service"], persona["expect"], outcome))
    assert wrong == []


def test_stolen_token_is_refused_and_recorded(node: RunningNode) -> None:
    persona = personas(node)[0]
    thief, owner = node.client("hz-outsider"), node.client(persona["client"])
    own = thief.token()
    thief._tokens[None] = (owner.token(), float("inf"))
    reply = thief.ask(persona["service"], body_of(persona))
    assert own != owner.token()
    assert (reply.status, reply.body["type"]) == (401, "token-not-bound")
    assert 'error="invalid_token"' in reply.headers["www-authenticate"]
    record = node.client("hz-audit").get(f"/v1/decisions/{reply.body['instance']}").body["record"]
    assert (record["client"], record["state"]) == ("hz-outsider", "token-not-bound")


@pytest.fixture
def asked(node: RunningNode, tmp_path: Path) -> Path:
    """An evidence file that the client's own command line wrote."""
    persona = personas(node)[0]
    question = tmp_path / "question.json"
    question.write_text(json.dumps(body_of(persona)))
    evidence = tmp_path / "evidence.json"
    pki = node.var / "pki"
    done = run(
        "ask",
        persona["service"],
        *("--question", question, "--save", evidence, "--url", node.url, "--ca", pki / "ca.pem"),
        *("--certificate", pki / f"{persona['client']}.pem", "--key", pki / f"{persona['client']}.key"),
        *("--client-id", persona["client"]),
    )
    assert done.returncode == 0, done.stderr
    return evidence


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "client", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def keys_of(node: RunningNode, folder: Path) -> tuple[object, ...]:
    client = node.client("hz-hrss-benefits")
    (folder / "jwks.json").write_text(json.dumps(client.get("/.well-known/jwks.json").body))
    (folder / "log.vkey").write_bytes(client.get_bytes("/.well-known/log.vkey"))
    return ("--jwks", folder / "jwks.json", "--vkey", folder / "log.vkey")


def test_evidence_verifies_offline(node: RunningNode, asked: Path, tmp_path: Path) -> None:
    done = run("verify", asked, *keys_of(node, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_evidence_without_proof_is_told_apart(node: RunningNode, asked: Path, tmp_path: Path) -> None:
    document = json.loads(asked.read_text())
    del document["proof"]
    asked.write_text(json.dumps(document))
    assert run("verify", asked, *keys_of(node, tmp_path)).returncode == 3


def test_evidence_for_another_question_is_refused(node: RunningNode, asked: Path, tmp_path: Path) -> None:
    document = json.loads(asked.read_text())
    document["question"]["body"]["case"] = "ANOTHER-CASE-1"
    asked.write_text(json.dumps(document))
    assert run("verify", asked, *keys_of(node, tmp_path)).returncode == 1


def test_auditor_verifies_the_whole_log(node: RunningNode, asked: Path) -> None:
    with node.client("hz-audit") as auditor:
        verifier = NoteVerifier.parse(auditor.get_bytes("/.well-known/log.vkey").decode().strip())
        report = verify_log(HttpSource(auditor), verifier)
    assert report.holds
    assert report.records["question"] > 0


def test_consumer_cannot_read_entry_bundles(node: RunningNode, asked: Path) -> None:
    reply = node.client("hz-hrss-benefits").get("/log/tile/entries/000.p/1")
    assert (reply.status, reply.body["type"]) == (403, "insufficient-scope")


def test_operator_checks_the_log_from_storage(node: RunningNode, asked: Path) -> None:
    command = [sys.executable, "-m", "app", "check-log"]
    done = subprocess.run(command, cwd=ROOT, env=node.env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sound" in done.stdout
