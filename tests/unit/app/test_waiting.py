"""When a request is worth a thread, and who goes first where room is needed."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.channel import Channel
from app.waiting import BODY_BYTES, HEAD_BYTES, Accepted, Arrival, Stage, WaitingRoom, arrived

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


def lines(*more: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in more) + b"\r\n"


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"", Arrival.PART),
        (HEAD, Arrival.PART),
        (lines()[:-1], Arrival.PART),
        (lines(), Arrival.WHOLE),
        (lines(b"Content-Length: 3"), Arrival.PART),
        (lines(b"content-length:3") + b"ab", Arrival.PART),
        (lines(b"CONTENT-LENGTH:  3 ") + b"abc", Arrival.WHOLE),
        (lines(b"Content-Length: 3") + b"abcGET /next", Arrival.WHOLE),
        (lines(b"Content-Length: %d" % BODY_BYTES), Arrival.PART),
        # A thread reads what is long, what is of unknown length, and what waits to be asked for.
        (lines(b"Content-Length: %d" % (BODY_BYTES + 1)), Arrival.WHOLE),
        (lines(b"Transfer-Encoding: chunked"), Arrival.WHOLE),
        (lines(b"Content-Length: 3", b"Expect: 100-continue"), Arrival.WHOLE),
        # What gunicorn refuses it shall get: a hint is no verdict.
        (lines(b"Content-Length: -3"), Arrival.WHOLE),
        (lines(b"Content-Length: three"), Arrival.WHOLE),
        (lines(b"X-Content-Length: 3"), Arrival.WHOLE),
        (lines(b"Content-Length: 1" + b"0" * 30), Arrival.WHOLE),
        (b"\r\n\r\n" + lines(), Arrival.WHOLE),
        (b"x" * (HEAD_BYTES - 1), Arrival.PART),
        (b"x" * HEAD_BYTES, Arrival.OVERLONG),
        (b"x" * HEAD_BYTES + b"\r\n\r\n", Arrival.OVERLONG),
    ],
)
def test_request_is_started_when_head_and_short_body_are_there(received: bytes, expected: Arrival) -> None:
    assert arrived(bytearray(received)) is expected


@given(st.integers(0, 60), st.data())
def test_request_in_two_pieces_is_started_by_the_second(length: int, data: st.DataObject) -> None:
    request = lines(b"Content-Length: %d" % length) + b"b" * length
    cut = data.draw(st.integers(0, len(request) - 1))
    assert arrived(bytearray(request[:cut])) is Arrival.PART
    assert arrived(bytearray(request)) is Arrival.WHOLE


@pytest.fixture
def room() -> Iterator[tuple[WaitingRoom, ExitStack, selectors.BaseSelector]]:
    with ExitStack() as stack, selectors.DefaultSelector() as poller:
        yield WaitingRoom(poller), stack, poller


def somebody(stack: ExitStack) -> tuple[Accepted, socket.socket]:
    ours, theirs = socket.socketpair()
    stack.enter_context(theirs)
    channel = Channel(ours)
    stack.callback(channel.close)
    return Accepted(None, channel, "", "", until=0.0), theirs


def ignore(_: Accepted) -> None:
    raise AssertionError("nothing happens here")


def test_lowest_stage_goes_first_and_in_it_the_longest_waiting(
    room: tuple[WaitingRoom, ExitStack, selectors.BaseSelector],
) -> None:
    waiting, stack, _ = room
    entered = {}
    for name, stage in (("a", Stage.KNOWN), ("b", Stage.NEW), ("c", Stage.SHAKING), ("d", Stage.SHAKING)):
        entered[name], _ = somebody(stack)
        waiting.enter(entered[name], stage, 0.0, ignore)
    gone = []
    while (first := waiting.first(Stage.KNOWN, Stage.NEW, Stage.SHAKING)) is not None:
        gone.append(next(name for name, connection in entered.items() if connection is first))
        waiting.leave(first)
    assert gone == ["c", "d", "b", "a"]
    assert waiting.count(*Stage) == 0


def test_only_who_is_late_is_overdue(room: tuple[WaitingRoom, ExitStack, selectors.BaseSelector]) -> None:
    waiting, stack, _ = room
    people = [somebody(stack)[0] for _ in range(3)]
    for person, deadline in zip(people, (5.0, 10.0, 10.1), strict=True):
        waiting.enter(person, Stage.NEW, deadline, ignore)
    assert waiting.overdue(10.0) == people[:2]


def test_event_ends_the_waiting_before_anything_else(
    room: tuple[WaitingRoom, ExitStack, selectors.BaseSelector],
) -> None:
    waiting, stack, poller = room
    person, other_side = somebody(stack)
    seen: list[tuple[Accepted, Stage | None]] = []
    waiting.enter(person, Stage.NEW, 0.0, lambda connection: seen.append((connection, connection.stage)))
    assert poller.select(0) == []
    other_side.sendall(b"x")
    ((key, _),) = poller.select(1)
    key.data(key.fileobj)
    assert seen == [(person, None)]
    assert not poller.get_map()
    waiting.leave(person)  # who left already may leave
    # A sender waits for room, not for bytes.
    waiting.enter(person, Stage.SENDING, 0.0, ignore)
    assert [key.events for key in poller.get_map().values()] == [selectors.EVENT_WRITE]
    waiting.leave(person)
