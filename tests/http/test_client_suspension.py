"""Clients and certificates that are locked out: at once, for every process, and through every new revision."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.factory import app_for
from app.identity.certificate import thumbprint_of
from app.log.check import check
from app.services import build
from app.settings import Settings
from tests.nodes.consumer import Consumer
from tests.nodes.directories import BEGIN, REVISION, publish
from tests.nodes.office import (
    CHANGES,
    CLIENTS,
    FIRST,
    REASON,
    SECOND,
    Office,
    document,
    host,
    open_office,
    outcome,
    thumbprint,
)
from tests.nodes.problems import pointers, problem
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import Edits, Ground, OwnNode, RunningNode, edited, environment
from tests.nodes.steps import Parties, epoch, purpose, question

NAMES = (f"locked-{number}" for number in itertools.count(1))
DNS = "tls_client_auth_san_dns"
NOBODY = "certificate-not-trusted"
OUTSIDER = "hz-outsider"


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with open_office(ground, tmp_path_factory.mktemp("office")) as made:
        yield made


@pytest.fixture(scope="module")
def word(office: Office) -> str:
    made = purpose()
    office.parties.active(purposes=[made])
    return made


def asked(caller: Consumer, word: str) -> str:
    """The answer under the token in hand."""
    reply = caller.ask(SERVICE, question(word)).get_json()
    found: str = reply.get("result") or reply["type"]
    return found


def test_suspended_client_is_nobody_from_the_record_on(office: Office, word: str) -> None:
    name = office.register(next(NAMES))
    caller, before = office.caller(name, office.holder(name)), epoch(office.node)
    assert asked(caller, word) == "match"
    reply = office.suspend(name)
    assert (reply["id"], reply["state"]) == (name, "suspended")
    assert epoch(office.node) == before + 1
    assert asked(caller, word) == NOBODY
    problem(caller.get("/v1/services"), NOBODY)
    problem(caller.form(grant_type="client_credentials", client_id=name), NOBODY)
    assert office.states(name) == ["proposed", "registered", "suspended"]
    assert office.client(name)["steps"][-1]["document"]["reason"] == REASON["reason"]


def test_resuming_takes_a_second_person(office: Office, word: str) -> None:
    name = office.register(next(NAMES))
    caller = office.caller(name, office.holder(name))
    assert asked(caller, word) == "match"
    office.suspend(name)
    waiting = office.propose_resumption(name)
    problem(office.decide(waiting, by=FIRST), "not-permitted")
    assert asked(caller, word) == NOBODY
    office.approve(waiting)
    assert asked(caller, word) == "match"
    assert office.states(name)[-3:] == ["suspended", "proposed", "resumed"]
    assert office.client(name)["state"] == "active"


def test_client_of_the_directory_is_suspended_and_resumed_alike(office: Office) -> None:
    caller = office.parties.client(OUTSIDER)
    assert caller.get("/v1/services").status_code == 200
    office.suspend(OUTSIDER, by=SECOND)
    problem(caller.get("/v1/services"), NOBODY)
    found = office.client(OUTSIDER)
    assert (found["source"], found["state"], found["digest"]) == ("directory", "suspended", None)
    office.resume(OUTSIDER)
    assert caller.get("/v1/services").status_code == 200
    assert office.states(OUTSIDER) == ["suspended", "proposed", "resumed"]
    assert OUTSIDER not in {item["client"] for item in office.read(f"{CLIENTS}?state=suspended")["items"]}


def test_suspension_and_resumption_fit_the_present_state(office: Office) -> None:
    name = office.register(next(NAMES))
    problem(office.send(f"{CLIENTS}/{name}/resumption", REASON), "conflict")
    problem(office.send(f"{CLIENTS}/{OUTSIDER}/resumption", REASON), "conflict")
    office.suspend(name)
    problem(office.send(f"{CLIENTS}/{name}/suspension", REASON, SECOND), "conflict")
    first, second = office.propose_resumption(name), office.propose_resumption(name, by=SECOND)
    office.approve(first)
    problem(office.decide(second, by=FIRST), "conflict")


def test_resumption_proposed_for_an_earlier_suspension_lifts_no_later_one(office: Office, word: str) -> None:
    name = office.register(next(NAMES))
    office.suspend(name)
    stale = office.propose_resumption(name)
    office.resume(name)
    office.suspend(name)
    assert "does not stand as it did then" in problem(office.decide(stale), "conflict")["detail"]
    assert outcome(office.caller(name, office.holder(name)), word) == NOBODY


@pytest.mark.parametrize("reason", ["Ask 13800138000.", " "])
def test_reason_of_a_suspension_names_nobody(office: Office, reason: str) -> None:
    name = office.register(next(NAMES))
    for path in ("suspension", "resumption"):
        if path == "resumption":
            office.suspend(name)
        response = office.send(f"{CLIENTS}/{name}/{path}", {"reason": reason})
        assert pointers(response).keys() == {"/reason"}


def test_another_process_lets_nobody_in_without_being_told(office: Office, word: str, ground: Ground) -> None:
    name = office.register(next(NAMES))
    settings = office.node.node.settings
    env = environment(
        ground, office.node.folder, REDIS_URL=str(settings.redis_url), TLS_CLIENT_CA=str(settings.tls_client_ca)
    )
    other = build(Settings.from_env(env), env)
    try:
        caller = Consumer(app_for(other), name, office.holder(name).der)
        assert asked(caller, word) == "match"
        office.suspend(name)
        problem(caller.get("/v1/services"), NOBODY)
        assert asked(caller, word) == NOBODY
    finally:
        other.close()


def test_last_security_administrator_is_not_locked_out(own_node: OwnNode) -> None:
    node = own_node()
    parties = Parties(node)

    def suspend(name: str, by: str) -> int:
        return parties.send(by, f"{CLIENTS}/{name}/suspension", REASON).status_code

    assert suspend(SECOND, FIRST) == 200
    response = parties.send(FIRST, f"{CLIENTS}/{FIRST}/suspension", REASON)
    assert "last security administrator" in problem(response, "conflict")["detail"]
    own = parties.client(FIRST)
    assert own.certificate is not None
    body = {"certificate": thumbprint_of(own.certificate), **REASON}
    problem(parties.send(FIRST, f"{CLIENTS}/{OUTSIDER}/certificates/suspension", body), "conflict")
    # Alone it still locks out, and lets nobody in.
    assert suspend(OUTSIDER, FIRST) == 200
    waiting = parties.send(FIRST, f"{CLIENTS}/{SECOND}/resumption", REASON).get_json()["id"]
    decision = {"decision": "approve", "reason": "Alone."}
    problem(parties.send(FIRST, f"{CHANGES}/{waiting}/decision", decision), "not-permitted")


def test_one_of_two_administrators_locks_the_other_out_at_once(own_node: OwnNode) -> None:
    parties = Parties(own_node())
    stolen = parties.client(FIRST)
    stolen.token()
    assert parties.send(SECOND, f"{CLIENTS}/{FIRST}/suspension", REASON).status_code == 200
    problem(stolen.get(CLIENTS), NOBODY)


def test_suspended_certificate_is_out_and_the_clients_other_goes_on(office: Office, word: str) -> None:
    name = office.register(next(NAMES))
    lost, kept = office.holder(name), office.holder(name)
    callers = [office.caller(name, holder) for holder in (lost, kept)]
    assert [asked(caller, word) for caller in callers] == ["match", "match"]
    before = epoch(office.node)
    reply = office.taken(office.lock(name, lost))
    assert (reply["state"], reply["certificate"]) == ("certificate-suspended", thumbprint(lost))
    assert epoch(office.node) == before + 1
    assert [asked(caller, word) for caller in callers] == [NOBODY, "match"]
    problem(callers[0].form(grant_type="client_credentials", client_id=name), NOBODY)
    found = office.client(name)
    assert [item["certificate"] for item in found["suspended_certificates"]] == [thumbprint(lost)]
    assert found["state"] == "active"
    problem(office.lock(name, lost), "conflict")
    # It is renewed with the same key, as another certificate.
    assert outcome(office.caller(name, office.holder(name, key=lost.key)), word) == "match"


def test_suspended_certificate_stays_out_whatever_is_resumed(office: Office, word: str) -> None:
    name = office.register(next(NAMES))
    lost = office.holder(name)
    office.taken(office.lock(name, lost))
    office.suspend(name)
    office.resume(name)
    assert outcome(office.caller(name, lost), word) == NOBODY
    assert outcome(office.caller(name, office.holder(name)), word) == "match"


GOOD = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"


@pytest.mark.parametrize(
    "form",
    [GOOD + "=", GOOD[:-1], GOOD + "A", GOOD[:-1] + "1", GOOD.replace("_", "/"), "", "0" * 64, GOOD + "\n", "é" * 43],
)
def test_thumbprint_is_one_as_records_write_it(office: Office, form: str) -> None:
    response = office.lock(OUTSIDER, form)
    assert pointers(response).keys() == {"/certificate"}


def test_lock_outs_outlive_a_restart(ground: Ground, tmp_path: Path) -> None:
    with open_office(ground, tmp_path) as office:
        name = office.register(next(NAMES))
        first, second = office.holder(name), office.holder(name)
        office.taken(office.lock(name, first))
        office.suspend(OUTSIDER)
        settings = office.node.node.settings
        ca, url = str(settings.tls_client_ca), str(settings.redis_url)
    env = environment(ground, tmp_path, REDIS_URL=url, TLS_CLIENT_CA=ca)
    again = build(Settings.from_env(env), env)
    try:
        app = app_for(again)
        problem(Consumer(app, name, first.der).form(grant_type="client_credentials", client_id=name), NOBODY)
        assert Consumer(app, name, second.der).token()
        outsider = Consumer.of(app, ground.folder / "pki", OUTSIDER)
        problem(outsider.form(grant_type="client_credentials", client_id=OUTSIDER), NOBODY)
    finally:
        again.close()


@pytest.fixture
def begun(ground: Ground, tmp_path: Path) -> Iterator[Office]:
    """Administrators of a node whose directory may be published anew."""
    directory = edited(ground, tmp_path, BEGIN)
    with open_office(ground, tmp_path, NODE_DIR=str(directory)) as office:
        yield office


def reload(node: RunningNode, edits: Edits | None = None, revision: int = REVISION + 1) -> dict[str, object]:
    """What the system administrator is told after publishing this."""
    publish(node.ground, node.folder, revision, edits)
    caller = node.consumer("hz-sysadmin")
    response = caller.open("POST", "/v1/reload", headers={"Authorization": f"Bearer {caller.token()}"})
    found: dict[str, object] = response.get_json()
    return found | {"status": response.status_code}


def test_suspended_client_of_the_directory_stays_suspended_in_a_new_revision(begun: Office) -> None:
    caller = begun.parties.client(CLIENT)
    assert caller.ask(SERVICE, employment()).status_code == 200
    begun.suspend(CLIENT)
    edits: Edits = {
        "departments/hz-hrss.yaml": lambda text: text.replace("roles: [consumer]", "roles: [consumer, steward]")
    }
    assert reload(begun.node, edits)["status"] == 200
    problem(caller.ask(SERVICE, employment()), NOBODY)
    found = begun.client(CLIENT)
    assert (found["state"], found["roles"]) == ("suspended", ["consumer", "steward"])
    begun.resume(CLIENT)
    assert caller.ask(SERVICE, employment()).status_code == 200


def test_client_suspended_by_the_directory_is_let_in_by_the_directory_alone(begun: Office) -> None:
    def out(text: str) -> str:
        return text.replace("roles: [consumer]", "roles: [consumer]\n    suspended: true")

    assert reload(begun.node, {"departments/hz-planning.yaml": out})["status"] == 200
    problem(begun.send(f"{CLIENTS}/{OUTSIDER}/resumption", REASON), "conflict")
    # Locked out here too, it does not come back when the directory forgets.
    begun.suspend(OUTSIDER)
    begun.resume(OUTSIDER)
    assert begun.client(OUTSIDER)["state"] == "suspended"
    begun.suspend(OUTSIDER)
    back: Edits = {"departments/hz-planning.yaml": lambda text: text.replace("\n    suspended: true", "")}
    assert reload(begun.node, back, REVISION + 2)["status"] == 200
    assert begun.client(OUTSIDER)["state"] == "suspended"


WITHOUT_OUTSIDER: Edits = {
    "departments/hz-planning.yaml": lambda text: text.partition("clients:")[0] + "clients: []\n"
}


def client_file(name: str, certificate: str) -> str:
    return (
        f"  - client: {name}\n    title: {{en: New, zh: 新}}\n    roles: [consumer]\n"
        f'    certificate: {{{DNS}: "{certificate}"}}\n'
    )


@pytest.mark.parametrize("taken", ["id", "certificate name"])
def test_directory_that_would_take_a_registered_clients_place_is_refused(begun: Office, taken: str) -> None:
    name = begun.register(next(NAMES))
    caller = begun.caller(name, begun.holder(name))
    assert caller.get("/v1/services").status_code == 200
    added = client_file(name, "new.example") if taken == "id" else client_file("hz-new", host(name))
    found = reload(begun.node, {"departments/hz-ops.yaml": lambda text: text + added})
    assert (found["type"], found["status"]) == ("revision-refused", 409)
    assert f"{name} of hz-hrss is registered over HTTP" in str(found["detail"])
    assert begun.node.node.current.refresh().revision == REVISION
    assert caller.get("/v1/services").status_code == 200


def test_directory_without_a_registered_clients_department_is_refused(begun: Office) -> None:
    name = begun.register(next(NAMES), department="hz-planning")
    edits: Edits = {"departments/hz-planning.yaml": lambda text: text.replace("hz-planning", "hz-plans", 1)}
    found = reload(begun.node, edits)
    assert found["type"] == "revision-refused"
    assert f"{name} of hz-planning is registered over HTTP" in str(found["detail"])


def test_registered_client_takes_part_in_a_new_revision(begun: Office) -> None:
    name = begun.register(next(NAMES))
    caller = begun.caller(name, begun.holder(name))
    assert reload(begun.node)["status"] == 200
    assert caller.get("/v1/services").status_code == 200
    assert begun.client(name)["source"] == "registered"


def test_id_that_was_locked_out_of_the_directory_is_not_registered_again(begun: Office) -> None:
    begun.suspend(OUTSIDER)
    assert reload(begun.node, WITHOUT_OUTSIDER)["status"] == 200
    problem(begun.parties.get(FIRST, f"{CLIENTS}/{OUTSIDER}"), "not-found")
    again = document(OUTSIDER, department="hz-planning")
    assert "another client's" in problem(begun.send(CLIENTS, again), "conflict")["detail"]


def test_id_that_left_the_directory_in_peace_is_registered_again(begun: Office) -> None:
    begun.suspend(OUTSIDER)
    begun.resume(OUTSIDER)
    assert reload(begun.node, WITHOUT_OUTSIDER)["status"] == 200
    begun.register(OUTSIDER, department="hz-planning")
    found = begun.client(OUTSIDER)
    assert (found["source"], found["state"]) == ("registered", "active")
    assert begun.states(OUTSIDER) == ["suspended", "proposed", "resumed", "proposed", "registered"]
    assert check(begun.node.node.store, begun.node.node.vkey).sound


def test_log_is_sound_after_all_of_this(office: Office) -> None:
    assert check(office.node.node.store, office.node.node.vkey).sound
