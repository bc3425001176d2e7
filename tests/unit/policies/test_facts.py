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
    with pytest.raises(ValueError, match="hours"):
        Hours(frozenset(weekdays), from_minute, until_minute)


FLAWS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({"kind": "treaty"}, "kind"),
    "unknown state": ({"state": "Active"}, "state"),
    "agreement that calls itself statutory": ({"statutory": True}, "statutory"),
    "beginning without a zone": ({"valid_from": datetime(2026, 1, 1)}, "aware"),  # noqa: DTZ001
    "end without a zone": ({"valid_until": datetime(2027, 1, 1)}, "aware"),  # noqa: DTZ001
    "end within a second": ({"valid_until": datetime(2027, 1, 1, 0, 0, 0, 1, CHINA)}, "whole seconds"),
    "end before the beginning": ({"valid_until": datetime(2025, 1, 1, tzinfo=CHINA)}, "begin"),
    "end at the beginning": ({"valid_until": datetime(2026, 1, 1, tzinfo=CHINA)}, "begin"),
    "network with host bits": ({"networks": ("10.8.0.1/16",)}, "host bits"),
    "network by name": ({"networks": ("intranet",)}, "intranet"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flawed_terms_are_refused(agreement: Terms, flaw: str) -> None:
    change, said = FLAWS[flaw]
    with pytest.raises(ValueError, match=said):
        replace(agreement, **change)


def test_question_without_a_time_zone_is_refused(asked: Facts) -> None:
    with pytest.raises(ValueError, match="aware"):
        replace(asked, at=datetime(2026, 6, 2, 10))  # noqa: DTZ001
