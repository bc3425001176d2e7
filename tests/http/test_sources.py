"""Sources that are missing, strange, slow to update or failing: recorded, refunded, and never taken for an answer."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adapters.base import Code, SourceMisbehaved, SourceUnavailable
from evidence.receipt import verify_receipt
from tests.nodes.problems import recorded
from tests.nodes.questions import CLIENT, SERVICE, Question, employment
from tests.nodes.running import OwnNode, RunningNode
from tests.nodes.sources import CountingSource

TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
NUMBER = employment()["subject"]["id_number"]


def spent(node: RunningNode) -> dict[str, int]:
    """What the limiter's front holds as spent, by account."""
    with closing(node.redis()) as client:
        found: dict[str, int] = {}
        for key in client.scan_iter("hecha:account:*"):
            fields = client.hgetall(key)
            assert isinstance(fields, dict)
            found[key.decode()] = int(fields.pop(b"spent"))
            fields.pop(b"f", None)
            assert fields.pop(b"h", b"0") == b"0", "nothing is under way"
            assert not fields or found[key.decode()] > 0
        return found


def test_missing_source_is_unavailable_and_refunded(own_node: OwnNode, tmp_path: Path) -> None:
    node = own_node(SOURCE_HZ_TAX=f"sqlite:///{tmp_path}/absent.db")
    response = node.consumer(CLIENT).ask(SERVICE, employment())
    receipt = recorded(node, response, "source-unavailable")
    receipt.check_question(employment(), SERVICE)
    assert response.headers["Retry-After"] == "5"
    assert receipt.record["decision"] == "permit"
    assert not any(spent(node).values())
    assert not (tmp_path / "absent.db").exists()


def test_source_that_comes_back_answers_and_is_charged_once(own_node: OwnNode, tmp_path: Path) -> None:
    path = tmp_path / "tax.db"
    node = own_node(SOURCE_HZ_TAX=f"sqlite:///{path}")
    caller = node.consumer(CLIENT)
    recorded(node, caller.ask(SERVICE, employment()), "source-unavailable")
    shutil.copy(node.ground.folder / "sources" / "hz-tax.db", path)
    charges = node.charges(caller.ask(SERVICE, employment()).get_json()["id"])
    assert len(charges) == 5
    assert sorted(spent(node).values()) == sorted(charges.values())


def test_source_with_another_schema_misbehaves(own_node: OwnNode, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "tax.db")) as connection:
        connection.execute("CREATE TABLE wage_declarations (id_no TEXT)")
    node = own_node(SOURCE_HZ_TAX=f"sqlite:///{tmp_path}/tax.db")
    recorded(node, node.consumer(CLIENT).ask(SERVICE, employment()), "source-misbehaved")
    assert not any(spent(node).values())


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (SourceUnavailable(f"row of {NUMBER}"), "source-unavailable"),
        (SourceMisbehaved(f"row of {NUMBER}"), "source-misbehaved"),
        (RuntimeError(f"row of {NUMBER}"), "internal-error"),
        (KeyError(NUMBER), "internal-error"),
    ],
)
def test_failing_source_is_recorded_and_says_nothing(
    node: RunningNode, claimant: Iterator[Question], error: Exception, slug: str
) -> None:
    watched = node.with_adapter(SERVICE, CountingSource(error=error))
    question = next(claimant)
    response = watched.consumer(CLIENT).ask(SERVICE, question)
    recorded(watched, response, slug)
    assert NUMBER not in response.text
    assert type(error).__name__ not in response.text
    answer = node.consumer(CLIENT).ask(SERVICE, question).get_json()
    assert len(node.charges(answer["id"])) == 5, "the failed attempt was refunded, so this one is charged in full"


def test_unknown_error_leaves_kind_and_place_in_the_log_but_no_value(
    node: RunningNode, claimant: Iterator[Question], caplog: pytest.LogCaptureFixture
) -> None:
    watched = node.with_adapter(SERVICE, CountingSource(error=RuntimeError("canary 339881")))
    with caplog.at_level(logging.DEBUG):
        watched.consumer(CLIENT).ask(SERVICE, next(claimant))
    assert "unexpected RuntimeError in CountingSource.answer" in caplog.text
    assert "canary" not in caplog.text


def test_failed_source_is_never_no_match(node: RunningNode, claimant: Iterator[Question]) -> None:
    """Four axes stay apart: a technical failure has no result."""
    watched = node.with_adapter(SERVICE, CountingSource(error=SourceUnavailable("down")))
    response = watched.consumer(CLIENT).ask(SERVICE, next(claimant))
    assert "result" not in response.get_json()
    receipt = verify_receipt(response.get_json()["receipt"], node.receipt_keys())
    assert (receipt.record["decision"], receipt.record["limit"]) == ("permit", "none")


def test_source_older_than_the_agreement_allows_is_stale(own_node: OwnNode) -> None:
    node = own_node({TERMS: lambda text: text + 'freshness: "24h"\n'})
    now = datetime.now(UTC)
    stale = CountingSource(Code.MATCH, updated=now - timedelta(hours=24, minutes=1))
    watched = node.with_adapter(SERVICE, stale)
    recorded(watched, watched.consumer(CLIENT).ask(SERVICE, employment()), "source-stale")
    assert not any(spent(node).values())
    fresh = node.with_adapter(SERVICE, CountingSource(Code.MATCH, updated=now - timedelta(hours=23)))
    answer = fresh.consumer(CLIENT).ask(SERVICE, employment()).get_json()
    assert "freshness:24h" in answer["obligations"]
