"""TLS 1.3 records made by hand (RFC 8446 §5), for what no client of good will can be made to send."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_UPDATE = bytes([24, 0, 0, 1, 0])  # update_not_requested
_HANDSHAKE, _DATA = 22, 23
_HASH = hashes.SHA384()  # of TLS_AES_256_GCM_SHA384, which OpenSSL prefers
AT_ONCE = 500


def key_updates(secrets: Path, ending: bytes = b"") -> Iterator[bytes]:
    """Records of a client that changes its key without end, some hundreds at a time; or once, before `ending`.

    `secrets` is the key log of a connection on which the client has sent nothing yet.
    """
    lines = secrets.read_text("ascii").splitlines()
    secret = next(bytes.fromhex(line.split()[2]) for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0"))
    for count in [1] if ending else repeat(AT_ONCE):
        records = b""
        for _ in range(count):
            records += _record(secret, KEY_UPDATE, _HANDSHAKE)
            secret = _expand(secret, b"traffic upd", 48)
        yield records + (_record(secret, ending, _DATA) if ending else b"")


def _record(secret: bytes, content: bytes, kind: int) -> bytes:
    """The first record under this secret: its sequence number is 0, so that the nonce is the IV itself."""
    plain = content + bytes([kind])
    head = bytes([_DATA, 3, 3]) + (len(plain) + 16).to_bytes(2)
    return head + AESGCM(_expand(secret, b"key", 32)).encrypt(_expand(secret, b"iv", 12), plain, head)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1)."""
    named = b"tls13 " + label
    info = length.to_bytes(2) + bytes([len(named)]) + named + b"\0"
    return HKDFExpand(_HASH, length, info).derive(secret)
