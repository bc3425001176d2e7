"""What providers and auditors learn of use: totals, notices and accounts, and never who was asked about."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.limits.account import SHANGHAI
from app.log import tables
from tests.nodes.directories import AGREEMENT
from tests.nodes.problems import pointers, problem
from tests.nodes.questions import CLIENT, SERVICE, body, employment, persona
from tests.nodes.running import OwnNode, RunningNode

STEWARD = "hz-tax-steward"
PURPOSE = "unemployment-benefit"
NAME = f"{AGREEMENT}.yaml"
MATCH = persona(SERVICE, "match", CLIENT)


def usage(node: RunningNode, month: str | None = None, steward: str = STEWARD) -> dict[str, Any]:
    response = node.consumer(steward).get("/v1/usage" + (f"?month={month}" if month else ""))
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    return found


def asked(node: RunningNode, client: str = CLIENT, **members: Any) -> dict[str, Any]:
    document: dict[str, Any] = node.consumer(client).ask(SERVICE, employment(**members)).get_json()
    return document


def this_month() -> str:
    return datetime.now(UTC).astimezone(SHANGHAI).strftime("%Y-%m")


def renewing(text: str) -> str:
    return re.sub(r"budget: {bits: (\d+)}", r"budget: {bits: \1, renews: year}", text)


# The tightest agreement of the department bounds its accounts, so both must renew.
RENEWING = {NAME: renewing, "agreements/hz-hrss-employment-status-benefit-review.yaml": renewing}


def quota_of(count: int) -> Any:
    return lambda text: text.replace("quota: {count: 1000000, per: month}", f"quota: {{count: {count}, per: month}}")


def test_totals_are_by_consumer_service_and_purpose(own_node: OwnNode) -> None:
    node = own_node({NAME: quota_of(2)})
    first = asked(node)
    assert first["result"] == "match"
    assert "result" in asked(node, declared={"employed_on": "2026-09-16"})
    assert asked(node, declared={"employed_on": "2026-09-17"})["type"] == "quota-exceeded"
    assert asked(node, purpose="benefit-review")["type"] == "not-permitted"
    assert asked(node, purpose="recruitment")["type"] == "not-permitted"
    assert asked(node, "hz-outsider")["type"] == "not-permitted"
    assert asked(node, subject={})["type"] == "invalid-request"
    found = usage(node)
    assert (found["month"], found["provider"]) == (this_month(), "hz-tax")
    none = {"answered": 0, "denied": 0, "limited": 0, "failed": 0, "refused": 0, "bits": "0.000", "quota_left": None}
    by_purpose = {(item["consumer"], item["purpose"]): item for item in found["items"]}
    used = by_purpose["hz-hrss", PURPOSE]
    assert used == none | {
        "consumer": "hz-hrss",
        "service": SERVICE,
        "purpose": PURPOSE,
        "answered": 2,
        "limited": 1,
        "bits": used["bits"],
        "quota_left": 0,
    }
    assert float(used["bits"]) > 0
    # The agreement about reviews names another client; a purpose of no agreement is not kept in clear.
    assert by_purpose["hz-hrss", "benefit-review"]["denied"] == 1
    assert by_purpose["hz-hrss", None] == none | {
        "consumer": "hz-hrss",
        "service": SERVICE,
        "purpose": None,
        "denied": 1,
        "refused": 1,
    }
    (outside,) = [item for item in found["items"] if item["consumer"] != "hz-hrss"]
    assert (outside["denied"], outside["quota_left"]) == (1, None)
    counted = ("answered", "denied", "limited", "failed", "refused")
    assert sum(item[name] for item in found["items"] for name in counted) == 7


def test_bits_are_those_of_the_charges(own_node: OwnNode) -> None:
    node = own_node()
    charges = node.charges(asked(node)["id"])
    drawn = sum(amount for account, amount in charges.items() if account.startswith("budget/"))
    (item,) = usage(node)["items"]
    assert item["bits"] == f"{drawn / 1000:.3f}"
    asked(node)
    (item,) = usage(node)["items"]
    assert (item["answered"], item["bits"]) == (2, f"{drawn / 1000:.3f}")


def test_bits_of_a_repeat_that_was_free_or_stopped_are_none(own_node: OwnNode) -> None:
    node = own_node({NAME: quota_of(2)})
    asked(node)
    (before,) = usage(node)["items"]
    asked(node)
    assert asked(node)["type"] == "quota-exceeded"
    (item,) = usage(node)["items"]
    assert (item["answered"], item["limited"], item["bits"]) == (2, 1, before["bits"])


def test_budget_that_renews_with_the_years_counts_once(own_node: OwnNode) -> None:
    node = own_node(RENEWING)
    asked(node)
    (renewing,) = usage(node)["items"]
    plain = own_node()
    asked(plain)
    (item,) = usage(plain)["items"]
    assert renewing["bits"] == item["bits"]


def test_failed_source_counts_as_failed(own_node: OwnNode) -> None:
    node = own_node()
    asked(node)
    with node.node.store.writing() as connection:
        connection.execute(update(tables.decision).values(state="source-unavailable"))
    (item,) = usage(node)["items"]
    assert (item["answered"], item["failed"]) == (0, 1)


def test_month_begins_at_midnight_of_shanghai(own_node: OwnNode) -> None:
    node = own_node()
    identifier = asked(node)["id"]

    def move(moment: datetime) -> None:
        values = {"at": int(moment.timestamp() * 1_000)}
        with node.node.store.writing() as connection:
            connection.execute(update(tables.decision).where(tables.decision.c.id == identifier).values(**values))

    begin = datetime(2026, 3, 1, tzinfo=SHANGHAI)
    move(begin)
    assert [len(usage(node, month)["items"]) for month in ("2026-02", "2026-03")] == [0, 1]
    move(begin - timedelta(milliseconds=1))
    assert [len(usage(node, month)["items"]) for month in ("2026-02", "2026-03")] == [1, 0]
    assert usage(node, "2026-02")["items"][0]["quota_left"] is None


@pytest.mark.parametrize("steward", ["hz-market-steward", "hz-hrss-steward"])
def test_steward_of_another_department_learns_nothing(own_node: OwnNode, steward: str) -> None:
    node = own_node({NAME: lambda text: text + "obligations: [notify-provider]\n"})
    asked(node)
    assert usage(node, steward=steward)["items"] == []
    assert node.consumer(steward).get("/v1/notices").get_json() == {"items": [], "next": None}


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/notices"])
@pytest.mark.parametrize("name", [CLIENT, "hz-audit", "hz-data-bureau", "hz-sysadmin"])
def test_only_stewards_see_use(node: RunningNode, path: str, name: str) -> None:
    problem(node.consumer(name).get(path), "insufficient-scope")


@pytest.mark.parametrize("month", ["2026", "2026-13", "2026-00", "2026-1", "1999-01", "2026-01-01", "now"])
def test_month_that_is_none_is_refused(node: RunningNode, month: str) -> None:
    assert pointers(node.consumer(STEWARD).get(f"/v1/usage?month={month}")).keys() == {"month"}


@pytest.mark.parametrize("query", ["after=-2", "after=x", "page_size=0", "page_size=201", "after=9007199254740992"])
def test_notices_from_nowhere_are_refused(node: RunningNode, query: str) -> None:
    problem(node.consumer(STEWARD).get(f"/v1/notices?{query}"), "invalid-request")


def test_provider_is_told_of_answers_that_it_is_to_be_told_of(own_node: OwnNode) -> None:
    node = own_node({NAME: lambda text: text + "obligations: [notify-provider]\n"})
    steward = node.consumer(STEWARD)
    ids = [asked(node, declared={"employed_on": f"2026-09-{day}"})["id"] for day in (15, 16, 17)]
    assert asked(node, purpose="recruitment")["type"] == "not-permitted"
    page = steward.get("/v1/notices?page_size=2").get_json()
    assert [item["id"] for item in page["items"]] == ids[:2]
    assert page["items"][0].keys() == {"index", "id", "at", "consumer", "service", "purpose"}
    record = node.record(ids[0])
    assert page["items"][0] == {"index": page["items"][0]["index"]} | {
        name: record[name] for name in ("id", "at", "consumer", "service", "purpose")
    }
    rest = steward.get(f"/v1/notices?after={page['next']}").get_json()
    assert ([item["id"] for item in rest["items"]], rest["next"]) == (ids[2:], None)
    last = rest["items"][-1]["index"]
    assert steward.get(f"/v1/notices?after={last}").get_json() == {"items": [], "next": None}


def test_answer_that_nobody_is_to_be_told_of_is_no_notice(own_node: OwnNode) -> None:
    node = own_node()
    asked(node)
    assert node.consumer(STEWARD).get("/v1/notices").get_json()["items"] == []


def accounts(node: RunningNode, identifier: str) -> list[dict[str, Any]]:
    response = node.consumer("hz-audit").get(f"/v1/decisions/{identifier}/accounts")
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.get_json()["accounts"]
    return found


def test_auditor_sees_spent_and_left(own_node: OwnNode) -> None:
    node = own_node({NAME: quota_of(10)})
    first = asked(node)["id"]
    price = {account: amount for account, amount in node.charges(first).items() if account.startswith("budget/")}
    found = accounts(node, first)
    (quota,) = [item for item in found if item["kind"] == "quota"]
    assert quota == {"kind": "quota", "attribute": None, "spent": "1", "limit": "10", "left": "9"}
    drawn = [item for item in found if item["kind"] == "budget"]
    assert len(drawn) == len(price)
    # What was declared, and the name that confirms it.
    assert {item["attribute"].rpartition(".")[0] for item in drawn} == {
        "hz-tax/wage_declarations",
        "hz-tax/taxpayers",
    }
    drawn = [item for item in drawn if item["attribute"].startswith("hz-tax/wage_declarations.")]
    amount = max(price.values())
    said = {"spent": f"{amount / 1000:.3f}", "limit": "240.000", "left": f"{240 - amount / 1000:.3f}"}
    assert all(item | said == item for item in drawn)
    second = asked(node, declared={"employed_on": "2026-09-16"})["id"]
    assert {item["spent"] for item in accounts(node, second) if item["kind"] == "quota"} == {"2"}
    # The first decision's accounts are those of now, too.
    assert accounts(node, first) == accounts(node, second)


def test_accounts_name_neither_account_nor_subject(own_node: OwnNode) -> None:
    node = own_node()
    identifier = asked(node)["id"]
    text = node.consumer("hz-audit").get(f"/v1/decisions/{identifier}/accounts").text
    for account in node.charges(identifier):
        assert account.rpartition("/")[2] not in text
    assert not any(value in text for value in body(MATCH)["subject"].values())


def test_account_that_only_keeps_count_has_no_limit(own_node: OwnNode) -> None:
    node = own_node(RENEWING)
    found = [item for item in accounts(node, asked(node)["id"]) if item["kind"] == "budget"]
    by_attribute = {item["attribute"] for item in found}
    assert len(found) == 2 * len(by_attribute)
    declared = [item for item in found if item["attribute"].startswith("hz-tax/wage_declarations.")]
    assert sorted({item["limit"] for item in declared}, key=str) == ["240.000", None]
    assert all((item["limit"] is None) is (item["left"] is None) for item in found)


def test_auditor_sees_which_account_stopped_a_question(own_node: OwnNode) -> None:
    """Used up, or never drawn on and too small from the beginning: spent and left are told all the same."""
    tight = {
        name: lambda text: re.sub(r"bits: \d+", "bits: 18", text).replace("count: 1000000", "count: 2")
        for name in (NAME, "agreements/hz-hrss-employment-status-benefit-review.yaml")
    }
    node = own_node(tight)
    first = asked(node)
    refused = asked(node, declared={"employed_on": "2026-09-16"})
    assert refused["type"] == "budget-exhausted"
    assert node.charges(refused["instance"]) == {}
    found = accounts(node, refused["instance"])
    assert found == accounts(node, first["id"])
    (quota,) = [item for item in found if item["kind"] == "quota"]
    assert (quota["spent"], quota["left"]) == ("1", "1")
    assert any(item["limit"] == "18.000" and float(item["left"]) < float(item["spent"]) for item in found)
    asked(node)
    limited = asked(node)
    assert limited["type"] == "quota-exceeded"
    (quota,) = [item for item in accounts(node, limited["instance"]) if item["kind"] == "quota"]
    assert (quota["spent"], quota["left"]) == ("2", "0")


def test_auditor_sees_accounts_that_were_too_small_for_anything(own_node: OwnNode) -> None:
    node = own_node({NAME: lambda text: re.sub(r"bits: \d+", "bits: 1", text)})
    refused = asked(node)
    assert refused["type"] == "budget-exhausted"
    drawn = [item for item in accounts(node, refused["instance"]) if item["kind"] == "budget"]
    assert any(item["left"] == "1.000" for item in drawn)
    assert all(item["spent"] == "0.000" for item in drawn)


def test_auditor_sees_the_accounts_of_a_repeat_that_was_free(own_node: OwnNode) -> None:
    node = own_node()
    first = asked(node)["id"]
    repeat = asked(node)["id"]
    assert not any(account.startswith("budget/") for account in node.charges(repeat))
    assert accounts(node, repeat) == accounts(node, first)
    third = asked(node)["id"]
    assert accounts(node, third) == accounts(node, repeat)


def test_rows_for_the_auditor_survive_a_rebuild_unnoticed(own_node: OwnNode) -> None:
    """Neither a free repeat nor a question that was stopped makes anything paid or spent."""
    node = own_node({NAME: quota_of(3)})
    first = asked(node)["id"]
    for _ in range(3):
        asked(node)
    before = accounts(node, first)
    node.node.limiter.rebuild(at_start=True)
    assert asked(node)["type"] == "quota-exceeded"
    assert accounts(node, first) == before


def test_denial_and_failure_drew_on_no_account(own_node: OwnNode) -> None:
    node = own_node()
    assert accounts(node, asked(node, purpose="recruitment")["instance"]) == []
    assert accounts(node, asked(node, subject={})["instance"]) == []


def test_accounts_are_the_auditors_alone(own_node: OwnNode) -> None:
    node = own_node()
    identifier = asked(node)["id"]
    for name in (CLIENT, STEWARD, "hz-data-bureau", "hz-sysadmin"):
        problem(node.consumer(name).get(f"/v1/decisions/{identifier}/accounts"), "insufficient-scope")
    problem(node.consumer("hz-audit").get("/v1/decisions/none/accounts"), "not-found")
