"""The node's own TLS: one context for every connection of a process, made anew when its files change.

Rules: TLS 1.3, or 1.2 with ECDHE and an AEAD cipher if the operator says so. A client certificate may be missing in
the handshake, since some routes are public, but a bad one ends it. No session outlives the files it was made under.
Files that do not fit together are not served: the context in force stays, and is tried again.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from app.settings import SettingInvalid, Settings

logger = logging.getLogger(__name__)

LOOK_S = 1.0
# SPEC: RFC 9325 §4.2 for TLS 1.2; TLS 1.3 has suites of its own, all of them good.
_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"

_Seen: TypeAlias = "tuple[tuple[int, ...], ...]"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A context, and the digest of the authorities' file whose clients it lets in."""

    context: ssl.SSLContext
    authorities: bytes


class Contexts:
    """The context in force. `refresh` is called by one thread; any thread may read `in_force`.

    Raises `SettingInvalid` if the files do not fit at the start.
    """

    def __init__(
        self, make: Callable[[], ssl.SSLContext], files: Sequence[Path], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._make = make
        self._files = tuple(files)
        self._clock = clock
        self._told = ""
        self._next = clock() + LOOK_S
        self._seen, self.in_force = self._load()

    @classmethod
    def of(cls, settings: Settings) -> Contexts | None:
        """The contexts of a node with these settings; None where it has no TLS of its own."""
        certificate, key, authorities = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
        if certificate is None or key is None or authorities is None:
            return None
        return cls(lambda: tls_context(settings), (certificate, key, authorities))

    def refresh(self, *, at_once: bool = False) -> bool:
        """Look at the files, once in `LOOK_S` at most or `at_once`; whether other authorities came into force."""
        now = self._clock()
        if now < self._next and not at_once:
            return False
        self._next = now + LOOK_S
        before = self.in_force
        try:
            if self._look() == self._seen:
                return False
            self._seen, self.in_force = self._load()
        except (SettingInvalid, OSError) as error:
            self._tell(str(error) if isinstance(error, SettingInvalid) else type(error).__name__)
            return False
        self._told = ""
        logger.warning("changed TLS files are in force")
        return self.in_force.authorities != before.authorities

    def _load(self) -> tuple[_Seen, Loaded]:
        seen = self._look()
        found = Loaded(self._make(), hashlib.sha256(self._files[-1].read_bytes()).digest())
        # INVARIANT: what is in force was read from files that stood still meanwhile.
        if self._look() != seen:
            raise SettingInvalid("the TLS files are being written")
        return seen, found

    def _look(self) -> _Seen:
        stats = [path.stat() for path in self._files]
        return tuple((s.st_mtime_ns, s.st_ctime_ns, s.st_dev, s.st_ino, s.st_size) for s in stats)

    def _tell(self, reason: str) -> None:
        # Tried every second, told once.
        if reason != self._told:
            logger.error("the TLS files in force stay: %s", reason)
        self._told = reason


def tls_context(settings: Settings) -> ssl.SSLContext:
    """The server's context; a client certificate may be missing, but a bad one ends the handshake.

    Raises `SettingInvalid` with names of files and the kind of fault, never what a file holds.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}[settings.tls_minimum]
    context.set_ciphers(_SUITES)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A resumed session would bring its certificate along, seen under whatever authorities were trusted then. Without
    # tickets nothing is resumed in TLS 1.3, and in TLS 1.2 no more than what this very context remembers.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    certificate, key, authorities = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None or key is None or authorities is None:
        raise SettingInvalid("HECHA_TLS_CERTIFICATE, HECHA_TLS_KEY and HECHA_TLS_CLIENT_CA are needed for TLS")
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise _unfit(f"{certificate.name} with {key.name}", error) from None
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise _unfit(authorities.name, error) from None
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    # Without this, OpenSSL would ask whoever sits at the terminal, and wait.
    raise ValueError("the key is encrypted")


def _unfit(names: str, error: Exception) -> SettingInvalid:
    if isinstance(error, ssl.SSLError):
        kind = error.reason or "not PEM"
    else:
        kind = "the key is encrypted" if isinstance(error, ValueError) else type(error).__name__
    return SettingInvalid(f"TLS: {names} cannot be used ({kind}): PEM, unencrypted, and one key for both are needed")
