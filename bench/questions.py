"""Questions for the bench: every claimant on several days, so that no two are the same question."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

CLIENT = "hz-hrss-benefits"
SERVICE = "employment-status"
PATH = f"/v1/services/{SERVICE}/verifications"

# Each day is a new distinct question of log2(3) bits about the same attribute: 20 of them stay below the 40 agreed.
DAYS = 20
_FIRST_DAY = date(2026, 9, 15)


class Questions:
    """All distinct questions about the claimants of a demonstration's folder, in the file's order, day by day."""

    def __init__(self, var: Path) -> None:
        lines = (var / "claimants.ndjson").read_text("utf-8").splitlines()
        self._claimants: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self._next = 0

    def peek(self, count: int) -> list[bytes]:
        """Return the bodies of the next `count` questions, fewer at the end; they are not used up by this."""
        last = min(self._next + count, len(self._claimants) * DAYS)
        return [self._body(place) for place in range(self._next, last)]

    def use_up(self, count: int) -> None:
        """Go on behind the next `count` questions."""
        self._next += count

    def _body(self, place: int) -> bytes:
        days_before, claimant = divmod(place, len(self._claimants))
        question = {
            "purpose": "unemployment-benefit",
            "case": f"SY-2026-{claimant:06d}",
            "operator": "bench-operator",
            **self._claimants[claimant],
            "declared": {"employed_on": (_FIRST_DAY - timedelta(days=days_before)).isoformat()},
        }
        return json.dumps(question, ensure_ascii=False, separators=(",", ":")).encode()
