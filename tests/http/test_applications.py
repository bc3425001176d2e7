"""Applications over HTTP: what is refused and why, who decides, what approval drafts, and what silence does not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
import pytest
from sqlalchemy import select, update

from app.api import applications as examples
from app.api.agreements import STANDING_TERMS
from app.log import tables
from evidence.canonical import canonical
from tests.nodes import running
from tests.nodes.problems import pointers, problem
from tests.nodes.running import Ground, RunningNode
from tests.nodes.steps import APPLICANT, CONDITIONS, STEWARD, Parties, application, purpose

PATH = "/v1/applications"


@pytest.fixture(scope="module")
def own(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    made = running.start(ground, tmp_path_factory.mktemp("applications"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def parties(own: RunningNode) -> Parties:
    return Parties(own)


def key() -> dict[str, str]:
    return {"Idempotency_Key": str(uuid.uuid4())}


def rows(node: RunningNode) -> int:
    with node.node.store.reading() as connection:
        return len(connection.execute(select(tables.application)).all())


def test_application_is_recorded_and_waits_ten_working_days(parties: Parties) -> None:
    reply = parties.apply(purposes=["benefit-review", "benefit-recovery"])
    assert reply["state"] == "submitted"
    assert reply["deadline"]["clock"] == "decision"
    assert reply["deadline"]["days_left"] == 10
    assert not reply["deadline"]["overdue"]
    assert reply["deadline"]["basis"] == ["四川 第二十三条", "海珠 第三十三条"]
    found = parties.get(APPLICANT, f"{PATH}/{reply['id']}").get_json()
    assert found["application"]["purposes"] == ["benefit-review", "benefit-recovery"]
    assert (found["provider"], found["consumer"], found["client"]) == ("hz-tax", "hz-hrss", APPLICANT)
    assert [step["state"] for step in found["steps"]] == ["submitted"]
    assert found["steps"][0]["document"] == found["application"]


def test_location_names_the_application(parties: Parties) -> None:
    response = parties.send(APPLICANT, PATH, application(), **key())
    assert response.headers["Location"] == f"{PATH}/{response.get_json()['id']}"
    assert parties.get(APPLICANT, response.headers["Location"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"legal_basis": None}, "/legal_basis"),
        ({"legal_basis": "  "}, "/legal_basis"),
        ({"until": "2020-12-31"}, "/until"),
        ({"until": "2099-12-31"}, "/until"),
        ({"until": "soon"}, "/until"),
        ({"service": "adoption-registration", "attributes": []}, "/service"),
        ({"service": "person-basic", "attributes": []}, "/service"),
        ({"service": "no-such-service"}, "/service"),
        ({"attributes": ["employed_on", "wage"]}, "/attributes/1"),
        ({"attributes": []}, "/attributes"),
        ({"attributes": ["employed_on", "employed_on"]}, "/attributes/1"),
        ({"disclosure": {"level": "overall", "masked": ["employed_on"]}}, "/disclosure/masked/0"),
        ({"disclosure": {"level": "overall", "masked": ["employer"]}}, "/disclosure/masked/0"),
        ({"disclosure": {"level": "everything"}}, "/disclosure/level"),
        ({"users": ["hz-tax-levy"]}, "/users/0"),
        ({"users": ["hz-hrss-benefits", "nobody"]}, "/users/1"),
        ({"users": ["hz-hrss-steward"]}, "/users/0"),
        ({"purposes": []}, "/purposes"),
        ({"purposes": ["Any Purpose"]}, "/purposes/0"),
        ({"mode": "stream"}, "/mode"),
        ({"mode": "batch"}, "/batch"),
        ({"batch": {"rows": 5}}, "/batch"),
        ({"mode": "batch", "batch": {"rows": 0}}, "/batch/rows"),
        ({"mode": "batch", "batch": {"rows": True}}, "/batch/rows"),
        ({"supersedes": "hz-hrss-no-such-agreement"}, "/supersedes"),
        ({"case": "(a+)+$"}, ""),
        ({"operator": "["}, ""),
        ({"operator": "a\tb"}, "/operator"),
        ({"state": "approved"}, "/state"),
        ({"Sender": "x"}, "/?"),
    ],
)
def test_application_for_what_cannot_be_is_refused_by_pointer(
    own: RunningNode, parties: Parties, changes: dict[str, Any], pointer: str
) -> None:
    before = rows(own)
    assert pointer in pointers(parties.send(APPLICANT, PATH, application(**changes), **key()))
    assert rows(own) == before


def test_disclosure_beyond_what_the_provider_publishes_is_refused(parties: Parties) -> None:
    wanted = application(
        service="business-registration", attributes=None, disclosure={"level": "per_attribute"}, purposes=[purpose()]
    )
    assert "/disclosure/level" in pointers(parties.send(APPLICANT, PATH, wanted, **key()))


def test_application_to_oneself_is_refused(parties: Parties) -> None:
    wanted = application(purposes=[purpose()])
    assert "/service" in pointers(parties.send("hz-tax-levy", PATH, wanted, **key()))


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("legal_basis", "about 339881197803120013"),
        ("legal_basis", "phone 138 1234 5678"),
        ("legal_basis", "card 6222021000000005"),
        ("case", "138[0-9]-13812345678"),
        ("operator", "13812345678"),
    ],
)
def test_text_that_names_a_person_is_refused_and_not_repeated(parties: Parties, member: str, text: str) -> None:
    response = parties.send(APPLICANT, PATH, application(**{member: text}), **key())
    assert f"/{member}" in pointers(response)
    assert text not in response.text


def test_id_number_as_a_member_name_is_not_repeated(parties: Parties) -> None:
    response = parties.send(APPLICANT, PATH, application(**{"339881197803120013": "x"}), **key())
    assert pointers(response).keys() == {"/?"}
    assert "339881" not in response.text


def test_application_without_idempotency_key_is_malformed(parties: Parties) -> None:
    problem(parties.send(APPLICANT, PATH, application()), "malformed")


@pytest.mark.parametrize("name", ["hz-data-bureau", "hz-audit"])
def test_authority_and_auditor_do_not_apply(parties: Parties, name: str) -> None:
    document = problem(parties.send(name, PATH, application(), **key()), "not-permitted")
    assert document["reasons"][0]["rule"] == "department-applies"


def test_same_application_sent_twice_is_one(own: RunningNode, parties: Parties) -> None:
    wanted, sent = application(), key()
    first, before = parties.send(APPLICANT, PATH, wanted, **sent), rows(own)
    second = parties.send(APPLICANT, PATH, wanted, **sent)
    assert (first.status_code, first.data) == (second.status_code, second.data)
    assert first.headers["Location"] == second.headers["Location"]
    assert rows(own) == before
    problem(parties.send(APPLICANT, PATH, application(), **sent), "idempotency-conflict", 422)


def test_thirty_parallel_applications_under_one_key_are_one(own: RunningNode, parties: Parties) -> None:
    wanted, sent, before = application(), key(), rows(own)
    parties.client(APPLICANT).token()
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: parties.send(APPLICANT, PATH, wanted, **sent).status_code, range(30)))
    assert 201 in codes
    assert set(codes) <= {201, 409}
    assert rows(own) == before + 1


def test_refused_application_leaves_its_key_free(parties: Parties) -> None:
    sent = key()
    wanted = application(supersedes="hz-hrss-no-such-agreement")
    assert pointers(parties.send(APPLICANT, PATH, wanted, **sent))
    assert parties.send(APPLICANT, PATH, application(), **sent).status_code == 201


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (APPLICANT, 200),
        ("hz-hrss-review", 200),
        ("hz-hrss-steward", 200),
        (STEWARD, 200),
        ("hz-data-bureau", 200),
        ("hz-audit", 200),
        ("hz-tax-levy", 404),  # the provider's, but not its steward
        ("hz-market-steward", 404),
        ("hz-outsider", 404),
    ],
)
def test_application_is_read_by_those_whom_it_concerns_only(parties: Parties, name: str, status: int) -> None:
    identifier = parties.apply()["id"]
    response = parties.get(name, f"{PATH}/{identifier}")
    assert response.status_code == status
    if status == 404:
        unknown = parties.get(name, f"{PATH}/{uuid.uuid4()}")
        assert {**problem(unknown, "not-found")} == {**problem(response, "not-found")}
    listed = {item["id"] for item in everything(parties, name)}
    assert (identifier in listed) is (status == 200)


def everything(parties: Parties, name: str, query: str = "") -> list[dict[str, Any]]:
    found, cursor = [], ""
    while True:
        page = parties.get(name, f"{PATH}?page_size=7{query}&cursor={cursor}").get_json()
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = page["next"]


def test_list_filters_by_state_and_pages_join(parties: Parties) -> None:
    refused = parties.apply()["id"]
    parties.refuse(refused)
    open_now = parties.apply()["id"]
    states = {item["id"]: item["state"] for item in everything(parties, STEWARD)}
    assert (states[refused], states[open_now]) == ("refused", "submitted")
    by_state = everything(parties, STEWARD, "&state=refused")
    assert {item["state"] for item in by_state} == {"refused"}
    assert refused in {item["id"] for item in by_state}
    assert len(states) == len(everything(parties, STEWARD))


def test_strange_cursor_is_refused(parties: Parties) -> None:
    problem(parties.get(STEWARD, f"{PATH}?cursor=!"), "invalid-request")


def test_approval_drafts_the_canonical_agreement_and_permits_nothing(parties: Parties) -> None:
    wanted: dict[str, Any] = {"purposes": ["benefit-audit"], "users": ["hz-hrss-review"], "case": "^BA-[0-9]{6}$"}
    identifier = parties.apply(**wanted)["id"]
    conditions: dict[str, Any] = {
        "fold": True,
        "human_review": True,
        "quota": {"count": 100, "per": "day"},
        "budget": {"bits": 40, "renews": "year"},
        "hours": {"weekdays": [1, 2, 3, 4, 5], "from": "08:00", "until": "18:00"},
        "networks": ["127.0.0.0/8"],
        "freshness": "7d",
        "obligations": ["notify-provider"],
        "operator": "^[a-z.]{3,20}$",
        "valid_from": "2026-12-01",
    }
    reply = parties.approve(identifier, **conditions)
    assert reply["deadline"]["clock"] == "delivery"
    assert reply["deadline"]["days_left"] == 5
    agreement = parties.agreement(reply["agreement"])
    document = agreement["document"]
    assert agreement["canonical"].encode() == canonical(document)
    assert agreement["digest"] == reply["digest"]
    assert document == {
        "agreement": reply["agreement"],
        "kind": "agreement",
        "service": "employment-status",
        "provider": "hz-tax",
        "consumer": "hz-hrss",
        "clients": ["hz-hrss-review"],
        "purposes": ["benefit-audit"],
        "legal_basis": "失业保险条例 第十五条",
        "attributes": ["employed_on"],
        "disclosure": {"level": "overall", "masked": []},
        "security_agreement": True,
        "case": "^BA-[0-9]{6}$",
        "valid": {"from": "2026-12-01T00:00:00+08:00", "until": "2032-01-01T00:00:00+08:00"},
        **{name: value for name, value in conditions.items() if name != "valid_from"},
    }
    assert (agreement["state"], agreement["signatures"]) == ("approved", {})
    assert agreement["awaiting"] == ["hz-tax", "hz-hrss"]
    assert parties.states(f"{PATH}/{identifier}") == ["submitted", "approved"]
    asked = parties.client("hz-hrss-review").ask(
        "employment-status",
        {
            "purpose": "benefit-audit",
            "case": "BA-000001",
            "operator": "demo.operator",
            "subject": {"id_number": "339881197803120013"},
            "confirm": {"name": "沈建国"},
            "declared": {"employed_on": "2026-09-15"},
        },
    )
    problem(asked, "not-permitted")


def test_refusal_states_its_reason(parties: Parties) -> None:
    identifier = parties.apply()["id"]
    path = f"{PATH}/{identifier}/decision"
    for verdict in ({"decision": "refuse"}, {"decision": "refuse", "reason": " "}):
        assert "/reason" in pointers(parties.send(STEWARD, path, verdict))
    both = {"decision": "refuse", "reason": "No duty of yours.", "conditions": CONDITIONS}
    assert "/conditions" in pointers(parties.send(STEWARD, path, both))
    named = {"decision": "refuse", "reason": "see 339881197803120013"}
    assert "/reason" in pointers(parties.send(STEWARD, path, named))
    parties.refuse(identifier)
    found = parties.get(APPLICANT, f"{PATH}/{identifier}").get_json()
    assert (found["state"], found["deadline"], found["agreement"]) == ("refused", None, None)
    assert found["steps"][-1]["document"]["reason"] == "The duty named does not need this."


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("hz-market-steward", "not-found"),  # a stranger
        ("hz-hrss-steward", "not-permitted"),  # the applicant's own department
        ("hz-hrss-benefits", "insufficient-scope"),
        ("hz-data-bureau", "insufficient-scope"),
        ("hz-tax-levy", "insufficient-scope"),
    ],
)
def test_decision_by_anybody_but_the_providers_steward_is_refused(parties: Parties, name: str, slug: str) -> None:
    identifier = parties.apply()["id"]
    verdict = {"decision": "approve", "conditions": CONDITIONS}
    document = problem(parties.send(name, f"{PATH}/{identifier}/decision", verdict), slug)
    if slug == "not-permitted":
        assert [reason["rule"] for reason in document["reasons"]] == ["own-application"]
        assert document["reasons"][0]["basis"] == ["四川 第二十三条", "山东 第二十九条"]
    assert parties.get(APPLICANT, f"{PATH}/{identifier}").get_json()["state"] == "submitted"


def test_second_decision_conflicts(parties: Parties) -> None:
    for decide in (parties.approve, parties.refuse):
        identifier = parties.apply()["id"]
        decide(identifier)
        for verdict in ({"decision": "approve", "conditions": CONDITIONS}, {"decision": "refuse", "reason": "No."}):
            problem(parties.send(STEWARD, f"{PATH}/{identifier}/decision", verdict), "conflict")


def test_two_stewards_deciding_at_once_decide_once(parties: Parties) -> None:
    parties.client(STEWARD).token()
    for _ in range(5):
        identifier = parties.apply()["id"]
        send = partial(parties.send, STEWARD, f"{PATH}/{identifier}/decision")
        verdicts = [{"decision": "approve", "conditions": CONDITIONS}, {"decision": "refuse", "reason": "No."}] * 3
        with ThreadPoolExecutor(6) as pool:
            codes = sorted(response.status_code for response in pool.map(send, verdicts))
        assert codes == [200, 409, 409, 409, 409, 409]
        assert len(parties.states(f"{PATH}/{identifier}")) == 2


@pytest.mark.parametrize(
    ("conditions", "pointer"),
    [
        ({"security_agreement": False}, "/conditions/security_agreement"),
        ({"security_agreement": "yes"}, "/conditions/security_agreement"),
        ({"fold": 1}, "/conditions/fold"),
        ({"disclosure": {"level": "per_attribute", "masked": []}}, "/conditions/disclosure/level"),
        ({"disclosure": {"level": "overall", "masked": ["employer"]}}, "/conditions/disclosure/masked/0"),
        ({"quota": {"count": 0, "per": "day"}}, "/conditions/quota/count"),
        ({"quota": {"count": 5, "per": "hour"}}, "/conditions/quota/per"),
        ({"budget": {"bits": 1.5}}, "/conditions/budget/bits"),
        ({"hours": {"weekdays": [1], "from": "18:00", "until": "08:00"}}, "/conditions/hours"),
        ({"hours": {"weekdays": [8], "from": "08:00", "until": "18:00"}}, "/conditions/hours/weekdays/0"),
        ({"hours": {"weekdays": [1], "from": "8", "until": "18:00"}}, "/conditions/hours/from"),
        ({"networks": ["10.0.0.1/8"]}, "/conditions/networks/0"),
        ({"freshness": "soon"}, "/conditions/freshness"),
        ({"obligations": ["sing"]}, "/conditions/obligations/0"),
        ({"case": "(a*)*"}, "/conditions"),
        ({"valid_from": "2040-01-01"}, "/conditions/valid_from"),
        ({"batch": {"rows": 1}}, "/conditions/batch/rows"),
        ({"attributes": ["employer"]}, "/conditions/attributes"),
    ],
)
def test_conditions_that_widen_or_cannot_be_are_refused(
    parties: Parties, conditions: dict[str, Any], pointer: str
) -> None:
    identifier = parties.apply()["id"]
    verdict = {"decision": "approve", "conditions": CONDITIONS | conditions}
    assert pointer in pointers(parties.send(STEWARD, f"{PATH}/{identifier}/decision", verdict))
    assert parties.states(f"{PATH}/{identifier}") == ["submitted"]


def test_approval_without_conditions_is_refused(parties: Parties) -> None:
    path = f"{PATH}/{parties.apply()['id']}/decision"
    assert "/conditions" in pointers(parties.send(STEWARD, path, {"decision": "approve"}))


def test_provider_may_narrow_what_was_applied_for(parties: Parties) -> None:
    wanted = {
        "attributes": ["employed_on", "employer"],
        "disclosure": {"level": "per_attribute", "masked": ["employer"]},
        "mode": "batch",
        "batch": {"rows": 20_000},
    }
    narrowed = {"disclosure": {"level": "overall", "masked": []}, "batch": {"rows": 500}}
    agreement = parties.agreement(parties.drafted(narrowed, **wanted))["document"]
    assert (agreement["disclosure"], agreement["batch"]) == (narrowed["disclosure"], narrowed["batch"])


def test_silence_grants_nothing_and_shows_as_overdue(own: RunningNode, parties: Parties) -> None:
    identifier = parties.apply()["id"]
    _age(own, identifier, days=60)
    found = parties.get(STEWARD, f"{PATH}/{identifier}").get_json()
    assert found["state"] == "submitted"
    assert (found["deadline"]["overdue"], found["deadline"]["days_left"]) == (True, 0)
    listed = parties.get(STEWARD, "/v1/deadlines").get_json()["items"]
    assert next(item for item in listed if item["id"] == identifier)["overdue"]
    # Late, but the provider still decides.
    parties.approve(identifier)


def test_deadlines_list_what_is_open_on_either_side_and_nothing_else(parties: Parties) -> None:
    waiting, undelivered = parties.apply()["id"], parties.drafted()
    decided, active = parties.apply()["id"], parties.active()
    parties.refuse(decided)
    for name in (STEWARD, "hz-hrss-steward", "hz-data-bureau"):
        items = parties.get(name, "/v1/deadlines").get_json()["items"]
        clocks = {item["id"]: item["clock"] for item in items}
        assert (clocks[waiting], clocks[undelivered]) == ("decision", "delivery")
        assert not {decided, active} & clocks.keys()
        assert [item["due"] for item in items] == sorted(item["due"] for item in items)
    strangers = parties.get("hz-market-steward", "/v1/deadlines").get_json()["items"]
    assert not {waiting, undelivered} & {item["id"] for item in strangers}
    problem(parties.get(APPLICANT, "/v1/deadlines"), "insufficient-scope")


def test_year_without_a_published_calendar_marks_the_due_date_provisional(own: RunningNode, parties: Parties) -> None:
    identifier = parties.apply()["id"]
    with own.node.store.writing() as connection:
        table = tables.application
        connection.execute(update(table).where(table.c.id == identifier).values(submitted_at=4_000_000_000))
    assert parties.get(STEWARD, f"{PATH}/{identifier}").get_json()["deadline"]["provisional"]


def test_record_of_a_step_holds_no_free_text(own: RunningNode, parties: Parties) -> None:
    identifier = parties.apply(legal_basis="a basis that stands nowhere else")["id"]
    step = parties.get(STEWARD, f"{PATH}/{identifier}").get_json()["steps"][0]
    assert "nowhere else" not in orjson.dumps(own.record(step["record"])).decode()


def test_documented_examples_run(parties: Parties) -> None:
    sent = parties.send(APPLICANT, PATH, examples.APPLICATION, **key())
    path = f"{PATH}/{parties.taken(sent, 201)['id']}/decision"
    parties.taken(parties.send(STEWARD, path, {"decision": "approve", "conditions": examples.CONDITIONS}))
    parties.taken(parties.send("hz-market-steward", "/v1/standing-terms", STANDING_TERMS), 201)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"decision": NaN}', b'{"a": 1, "a": 2}'])
def test_body_that_is_no_json_object_is_malformed(parties: Parties, body: bytes) -> None:
    problem(parties.send(APPLICANT, PATH, body, **key()), "malformed")


def test_form_is_an_unsupported_media_type(parties: Parties) -> None:
    sent = parties.send(APPLICANT, PATH, b"a=b", Content_Type="application/x-www-form-urlencoded", **key())
    problem(sent, "unsupported-media-type")


def _age(node: RunningNode, identifier: str, *, days: int) -> None:
    table = tables.application
    with node.node.store.writing() as connection:
        older = table.c.submitted_at - days * 86_400
        connection.execute(update(table).where(table.c.id == identifier).values(submitted_at=older))
