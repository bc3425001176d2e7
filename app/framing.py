"""Where a request ends, found out while it arrives, so that no thread is given one whose body is still to come.

No more than a hint when to start: what head and body say is read by gunicorn's parser alone, and what is whole
to this module and not to gunicorn is refused there.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from gunicorn.http.errors import InvalidHeader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

HEAD_BYTES = 32_768
LINE_BYTES = 8_192  # of a chunk's size with its extensions; gunicorn takes less

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_LENGTHS = re.compile(rb"\r\ncontent-length:", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked[ \t]*\r\n", re.IGNORECASE)
_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_OLD = re.compile(rb"(?:\r\n)?[^\r]* HTTP/1\.0\r\n")
_SIZE = re.compile(rb"([0-9a-f]+)[ \t]*(?:;|\Z)", re.IGNORECASE)


class Arrival(Enum):
    """How much of a request is there."""

    PART = auto()
    WHOLE = auto()
    OVERLONG = auto()
    ENDED = auto()


class Framing:
    """How far one request has been looked at, so that no body is looked at twice.

    A body longer than `longest` bytes is not waited for: the application refuses it for what is there.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.reset()

    def reset(self) -> None:
        """The next request begins."""
        self.asks = False  # to be told that its body is wanted (RFC 9110 §10.1.1)
        self._body_at = 0  # 0 until the head is there
        self._ends = 0
        self._chunked = False
        self._line_at = 0  # where the next chunk's size stands
        self._decoded = 0  # in the chunks before that

    def arrival(self, received: bytearray) -> Arrival:
        """How much of the request is there; `received` are all its bytes so far."""
        if not self._body_at:
            end = received.find(b"\r\n\r\n", 0, HEAD_BYTES)
            if end < 0:
                return Arrival.PART if len(received) < HEAD_BYTES else Arrival.OVERLONG
            self._read_head(bytes(received[: end + 2]))
        if not self._chunked:
            return Arrival.WHOLE if len(received) >= self._ends else Arrival.PART
        arrival = self._walk(received)
        if arrival is Arrival.PART and len(received) > self._body_at + 2 * self.longest + HEAD_BYTES:
            return Arrival.OVERLONG  # sizes and extensions, and hardly a body
        return arrival

    def _read_head(self, head: bytes) -> None:
        self._body_at = self._ends = self._line_at = len(head) + 2
        old = _OLD.match(head) is not None
        if _CODING.search(head):
            # SPEC: RFC 9112 §6.1: with a length too, or in HTTP/1.0, it is faulty; gunicorn refuses it at once.
            self._chunked = not old and _LENGTHS.search(head) is None
        elif (announced := _LENGTH.search(head)) and int(announced[1]) <= self.longest:
            self._ends += int(announced[1])
        # SPEC: RFC 9110 §10.1.1: in HTTP/1.0 an expectation is ignored; without a body there is nothing to ask for.
        self.asks = not old and (self._chunked or self._ends > self._body_at) and _CONTINUE.search(head) is not None

    def _walk(self, received: bytearray) -> Arrival:
        """Go from chunk to chunk (RFC 9112 §7.1). What is no chunk is whole: gunicorn refuses it."""
        while True:
            line_end = received.find(b"\r\n", self._line_at, self._line_at + LINE_BYTES)
            if line_end < 0:
                return Arrival.PART if len(received) < self._line_at + LINE_BYTES else Arrival.WHOLE
            told = _SIZE.match(received, self._line_at, line_end)
            if told is None:
                return Arrival.WHOLE
            size, data_at = int(told[1], 16), line_end + 2
            if size == 0:
                return _after_trailer(received, data_at)
            if self._decoded + min(size, len(received) - data_at) > self.longest:
                return Arrival.WHOLE  # one byte too much is there, which is enough to refuse it
            data_end = data_at + size
            if len(received) < data_end + 2:
                return Arrival.PART
            if received[data_end : data_end + 2] != b"\r\n":
                return Arrival.WHOLE
            self._decoded += size
            self._line_at = data_end + 2


def _after_trailer(received: bytearray, start: int) -> Arrival:
    ended = received[start : start + 2] == b"\r\n" or received.find(b"\r\n\r\n", start, start + HEAD_BYTES) >= 0
    return Arrival.WHOLE if ended or len(received) - start >= HEAD_BYTES else Arrival.PART


class _HostedRequest(Request):  # type: ignore[misc]
    """A request as gunicorn reads it, and with a Host. Two Hosts gunicorn refuses itself."""

    def set_body_reader(self) -> None:
        """Called once the head is read. Raises `InvalidHeader`."""
        # SPEC: RFC 9112 §3.2: a request of HTTP/1.1 without a Host is answered with 400.
        if self.version >= (1, 1) and all(name != "HOST" for name, _ in self.headers):
            raise InvalidHeader("HOST", req=self)
        self._expected_100_continue = False  # `Accepted.gather` told it to go on
        super().set_body_reader()


class Parser(RequestParser):  # type: ignore[misc]
    """gunicorn's parser of one connection's requests."""

    mesg_class = _HostedRequest
