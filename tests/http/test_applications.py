"""Applications over HTTP: what is refused and why, who reads them, and that sending twice applies once."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from app.api import applications as examples
from app.api.agreements import STANDING_TERMS
from app.log import tables
from tests.nodes.problems import pointers, problem
from tests.nodes.running import RunningNode
from tests.nodes.steps import (
    APPLICANT,
    STEWARD,
    Parties,
    application,
    purpose,
)

PATH = "/v1/applications"


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
