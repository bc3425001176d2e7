"""Applications and what they become: an agreement never grants more than was asked for or published."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.refusals import Refusal
from app.registry.agreement_document import Draft
from app.registry.applications import application_document, check_application
from app.registry.catalogue import DISCLOSURES, Service
from app.registry.deadlines import day_of
from app.registry.drafting import agreement_document, check_conditions, drafted
from policies.facts import CHINA
from tests.nodes.routes import example_directory

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
ATTRIBUTES = ("employed_on", "employer")
LEAST: dict[str, Any] = {"security_agreement": True, "fold": True, "human_review": True, "budget": {"bits": 40}}


def wanted(**changes: Any) -> dict[str, Any]:
    """An application as its shape has been checked, with everything that may be left out filled in."""
    return {
        "service": "employment-status",
        "purposes": ["benefit-audit"],
        "legal_basis": "失业保险条例 第十五条",
        "attributes": list(ATTRIBUTES),
        "disclosure": {"level": "per_attribute", "masked": ["employer"]},
        "until": date(2027, 12, 31),
        "users": [],
        "mode": "query",
        **changes,
    }


def checked(**changes: Any) -> Service:
    directory = example_directory()
    applicant = directory.departments.clients["hz-hrss-benefits"]
    return check_application(
        wanted(**changes), applicant, directory.catalogue, directory.departments, today=day_of(NOW)
    )


def document(**changes: Any) -> dict[str, Any]:
    applicant = example_directory().departments.clients["hz-hrss-benefits"]
    return application_document("a-1", wanted(**changes), checked(**changes), applicant, at=NOW)


def draft(conditions: dict[str, Any], **changes: Any) -> tuple[dict[str, Any], Draft]:
    directory, application = example_directory(), document(**changes)
    check_conditions(conditions, application, NOW)
    made = agreement_document("hz-hrss-employment-status-1", application, conditions, NOW)
    return made, drafted(made, directory.catalogue, directory.departments, pointer="/conditions")


def faults(error: Refusal) -> set[str]:
    return {fault["pointer"] for fault in error.members["errors"]}


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(Refusal) as error:
        checked(
            legal_basis="",
            until=date(2026, 11, 22),
            users=["hz-tax-levy"],
            attributes=["employed_on", "wage"],
            disclosure={"level": "per_attribute", "masked": ["wage"]},
        )
    assert faults(error.value) == {
        "/legal_basis",
        "/until",
        "/users/0",
        "/attributes/1",
        "/disclosure/masked/0",
    }


def test_last_day_may_be_today_in_shanghai() -> None:
    assert checked(until=date(2026, 11, 23)).name == "employment-status"


def test_day_has_begun_in_shanghai_before_it_has_in_utc() -> None:
    late = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
    assert day_of(late) == date(2026, 11, 23)


def test_reasons_quote_no_value() -> None:
    secret = "339881197803120013"
    with pytest.raises(Refusal) as error:
        checked(
            legal_basis=secret, users=[secret], attributes=[secret], purposes=[secret], service="employment-status"
        )
    assert secret not in str(error.value.members)


def test_agreement_holds_to_the_end_of_its_last_day_in_shanghai() -> None:
    made, kept = draft(LEAST)
    assert made["valid"] == {"from": "2026-11-23T00:00:00+08:00", "until": "2028-01-01T00:00:00+08:00"}
    assert kept.valid_until == datetime(2028, 1, 1, tzinfo=CHINA)


def test_agreement_has_no_state_and_no_signature() -> None:
    made, _ = draft(LEAST)
    assert not {"state", "signatures", "application"} & made.keys()


def test_conditions_given_stand_in_the_document_and_others_do_not() -> None:
    made, _ = draft({**LEAST, "quota": {"count": 5, "per": "day"}, "case": "^[0-9]{4}$"}, operator="^[a-z]{3}$")
    assert (made["quota"], made["case"], made["operator"]) == ({"count": 5, "per": "day"}, "^[0-9]{4}$", "^[a-z]{3}$")
    assert not {"hours", "networks", "freshness", "obligations", "batch", "supersedes"} & made.keys()


def test_signatures_of_questions_are_demanded_by_the_provider_or_not_spoken_of() -> None:
    plain, before = draft(LEAST)
    declined, same = draft(LEAST | {"request_signature": False})
    assert "request_signature" not in plain
    assert (declined, same.digest) == (plain, before.digest), "the digest of what does not demand any is what it was"
    demanding, after = draft(LEAST | {"request_signature": True})
    assert demanding == plain | {"request_signature": True}
    assert after.digest != before.digest


def test_pattern_of_the_provider_goes_before_the_one_proposed() -> None:
    made, _ = draft({**LEAST, "case": "^P[0-9]{4}$"}, case="^C[0-9]{4}$")
    assert made["case"] == "^P[0-9]{4}$"


levels = st.sampled_from(DISCLOSURES)
masks = st.lists(st.sampled_from(("employer", "employed_on")), unique=True, max_size=2)
rows = st.none() | st.integers(1, 50)


@given(levels, masks, levels, masks, rows, rows)
def test_agreement_never_grants_more_than_was_applied_for(  # noqa: PLR0917 - what is asked for, what is given
    level: str, masked: list[str], narrowed: str, kept: list[str], asked: int | None, given_rows: int | None
) -> None:
    batch = {"mode": "batch", "batch": {"rows": asked}} if asked else {}
    conditions = {**LEAST, "disclosure": {"level": narrowed, "masked": kept}}
    if given_rows:
        conditions["batch"] = {"rows": given_rows}
    try:
        made, _ = draft(conditions, disclosure={"level": level, "masked": masked}, **batch)
    except Refusal:
        return
    assert DISCLOSURES.index(made["disclosure"]["level"]) <= DISCLOSURES.index(level)
    assert set(made["disclosure"]["masked"]) <= set(masked) <= {"employer"}
    assert made.get("batch", {"rows": 0})["rows"] <= (asked or 0)
    assert set(made["attributes"]) == set(ATTRIBUTES)
    assert made["clients"] == []


@given(st.integers(0, 4_000))
def test_end_date_is_refused_exactly_outside_today_and_ten_years(days: int) -> None:
    until = date(2026, 11, 1) + timedelta(days=days)
    if date(2026, 11, 23) <= until and until.year <= 2036:
        checked(until=until)
        return
    with pytest.raises(Refusal) as error:
        checked(until=until)
    assert faults(error.value) == {"/until"}
