"""Files that hold keys: whoever could read or replace one is found out before it is used."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.keys.key_files import KeyInvalid, changing, check_folder, read_private, reading, write_whole

ROOT = Path(__file__).parents[4]
OTHER_USER = 4_321
WRITABLE_BY_OTHERS = [0o720, 0o702, 0o770, 0o777, 0o1777]

GiveAway = Callable[[Path], None]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    write_whole(folder / "token.pem", b"key")
    return folder / "token.pem"


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> GiveAway:
    """Lets a path belong to a user that the node does not run as; only root can give away, so else we move."""

    def given(path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, OTHER_USER, -1)
            monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER + 1)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER)

    return given


def test_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KeyInvalid, match=r"a\.pem: No such file or directory; make one$"):
        read_private(tmp_path / "a.pem", "; make one")


def test_file_of_the_owner_alone_is_read(key: Path) -> None:
    assert (read_private(key), stat.S_IMODE(key.stat().st_mode)) == (b"key", 0o600)
    key.chmod(0o400)
    assert read_private(key) == b"key"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_file_that_others_have_any_right_to_is_refused(key: Path, mode: int) -> None:
    key.chmod(mode)
    with pytest.raises(KeyInvalid, match=rf"token\.pem is open to others \(mode {mode:04o}\): chmod 600 it"):
        read_private(key)


def test_file_of_another_user_is_refused(key: Path, give_away: GiveAway) -> None:
    give_away(key)
    with pytest.raises(
        KeyInvalid, match=r"token\.pem belongs to user [0-9]+: chown it to user [0-9]+, who runs this"
    ):
        read_private(key)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_reads_the_file_of_another_user(key: Path) -> None:
    os.chown(key, OTHER_USER, -1)
    assert read_private(key) == b"key"


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(KeyInvalid, match=f"{name} must be a plain file"):
            read_private(tmp_path / name)


def test_file_that_is_far_too_large_is_refused(key: Path) -> None:
    os.truncate(key, 1_048_577)
    with pytest.raises(KeyInvalid, match="at most 1,048,576 bytes"):
        read_private(key)


def test_link_to_a_sound_file_is_followed(key: Path, tmp_path: Path) -> None:
    (tmp_path / "first").symlink_to(key)
    (tmp_path / "second").symlink_to("first")
    assert read_private(tmp_path / "second") == b"key"


def test_link_to_a_file_that_others_can_write_is_refused(key: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key)
    key.chmod(0o622)
    with pytest.raises(KeyInvalid, match="link is open to others"):
        read_private(tmp_path / "link")


@pytest.mark.parametrize("mode", WRITABLE_BY_OTHERS)
def test_link_into_a_folder_that_others_can_write_is_refused(key: Path, tmp_path: Path, mode: int) -> None:
    """The file there is sound, but anybody may put another in its place."""
    (tmp_path / "link").symlink_to(key)
    key.parent.chmod(mode)
    with pytest.raises(KeyInvalid, match=rf"keys can be written by others \(mode {mode:04o}\)"):
        read_private(tmp_path / "link")


def test_link_by_way_of_a_folder_that_others_can_write_is_refused(key: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "hop").symlink_to(key)
    (tmp_path / "link").symlink_to(Path("shared") / "hop")
    assert read_private(tmp_path / "link") == b"key"
    shared.chmod(0o1777)
    with pytest.raises(KeyInvalid, match="shared can be written by others"):
        read_private(tmp_path / "link")


@pytest.mark.parametrize("target", ["absent", "link"])
def test_link_that_leads_nowhere_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(KeyInvalid, match=r"link: (No such file|Too many levels)"):
        read_private(tmp_path / "link")


@pytest.mark.parametrize("mode", WRITABLE_BY_OTHERS)
def test_folder_that_others_can_write_is_refused(key: Path, mode: int) -> None:
    key.parent.chmod(mode)
    with pytest.raises(KeyInvalid, match=rf"keys can be written by others \(mode {mode:04o}\): chmod go-w it"):
        check_folder(key.parent)


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o500])
def test_folder_that_others_can_only_look_into_is_accepted(key: Path, mode: int) -> None:
    key.parent.chmod(mode)
    check_folder(key.parent)


def test_folder_of_another_user_is_refused(key: Path, give_away: GiveAway) -> None:
    give_away(key.parent)
    with pytest.raises(KeyInvalid, match="keys belongs to user"):
        check_folder(key.parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of root's")
def test_folder_of_root_is_accepted(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER)
    check_folder(key.parent)


def test_what_is_no_folder_is_refused(key: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyInvalid, match=r"token\.pem must be a folder"):
        check_folder(key)
    with pytest.raises(KeyInvalid, match=r"absent: No such file or directory; make it$"):
        check_folder(tmp_path / "absent", "; make it")


def test_written_file_never_has_another_mode(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_whole(tmp_path / "key", b"1")
        write_whole(tmp_path / "certificate", b"1", 0o644)
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("key", "certificate")] == [0o600, 0o644]


KILLED = """
import os, sys
from pathlib import Path
from app.keys import key_files

target, call = Path(sys.argv[1]), sys.argv[2]
real = getattr(os, call)
def killed(*arguments, **named):
    os._exit(9)
setattr(os, call, killed)
if call == "replace":
    Path.replace = killed
key_files.write_whole(target, b"new")
"""


@pytest.mark.parametrize("call", ["fdopen", "fsync", "replace"])
def test_writer_that_is_killed_leaves_the_old_file_and_nothing_else(key: Path, call: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, key, call], cwd=ROOT, check=False)
    assert (done.returncode, key.read_bytes()) == (9, b"key")
    assert len(list(key.parent.iterdir())) == 2
    with changing(key.parent):
        assert {path.name for path in key.parent.iterdir()} == {"token.pem", ".lock"}


def test_one_command_at_a_time_changes_a_folder(tmp_path: Path) -> None:
    order: list[str] = []

    def late() -> None:
        with changing(tmp_path):
            order.append("second")

    with changing(tmp_path):
        thread = threading.Thread(target=late)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_reader_waits_until_nothing_changes_and_writes_nothing(tmp_path: Path) -> None:
    with reading(tmp_path):
        assert list(tmp_path.iterdir()) == []
    order: list[str] = []

    def late() -> None:
        with reading(tmp_path):
            order.append("read")

    with changing(tmp_path):
        thread = threading.Thread(target=late)
        thread.start()
        thread.join(0.2)
        order.append("changed")
    thread.join()
    assert order == ["changed", "read"]
