"""What every problem document must be, and every refusal's record and receipt."""

from __future__ import annotations

import uuid
from typing import Any

from werkzeug.test import TestResponse

from app.api.problems import PROBLEMS
from evidence.receipt import Receipt, verify_receipt
from tests.nodes.running import RunningNode


def problem(response: TestResponse, slug: str, status: int | None = None) -> dict[str, Any]:
    """The response's problem document, which is of this slug and agrees with its HTTP status (RFC 9457)."""
    document: dict[str, Any] | None = response.get_json(silent=True)
    assert response.content_type == "application/problem+json", response.text
    assert document is not None
    assert document["type"] == slug, document
    assert response.status_code == document["status"] == (status or PROBLEMS[slug].status)
    assert document["title"] == PROBLEMS[slug].title
    assert document["detail"].endswith(".")
    assert document.keys() <= {
        "type",
        "title",
        "status",
        "detail",
        "instance",
        "receipt",
        "reasons",
        "errors",
        "violated-policies",
    }
    return document


def recorded(node: RunningNode, response: TestResponse, slug: str, status: int | None = None) -> Receipt:
    """The verified receipt of a refusal whose record is in the log, in the index and in the problem document."""
    document = problem(response, slug, status)
    identifier = document["instance"]
    assert uuid.UUID(identifier).version == 4
    receipt = verify_receipt(document["receipt"], node.receipt_keys())
    assert receipt.record == node.record(identifier)
    assert (receipt.record["id"], receipt.record["state"]) == (identifier, slug)
    assert receipt.result is None
    assert not {"result", "true_result"} & receipt.record["commitments"].keys()
    (row,) = node.rows(id=identifier)
    assert (row.idx, row.state, row.result) == (receipt.index, slug, None)
    assert not node.charges(identifier)
    return receipt


def pointers(response: TestResponse) -> dict[str, str]:
    """The reasons of an `invalid-request`, by pointer."""
    document = problem(response, "invalid-request")
    return {error["pointer"]: error["reason"] for error in document["errors"]}
