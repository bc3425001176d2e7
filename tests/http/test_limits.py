"""Quota and disclosure budget as consumers meet them; limits are no denials and survive a loss of Redis."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from app.accounts import MASK_BITS
from app.limits.account import price
from app.limits.rebuild import STATE
from tests.nodes.agreements import moved
from tests.nodes.problems import recorded
from tests.nodes.questions import CLIENT, SERVICE, Question, body, employment, persona
from tests.nodes.running import OwnNode, RunningNode

BENEFITS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
REVIEW = "agreements/hz-hrss-employment-status-benefit-review.yaml"
WAGES = "agreements/hz-hrss-wage-base-social-insurance-levy.yaml"
LEVY = "agreements/hz-tax-property-contract-property-tax.yaml"


def quota(count: int, per: str = "day") -> Any:
    """A rewrite of an agreement's quota."""
    return lambda text: re.sub(r"quota: {.*}", f"quota: {{count: {count}, per: {per}}}", text)


def budget(bits: int) -> Any:
    """A rewrite of an agreement's budget, and of its masks to none, so that a question costs log2(3) bits."""
    return lambda text: re.sub(r"budget: {.*}", f"budget: {{bits: {bits}}}", text).replace("[employer]}", "[]}")


def on(day: str, **members: Any) -> Question:
    """A question about one person and this day."""
    return employment(declared={"employed_on": day}, **members)


def test_question_beyond_the_quota_is_limited_not_denied(own_node: OwnNode, claimant: Iterator[Question]) -> None:
    node = own_node({BENEFITS: quota(3)})
    caller = node.consumer(CLIENT)
    for _ in range(3):
        assert caller.ask(SERVICE, next(claimant)).status_code == 200
    response = caller.ask(SERVICE, next(claimant))
    receipt = recorded(node, response, "quota-exceeded")
    assert (receipt.record["decision"], receipt.record["limit"]) == ("permit", "quota")
    assert 1 <= int(response.headers["Retry-After"]) <= 86_400
    assert response.get_json()["violated-policies"] == ["quota"]
    assert "3 questions" in response.get_json()["detail"]


def test_quota_of_a_month_ends_with_the_month(own_node: OwnNode, claimant: Iterator[Question]) -> None:
    node = own_node({BENEFITS: quota(1, "month")})
    assert node.consumer(CLIENT).ask(SERVICE, next(claimant)).status_code == 200
    response = node.consumer(CLIENT).ask(SERVICE, next(claimant))
    recorded(node, response, "quota-exceeded")
    assert 1 <= int(response.headers["Retry-After"]) <= 31 * 86_400


def test_repeats_count_against_the_quota_but_refusals_do_not(own_node: OwnNode) -> None:
    node = own_node({BENEFITS: quota(2)})
    caller = node.consumer(CLIENT)
    recorded(node, caller.ask(SERVICE, employment(purpose="recruitment")), "not-permitted")
    recorded(node, caller.ask(SERVICE, b"{"), "malformed")
    assert [caller.ask(SERVICE, employment()).status_code for _ in range(3)] == [200, 200, 429]


def test_quota_belongs_to_one_agreement(own_node: OwnNode) -> None:
    node = own_node({BENEFITS: quota(1)})
    assert node.consumer(CLIENT).ask(SERVICE, employment()).status_code == 200
    recorded(node, node.consumer(CLIENT).ask(SERVICE, employment()), "quota-exceeded")
    review = persona(SERVICE, "match", "hz-hrss-review")
    assert node.consumer("hz-hrss-review").ask(SERVICE, body(review)).status_code == 200


def test_of_200_questions_at_once_exactly_the_quota_passes(own_node: OwnNode, claimant: Iterator[Question]) -> None:
    """T16: counters are atomic, whichever thread asks first."""
    node = own_node({BENEFITS: quota(100)})
    caller = node.consumer(CLIENT)
    caller.token()
    questions = [next(claimant) for _ in range(200)]
    with ThreadPoolExecutor(24) as pool:
        statuses = list(pool.map(lambda question: caller.ask(SERVICE, question).status_code, questions))
    assert (statuses.count(200), statuses.count(429)) == (100, 100)
    assert len(node.rows(state="answered")) == 100
    assert len(node.rows(state="quota-exceeded", limit_reached="quota")) == 100


def test_budget_stops_a_search_over_days(own_node: OwnNode) -> None:
    """T2: each further question narrows the employment down; two of log2(3) bits fit into four, a third does not."""
    node = own_node({BENEFITS: budget(4)})
    caller = node.consumer(CLIENT)
    for day in ("2026-01-01", "2026-02-01"):
        assert caller.ask(SERVICE, on(day)).status_code == 200
    response = caller.ask(SERVICE, on("2026-03-01"))
    receipt = recorded(node, response, "budget-exhausted")
    assert (receipt.record["decision"], receipt.record["limit"]) == ("permit", "budget")
    assert "Retry-After" not in response.headers, "waiting does not help"


