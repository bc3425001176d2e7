"""One signing key: the PEM file that holds it, or the hardware module that a file names; and which is current."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from app.keys import hsm
from app.keys.hsm import P256, Kind, SigningKey
from app.keys.key_files import MAKE_KEYS, KeyInvalid, read_private
from app.keys.key_history import HISTORY, KeyHistory
from evidence.jwk import ValidKey, thumbprint

NEXT = "-next"


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """The key of one use that is current, since when (None: unknown), and the prepared one.

    `is_unfinished`: a rotation was interrupted, and the current key still stands in the place of the next one.
    """

    current: ec.EllipticCurvePrivateKey
    since: datetime | None
    following: ec.EllipticCurvePrivateKey | None
    is_unfinished: bool = False


def pair(folder: Path, use: str, history: KeyHistory) -> Pair:
    """The keys of one use as files and history have them. Raises `KeyInvalid` where these contradict each other."""
    following = read_named(folder, use + NEXT, P256)
    current = history.current(use)
    if current is not None and following is not None and is_same(following, current):
        former = read_named(folder, use, P256)
        if former is None or history.retired(use, former.public_key()):
            return Pair(following, current.valid_from, None, is_unfinished=True)
    present = read_required(folder, use, P256)
    if retired := history.retired(use, present.public_key()):
        raise KeyInvalid(f"{named(folder, use)} was retired on {retired:%Y-%m-%d}: restore the key that followed it")
    if current is not None and not is_same(present, current):
        raise KeyInvalid(
            f"{named(folder, use)} is not the key that {HISTORY} has as current: restore that one, or give it up "
            "with `python -m app keys --init`"
        )
    if following is not None:
        if retired := history.retired(use, following.public_key()):
            raise KeyInvalid(f"{named(folder, use + NEXT)} was retired on {retired:%Y-%m-%d}: remove it")
        if is_same(following, ValidKey(present.public_key())):
            raise KeyInvalid(f"{named(folder, use + NEXT)} is the current key once more: remove it")
    return Pair(present, current.valid_from if current else None, following)


def is_same(key: ec.EllipticCurvePrivateKey, entry: ValidKey) -> bool:
    """Whether a key is the one of an entry of the history."""
    return thumbprint(key.public_key()) == thumbprint(entry.key)


def is_there(folder: Path, name: str) -> bool:
    """Whether there is a file for the signing key of that name, sound or not."""
    return any(map(os.path.lexists, _places(folder, name)))


def named(folder: Path, name: str) -> Path:
    """The file that stands for the signing key of that name: `.uri` where there is one, else `.pem`."""
    file, uri = _places(folder, name)
    return uri if os.path.lexists(uri) else file


def read_named(folder: Path, name: str, kind: Kind[SigningKey]) -> SigningKey | None:
    """The key that `<name>.pem` holds or `<name>.uri` names; None if neither is there. Raises `KeyInvalid`."""
    return read_required(folder, name, kind) if is_there(folder, name) else None


def read_required(folder: Path, name: str, kind: Kind[SigningKey]) -> SigningKey:
    """The signing key that `<name>.pem` holds or `<name>.uri` names. Raises `KeyInvalid`."""
    file, uri = _places(folder, name)
    if os.path.lexists(uri):
        if os.path.lexists(file):
            raise KeyInvalid(f"{file} and {uri.name} are both there: remove the one that is not to be used")
        return hsm.load(uri, kind)
    return _read(file, kind, MAKE_KEYS)


def read_signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A P-256 key in PEM, readable by its owner only. Raises `KeyInvalid`."""
    return _read(path, P256)


def new_signing_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """PKCS #8, not encrypted: nobody is there to type a password when the node starts."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _places(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.uri"


def _read(path: Path, kind: Kind[SigningKey], hint: str = "") -> SigningKey:
    content = read_private(path, hint)
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # TypeError: the key is encrypted, and nobody is there to type its password.
        raise KeyInvalid(f"{path} must hold a private key in PEM, not encrypted") from None
    if not isinstance(key, kind.type) or not isinstance(getattr(key, "curve", None), ec.SECP256R1 | None):
        raise KeyInvalid(f"{path} must hold {kind.text}")
    found: SigningKey = key
    return found
