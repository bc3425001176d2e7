from __future__ import annotations

import pytest

from client.report import Tally
from client.verify import Finding, Outcome

COMPLETE = Finding("a", Outcome.COMPLETE, "fine")
WITHOUT = Finding("b", Outcome.WITHOUT_PROOF, "no proof")
FAILED = Finding("c", Outcome.NOT_VERIFIED, "forged")


def test_nothing_to_verify_is_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    tally.print()
    assert tally.outcome() is Outcome.NOT_VERIFIED
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("findings", "worst"),
    [
        ([COMPLETE], Outcome.COMPLETE),
        ([WITHOUT, COMPLETE], Outcome.WITHOUT_PROOF),
        ([COMPLETE, FAILED, WITHOUT], Outcome.NOT_VERIFIED),
    ],
)
def test_worst_finding_decides(findings: list[Finding], worst: Outcome) -> None:
    tally = Tally()
    for finding in findings:
        tally.add(finding)
    assert tally.outcome() is worst


def test_one_failure_among_many_is_told_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    for finding in [FAILED, *[WITHOUT] * 50]:
        tally.add(finding)
    tally.print()
    out = capsys.readouterr().out
    assert out.startswith("c: NOT VERIFIED: forged\n")
    assert "b: " not in out
    assert "51" in out
