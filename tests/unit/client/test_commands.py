from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from client.__main__ import main
from client.evidence_file import Evidence
from tests.unit.client.servers import HttpsServer, MemoryNode
from tests.unit.evidence.issuer import QUESTION, RESULT, SERVICE, Issuer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.client.pki import Pki


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def keys(issuer: Issuer, tmp_path: Path) -> list[str]:
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [issuer.jwk]}))
    (tmp_path / "log.vkey").write_text(issuer.log.vkey + "\n")
    return ["--jwks", str(tmp_path / "jwks.json"), "--vkey", str(tmp_path / "log.vkey")]


def kept(issuer: Issuer, **changes: Any) -> bytes:
    receipt, index = issuer.answer()
    reply = {"id": json.loads(issuer.entries[index])["id"], "service": SERVICE, **RESULT}
    proof = issuer.proof(index)
    evidence = Evidence(service=SERVICE, body=QUESTION, reply=reply, receipt=receipt, proof=proof)
    return json.dumps(json.loads(evidence.to_json()) | changes).encode() + b"\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"COLUMNS": "120"})


def test_empty_file_is_not_verified(tmp_path: Path, keys: list[str]) -> None:
    (tmp_path / "empty.ndjson").write_bytes(b"")
    result = run("verify", str(tmp_path / "empty.ndjson"), *keys)
    assert result.exit_code == 1
    assert "NOT VERIFIED" in result.output


def test_complete_evidence_ends_with_0_and_plain_words(issuer: Issuer, tmp_path: Path, keys: list[str]) -> None:
    (tmp_path / "a.json").write_bytes(kept(issuer))
    (tmp_path / "b.json").write_bytes(kept(issuer))
    result = run("verify", str(tmp_path / "a.json"), str(tmp_path / "b.json"), *keys)
    assert result.exit_code == 0
    assert f"{tmp_path}/a.json: complete: https://hz-tax.example answered" in result.output
    assert f"{tmp_path}/b.json: complete" in result.output


def test_altered_evidence_ends_with_1_even_among_good(issuer: Issuer, tmp_path: Path, keys: list[str]) -> None:
    (tmp_path / "a.ndjson").write_bytes(kept(issuer) + kept(issuer, reply={}) + kept(issuer, proof=None))
    result = run("verify", str(tmp_path / "a.ndjson"), *keys)
    assert result.exit_code == 1
    assert "a.ndjson:2: NOT VERIFIED: The reply is not the one" in result.output


def test_evidence_without_proof_ends_with_3(issuer: Issuer, tmp_path: Path, keys: list[str]) -> None:
    (tmp_path / "a.ndjson").write_bytes(kept(issuer) + kept(issuer, proof=None))
    result = run("verify", str(tmp_path / "a.ndjson"), *keys)
    assert result.exit_code == 3
    assert "without proof of the log" in result.output


def test_receipt_dated_after_its_key_was_retired_ends_with_1(issuer: Issuer, tmp_path: Path, keys: list[str]) -> None:
    (tmp_path / "a.json").write_bytes(kept(issuer))
    former = issuer.jwk | {"hecha_from": "2026-01-01T00:00:00Z", "hecha_until": "2026-03-05T01:02:03Z"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [former]}))
    assert run("verify", str(tmp_path / "a.json"), *keys).exit_code == 0
    former["hecha_until"] = "2026-03-05T01:01:02Z"
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [former]}))
    result = run("verify", str(tmp_path / "a.json"), *keys)
    assert result.exit_code == 1
    assert "forged" in result.output
    assert "retired at 2026-03-05T01:01:02Z" in " ".join(result.output.split())


def test_many_are_told_as_a_table_of_counts(issuer: Issuer, tmp_path: Path, keys: list[str]) -> None:
    good, bad = kept(issuer), kept(issuer, reply={})
    (tmp_path / "a.ndjson").write_bytes(good * 1_200)
    result = run("verify", str(tmp_path / "a.ndjson"), *keys)
    assert result.exit_code == 0
    assert "1,200" in result.output
    assert "a.ndjson:" not in result.output

    (tmp_path / "a.ndjson").write_bytes(good * 10 + bad * 25)
    result = run("verify", str(tmp_path / "a.ndjson"), *keys)
    assert result.exit_code == 1
    assert result.output.count("a.ndjson:") == 20
    assert "and 5 more" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["verify", "FILE"],
        ["verify", "absent", "--jwks", "FILE"],
        ["verify", "FILE", "--jwks", "FILE"],
        ["verify", "FILE", "--jwks", "KEYS", "--vkey", "FILE"],
        ["audit", "verify"],
        ["audit", "verify", "--url", "https://127.0.0.1:1"],
        ["audit", "verify", "--folder", "."],
        ["ask", SERVICE],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: list[str], tmp_path: Path, keys: list[str]) -> None:
    (tmp_path / "x").write_text("not a key")
    names = {"FILE": str(tmp_path / "x"), "KEYS": keys[1]}
    result = run(*(names.get(word, word) for word in arguments))
    assert result.exit_code == 2
    assert "Usage" in result.output


