"""Terms and facts that a rule could misread cannot be built."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from policies.facts import CHINA, Hours

if TYPE_CHECKING:
    from policies.facts import Facts, Terms


@pytest.mark.parametrize(
    ("weekdays", "from_minute", "until_minute"),
    [
        (set(), 0, 60),
        ({0}, 0, 60),
        ({8}, 0, 60),
        ({1}, 60, 60),
        ({1}, 22 * 60, 6 * 60),
        ({1}, -1, 60),
        ({1}, 0, 1441),
    ],
)
def test_hours_that_mean_nothing_are_refused(weekdays: set[int], from_minute: int, until_minute: int) -> None:
    with pytest.raises(
        ValueError, match=r"^hours (need weekdays from 1 \(Monday\) to 7|must begin before they end, within one day)$"
    ):
        Hours(frozenset(weekdays), from_minute, until_minute)


FLAWS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({"kind": "treaty"}, "^kind must be one of agreement, standing-terms$"),
    "unknown state": (
        {"state": "Active"},
        "^state must be one of approved, active, suspended, expired, revoked, superseded$",
    ),
    "agreement that calls itself statutory": ({"statutory": True}, "^only standing terms can be statutory$"),
    "beginning without a zone": ({"valid_from": datetime(2026, 1, 1)}, "aware"),  # noqa: DTZ001
    "end without a zone": ({"valid_until": datetime(2027, 1, 1)}, "^validity needs aware times on whole seconds$"),  # noqa: DTZ001
    "end within a second": ({"valid_until": datetime(2027, 1, 1, 0, 0, 0, 1, CHINA)}, "whole seconds"),
    "end before the beginning": (
        {"valid_until": datetime(2025, 1, 1, tzinfo=CHINA)},
        "^validity must begin before it ends$",
    ),
    "end at the beginning": ({"valid_until": datetime(2026, 1, 1, tzinfo=CHINA)}, "begin"),
    "unknown level": ({"level": "everything"}, "^a level of disclosure is one of overall, per_attribute$"),
    "masked value of an attribute that is not agreed": (
        {"masked": frozenset({"wage", "pay"})},
        "^masked values need agreed attributes: pay, wage$",
    ),
    "batch of fewer than no rows": (
        {"batch_rows": -1},
        "^batch_rows is a number from 0 upwards; 0 agrees to no batch$",
    ),
    "purpose without a name": ({"purposes": frozenset({"", "benefit-review"})}, "^a purpose has a name$"),
    "network with host bits": ({"networks": ("10.8.0.1/16",)}, "host bits"),
    "network by name": ({"networks": ("intranet",)}, "intranet"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flawed_terms_are_refused(agreement: Terms, flaw: str) -> None:
    change, said = FLAWS[flaw]
    with pytest.raises(ValueError, match=said):
        replace(agreement, **change)


@pytest.mark.parametrize("change", [{"batch_rows": 0}, {"masked": frozenset()}, {"level": "overall"}])
def test_least_terms_are_terms(agreement: Terms, change: dict[str, Any]) -> None:
    assert replace(agreement, **change) != agreement


def test_equal_terms_are_looked_up_alike_and_altered_ones_are_told_apart(agreement: Terms) -> None:
    assert hash(replace(agreement)) == hash(agreement)
    assert replace(agreement) == agreement
    assert replace(agreement, signed=False) != agreement


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ({"service_level": "everything"}, "^a level of disclosure is one of overall, per_attribute$"),
        ({"rows": -1}, "^rows is a number from 0 upwards; 0 is a single question$"),
        ({"at": datetime(2026, 6, 2)}, "^the time of a question must be aware$"),  # noqa: DTZ001
    ],
)
def test_flawed_question_is_refused(asked: Facts, flaw: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(asked, **flaw)


def test_question_of_no_rows_is_a_single_one(asked: Facts) -> None:
    assert asked.rows == 0
