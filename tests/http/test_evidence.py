"""Decisions, proofs and the log over HTTP: found by who may know, hidden from others, and verifiable from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from evidence.checkpoint import Checkpoint, open_checkpoint
from evidence.errors import NotVerified
from evidence.merkle import TILE_WIDTH, Frontier, leaf_hash
from evidence.note import NoteVerifier
from evidence.receipt import verify_receipt
from evidence.record import parse_record
from evidence.tiles import decode_entries, entries_path, tile_path, tile_width
from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, Question, employment
from tests.nodes.running import OwnNode, RunningNode

Consumers = Callable[[str], Consumer]


def answered(caller: Consumer, question: Question) -> dict[str, Any]:
    """The node's answer to a question."""
    response = caller.ask(SERVICE, question)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    return found


@pytest.fixture(scope="module")
def verifier(node: RunningNode) -> NoteVerifier:
    """The log's key as everybody gets it."""
    return NoteVerifier.parse(node.nobody().open("GET", "/.well-known/log.vkey").text.strip())


@pytest.mark.parametrize("client", [CLIENT, "hz-hrss-review", "hz-hrss-steward", "hz-audit", "hz-audit-2"])
def test_record_is_read_by_its_department_and_by_auditors(
    node: RunningNode, consumer: Consumers, client: str
) -> None:
    answer = answered(consumer(CLIENT), employment())
    found = consumer(client).get(f"/v1/decisions/{answer['id']}").get_json()
    assert found["record"] == node.record(answer["id"])
    assert found["id"] == answer["id"]
    assert found["index"] == verify_receipt(answer["receipt"], node.receipt_keys()).index


OTHERS = ["hz-outsider", "hz-civil-dibao", "hz-tax-levy", "hz-tax-steward", "hz-data-bureau", "hz-secadmin"]


@pytest.mark.parametrize("client", OTHERS)
@pytest.mark.parametrize("suffix", ["", "/proof"])
def test_record_of_another_department_is_as_unknown_as_none(consumer: Consumers, client: str, suffix: str) -> None:
    """OWASP API1: the provider's own clients are others too."""
    answer = answered(consumer(CLIENT), employment())
    hidden = consumer(client).get(f"/v1/decisions/{answer['id']}{suffix}")
    absent = consumer(client).get(f"/v1/decisions/{uuid4()}{suffix}")
    problem(hidden, "not-found")
    assert (hidden.data, hidden.status_code) == (absent.data, absent.status_code)
    assert list(hidden.headers) == list(absent.headers)


@pytest.mark.parametrize("identifier", ["x", "..", "' OR 1=1 --", "%00", "0" * 300, "%E2%82"])
def test_strange_id_is_not_found(consumer: Consumers, identifier: str) -> None:
    problem(consumer(CLIENT).get(f"/v1/decisions/{identifier}"), "not-found")


def test_auditors_token_without_the_audit_scope_reads_nothing(consumer: Consumers) -> None:
    answer = answered(consumer(CLIENT), employment())
    problem(consumer("hz-audit").get(f"/v1/decisions/{answer['id']}", scope="catalogue"), "not-found")


def test_refusal_is_read_like_an_answer(consumer: Consumers) -> None:
    refused = consumer(CLIENT).ask(SERVICE, employment(purpose="recruitment")).get_json()
    found = consumer(CLIENT).get(f"/v1/decisions/{refused['instance']}").get_json()
    assert (found["record"]["state"], found["record"]["decision"]) == ("not-permitted", "deny")


def test_proof_verifies_with_the_receipt_and_the_logs_key(
    node: RunningNode, consumer: Consumers, verifier: NoteVerifier
) -> None:
    caller = consumer(CLIENT)
    answers = [answered(caller, employment()) for _ in range(5)]
    for answer in answers:
        response = caller.get(f"/v1/decisions/{answer['id']}/proof")
        assert response.content_type == "text/plain; charset=utf-8"
        receipt = verify_receipt(answer["receipt"], node.receipt_keys())
        checkpoint = receipt.check_proof(response.text, [verifier])
        assert checkpoint.size > receipt.index


def test_proof_of_one_decision_does_not_prove_another(
    node: RunningNode, consumer: Consumers, verifier: NoteVerifier
) -> None:
    caller = consumer(CLIENT)
    one, other = answered(caller, employment()), answered(caller, employment())
    proof = caller.get(f"/v1/decisions/{other['id']}/proof").text
    with pytest.raises(NotVerified):
        verify_receipt(one["receipt"], node.receipt_keys()).check_proof(proof, [verifier])


