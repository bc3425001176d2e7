"""The bytes of one connection, plain or under TLS, without a wait that the other side can draw out.

Two kinds of user, one after the other and never together: the worker's loop and its handshakes, which never wait
(`read`, `push`, `discard`, `shake`), and a thread with a request, which waits for a long answer to be taken
(`sendall`) and for nothing else. Each such wait is bounded, and all of one answer by a lowest rate.
TLS works on memory instead of the socket: OpenSSL sees a bounded piece at a time, so that no flood of protocol
messages keeps it busy inside one call.
"""

from __future__ import annotations

import errno
import select
import socket
import ssl
import time
from contextlib import suppress
from typing import Any

BUFFER = 16_384
PIECE = 65_536
STALLED_S = 10.0  # how long a request or an answer may stand still
LOWEST_RATE = 16_384  # bytes per second that a request or an answer must move with, beyond its grace
HELD_BYTES = 2 * 1024 * 1024  # of an answer that wait for a slow reader without holding a thread
MUTE_BYTES = 131_072  # of TLS without a byte of HTTP; a handshake with the longest chain OpenSSL takes fits in
DISCARDED_BYTES = 262_144


class Channel:
    """A connection without TLS. gunicorn takes it for its socket."""

    def __init__(self, sock: socket.socket, stalled_s: float = STALLED_S) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._stalled_s = stalled_s
        self._unsent = bytearray()
        self._discarded = 0
        self.begin()

    def begin(self) -> None:
        """A request begins: what it may wait is counted anew."""
        self._waited_s = 0.0
        self._moved = 0

    def secured(self, context: ssl.SSLContext) -> SecureChannel:
        """The same connection as a server's side of TLS; this object is of no further use."""
        return SecureChannel(self._socket, context, self._stalled_s)

    # Never waiting.

    def read(self, size: int) -> bytes | None:
        """At most `size` bytes of what has arrived; b"" at the end, None if there is nothing now."""
        try:
            return self._socket.recv(size)
        except BlockingIOError:
            return None

    def push(self) -> bool:
        """Send as much as the network takes of what is unsent; whether that was all."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return False
            del self._unsent[:sent]
            self._moved += sent
        return True

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._unsent)

    @property
    def pending(self) -> bool:
        """Whether bytes have arrived that the socket no longer shows."""
        return False

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        self.push()
        self._socket.shutdown(socket.SHUT_WR)

    def discard(self) -> bool:
        """Throw away what has arrived; whether the other side is done, or went on for too long."""
        try:
            thrown = len(self._socket.recv(65_536))
        except BlockingIOError:
            return False
        self._discarded += thrown
        return not thrown or self._discarded > DISCARDED_BYTES

    # In a thread with a request, as gunicorn calls a socket.

    def recv(self, size: int) -> bytes:
        """At most `size` bytes of what has arrived; b"" at the end. Raises `ConnectionResetError` if nothing has.

        INVARIANT: no thread waits for the other side to say something. A request is gathered before it gets a thread.
        """
        data = self.read(size)
        if data is None:
            raise ConnectionResetError(errno.ECONNRESET, "the request is not whole")
        return data

    def sendall(self, data: bytes) -> None:
        """Take the bytes over; little of them leaves before `push`, so that head and body of an answer go together.

        Up to `HELD_BYTES` are kept for a slow reader; for the rest this waits. Raises `ConnectionResetError` if it is
        too slow.
        """
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            self._put(view[start : start + PIECE])
            if len(self._unsent) >= PIECE:
                while not self.push() and len(self._unsent) > HELD_BYTES:
                    self._wait(select.POLLOUT)

    def send(self, data: bytes) -> int:
        """Send at once, as far as the network takes it; the number of bytes taken over, which is all."""
        self.sendall(data)
        self.push()
        return len(data)

    def shutdown(self, how: int) -> None:
        """Refused, as for a connection that is gone.

        gunicorn calls this for an answer that broke off, to linger in the thread; it then closes at once instead.
        """
        raise OSError(errno.ENOTCONN, "an answer that broke off is not finished", how)

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001 - the standard library's own signature
        """Nothing: the socket never blocks, and `recv` and `sendall` wait by themselves."""

    def fileno(self) -> int:
        """The socket's, -1 once it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, whatever is unsent."""
        self._socket.close()

    @property
    def family(self) -> socket.AddressFamily:
        """AF_UNIX, AF_INET or AF_INET6."""
        return socket.AddressFamily(self._socket.family)

    def getpeername(self) -> Any:
        """The other side's address; an empty string on a Unix socket."""
        return self._socket.getpeername()

    def _put(self, data: memoryview) -> None:
        self._unsent += data

    def _wait(self, event: int) -> None:
        allowed_s = self._stalled_s + self._moved / LOWEST_RATE - self._waited_s
        began = time.monotonic()
        poll = select.poll()
        poll.register(self._socket, event)
        ready = poll.poll(max(0.0, min(self._stalled_s, allowed_s)) * 1_000)
        # Only what is waited for the other side counts: the application may take its time.
        self._waited_s += time.monotonic() - began
        if not ready:
            raise ConnectionResetError(errno.ECONNRESET, "the other side is too slow")


class SecureChannel(Channel):
    """A connection under TLS, the server's side of it. `shake` until it says so before anything else."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, stalled_s: float = STALLED_S) -> None:
        super().__init__(sock, stalled_s)
        self._arrived, self._sealed = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._sealed, server_side=True)
        self._mute = 0

    def shake(self) -> bool:
        """One step of the handshake, with what has arrived; whether it is done.

        Raises `ssl.SSLError` if it failed, with the alert sent, and `OSError` if the other side is gone.
        """
        if self._feed() and self._arrived.eof:
            raise ConnectionResetError(errno.ECONNRESET, "gone in the handshake")
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._collect()
            self.push()
        return True

    def read(self, size: int) -> bytes | None:
        """As `Channel.read`, of the plain text. Raises `ssl.SSLError` for what is no TLS."""
        data = self._open(size) if self.pending else None
        if data is None and self._feed():
            data = self._open(size)
        return data

    @property
    def pending(self) -> bool:
        """Whether bytes have arrived that the socket no longer shows."""
        return bool(self._tls.pending() or self._arrived.pending)

    def finish(self) -> None:
        """Say that nothing more will be sent: close_notify, then the end of the stream."""
        with suppress(ssl.SSLError):  # SSLWantReadError for a close_notify of the other side, which is not waited for
            self._tls.unwrap()
        self._collect()
        super().finish()

    def getpeercert(self, binary_form: bool = False) -> Any:  # noqa: FBT001, FBT002 - the standard library's own signature
        """The client's certificate, None without one: DER if `binary_form`, else as `ssl.SSLSocket` has it."""
        return self._tls.getpeercert(binary_form)

    def version(self) -> str | None:
        """The version of TLS, such as TLSv1.3."""
        return self._tls.version()

    def _open(self, size: int) -> bytes | None:
        try:
            data = self._tls.read(size)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        finally:
            self._collect()
        self._mute = 0
        return data

    def _feed(self) -> bool:
        """Hand OpenSSL what has arrived, one buffer at most; whether there was anything."""
        raw = super().read(BUFFER)
        if raw is None:
            return False
        if not raw:
            self._arrived.write_eof()
            return True
        self._mute += len(raw)
        if self._mute > MUTE_BYTES:
            raise ConnectionResetError(errno.ECONNRESET, "nothing but protocol messages")
        self._arrived.write(raw)
        return True

    def _put(self, data: memoryview) -> None:
        self._tls.write(data)
        self._collect()

    def _collect(self) -> None:
        self._unsent += self._sealed.read()
