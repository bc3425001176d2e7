"""The node's own keys: files in `HECHA_KEYS_DIR`, or keys of a hardware module that such a file names.

`docs/keys.md` names every key, its rotation and what its loss means. Which of several is current is said by the key
history, so that a rotation that was interrupted leaves a node that starts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from app.keys import key_history
from app.keys.hsm import ED25519, P256
from app.keys.key_files import MAKE_KEYS, KeyInvalid, changing, check_folder, read_private, reading, write_whole
from app.keys.key_history import HISTORY, USES, KeyHistory, PastKey
from app.keys.signing_keys import (
    NEXT,
    Pair,
    is_same,
    is_there,
    new_signing_key,
    pair,
    pem,
    read_named,
    read_required,
    read_signing_key,
)
from evidence.jwk import ValidKey, thumbprint, to_dated_jwk

__all__ = ["SECRET", "KeyInvalid", "NodeKeys", "PastKey", "create", "load", "published", "read_signing_key"]

SECRET = ("seal", "index", "account", "fingerprint")  # 32 random bytes, hexadecimal
TOKEN_SKEW = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, repr=False)
class NodeKeys:
    """Every key of the node; none is shown where the object is.

    token: signs access tokens · receipt: signs receipts · log: signs checkpoints (Ed25519) · seal: encrypts salts
    and stored replies · index: HMAC of subjects in the search index · account: HMAC of budget accounts and
    questions · fingerprint: HMAC of source values inside adapters. `…_next`: the public half of the key that
    follows, which signs nothing yet. `…_from`: since when the present key is used, None if that is unknown.
    `history`: the keys of tokens and receipts that were retired, oldest first.
    """

    token: ec.EllipticCurvePrivateKey
    receipt: ec.EllipticCurvePrivateKey
    log: ed25519.Ed25519PrivateKey
    seal: bytes
    index: bytes
    account: bytes
    fingerprint: bytes
    token_next: ec.EllipticCurvePublicKey | None = None
    receipt_next: ec.EllipticCurvePublicKey | None = None
    token_from: datetime | None = None
    receipt_from: datetime | None = None
    history: tuple[PastKey, ...] = ()


def create(folder: Path) -> list[str]:
    """Create what `folder` lacks and return its file names; keys that exist are left alone.

    The history learns since when a new key is used; the one that it replaces is retired there. Raises `KeyInvalid`.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_folder(folder)
    with changing(folder):
        history, made = key_history.read(folder), []
        for use in USES:
            made += [] if _is_current_in_next(folder, use, history) else _make(folder, use, new_signing_key)
        made += _make(folder, "log", ed25519.Ed25519PrivateKey.generate)
        for path in (folder / f"{name}.key" for name in SECRET):
            if not path.exists():
                write_whole(path, secrets.token_hex(32).encode())
                made.append(path.name)
        return made + _write_down(folder, history, made)


def load(folder: Path) -> NodeKeys:
    """Read every key. Raises `KeyInvalid` for what is missing, of another kind, or open to others."""
    check_folder(folder, MAKE_KEYS)
    with reading(folder):
        history = key_history.read(folder)
        token, receipt = (pair(folder, use, history) for use in USES)
        _refuse_one_key_for_two_uses(folder, token, receipt)
        return NodeKeys(
            token=token.current,
            receipt=receipt.current,
            log=read_required(folder, "log", ED25519),
            seal=_secret(folder / "seal.key"),
            index=_secret(folder / "index.key"),
            account=_secret(folder / "account.key"),
            fingerprint=_secret(folder / "fingerprint.key"),
            token_next=_public(token.following),
            receipt_next=_public(receipt.following),
            token_from=token.since,
            receipt_from=receipt.since,
            history=history.past,
        )


def published(keys: NodeKeys, token_lifetime: timedelta, now: datetime) -> dict[str, list[dict[str, str]]]:
    """The JWK set of the node (RFC 7517): current and next keys, and those retired that something is verified with.

    Receipts are verified for good, tokens until the last one has run out. It says which key is for what: whoever
    steals the one must not be able to forge the other's documents.
    """
    found = [
        to_dated_jwk(ValidKey(keys.token.public_key(), keys.token_from), "token"),
        to_dated_jwk(ValidKey(keys.receipt.public_key(), keys.receipt_from), "receipt"),
    ]
    for use, following in (("token", keys.token_next), ("receipt", keys.receipt_next)):
        found += [to_dated_jwk(ValidKey(following), use)] if following is not None else []
    for past in keys.history:
        if past.use == "receipt" or now <= past.valid_until + token_lifetime + TOKEN_SKEW:
            found.append(to_dated_jwk(ValidKey(past.key, past.valid_from, past.valid_until), past.use))
    return {"keys": found}


def _make(
    folder: Path, name: str, generate: Callable[[], ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey]
) -> list[str]:
    if is_there(folder, name):
        return []
    path = folder / f"{name}.pem"
    write_whole(path, pem(generate()))
    return [path.name]


def _is_current_in_next(folder: Path, use: str, history: KeyHistory) -> bool:
    """Whether the current key stands in the place of the next one, since a rotation was interrupted."""
    current = history.current(use)
    following = read_named(folder, use + NEXT, P256) if current else None
    return current is not None and following is not None and is_same(following, current)


def _write_down(folder: Path, history: KeyHistory, made: list[str]) -> list[str]:
    now, found = datetime.now(UTC).replace(microsecond=0), history
    for use in USES:
        current = history.current(use)
        if _is_current_in_next(folder, use, history) or (current is None and f"{use}.pem" not in made):
            continue
        key = read_required(folder, use, P256)
        if current is None or not is_same(key, current):
            found = found.begun(use, key.public_key(), now, until=now)
    if found == history:
        return []
    key_history.write(folder, found)
    return [HISTORY]


def _refuse_one_key_for_two_uses(folder: Path, *pairs: Pair) -> None:
    keys = [key for pair in pairs for key in (pair.current, pair.following) if key is not None]
    if len({thumbprint(key.public_key()) for key in keys}) < len(keys):
        raise KeyInvalid(f"{folder}: one key signs both tokens and receipts: make one of its own for each")


def _public(key: ec.EllipticCurvePrivateKey | None) -> ec.EllipticCurvePublicKey | None:
    return key.public_key() if key is not None else None


def _secret(path: Path) -> bytes:
    try:
        value = bytes.fromhex(read_private(path, MAKE_KEYS).decode("ascii").strip())
    except ValueError:
        raise KeyInvalid(f"{path} must hold hexadecimal digits") from None
    if len(value) != 32:
        raise KeyInvalid(f"{path} must hold 64 hexadecimal digits")
    return value
