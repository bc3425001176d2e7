"""The revocation lists that the node goes by: verified, one for each signer and scope, the newest ever seen.

What arrives waits until its signature verifies with the key of an authority of its issuer's name, known from the
file of authorities or from a path of a client's certificate, and until thisUpdate is reached. An older list never
replaces the one that is held.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from app.trust import crl
from app.trust.authorities import Authorities
from app.trust.crl import ListUnusable, ReadList, RevocationList, Scope
from app.trust.crl_copies import Copies
from app.trust.path import Authority

logger = logging.getLogger(__name__)

MAX_MET = 1_000


@dataclass(slots=True)
class _Waiting:
    """A list that has arrived; `tried` are the signers that it is not by."""

    source: str
    found: ReadList
    tried: set[tuple[bytes, bytes]] = field(default_factory=set)
    is_told: bool = False


class HeldLists:
    """Takes in lists and hands out those of an issuer; shared by threads.

    `changes` counts the lists put in force; `is_waiting` says whether one waits for its signer or for its time.
    """

    def __init__(self, authorities: Authorities, copies: Copies) -> None:
        self.changes = 0
        self.is_waiting = False
        self._authorities = authorities
        self._copies = copies
        self._kept: set[str] = set()  # sources whose lists are copied
        self._held: dict[tuple[bytes, bytes], dict[Scope, RevocationList]] = {}
        self._waiting: dict[str, list[_Waiting]] = {}
        self._contents: dict[str, bytes] = {}
        self._met: dict[tuple[bytes, bytes], Authority] = {}
        self._lock = Lock()

    def arrive(self, source: str, content: bytes, *, keep: bool = False) -> None:
        """Take in what a source holds now, in the place of what still waits from it; `keep` makes copies on disk."""
        digest = hashlib.sha256(content).digest()
        with self._lock:
            if self._contents.get(source) == digest:
                return
            self._contents[source] = digest
            self._kept |= {source} if keep else set()
            self._waiting[source] = []
            for found in crl.read(content):
                if isinstance(found, ReadList):
                    self._waiting[source].append(_Waiting(source, found))
                else:
                    logger.error("a revocation list from %s is not used: %s", source, found)
            self.is_waiting = any(self._waiting.values())

    def settle(self, now: datetime, *, wait: bool = True) -> None:
        """Put in force whatever waits and proves itself by now; without `wait`, unless a thread is about it."""
        if self._lock.acquire(blocking=wait):
            try:
                for source, waiting in self._waiting.items():
                    self._waiting[source] = [one for one in waiting if not self._is_done(one, now)]
                self.is_waiting = any(self._waiting.values())
            finally:
                self._lock.release()

    def of(self, issuer: Authority, now: datetime) -> Collection[RevocationList]:
        """The lists of an issuer, as a valid path shows it, one for each scope."""
        if issuer.signer not in self._met:
            with self._lock:
                if len(self._met) >= MAX_MET:
                    self._met.clear()
                self._met[issuer.signer] = issuer
            self.settle(now)
        return self._held.get(issuer.signer, {}).values()

    def _is_done(self, one: _Waiting, now: datetime) -> bool:
        if not one.found.stated.has_begun(now):
            _tell(one, "its thisUpdate lies ahead")
            return False
        for signer in self._signers(one.found.stated.issuer):
            if signer.signer not in one.tried:
                one.tried.add(signer.signer)
                if one.found.is_signed_by(signer.certificate):
                    self._take(one, signer)
                    return True
        _tell(one, "its signature is by no authority of its issuer's name" if one.tried else "its issuer is unknown")
        return False

    def _signers(self, name: bytes) -> Iterator[Authority]:
        yield from self._authorities.named(name)
        yield from (one for one in self._met.values() if one.name == name)

    def _take(self, one: _Waiting, signer: Authority) -> None:
        stated, held = one.found.stated, self._held.get(signer.signer, {})
        previous = held.get(stated.scope)
        if previous is not None and not stated.is_newer(previous.stated):
            # INVARIANT: what was revoked once does not come back by an old list.
            if previous.stated.is_newer(stated):
                logger.error("a revocation list from %s is not used: it is older than the one held", one.source)
            return
        try:
            serials = one.found.serials()
        except ListUnusable as error:
            logger.error("a revocation list from %s is not used: %s", one.source, error)  # noqa: TRY400
            return
        self._held = self._held | {signer.signer: held | {stated.scope: RevocationList(stated, serials)}}
        self.changes += 1
        logger.info("a revocation list from %s is in force: %d certificates", one.source, len(serials))
        if one.source in self._kept:
            self._copies.keep(signer.signer, one.found)


def _tell(one: _Waiting, reason: str) -> None:
    if not one.is_told:
        one.is_told = True
        logger.error("a revocation list from %s is not used yet: %s", one.source, reason)
