"""C2SP signed-note: a text, an empty line, and signature lines by named keys; Ed25519 (type 0x01) only.

A note is UTF-8 without control characters but newline. Signatures by unknown keys are ignored, a wrong one by
a known key rejects the whole note, and at least one by a known key must hold.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from evidence.base64s import decode, encode
from evidence.errors import CheckpointNotVerified, KeyNotVerified, SignatureNotVerified

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NOTE = 262_144  # characters; sixteen post-quantum signatures of 5 kB fit
MAX_SIGNATURES = 64
_ED25519 = b"\x01"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID = re.compile(r"[0-9a-f]{8}")


def _is_name(name: str) -> bool:
    # SPEC: signed-note "Format": non-empty, no Unicode spaces, no plus.
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " for c in name)


def _key_id(name: str, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


class NoteSigner:
    """Signs texts under a key name; raises `ValueError` for a name that no note can carry."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        if not _is_name(name):
            raise ValueError(f"{name!r} cannot be the name of a note key")
        public_key = private_key.public_key().public_bytes_raw()
        self.name = name
        self._private_key = private_key
        self._key_id = _key_id(name, public_key)
        self.vkey = f"{name}+{self._key_id.hex()}+{encode(_ED25519 + public_key)}"
        """The verifier key in one line, as `NoteVerifier.parse` reads it."""

    def sign(self, text: str) -> str:
        """Return the signed note of `text`; raises `ValueError` unless it is lines of printable text."""
        if not text.endswith("\n") or _CONTROL.search(text):
            raise ValueError("a note's text ends in a newline and has no other control characters")
        signature = self._private_key.sign(text.encode())
        return f"{text}\n\N{EM DASH} {self.name} {encode(self._key_id + signature)}\n"


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """The public half of a `NoteSigner`: key name, 4-byte key id, Ed25519 key."""

    name: str
    key_id: bytes
    public_key: Ed25519PublicKey

    @classmethod
    def parse(cls, vkey: str) -> NoteVerifier:
        """Return the verifier of one `name+id+key` line; raises `KeyNotVerified`."""
        name, _, rest = vkey.strip().partition("+")
        key_id, _, key = rest.partition("+")
        try:
            data = decode(key)
        except ValueError:
            raise KeyNotVerified("The log's verifier key is not written as name+id+key.") from None
        if not _is_name(name) or not _KEY_ID.fullmatch(key_id) or data[:1] != _ED25519 or len(data) != 33:
            raise KeyNotVerified("The log's verifier key is not an Ed25519 key written as name+id+key.")
        if _key_id(name, data[1:]).hex() != key_id:
            raise KeyNotVerified("The log's verifier key does not agree with its own key id.")
        return cls(name, bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(data[1:]))

    def verify(self, text: bytes, signature: bytes) -> None:
        """Check an Ed25519 signature over the bytes of a note's text; raises `SignatureNotVerified`."""
        try:
            self.public_key.verify(signature, text)
        except InvalidSignature:
            raise SignatureNotVerified(
                f"The signature of {self.name} under the checkpoint is wrong: forged or altered."
            ) from None


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """The verified `text` of a note and the names of the known keys that signed it."""

    text: str
    signed_by: frozenset[str]


def open_note(note: str | bytes, verifiers: Iterable[NoteVerifier]) -> OpenedNote:
    """Return the text of a note that a known key signed.

    Raises `CheckpointNotVerified` for a malformed note or one without a known signature,
    `SignatureNotVerified` if a signature by a known key is wrong.
    """
    text, lines = _split(_decoded(note))
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signed_by = set[str]()
    for line in lines:
        name, key_id, signature = _parse_signature(line)
        verifier = known.get((name, key_id))
        if verifier:
            verifier.verify(text.encode(), signature)
            signed_by.add(name)
    if not signed_by:
        raise CheckpointNotVerified("The checkpoint bears no signature of a key that is trusted here.")
    return OpenedNote(text, frozenset(signed_by))


def _decoded(note: str | bytes) -> str:
    if len(note) > MAX_NOTE:
        raise CheckpointNotVerified("The checkpoint is too large to be one.")
    try:
        text = note.decode() if isinstance(note, bytes) else note
        text.encode()
    except UnicodeError:
        raise CheckpointNotVerified("The checkpoint is not UTF-8 text.") from None
    if _CONTROL.search(text):
        raise CheckpointNotVerified("The checkpoint holds control characters.")
    return text


def _split(note: str) -> tuple[str, list[str]]:
    text, gap, signatures = note.rpartition("\n\n")
    if not gap or not text or not signatures.endswith("\n"):
        raise CheckpointNotVerified("The checkpoint is not a text, an empty line and signature lines.")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise CheckpointNotVerified("The checkpoint bears more signatures than are read here.")
    return text + "\n", lines


def _parse_signature(line: str) -> tuple[str, bytes, bytes]:
    malformed = CheckpointNotVerified("A signature line of the checkpoint is malformed.")
    dash, _, rest = line.partition(" ")
    name, _, blob = rest.partition(" ")
    if dash != "\N{EM DASH}" or not _is_name(name):
        raise malformed
    try:
        data = decode(blob)
    except ValueError:
        raise malformed from None
    if len(data) < 5:
        raise malformed
    return name, data[:4], data[4:]
