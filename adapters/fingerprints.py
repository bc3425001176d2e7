"""Fingerprints of source values: keyed and opaque, they tell whether a value has changed and nothing else. Pure.

A fingerprint depends on relation, column and value alone: not on service, comparator, question or result. So all
services on a column agree, and nobody renews a disclosure budget by the way of asking.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from adapters.base import EXISTENCE
from adapters.columns import plain

Record: TypeAlias = "Sequence[object]"
"""The values of one row, in an order of columns that its reader knows."""

MOST: Final = 32
"""Distinct values of one subject in one column of which fingerprints are made."""

_SHORTEST_KEY = 32
_LENGTH = 16


class Fingerprints:
    """Makes the fingerprints of one relation, whose records hold `columns` in this order.

    Raises `ValueError` for a key of less than 32 bytes.
    """

    def __init__(self, relation: str, columns: Sequence[str], key: bytes) -> None:
        if len(key) < _SHORTEST_KEY:
            raise ValueError(f"the key of fingerprints must have at least {_SHORTEST_KEY} bytes")
        self._columns = {
            column: (place, hmac.new(key, f"{relation}\0{column}\0".encode(), "sha256"))
            for place, column in enumerate(columns)
        }

    def of(self, records: Sequence[Record], columns: Iterable[str]) -> Mapping[str, frozenset[bytes]]:
        """Return the fingerprints of every column over all records of a subject; null is a value like any other.

        A set is empty, which renews nothing, without a record, for `EXISTENCE`, and beyond `MOST` values: a part of
        them could seem to have changed where the whole has not. Raises `SourceMisbehaved`.
        """
        return {column: self._column(records, column) for column in columns}

    def _column(self, records: Sequence[Record], column: str) -> frozenset[bytes]:
        if column == EXISTENCE:
            return frozenset()
        place, mac = self._columns[column]
        values = {plain(record[place]) for record in records}
        return frozenset([_digest(mac, value) for value in values]) if len(values) <= MOST else frozenset()


def _digest(mac: hmac.HMAC, value: str) -> bytes:
    own = mac.copy()  # a third of the price of keying it anew
    own.update(value.encode("utf-8", "surrogatepass"))
    return own.digest()[:_LENGTH]
