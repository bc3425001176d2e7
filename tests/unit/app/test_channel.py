"""A connection's bytes: what waits is the other side's doing and is counted, and nothing waits beyond its time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.channel import BUFFER, HELD_BYTES, Channel

STALLED_S = 0.4


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    """The node's end and the other side's, between which little fits."""
    with ExitStack() as stack:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
        stack.enter_context(theirs)
        channel = Channel(ours, STALLED_S)
        stack.callback(channel.close)
        yield channel, theirs


def test_nothing_there_is_not_the_end(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    assert channel.read(10) is None
    other.sendall(b"abc")
    assert channel.read(2) == b"ab"
    assert channel.read(10) == b"c"
    other.close()
    assert channel.read(10) == b""
    assert channel.recv(10) == b""


def test_thread_never_waits_for_the_other_side_to_speak(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.sendall(b"x")
    assert channel.recv(10) == b"x"
    began = time.monotonic()
    with pytest.raises(ConnectionResetError):
        channel.recv(10)
    assert time.monotonic() - began < STALLED_S / 2


def test_answer_that_drips_out_is_too_slow_as_a_whole(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(STALLED_S / 8):
            other.recv(64)

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    try:
        with pytest.raises(ConnectionResetError):
            channel.sendall(bytes(HELD_BYTES + 64 * BUFFER))
    finally:
        stop.set()
        thread.join()
    assert time.monotonic() - began < 6 * STALLED_S


def test_answer_goes_out_in_one_piece_and_is_held_for_a_slow_reader(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    channel.sendall(b"head")
    channel.sendall(b"body")
    assert channel.unsent == 8
    assert channel.push()
    assert other.recv(10) == b"headbody"
    channel.sendall(bytes(HELD_BYTES))
    assert not channel.push()
    assert 0 < channel.unsent <= HELD_BYTES


def test_what_is_sent_singly_goes_at_once(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    assert channel.send(b"HTTP/1.1 100 Continue\r\n\r\n") == 25
    assert other.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_reader_who_takes_nothing_of_a_long_answer_is_given_up(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    with pytest.raises(ConnectionResetError):
        channel.sendall(bytes(HELD_BYTES + 64 * BUFFER))


def test_end_is_told_and_what_comes_after_it_thrown_away(ends: tuple[Channel, socket.socket]) -> None:
    channel, other = ends
    other.sendall(b"more")
    channel.sendall(b"last")
    channel.finish()
    assert other.recv(10) + other.recv(10) == b"last"
    assert not channel.discard()
    assert channel.read(10) is None
    other.close()
    assert channel.discard()


def test_gunicorn_is_not_to_linger_in_a_thread(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    with pytest.raises(OSError, match="broke off"):
        channel.shutdown(socket.SHUT_WR)


def test_peer_can_be_told(ends: tuple[Channel, socket.socket]) -> None:
    channel, _ = ends
    assert channel.family is socket.AF_UNIX
    assert channel.getpeername() == ""
    assert not channel.pending
    assert not hasattr(channel, "getpeercert")  # which is how a connection without TLS is known
