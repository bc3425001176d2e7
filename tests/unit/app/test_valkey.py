from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from app.valkey import MAX_SOCKET_PATH, EmbeddedValkey, ValkeyFailed


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket; whatever runs in it is stopped."""
    made = Path(tempfile.mkdtemp(prefix="hecha-", dir="/tmp" if Path("/tmp").is_dir() else None))
    yield made
    EmbeddedValkey(made).stop()
    shutil.rmtree(made, ignore_errors=True)


def client(valkey: EmbeddedValkey) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(valkey.socket))


def test_nothing_runs_before_start(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    assert not valkey._answers()
    valkey.stop()


def test_started_server_answers_on_a_socket_for_its_owner_only(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    valkey.start()
    with closing(client(valkey)) as connection:
        assert connection.ping()
        assert connection.config_get("port") == {"port": "0"}, "no TCP port at all"
        assert connection.config_get("appendonly") == {"appendonly": "yes"}
    assert valkey.socket.stat().st_mode & 0o777 == 0o700
    assert (folder / "valkey").stat().st_mode & 0o077 == 0
    valkey.stop()
    assert not valkey.socket.exists()


def test_server_that_outlived_its_node_is_used_again(folder: Path) -> None:
    """After kill -9 the successor finds the socket and what it holds."""
    first = EmbeddedValkey(folder)
    first.start()
    with closing(client(first)) as connection:
        connection.set("kept", "1")
        process = connection.info("server")["process_id"]
    second = EmbeddedValkey(folder)
    second.start()
    with closing(client(second)) as connection:
        assert connection.info("server")["process_id"] == process
        assert connection.get("kept") == b"1"
    second.stop()
    first.stop()


def test_content_survives_a_stop_and_a_start(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    for expected in (None, b"1"):
        valkey.start()
        with closing(client(valkey)) as connection:
            assert connection.get("kept") == expected
            connection.set("kept", "1")
        valkey.stop()


def test_socket_left_behind_by_a_power_cut_is_replaced(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    valkey.socket.write_text("stale")
    valkey.start()
    with closing(client(valkey)) as connection:
        assert connection.ping()
    valkey.stop()


def test_path_too_long_for_a_socket_is_refused_before_anything_is_made(folder: Path) -> None:
    deep = folder / ("x" * MAX_SOCKET_PATH)
    with pytest.raises(ValkeyFailed, match="choose a shorter HECHA_STATE_DIR"):
        EmbeddedValkey(deep).start()
    assert not deep.exists()


def test_path_is_measured_in_bytes(folder: Path) -> None:
    with pytest.raises(ValkeyFailed, match="too long"):
        EmbeddedValkey(folder / ("核" * 30)).start()


def test_server_that_cannot_start_is_told_with_its_log(folder: Path) -> None:
    (folder / "valkey" / "appendonlydir").mkdir(parents=True)
    (folder / "valkey" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense")
    with pytest.raises(ValkeyFailed, match=r"see .*valkey\.log"):
        EmbeddedValkey(folder).start()
    assert (folder / "valkey.log").read_text()


def test_server_that_was_killed_is_waited_for(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    valkey.start()
    process = valkey._process
    assert process is not None
    process.kill()
    valkey.stop()
    assert process.returncode == -9


def test_stopping_twice_is_no_fault(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    valkey.start()
    valkey.stop()
    valkey.stop()
