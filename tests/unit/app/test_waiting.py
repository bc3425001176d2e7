"""What is gathered of a request, and who goes first where room is needed."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from app.channel import Channel
from app.framing import Arrival, Framing
from app.waiting import CONTINUE, Accepted, Stage, WaitingRoom


@pytest.fixture
def room() -> Iterator[tuple[WaitingRoom, ExitStack, selectors.BaseSelector]]:
    with ExitStack() as stack, selectors.DefaultSelector() as poller:
        yield WaitingRoom(poller), stack, poller


def somebody(stack: ExitStack) -> tuple[Accepted, socket.socket]:
    ours, theirs = socket.socketpair()
    stack.enter_context(theirs)
    channel = Channel(ours)
    stack.callback(channel.close)
    return Accepted(None, channel, "", "", until=0.0, framing=Framing(100)), theirs


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


def test_body_is_asked_for_once_and_gathered(room: tuple[WaitingRoom, ExitStack, selectors.BaseSelector]) -> None:
    _, stack, _ = room
    person, other_side = somebody(stack)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    for piece in (head[:9], head[9:], b"ab"):
        other_side.sendall(piece)
        assert person.gather() is Arrival.PART
    other_side.sendall(b"cGET")
    assert person.gather() is Arrival.WHOLE
    assert other_side.recv(100) == CONTINUE
    assert person.taken() == head + b"abcGET"
    other_side.close()
    assert person.gather() is Arrival.ENDED
