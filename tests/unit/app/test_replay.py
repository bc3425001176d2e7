"""Recorded decisions are made again as they were, whatever came later; what was altered is told."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.nodes import running
from tests.nodes.commands import altered, copied_database, run, settings_of
from tests.nodes.directories import AGREEMENT, BEGIN, REVISION, publish, rule
from tests.nodes.questions import CLIENT, SERVICE, Question, claimants, employment
from tests.nodes.running import Ground, RunningNode

NAME = AGREEMENT.removeprefix("agreements/")
DECISIONS = 500


def deviations() -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """For ever: client, service, what the question has otherwise, and the address that it comes from."""
    yield from itertools.cycle(
        [
            (CLIENT, SERVICE, {}, "127.0.0.1"),
            (CLIENT, SERVICE, {}, "127.0.0.1"),
            (CLIENT, SERVICE, {"case": "ab"}, "127.0.0.1"),
            (CLIENT, SERVICE, {"operator": "ab", "case": "a!"}, "127.0.0.1"),
            (CLIENT, SERVICE, {}, "203.0.113.7"),
            (CLIENT, SERVICE, {"purpose": "benefit-review"}, "::1"),
            (CLIENT, SERVICE, {"purpose": "some-private-text"}, "127.0.0.1"),
            (CLIENT, SERVICE, {"purpose": "property-tax"}, "127.0.0.1"),
            (CLIENT, SERVICE, {"purpose": "recruitment"}, "127.0.0.1"),
            ("hz-outsider", SERVICE, {}, "127.0.0.1"),
            ("hz-hrss-review", SERVICE, {"purpose": "benefit-review"}, "127.0.0.1"),
            (CLIENT, "adoption-registration", {}, "127.0.0.1"),
            (CLIENT, "death-registration", {"declared": {}}, "127.0.0.1"),
        ]
    )


def ask(node: RunningNode, questions: Iterator[Question], number: int) -> None:
    """Ask so many questions of many kinds."""
    consumers = {name: node.consumer(name) for name in (CLIENT, "hz-outsider", "hz-hrss-review")}
    for client, service, members, address in itertools.islice(deviations(), number):
        caller = consumers[client]
        caller.open(
            "POST",
            f"/v1/services/{service}/verifications",
            json=next(questions) | members,
            headers={"Authorization": f"Bearer {caller.token()}"},
            environ_overrides={"REMOTE_ADDR": address},
        )


def step(node: RunningNode, path: str, method: str = "POST") -> None:
    caller = node.consumer("hz-tax-steward")
    headers = {"Authorization": f"Bearer {caller.token()}"}
    response = caller.open(method, f"/v1/agreements/{NAME}/{path}", json={"reason": "A test."}, headers=headers)
    assert response.status_code == 200, response.text


@pytest.fixture(scope="module")
def node(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with more than 500 decisions, under three revisions and many states of one agreement."""
    folder = tmp_path_factory.mktemp("replayed")
    made = running.start(ground, folder, NODE_DIR=str(running.edited(ground, folder, BEGIN)))
    questions = claimants(ground.folder)
    ask(made, questions, 220)
    step(made, "suspension")
    ask(made, questions, 60)
    step(made, "suspension", "DELETE")
    publish(ground, folder, REVISION + 1, {"rules/own.cedar": lambda _: rule("no-review", purpose="benefit-review")})
    made.node.revisions.install(folder / "directory")
    made.node.current.refresh()
    ask(made, questions, 120)
    publish(ground, folder, REVISION + 2, {"departments/hz-hrss.yaml": lambda text: text + "restricted: true\n"})
    made.node.revisions.install(folder / "directory")
    made.node.current.refresh()
    ask(made, questions, 60)
    publish(
        ground,
        folder,
        REVISION + 3,
        {"departments/hz-hrss.yaml": lambda text: text.replace("restricted: true\n", "")},
    )
    made.node.revisions.install(folder / "directory")
    made.node.current.refresh()
    step(made, "revocation")
    ask(made, questions, 120)
    yield made
    made.close()