def test_module_runs_as_a_program(issuer: Issuer, tmp_path: Path, keys: list[str]) -> None:
    (tmp_path / "a.json").write_bytes(kept(issuer))
    command = [sys.executable, "-m", "client", "verify", str(tmp_path / "a.json"), *keys]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete" in done.stdout


@pytest.fixture
def connection(server: HttpsServer, pki: Pki) -> list[str]:
    return [
        f"--url={server.url}",
        f"--ca={pki.ca}",
        f"--certificate={pki.client.certificate}",
        f"--key={pki.client.key}",
        "--client-id=hz-hrss-benefits",
    ]


@pytest.fixture
def question(tmp_path: Path) -> list[str]:
    (tmp_path / "question.json").write_text(json.dumps(QUESTION))
    return [f"--question={tmp_path}/question.json", f"--save={tmp_path}/kept.ndjson"]


def test_audit_of_a_node_prints_counts(connection: list[str]) -> None:
    result = run("audit", "verify", *connection)
    assert result.exit_code == 0
    assert "300 token" in result.output
    assert "The log holds" in result.output


def test_audit_by_a_pinned_key_refuses_another_log(connection: list[str], tmp_path: Path, keys: list[str]) -> None:
    assert run("audit", "verify", *connection, *keys[2:]).exit_code == 0
    (tmp_path / "log.vkey").write_text(Issuer(seed=2).log.vkey)
    result = run("audit", "verify", *connection, *keys[2:])
    assert result.exit_code == 1
    assert "no signature of a key that is trusted" in result.output


def test_audit_of_a_folder_names_the_first_bad_entry(issuer: Issuer, tmp_path: Path, keys: list[str]) -> None:
    node = Issuer()
    node.tokens(10)
    node.publish(tmp_path / "log")
    assert run("audit", "verify", "--folder", str(tmp_path / "log"), *keys[2:]).exit_code == 0
    bundle = tmp_path / "log/tile/entries/000.p/10"
    bundle.write_bytes(bundle.read_bytes().replace(b"token-0000000004", b"token-9999999999"))
    result = run("audit", "verify", "--folder", str(tmp_path / "log"), *keys[2:])
    assert result.exit_code == 1
    assert "NOT VERIFIED: Entry 4 is not the one" in result.output


def test_audit_by_a_client_that_gets_no_token_says_so(server: HttpsServer, connection: list[str], pki: Pki) -> None:
    result = run("audit", "verify", *connection, "--client-id", "hz-outsider")
    assert result.exit_code == 1
    assert "invalid_client" in result.output


def test_question_is_asked_kept_and_its_evidence_is_complete(
    connection: list[str], question: list[str], tmp_path: Path, keys: list[str]
) -> None:
    result = run("ask", SERVICE, *connection, *question)
    assert result.exit_code == 0
    assert result.output.startswith("match\n")
    evidence = Evidence.parse((tmp_path / "kept.ndjson").read_bytes())
    assert evidence.body == QUESTION
    assert run("verify", str(tmp_path / "kept.ndjson"), *keys).exit_code == 0


def test_refusal_is_kept_too_and_ends_with_4(
    *, node: MemoryNode, connection: list[str], question: list[str], tmp_path: Path, keys: list[str]
) -> None:
    node.members = {"decision": "deny", "state": "not-permitted"}
    result = run("ask", SERVICE, *connection, *question, *keys)
    assert result.exit_code == 4
    assert result.output.startswith("Refused: ")
    assert run("verify", str(tmp_path / "kept.ndjson"), *keys).exit_code == 0


def test_refusal_without_receipt_leaves_no_evidence(
    node: MemoryNode, connection: list[str], question: list[str], tmp_path: Path
) -> None:
    node.change = lambda reply: reply.pop("receipt")
    assert run("ask", SERVICE, *connection, *question).exit_code == 4
    assert not (tmp_path / "kept.ndjson").exists()


def test_answer_without_proof_yet_ends_with_3(
    node: MemoryNode, connection: list[str], question: list[str], tmp_path: Path
) -> None:
    node.proofs = False
    assert run("ask", SERVICE, *connection, *question).exit_code == 3
    assert Evidence.parse((tmp_path / "kept.ndjson").read_bytes()).proof is None


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: reply.update(result="no_match"),
        lambda reply: reply.update(receipt=reply["receipt"][:-4] + "AAAA"),
        lambda reply: reply.pop("id"),
    ],
    ids=["result", "signature", "no id"],
)
def test_lying_node_is_noticed_and_its_lie_is_kept(
    *,
    node: MemoryNode,
    connection: list[str],
    question: list[str],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
) -> None:
    node.change = change
    assert run("ask", SERVICE, *connection, *question).exit_code == 1
    assert (tmp_path / "kept.ndjson").stat().st_size > 0


@pytest.mark.parametrize("content", ["{", "[]"])
def test_question_that_is_no_json_object_is_wrong_usage(
    connection: list[str], question: list[str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "question.json").write_text(content)
    assert run("ask", SERVICE, *connection, *question).exit_code == 2


def test_unusable_certificate_file_is_wrong_usage(connection: list[str], question: list[str], tmp_path: Path) -> None:
    result = run("ask", SERVICE, *connection, *question, f"--certificate={tmp_path}/question.json")
    assert result.exit_code == 2
    assert "No connection can be made" in result.output
