"""Connections that wait in the poller, without a thread: for a handshake, a request, a slow reader, or their end.

Who waits has a deadline. Where room is needed, the longest waiting of the lowest stage goes first.
"""

from __future__ import annotations

import selectors
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Any, ClassVar, TypeAlias

from app.channel import BUFFER, Channel
from app.framing import Arrival, Framing

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Stage(IntEnum):
    """What a connection waits for, in the order in which connections are given up."""

    LEAVING = auto()  # answered for the last time
    SHAKING = auto()  # in its handshake
    NEW = auto()  # has not asked anything yet
    NAMELESS = auto()  # has asked, without a certificate
    SENDING = auto()  # takes its answer slowly
    KNOWN = auto()  # has asked, with a certificate or through the proxy


@dataclass(slots=True, eq=False)
class Accepted:
    """One accepted connection, in the shape in which gunicorn's thread worker handles it.

    `until` is the end of what it is at: its handshake, its silence, or its request as a whole. `deadline` is that or
    sooner, while it waits. `authorities` are those under which its handshake was done. `counted` is how much of
    `received` the worker has counted.
    """

    cfg: Any
    sock: Channel
    client: Any
    server: Any
    until: float
    framing: Framing
    known: bool = False
    asked: bool = False
    kept: bool = False
    authorities: bytes = b""
    deadline: float = 0.0
    stage: Stage | None = None
    received: bytearray = field(default_factory=bytearray)
    counted: int = 0
    parser: Any = None

    initialized: ClassVar = True
    data_ready: ClassVar = True
    is_http2: ClassVar = False

    def init(self) -> None:
        """Nothing: the handshake is done when gunicorn asks for it."""

    def gather(self) -> Arrival:
        """Read what has arrived of the next request, and ask for a body that waits for it. Never waits."""
        while (arrival := self.framing.arrival(self.received)) is Arrival.PART:
            data = self.sock.read(BUFFER)
            if data is None:
                if self.framing.asks:
                    self.framing.asks = False
                    self.sock.send(CONTINUE)
                return Arrival.PART
            if not data:
                return Arrival.ENDED
            self.received += data
        return arrival

    def taken(self) -> bytes:
        """What was gathered, to be read as a request; the next one begins with nothing."""
        gathered = bytes(self.received)
        self.received.clear()
        self.framing.reset()
        return gathered


OnEvent: TypeAlias = "Callable[[Accepted], None]"


class WaitingRoom:
    """Everybody who waits, by stage, longest first. Used by the loop's thread alone."""

    def __init__(self, poller: selectors.BaseSelector) -> None:
        self._poller = poller
        self._stages: dict[Stage, OrderedDict[Accepted, None]] = {stage: OrderedDict() for stage in Stage}

    def enter(self, connection: Accepted, stage: Stage, deadline: float, on_event: OnEvent) -> None:
        """Wait for bytes, or while sending for room for them; `on_event` is called once, when it has left."""

        def happened(_: Any) -> None:
            self.leave(connection)
            on_event(connection)

        event = selectors.EVENT_WRITE if stage is Stage.SENDING else selectors.EVENT_READ
        self._poller.register(connection.sock, event, happened)
        connection.stage, connection.deadline = stage, deadline
        self._stages[stage][connection] = None

    def leave(self, connection: Accepted) -> None:
        """Wait no more; nothing if it did not wait."""
        if connection.stage is not None:
            self._poller.unregister(connection.sock)
            del self._stages[connection.stage][connection]
            connection.stage = None

    def overdue(self, now: float) -> list[Accepted]:
        """Those whose deadline is over."""
        return [connection for connection in self if connection.deadline <= now]

    def first(self, *stages: Stage) -> Accepted | None:
        """The longest waiting of the lowest of these stages in which anybody waits."""
        for stage in sorted(stages):
            if self._stages[stage]:
                return next(iter(self._stages[stage]))
        return None

    def count(self, *stages: Stage) -> int:
        """How many wait in these stages."""
        return sum(len(self._stages[stage]) for stage in stages)

    def at(self, *stages: Stage) -> list[Accepted]:
        """Who waits in these stages, longest first."""
        return [connection for stage in stages for connection in self._stages[stage]]

    def __iter__(self) -> Iterator[Accepted]:
        return iter(self.at(*Stage))
