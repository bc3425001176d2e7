"""POST /v1/reload: a signed, later directory is in force for everybody; any other leaves all as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.factory import app_for
from app.services import build
from app.settings import Settings
from tests.nodes import directories
from tests.nodes.consumer import Consumer
from tests.nodes.directories import AGREEMENT, BEGIN, REVISION, Keys, Tamper, publish, rule, sign_unchecked
from tests.nodes.problems import problem, recorded
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import Edits, OwnNode, RunningNode, environment

ADMIN = "hz-sysadmin"
FORBID = {"rules/new.cedar": lambda _: rule("no-benefit")}


@pytest.fixture
def node(own_node: OwnNode) -> RunningNode:
    return own_node(BEGIN)


def reload(node: RunningNode, name: str = ADMIN) -> TestResponse:
    caller = node.consumer(name)
    return caller.open("POST", "/v1/reload", headers={"Authorization": f"Bearer {caller.token()}"})


def published(node: RunningNode, edits: Edits, revision: int = REVISION + 1) -> dict[str, Any]:
    publish(node.ground, node.folder, revision, edits)
    response = reload(node)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    return found


def test_new_rule_is_in_force_from_the_reply_on(node: RunningNode) -> None:
    caller = node.consumer(CLIENT)
    assert caller.ask(SERVICE, employment()).status_code == 200
    found = published(node, FORBID)
    assert found == {"revision": 6, "directory": node.node.current.registry.digest, "changed": True}
    response = caller.ask(SERVICE, employment())
    assert [item["rule"] for item in problem(response, "not-permitted")["reasons"]] == ["no-benefit"]


def test_reload_is_recorded_with_the_caller(node: RunningNode) -> None:
    found = published(node, FORBID)
    (row,) = [row for row in node.rows(kind="revision", state="in-force") if row.client == ADMIN]
    record = node.record(row.id)
    assert (record["department"], record["client"]) == ("hz-ops", ADMIN)
    assert (record["revision"], record["directory"]) == (6, found["directory"])
    assert record["policy"] == node.node.current.registry.rules.digest


def test_reload_of_what_is_in_force_changes_and_records_nothing(node: RunningNode) -> None:
    before = len(node.rows(kind="revision"))
    assert reload(node).get_json() == {
        "revision": REVISION,
        "directory": node.node.current.registry.digest,
        "changed": False,
    }
    assert len(node.rows(kind="revision")) == before


@pytest.mark.parametrize("name", [CLIENT, "hz-secadmin", "hz-audit", "hz-tax-steward", "hz-data-bureau"])
def test_only_the_system_administrator_reloads(node: RunningNode, name: str) -> None:
    publish(node.ground, node.folder, REVISION + 1, FORBID)
    problem(reload(node, name), "insufficient-scope")
    assert node.node.current.refresh().revision == REVISION


def test_another_process_decides_by_the_new_rules_without_being_told(node: RunningNode) -> None:
    """What it holds is older than the log's epoch, so that its decision is not recorded but made anew."""
    env = environment(
        node.ground,
        node.folder,
        NODE_DIR=str(node.folder / "directory"),
        REDIS_URL=str(node.node.settings.redis_url),
    )
    other = build(Settings.from_env(env), env)
    caller = Consumer.of(app_for(other), node.ground.folder / "pki", CLIENT)
    assert caller.ask(SERVICE, employment()).status_code == 200
    published(node, FORBID)
    receipt = recorded(node, caller.ask(SERVICE, employment()), "not-permitted")
    assert receipt.record["policy"] == node.node.current.registry.rules.digest
    other.close()


def test_openapi_document_follows(node: RunningNode) -> None:
    def second(_: str) -> str:
        source = (node.folder / "template" / "services" / "employment-status.yaml").read_text("utf-8")
        return source.replace("service: employment-status", "service: employment-review").replace(
            "Employment status", "Employment review"
        )

    before = node.nobody().open("GET", "/openapi.json")
    assert node.nobody().open("GET", "/openapi.json").data == before.data
    published(node, {"services/employment-review.yaml": second})
    after = node.nobody().open("GET", "/openapi.json").get_json()
    added = after["paths"].keys() - before.get_json()["paths"].keys()
    assert added == {"/v1/services/employment-review/verifications"}
    published(node, {"services/employment-review.yaml": lambda text: text + "# again\n"}, REVISION + 2)
    assert node.nobody().open("GET", "/openapi.json").get_json() == after


def reload_after(node: RunningNode, tamper: Tamper, words: str) -> None:
    """Reload after a tamper: refused with these words, recorded with the caller, and nothing has changed."""
    caller = node.consumer(CLIENT)
    tamper(node.folder / "directory", node.ground.signing_keys())
    document = problem(reload(node), "revision-refused")
    assert document["detail"].startswith("The running revision stays in force: ")
    assert words in document["detail"]
    (row,) = node.rows(kind="revision", state="refused")
    assert node.record(row.id)["client"] == ADMIN
    assert node.node.current.refresh().revision == REVISION
    assert caller.ask(SERVICE, employment()).status_code == 200


def test_altered_rule_is_not_reloaded(node: RunningNode) -> None:
    reload_after(node, directories.alter_rule, "altered file rules/own.cedar")


def test_altered_agreement_is_not_reloaded(node: RunningNode) -> None:
    reload_after(node, directories.alter_agreement, f"altered file {AGREEMENT}.yaml")


def test_stripped_signature_is_not_reloaded(node: RunningNode) -> None:
    reload_after(node, directories.strip_signature, "revision.jws is missing: the directory is not signed")


def test_revision_of_an_unknown_signer_is_not_reloaded(node: RunningNode) -> None:
    reload_after(node, directories.sign_as_stranger, "signed by a key that is not trusted here")


def test_lower_revision_is_not_reloaded(node: RunningNode) -> None:
    reload_after(node, directories.lower_revision, "policy_revision 4 is older than 5, which is in force")


def test_same_revision_with_other_content_is_not_reloaded(node: RunningNode) -> None:
    reload_after(node, directories.same_revision_other_content, "policy_revision 5 is in force with other content")


def test_extra_file_is_not_reloaded(node: RunningNode) -> None:
    reload_after(node, directories.add_file, "extra file rules/more.cedar")


BAD_RULES = {
    "syntax error": (rule("one").replace("when {", "when {{"), "new.cedar, line "),
    "misspelt attribute": (rule("one").replace("context.purpose", "context.porpoise"), "new.cedar, line 1: rule one"),
    "duplicate id": (rule("one") + rule("one"), "new.cedar, line 7: rule one"),
    "id of a packaged rule": (rule("no-terms"), "new.cedar, line 1: rule no-terms"),
    "permit": (rule("one").replace("forbid", "permit"), "new.cedar, line 1: rule one"),
}


@pytest.mark.parametrize(("text", "words"), BAD_RULES.values(), ids=BAD_RULES.keys())
def test_bad_rule_file_is_named_with_line_and_reason(node: RunningNode, text: str, words: str) -> None:
    """Even where the policy signer's own program let it pass."""

    def tamper(directory: Path, keys: Keys) -> None:
        (directory / "rules" / "new.cedar").write_text(text, "utf-8")
        sign_unchecked(directory, keys)

    reload_after(node, tamper, words)


def test_refused_directory_tells_a_stranger_nothing(node: RunningNode) -> None:
    directories.add_file(node.folder / "directory", {})
    problem(reload(node, CLIENT), "insufficient-scope")
    problem(node.nobody().open("POST", "/v1/reload"), "certificate-required")
    assert node.rows(kind="revision", state="refused") == []
