"""Copies of verified lists of URLs on disk: a restarted node starts with them and takes no older ones.

One file for each signer and scope, in DER, written atomically and readable by the node alone. They prove themselves:
a copy is verified again when it is read.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.trust import crl
from app.trust.crl import ReadList, Stated
from app.trust.watched import TooLarge, WatchedFile

logger = logging.getLogger(__name__)


class Copies:
    """The copies in one folder, shared by the processes of a node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> Iterator[tuple[str, bytes]]:
        """The name and content of every copy that can be read."""
        for path in sorted(self._folder.glob("*.crl")):
            content = _content(path)
            if content is not None:
                yield path.name, content

    def keep(self, signer: tuple[bytes, bytes], found: ReadList) -> None:
        """Keep a verified list, unless another process has kept a newer one. A full disk is logged, no more."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._alone():
                path = self._folder / f"{_name(signer, found.stated)}.crl"
                held = _stated(path)
                if held is None or found.stated.is_newer(held):
                    _write(path, found.der)
        except OSError as error:
            logger.error("a revocation list cannot be kept in %s: %s", self._folder, error.strerror)  # noqa: TRY400

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _name(signer: tuple[bytes, bytes], stated: Stated) -> str:
    scope = stated.scope
    parts = [*signer, repr((scope.users, scope.authorities, sorted(map(repr, scope.points)))).encode()]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _content(path: Path) -> bytes | None:
    try:
        return WatchedFile(path).read(crl.MAX_BYTES)
    except (OSError, TooLarge):
        return None


def _stated(path: Path) -> Stated | None:
    content = _content(path)
    found = next(crl.read(content)) if content else None
    return found.stated if isinstance(found, ReadList) else None


def _write(path: Path, content: bytes) -> None:
    # `mkstemp` creates with mode 0600.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
