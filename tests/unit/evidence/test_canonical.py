from __future__ import annotations

import enum
import json
import uuid
from collections import OrderedDict
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.canonical import MAX_DEPTH, NotCanonical, canonical, parse_canonical

# Surrogates have no UTF-8 form; everything else, on both sides of U+FFFF, must sort as RFC 8785 says.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KEY = st.one_of(TEXT, st.text(alphabet="a\u007f\u00e9\ud7ff\ue000\uffff\U00010000\U0010ffff", max_size=3))
INTEGER = st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
SCALAR = st.one_of(st.none(), st.booleans(), INTEGER, TEXT)
VALUE: st.SearchStrategy[Any] = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(KEY, inner, max_size=6), st.tuples(inner, inner)
    ),
    max_leaves=20,
)


class Colour(enum.StrEnum):
    RED = "red"


def test_empty_values_have_their_shortest_form() -> None:
    assert (canonical({}), canonical([]), canonical(""), canonical(None)) == (b"{}", b"[]", b'""', b"null")


@settings(deadline=None, max_examples=400)
@given(VALUE)
def test_bytes_equal_those_of_the_reference_package(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(VALUE)
def test_canonical_bytes_parse_to_a_value_with_the_same_bytes(value: Any) -> None:
    data = canonical(value)
    assert canonical(parse_canonical(data)) == data


def test_keys_sort_by_utf16_units_and_not_by_code_points() -> None:
    # U+1F600 is D83D DE00 in UTF-16 and stands before U+E000 there, though its code point is higher.
    assert canonical({"\ue000": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ue000":1}'.encode()
    assert canonical([{"x": {"\ue000": 1, "\U0001f600": 2}, "a": 0}]) == (
        '[{"a":0,"x":{"\U0001f600":2,"\ue000":1}}]'.encode()
    )


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        1.0,
        float("nan"),
        float("inf"),
        2**53,
        -(2**53),
        2**70,
        b"bytes",
        {1, 2},
        {1: "a"},
        {None: "a"},
        {"a": [0.1]},
        "\ud800",
        {"\udfff": 1},
        {"\ud800\ue000": 1},
        uuid.UUID(int=1),
        Colour.RED,
        {Colour.RED: 1},
        OrderedDict(a=1),
        orjson.Fragment(b"1"),
        object(),
    ],
    # An object's own text names its address, and every worker must give a case the same name.
    ids=lambda value: ascii(value) if isinstance(value, (float, int, bytes, str)) else type(value).__name__,
)
def test_value_without_one_spelling_everywhere_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonical):
        canonical(value)
    with pytest.raises(NotCanonical):
        canonical([value])


def test_nesting_is_bounded() -> None:
    deepest: Any = []
    for _ in range(MAX_DEPTH - 1):
        deepest = [deepest]
    assert canonical(deepest) == b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    with pytest.raises(NotCanonical, match="nested"):
        canonical([deepest])
    with pytest.raises(NotCanonical, match="nested"):
        parse_canonical(b"[" * 500 + b"]" * 500)


def test_value_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(NotCanonical):
        canonical(endless)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1, "b":2}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'"\\u0041"',
        b'"\\/"',
        b"1.0",
        b"1e2",
        b"-0",
        b"NaN",
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"1\n",
        b"9007199254740992",
    ],
    ids=repr,
)
def test_bytes_in_another_spelling_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        parse_canonical(data)


@given(VALUE, st.data())
def test_json_written_with_spaces_is_refused(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=data.draw(st.integers(0, 3))).encode()
    if text != canonical(value):
        with pytest.raises(NotCanonical):
            parse_canonical(text)
