from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.refusals import Refusal
from app.strict_json import MAX_DEPTH, read_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def refused(body: bytes) -> str:
    with pytest.raises(Refusal) as error:
        read_object(body)
    assert error.value.slug == "malformed"
    assert not error.value.members
    return error.value.detail


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def test_no_bytes_are_no_object() -> None:
    assert "not JSON" in refused(b"")


def test_empty_object_is_read() -> None:
    assert read_object(b"{}") == {}


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=4))
@settings(deadline=None)
def test_every_object_up_to_the_depth_is_read_as_it_is_and_no_deeper_one(document: dict[str, Any]) -> None:
    body = orjson.dumps(document)
    if depth(document) <= MAX_DEPTH:
        assert read_object(body) == document
    else:
        assert "deeper" in refused(body)


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=300)
def test_whatever_the_bytes_the_end_is_an_object_or_the_refusal(body: bytes) -> None:
    found: object = {}
    try:
        found = read_object(body)
    except Refusal as refusal:
        found = {} if refusal.slug == "malformed" else refusal
    assert isinstance(found, dict)


@given(st.text(alphabet='{}[]":,\\a1', max_size=60))
@settings(deadline=None, max_examples=500)
def test_whatever_the_brackets_the_end_is_an_object_or_the_refusal(text: str) -> None:
    found: object = {}
    try:
        found = read_object(text.encode())
    except Refusal as refusal:
        found = {} if refusal.slug == "malformed" else refusal
    assert isinstance(found, dict)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_named(number: str) -> None:
    assert "NaN and Infinity" in refused(b'{"a":' + number.encode() + b"}")


@pytest.mark.parametrize(
    "body", [b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'{"x":{"b":null,"b":null}}', b'{"":1,"":2}']
)
def test_member_that_stands_twice_is_named(body: bytes) -> None:
    assert "twice" in refused(body)


def test_equal_names_in_different_objects_are_not_twice() -> None:
    assert read_object(b'{"a":{"a":1},"b":{"a":2}}') == {"a": {"a": 1}, "b": {"a": 2}}


def test_fraction_is_no_float() -> None:
    """Two readers that round differently are a way past a check."""
    assert read_object(b'{"a":0.1}') == {"a": Decimal("0.1")}
    assert read_object(b'{"a":1e400}') == {"a": Decimal("1e400")}


@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1, 100, 20_000])
@pytest.mark.parametrize(("left", "right"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_depth_is_bounded_exactly(left: bytes, right: bytes, levels: int) -> None:
    body = b'{"a":' + left * (levels - 1) + b"1" + right * (levels - 1) + b"}"
    if levels <= MAX_DEPTH:
        assert depth(read_object(body)) == levels
    else:
        assert "deeper" in refused(body)


def test_brackets_in_a_text_count_for_nothing() -> None:
    body = orjson.dumps({"a": "[" * 50 + "{" * 50, "b": "]" * 50, "c\\[[[[": '"[[[[[[[[[['})
    assert read_object(body)["b"] == "]" * 50


@pytest.mark.parametrize(
    "hidden",
    [
        b'{"a":"' + b"]" * 5_000 + b'","b":' + b"[" * 5_000,
        b'{"a":"\\"' + b"]" * 5_000 + b'","b":' + b"[" * 5_000,
        b'{"a":"\\\\' + b"]" * 5_000 + b'","b":' + b"[" * 5_000,
        b"{" + b'"]]]]]]]":[' * 2_000,
        b"]" * 5_000 + b"[" * 5_000,
    ],
)
def test_closing_brackets_hide_no_depth(hidden: bytes) -> None:
    assert refused(hidden)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b'\\"' * 32_000 + b"[" * 9,
        b'{"a":' + b'"' * 60_001 + b"[" * 9,
        b"{" + b"\\" * 60_000 + b"[" * 9,
        b'{"a":' + b"[" * 9 + b"9" * 60_000,
        b'{"' + b"\\u0022" * 10_000 + b'":' + b"[" * 9,
    ],
)
def test_no_body_of_the_largest_size_takes_long(body: bytes) -> None:
    """T17: each input bomb is refused at once; a second is a hundred times what it takes."""
    started = time.perf_counter()
    refused(body)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"', b"null", b"true"])
def test_other_values_are_no_object(body: bytes) -> None:
    assert "must be a JSON object" in refused(body)