@pytest.fixture(scope="module")
def long_log(node: RunningNode, consumer: Consumers) -> Checkpoint:
    """The shared node's log with more than one tile of entries."""
    caller, source = consumer(CLIENT), node
    while len(source.rows()) <= TILE_WIDTH + 3:
        caller.ask(SERVICE, b"{")
    response = caller.get("/log/checkpoint")
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache, max-age=0"
    vkey = node.nobody().open("GET", "/.well-known/log.vkey").text.strip()
    return open_checkpoint(response.text, [NoteVerifier.parse(vkey)])


def test_log_rebuilt_from_entries_has_the_signed_root(consumer: Consumers, long_log: Checkpoint) -> None:
    """What an auditor does: take every entry, check it, compute the tree, compare with the signature."""
    auditor, leaves = consumer("hz-audit"), list[bytes]()
    for number in range(-(-long_log.size // TILE_WIDTH)):
        width = tile_width(long_log.size, 0, number)
        response = auditor.get("/log/" + entries_path(number, width))
        assert response.content_type == "application/octet-stream"
        bodies = decode_entries(response.data)
        for body in bodies:
            parse_record(body)
        hashes = [leaf_hash(body) for body in bodies]
        tile = auditor.get("/log/" + tile_path(0, number, width)).data
        assert b"".join(hashes) == tile
        leaves += hashes
    rebuilt = Frontier().extend(leaves).frontier
    assert (rebuilt.size, rebuilt.root()) == (long_log.size, long_log.root)


def test_tile_of_the_first_level_holds_roots_of_full_tiles(consumer: Consumers, long_log: Checkpoint) -> None:
    caller = consumer(CLIENT)
    full = caller.get("/log/" + tile_path(0, 0))
    leaves = [full.data[at : at + 32] for at in range(0, len(full.data), 32)]
    assert len(leaves) == TILE_WIDTH
    width = tile_width(long_log.size, 1, 0)
    above = caller.get("/log/" + tile_path(1, 0, width))
    assert above.data[:32] == Frontier().extend(leaves).frontier.root()
    for response in (full, above):
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize("client", [CLIENT, "hz-outsider", "hz-data-bureau", "hz-tax-steward", "hz-sysadmin"])
def test_entries_are_for_auditors_only(consumer: Consumers, long_log: Checkpoint, client: str) -> None:
    response = consumer(client).get("/log/" + entries_path(0, 1))
    problem(response, "insufficient-scope")
    assert 'scope="audit"' in response.headers["WWW-Authenticate"]
    assert consumer(client).get("/log/" + tile_path(0, 0, 1)).status_code == 200


def beyond(size: int) -> Iterator[str]:
    """Tiles and bundles that a log of this size does not have."""
    last = size // TILE_WIDTH
    yield tile_path(0, last)
    yield tile_path(0, last, size % TILE_WIDTH + 1)
    yield tile_path(0, last + 1, 1)
    yield tile_path(1, 0)
    yield tile_path(2, 0, 1)
    yield tile_path(63, 0, 1)
    yield entries_path(last)
    yield entries_path(last + 1, 1)
    yield tile_path(0, 2**40, 1)


def test_beyond_the_tree_there_is_nothing(own_node: OwnNode) -> None:
    node = own_node()
    auditor = node.consumer("hz-audit")
    auditor.token()
    (size,) = {len(node.rows())}
    for path in beyond(size):
        problem(auditor.get("/log/" + path), "not-found")
    assert auditor.get("/log/" + tile_path(0, 0, size)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/0/00",
        "tile/00/000",
        "tile/-1/000",
        "tile/64/000",
        "tile/0/x000/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000/../000",
        "tile/entries/0",
        "tile/data/000",
        "tile/0/",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/٠٠٠",
    ],
)
def test_path_that_names_no_tile_is_not_found(consumer: Consumers, path: str) -> None:
    problem(consumer("hz-audit").get("/log/" + path), "not-found")


def test_checkpoint_only_grows(consumer: Consumers, verifier: NoteVerifier) -> None:
    caller, sizes = consumer(CLIENT), []
    for _ in range(3):
        sizes.append(open_checkpoint(caller.get("/log/checkpoint").text, [verifier]).size)
        caller.ask(SERVICE, b"{")
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    "path", ["/log/checkpoint", "/log/tile/0/000.p/1", "/v1/decisions/x", "/v1/decisions/x/proof"]
)
def test_log_that_cannot_be_read_says_so_and_nothing_else(own_node: OwnNode, path: str) -> None:
    node = own_node()
    auditor = node.consumer("hz-audit")
    auditor.token()
    with node.node.store.writing() as connection:
        for table in ("log_head", "decision"):
            connection.exec_driver_sql(f"DROP TABLE {table}")
    response = auditor.get(path)
    problem(response, "log-unavailable")
    assert response.headers["Retry-After"] == "5"
