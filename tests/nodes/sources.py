"""A source whose answer a test decides, and which remembers that it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from adapters.base import Answer, AttributeAnswer, Code, Probe, Question


@dataclass(slots=True)
class CountingSource:
    """An adapter that answers every question alike, or raises `error`; `asked` are the questions it got."""

    code: Code = Code.MATCH
    error: Exception | None = None
    updated: datetime | None = None
    asked: list[Question] = field(default_factory=list)
    looks: int = 0

    def answer(self, questions: Sequence[Question], *, timeout_s: float) -> list[Answer]:
        """Answer as told."""
        assert timeout_s > 0
        self.asked += questions
        if self.error is not None:
            raise self.error
        return [
            Answer(self.code, {name: AttributeAnswer(self.code) for name in question.declared})
            for question in questions
        ]

    def probe(self) -> Probe:
        """Healthy."""
        self.looks += 1
        return Probe(True, (), self.updated)

    def as_of(self) -> datetime:
        """Just now, unless told otherwise."""
        self.looks += 1
        return self.updated or datetime.now(UTC)

    def close(self) -> None:
        """Nothing to give back."""

    @property
    def touched(self) -> bool:
        """Whether anybody asked or looked."""
        return bool(self.asked or self.looks)
