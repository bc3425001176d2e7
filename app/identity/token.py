"""Access tokens: issued for a certificate, verified against it (RFC 9068, RFC 8705 §3, FAPI 2.0 clock rules).

One issuer, one audience. The node signs with one key and verifies under that, the one that follows and those that
were retired a short while ago; each key has its one algorithm. A header is exactly alg, typ and kid, so that no key
is ever taken from a token or fetched for it (RFC 8725 §3.10).
A token that was verified once is remembered by its SHA-256. INVARIANT: what is remembered is what the token says,
which never changes; times, certificate and revocation are held against it on every use.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from app.refusals import Refusal
from app.strict_json import read_object
from evidence.base64s import decode_url
from evidence.jwk import thumbprint

MAX_TOKEN = 4_096
MAX_LIFETIME_S = 600
CACHED = 10_000
FUTURE_S = 60  # FAPI 2.0 §5.3.2.1: refuse iat or nbf more than 60 s ahead; 10 s must be accepted
# SPEC: RFC 9068 §4: any other value is refused. The node issues the first.
TYPES = ("at+jwt", "application/at+jwt")
ALGORITHM = "ES256"

_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SCOPE = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*")  # RFC 6749 §3.3
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_SIGNATURES = jwt.PyJWS(algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key that tokens are verified with, and the one algorithm it is for.

    `until`: when it was retired (seconds since 1970), None for a key that is in use or follows.
    """

    kid: str
    public: ec.EllipticCurvePublicKey
    algorithm: str = ALGORITHM
    until: float | None = None

    @classmethod
    def of(cls, public: ec.EllipticCurvePublicKey, until: datetime | None = None) -> VerificationKey:
        """The key under its thumbprint (RFC 7638). Raises `ValueError` for one on another curve than P-256."""
        return cls(thumbprint(public), public, until=until.timestamp() if until else None)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified token says: its id (jti), the client, its scopes, its certificate, and its times (epoch s)."""

    id: str
    client: str
    scopes: frozenset[str]
    certificate: str
    issued_at: int
    not_before: int
    expires_at: int

    def fault(self, now: datetime) -> str | None:
        """Why the token is not good at this time, in words for its holder; None if it is."""
        seconds = now.timestamp()
        if seconds >= self.expires_at:
            return "The token has expired: ask for a new one."
        if max(self.issued_at, self.not_before) > seconds + FUTURE_S:
            return "The token is from the future: check the clocks."
        return None


class Tokens:
    """Issues access tokens with the node's token key and verifies them; shared by threads.

    `others` are keys that tokens are verified with beside it: those retired, and the one that follows, so that
    workers need not change over at the same instant.
    """

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        lifetime_s: int,
        others: Iterable[VerificationKey] = (),
    ) -> None:
        current = VerificationKey.of(key.public_key())
        self.kid = current.kid
        self.issuer = issuer
        self.lifetime_s = lifetime_s
        self._key = key
        self._keys = {other.kid: other for other in others} | {current.kid: current}
        self._read_before: dict[bytes, Grant] = {}
        self._lock = Lock()

    def issue(
        self, client: str, certificate: str, scopes: Iterable[str], now: datetime, *, jti: str | None = None
    ) -> tuple[str, str]:
        """A token for `client`, bound to the certificate with that thumbprint; returns (token, jti)."""
        issued_at = int(now.timestamp())
        jti = jti or secrets.token_urlsafe(16)
        claims = {
            "iss": self.issuer,
            "aud": self.issuer,
            "sub": client,
            "client_id": client,
            "scope": " ".join(sorted(scopes)),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self.lifetime_s,
            "jti": jti,
            "cnf": {"x5t#S256": certificate},
        }
        return jwt.encode(claims, self._key, ALGORITHM, headers={"typ": TYPES[0], "kid": self.kid}), jti

    def verify(self, token: str, certificate: str, now: datetime) -> Grant:
        """What the token grants to the holder of this certificate now.

        Whether it was revoked, the registry in force knows. Raises `Refusal` token-invalid or token-not-bound, both
        401 with an RFC 6750 challenge.
        """
        grant = self.read(token)
        fault = grant.fault(now)
        if fault is not None:
            raise invalid(fault)
        # SPEC: RFC 8705 §3: the certificate of the TLS layer must be the one in cnf.
        if not hmac.compare_digest(grant.certificate.encode(), certificate.encode()):
            raise Refusal(
                "token-not-bound",
                "The token is bound to another certificate: ask for a token over this connection.",
                headers=_challenge("invalid_token", "the token is bound to another certificate"),
            )
        return grant

    def read(self, token: str) -> Grant:
        """What a token that this node issued says, whether or not it is good now. Raises `Refusal` token-invalid."""
        # Whatever is no ASCII is not remembered either, so that no two tokens share a digest.
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        grant = self._read_before.get(digest)
        if grant is None:
            grant = self._read(token)
            with self._lock:
                if len(self._read_before) >= CACHED:
                    self._read_before.clear()
                self._read_before[digest] = grant
        return grant

    def _read(self, token: str) -> Grant:
        if len(token) > MAX_TOKEN:
            raise invalid("The token is malformed.")
        try:
            # SPEC: RFC 7515 §2: three parts, no padding and no spare bits, so that a token has one spelling.
            header, payload, _ = map(decode_url, token.split("."))
        except ValueError:
            raise invalid("The token is malformed.") from None
        try:
            key = self._keys[_kid(read_object(header))]
            # Times are judged on every use, claims below: PyJWT lets a list pass for an audience.
            _SIGNATURES.decode(token, key.public, algorithms=[key.algorithm])
            return _grant(read_object(payload), self.issuer, key)
        except (jwt.PyJWTError, Refusal, KeyError, TypeError, ValueError):
            raise invalid("The token was not issued by this node as an access token.") from None


def invalid(detail: str) -> Refusal:
    """A `token-invalid` refusal with the challenge of RFC 6750 §3.1."""
    return Refusal("token-invalid", detail, headers=_challenge("invalid_token", detail.rstrip(".")))


def missing() -> Refusal:
    """No token at all: a challenge without an error code (RFC 6750 §3.1)."""
    return Refusal(
        "token-invalid",
        "Send an access token: Authorization: Bearer … from POST /oauth2/token.",
        headers={"WWW-Authenticate": 'Bearer realm="hecha"'},
    )


def insufficient(scope: str) -> Refusal:
    """The token lacks the scope that the route needs."""
    return Refusal(
        "insufficient-scope",
        f"The token does not carry the scope {scope}.",
        headers=_challenge("insufficient_scope", "the token lacks a scope", scope),
    )


def _challenge(error: str, description: str, scope: str = "") -> dict[str, str]:
    quoted = re.sub(r'["\\]', "", description).encode("ascii", "ignore").decode()
    value = f'Bearer realm="hecha", error="{error}", error_description="{quoted}"'
    return {"WWW-Authenticate": value + (f', scope="{scope}"' if scope else "")}


def _kid(header: dict[str, Any]) -> str:
    """The key that a header names. Raises where it says more, or less, than the header of an access token.

    INVARIANT: jku, x5u, jwk and x5c are neither followed nor ignored, nor are crit, b64 and zip: none may be there.
    """
    if header.keys() != {"alg", "typ", "kid"} or header["typ"] not in TYPES:
        raise ValueError
    kid: str = header["kid"]
    return kid


def _grant(claims: dict[str, Any], issuer: str, key: VerificationKey) -> Grant:
    """What the claims grant; raises where one that RFC 9068 §2.2 needs is missing, of another type or another's."""
    jti, client, scope, confirmation = (claims[name] for name in ("jti", "client_id", "scope", "cnf"))
    if not isinstance(client, str) or not isinstance(confirmation, dict) or confirmation.keys() != {"x5t#S256"}:
        raise TypeError
    certificate = confirmation["x5t#S256"]
    if (claims["iss"], claims["aud"], claims["sub"]) != (issuer, issuer, client):
        raise ValueError
    forms = ((_ID, jti), (_SCOPE, scope), (_THUMBPRINT, certificate))
    if not all(form.fullmatch(text) for form, text in forms):
        raise ValueError
    issued_at, not_before, expires_at = times = claims["iat"], claims.get("nbf", claims["iat"]), claims["exp"]
    if any(type(value) is not int for value in times):  # to isinstance, true is an int
        raise TypeError
    # INVARIANT: whoever finds a retired key can date no token after it ended, nor make one that outlives the overlap:
    # both together end it one lifetime after `until`, with a minute for the clocks, remembered or not.
    late = key.until is not None and issued_at > key.until + FUTURE_S
    if late or not 0 < expires_at - issued_at <= MAX_LIFETIME_S:
        raise ValueError
    return Grant(jti, client, frozenset(scope.split(" ")), certificate, issued_at, not_before, expires_at)
