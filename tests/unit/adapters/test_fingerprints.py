"""Fingerprints: by them nobody can claim that a value has changed while any of it still stands."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fingerprints import MOST, Fingerprints

KEY = b"k" * 32
COLUMNS = ("employer", "price")
OF = Fingerprints("wages", COLUMNS, KEY)

values = st.none() | st.integers(0, 60) | st.sampled_from(["甲", "乙", "null", ""])
rows = st.lists(st.tuples(values, values), max_size=40)


def prints(records: Sequence[tuple[object, object]], column: str = "employer") -> frozenset[bytes]:
    return OF.of(records, [column])[column]


def renews(before: frozenset[bytes], after: frozenset[bytes]) -> bool:
    """The one condition under which an account may be renewed: see `adapters.base.Answer`."""
    return bool(before) and bool(after) and not before & after


def test_no_record_has_no_fingerprint() -> None:
    assert OF.of([], COLUMNS) == {"employer": frozenset(), "price": frozenset()}
    assert OF.of([("甲", 1)], []) == {}


def test_fingerprint_is_the_hmac_that_it_says() -> None:
    expected = hmac.digest(KEY, "wages\0employer\0甲".encode(), hashlib.sha256)[:16]
    assert prints([("甲", 1)]) == {expected}


def test_null_is_a_value_like_any_other() -> None:
    assert len(prints([(None, 1)])) == 1
    assert renews(prints([(None, 1)]), prints([("甲", 1)]))


@given(rows, rows)
def test_changed_is_only_what_has_nothing_left_of_before(
    before: list[tuple[object, object]], after: list[tuple[object, object]]
) -> None:
    if renews(prints(before), prints(after)):
        assert before
        assert after
        assert not {row[0] for row in before} & {row[0] for row in after}


@given(rows, st.lists(st.tuples(values, values), max_size=60))
def test_adding_rows_never_renews(held: list[tuple[object, object]], more: list[tuple[object, object]]) -> None:
    assert not renews(prints(held), prints(held + more))
    assert not renews(prints(held + more), prints(held))


@given(rows, values)
def test_changing_every_value_of_a_column_renews(records: list[tuple[object, object]], price: object) -> None:
    changed = [(f"new {n}", price) for n, _ in enumerate(records)]
    few = len({row[0] for row in records}) <= MOST and len(records) <= MOST
    assert renews(prints(records), prints(changed)) == (bool(records) and few)


def test_more_values_than_most_renew_nothing() -> None:
    """A part of them could: the smallest may go while others stay."""
    many: list[tuple[object, object]] = [(n, n) for n in range(MOST + 1)]
    assert prints(many) == frozenset()
    assert len(prints(many[1:])) == MOST


@given(rows, st.randoms())
def test_order_and_repetition_of_rows_do_not_matter(
    records: list[tuple[object, object]],
    chance: st.DataObject,
) -> None:
    shuffled = records + records
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert prints(shuffled) == prints(records)


def test_value_has_other_fingerprints_in_another_column_relation_or_under_another_key() -> None:
    record = [("甲", "甲")]
    found = OF.of(record, COLUMNS)
    other = Fingerprints("people", COLUMNS, KEY).of(record, COLUMNS)
    rekeyed = Fingerprints("wages", COLUMNS, b"l" * 32).of(record, COLUMNS)
    assert len(frozenset().union(*found.values(), *other.values(), *rekeyed.values())) == 6


def test_existence_never_renews() -> None:
    assert OF.of([], ["*"]) == OF.of([("甲", 1)], ["*"]) == {"*": frozenset()}


def test_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Fingerprints("wages", COLUMNS, b"short")
