"""Signed requests (RFC 9421, RFC 9530): whether a signature is its caller's, of this request, and used once.

- A signature for the node must hold, whether an agreement demands one or not (`app.identity.signature_input`).
- Its key is that of the certificate of the connection, or one registered for the client (`signing_keys`).
- `@target-uri` begins with the node's issuer: what Host says proves nothing.
- Content-Digest is held against the body itself.
- It is a minute old at most, and its nonce is spent with the record of what came of it (`app.log.nonces`).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, cast
from urllib.parse import urlsplit

import http_sf
from cryptography.hazmat.primitives.serialization import Encoding
from http_message_signatures import (
    ContentDigest,
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    InvalidSignature,
    MappingKeyResolver,
)
from sqlalchemy import Connection

from app.identity.caller import Caller
from app.identity.signature_input import Given, Message, SignatureInvalid, given
from app.log import nonces
from app.log.nonces import Nonce
from app.log.storage import Store, StoreUnavailable
from app.refusals import Refusal
from evidence.errors import KeyNotVerified
from evidence.signed_request import COMPONENTS, TAG, PublicKey, SignedRequest, algorithm_of

KEPT_S = 600  # how long a nonce is kept from its signature's creation on: the clocks of instances may be apart


class Replayed(SignatureInvalid):
    """The nonce was used before: this very request came once already, or its client does not choose nonces anew."""

    def __init__(self) -> None:
        super().__init__("The nonce was used before: sign each request anew.")


@dataclass(frozen=True, slots=True)
class Signed:
    """A request whose signature holds: the evidence of it, and its nonce, which is not spent yet."""

    request: SignedRequest
    nonce: Nonce

    def spend(self, connection: Connection, now: datetime) -> None:
        """Spend the nonce, inside a transaction. Raises `Replayed`."""
        if not nonces.spend(connection, self.nonce, now.timestamp()):
            raise Replayed


class Signatures:
    """Verifies signatures of requests to the node `issuer`; shared by threads."""

    def __init__(self, store: Store, issuer: str) -> None:
        self._store = store
        self._base = target_base(issuer)

    def of(self, message: Message, body: bytes, caller: Caller, now: datetime) -> Signed | None:
        """The verified signature of a request; None if it bears none for a node.

        Raises `Refusal`: signature-invalid, or record-not-written where nobody can tell whether the nonce is new.
        """
        found = given(message)
        if found is None:
            return None
        found.check_times(now)
        key, holder = _key_of(found.parameters["keyid"], caller)
        base = self._verified(found, message, key)
        _check_digest(message, body)
        digest = sha256(found.parameters["nonce"].encode()).digest()
        nonce = Nonce(caller.client.name, digest, found.parameters["created"] + KEPT_S)
        self._check_new(nonce)
        return Signed(SignedRequest(found.input, found.signature, base, body, **holder), nonce)

    def spend(self, signed: Signed, now: datetime) -> None:
        """Spend the nonce of a request that gets a stored reply, and so no record. Raises `Refusal`."""
        try:
            with self._store.writing() as connection:
                signed.spend(connection, now)
        except StoreUnavailable:
            raise _cannot_tell() from None

    def _check_new(self, nonce: Nonce) -> None:
        """Early, so that a replay asks no source and draws nothing; the record's transaction is what decides."""
        try:
            spent = nonces.is_spent(self._store, nonce)
        except StoreUnavailable:
            raise _cannot_tell() from None
        if spent:
            raise Replayed

    def _verified(self, found: Given, message: Message, key: PublicKey) -> bytes:
        """The signature base that the signature holds over. Raises `SignatureInvalid`."""
        try:
            algorithm = algorithm_of(key)
        except KeyNotVerified as error:
            raise SignatureInvalid(str(error)) from None
        if found.parameters.get("alg", algorithm.algorithm_id) != algorithm.algorithm_id:
            raise SignatureInvalid(
                f"The key that keyid names signs with {algorithm.algorithm_id}: alg says otherwise."
            )
        resolver = MappingKeyResolver(public_keys={found.parameters["keyid"]: key}, private_keys={})
        verifier = _Verifier(signature_algorithm=algorithm, key_resolver=resolver)
        view = _View(message, self._base + message.target, found)
        try:
            (result,) = verifier.verify(view, max_age=None, expect_tag=TAG)
        except InvalidSignature:
            raise SignatureInvalid(
                f"The signature does not hold over this request, whose target URI is {self._base} and its path."
            ) from None
        # SPEC: RFC 9421 §2.5.
        return "\n".join(f"{name}: {value}" for name, value in result.covered_components.items()).encode()


def asked_for(thumbprint: str) -> dict[str, str]:
    """The field that asks for a signature (RFC 9421 §5.1): by the key of this certificate, with a nonce to take."""
    covered = " ".join(f'"{name}"' for name in COMPONENTS)
    nonce = secrets.token_urlsafe(18)
    return {
        "Accept-Signature": f'{TAG}=({covered});created;keyid="{thumbprint}";nonce="{nonce}";tag="{TAG}"',
    }


def target_base(issuer: str) -> str:
    """What the target URI of each request to a node begins with: its issuer, host in lower case, without port 443."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(':443')}{parts.path}"


class _Verifier(HTTPMessageVerifier):
    """The library's verifier without its clock: times were held against the one that the node is given."""

    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
        pass


class _View:
    """The request as the library reads one, bearing the signature in question and no other."""

    def __init__(self, message: Message, url: str, found: Given) -> None:
        self.method = message.method
        self.url = url
        self.headers: Mapping[str, str] = {
            **message.fields,
            "signature-input": f"{TAG}={found.input}",
            "signature": http_sf.ser({TAG: (found.signature, {})}),
        }


def _key_of(keyid: str, caller: Caller) -> tuple[PublicKey, dict[str, Any]]:
    """The key of that name, and how the evidence names its holder. Raises `SignatureInvalid`."""
    if keyid == caller.certificate:
        certificate = caller.presented.path.certificates[0]
        return cast("PublicKey", certificate.public_key()), {"certificate": certificate.public_bytes(Encoding.DER)}
    key = caller.client.signing_keys.get(keyid)
    if key is None:
        raise SignatureInvalid(
            "keyid is the thumbprint of the certificate of this connection (x5t#S256), or of a key registered for "
            "the client (RFC 7638)."
        )
    return key, {"key": key}


def _check_digest(message: Message, body: bytes) -> None:
    """Hold the covered Content-Digest against the body itself (RFC 9530 §2). Raises `SignatureInvalid`."""
    try:
        ContentDigest.verify(message.fields["content-digest"], body)
    except HTTPMessageSignaturesException:
        raise SignatureInvalid("Content-Digest does not fit the body: sha-256 or sha-512 over its bytes.") from None


def _cannot_tell() -> Refusal:
    return Refusal("record-not-written", "The node database cannot be read or written: try again shortly.")
