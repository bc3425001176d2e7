"""The verdict on what a decision costs: a limit that is broken is an exit code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from bench import decisions
from bench.decisions import Ratio


def test_ratio_is_the_median_of_the_rounds_own() -> None:
    found = Ratio.of("cold/bare", [1.0, 2.6, 9.0], [1.0, 2.0, 3.0], 1.3)
    assert (found.rounds, found.held) == ([1.0, 1.3, 3.0], True)
    assert found.text() == "cold/bare = 1.300  (3 rounds, 1.000 to 3.000; limit 1.3: kept)"
    assert not Ratio.of("cold/bare", [1.0, 2.7, 9.0], [1.0, 2.0, 3.0], 1.3).held


@pytest.mark.parametrize(("many_us", "exit_code", "word"), [(12.9, 0, "kept"), (13.1, 1, "BROKEN")])
def test_broken_limit_fails(monkeypatch: pytest.MonkeyPatch, many_us: float, exit_code: int, word: str) -> None:
    taken = {
        "bare": [100.0],
        "cold": [120.0],
        "kept": [20.0],
        "10 agreements": [10.0],
        "10,000 agreements": [many_us],
    }
    figures = SimpleNamespace(cases=list, measured=lambda *_: taken, resident_mb=lambda: 1.0)
    for name, figure in vars(figures).items():
        monkeypatch.setattr(decisions, name, figure)
    result = CliRunner().invoke(decisions.main, [])
    assert result.exit_code == exit_code
    assert f"limit 1.3: {word})" in result.output.splitlines()[-2]
