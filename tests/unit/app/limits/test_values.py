"""Source values as text: what is doubtful never renews, and nothing known is forgotten by merging."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.limits.values import MANY, MOST, disjoint, merged, text_of

VALUES = st.frozensets(st.binary(min_size=16, max_size=16), max_size=6)
TEXTS = st.one_of(
    st.just(""),
    st.just(MANY),
    st.builds(text_of, VALUES, st.sampled_from(["key-a", "key-b"])),
)


def texts(first: int, last: int, key: str = "k") -> str:
    """The text of as many values as the range has numbers."""
    return text_of([number.to_bytes(16, "big") for number in range(first, last)], key)


def test_no_values_are_no_text() -> None:
    assert text_of([], "k") == ""


def test_text_is_the_key_and_the_values_in_one_order() -> None:
    one, other = bytes(16), b"\xff" * 16
    assert text_of([other, one, one], "k") == text_of([one, other], "k")
    assert text_of([one], "k") == "k:AAAAAAAAAAAAAAAAAAAAAA"


def test_more_values_than_can_be_told_apart_are_many() -> None:
    assert texts(0, MOST).count(",") == MOST - 1
    assert texts(0, MOST + 1) == MANY
    assert merged(texts(0, MOST), texts(MOST, MOST + 1)) == MANY
    assert merged(texts(0, MOST), texts(0, MOST)) == texts(0, MOST)


@pytest.mark.parametrize(
    ("known", "values"),
    [
        ("", ""),
        ("", texts(0, 1)),
        (texts(0, 1), ""),
        (MANY, texts(0, 1)),
        (texts(0, 1), MANY),
        (MANY, MANY),
        (texts(0, 1, "old-key"), texts(1, 2, "new-key")),
        (texts(0, 2), texts(1, 3)),
        (texts(0, 1), texts(0, 1)),
    ],
)
def test_unknown_many_foreign_or_common_values_never_renew(known: str, values: str) -> None:
    assert not disjoint(known, values)


def test_known_values_that_have_all_gone_renew() -> None:
    assert disjoint(texts(0, 3), texts(3, 5))


@given(TEXTS, TEXTS)
def test_disjoint_and_merged_do_not_depend_on_the_order(one: str, other: str) -> None:
    assert disjoint(one, other) == disjoint(other, one)
    assert merged(one, other) == merged(other, one)


@given(TEXTS, TEXTS, TEXTS)
def test_merging_never_makes_a_renewal_possible(one: str, other: str, values: str) -> None:
    """Whoever knows more renews less, but that one who knows nothing renews never."""
    if one and other and disjoint(merged(one, other), values):
        assert disjoint(one, values)
        assert disjoint(other, values)


@given(TEXTS, TEXTS, TEXTS)
def test_merging_is_associative_and_idempotent(one: str, other: str, third: str) -> None:
    assert merged(merged(one, other), third) == merged(one, merged(other, third))
    assert merged(one, one) == one