def decided(node: RunningNode, decision: str, agreement: str | None = NAME) -> str:
    """The id of the first decision of that kind that came under that agreement."""
    return str(next(row.id for row in node.rows(kind="question", decision=decision) if row.agreement == agreement))


def test_five_hundred_decisions_replay_equal_after_later_policies_and_agreements(node: RunningNode) -> None:
    rows = [row for row in node.rows(kind="question") if row.decision]
    records = [node.record(row.id) for row in rows]
    assert len(rows) >= DECISIONS
    assert len({record["policy"] for record in records}) == 2
    assert sum(record["decision"] == "permit" for record in records) >= 50
    assert {rule for record in records for rule in record["rules"]} >= {
        "conditional-agreement",
        "case-not-agreed",
        "operator-not-agreed",
        "outside-networks",
        "client-not-named",
        "no-terms",
        "purpose-not-covered",
        "withheld-service",
        "terms-not-active",
        "no-review",
        "nobody-recruits",
        "department-restricted",
    }
    result = run("replay", "--all", **settings_of(node))
    assert result.exit_code == 0, result.output
    assert result.output.strip() == f"{len(rows)} decisions: {len(rows)} equal, 0 different, 0 with flawed documents"


@pytest.mark.parametrize("decision", ["permit", "deny"])
def test_one_decision_replays_equal_and_says_by_what(node: RunningNode, decision: str) -> None:
    identifier = decided(node, decision)
    rules = ", ".join(node.record(identifier)["rules"])
    result = run("replay", identifier, **settings_of(node))
    assert result.exit_code == 0
    assert f"{identifier} of 20" in result.output
    assert "equal" in result.output
    assert result.output.count(f"{decision} by {rules}\n") == 2


def test_purpose_of_no_agreement_and_no_rule_is_kept_nowhere(node: RunningNode) -> None:
    with closing(sqlite3.connect(node.folder / "node.db")) as connection:
        dumped = "\n".join(connection.iterdump())
    assert "some-private-text" not in dumped
    assert b"some-private-text".hex().upper() not in dumped.upper()
    assert b"recruitment".hex().upper() in dumped.upper()


def test_nothing_is_replayed_of_a_question_that_was_never_decided(node: RunningNode) -> None:
    node.consumer(CLIENT).ask(SERVICE, employment(subject={}))
    row = node.rows(state="invalid-request")[-1]
    for identifier in (row.id, "00000000-0000-4000-8000-000000000000"):
        result = run("replay", identifier, **settings_of(node))
        assert (result.exit_code, "the log has no decision of that id" in result.output) == (2, True)


@pytest.mark.parametrize("arguments", [(), ("--since", "1d"), ("some-id", "--all"), ("--all", "--since", "soon")])
def test_replay_needs_one_decision_or_all(node: RunningNode, arguments: tuple[str, ...]) -> None:
    assert run("replay", *arguments, **settings_of(node)).exit_code == 2


def test_decisions_from_before_the_span_are_left_alone(node: RunningNode, tmp_path: Path) -> None:
    url = copied_database(node, tmp_path)
    altered(url, "UPDATE decision SET at = at - 7200000")
    output = run("replay", "--all", "--since", "1h", **settings_of(node, DATABASE_URL=url)).output
    assert output.startswith("0 decisions: ")
    output = run("replay", "--all", "--since", "3h", **settings_of(node, DATABASE_URL=url)).output
    assert not output.startswith("0 decisions: ")


@pytest.fixture
def told(node: RunningNode, tmp_path: Path) -> Any:
    """Alters a copy of the database, then replays one decision on it: exit code and what is said."""
    url = copied_database(node, tmp_path)

    def replayed(identifier: str, statement: str, *values: object) -> tuple[int, str]:
        altered(url, statement, *values)
        result = run("replay", identifier, **settings_of(node, DATABASE_URL=url))
        return result.exit_code, result.output

    return replayed


