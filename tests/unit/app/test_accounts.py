from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.accounts import MASK_BITS, accounts, question_price
from app.limits import Account, price
from app.recording import Permitted
from app.registry.agreements import Agreement
from app.registry.question import QuestionReader
from examples.demo import cast
from policies.obligations import Disclose, Fold, HumanReview, Obligation
from tests.nodes.routes import example_directory

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
KEY = b"k" * 32
DIRECTORY = example_directory()
AGREEMENTS = DIRECTORY.agreements.all

BENEFITS = AGREEMENTS["hz-hrss-employment-status-unemployment-benefit"]
REVIEW = AGREEMENTS["hz-hrss-employment-status-benefit-review"]
DIBAO = AGREEMENTS["hz-civil-employment-status-low-income-household"]
WAGES = AGREEMENTS["hz-hrss-wage-base-social-insurance-levy"]
LEVY = AGREEMENTS["hz-tax-property-contract-property-tax"]
PERSONS = AGREEMENTS["hz-police-person-basic-standing-terms"]


def permitted(agreement: Agreement, **members: Any) -> Permitted:
    """The example question of the agreement's service, with members replaced."""
    service = DIRECTORY.catalogue.services[agreement.service]
    body = {"purpose": "any-purpose", "case": "UB-1", "operator": "op-1", **copy.deepcopy(dict(service.example))}
    return Permitted(service, QuestionReader(service).read(body | members), agreement)


def drawn(agreement: Agreement, department: str = "hz-hrss", **members: Any) -> list[Account]:
    return accounts(KEY, department, permitted(agreement, **members), NOW)


def budgets(found: list[Account]) -> set[str]:
    return {account.name for account in found if account.question is not None}


def questions(found: list[Account]) -> set[str]:
    return {account.question for account in found if account.question is not None}


def changed(agreement: Agreement, **members: Any) -> Agreement:
    return replace(agreement, **members)


def test_terms_without_limits_draw_on_nothing() -> None:
    assert drawn(changed(BENEFITS, quota=None, budget_bits=None)) == []


def test_quota_comes_first_and_names_department_terms_and_period() -> None:
    quota, *others = drawn(BENEFITS)
    assert quota.name == "quota/hz-hrss/hz-hrss-employment-status-unemployment-benefit/2026-11"
    assert (quota.amount, quota.limit, quota.question) == (1, 1_000_000, None)
    assert quota.resets_at == datetime.fromisoformat("2026-12-01T00:00:00+08:00")
    assert all(other.name.startswith("budget/") and other.resets_at is None for other in others)


def test_every_attribute_asked_or_masked_has_an_account() -> None:
    assert len(budgets(drawn(REVIEW))) == 1
    assert len(budgets(drawn(BENEFITS))) == 2, "the mask of the employer draws on the employer's account"
    two = {"employed_on": "2026-09-15", "employer": "杭州演示软件科技有限公司"}
    assert len(budgets(drawn(REVIEW, declared=two))) == 2


def test_confirmation_alone_draws_on_an_account_of_the_service() -> None:
    assert len(budgets(drawn(PERSONS, declared={}))) == 1


def test_one_source_attribute_has_one_account_whichever_client_terms_or_purpose_ask() -> None:
    assert budgets(drawn(REVIEW)) < budgets(drawn(BENEFITS))


def test_two_services_on_one_source_attribute_share_its_account() -> None:
    """Another service over the same column must be no second way to the same value."""
    service = DIRECTORY.catalogue.services["employment-status"]
    question = permitted(REVIEW)
    other = replace(question, service=replace(service, name="employment-twin", contract_digest="sha256-other"))
    one, two = accounts(KEY, "hz-hrss", question, NOW), accounts(KEY, "hz-hrss", other, NOW)
    assert budgets(one) == budgets(two)
    assert not questions(one) & questions(two), "another contract asks another question"


def test_departments_subjects_and_attributes_have_accounts_of_their_own() -> None:
    mine = budgets(drawn(REVIEW))
    assert not mine & budgets(drawn(REVIEW, department="hz-civil"))
    assert not mine & budgets(drawn(REVIEW, subject={"id_number": cast.FORMER.id_number}))
    assert not mine & budgets(drawn(WAGES))


