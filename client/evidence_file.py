"""The evidence a consumer keeps of one question: what it asked, what came back, the receipt and its proof.

One JSON object, or NDJSON with one a line. It holds the question in clear: it belongs to the consumer, in a
file that only its owner may read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from evidence.errors import NotVerified

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_DOCUMENT = 4 * 1024 * 1024  # bytes


class EvidenceUnreadable(NotVerified):
    """The document is not an evidence file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """`body`: the question as sent to `service`; `reply`: the answer or problem document; `receipt`: its JWS.

    `proof` is the tlog-proof text, if it was fetched.
    """

    service: str
    body: dict[str, Any]
    reply: dict[str, Any]
    receipt: str
    proof: str | None = None

    def to_json(self) -> bytes:
        """Return the evidence as one line of JSON, newline included."""
        question = {"service": self.service, "body": self.body}
        document = {"question": question, "reply": self.reply, "receipt": self.receipt}
        if self.proof is not None:
            document["proof"] = self.proof
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def parse(cls, document: bytes) -> Evidence:
        """Return the evidence in one JSON object; raises `EvidenceUnreadable`."""
        try:
            value = orjson.loads(document)
        except orjson.JSONDecodeError:
            raise EvidenceUnreadable("This is not JSON, so it is no evidence.") from None
        question = value.get("question") if isinstance(value, dict) else None
        if not isinstance(question, dict):
            raise EvidenceUnreadable("The evidence does not hold the question that was asked.")
        evidence = cls(
            service=question.get("service", ""),
            body=question.get("body", {}),
            reply=value.get("reply", {}),
            receipt=value.get("receipt", ""),
            proof=value.get("proof"),
        )
        evidence._check_types()
        return evidence

    def _check_types(self) -> None:
        texts = isinstance(self.service, str) and isinstance(self.receipt, str)
        objects = isinstance(self.body, dict) and isinstance(self.reply, dict)
        if not texts or not objects or not isinstance(self.proof, str | None):
            raise EvidenceUnreadable("A member of the evidence is of the wrong kind.")
        if not self.receipt:
            raise EvidenceUnreadable("The evidence holds no receipt.")


def append_evidence(path: Path, evidence: Evidence) -> None:
    """Append one line to `path`, creating it readable by its owner only; raises `OSError`."""

    def private(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    with open(path, "ab", opener=private) as file:
        file.write(evidence.to_json())


def read_documents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each document of an evidence file with a label: the path, with a line number if there are many.

    Nothing is parsed here but the first line, to tell NDJSON from one object over several lines. Raises
    `OSError`; yields a document over 4 MiB cut, so that it does not parse.
    """
    with path.open("rb") as file:
        first = file.readline(MAX_DOCUMENT)
        if not _is_object(first):
            yield str(path), first + file.read(MAX_DOCUMENT)
            return
        second = file.readline(MAX_DOCUMENT)
        if not second:
            yield str(path), first
            return
        number, line = 2, second
        yield f"{path}:1", first
        while line:
            if not line.isspace():
                yield f"{path}:{number}", line
            number, line = number + 1, file.readline(MAX_DOCUMENT)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False
