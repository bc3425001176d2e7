"""A node starts on the signed directory that the log says is in force, or on a later one, or not at all."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, Table
from sqlalchemy.exc import OperationalError

from adapters.base import BindingInvalid
from app import services
from app.factory import app_for
from app.log import sequencer, tables
from app.log.check import check
from app.log.multi_insert import insert_rows
from app.log.storage import StoreUnavailable, archive, archived
from app.recording import Recorder
from app.refusals import Refusal
from app.registry import node_directory
from app.registry.current import LOOK_EVERY_S, NotInForce
from app.registry.files import NodeFileInvalid
from app.registry.revision import RevisionInvalid
from app.revisions import RollBack
from app.server import prepare_state
from app.settings import SettingInvalid, Settings
from app.steps import Step
from policies.packaged import packaged_rules
from tests.nodes import directories
from tests.nodes.consumer import Consumer
from tests.nodes.directories import AGREEMENT, BEGIN, REVISION, Tamper, publish
from tests.nodes.problems import problem
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import Edits, OwnNode, RunningNode, environment
from tests.nodes.steps import AUTHORITY, Parties


@pytest.fixture
def node(own_node: OwnNode) -> RunningNode:
    return own_node(BEGIN)


def directory(node: RunningNode) -> Path:
    return node.folder / "directory"


def settings_of(node: RunningNode, **given: str) -> tuple[Settings, dict[str, str]]:
    given = {"REDIS_URL": str(node.node.settings.redis_url), "NODE_DIR": str(directory(node)), **given}
    env = environment(node.ground, node.folder, **given)
    return Settings.from_env(env), env


def start_again(node: RunningNode) -> None:
    """What `serve` does before it has workers."""
    prepare_state(*settings_of(node))


def start_after(node: RunningNode, tamper: Tamper, words: str, error: type[Exception] = RevisionInvalid) -> None:
    """Start after a tamper: refused with these words, recorded, and what was in force still is."""
    tamper(directory(node), node.ground.signing_keys())
    with pytest.raises(error, match=words):
        start_again(node)
    (row,) = node.rows(kind="revision", state="refused")
    assert node.record(row.id)["about"] == "node-directory"
    assert [row.state for row in node.rows(kind="revision")] == ["in-force", "refused"]
    assert node.node.current.refresh().revision == REVISION
    publish(node.ground, node.folder, REVISION)
    start_again(node)


def test_altered_rule_refuses_to_start(node: RunningNode) -> None:
    start_after(node, directories.alter_rule, r"altered file rules/own\.cedar")


def test_altered_agreement_refuses_to_start(node: RunningNode) -> None:
    start_after(node, directories.alter_agreement, rf"altered file {AGREEMENT}\.yaml")


def test_stripped_signature_refuses_to_start(node: RunningNode) -> None:
    start_after(node, directories.strip_signature, r"revision\.jws is missing: the directory is not signed")


def test_unknown_signer_refuses_to_start(node: RunningNode) -> None:
    start_after(
        node, directories.sign_as_stranger, r"not trusted here\. Trusted are the keys of policy-signers\.jwks"
    )


def test_lower_revision_refuses_to_start(node: RunningNode) -> None:
    start_after(node, directories.lower_revision, "policy_revision 4 is older than 5, which is in force", RollBack)


def test_same_revision_with_other_content_refuses_to_start(node: RunningNode) -> None:
    tamper = directories.same_revision_other_content
    start_after(node, tamper, "policy_revision 5 is in force with other content", RollBack)


def test_extra_file_refuses_to_start(node: RunningNode) -> None:
    start_after(node, directories.add_file, r"extra file rules/more\.cedar")


def test_new_agreement_that_only_the_policy_signer_signed_refuses_to_start(node: RunningNode) -> None:
    start_after(node, directories.alter_agreement_and_sign_as_policy, "no valid signature of hz-tax, hz-hrss")


def sql(node: RunningNode, statement: str, *values: object) -> None:
    """What somebody with the database in his hands does; it must hit something."""
    with closing(sqlite3.connect(node.folder / "node.db", isolation_level=None)) as connection:
        assert connection.execute(statement, values).rowcount > 0


def refused_by_database(node: RunningNode, words: str) -> None:
    with pytest.raises(RevisionInvalid, match=words):
        start_again(node)
    assert len(node.rows(kind="revision", state="refused")) == 1


def test_altered_archive_of_the_directory_refuses_to_start(node: RunningNode) -> None:
    digest = node.node.registry.digest
    sql(node, "UPDATE archive SET content = CAST(content || ' ' AS BLOB) WHERE digest = ?", digest)
    refused_by_database(node, f"the archive does not hold the node directory in force, {digest}")
    with pytest.raises(NotInForce, match="the archive does not hold the node directory"):
        services.build(*settings_of(node))


def test_altered_archive_of_the_rules_refuses_to_start(node: RunningNode) -> None:
    digest = f"sha256-{node.node.registry.rules.digest}"
    sql(node, "UPDATE archive SET content = CAST(content || ' ' AS BLOB) WHERE digest = ?", digest)
    refused_by_database(node, f"the archive does not hold the rule set in force, {digest}")


def test_registry_row_set_back_refuses_to_start(node: RunningNode) -> None:
    """An older directory is archived, and signed too: the log knows better."""
    before = node.node.registry.digest
    publish(node.ground, node.folder, REVISION + 1)
    start_again(node)
    sql(node, "UPDATE registry SET revision = ?, directory = ?", REVISION, before)
    refused_by_database(node, "the database and the log name different revisions")
    with pytest.raises(NotInForce, match="the database and the log name different revisions"):
        services.build(*settings_of(node))


REFUSED_BODY = "CAST(replace(body, 'in-force', 'refused') AS BLOB)"
HIDDEN = {
    "another state": "UPDATE decision SET state = 'refused' WHERE idx = ?",
    "another kind": "UPDATE decision SET kind = 'question' WHERE idx = ?",
    "no index row": "DELETE FROM decision WHERE idx = ?",
}


@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN.keys())
def test_registry_set_back_with_the_search_index_refuses_to_start(node: RunningNode, hide: str) -> None:
    """Columns of the index are nobody's evidence: the entries say what was put in force last."""
    before = node.node.registry.digest
    (old,) = (row.idx for row in node.rows(kind="revision"))
    publish(node.ground, node.folder, REVISION + 1)
    start_again(node)
    newest = max(row.idx for row in node.rows(kind="revision"))
    sql(node, hide, newest)
    sql(node, "DELETE FROM step WHERE idx = ?", newest)
    sql(node, "UPDATE registry SET revision = ?, directory = ?, idx = ?", REVISION, before, old)
    publish(node.ground, node.folder, REVISION)
    with pytest.raises(RevisionInvalid, match="the database and the log name different revisions"):
        start_again(node)
    with pytest.raises(NotInForce, match="the database and the log name different revisions"):
        services.build(*settings_of(node))
    damage = "\n".join(check(node.node.store, node.node.vkey).damage)
    assert "in force is revision 5" in damage or f"entry {newest} is not in the index" in damage


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (
            f"UPDATE log_entry SET body = {REFUSED_BODY} WHERE idx = ?",
            "was altered",
        ),
        ("DELETE FROM log_entry WHERE idx = ?", "the log lacks entry"),
    ],
    ids=["altered", "removed"],
)
def test_registry_set_back_with_the_logs_own_entry_refuses_to_start(node: RunningNode, cut: str, words: str) -> None:
    before = node.node.registry.digest
    (old,) = (row.idx for row in node.rows(kind="revision"))
    publish(node.ground, node.folder, REVISION + 1)
    start_again(node)
    sql(node, cut, max(row.idx for row in node.rows(kind="revision")))
    sql(node, "UPDATE registry SET revision = ?, directory = ?, idx = ?", REVISION, before, old)
    refused_by_database(node, words)
    with pytest.raises(NotInForce, match=words):
        services.build(*settings_of(node))
    assert not check(node.node.store, node.node.vkey).sound