def test_spellings_of_one_subject_are_one_account_and_one_question() -> None:
    old, wide = "339881780312001", "33988119780312001３"
    for spelling in (old, wide):
        found = drawn(REVIEW, subject={"id_number": spelling})
        assert found == drawn(REVIEW)


def test_amounts_on_one_grid_point_are_one_question() -> None:
    def asked(amount: str) -> set[str]:
        return questions(drawn(LEVY, declared={"contract_number": "2025YS000101", "price": amount}))

    assert asked("1280000.00") == asked("1279999.99") == asked("1270001")
    assert asked("1280000.00") != asked("1300000.00")


@pytest.mark.parametrize(
    "members",
    [
        {"declared": {"employed_on": "2026-09-16"}},
        {"confirm": {"name": "沈建华"}},
        {"subject": {"id_number": cast.FORMER.id_number}},
    ],
)
def test_another_value_is_another_question(members: dict[str, Any]) -> None:
    assert not questions(drawn(REVIEW)) & questions(drawn(REVIEW, **members))


@pytest.mark.parametrize("members", [{"case": "UB-2"}, {"operator": "op-2"}, {"purpose": "other-purpose"}])
def test_case_operator_and_purpose_do_not_make_another_question(members: dict[str, Any]) -> None:
    assert drawn(REVIEW, **members) == drawn(REVIEW)


def test_terms_that_show_more_make_another_question() -> None:
    """Paid for without a mask, it must not bring the mask for nothing."""
    assert budgets(drawn(REVIEW)) & budgets(drawn(BENEFITS))
    assert not questions(drawn(REVIEW)) & questions(drawn(BENEFITS))
    folded = changed(REVIEW, obligations=(*REVIEW.obligations, Fold()))
    assert not questions(drawn(folded)) & questions(drawn(REVIEW))
    reviewed = changed(REVIEW, obligations=tuple(item for item in REVIEW.obligations if item != HumanReview()))
    assert questions(drawn(reviewed)) == questions(drawn(REVIEW))


def test_names_hold_nothing_of_the_question() -> None:
    text = str([(account.name, account.question) for account in drawn(BENEFITS)])
    for value in ("339881197803120013", "沈建国", "2026-09-15", "employed_on", "UB-1", "op-1"):
        assert value not in text


def test_names_depend_on_the_nodes_key() -> None:
    other = accounts(b"x" * 32, "hz-hrss", permitted(REVIEW), NOW)
    assert not budgets(drawn(REVIEW)) & budgets(other)
    assert not questions(drawn(REVIEW)) & questions(other)


def test_order_of_accounts_is_the_same_for_all() -> None:
    """Two questions that draw on the same accounts must not wait for each other."""
    names = [account.name for account in drawn(BENEFITS)][1:]
    assert len(names) == 2
    two = {"employed_on": "2026-09-16", "employer": "杭州演示软件科技有限公司"}
    assert [account.name for account in drawn(REVIEW, declared=two)][1:] == names


OVERALL, DETAILED = Disclose("overall"), Disclose("per_attribute")
NONE, ONE, TWO = frozenset[str](), frozenset({"employer"}), frozenset({"employer", "employed_on"})

PRICES: list[tuple[tuple[Obligation, ...], frozenset[str], int, int]] = [
    ((OVERALL, Fold()), NONE, 1, price(2)),
    ((OVERALL, Fold()), NONE, 3, price(2)),
    ((OVERALL,), NONE, 1, price(3)),
    ((OVERALL,), NONE, 0, price(3)),
    ((DETAILED, Fold()), NONE, 1, price(2)),
    ((DETAILED, Fold()), NONE, 3, price(8)),
    ((DETAILED,), NONE, 3, price(9)),
    ((DETAILED,), NONE, 0, price(3)),
    ((OVERALL,), ONE, 1, price(3) + MASK_BITS * 1_000),
    ((OVERALL, Fold()), TWO, 1, price(2) + 2 * MASK_BITS * 1_000),
]


@pytest.mark.parametrize(("obligations", "masked", "declared", "expected"), PRICES)
def test_price_is_the_number_of_answers_there_may_be(
    obligations: tuple[Obligation, ...], masked: frozenset[str], declared: int, expected: int
) -> None:
    assert question_price(changed(BENEFITS, obligations=obligations, masked=masked), declared) == expected
