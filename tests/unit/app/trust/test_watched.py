from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.trust.watched import TooLarge, WatchedFile


def look_again(file: WatchedFile) -> bool:
    """Look as if a second had passed."""
    file._looked_at = float("-inf")
    return file.has_changed()


def test_first_look_is_a_change_even_where_there_is_no_file(tmp_path: Path) -> None:
    assert WatchedFile(tmp_path / "none").has_changed()


def test_file_left_alone_has_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    file = WatchedFile(path)
    assert file.has_changed()
    assert not look_again(file)


def test_file_is_looked_at_once_a_second(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    file = WatchedFile(path)
    assert file.has_changed()
    path.write_text("other")
    assert not file.has_changed()
    assert look_again(file)


def test_each_change_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    file = WatchedFile(path)
    file.has_changed()
    path.unlink()
    assert look_again(file)
    assert not look_again(file)
    path.write_text("a")
    assert look_again(file)


def test_file_put_in_its_place_with_the_same_times_is_a_change(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    path.write_text("a")
    other.write_text("b")
    file = WatchedFile(path)
    file.has_changed()
    stated = path.stat()
    other.replace(path)
    os.utime(path, ns=(stated.st_atime_ns, stated.st_mtime_ns))
    assert look_again(file)


def test_thread_that_comes_while_another_looks_goes_on(tmp_path: Path) -> None:
    file = WatchedFile(tmp_path / "none")
    with file._lock:
        assert not file.has_changed()
    assert file.has_changed()


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    assert WatchedFile(path).read(4) == b"1234"
    with pytest.raises(TooLarge, match="more than 3 bytes"):
        WatchedFile(path).read(3)