def test_question_that_was_paid_for_stays_free_when_the_budget_is_used_up(own_node: OwnNode) -> None:
    node = own_node({BENEFITS: budget(2)})
    caller = node.consumer(CLIENT)
    first = caller.ask(SERVICE, on("2026-01-01")).get_json()
    recorded(node, caller.ask(SERVICE, on("2026-02-01")), "budget-exhausted")
    again = caller.ask(SERVICE, on("2026-01-01", case="UB-OTHER-1", operator="another.operator")).get_json()
    assert again["result"] == first["result"]
    assert not any(account.startswith("budget/") for account in node.charges(again["id"]))


def test_budget_is_kept_for_each_subject(own_node: OwnNode, claimant: Iterator[Question]) -> None:
    node = own_node({BENEFITS: budget(2)})
    caller = node.consumer(CLIENT)
    for _ in range(3):
        assert caller.ask(SERVICE, next(claimant)).status_code == 200


def test_spelling_the_subject_another_way_opens_no_new_account(own_node: OwnNode) -> None:
    node = own_node({BENEFITS: budget(2)})
    caller = node.consumer(CLIENT)
    number = employment()["subject"]["id_number"]
    wide = number.translate({ord("0") + digit: chr(0xFF10 + digit) for digit in range(10)})
    old = number[:6] + number[8:17]
    assert caller.ask(SERVICE, on("2026-01-01")).status_code == 200
    for spelling in (wide, old):
        assert caller.ask(SERVICE, on("2026-01-01", subject={"id_number": spelling})).status_code == 200
        response = caller.ask(SERVICE, on("2026-02-01", subject={"id_number": spelling}))
        recorded(node, response, "budget-exhausted")


def test_another_name_is_another_question(own_node: OwnNode) -> None:
    """Trying out names about a number is a search too."""
    node = own_node({BENEFITS: budget(2)})
    caller = node.consumer(CLIENT)
    assert caller.ask(SERVICE, employment(confirm={"name": "沈一"})).get_json()["result"] == "not_found"
    recorded(node, caller.ask(SERVICE, employment(confirm={"name": "沈二"})), "budget-exhausted")


def test_budget_is_shared_by_all_clients_and_agreements_of_a_department(own_node: OwnNode) -> None:
    node = own_node({BENEFITS: budget(4), REVIEW: budget(4)})
    for day in ("2026-01-01", "2026-02-01"):
        assert node.consumer(CLIENT).ask(SERVICE, on(day)).status_code == 200
    response = node.consumer("hz-hrss-review").ask(SERVICE, on("2026-03-01", purpose="benefit-review"))
    recorded(node, response, "budget-exhausted")


def revoke_benefits(node: RunningNode) -> None:
    moved(node, "hz-hrss-employment-status-unemployment-benefit", "revoked")


@pytest.mark.parametrize("review", ["{bits: 3}", "{bits: 2, renews: year}"])
def test_giving_up_a_tight_agreement_makes_no_answer_fresh(own_node: OwnNode, review: str) -> None:
    """What was drawn under the one counts under the other, in the year too."""
    other = lambda text: re.sub(r"budget: {.*}", f"budget: {review}", text)  # noqa: E731 - as the rewrites above
    node = own_node({BENEFITS: budget(2), REVIEW: other})
    caller = node.consumer("hz-hrss-review")
    assert node.consumer(CLIENT).ask(SERVICE, on("2026-01-01")).status_code == 200
    recorded(node, caller.ask(SERVICE, on("2026-02-01", purpose="benefit-review")), "budget-exhausted")
    revoke_benefits(node)
    recorded(node, caller.ask(SERVICE, on("2026-02-01", purpose="benefit-review")), "budget-exhausted")


def test_trying_out_names_over_services_is_one_search(own_node: OwnNode) -> None:
    """The register that confirms the person is the same, whatever is asked about it."""
    node = own_node({BENEFITS: budget(240), WAGES: budget(2)})
    asked = 0
    for number in range(4):
        asked += node.consumer(CLIENT).ask(SERVICE, employment(confirm={"name": f"沈{number}"})).status_code == 200
    assert asked == 2
    assert node.consumer(CLIENT).ask(SERVICE, employment(confirm={"name": "沈1"})).status_code == 200


def test_budget_of_one_department_is_not_anothers(own_node: OwnNode) -> None:
    node = own_node({BENEFITS: budget(2)})
    assert node.consumer(CLIENT).ask(SERVICE, on("2026-01-01")).status_code == 200
    recorded(node, node.consumer(CLIENT).ask(SERVICE, on("2026-02-01")), "budget-exhausted")
    dibao = node.consumer("hz-civil-dibao")
    assert dibao.ask(SERVICE, on("2026-02-01", purpose="low-income-household")).status_code == 200


