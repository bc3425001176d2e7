"""gunicorn's thread worker, but a connection holds a thread only while its request is worked on.

Handshakes, heads, bodies and slow readers wait in the poller, each with a deadline; handshakes have threads of
their own. A full worker gives up who has shown least, so that somebody new always gets in. gunicorn's own worker does
handshakes and reads heads in its request threads, and closes connections in its loop, up to two seconds each.
"""

from __future__ import annotations

import errno
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from app.channel import LOWEST_RATE, STALLED_S, Channel, SecureChannel
from app.framing import Arrival, Framing, Parser
from app.tls import Contexts
from app.waiting import Accepted, Stage, WaitingRoom

logger = logging.getLogger(__name__)

_DOCUMENT = (
    b'{"type":"malformed","title":"The request could not be read","status":400,'
    b'"detail":"The request is not HTTP/1.1 as this node reads it."}'
)
_UNREADABLE = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
    b"Content-Length: " + str(len(_DOCUMENT)).encode() + b"\r\n\r\n" + _DOCUMENT
)
_STRANGERS = (Stage.SHAKING, Stage.NEW)
_SETTLED = (Stage.LEAVING, Stage.NAMELESS, Stage.SENDING, Stage.KNOWN)
_IDLE = (Stage.NEW, Stage.NAMELESS, Stage.KNOWN)
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Worker(ThreadWorker):  # type: ignore[misc]
    """One process of the node. Durations in seconds.

    `app.contexts` is the server's TLS, None behind a proxy; `app.max_body_bytes` the longest body that it takes.
    """

    HANDSHAKE_S = 10.0  # the whole of it
    FIRST_REQUEST_S = 10.0  # of silence after it
    REQUEST_S = 30.0  # a head and a body as a whole, beside what the lowest rate gives it
    STALLED_S = STALLED_S  # a head, a body or an answer standing still
    LINGER_S = 2.0  # for the other side to end, once the last answer is sent
    LOOK_S = 0.25  # between looks at deadlines
    REPORT_S = 60.0
    HANDSHAKERS = 2
    GATHERED_BYTES = 64 * 1024 * 1024  # of requests that are not whole yet, all together
    HELD_BYTES = 32 * 1024 * 1024  # of answers that wait for slow readers, all together

    contexts: Contexts | None

    def init_process(self) -> None:
        """Set up what a process has of its own, and run."""
        self.contexts = self.app.contexts
        if self.contexts is not None:
            self.contexts.refresh(at_once=True)  # what the master loaded at its start may be long out of force
        self._handshakers = ThreadPoolExecutor(self.HANDSHAKERS, "handshake")
        self._refused: Counter[str] = Counter()
        self._gathered = 0
        self._look_at = self._report_at = 0.0
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop."""
        self._room = WaitingRoom(self.poller)
        super().run()
        self._handshakers.shutdown(wait=False)

    def accept(self, listener: Any) -> None:
        """Take one connection in; it waits until it says something."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in _FULL:
                self._give_up(_SETTLED, _STRANGERS)
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        until = time.monotonic() + self.HANDSHAKE_S
        framing = Framing(self.app.max_body_bytes)
        channel = Channel(client, self.STALLED_S)
        connection = Accepted(self.cfg, channel, address, listener.getsockname(), until, framing)
        self._make_room()
        self._guarded(self._await_handshake if self.contexts is not None else self._settle, connection)

    # The handshake, step by step.

    def _await_handshake(self, connection: Accepted) -> None:
        self._wait(connection, Stage.SHAKING, connection.until, self._step)

    def _step(self, connection: Accepted) -> None:
        future = self._handshakers.submit(self._shake, connection)
        shaken = partial(self._shaken, future)
        future.add_done_callback(lambda _: self.method_queue.defer(self._guarded, shaken, connection))

    def _shake(self, connection: Accepted) -> bool:
        if not isinstance(connection.sock, SecureChannel):
            in_force = self.contexts.in_force  # type: ignore[union-attr] # only with TLS is there a handshake
            connection.authorities = in_force.authorities
            connection.sock = connection.sock.secured(in_force.context)
        return connection.sock.shake()

    def _shaken(self, future: Future[bool], connection: Accepted) -> None:
        try:
            done = future.result()
        except ssl.SSLError:
            self._refused["handshakes failed"] += 1
            self._see_off(connection)  # it shall read the alert
            return
        if not done:
            self._await_handshake(connection)
        elif self._outdated(connection):
            self._end(connection)
        else:
            self._settle(connection)

    def _settle(self, connection: Accepted) -> None:
        sock = connection.sock
        # Behind a proxy it is the proxy that is connected, and it says with each request who asks.
        connection.known = not isinstance(sock, SecureChannel) or sock.getpeercert(binary_form=True) is not None
        connection.parser = Parser(self.cfg, sock, connection.client)
        self._listen(connection, self.FIRST_REQUEST_S)

    # Requests.

    def _listen(self, connection: Accepted, silence_s: float) -> None:
        """Wait for a request; what is there of it already goes to a thread at once."""
        connection.until = time.monotonic() + (self.REQUEST_S if connection.received else silence_s)
        if connection.received or connection.sock.pending:
            self.enqueue_req(connection)
        else:
            self._await_more(connection)

    def _await_more(self, connection: Accepted) -> None:
        stage = Stage.NEW
        if connection.asked:
            stage = Stage.KNOWN if connection.known else Stage.NAMELESS
        now = time.monotonic()
        deadline = connection.until
        if connection.received:
            deadline = min(deadline + len(connection.received) / LOWEST_RATE, now + self.STALLED_S)
        # A worker that stops hears no more than what is on its way.
        self._wait(
            connection, stage, deadline if self.alive else min(deadline, now + self.LINGER_S), self.enqueue_req
        )

    def handle(self, connection: Accepted) -> Arrival | bool:
        """In a thread: read what is there, and answer if that is a request; whether the connection is kept."""
        began = not connection.received
        try:
            arrival = connection.gather()
            if arrival is Arrival.OVERLONG:
                self.log.warning("a request could not be read: it is too long")
                connection.sock.sendall(_UNREADABLE)
        except OSError:
            return False
        if arrival is Arrival.PART:
            if began and connection.received:
                connection.until = time.monotonic() + self.REQUEST_S
            return arrival
        if arrival is not Arrival.WHOLE:
            return False
        connection.sock.begin()
        connection.parser.unreader.unread(connection.taken())
        connection.asked = True
        kept = bool(super().handle(connection))
        with suppress(OSError):  # the loop will meet it again
            connection.sock.push()
        return kept

    def handle_error(self, req: Any, client: Channel, addr: Any, exc: Exception) -> None:  # noqa: ARG002
        """Answer with a problem document; the log is told the kind of fault only."""
        self.log.warning("a request could not be read: %s", type(exc).__name__)
        try:
            client.sendall(_UNREADABLE)
        except OSError:
            self.log.debug("the caller is gone")

    def finish_request(self, connection: Accepted, future: Future[Arrival | bool]) -> None:
        """Back in the loop: wait for more of the request, for the reader, for the next request, or for the end."""
        self._guarded(partial(self._finish, future), connection)

    def _finish(self, future: Future[Arrival | bool], connection: Accepted) -> None:
        outcome = future.result()
        self._count(connection)
        if outcome is Arrival.PART:
            self._await_more(connection)
            self._bound_gathered()
            return
        connection.kept = bool(outcome) and not self._outdated(connection)
        connection.until = time.monotonic() + self.STALLED_S + connection.sock.unsent / LOWEST_RATE
        self._send(connection)

    def _send(self, connection: Accepted) -> None:
        if not connection.sock.push():
            self._wait(connection, Stage.SENDING, connection.until, self._send)
            self._bound_held()
        elif connection.kept:
            connection.received += connection.parser.unreader.take_buffered()
            self._listen(connection, self.cfg.keepalive)
        else:
            self._see_off(connection)

    def _bound_held(self) -> None:
        while sum(held.sock.unsent for held in self._room.at(Stage.SENDING)) > self.HELD_BYTES:
            self._give_up((Stage.SENDING,))

    def _count(self, connection: Accepted) -> None:
        self._gathered += len(connection.received) - connection.counted
        connection.counted = len(connection.received)

    def _bound_gathered(self) -> None:
        """Give up the oldest requests that are not whole, those without a certificate first."""
        while self._gathered > self.GATHERED_BYTES:
            begun = [connection for connection in self._room.at(*_IDLE) if connection.received]
            if not begun:  # they are all in threads, and come by here again
                return
            self._refused["connections given up to make room"] += 1
            self._end(min(begun, key=lambda connection: (connection.known, connection.until)))

    def _keepalive_after(self, connection: Accepted, keepalive: Any) -> bool:
        """Whether the connection can be used again: not if a body that nobody read is still on its way."""
        if not keepalive:
            return False
        try:
            return bool(connection.parser.finish_body(max_bytes=65_536))
        except Exception:  # noqa: BLE001 - the answer is out, and another one must not follow it
            return False

    # Ends.

    def _see_off(self, connection: Accepted) -> None:
        """Say that nothing more comes, and let the other side read it before the connection is closed."""
        connection.sock.finish()
        self._wait(connection, Stage.LEAVING, time.monotonic() + self.LINGER_S, self._linger)

    def _linger(self, connection: Accepted) -> None:
        if connection.sock.discard():
            self._drop(connection)
        else:
            self._wait(connection, Stage.LEAVING, connection.deadline, self._linger)

    def _drop(self, connection: Accepted) -> None:
        self.nr_conns -= 1
        connection.received.clear()
        self._count(connection)
        self._room.leave(connection)
        with suppress(OSError):
            connection.sock.close()

    def _end(self, connection: Accepted) -> None:
        """Close one that waits, politely where that takes no time."""
        if connection.stage in _IDLE:
            try:
                connection.sock.finish()
            except OSError:
                self.log.debug("the caller is gone")
        self._drop(connection)

    def _make_room(self) -> None:
        """For one more. Strangers have half of the places and give up their own: no half crowds out the other."""
        if self._room.count(*_STRANGERS) >= self.worker_connections // 2:
            self._give_up(_STRANGERS)
        if self.nr_conns >= self.worker_connections:
            self._give_up(_SETTLED, _STRANGERS)

    def _give_up(self, *preferred: tuple[Stage, ...]) -> None:
        for stages in preferred:
            if (connection := self._room.first(*stages)) is not None:
                self._refused["connections given up to make room"] += 1
                self._end(connection)
                return

    def _outdated(self, connection: Accepted) -> bool:
        return self.contexts is not None and connection.authorities != self.contexts.in_force.authorities

    # The loop's own hooks.

    def _wait(self, connection: Accepted, stage: Stage, deadline: float, then: Callable[[Accepted], None]) -> None:
        self._room.enter(connection, stage, deadline, partial(self._guarded, then))

    def _guarded(self, then: Callable[[Accepted], None], connection: Accepted) -> None:
        """Take a step in the loop; INVARIANT: what goes wrong with a connection ends it, never the worker."""
        try:
            then(connection)
        except Exception as error:  # noqa: BLE001 - as said
            self.log.debug("a connection ended: %s", type(error).__name__)
            self._drop(connection)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait no longer than to the next look at the deadlines."""
        super().wait_for_and_dispatch_events(min(timeout, self.LOOK_S))

    def murder_pending(self) -> None:
        """Close who is late; look whether the TLS files changed."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self.LOOK_S
        for connection in self._room.overdue(now):
            if connection.stage is Stage.SHAKING or connection.received:
                self._refused["handshakes or requests too slow"] += 1
            self._end(connection)
        if self.contexts is not None and self.contexts.refresh():
            for connection in self._room.at(*_IDLE):
                self._end(connection)
        self._report(now)

    def _report(self, now: float) -> None:
        if now >= self._report_at and self._refused:
            told = ", ".join(f"{count} {what}" for what, count in sorted(self._refused.items()))
            logger.warning("lately: %s", told)
            self._refused.clear()
            self._report_at = now + self.REPORT_S

    def murder_keepalived(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - gunicorn's own signature
        """When the worker ends: close all who wait."""
        if force:
            for connection in list(self._room):
                self._end(connection)

    def _cap_keepalive(self, deadline: float) -> None:
        """When the worker stops: who says nothing goes soon; an answer that is taken slowly has the whole grace."""
        deadline = time.monotonic() + self.LINGER_S
        for connection in self._room.at(Stage.SHAKING, *_IDLE):
            connection.deadline = connection.until = min(connection.deadline, deadline)