def test_altered_facts_are_told(node: RunningNode, told: Any) -> None:
    identifier = decided(node, "deny")
    (row,) = node.rows(id=identifier)
    facts = json.loads(row.facts)
    forged = orjson.dumps(facts | {"case_agreed": not facts["case_agreed"]})
    code, output = told(identifier, "UPDATE decision SET facts = ? WHERE id = ?", forged, identifier)
    assert code == 2
    assert "flaw: the facts of this decision were altered: they are not those of the record" in output


def test_missing_facts_are_told(node: RunningNode, told: Any) -> None:
    identifier = decided(node, "permit")
    code, output = told(identifier, "UPDATE decision SET facts = NULL WHERE id = ?", identifier)
    assert (code, "flaw: the facts of this decision are missing" in output) == (2, True)


DOCUMENTS = {"rule set": "policy", "agreement": "agreement", "match contract": "contract"}


@pytest.mark.parametrize(("what", "member"), DOCUMENTS.items(), ids=DOCUMENTS)
def test_altered_document_is_told(node: RunningNode, told: Any, what: str, member: str) -> None:
    identifier = decided(node, "permit")
    digest = "sha256-" + node.record(identifier)[member].removeprefix("sha256-")
    statement = "UPDATE archive SET content = CAST(replace(content, 'a', 'b') AS BLOB) WHERE digest = ?"
    code, output = told(identifier, statement, digest)
    assert (code, f"flaw: the {what} {digest} was altered in the archive" in output) == (2, True)


@pytest.mark.parametrize(("what", "member"), DOCUMENTS.items(), ids=DOCUMENTS)
def test_missing_document_is_told(node: RunningNode, told: Any, what: str, member: str) -> None:
    identifier = decided(node, "permit")
    digest = "sha256-" + node.record(identifier)[member].removeprefix("sha256-")
    code, output = told(identifier, "DELETE FROM archive WHERE digest = ?", digest)
    assert (code, f"flaw: the {what} {digest} is missing from the archive" in output) == (2, True)


def test_altered_record_is_told(node: RunningNode, told: Any) -> None:
    """A denial that somebody would rather have been a permit: the record's own bytes do not bear it out."""
    identifier = decided(node, "deny")
    (row,) = node.rows(id=identifier)
    body = orjson.dumps(node.record(identifier) | {"decision": "permit", "rules": ["conditional-agreement"]})
    code, output = told(identifier, "UPDATE log_entry SET body = ? WHERE idx = ?", body, row.idx)
    assert code == 1
    assert "DIFFERENT" in output
    assert "flaw: the record was altered: it does not have its leaf hash" in output


@pytest.mark.parametrize(("column", "said"), [("case_number", "case number"), ("operator", "operator")])
def test_altered_index_row_is_told(node: RunningNode, told: Any, column: str, said: str) -> None:
    identifier = decided(node, "permit")
    code, output = told(identifier, f"UPDATE decision SET {column} = '?' WHERE id = ?", identifier)
    assert (code, f"flaw: the {said} in the index is not the one that was decided about" in output) == (2, True)


def test_decision_whose_case_was_erased_still_replays(node: RunningNode, told: Any) -> None:
    identifier = decided(node, "permit")
    statement = "UPDATE decision SET case_number = NULL, operator = NULL WHERE id = ?"
    assert told(identifier, statement, identifier)[0] == 0


def test_replay_of_all_shows_its_progress_on_a_terminal(node: RunningNode) -> None:
    result = run("replay", "--all", **settings_of(node), FORCE_COLOR="1")
    assert (result.exit_code, "replaying" in result.output) == (0, True)


def test_all_of_them_names_each_that_is_flawed(node: RunningNode, tmp_path: Path) -> None:
    url = copied_database(node, tmp_path)
    identifier = decided(node, "permit")
    altered(url, "UPDATE decision SET facts = CAST(facts || ' ' AS BLOB) WHERE id = ?", identifier)
    result = run("replay", "--all", **settings_of(node, DATABASE_URL=url))
    assert result.exit_code == 2
    assert f"{identifier} of 20" in result.output
    assert result.output.count("NOT REPLAYED") == 1
    assert result.output.strip().endswith("0 different, 1 with flawed documents")