def test_registry_row_set_back_is_not_followed_by_a_running_node(node: RunningNode) -> None:
    before = node.node.registry.digest
    publish(node.ground, node.folder, REVISION + 1)
    start_again(node)
    assert node.node.current.refresh().revision == REVISION + 1
    sql(node, "UPDATE registry SET revision = ?, directory = ?", REVISION, before)
    sql(node, "UPDATE log_head SET epoch = epoch + 1")
    with pytest.raises(StoreUnavailable):
        node.node.current.refresh()
    assert node.node.current.registry.revision == REVISION + 1
    # Nor does it go on answering by what it holds.
    problem(node.consumer(CLIENT).form(grant_type="client_credentials", client_id=CLIENT), "log-unavailable")
    time.sleep(LOOK_EVERY_S)
    problem(node.consumer(CLIENT).ask(SERVICE, employment(), Authorization="Bearer x"), "log-unavailable")


def test_program_whose_own_rules_are_not_those_in_force_refuses_to_start(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance of another version beside this one would decide by rules that nobody signed."""
    rules = {**packaged_rules(), "more.cedar": directories.rule("newer")}
    monkeypatch.setattr(node_directory, "packaged_rules", lambda: rules)
    with pytest.raises(NotInForce, match="this program's own rules are not those in force"):
        services.build(*settings_of(node))
    with pytest.raises(RevisionInvalid, match="the rule set differs from the signed one"):
        start_again(node)


def test_registry_row_that_was_removed_refuses_to_start(node: RunningNode) -> None:
    sql(node, "DELETE FROM registry")
    refused_by_database(node, "the database and the log name different revisions")


def asked_anew(node: RunningNode) -> tuple[int, list[str]]:
    """Status and denying rules of a question to a process that starts now."""
    made = services.build(*settings_of(node))
    try:
        caller = Consumer.of(app_for(made), node.ground.folder / "pki", CLIENT)
        response = caller.ask(SERVICE, employment())
        if response.status_code == 200:
            return 200, []
        return response.status_code, [item["rule"] for item in problem(response, "not-permitted")["reasons"]]
    finally:
        made.close()


def test_altered_agreement_in_the_database_permits_nothing(node: RunningNode) -> None:
    assert asked_anew(node) == (200, [])
    (row,) = node.rows(kind="agreement", agreement=AGREEMENT.removeprefix("agreements/"))
    digest = node.record(row.id)["agreement"]
    widened = "CAST(replace(content, '240', '940') AS BLOB)"
    sql(node, f"UPDATE archive SET content = {widened} WHERE digest = ?", digest)
    assert asked_anew(node) == (403, ["no-terms"])


def test_agreement_exchanged_for_another_in_the_database_permits_nothing(node: RunningNode) -> None:
    """Another document, with its own digest, under the signatures of the first."""
    (row,) = node.rows(kind="agreement", agreement=AGREEMENT.removeprefix("agreements/"))
    digest = node.record(row.id)["agreement"]
    with node.node.store.writing() as connection:
        content = archived(connection, digest)
        assert content is not None
        forged = archive(connection, "agreement", content.replace(b'"bits":240', b'"bits":940'))
    sql(node, "UPDATE agreement SET digest = ? WHERE digest = ?", forged, digest)
    assert asked_anew(node) == (403, ["terms-not-signed"])


@pytest.mark.parametrize("kept", [{}, {"hz-hrss": None}], ids=["none", "of the consumer alone"])
def test_agreement_whose_signature_was_stripped_in_the_database_permits_nothing(
    node: RunningNode, kept: dict[str, None]
) -> None:
    name = AGREEMENT.removeprefix("agreements/")
    signatures = orjson.loads((directory(node) / f"{AGREEMENT}.signatures.json").read_bytes())["signatures"]
    left = {side: text for side, text in signatures.items() if side in kept}
    sql(node, "UPDATE agreement SET signatures = ? WHERE id = ?", orjson.dumps(left).decode(), name)
    assert asked_anew(node) == (403, ["terms-not-signed"])


def test_start_with_the_directory_in_force_records_nothing(node: RunningNode) -> None:
    before = len(node.rows())
    start_again(node)
    assert len(node.rows()) == before


def test_directory_that_cannot_be_read_is_refused_on_the_record(node: RunningNode) -> None:
    (directory(node) / "node.yaml").write_text("node: [", "utf-8")
    with pytest.raises(NodeFileInvalid):
        start_again(node)
    assert len(node.rows(kind="revision", state="refused")) == 1


def test_log_keeps_its_name(node: RunningNode) -> None:
    publish(
        node.ground, node.folder, REVISION + 1, {"node.yaml": lambda text: text.replace("example/hecha", "example/x")}
    )
    with pytest.raises(RevisionInvalid, match="origin cannot change"):
        start_again(node)
    assert len(node.rows(kind="revision", state="refused")) == 1


def test_source_without_an_address_is_refused_on_the_record(node: RunningNode) -> None:
    settings, env = settings_of(node)
    del env["HECHA_SOURCE_HZ_TAX"]
    with pytest.raises(SettingInvalid, match="HECHA_SOURCE_HZ_TAX is not set"):
        prepare_state(settings, env)
    assert len(node.rows(kind="revision", state="refused")) == 1


def test_source_that_cannot_be_bound_is_refused_on_the_record(node: RunningNode) -> None:
    settings, env = settings_of(node)
    with pytest.raises(BindingInvalid):
        prepare_state(settings, env | {"HECHA_SOURCE_HZ_TAX": "nothing://x"})
    assert len(node.rows(kind="revision", state="refused")) == 1


def supersede(text: str) -> str:
    """A new agreement under a name of its own, for the same purpose."""
    return text.replace("agreement: hz-hrss-", "agreement: hz-hrss-new-").replace("bits: 240", "bits: 200")


def test_new_agreement_for_a_taken_purpose_is_refused_before_anything_is_in_force(node: RunningNode) -> None:
    publish(node.ground, node.folder, REVISION + 1, {f"{AGREEMENT}.yaml": supersede})
    with pytest.raises(NodeFileInvalid, match="is active for one of its purposes"):
        start_again(node)
    assert node.node.current.refresh().revision == REVISION


def test_new_agreement_that_supersedes_takes_the_place_of_the_old(node: RunningNode) -> None:
    name = AGREEMENT.removeprefix("agreements/")
    edits = {f"{AGREEMENT}.yaml": lambda text: supersede(text) + f"supersedes: {name}\n"}
    publish(node.ground, node.folder, REVISION + 1, edits)
    start_again(node)
    agreements = node.node.current.refresh().agreements
    old, new = agreements.find(name), agreements.find(name.replace("hz-hrss-", "hz-hrss-new-"))
    assert old is not None
    assert new is not None
    assert (old.terms.state, new.terms.state, new.lineage) == ("superseded", "active", name)
    assert asked_anew(node) == (200, [])


FOREIGN = {"consumer": "hz-civil", "provider": "hz-police", "service": "household-registration", "kind": "agreement"}
OURS = {"consumer": "hz-hrss", "provider": "hz-tax", "service": "employment-status", "kind": "agreement"}


def drafted(identifier: str, supersedes: str | None = None, **changes: object) -> Edits:
    """An agreement file of that id, between others than the one in force."""
    document = {
        "agreement": identifier,
        **FOREIGN,
        "purposes": [f"purpose-of-{identifier}"],
        "legal_basis": "社会救助暂行办法 第五十八条",
        "attributes": ["district"],
        "budget": {"bits": 100},
        "security_agreement": True,
        "valid": {"from": "2026-01-01T00:00:00+08:00", "until": "2031-01-01T00:00:00+08:00"},
        **({"supersedes": supersedes} if supersedes else {}),
        **changes,
    }
    text = orjson.dumps({name: value for name, value in document.items() if value is not None}).decode()
    return {f"agreements/{identifier}.yaml": lambda _: text}


FOREIGNERS = {
    "other departments": {},
    "another consumer": OURS | {"consumer": "hz-civil", "attributes": ["employed_on"]},
    "another service": OURS | {"service": "wage-base", "attributes": ["wage_base"]},
}


@pytest.mark.parametrize("changes", FOREIGNERS.values(), ids=FOREIGNERS.keys())
def test_agreement_between_others_supersedes_nothing_of_ours(node: RunningNode, changes: dict[str, object]) -> None:
    """Whoever may sign policy, with two departments that agree, would end what two others agreed."""
    name, words = AGREEMENT.removeprefix("agreements/"), "evil.yaml: .* is no agreement between the same departments"
    edits = drafted("evil", name, **changes)
    with pytest.raises(NodeFileInvalid, match=words):
        publish(node.ground, node.folder, REVISION + 1, edits)
    # The directory need not hold the one that is in force: the database does.
    (node.folder / "template" / f"{AGREEMENT}.yaml").unlink()
    publish(node.ground, node.folder, REVISION + 1, edits)
    with pytest.raises(NodeFileInvalid, match=words):
        start_again(node)
    assert node.rows(state="superseded") == []
    assert asked_anew(node) == (200, [])


def test_record_of_the_superseded_one_names_its_own_parties_and_digest(node: RunningNode) -> None:
    name = AGREEMENT.removeprefix("agreements/")
    (row,) = node.rows(kind="agreement", agreement=name)
    before = node.record(row.id)
    edits = {f"{AGREEMENT}.yaml": lambda text: supersede(text) + f"supersedes: {name}\n"}
    publish(node.ground, node.folder, REVISION + 1, edits)
    start_again(node)
    (row,) = node.rows(state="superseded")
    record = node.record(row.id)
    names = ("about", "consumer", "provider", "service", "agreement")
    assert {item: record[item] for item in names} == {item: before[item] for item in names}
    (taking,) = node.rows(kind="agreement", agreement=name.replace("hz-hrss-", "hz-hrss-new-"))
    (revision,) = (item for item in node.rows(kind="revision") if item.state == "in-force" and item.idx > 5)
    assert (taking.idx, row.idx) == (revision.idx + 1, revision.idx + 2)


def generations(node: RunningNode) -> Edits:
    """Two new agreements, the one in place of the other."""
    return {**drafted("zz-first"), **drafted("aa-second", "zz-first", purposes=["purpose-of-zz-first"])}


def test_two_generations_at_once_stand_in_their_turn(node: RunningNode) -> None:
    publish(node.ground, node.folder, REVISION + 1, generations(node))
    start_again(node)
    states = {row.agreement: row.state for row in node.rows(kind="agreement")}
    assert (states["zz-first"], states["aa-second"]) == ("superseded", "active")
    assert check(node.node.store, node.node.vkey).sound


def test_revision_that_cannot_be_recorded_leaves_no_agreement_in_force(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction: else agreements of a revision that nobody put in force would permit."""
    before = len(node.rows())
    publish(node.ground, node.folder, REVISION + 1, generations(node))
    inserted = insert_rows

    def full(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if table is tables.log_node:
            raise OperationalError("INSERT", {}, Exception("disk full"))
        inserted(connection, table, rows)

    monkeypatch.setattr(sequencer, "insert_rows", full)
    with pytest.raises(Refusal) as refused:
        start_again(node)
    assert refused.value.slug == "record-not-written"
    monkeypatch.undo()
    registry = node.node.current.refresh()
    assert (registry.revision, registry.agreements.find("zz-first")) == (REVISION, None)
    assert len(node.rows()) == before
    start_again(node)
    assert node.node.current.refresh().revision == REVISION + 1


def test_suspension_between_plan_and_record_is_not_overrun(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan was made while nothing was suspended; what is recorded is planned anew."""
    name = AGREEMENT.removeprefix("agreements/")
    edits = {f"{AGREEMENT}.yaml": lambda text: supersede(text) + f"supersedes: {name}\n"}
    publish(node.ground, node.folder, REVISION + 1, edits)
    record = Recorder.record_step
    late: list[Step] = []

    def after_the_authority(self: Recorder, step: Step) -> str:
        if step.state == "in-force" and not late:
            late.append(step)
            parties = Parties(node)
            parties.taken(parties.control(name, "suspension", AUTHORITY))
        return record(self, step)

    monkeypatch.setattr(Recorder, "record_step", after_the_authority)
    with pytest.raises(NodeFileInvalid, match=f"the sharing authority has suspended {name}"):
        start_again(node)
    assert node.rows(state="superseded") == []


def test_two_instances_that_start_at_once_put_it_in_force_once(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(node.ground, node.folder, REVISION + 1, generations(node))
    record = Recorder.record_step
    quicker: list[Step] = []

    def behind(self: Recorder, step: Step) -> str:
        if step.state == "in-force" and not quicker:
            quicker.append(step)
            start_again(node)
        return record(self, step)

    monkeypatch.setattr(Recorder, "record_step", behind)
    start_again(node)
    assert len(node.rows(kind="revision", state="in-force")) == 2
    assert len(node.rows(agreement="aa-second")) == 1


def test_what_moves_without_end_is_refused(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(node.ground, node.folder, REVISION + 1)
    record = Recorder.record_step

    def always_late(self: Recorder, step: Step) -> str:
        sql(node, "UPDATE log_head SET epoch = epoch + 1")
        return record(self, step)

    monkeypatch.setattr(Recorder, "record_step", always_late)
    with pytest.raises(Refusal) as refused:
        start_again(node)
    assert refused.value.slug == "conflict"
    assert node.node.current.refresh().revision == REVISION


def test_accepted_agreement_never_changes(node: RunningNode) -> None:
    publish(node.ground, node.folder, REVISION + 1, {f"{AGREEMENT}.yaml": lambda text: text.replace("240", "200")})
    with pytest.raises(NodeFileInvalid, match="was accepted with other content"):
        start_again(node)
