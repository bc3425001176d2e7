"""Disputes 争议 over an application: which step may follow which, who takes it, and where it leads. Pure.

Negotiation → the authority coordinates → joint review → ruling (海珠 第三十三条, 四川 第二十五条). A ruling for the
consumer, or a provider that gives way, opens the application again with a new clock: it never grants anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.refusals import Refusal

OPEN = ("negotiation", "coordination", "joint-review")
OUTCOMES = ("for-consumer", "for-provider")
BASIS = ("海珠 第三十三条", "四川 第二十五条")


@dataclass(frozen=True, slots=True)
class Move:
    """A step of a dispute: by which sides, from which states, to which one; `reopens` the application or not."""

    by: frozenset[str]
    states: frozenset[str]
    leads_to: str
    reopens: bool = False


def _move(by: str, states: tuple[str, ...], leads_to: str, *, reopens: bool = False) -> Move:
    return Move(frozenset(by.split()), frozenset(states), leads_to, reopens)


MOVES: Mapping[str, Move] = {
    # What one side proposes while both still talk: kept, and nothing moves by it.
    "negotiation": _move("consumer provider", ("negotiation",), "negotiation"),
    "coordination": _move("authority", ("negotiation",), "coordination"),
    "joint-review": _move("authority", ("coordination",), "joint-review"),
    # 四川 第二十五条 goes from coordination to the ruling; 海珠 第三十三条 has the joint review between.
    "ruling": _move("authority", ("coordination", "joint-review"), "ruled"),
    "settlement": _move("provider", OPEN, "settled", reopens=True),
    "withdrawal": _move("consumer", OPEN, "withdrawn"),
}


def follow(state: str, step: str, side: str, outcome: str | None) -> Move:
    """The move that `step` is, taken by `side` (consumer, provider or authority) of a dispute in `state`.

    Raises `Refusal`: not-permitted for a side that may not take it, conflict for a state that it does not follow,
    invalid-request for a ruling without its outcome, or an outcome without a ruling.
    """
    move = MOVES[step]
    if side not in move.by:
        reason = {
            "en": "This step belongs to another side: the parties negotiate, the authority coordinates, reviews and "
            "rules.",
            "zh": "该争议处理环节由其他方办理:供需双方协商,主管部门协调、会审和裁定。",
        }
        entry = {"rule": "dispute-step-of-another-side", "basis": list(BASIS), "reason": reason}
        raise Refusal(
            "not-permitted", "This step belongs to another side: see reasons.", members={"reasons": [entry]}
        )
    if state not in move.states:
        raise Refusal("conflict", "This step does not follow the dispute's present state: read the dispute again.")
    if (step == "ruling") is (outcome is None):
        fault = {"pointer": "/outcome", "reason": "belongs to a ruling, which needs it, and to no other step"}
        raise Refusal(
            "invalid-request", "The outcome does not fit the step: see errors.", members={"errors": [fault]}
        )
    if outcome == "for-consumer":
        return Move(move.by, move.states, move.leads_to, reopens=True)
    return move
