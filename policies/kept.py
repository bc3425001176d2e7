"""Values kept for equal keys: so many and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

V = TypeVar("V")


class Kept(Generic[V]):
    """At least the `limit` values last used, and at most twice as many. Shared by threads.

    Two generations: what is used moves to the young one; when that is full it becomes the old one, and the old is
    given up. Finding a value in the young one is a single look-up, without a lock.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[Hashable, V] = {}
        self._old: dict[Hashable, V] = {}

    def get(self, key: Hashable) -> V | None:
        """Give the value kept under the key, if there is one, and count that as a use."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.keep(key, value)
        return value

    def keep(self, key: Hashable, value: V) -> None:
        """Keep the value under the key, in place of any before it."""
        # Threads that meet here may give a generation up early: then a value is made anew, never a wrong one given.
        if len(self._young) >= self._limit and key not in self._young:
            self._old, self._young = self._young, {}
        self._young[key] = value
