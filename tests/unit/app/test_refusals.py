from __future__ import annotations

import logging

import pytest

from app.refusals import Refusal, unexpected


def test_refusal_without_extras_has_none() -> None:
    refusal = Refusal("malformed", "The request could not be read.")
    assert (refusal.slug, refusal.detail, str(refusal)) == ("malformed", refusal.detail, refusal.detail)
    assert (refusal.members, refusal.headers) == ({}, {})


def test_members_and_headers_are_the_refusals_own() -> None:
    """Shared between requests, one caller's reasons would reach another."""
    members, headers = {"errors": [1]}, {"Retry-After": "1"}
    refusal = Refusal("malformed", "x", members=members, headers=headers)
    refusal.members["more"] = refusal.headers["More"] = "y"
    assert (members, headers) == ({"errors": [1]}, {"Retry-After": "1"})


def broken() -> None:
    raise KeyError("339881197803120013")


def test_unknown_error_is_logged_by_kind_and_place_only(caplog: pytest.LogCaptureFixture) -> None:
    caught: Exception = ValueError()
    try:
        broken()
    except KeyError as error:
        caught = error
    with caplog.at_level(logging.DEBUG):
        refusal = unexpected(caught)
    assert refusal.slug == "internal-error"
    assert "unexpected KeyError in broken:" in caplog.text
    assert "339881" not in caplog.text + refusal.detail + str(refusal.members)


def test_error_that_was_never_raised_has_no_place(caplog: pytest.LogCaptureFixture) -> None:
    unexpected(RuntimeError("never raised"))
    assert "unexpected RuntimeError in ?" in caplog.text
    assert "never raised" not in caplog.text
