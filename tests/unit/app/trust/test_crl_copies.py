from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from app.trust import crl
from app.trust.crl import ReadList
from app.trust.crl_copies import Copies
from tests.unit.app.trust.pki import as_pem, issuing_point, revocation_list, root

ROOT = root()
SIGNER = (b"name", b"key")


def read(content: bytes) -> ReadList:
    [found] = crl.read(content)
    assert isinstance(found, ReadList)
    return found


def numbers(copies: Copies) -> list[int | None]:
    return [read(content).stated.number for _, content in copies.all()]


def test_folder_that_is_not_there_holds_no_copies(tmp_path: Path) -> None:
    assert list(Copies(tmp_path / "none").all()) == []


def test_copy_is_the_list_in_der_for_the_node_alone(tmp_path: Path) -> None:
    der = revocation_list(ROOT, 5)
    copies = Copies(tmp_path / "lists")
    copies.keep(SIGNER, read(as_pem(der)))
    [(name, content)] = copies.all()
    assert content == der
    assert stat.S_IMODE((tmp_path / "lists" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "lists").stat().st_mode) == 0o700


def test_newer_list_replaces_the_copy_and_an_older_one_does_not(tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    for number, kept in ((2, 2), (3, 3), (1, 3), (3, 3)):
        copies.keep(SIGNER, read(revocation_list(ROOT, number=number)))
        assert numbers(copies) == [kept]


def test_each_signer_and_each_scope_has_a_copy(tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    scopes = [
        (),
        ((issuing_point(users=True), True),),
        ((issuing_point("http://a.example", "http://b.example"), True),),
        ((issuing_point("http://b.example", "http://a.example"), True),),
    ]
    for extra in scopes:
        copies.keep(SIGNER, read(revocation_list(ROOT, extra=extra)))
    copies.keep((b"name", b"other key"), read(revocation_list(ROOT)))
    # The order in which one distribution point names itself makes no other scope.
    assert len(numbers(copies)) == 4


def test_damaged_copy_is_replaced(tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    copies.keep(SIGNER, read(revocation_list(ROOT, number=9)))
    [path] = tmp_path.glob("*.crl")
    for damage in (b"", b"\x30damaged"):
        path.write_bytes(damage)
        copies.keep(SIGNER, read(revocation_list(ROOT, number=1)))
        assert numbers(copies) == [1]


def test_copy_that_cannot_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = Copies(tmp_path)
    copies.keep(SIGNER, read(revocation_list(ROOT)))
    (tmp_path / "folder.crl").mkdir()
    assert numbers(copies) == [1]
    monkeypatch.setattr(crl, "MAX_BYTES", 10)
    assert numbers(copies) == []


def test_full_disk_is_logged_and_leaves_the_old_copy_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copies = Copies(tmp_path)
    copies.keep(SIGNER, read(revocation_list(ROOT, number=1)))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    copies.keep(SIGNER, read(revocation_list(ROOT, number=2)))
    assert numbers(copies) == [1]
    assert caplog.messages == [f"a revocation list cannot be kept in {tmp_path}: No space left on device"]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".crl"]


def test_folder_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    Copies(tmp_path / "file").keep(SIGNER, read(revocation_list(ROOT)))
    assert "cannot be kept" in caplog.text


def test_processes_that_keep_at_once_end_with_the_newest(tmp_path: Path) -> None:
    lists = [read(revocation_list(ROOT, number=number)) for number in range(1, 21)]
    threads = [threading.Thread(target=Copies(tmp_path).keep, args=(SIGNER, found)) for found in lists]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers(Copies(tmp_path)) == [20]