def test_same_question_under_terms_that_show_more_is_charged(own_node: OwnNode) -> None:
    """Asked without a mask first, it must not hand out the mask for nothing."""
    node = own_node()
    review = node.consumer("hz-hrss-review").ask(SERVICE, on("2026-01-01", purpose="benefit-review"))
    assert "disclosed" not in review.get_json()
    answer = node.consumer(CLIENT).ask(SERVICE, on("2026-01-01")).get_json()
    assert "disclosed" in answer
    bits = {amount for account, amount in node.charges(answer["id"]).items() if account.startswith("budget/")}
    assert bits == {price(3) + MASK_BITS * 1_000}


def test_amounts_on_one_grid_point_are_one_question(own_node: OwnNode) -> None:
    """A threshold cannot be searched finer than the provider's grid."""
    node = own_node({LEVY: budget(3)})
    caller = node.consumer("hz-tax-levy")
    question = body(persona("property-contract", "match", "hz-tax-levy"))
    for amount in ("1280000.00", "1280000", "1279999.99", "1270001", "1289999.99"):
        question["declared"]["price"] = amount
        assert caller.ask("property-contract", question).get_json()["result"] == "match"
    question["declared"]["price"] = "1290001"
    recorded(node, caller.ask("property-contract", question), "budget-exhausted")


def test_budget_and_quota_survive_a_flushed_redis(own_node: OwnNode, claimant: Iterator[Question]) -> None:
    """The charge rows are the truth; Redis is only the front."""
    node = own_node({BENEFITS: lambda text: quota(3)(budget(2)(text))})
    caller = node.consumer(CLIENT)
    assert caller.ask(SERVICE, on("2026-01-01")).status_code == 200
    assert caller.ask(SERVICE, next(claimant)).status_code == 200
    with closing(node.redis()) as client:
        client.flushdb()
    recorded(node, caller.ask(SERVICE, on("2026-02-01")), "budget-exhausted")
    assert caller.ask(SERVICE, on("2026-01-01")).status_code == 200
    recorded(node, caller.ask(SERVICE, next(claimant)), "quota-exceeded")


def test_redis_set_back_to_an_older_state_is_found_out(own_node: OwnNode, claimant: Iterator[Question]) -> None:
    node = own_node({BENEFITS: quota(3)})
    caller = node.consumer(CLIENT)
    assert caller.ask(SERVICE, next(claimant)).status_code == 200
    older = dump(node)
    assert caller.ask(SERVICE, next(claimant)).status_code == 200
    assert caller.ask(SERVICE, next(claimant)).status_code == 200
    restore(node, older)
    recorded(node, caller.ask(SERVICE, next(claimant)), "quota-exceeded")


def test_generation_the_log_never_had_is_not_trusted(own_node: OwnNode, claimant: Iterator[Question]) -> None:
    """A Redis ahead of the node's database, as after a restored backup: rebuilt, not asked again for ever."""
    node = own_node({BENEFITS: quota(2)})
    caller = node.consumer(CLIENT)
    assert caller.ask(SERVICE, next(claimant)).status_code == 200
    with closing(node.redis()) as client:
        client.hset(STATE, "generation", 999)
    answer = caller.ask(SERVICE, next(claimant))
    assert answer.status_code == 200
    assert [name.partition("/")[0] for name in sorted(node.charges(answer.get_json()["id"]))].count("quota") == 1
    recorded(node, caller.ask(SERVICE, next(claimant)), "quota-exceeded")


def test_reservation_that_never_holds_ends_in_a_refusal(own_node: OwnNode) -> None:
    """Whoever raises the generation all the time stops the answers, but nobody hangs."""
    node = own_node()
    with closing(sqlite3.connect(node.folder / "node.db", isolation_level=None)) as connection:
        connection.execute(
            "CREATE TRIGGER ahead AFTER UPDATE OF generation ON log_head BEGIN "
            "UPDATE log_head SET generation = generation + 1 WHERE id = 1; END"
        )
    with closing(node.redis()) as client:
        client.flushdb()
    recorded(node, node.consumer(CLIENT).ask(SERVICE, employment()), "limiter-unavailable")


def dump(node: RunningNode) -> dict[bytes, Any]:
    """Everything the node's Redis database holds."""
    with closing(node.redis()) as client:
        return {key: client.dump(key) for key in client.scan_iter("*")}


def restore(node: RunningNode, content: dict[bytes, Any]) -> None:
    """Set the node's Redis database back."""
    with closing(node.redis()) as client:
        client.flushdb()
        for key, value in content.items():
            client.restore(key, 0, value)
