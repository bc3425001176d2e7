"""Questions that tests ask: the published personas, and claimants of whom each test may take its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from examples.demo.personas import Persona, personas

Question = dict[str, Any]

SERVICE = "employment-status"
CLIENT = "hz-hrss-benefits"


def persona(service: str, expect: str, client: str | None = None) -> Persona:
    """The first published persona of this service, result or problem, and client."""
    return next(
        item
        for item in personas()
        if item.service == service and item.expect == expect and client in {None, item.client}
    )


def body(item: Persona) -> Question:
    """The question of a persona, as a new document each time."""
    return item.question(1)


def employment(**members: Any) -> Question:
    """A question of `hz-hrss-benefits` about employment that is answered `match`; `members` replace its own."""
    return body(persona(SERVICE, "match", CLIENT)) | members


def claimants(folder: Path) -> Iterator[Question]:
    """Questions of `hz-hrss-benefits` about one claimant of the demonstration after the other, for ever."""
    rows = [json.loads(line) for line in (folder / "claimants.ndjson").read_text("utf-8").splitlines()]
    common = {"purpose": "unemployment-benefit", "operator": "demo.operator"}
    for number, row in enumerate(itertools.cycle(rows), start=1):
        yield {**common, "case": f"UB-TEST-{number:06d}", **row}
