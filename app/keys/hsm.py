"""Signing keys in a hardware module (PKCS#11): one line in a file, an RFC 7512 URI, stands in a private key's place.

What `load` gives *is* a private key to whoever signs with it, but for its private half: that never leaves the module.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from app.keys.key_files import KeyInvalid, check_unwritable, read_private
from app.keys.pkcs11_uri import FORM, Place, read_uri
from app.refusals import Refusal

logger = logging.getLogger(__name__)

Sign = Callable[[bytes], bytes]
SigningKey = TypeVar("SigningKey", bound=ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey)


class HsmUnavailable(Refusal):
    """The module does not sign now, so nothing that needs a signature is done; the cause is in the node's log."""

    def __init__(self) -> None:
        super().__init__(
            "record-not-written",
            "The module that holds the node's keys cannot be reached, so nothing can be signed: try again shortly.",
            headers={"Retry-After": "5"},
        )


class HsmEcKey(ec.EllipticCurvePrivateKey):
    """A P-256 key whose private half is in a module; `sign` raises `HsmUnavailable`."""

    def __init__(self, sign: Sign, public: ec.EllipticCurvePublicKey) -> None:
        self._sign, self._public = sign, public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Return the DER signature of `data`.

        A module takes its own random numbers: a signature asked for as deterministic (RFC 6979) holds like any other,
        but the same data gives another one each time.
        """
        algorithm = signature_algorithm.algorithm
        if not isinstance(signature_algorithm, ec.ECDSA):
            raise UnsupportedAlgorithm("a key of a module signs ECDSA")
        if isinstance(algorithm, Prehashed):
            digest = bytes(data)
        else:
            hashed = hashes.Hash(algorithm)
            hashed.update(data)
            digest = hashed.finalize()
        raw = self._sign(digest)
        # SPEC: PKCS#11 §2.3.1: r and s as big-endian halves.
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """256."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:  # noqa: ARG002
        """Raise `UnsupportedAlgorithm`: the key is for signatures."""
        raise UnsupportedAlgorithm("a key of a module is for signatures")

    def private_numbers(self) -> NoReturn:
        """Raise `UnsupportedAlgorithm`: the private half stays in the module."""
        _refuse_private()

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        """Raise `UnsupportedAlgorithm`: the private half stays in the module."""
        _refuse_private()

    def __copy__(self) -> HsmEcKey:
        return self

    def __deepcopy__(self, memo: Any) -> HsmEcKey:
        return self


class HsmEd25519Key(ed25519.Ed25519PrivateKey):
    """An Ed25519 key whose private half is in a module; `sign` raises `HsmUnavailable`."""

    def __init__(self, sign: Sign, public: ed25519.Ed25519PublicKey) -> None:
        self._sign, self._public = sign, public

    def sign(self, data: Any) -> bytes:
        """Return the signature of `data`, 64 bytes."""
        return self._sign(bytes(data))

    def public_key(self) -> ed25519.Ed25519PublicKey:
        """Return the public half."""
        return self._public

    def private_bytes_raw(self) -> NoReturn:
        """Raise `UnsupportedAlgorithm`: the private half stays in the module."""
        _refuse_private()

    def private_bytes(self, *_: Any, **__: Any) -> NoReturn:
        """Raise `UnsupportedAlgorithm`: the private half stays in the module."""
        _refuse_private()

    def __copy__(self) -> HsmEd25519Key:
        return self

    def __deepcopy__(self, memo: Any) -> HsmEd25519Key:
        return self


def _refuse_private() -> NoReturn:
    raise UnsupportedAlgorithm("the private key stays in the hardware module")


@dataclass(frozen=True, slots=True)
class Kind(Generic[SigningKey]):
    """A kind of signing key: its name, its class, its curve's names, and how a module signs with it.

    `size` is that of the public key's point in bytes; `wrap` makes a key of what signs and such a point.
    """

    text: str
    type: type[Any]
    curves: tuple[bytes, ...]
    mechanism: str
    size: int
    wrap: Callable[[Sign, bytes], SigningKey]


P256: Kind[ec.EllipticCurvePrivateKey] = Kind(
    "a P-256 key",
    ec.EllipticCurvePrivateKey,
    (bytes.fromhex("06082a8648ce3d030107"),),
    "ECDSA",
    65,
    lambda sign, point: HsmEcKey(sign, ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)),
)
ED25519: Kind[ed25519.Ed25519PrivateKey] = Kind(
    "an Ed25519 key",
    ed25519.Ed25519PrivateKey,
    (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"),  # by its identifier, and by its older name
    "EDDSA",
    32,
    lambda sign, point: HsmEd25519Key(sign, ed25519.Ed25519PublicKey.from_public_bytes(point)),
)


def load(path: Path, kind: Kind[SigningKey]) -> SigningKey:
    """The key that the URI in a file names, of this kind; that it signs under its public key was tried.

    Raises `KeyInvalid` for a file that is open to others, a URI that is refused, a module, token or key that cannot
    be used, and a missing package.
    """
    lines = read_private(path).decode("utf-8", "replace").strip().splitlines()
    if len(lines) != 1:
        raise KeyInvalid(f"{path} must hold one line, {FORM}")
    try:
        from app.keys import cryptoki  # noqa: PLC0415 - an extra
    except ImportError:
        raise KeyInvalid(f"{path} names a key of a hardware module: pip install hecha[hsm]") from None
    try:
        place = read_uri(lines[0])
        # Its code runs in the node's process: nobody else may put another in its place.
        check_unwritable(place.module)
        check_unwritable(place.module.resolve().parent)
        found = cryptoki.module(place).find(place)
        if found.curve not in kind.curves:
            raise KeyInvalid(f"the token's key must be {kind.text}")  # noqa: TRY301 - told with the rest
        key = kind.wrap(partial(_signed, place, found, kind.mechanism), _point(found.point, kind.size))
        _check_halves(key)
    except (cryptoki.Unusable, KeyInvalid, OSError, ValueError) as error:
        raise KeyInvalid(f"{path}: {error}") from None
    except HsmUnavailable:
        raise KeyInvalid(f"{path}: the key does not sign: see the log above") from None
    return key


def _signed(place: Place, expected: Any, mechanism: str, data: bytes) -> bytes:
    from app.keys import cryptoki  # noqa: PLC0415 - loaded when the key was

    try:
        return cryptoki.module(place).sign(place, expected, mechanism, data)
    except (cryptoki.Unusable, KeyInvalid) as error:
        logger.error("the hardware module does not sign: %s", error)  # noqa: TRY400 - its text is ours
        raise HsmUnavailable from None


def _check_halves(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    """A token does not itself hold the two halves of a key against each other: nothing signed would ever verify."""
    challenge = b"hecha: does this key sign? " + secrets.token_bytes(32)
    try:
        if isinstance(key, ec.EllipticCurvePrivateKey):
            algorithm = ec.ECDSA(hashes.SHA256())
            key.public_key().verify(key.sign(challenge, algorithm), challenge, algorithm)
        else:
            key.public_key().verify(key.sign(challenge), challenge)
    except InvalidSignature:
        raise KeyInvalid("the token's public key is not that of its private key: repair the token") from None


def _point(encoded: bytes, size: int) -> bytes:
    # SPEC: PKCS#11 §2.3.3: the point as a DER OCTET STRING; some modules leave out its head.
    return encoded[2:] if encoded[:2] == bytes((0x04, size)) and len(encoded) == size + 2 else encoded
