"""The verdict on what a token costs that is known: a limit that is broken is an exit code."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from bench import tokens


@pytest.mark.parametrize(("again_us", "exit_code", "word"), [(4.9, 0, "kept"), (5.1, 1, "BROKEN")])
def test_broken_limit_fails(monkeypatch: pytest.MonkeyPatch, again_us: float, exit_code: int, word: str) -> None:
    monkeypatch.setattr(tokens, "measured", lambda *_: {"anew": [100.0], "again": [again_us]})
    result = CliRunner().invoke(tokens.main, [])
    assert result.exit_code == exit_code
    assert f"limit 0.05: {word})" in result.output.splitlines()[-1]


def test_every_case_does_what_it_is_called() -> None:
    """One token of each: new ones are verified, known ones too, forged ones refused."""
    for case in tokens.cases():
        case.run(case.prepare()[0])
