"""Agreements as tests move them: straight to a state, as the step that leads there would."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from sqlalchemy import Connection

from app.log.sequencer import Place
from app.registry import standing
from app.steps import Step
from tests.nodes.running import RunningNode


def moved(node: RunningNode, identifier: str, state: str) -> None:
    """Record that an agreement is in another state, without telling the limiter or any other process."""

    def change(connection: Connection, place: Place) -> None:
        standing.move(connection, identifier, state, place.epoch)

    step = Step(
        id=str(uuid.uuid4()),
        at=datetime.now(UTC),
        kind="agreement",
        state=state,
        about=identifier,
        document={"agreement": identifier},
        change=change,
        moves_epoch=True,
    )
    node.node.recorder.record_step(step)
