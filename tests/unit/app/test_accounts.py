from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from app.accounts import MASK_BITS, UNBOUNDED, accounts, question_price
from app.limits.account import Account, price
from app.recording import Permitted
from app.registry.agreements import Agreement, Bounds, Budget
from app.registry.question import QuestionReader
from examples.demo import cast
from policies.obligations import Disclose, Fold, HumanReview, Obligation
from tests.nodes.routes import example_agreements, example_directory

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
KEY = b"k" * 32
DIRECTORY = example_directory()


def agreed(identifier: str) -> Agreement:
    """One agreement of the example, as if it were active."""
    found = example_agreements().find(identifier)
    assert found is not None, identifier
    return found


BENEFITS = agreed("hz-hrss-employment-status-unemployment-benefit")
REVIEW = agreed("hz-hrss-employment-status-benefit-review")
DIBAO = agreed("hz-civil-employment-status-low-income-household")
WAGES = agreed("hz-hrss-wage-base-social-insurance-levy")
LEVY = agreed("hz-tax-property-contract-property-tax")
PERSONS = agreed("hz-police-person-basic-standing-terms")


def permitted_body(agreement: Agreement) -> dict[str, Any]:
    """The example question of the agreement's service."""
    return copy.deepcopy(dict(DIRECTORY.catalogue.services[agreement.service].example))


def permitted(agreement: Agreement, **members: Any) -> Permitted:
    """The example question of the agreement's service, with members replaced."""
    service = DIRECTORY.catalogue.services[agreement.service]
    body = {"purpose": "any-purpose", "case": "UB-1", "operator": "op-1", **copy.deepcopy(dict(service.example))}
    return Permitted(service, QuestionReader(service).read(body | members), agreement)


def drawn(agreement: Agreement, department: str = "hz-hrss", **members: Any) -> list[Account]:
    return accounts(KEY, department, permitted(agreement, **members), NOW)


def budgets(found: list[Account]) -> set[str]:
    """Names of the accounts that the answer itself draws on."""
    return {account.name for account in found if account.question is not None and account.answers}


def questions(found: list[Account]) -> set[str]:
    return {account.question for account in found if account.question is not None and account.answers}


def changed(agreement: Agreement, **members: Any) -> Agreement:
    return replace(agreement, **members)


def test_terms_without_limits_draw_on_every_account_all_the_same() -> None:
    """Terms that bound it later must find all that was ever spent."""
    bounded, unbounded = drawn(BENEFITS)[1:], drawn(changed(BENEFITS, quota=None, budget=None))
    assert [(account.name, account.amount) for account in unbounded] == [(a.name, a.amount) for a in bounded]
    assert {account.limit for account in unbounded} == {UNBOUNDED}


def test_quota_comes_first_and_names_department_terms_and_period() -> None:
    quota, *others = drawn(BENEFITS)
    assert quota.name == "quota/hz-hrss/hz-hrss-employment-status-unemployment-benefit/2026-11"
    assert (quota.amount, quota.limit, quota.question) == (1, 1_000_000, None)
    assert quota.begins_at == datetime.fromisoformat("2026-11-01T00:00:00+08:00")
    assert quota.resets_at == datetime.fromisoformat("2026-12-01T00:00:00+08:00")
    assert all(other.name.startswith("budget/") and other.resets_at is None for other in others)


def attributes(found: list[Account]) -> list[tuple[str | None, str | None]]:
    """Source attribute and column of every budget that the answer itself draws on, in its order."""
    return [
        (account.attribute, account.column) for account in found if account.question is not None and account.answers
    ]


START = ("hz-tax/wage_declarations.start_date", "start_date")
END = ("hz-tax/wage_declarations.end_date", "end_date")
EMPLOYER = ("hz-tax/wage_declarations.employer_name", "employer_name")
BOTH = {"employed_on": "2026-09-15", "employer": "杭州演示软件科技有限公司"}


def test_every_column_that_an_attribute_asked_or_masked_reads_has_an_account() -> None:
    """A day of employment is compared with its first and its last day: an answer tells of both."""
    assert attributes(drawn(REVIEW)) == [END, START]
    assert attributes(drawn(BENEFITS)) == [EMPLOYER, END, START], "the mask draws on the employer's account"
    assert attributes(drawn(REVIEW, declared=BOTH)) == [EMPLOYER, END, START]
    assert len(budgets(drawn(REVIEW, declared=BOTH))) == 3


def confirming(found: list[Account]) -> list[Account]:
    return [account for account in found if not account.answers]


def test_columns_that_confirm_the_subject_have_accounts_over_all_services() -> None:
    """Trying out names about a number is a search too, whatever is asked beside them."""
    (name,) = confirming(drawn(REVIEW))
    assert (name.attribute, name.column) == ("hz-tax/taxpayers.full_name", "taxpayers.full_name")
    assert name.amount == price(2)
    (wages,) = confirming(
        drawn(WAGES, subject=permitted_body(REVIEW)["subject"], confirm=permitted_body(REVIEW)["confirm"])
    )
    assert (wages.name, wages.question) == (name.name, name.question), "the same name is one question everywhere"
    (other,) = confirming(drawn(REVIEW, confirm={"name": "沈一"}))
    assert other.name == name.name
    assert other.question != name.question


