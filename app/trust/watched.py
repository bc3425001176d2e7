"""A file that may be replaced while the node runs: looked at when it is used, at most once a second."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Lock

LOOK_EVERY_S = 1.0


class TooLarge(ValueError):
    """The file holds more bytes than its reader takes."""


class WatchedFile:
    """Tells each change of one file once, to whichever thread looks first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._looked_at = float("-inf")
        self._lock = Lock()

    def has_changed(self) -> bool:
        """Whether the file is another one than when this last said so; a file that is gone has changed."""
        # Looked at before the lock is: this stands on the path of every request.
        if time.monotonic() - self._looked_at < LOOK_EVERY_S or not self._lock.acquire(blocking=False):
            return False
        try:
            self._looked_at = time.monotonic()
            seen, self._seen = self._seen, self._state()
            return seen != self._seen
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Have the next look say that the file has changed: what it holds could not be read now."""
        self._seen = None

    def read(self, limit: int) -> bytes:
        """All of the file. Raises `OSError`, and `TooLarge` above `limit` bytes."""
        with self.path.open("rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise TooLarge(f"it holds more than {limit} bytes")
        return content

    def _state(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
