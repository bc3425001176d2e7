"""Encryption of what is kept apart from the log and can be erased: record salts and stored replies (AES-256-GCM)."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12


class Sealer:
    """Seals bytes under the node's seal key; the decision id is bound to them, so that rows cannot be swapped."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, identifier: str) -> bytes:
        """Nonce and ciphertext of `content`."""
        nonce = os.urandom(NONCE)
        return nonce + self._cipher.encrypt(nonce, content, identifier.encode())

    def open(self, sealed: bytes, identifier: str) -> bytes:
        """The content again. Raises `cryptography.exceptions.InvalidTag` for other bytes, key or id."""
        if len(sealed) < NONCE:
            raise InvalidTag  # the cipher itself would raise another error
        return self._cipher.decrypt(sealed[:NONCE], sealed[NONCE:], identifier.encode())
