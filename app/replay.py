"""Deciding a recorded question again, with the facts, rules and agreement of that day.

Everything comes from the record and from what it names by digest, so that later revisions and agreements change
nothing. Whether case and operator have the agreed pattern is looked at again where the index still holds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from app.recorded import Documents, Flawed, Recorded, Verdict
from policies.facts import Facts

T = TypeVar("T")


class Outcome(IntEnum):
    """What became of a replay, as the command's exit code."""

    EQUAL = 0
    DIFFERENT = 1
    FLAWED = 2


@dataclass(frozen=True, slots=True)
class Replayed:
    """One question decided again: what the record says, what came out, and which documents are flawed.

    `again` is None where a flaw left nothing to decide by.
    """

    id: str
    at_ms: int
    said: Verdict
    again: Verdict | None
    flaws: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        """Equal only if nothing is flawed."""
        if self.again is not None and self.again != self.said:
            return Outcome.DIFFERENT
        return Outcome.FLAWED if self.flaws or self.again is None else Outcome.EQUAL


def replay(recorded: Recorded, documents: Documents) -> Replayed:
    """Decide one question again and hold the decision and its rules against the record."""
    flaws: list[str] = []
    _tried(flaws, lambda: _check_record(recorded, documents))
    rules = _tried(flaws, lambda: documents.rules(recorded.record))
    facts = _tried(flaws, lambda: documents.facts(recorded))
    if rules is None or facts is None:
        return Replayed(recorded.id, recorded.at_ms, recorded.verdict, None, tuple(flaws))
    _tried(flaws, lambda: _check_facts(recorded, facts, documents))
    decision = rules.decide(facts)
    again = Verdict(decision.permitted, tuple(rule.id for rule in decision.rules))
    return Replayed(recorded.id, recorded.at_ms, recorded.verdict, again, tuple(flaws))


def _check_record(recorded: Recorded, documents: Documents) -> None:
    if not recorded.unaltered:
        raise Flawed("the record was altered: it does not have its leaf hash; run check-log")
    if "contract" in recorded.record:
        documents.check(recorded.record["contract"], "match contract")


def _check_facts(recorded: Recorded, facts: Facts, documents: Documents) -> None:
    """Check that record, facts and index speak of one question. Raises `Flawed`."""
    terms = facts.terms
    if recorded.record.get("agreement") != (terms.digest if terms else None):
        raise Flawed("the record and the facts of this decision name different agreements")
    if terms is None:
        return
    agreement = documents.agreement(terms.digest, terms.state, terms.signed)
    if recorded.case is not None and agreement.case_agreed(recorded.case) != facts.case_agreed:
        raise Flawed("the case number in the index is not the one that was decided about")
    if recorded.operator is not None and agreement.operator_agreed(recorded.operator) != facts.operator_agreed:
        raise Flawed("the operator in the index is not the one that was decided about")


def _tried(flaws: list[str], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Flawed as flaw:
        flaws.append(str(flaw))
        return None
