"""Asking: the source behind a service, or the answer that the same question got before.

INVARIANT: a source that fails is a refusal, never a `no_match`. What an answer shows beyond its codes are masked
values that the agreement names; they are kept, sealed, with the answer's own salt, and are forgotten with it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

import orjson
from cryptography.exceptions import InvalidTag

from adapters.base import Adapter, Answer, AttributeAnswer, Code, Question, SourceError, SourceUnavailable
from app.log import storage
from app.log.sealing import Sealer
from app.log.storage import Store
from app.recording import SALT, Event, Permitted
from app.refusals import Refusal
from app.steps import rfc3339
from policies.obligations import Freshness

logger = logging.getLogger(__name__)

_LETTERS = {Code.MATCH: "m", Code.NO_MATCH: "n", Code.NOT_FOUND: "f"}
_CODES = {letter: code for code, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class Sources:
    """Gives answers to permitted questions. One object for the process, shared by threads."""

    store: Store
    sealer: Sealer
    timeout_s: float

    def as_of(self, adapter: Adapter, event: Event, permitted: Permitted) -> None:
        """Note when the source was last updated. Raises `Refusal`: source-unavailable, source-stale."""
        try:
            as_of = adapter.as_of()
        except SourceError as error:
            raise _refusal(permitted.service.name, error) from None
        _refuse_stale(permitted, as_of, event.at)
        event.as_of = rfc3339(as_of) if as_of else None

    def ask(self, adapter: Adapter, permitted: Permitted) -> Answer:
        """The source's answer. Raises `Refusal`: source-unavailable, source-misbehaved."""
        asked = permitted.asked
        question = Question(asked.subject, asked.confirm, asked.declared, permitted.agreement.masked)
        try:
            return adapter.answer([question], timeout_s=self.timeout_s)[0]
        except SourceError as error:
            raise _refusal(permitted.service.name, error) from None

    def kept(self, event: Event) -> Answer | None:
        """The answer that was recorded for this very question, if the source was not updated since."""
        paid_at = event.reservation.paid_at if event.reservation else None
        if paid_at is None or event.as_of is None:
            return None
        with self.store.reading() as connection:
            row = storage.sealed_answer(connection, paid_at)
        if row is None or orjson.loads(row.body).get("as_of") != event.as_of:
            return None
        try:
            content = self.sealer.open(bytes(row.sealed), row.id)[SALT:]
        except InvalidTag:
            logger.error("the kept answer of a decision cannot be opened; the source is asked instead")  # noqa: TRY400
            return None
        return _read(content) if content else None


def keep(answer: Answer) -> bytes:
    """An answer as it is kept beside its salt: codes, each one letter long, and the masked values that were agreed.

    Sealed, what was folded has the same length as what it was folded into.
    """
    attributes = {name: [_LETTERS[item.code], item.masked] for name, item in answer.attributes.items()}
    return orjson.dumps([_LETTERS[answer.result], attributes])


def _read(content: bytes) -> Answer:
    result, attributes = orjson.loads(content)
    return Answer(
        _CODES[result],
        {name: AttributeAnswer(_CODES[code], masked=masked) for name, (code, masked) in attributes.items()},
    )


def _refuse_stale(permitted: Permitted, as_of: datetime | None, at: datetime) -> None:
    for obligation in permitted.agreement.obligations:
        if isinstance(obligation, Freshness) and (as_of is None or at - as_of > obligation.max_age):
            raise Refusal("source-stale", "The source was last updated longer ago than the agreement allows.")


def _refusal(service: str, error: SourceError) -> Refusal:
    logger.warning("source of %s: %s: %s", service, type(error).__name__, error)
    if isinstance(error, SourceUnavailable):
        return Refusal(
            "source-unavailable",
            "The source did not answer: try again shortly.",
            headers={"Retry-After": "5"},
        )
    return Refusal("source-misbehaved", "The source's answer is not what its binding describes.")
