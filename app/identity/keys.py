"""The node's own keys, one file each in `HECHA_KEYS_DIR`, readable by their owner only.

`docs/keys.md` names every key, its rotation and what its loss means.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

SIGNING = ("token", "receipt")  # P-256
SECRET = ("seal", "index", "account", "fingerprint")  # 32 random bytes, hexadecimal


class KeyInvalid(Exception):
    """A key file is missing, of the wrong kind, or open to others. The text names the file and what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class NodeKeys:
    """Every key of the node; none is shown where the object is.

    token: signs access tokens · receipt: signs receipts · log: signs checkpoints (Ed25519) · seal: encrypts salts
    and stored replies · index: HMAC of subjects in the search index · account: HMAC of budget accounts and
    questions · fingerprint: HMAC of source values inside adapters.
    """

    token: ec.EllipticCurvePrivateKey
    receipt: ec.EllipticCurvePrivateKey
    log: ed25519.Ed25519PrivateKey
    seal: bytes
    index: bytes
    account: bytes
    fingerprint: bytes


def create(folder: Path) -> list[str]:
    """Create the keys that `folder` lacks and return their file names; keys that exist are left alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = []
    for name in SIGNING:
        made += _write_new(folder / f"{name}.pem", _pem(ec.generate_private_key(ec.SECP256R1())))
    made += _write_new(folder / "log.pem", _pem(ed25519.Ed25519PrivateKey.generate()))
    for name in SECRET:
        made += _write_new(folder / f"{name}.key", secrets.token_hex(32).encode())
    return made


def load(folder: Path) -> NodeKeys:
    """Read every key. Raises `KeyInvalid` for a file that is missing, of another kind, or readable by others."""
    log = _private_key(folder / "log.pem")
    if not isinstance(log, ed25519.Ed25519PrivateKey):
        raise KeyInvalid(f"{folder / 'log.pem'} must hold an Ed25519 key")
    return NodeKeys(
        token=read_signing_key(folder / "token.pem"),
        receipt=read_signing_key(folder / "receipt.pem"),
        log=log,
        seal=_secret(folder / "seal.key"),
        index=_secret(folder / "index.key"),
        account=_secret(folder / "account.key"),
        fingerprint=_secret(folder / "fingerprint.key"),
    )


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_new(path: Path, content: bytes) -> list[str]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return []
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return [path.name]


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise KeyInvalid(f"{path}: {error.strerror}; `python -m app keys --init` creates missing keys") from None
    if stat.S_IMODE(mode) & 0o077:
        raise KeyInvalid(f"{path} is open to others (mode {stat.S_IMODE(mode):04o}): chmod 600 it")
    return content


def _private_key(path: Path) -> PrivateKeyTypes:
    content = _read(path)
    try:
        return load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # TypeError: the key is encrypted, and nobody is there to type its password.
        raise KeyInvalid(f"{path} must hold a private key in PEM, not encrypted") from None


def read_signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A P-256 key in PEM, readable by its owner only. Raises `KeyInvalid`."""
    key = _private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise KeyInvalid(f"{path} must hold a P-256 key")
    return key


def _secret(path: Path) -> bytes:
    try:
        value = bytes.fromhex(_read(path).decode("ascii").strip())
    except ValueError:
        raise KeyInvalid(f"{path} must hold hexadecimal digits") from None
    if len(value) != 32:
        raise KeyInvalid(f"{path} must hold 64 hexadecimal digits")
    return value
