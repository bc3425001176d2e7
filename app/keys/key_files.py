"""Files that hold keys: read where nobody else can read or replace them, written whole or not at all.

Rules, as OpenSSH has them: a key file is a plain file of the one who runs the node, without any right for others; its
folder, and every folder that a link to it leads through, cannot be written by others. Root may own folders, and reads
whatever is there.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
MAKE_KEYS = "; `python -m app keys --init` creates missing keys"
MAX_FILE = 1_048_576
_LINKS = 40  # Linux itself follows no more
_PARTIAL = ".partial"


class KeyInvalid(Exception):
    """A key file is missing, of the wrong kind, or open to others. The text names the file and what to do."""


def read_private(path: Path, hint: str = "") -> bytes:
    """What a file holds that only its owner may read; `hint` says what to do if it is missing.

    Raises `KeyInvalid`: missing, no plain file, too large, open to others, another user's, or reached through a
    folder that others can write.
    """
    try:
        _check_links(path)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE:
            raise KeyInvalid(f"{path} must be a plain file of at most {MAX_FILE:,} bytes")
        if (mode := stat.S_IMODE(status.st_mode)) & 0o077:
            raise KeyInvalid(f"{path} is open to others (mode {mode:04o}): chmod 600 it")
        if not _is_ours(status.st_uid):
            raise KeyInvalid(
                f"{path} belongs to user {status.st_uid}: chown it to user {os.geteuid()}, who runs this"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise KeyInvalid(f"{path}: {error.strerror}{hint}") from None
    except OSError as error:
        raise KeyInvalid(f"{path}: {error.strerror}") from None


def check_folder(folder: Path, hint: str = "") -> None:
    """Raise `KeyInvalid` unless a folder is there and nobody else can put files into it; `hint` as above."""
    try:
        status = folder.stat()
    except OSError as error:
        raise KeyInvalid(f"{folder}: {error.strerror}{hint}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise KeyInvalid(f"{folder} must be a folder")
    check_unwritable(folder, status)


def check_unwritable(path: Path, status: os.stat_result | None = None) -> None:
    """Raise `KeyInvalid` if others can change what stands at `path`; `OSError` if nothing stands there."""
    status = status or path.stat()
    if (mode := stat.S_IMODE(status.st_mode)) & 0o022:
        raise KeyInvalid(f"{path} can be written by others (mode {mode:04o}): chmod go-w it")
    if status.st_uid != 0 and not _is_ours(status.st_uid):
        raise KeyInvalid(f"{path} belongs to user {status.st_uid}: chown it to user {os.geteuid()}, who runs this")


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file with this content, durably: whoever reads finds the old content or the new, never a part."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    # Created with its mode, never readable by others even for a moment.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    move(partial, path)


def move(source: Path, target: Path) -> None:
    """Put a file in another's place, durably, in one step."""
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make durable what was created, renamed or removed in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, alone: one command at a time. What a killed one left half-written is removed."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for partial in folder.glob(f".*{_PARTIAL}"):
            partial.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Wait until no command is changing a folder; nothing is written, so it may be on a read-only disk."""
    descriptor = -1
    with suppress(OSError):  # without the file nobody ever changed anything here under it
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _is_ours(owner: int) -> bool:
    return os.geteuid() in (0, owner)


def _check_links(path: Path) -> None:
    """A link is as safe as the folders that it leads through: who writes one of them chooses the key."""
    for _ in range(_LINKS):
        if not path.is_symlink():
            return
        path = path.parent / path.readlink()
        check_unwritable(path.parent)
