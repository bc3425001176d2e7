"""A reload under load, over four workers and real TLS: from its record on, nobody decides by the older rules."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from client.errors import NodeUnreachable
from client.http import NodeClient
from examples.demo import signing
from examples.demo.departments import NODE_DIR
from tests.nodes.directories import rule, sign_unchecked
from tests.nodes.questions import CLIENT, SERVICE, claimants
from tests.servers.node import RunningNode, demo_folder, running_node

WORKERS = 4
ASKERS = 6
WITHIN_S = 30


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    with demo_folder() as var, running_node(var, HECHA_WORKERS=str(WORKERS)) as running:
        yield running


def publish(node: RunningNode, revision: int, rules: str | None) -> None:
    """Sign the example as that revision, with this rule file or without one."""
    template = node.var / "template"
    shutil.rmtree(template, ignore_errors=True)
    shutil.copytree(NODE_DIR, template)
    if rules is not None:
        (template / "rules").mkdir()
        (template / "rules" / "own.cedar").write_text(rules, "utf-8")
    keys = signing.read_keys(node.var / "pki" / "signing")
    signing.signed_directory(template, node.var / "node", keys, revision=revision)


def reload(admin: NodeClient) -> tuple[int, dict[str, Any]]:
    raw = admin._send("POST", "/v1/reload", {"Authorization": f"Bearer {admin.token()}"})
    return raw.status, orjson.loads(raw.data)


def log(node: RunningNode) -> list[dict[str, Any]]:
    """Every record, in the order of the log."""
    with closing(sqlite3.connect(node.var / "state" / "node.db")) as connection:
        return [orjson.loads(body) for (body,) in connection.execute("SELECT body FROM log_entry ORDER BY idx")]


def revisions(node: RunningNode, state: str = "in-force") -> list[int]:
    return [
        record.get("revision", 0) for record in log(node) if (record["kind"], record["state"]) == ("revision", state)
    ]


@contextmanager
def load(node: RunningNode) -> Iterator[Counter[int]]:
    """Clients that ask without pause while the block runs; what they were answered, by status (0: not at all)."""
    statuses: Counter[int] = Counter()
    stop, lock = threading.Event(), threading.Lock()
    questions = claimants(node.var)

    def ask() -> None:
        client = node.client(CLIENT)
        while not stop.is_set():
            with lock:
                question = next(questions)
            try:
                status = client.ask(SERVICE, question).status
            except NodeUnreachable:
                # A worker that is replaced closes its kept connections.
                status = 0
            with lock:
                statuses[status] += 1
        client.close()

    threads = [threading.Thread(target=ask) for _ in range(ASKERS)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_for(statuses: Counter[int], *wanted: int) -> None:
    """Wait until each of these statuses was seen forty times more, over all askers."""
    before, deadline = Counter(statuses), time.monotonic() + WITHIN_S
    while not all(statuses[status] >= before[status] + 40 for status in wanted):
        assert time.monotonic() < deadline, statuses
        time.sleep(0.02)


def assert_nobody_was_behind(node: RunningNode) -> Counter[str]:
    """Hold every decision against the revision that the log names last before it; how many each rule set decided."""
    decided: Counter[str] = Counter()
    policy = ""
    for record in log(node):
        if record["kind"] == "revision" and record["state"] == "in-force":
            policy = record["policy"]
        elif "decision" in record:
            assert record["policy"] == policy, record["id"]
            decided[policy] += 1
    return decided


def test_no_decision_by_older_rules_follows_the_record_of_a_reload(node: RunningNode) -> None:
    admin = node.client("hz-sysadmin")
    first = revisions(node)[-1]
    with load(node) as statuses:
        wait_for(statuses, 200)
        for number, rules in zip(
            itertools.count(first + 1), [rule("no-benefit"), None, rule("no-benefit-again"), None], strict=False
        ):
            publish(node, number, rules)
            status, body = reload(admin)
            assert (status, body["revision"], body["changed"]) == (200, number, True)
            wait_for(statuses, 403 if rules else 200)
    assert revisions(node) == list(range(first, first + 5))
    assert set(statuses) == {200, 403}
    decided = assert_nobody_was_behind(node)
    # The rules without a file of their own are the same set each time.
    assert len(decided) == 3
    assert sum(decided.values()) == sum(statuses.values())


def test_sighup_reloads_too(node: RunningNode) -> None:
    assert node.process is not None
    number = revisions(node)[-1] + 1
    with load(node) as statuses:
        wait_for(statuses, 200)
        publish(node, number, rule("no-benefit"))
        os.kill(node.process.pid, signal.SIGHUP)
        wait_for(statuses, 403)
    assert revisions(node)[-1] == number
    assert set(statuses) <= {0, 200, 403}
    assert_nobody_was_behind(node)
    publish(node, number + 1, None)
    os.kill(node.process.pid, signal.SIGHUP)
    with load(node) as statuses:
        wait_for(statuses, 200)


def test_rule_file_with_a_syntax_error_is_told_and_changes_nothing(node: RunningNode) -> None:
    assert node.process is not None
    admin, number = node.client("hz-sysadmin"), revisions(node)[-1]
    good = node.var / "good"
    shutil.copytree(node.var / "node", good)
    path: Path = node.var / "node" / "rules" / "own.cedar"
    path.parent.mkdir(exist_ok=True)
    path.write_text(rule("one").replace("when {", "when {{"), "utf-8")
    sign_unchecked(node.var / "node", signing.read_keys(node.var / "pki" / "signing"), number + 1)
    status, body = reload(admin)
    assert (status, body["type"]) == (409, "revision-refused")
    assert "rules: own.cedar, line " in body["detail"]
    os.kill(node.process.pid, signal.SIGHUP)
    deadline = time.monotonic() + WITHIN_S
    while "the running revision stays in force: rules: own.cedar, line " not in node.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with load(node) as statuses:
        wait_for(statuses, 200)
    assert revisions(node)[-1] == number
    assert len(revisions(node, "refused")) == 2
    shutil.rmtree(node.var / "node")
    good.rename(node.var / "node")
