from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
from flask import Flask, abort
from werkzeug.exceptions import HTTPException

from app.api import problems
from app.api.problems import PROBLEMS
from app.refusals import Refusal


@pytest.fixture
def door() -> Callable[[Exception], tuple[int, dict[str, object], dict[str, str]]]:
    """Raises an exception inside a view; returns status, document and headers of what comes out."""

    def raised(error: Exception) -> tuple[int, dict[str, object], dict[str, str]]:
        app = Flask("test")
        app.register_error_handler(Refusal, problems.from_refusal)
        app.register_error_handler(HTTPException, problems.from_http)
        app.register_error_handler(Exception, problems.from_unknown)

        @app.route("/")
        def view() -> str:
            raise error

        response = app.test_client().get("/")
        assert response.content_type == "application/problem+json"
        return response.status_code, orjson.loads(response.data), dict(response.headers)

    return raised


Door = Callable[[Exception], tuple[int, dict[str, object], dict[str, str]]]


@pytest.mark.parametrize("slug", PROBLEMS)
def test_every_slug_has_its_status_and_title(door: Door, slug: str) -> None:
    status, document, _ = door(Refusal(slug, "Do this."))
    assert document == {"type": slug, "title": PROBLEMS[slug].title, "status": status, "detail": "Do this."}
    assert status == PROBLEMS[slug].status


def test_extra_members_and_headers_go_out(door: Door) -> None:
    status, document, headers = door(Refusal("malformed", "x", members={"errors": []}, headers={"Retry-After": "7"}))
    assert (status, document["errors"], headers["Retry-After"]) == (400, [], "7")


def test_status_of_a_conflict_is_told_by_the_refusal(door: Door) -> None:
    status, document, _ = door(Refusal("idempotency-conflict", "x", members={"status": 422}))
    assert status == document["status"] == 422


def test_record_is_named_where_there_is_one() -> None:
    with Flask("test").app_context():
        document = orjson.loads(problems.respond(Refusal("malformed", "x"), "decision-1", "a.b.c").data)
    assert (document["instance"], document["receipt"]) == ("decision-1", "a.b.c")


HTTP = {
    400: (400, "malformed"),
    401: (400, "malformed"),
    404: (404, "not-found"),
    405: (405, "method-not-allowed"),
    406: (400, "malformed"),
    408: (400, "malformed"),
    413: (413, "too-large"),
    414: (400, "malformed"),
    415: (415, "unsupported-media-type"),
    416: (400, "malformed"),
    422: (422, "invalid-request"),
    431: (400, "malformed"),
    500: (500, "internal-error"),
    501: (500, "internal-error"),
    503: (500, "internal-error"),
}


@pytest.mark.parametrize("code", HTTP)
def test_callers_faults_stay_the_callers(door: Door, code: int) -> None:
    """A 4xx of Flask's must not turn into a 5xx of ours."""
    caught: Exception = ValueError()
    try:
        abort(code)
    except HTTPException as error:
        caught = error
    status, document, _ = door(caught)
    assert (status, document["type"]) == HTTP[code]


def test_unknown_error_says_nothing_outward(door: Door) -> None:
    status, document, _ = door(KeyError("339881197803120013"))
    assert status == 500
    assert document == {
        "type": "internal-error",
        "title": "The node failed",
        "status": 500,
        "detail": "The node failed; its operators can find the cause in their log.",
    }
