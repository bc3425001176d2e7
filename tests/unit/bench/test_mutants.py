"""The score of the mutation test, read from mutmut's own words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.mutants import main, score, statuses

RESULTS = """\
    policies.period.x_hour__mutmut_1: killed
    policies.period.x_hour__mutmut_2: timeout
    policies.forms.xǁFormǁof__mutmut_3: survived
    policies.forms.xǁFormǁof__mutmut_4: caught by type check
"""


def test_score_is_the_share_that_was_found() -> None:
    counted = statuses(RESULTS.splitlines())
    assert counted == {"killed": 1, "timeout": 1, "survived": 1, "caught by type check": 1}
    assert score(counted) == 0.75


@pytest.mark.parametrize("status", ["survived", "no tests", "suspicious", "skipped", "not checked", "segfault"])
def test_mutant_that_no_test_found_lowers_the_score(status: str) -> None:
    assert score(statuses([f"    policies.a__mutmut_1: {status}"])) == 0.0


def test_score_below_the_least_fails_and_names_what_survived() -> None:
    result = CliRunner().invoke(main, [], input=RESULTS)
    assert result.exit_code == 1
    assert "policies.forms.xǁFormǁof__mutmut_3: survived" in result.output
    assert "mutmut_1" not in result.output
    assert result.output.endswith("75.0% of 4 faults found, at least 85% needed\n")
    assert CliRunner().invoke(main, ["--least", "0.75"], input=RESULTS).exit_code == 0


def test_run_that_tried_nothing_fails() -> None:
    assert CliRunner().invoke(main, [], input="").exit_code == 1
    assert CliRunner().invoke(main, [], input="Traceback: broken\n").exit_code == 1


def test_what_the_installed_mutmut_prints_is_read(tmp_path: Path) -> None:
    """A module of two faults of which the test finds one, through the commands of `make mutants`."""
    (tmp_path / "sums.py").write_text("def total(a, b):\n    return a + b\n\n\ndef least():\n    return 1\n")
    (tmp_path / "tests").mkdir()
    test = "import sums\n\n\ndef test_total():\n    assert sums.total(1, 2) == 3\n    assert sums.least()\n"
    (tmp_path / "tests" / "test_sums.py").write_text(test)
    settings = '[tool.mutmut]\nsource_paths = ["sums.py"]\npytest_add_cli_args_test_selection = ["tests"]\n'
    (tmp_path / "pyproject.toml").write_text(settings)
    mutmut = shutil.which("mutmut", path=str(Path(sys.executable).parent))
    assert mutmut is not None
    # Two fixed commands of the project's own environment.
    subprocess.run([mutmut, "run", "--max-children", "1"], cwd=tmp_path, check=True, capture_output=True)
    results = [mutmut, "results", "--all", "true"]
    said = subprocess.run(results, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert statuses(said.splitlines()) == {"killed": 1, "survived": 1}, said
