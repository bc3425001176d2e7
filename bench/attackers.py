"""Attackers as strong as anyone who reads the published match contract: what they know, and what they ask next.

Pure: no node in here. What they are told by answers is kept apart from how they come by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import TypeAlias

Interval: TypeAlias = "tuple[int, int]"
"""Amounts in fen from the first on, up to but without the second."""

WIDE = str.maketrans("0123456789", "０１２３４５６７８９")


@dataclass(slots=True)
class PriceHunter:
    """Narrows down an amount by questions on grid points, halving what is left with each answer.

    It knows by the published contract that a question at a grid point is answered yes for amounts from one tolerance
    below it up to, `closed` or not, one tolerance above.
    """

    tolerance: int
    grid: int
    left: list[Interval]
    closed: bool = False
    asked: set[int] = field(default_factory=set)

    @property
    def remaining(self) -> int:
        """How many fen wide all that is left is."""
        return sum(high - low for low, high in self.left)

    def next(self) -> int | None:
        """The grid point that divides most evenly what is left; None where no answer tells more."""
        if not self.left:
            return None
        first = (self.left[0][0] - self.tolerance) // self.grid * self.grid
        last = self.left[-1][1] + self.tolerance
        best, gain = None, 0
        for point in range(max(0, first), last + 1, self.grid):
            inside = sum(high - low for low, high in _cut(self.left, self._agreeing(point)))
            if min(inside, self.remaining - inside) > gain:
                best, gain = point, min(inside, self.remaining - inside)
        return best

    def learn(self, point: int, *, agrees: bool) -> None:
        """Take an answer into account."""
        self.asked.add(point)
        low, high = self._agreeing(point)
        if agrees:
            self.left = _cut(self.left, (low, high))
        else:
            most = max(high, self.left[-1][1]) if self.left else high
            self.left = _cut(self.left, (0, low)) + _cut(self.left, (high, most))

    def _agreeing(self, point: int) -> Interval:
        return point - self.tolerance, point + self.tolerance + self.closed


@dataclass(slots=True)
class DayHunter:
    """Narrows down the first and the last day of an employment by halving, one end after the other in turn.

    It knows a day within, and one before the first and one after the last.
    """

    before: date
    within: date
    after: date
    _covered: list[date] = field(init=False)  # the first and the last day known to be covered

    def __post_init__(self) -> None:
        self._covered = [self.within, self.within]

    @property
    def remaining(self) -> tuple[int, int]:
        """How many days the first and the last may still be."""
        first, last = self._covered
        return (first - self.before).days, (self.after - last).days

    def next(self) -> date | None:
        """The day that halves what is left of the end that is known less; None where both are known."""
        first, last = self.remaining
        if max(first, last) == 1:
            return None
        half = timedelta(days=max(first, last) // 2)
        return self._covered[0] - half if first >= last else self._covered[1] + half

    def learn(self, day: date, *, covered: bool) -> None:
        """Take an answer into account."""
        if covered:
            self._covered = [min(self._covered[0], day), max(self._covered[1], day)]
        elif day < self._covered[0]:
            self.before = max(self.before, day)
        else:
            self.after = min(self.after, day)


def _cut(left: Sequence[Interval], wanted: Interval) -> list[Interval]:
    parts = ((max(low, wanted[0]), min(high, wanted[1])) for low, high in left)
    return [(low, high) for low, high in parts if low < high]


def labels(rng: Random) -> dict[str, str]:
    """A case number and an operator that nobody has used before."""
    return {"case": f"LV-{rng.randrange(10**8):08d}", "operator": f"officer.{rng.randrange(10**6)}"}


def spellings(id_number: str) -> tuple[str, ...]:
    """Spellings of one resident id number of somebody born in the 20th century."""
    old = id_number[:6] + id_number[8:17]
    return id_number, old, id_number.translate(WIDE), old.translate(WIDE)


def amounts(rng: Random, point: int, grid: int) -> str:
    """An amount in yuan that the node puts on this grid point (in fen), spelt in one of several ways."""
    value = max(0, point + rng.randrange(-grid // 2 + 1, grid // 2))
    whole, rest = divmod(value, 100)
    return f"{whole}.{rest:02d}" if rest or rng.random() < 0.5 else str(whole)
