"""Whether a certificate is revoked, by the lists of its authorities (RFC 5280 §6.3); what is not known is refused.

Lists come from files, looked at on use at most once a second, and from URLs, fetched every `FETCH_EVERY_S`, so that a
new list holds within a minute. With no source, nothing is checked. `app.trust.crl` says which lists are used,
`app.trust.held_lists` which one is in force.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path as File
from threading import Event, Thread

from cryptography import x509

from app.refusals import Refusal
from app.trust import crl
from app.trust.authorities import Authorities, Path
from app.trust.crl import SKEW, RevocationList
from app.trust.crl_copies import Copies
from app.trust.crl_source import Unreachable, UrlSource
from app.trust.held_lists import HeldLists
from app.trust.path import Authority, extension
from app.trust.watched import TooLarge, WatchedFile

logger = logging.getLogger(__name__)

FETCH_EVERY_S = 30.0
SAY_EVERY_S = 60.0
SETTLE_EVERY_S = 1.0
CACHED = 4_096
CLOSE_S = 6.0


@dataclass(frozen=True, slots=True)
class _Clear:
    """A path that was found not revoked by the lists in force after so many changes, good between two times."""

    path: Path
    changes: int
    since: datetime
    until: datetime


class RevocationLists:
    """Keeps the lists of the given sources fresh and checks paths against them; shared by threads."""

    def __init__(
        self, sources: Sequence[str], authorities: Authorities, *, check: str, grace_s: int, folder: File
    ) -> None:
        """`sources` are absolute paths and URLs; `check` is `chain` or `leaf`; `folder` takes copies of lists."""
        self._urls = [UrlSource(source) for source in sources if "://" in source]
        self._files = [WatchedFile(File(source)) for source in sources if "://" not in source]
        self._leaf_only = check == "leaf"
        self._grace = timedelta(seconds=grace_s)
        copies = Copies(folder)
        self._lists = HeldLists(authorities, copies)
        for name, content in copies.all() if self._urls else ():
            self._lists.arrive(f"the copy {name}", content)
        self._clear: dict[int, _Clear] = {}
        self._said: dict[str, float] = {}
        self._settled_at = float("-inf")
        self._closing = Event()
        self._threads: list[Thread] = []

    def start(self) -> None:
        """Put in force what is there, and keep the lists of URLs fresh from now on; does not wait for the first."""
        self._look(datetime.now(UTC))
        for url in self._urls:
            thread = Thread(target=self._keep_fetching, args=(url,), name="revocation lists", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Stop fetching."""
        self._closing.set()
        for thread in self._threads:
            thread.join(CLOSE_S)
        for url in self._urls:
            url.close()

    def check(self, path: Path, now: datetime) -> None:
        """Return if no certificate of the path is revoked at `now`.

        Raises `Refusal`: certificate-revoked, or revocation-unknown where a current list is missing.
        """
        if not self._urls and not self._files:
            return
        self._look(now)
        clear = self._clear.get(id(path))
        # The entry holds its path, so no other path can have the same id.
        if clear is None or clear.changes != self._lists.changes or not clear.since <= now <= clear.until:
            self._judge(path, now)

    def refresh(self, now: datetime) -> None:
        """Fetch every URL once and put in force what it brings."""
        for url in self._urls:
            self._fetch(url, now)

    def _judge(self, path: Path, now: datetime) -> None:
        changes, since, until, unknown = self._lists.changes, path.not_before, path.not_after, False
        for place, (certificate, issuer) in enumerate(pairwise(path.certificates[: 2 if self._leaf_only else None])):
            covering = self._covering(certificate, issuer, now)
            if any(certificate.serial_number in one.serials for one in covering):
                raise _revoked(is_client=place == 0)
            current = [one.stated for one in covering if one.stated.is_current(now, self._grace)]
            if current:
                longest = max(current, key=lambda stated: stated.next_update)
                since, until = max(since, longest.this_update - SKEW), min(until, longest.next_update + self._grace)
            else:
                unknown = True
                self._tell(issuer, covering)
        if unknown:
            raise _unknown()
        if len(self._clear) >= CACHED:
            self._clear.clear()
        self._clear[id(path)] = _Clear(path, changes, since, until)

    def _covering(
        self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime
    ) -> list[RevocationList]:
        usage = extension(issuer, x509.KeyUsage)
        if usage is None or not usage.crl_sign:
            return []
        lists = self._lists.of(Authority.of(issuer), now)
        return [one for one in lists if one.stated.scope.covers(certificate)]

    def _tell(self, issuer: x509.Certificate, covering: Sequence[RevocationList]) -> None:
        name = issuer.subject.rfc4514_string()
        if covering:
            ended = max(one.stated.next_update for one in covering)
            self._say(name, f"the revocation list of {name!r} ran out ({ended:%Y-%m-%dT%H:%MZ}): renew it")
        else:
            self._say(name, f"there is no revocation list of {name!r} that can be used: its clients are refused")

    def _say(self, about: str, text: str) -> None:
        if time.monotonic() - self._said.get(about, float("-inf")) >= SAY_EVERY_S:
            if len(self._said) >= CACHED:
                self._said.clear()
            self._said[about] = time.monotonic()
            logger.error("%s", text)

    def _look(self, now: datetime) -> None:
        for file in self._files:
            if file.has_changed():
                self._read(file)
                self._lists.settle(now)
        if self._lists.is_waiting and time.monotonic() - self._settled_at >= SETTLE_EVERY_S:
            self._settled_at = time.monotonic()
            self._lists.settle(now, wait=False)

    def _read(self, file: WatchedFile) -> None:
        try:
            self._lists.arrive(str(file.path), file.read(crl.MAX_BYTES))
        except OSError as error:
            file.forget()
            self._say(str(file.path), f"a revocation list from {file.path} is not used: {error.strerror}")
        except TooLarge as error:
            logger.error("a revocation list from %s is not used: %s", file.path, error)  # noqa: TRY400

    def _fetch(self, url: UrlSource, now: datetime) -> None:
        try:
            content = url.fetch()
        except Unreachable as error:
            self._say(url.name, f"the revocation list at {url.name} is not refreshed: {error}")
            content = None
        if content is not None:
            self._lists.arrive(url.name, content, keep=True)
        self._lists.settle(now)

    def _keep_fetching(self, url: UrlSource) -> None:
        while not self._closing.is_set():
            started = time.monotonic()
            try:
                self._fetch(url, datetime.now(UTC))
            except Exception as error:  # noqa: BLE001 - a thread that ends would let the list run out
                url.forget()
                self._say(url.name, f"the revocation list at {url.name} is not refreshed: {type(error).__name__}")
            self._closing.wait(max(1.0, FETCH_EVERY_S - (time.monotonic() - started)))


def _revoked(*, is_client: bool) -> Refusal:
    detail = (
        "The certificate was revoked by its authority: ask for a new one."
        if is_client
        else "An authority above the certificate was revoked: ask for a certificate of another one."
    )
    return Refusal("certificate-revoked", detail, headers={"WWW-Authenticate": 'Bearer realm="hecha"'})


def _unknown() -> Refusal:
    return Refusal(
        "revocation-unknown",
        "No current revocation list tells whether the certificate is still good: ask again later.",
        headers={"Retry-After": str(int(FETCH_EVERY_S))},
    )
