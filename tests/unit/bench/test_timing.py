"""The verdict on a time gap: nothing passes that its interval does not show."""

from __future__ import annotations

from random import Random

import pytest

from bench.timing import Gap, exit_code, gap

KEPT = Gap("a", 3_000, 5.0, middle=0.001, low=-0.008, high=0.009)
UNSURE = Gap("b", 200, 5.0, middle=0.004, low=-0.015, high=0.023)
LOPSIDED = Gap("c", 200, 5.0, middle=0.03, low=0.01, high=0.05)
BROKEN = Gap("d", 3_000, 5.0, middle=0.03, low=0.025, high=0.035)
FASTER = Gap("e", 3_000, 5.0, middle=-0.03, low=-0.035, high=-0.025)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (KEPT, "kept"),
        (UNSURE, "not enough pairs to say"),
        (LOPSIDED, "not enough pairs to say"),
        (BROKEN, "BROKEN"),
        (FASTER, "BROKEN"),
    ],
)
def test_verdict_is_of_the_whole_interval(found: Gap, verdict: str) -> None:
    assert found.verdict == verdict
    assert found.text().endswith(f" pairs: {verdict}")


@pytest.mark.parametrize("other", [UNSURE, LOPSIDED, BROKEN, FASTER])
def test_gap_that_is_not_known_to_keep_the_limit_fails(other: Gap) -> None:
    assert exit_code([KEPT, KEPT], quick=False) == 0
    assert exit_code([KEPT, other, KEPT], quick=False) == 1


def test_few_pairs_pass_unless_they_show_a_gap() -> None:
    assert exit_code([KEPT, UNSURE, LOPSIDED], quick=True) == 0
    assert exit_code([KEPT, UNSURE, BROKEN], quick=True) == 1


@pytest.mark.parametrize("quick", [True, False])
def test_nothing_measured_is_nothing_kept(quick: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert exit_code([], quick=quick) == 1


def test_gap_of_three_percent_in_noise_is_found() -> None:
    rng = Random(1)
    pairs = [(1.03 + rng.gauss(0, 0.1), 1.0 + rng.gauss(0, 0.1)) for _ in range(2_000)]
    assert gap("slower", pairs, Random(7)).verdict == "BROKEN"
    assert gap("none", [(one - 0.03, other) for one, other in pairs], Random(7)).verdict == "kept"