def test_confirmation_tried_once_is_paid_for_whatever_is_declared() -> None:
    (one,), (two,) = confirming(drawn(REVIEW)), confirming(drawn(REVIEW, declared={"employed_on": "2026-01-01"}))
    assert one.question == two.question


def test_confirmation_alone_draws_on_the_account_of_there_being_a_row() -> None:
    assert attributes(drawn(PERSONS, declared={})) == [("hz-police/residents.*", "*")]


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
    assert len(names) == 4
    two = BOTH | {"employed_on": "2026-09-16"}
    assert [account.name for account in drawn(REVIEW, declared=two)][1:] == names
    reversed_order = dict(reversed(two.items()))
    assert [account.name for account in drawn(REVIEW, declared=reversed_order)][1:] == names


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
    terms = replace(BENEFITS.terms, masked=masked)
    assert question_price(changed(BENEFITS, obligations=obligations, terms=terms), declared) == expected


def drawn_under(bounds: dict[tuple[str, str], Bounds], agreement: Agreement = REVIEW) -> list[Account]:
    """What the example question draws on where the department's agreements have these tightest budgets."""
    return accounts(KEY, "hz-hrss", permitted(agreement), NOW, budgets=bounds)


def limits(found: list[Account]) -> dict[str | None, int]:
    return {account.attribute: account.limit for account in found if account.question is not None and account.answers}


def test_budget_of_another_agreement_holds_where_it_is_tighter() -> None:
    """A second agreement of the department must be no second budget."""
    tighter = {("hz-hrss", START[0]): Bounds(ever=5), ("hz-hrss", END[0]): Bounds(ever=900)}
    assert limits(drawn_under(tighter)) == {START[0]: 5_000, END[0]: 240_000}


def test_budget_of_another_agreement_holds_where_this_one_has_none() -> None:
    bounds = {("hz-hrss", START[0]): Bounds(ever=5)}
    assert limits(drawn_under(bounds, changed(REVIEW, budget=None))) == {START[0]: 5_000, END[0]: UNBOUNDED}


def test_budget_of_another_department_does_not_hold() -> None:
    bounds = {("hz-civil", START[0]): Bounds(ever=5)}
    assert limits(drawn_under(bounds)) == {START[0]: 240_000, END[0]: 240_000}


def test_budget_that_renews_draws_on_its_year_and_on_the_account_of_all_time() -> None:
    """Terms that renew no more must find everything that was ever spent."""
    yearly = changed(REVIEW, budget=Budget(240, renews=True))
    once, renewing = drawn(REVIEW)[1:], drawn(yearly)[1:]
    names = {account.name for account in once}
    assert names <= {account.name for account in renewing}
    for account in renewing:
        if account.name in names:
            assert (account.limit, account.resets_at) == (UNBOUNDED, None)
        else:
            assert account.name.removesuffix("/2026") in names
            assert account.limit == 240_000
            assert account.begins_at == datetime.fromisoformat("2026-01-01T00:00:00+08:00")
            assert account.resets_at == datetime.fromisoformat("2027-01-01T00:00:00+08:00")
    assert len(renewing) == 2 * len(once)


def test_bounds_of_all_time_and_of_the_year_hold_together() -> None:
    """An agreement that renews, beside one that does not, loosens nothing, and each keeps its own tightest."""
    bounds = {("hz-hrss", name): Bounds(ever=300) for name in (START[0], END[0], "hz-tax/taxpayers.full_name")}
    found = drawn_under(bounds, changed(REVIEW, budget=Budget(40, renews=True)))[1:]
    assert {account.limit for account in found if account.resets_at is None} == {300_000}
    assert {account.limit for account in found if account.resets_at is not None} == {40_000}


@pytest.mark.parametrize(
    ("budgets_agreed", "expected"),
    [
        ([None], Bounds()),
        ([Budget(3, renews=True)], Bounds(yearly=3)),
        ([Budget(3, renews=False), None], Bounds(ever=3)),
        ([Budget(3, renews=True), Budget(9, renews=True)], Bounds(yearly=3)),
        ([Budget(9, renews=False), Budget(3, renews=True)], Bounds(ever=9, yearly=3)),
        ([Budget(9, renews=False), Budget(3, renews=False), Budget(5, renews=True)], Bounds(ever=3, yearly=5)),
    ],
)
def test_bounds_are_the_tightest_of_each_kind(budgets_agreed: list[Budget | None], expected: Bounds) -> None:
    for order in (budgets_agreed, budgets_agreed[::-1]):
        bounds = Bounds()
        for budget in order:
            bounds = bounds.also(budget)
        assert bounds == expected


def test_renewed_agreement_brings_no_fresh_quota() -> None:
    successor = changed(BENEFITS, terms=replace(BENEFITS.terms, id="second-in-line"))
    assert drawn(successor)[0].name == drawn(BENEFITS)[0].name
    first_in_line = changed(successor, lineage="second-in-line")
    assert drawn(first_in_line)[0].name == "quota/hz-hrss/second-in-line/2026-11"


def test_service_without_a_source_draws_on_the_quota_alone() -> None:
    """What is withheld is never answered; a rule that let it through would still find nothing to charge."""
    question = permitted(REVIEW)
    withheld = replace(question, service=replace(question.service, answerable=None))
    assert accounts(KEY, "hz-hrss", withheld, NOW) == drawn(REVIEW)[:1]
