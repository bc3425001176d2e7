"""A forger of tokens who even has the node's own key, so that each forgery is refused for its one fault."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from time import time
from typing import Any, Final

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from evidence.base64s import decode_url, encode_url
from evidence.jwk import to_jwk
from tests.nodes.consumer import Consumer
from tests.nodes.questions import SERVICE
from tests.nodes.running import ISSUER, RunningNode

LEFT_OUT: Final = object()
ATTACKER = "https://attacker.example/keys"
# The order of P-256: r and s are numbers below it.
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@cache
def foreign_key(curve: str = "p256") -> ec.EllipticCurvePrivateKey:
    """A key of the forger's own."""
    curves: dict[str, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "k256": ec.SECP256K1()}
    return ec.generate_private_key(curves[curve])


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """An RSA key of the forger's own."""
    return rsa.generate_private_key(65_537, 2_048)


def part(value: Any) -> str:
    """One part of a token: the JSON of a value, or bytes as they are."""
    return encode_url(value if isinstance(value, bytes) else orjson.dumps(value))


def halves(key: ec.EllipticCurvePrivateKey, text: str, digest: hashes.HashAlgorithm | None = None) -> tuple[int, int]:
    """r and s of an ECDSA signature."""
    return decode_dss_signature(key.sign(text.encode(), ec.ECDSA(digest or hashes.SHA256())))


def raw(r: int, s: int, size: int = 32) -> bytes:
    """A signature as RFC 7518 §3.4 writes it."""
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


@dataclass(frozen=True, slots=True)
class Forge:
    """Makes tokens out of a good one's claims; `victim` is another client of the node."""

    node: RunningNode
    caller: Consumer
    victim: Consumer

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """The node's own token key."""
        return self.node.node.keys.token

    @property
    def kid(self) -> str:
        """Its id."""
        return self.node.node.identity.tokens.kid

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good token of the caller's, changed; LEFT_OUT leaves one out."""
        now = int(time())
        good = {
            "iss": ISSUER,
            "aud": ISSUER,
            "sub": self.caller.name,
            "client_id": self.caller.name,
            "scope": f"catalogue verify:{SERVICE}",
            "iat": now,
            "nbf": now,
            "exp": now + 600,
            "jti": "a-forged-token-0001",
            "cnf": {"x5t#S256": thumbprint(self.caller)},
        }
        return {name: value for name, value in (good | changes).items() if value is not LEFT_OUT}

    def header(self, **changes: Any) -> dict[str, Any]:
        """The header of a good token, changed."""
        good = {"alg": "ES256", "typ": "at+jwt", "kid": self.kid}
        return {name: value for name, value in (good | changes).items() if value is not LEFT_OUT}

    def unsigned(self, header: Any = None, payload: Any = None) -> str:
        """The first two parts of a token."""
        return f"{part(header or self.header())}.{part(payload or self.claims())}"

    def signed(self, header: Any = None, payload: Any = None, key: ec.EllipticCurvePrivateKey | None = None) -> str:
        """A token signed as ES256 whatever it says, by the node's own key unless another is given."""
        text = self.unsigned(header, payload)
        return f"{text}.{encode_url(raw(*halves(key or self.key, text)))}"

    def with_claims(self, **changes: Any) -> str:
        """A token of the node's own key with these claims changed."""
        return self.signed(payload=self.claims(**changes))

    def with_header(self, **changes: Any) -> str:
        """A token of the node's own key with these header members changed."""
        return self.signed(self.header(**changes))

    def with_signature(self, sign: Callable[[str], bytes], **changes: Any) -> str:
        """A token of these header members, signed by a function of its first two parts."""
        text = self.unsigned(self.header(**changes))
        return f"{text}.{encode_url(sign(text))}"

    def with_hmac(self, secret: bytes, alg: str = "HS256") -> str:
        """A token authenticated with a secret that everybody knows."""
        digest = "sha" + alg[2:]
        return self.with_signature(lambda text: hmac.digest(secret, text.encode(), digest), alg=alg)

    def with_rsa(self, scheme: padding.AsymmetricPadding, **changes: Any) -> str:
        """A token signed by the forger's RSA key."""
        return self.with_signature(lambda text: rsa_key().sign(text.encode(), scheme, hashes.SHA256()), **changes)

    def with_ed25519(self, **changes: Any) -> str:
        """A token signed by an Ed25519 key of the forger's."""
        return self.with_signature(lambda text: ed25519.Ed25519PrivateKey.generate().sign(text.encode()), **changes)

    def bringing_its_key(self, **changes: Any) -> str:
        """A token signed by the forger's key, which the header offers in some way."""
        return self.signed(self.header(**changes), key=foreign_key())

    def jwk(self) -> dict[str, str]:
        """The forger's public key."""
        return to_jwk(foreign_key().public_key())

    def expired(self) -> str:
        """A token whose last second is over."""
        now = int(time())
        return self.with_claims(iat=now - 600, nbf=now - 600, exp=now)

    def revoked(self) -> str:
        """A token of the caller's that it revoked."""
        form = {"grant_type": "client_credentials", "client_id": self.caller.name}
        token: str = self.caller.form(**form).get_json()["access_token"]
        data = {"client_id": self.caller.name, "token": token}
        assert self.caller.open("POST", "/oauth2/revoke", data=data).status_code == 200
        return token

    def receipt(self) -> str:
        """A receipt of the node: a JWS of it that is no token."""
        return self.node.node.recorder.signer.sign(orjson.dumps(self.claims()))


def thumbprint(caller: Consumer) -> str:
    """`x5t#S256` of the caller's certificate (RFC 8705 §3.1)."""
    assert caller.certificate is not None
    return encode_url(hashlib.sha256(caller.certificate).digest())


def der(forge: Forge) -> bytes:
    """The certificate of the caller."""
    assert forge.caller.certificate is not None
    return forge.caller.certificate


def repainted(forge: Forge, **changes: object) -> str:
    """A token whose claims were changed after it was signed."""
    head, _, signature = forge.signed().split(".")
    return f"{head}.{part(forge.claims(**changes))}.{signature}"


def spare_bits(token: str) -> str:
    """The same token, spelt with a last character whose spare bits are not zero."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) | 1]


def mirrored(token: str) -> str:
    """The same token with the other s that ECDSA verifies: n - s."""
    text, _, signature = token.rpartition(".")
    data = decode_url(signature)
    return f"{text}.{encode_url(data[:32] + (ORDER - int.from_bytes(data[32:], 'big')).to_bytes(32, 'big'))}"


def as_json(token: str) -> str:
    """The token in the flattened JSON serialisation (RFC 7515 §7.2.2)."""
    return orjson.dumps(dict(zip(("protected", "payload", "signature"), token.split("."), strict=True))).decode()


def not_encoded(forge: Forge) -> str:
    """A payload that is not encoded (RFC 7797), and holds no dot either."""
    text = f"{part(forge.header(b64=False, crit=['b64']))}." + '{"scope":"audit"}'
    return f"{text}.{encode_url(raw(*halves(forge.key, text)))}"


def twice(forge: Forge, name: str, value: bytes) -> bytes:
    """The claims with a second value for one of them, before the good one."""
    return b'{"' + name.encode() + b'":' + value + b"," + orjson.dumps(forge.claims())[1:]


def other_alphabet(forge: Forge) -> str:
    """The same token in standard base64, where that makes a difference."""
    while "-" not in (token := forge.signed()):
        pass
    return token.replace("-", "+").replace("_", "/")
