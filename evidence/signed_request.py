"""A signed request (RFC 9421) as evidence: who signed which question, so that the client cannot deny it later.

The rules that a signature keeps to:

- it covers at least `COMPONENTS`, none of them with parameters, and is tagged `TAG`;
- Content-Digest (RFC 9530) is covered and fits the body, so the signature is about the body too;
- `keyid` is the thumbprint of the client's certificate (x5t#S256, RFC 8705 §3.1) or of another P-256 key (RFC 7638);
- the algorithm follows from the key alone.

Whoever has the evidence, the record and its salts can check all of it, without the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import http_sf
import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from http_message_signatures import ContentDigest, HTTPMessageSignaturesException
from http_message_signatures.algorithms import (
    ECDSA_P256_SHA256,
    ECDSA_P384_SHA384,
    ED25519,
    RSA_PSS_SHA512,
    HTTPSignatureAlgorithm,
)

from evidence.base64s import decode_url, encode_url
from evidence.errors import CommitmentNotVerified, KeyNotVerified, NotVerified, SignatureNotVerified
from evidence.jwk import keys_from_jwks, thumbprint, to_jwk
from evidence.receipt import unread
from evidence.record import open_commitment

if TYPE_CHECKING:
    from collections.abc import Mapping

TAG = "hecha"
COMPONENTS = ("@method", "@target-uri", "content-digest", "content-type", "authorization")
FIELD = "signature"  # the committed field of the record
AGE = timedelta(seconds=60)  # how old a signature may be when it arrives
AHEAD = timedelta(seconds=10)  # how far its clock may be ahead
RSA_BITS = 2_048
VERSION = 1

PublicKey: TypeAlias = "ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey"


class EvidenceNotVerified(NotVerified):
    """The evidence of a signed request is malformed, or does not say what such evidence says."""


class BodyNotVerified(NotVerified):
    """The body is not the one that was signed."""


def algorithm_of(key: object) -> type[HTTPSignatureAlgorithm]:
    """Return the one algorithm that a public key signs requests with (RFC 9421 §3.3); raises `KeyNotVerified`."""
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return ECDSA_P256_SHA256
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1):
        return ECDSA_P384_SHA384
    if isinstance(key, ed25519.Ed25519PublicKey):
        return ED25519
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_BITS:
        return RSA_PSS_SHA512
    raise KeyNotVerified(f"Requests are signed with a key on P-256 or P-384, Ed25519, or RSA of {RSA_BITS} bits.")


def verify(key: PublicKey, signature: bytes, base: bytes) -> None:
    """Verify a signature over a signature base (RFC 9421 §2.5); raises `SignatureNotVerified`, `KeyNotVerified`."""
    algorithm = cast(
        "Any", algorithm_of(key)
    )  # each algorithm takes its keys by name; their interface does not say so
    try:
        algorithm(public_key=key).verify(signature, base)
    except (InvalidSignature, HTTPMessageSignaturesException):
        raise SignatureNotVerified("The signature is not by this key over this request.") from None


def certificate_thumbprint(certificate: bytes) -> str:
    """Return the x5t#S256 thumbprint of a certificate in DER (RFC 8705 §3.1)."""
    return encode_url(sha256(certificate).digest())


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What its client signed of one request, and the key that shows it.

    `input` is the signature's member of Signature-Input (components and parameters), `base` the signature base that
    was signed. `certificate` is the client's in DER; None where it was signed with `key`, a P-256 key beside it.
    """

    input: str
    signature: bytes
    base: bytes
    body: bytes
    certificate: bytes | None = None
    key: ec.EllipticCurvePublicKey | None = None

    @property
    def components(self) -> tuple[str, ...]:
        """What the signature covers, by name; raises `EvidenceNotVerified`."""
        return _read(self.input)[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """The signature's parameters (`created`, `keyid`, …); raises `EvidenceNotVerified`."""
        return _read(self.input)[1]

    @property
    def keyid(self) -> str:
        """The thumbprint of certificate or key; raises `EvidenceNotVerified`."""
        return str(self.parameters.get("keyid"))

    def committed(self) -> dict[str, str]:
        """Return what the record commits to under `FIELD`."""
        return {
            "input": self.input,
            "signature": encode_url(self.signature),
            "keyid": self.keyid,
            "base": encode_url(sha256(self.base).digest()),
        }

    def document(self) -> bytes:
        """Return the evidence as JSON, from which `parse` makes an equal one."""
        members: dict[str, Any] = {
            "v": VERSION,
            "input": self.input,
            "signature": encode_url(self.signature),
            "base": encode_url(self.base),
            "body": encode_url(self.body),
        }
        if self.certificate is not None:
            members["certificate"] = encode_url(self.certificate)
        if self.key is not None:
            members["key"] = to_jwk(self.key)
        return orjson.dumps(members)

    @classmethod
    def parse(cls, document: bytes) -> SignedRequest:
        """Read what `document` gave; raises `EvidenceNotVerified` for anything else."""
        try:
            members = orjson.loads(document)
            certificate, keys = members.get("certificate"), {"keys": [members.get("key")]}
            if members["v"] == VERSION:
                return cls(
                    input=str(members["input"]),
                    **{name: decode_url(members[name]) for name in ("signature", "base", "body")},
                    certificate=None if certificate is None else decode_url(certificate),
                    key=next(iter(keys_from_jwks(keys).values())) if certificate is None else None,
                )
        except (ValueError, TypeError, KeyError, AttributeError, KeyNotVerified):
            pass
        raise EvidenceNotVerified("This is no evidence of a signed request.")

    def check(self) -> None:
        """Check key, signature, coverage and body, in this order.

        Raises `KeyNotVerified` where the key is not the one that the signature names, `SignatureNotVerified`,
        `EvidenceNotVerified` where too little was signed, and `BodyNotVerified`.
        """
        verify(self._signer(), self.signature, self.base)
        values, parameters = self._values(), self.parameters
        if not set(COMPONENTS) <= values.keys() or parameters.get("tag") != TAG or "created" not in parameters:
            raise EvidenceNotVerified("The signature covers too little to be that of a question to a node.")
        try:
            ContentDigest.verify(values["content-digest"], self.body)
        except HTTPMessageSignaturesException:
            raise BodyNotVerified("The body is not the one that was signed.") from None

    def check_record(self, record: Mapping[str, Any], salts: Mapping[str, str]) -> None:
        """Check that a record is about this request; `salts` open its commitments to `FIELD` and `question`.

        Raises `CommitmentNotVerified` where record and request differ.
        """
        if not open_commitment(record, FIELD, salts.get(FIELD, ""), dict(self.committed())):
            raise CommitmentNotVerified("The signature is not the one that the node recorded.")
        if self.certificate is not None and record.get("certificate") != self.keyid:
            raise CommitmentNotVerified("The record names another certificate than the one that signed.")
        if not any(
            open_commitment(record, "question", salts.get("question", ""), told) for told in self._questions()
        ):
            raise CommitmentNotVerified("The question that was signed is not the one that the node recorded.")
        path = unquote(urlsplit(self._values()["@target-uri"]).path)
        service = record.get("service")
        if service is not None and not path.endswith(f"/v1/services/{service}/verifications"):
            raise CommitmentNotVerified("The service that was asked is not the one that the node recorded.")
        recorded_at = datetime.fromisoformat(str(record["at"])).timestamp()
        if not -AHEAD.total_seconds() <= recorded_at - self.parameters["created"] <= AGE.total_seconds():
            raise CommitmentNotVerified("The request was signed at another time than it was recorded.")

    def _questions(self) -> list[Any]:
        """What the record may commit to as the question: the body as read, or the digest that stands for it."""
        try:
            read = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            read = None
        return [read, unread(self.body)]

    def _signer(self) -> PublicKey:
        """The key that `keyid` names; raises `KeyNotVerified`."""
        if self.key is not None and thumbprint(self.key) == self.keyid:
            return self.key
        if self.certificate is not None and certificate_thumbprint(self.certificate) == self.keyid:
            try:
                return cast("PublicKey", x509.load_der_x509_certificate(self.certificate).public_key())
            except ValueError:
                raise KeyNotVerified("The certificate that the signature names cannot be read.") from None
        raise KeyNotVerified("The certificate or key is not the one that the signature names.")

    def _values(self) -> dict[str, str]:
        """The components' values by name, as they stand in the base; raises `EvidenceNotVerified`."""
        # SPEC: RFC 9421 §2.5: one line a component in the order covered, the parameters last; no value breaks a line.
        lines = [line.partition(": ") for line in self.base.decode("ascii", "replace").split("\n")]
        values = {name: value for name, _, value in lines}
        named = [f'"{name}"' for name in (*self.components, "@signature-params")]
        if [name for name, _, _ in lines] != named or len(values) != len(named):
            raise EvidenceNotVerified("The signature base is not of the components that the signature names.")
        if values['"@signature-params"'] != self.input:
            raise EvidenceNotVerified("The signature base has other parameters than the signature.")
        return {name.strip('"'): value for name, value in values.items()}


def _read(text: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Components and parameters of a member of Signature-Input; raises `EvidenceNotVerified`."""
    try:
        ((members, parameters),) = cast("Any", http_sf.parse(b"one=" + text.encode(), tltype="dictionary")).values()
        if all(isinstance(name, str) and not given for name, given in members):
            return tuple(name for name, _ in members), parameters
    except (ValueError, TypeError):
        pass
    raise EvidenceNotVerified("What the signature covers cannot be read.")
