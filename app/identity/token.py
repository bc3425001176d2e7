"""Access tokens: issued for a certificate, verified against it (RFC 9068, RFC 8705 §3, FAPI 2.0 clock rules).

One algorithm (ES256), one issuer, one audience; `typ` is checked, no key is ever taken from the token itself.
A token that was verified once is remembered by its SHA-256; time and certificate are checked on every use.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from app.refusals import Refusal
from evidence.receipt import thumbprint

MAX_TOKEN = 4_096
CACHED = 10_000
FUTURE_S = 60  # FAPI 2.0 §5.3.2.1: refuse iat or nbf more than 60 s ahead; 10 s must be accepted
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_REQUIRED = ("iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "cnf")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified token says: the client, its scopes, the certificate it is bound to, and its times (epoch s)."""

    client: str
    scopes: frozenset[str]
    certificate: str
    issued_at: int
    not_before: int
    expires_at: int


class Tokens:
    """Issues and verifies access tokens with the node's token key; shared by threads."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, issuer: str, lifetime_s: int) -> None:
        self._key = key
        self._public = key.public_key()
        self.kid = thumbprint(self._public)
        self._issuer = issuer
        self.lifetime_s = lifetime_s
        self._verified: dict[bytes, Grant] = {}
        self._lock = Lock()

    def issue(self, client: str, certificate: str, scopes: Iterable[str], now: datetime) -> tuple[str, str]:
        """A token for `client`, bound to the certificate with that thumbprint; returns (token, jti)."""
        issued_at = int(now.timestamp())
        jti = secrets.token_urlsafe(16)
        claims = {
            "iss": self._issuer,
            "aud": self._issuer,
            "sub": client,
            "client_id": client,
            "scope": " ".join(sorted(scopes)),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self.lifetime_s,
            "jti": jti,
            "cnf": {"x5t#S256": certificate},
        }
        token = jwt.encode(claims, self._key, "ES256", headers={"typ": "at+jwt", "kid": self.kid})
        return token, jti

    def verify(self, token: str, certificate: str, now: datetime) -> Grant:
        """What the token grants to the holder of this certificate now.

        Raises `Refusal` token-invalid or token-not-bound, both 401 with an RFC 6750 challenge.
        """
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        grant = self._verified.get(digest)
        if grant is None:
            grant = self._read(token)
            with self._lock:
                if len(self._verified) >= CACHED:
                    self._verified.clear()
                self._verified[digest] = grant
        seconds = now.timestamp()
        if seconds >= grant.expires_at:
            raise invalid("The token has expired: ask for a new one.")
        if max(grant.issued_at, grant.not_before) > seconds + FUTURE_S:
            raise invalid("The token is from the future: check the clocks.")
        # SPEC: RFC 8705 §3: the certificate of the TLS layer must be the one in cnf.
        if not hmac.compare_digest(grant.certificate.encode(), certificate.encode()):
            raise Refusal(
                "token-not-bound",
                "The token is bound to another certificate: ask for a token over this connection.",
                headers=_challenge("invalid_token", "the token is bound to another certificate"),
            )
        return grant

    def _read(self, token: str) -> Grant:
        if len(token) > MAX_TOKEN or not _FORM.fullmatch(token) or not all(map(_strict, token.split("."))):
            raise invalid("The token is malformed.")
        try:
            header = jwt.get_unverified_header(token)
            if header != {"alg": "ES256", "typ": "at+jwt", "kid": self.kid}:
                raise invalid("The token was not issued by this node as an access token.")
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["ES256"],
                audience=self._issuer,
                issuer=self._issuer,
                # Times are judged by `verify`, against the clock it is given.
                options={
                    "require": list(_REQUIRED),
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            return _grant(claims)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise invalid("The token is invalid.") from None


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


def _strict(part: str) -> bool:
    """Whether the part is the one base64url spelling of its bytes (RFC 7515 §2: no padding, no spare bits)."""
    try:
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        return False
    return urlsafe_b64encode(decoded).rstrip(b"=").decode() == part


def _grant(claims: dict[str, Any]) -> Grant:
    confirmation = claims["cnf"]["x5t#S256"]
    texts = (claims["client_id"], claims["scope"], confirmation)
    times = (claims["iat"], claims.get("nbf", claims["iat"]), claims["exp"])
    if not all(isinstance(value, str) for value in texts) or not all(type(value) is int for value in times):
        raise TypeError
    if claims["sub"] != claims["client_id"]:
        raise ValueError
    return Grant(claims["client_id"], frozenset(claims["scope"].split()), confirmation, *times)
