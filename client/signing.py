"""Accepting an agreement for a department: its digest, and the detached JWS over its canonical bytes.

What is signed is the document and nothing around it, so the signature says the same wherever it is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from evidence import jws
from evidence.canonical import NotCanonical, canonical
from evidence.jwk import thumbprint

AskPassword: TypeAlias = "Callable[[], bytes]"


class KeyInvalid(ValueError):
    """A file holds no key that agreements are signed with; the text says what it must hold."""


@dataclass(frozen=True, slots=True)
class Document:
    """An agreement as it is signed: canonical bytes (RFC 8785) and their digest, `sha256-<hex>`."""

    content: bytes
    digest: str


def read_document(content: bytes) -> Document:
    """Read an agreement from JSON. Raises `NotCanonical` for what is no agreement, or has no canonical form.

    Spaces and the order of members do not matter; a member that stands twice has no one meaning and is refused.
    """
    try:
        value = json.loads(content, object_pairs_hook=_map)
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"it is not plain JSON: {error}") from None
    if not isinstance(value, dict) or not isinstance(value.get("agreement"), str):
        raise NotCanonical("it is no agreement: save the document itself, with its member `agreement`")
    document = canonical(value)
    return Document(document, "sha256-" + hashlib.sha256(document).hexdigest())


def accept(document: Document, key: ec.EllipticCurvePrivateKey) -> str:
    """The detached JWS by which the key's department accepts the document (RFC 7515 appendix F)."""
    return jws.sign(key, jws.AGREEMENT, document.content, detached=True)


def accepted_by(document: Document, signature: str, key: ec.EllipticCurvePublicKey) -> str:
    """The thumbprint of the key that signed the document. Raises a `NotVerified` where it did not."""
    keys = {thumbprint(key): key}
    return jws.verify(signature.strip(), keys, jws.AGREEMENT, payload=document.content, named="signature").kid


def read_private_key(content: bytes, password: AskPassword) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of a PEM file; `password` is asked only where it is encrypted. Raises `KeyInvalid`."""
    wrong = KeyInvalid("it must hold a P-256 private key in PEM, and the password must be its own")
    try:
        try:
            key = load_pem_private_key(content, None)
        except TypeError:  # it is encrypted
            key = load_pem_private_key(content, password())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise wrong from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise wrong
    return key


def read_public_key(content: bytes, password: AskPassword) -> ec.EllipticCurvePublicKey:
    """The public half of a PEM file that holds a public or a private P-256 key. Raises `KeyInvalid`."""
    if b"PUBLIC KEY" not in content:
        return read_private_key(content, password).public_key()
    wrong = KeyInvalid("it must hold a P-256 key in PEM")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise wrong from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise wrong
    return key


def _map(members: list[tuple[str, Any]]) -> dict[str, Any]:
    # INVARIANT: a reader that keeps the other of two members of one name would have read another agreement.
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member stands twice in one object")
    return found
