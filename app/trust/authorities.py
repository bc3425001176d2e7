"""The authorities whose clients the node serves: one PEM file with roots and issuing authorities.

The self-signed certificates of the file are the roots, as in OpenSSL without partial chains; the others are known
issuing authorities, trusted only as far as a path leads through them to a root. The file is looked at again when it
changes; a broken replacement keeps what runs. `app.trust.path` says what a valid path is.
"""

from __future__ import annotations

import logging
import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from cryptography import x509

from app.trust import path as paths
from app.trust.path import Authority, Known, Path, PathInvalid
from app.trust.watched import TooLarge, WatchedFile

__all__ = ["Authorities", "AuthoritiesInvalid", "Path", "PathInvalid"]

logger = logging.getLogger(__name__)

MAX_CERTIFICATES = 1_000
MAX_BYTES = 16_777_216
_LABEL = re.compile(rb"-----BEGIN ([^\n-]*)-----")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class AuthoritiesInvalid(ValueError):
    """The file of authorities cannot be used. The text is one line and says what to do."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    known: Known
    generation: int


class Authorities:
    """The authorities of one file, shared by threads."""

    def __init__(self, file: pathlib.Path) -> None:
        """Raises `AuthoritiesInvalid`."""
        self._file = WatchedFile(file)
        self._file.has_changed()
        self._loading = Lock()
        self._said = ""
        self._loaded = _Loaded(self._read(), 1)

    @property
    def generation(self) -> int:
        """A number that rises whenever the file was replaced: what was verified under another holds no more."""
        return self._current().generation

    def verify(self, leaf: bytes, chain: Sequence[bytes], now: datetime) -> Path:
        """The path of a client's certificate to a root, valid at `now`; both as DER. Raises `PathInvalid`.

        `chain` is what the client presented beside it, in any order; it helps to find a path and proves nothing.
        """
        return paths.verify(leaf, chain, self._current().known, now)

    def named(self, name: bytes) -> tuple[Authority, ...]:
        """The authorities of the file that have this distinguished name (DER)."""
        return self._current().known.get(name, ())

    def _current(self) -> _Loaded:
        if self._file.has_changed():
            with self._loading:
                self._replace()
        return self._loaded

    def _replace(self) -> None:
        try:
            known = self._read()
        except AuthoritiesInvalid as error:
            if str(error) != self._said:
                # Once: a file that cannot be read is tried again every second.
                self._said = str(error)
                logger.error("the authorities that were read before stay in force: %s", error)  # noqa: TRY400
        else:
            self._said = ""
            self._loaded = _Loaded(known, self._loaded.generation + 1)
            logger.info("%s was replaced: its authorities are in force", self._file.path)

    def _read(self) -> Known:
        try:
            content = self._file.read(MAX_BYTES)
        except OSError as error:
            self._file.forget()
            raise AuthoritiesInvalid(f"{self._file.path}: {error.strerror}: give the node its authorities") from None
        except TooLarge as error:
            raise AuthoritiesInvalid(f"{self._file.path}: {error}: leave out what is not needed") from None
        try:
            return _known(_certificates(content))
        except AuthoritiesInvalid as error:
            raise AuthoritiesInvalid(f"{self._file.path}: {error}") from None


def _certificates(content: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM text, in order."""
    labels = _LABEL.findall(content)
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        raise AuthoritiesInvalid("a private key stands in it: take it out and treat the key as known to others")
    blocks = _CERTIFICATE.findall(content)
    if len(blocks) != len(labels):
        raise AuthoritiesInvalid("something else than whole certificates in PEM stands in it: take it out")
    if len(blocks) > MAX_CERTIFICATES:
        raise AuthoritiesInvalid(f"more than {MAX_CERTIFICATES} certificates: leave out what is not needed")
    found = []
    for number, block in enumerate(blocks, 1):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except paths.UNREADABLE:
            raise AuthoritiesInvalid(f"certificate {number} cannot be read: take it out or replace it") from None
    return found


def _known(certificates: Sequence[x509.Certificate]) -> Known:
    known: dict[bytes, tuple[Authority, ...]] = {}
    for number, certificate in enumerate(certificates, 1):
        try:
            authority = Authority.of(certificate, is_root=paths.is_root(certificate))
            _refuse_others(certificate)
        except paths.UNREADABLE as error:
            raise AuthoritiesInvalid(f"take certificate {number} out, it is of no use here: {error}") from None
        # A certificate that stands there twice counts once; roots come first, for the shortest path.
        found = dict.fromkeys((*known.get(authority.name, ()), authority))
        known[authority.name] = tuple(sorted(found, key=lambda one: not one.is_root))
    if not any(authority.is_root for group in known.values() for authority in group):
        raise AuthoritiesInvalid("no root (self-signed certificate) stands in it: add the root of its authorities")
    return known


def _refuse_others(certificate: x509.Certificate) -> None:
    """Raise `ValueError` for a certificate that no path could lead through: better at the start than at a request."""
    constraints = paths.extension(certificate, x509.BasicConstraints)
    usage = paths.extension(certificate, x509.KeyUsage)
    if certificate.version is not x509.Version.v3 or constraints is None or not constraints.ca:
        raise ValueError("It is not that of an authority (basicConstraints cA).")
    if usage is None or not usage.key_cert_sign:
        raise ValueError("It does not say that it may issue (keyUsage keyCertSign).")
    if paths.limits_directory_names(certificate):
        raise ValueError("It limits distinguished names, which this node cannot check.")
