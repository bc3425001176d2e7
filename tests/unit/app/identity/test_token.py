"""Tokens by RFC 9068, RFC 8705, RFC 8725 and the clock rules of FAPI 2.0: a matrix of what must be refused."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from app.identity import token as module
from app.identity.token import Tokens, VerificationKey
from app.refusals import Refusal
from evidence.base64s import decode_url, encode_url
from evidence.jwk import thumbprint

ISSUER = "https://node.example"
NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
MINE, THEIRS = "A" * 43, "B" * 43
KEY = ec.derive_private_key(7, ec.SECP256R1())
OTHER = ec.derive_private_key(8, ec.SECP256R1())
LIFETIME_S = 600
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(KEY, ISSUER, LIFETIME_S)


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token, changed; None leaves one out."""
    issued = int(NOW.timestamp())
    good = {
        "iss": ISSUER,
        "aud": ISSUER,
        "sub": "hz-hrss-benefits",
        "client_id": "hz-hrss-benefits",
        "scope": "catalogue verify:x",
        "iat": issued,
        "nbf": issued,
        "exp": issued + LIFETIME_S,
        "jti": "0123456789abcdef",
        "cnf": {"x5t#S256": MINE},
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def part(value: Any) -> str:
    return urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


def signed(header: dict[str, Any] | None = None, key: Any = KEY, **changes: Any) -> str:
    """A token of these header members and claims, signed as ES256 whatever they say."""
    kid = Tokens(KEY, ISSUER, LIFETIME_S).kid
    head = {"alg": "ES256", "typ": "at+jwt", "kid": kid} | (header or {})
    text = f"{part({n: v for n, v in head.items() if v is not None})}.{part(claims(**changes))}"
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(text.encode(), key)
    return f"{text}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def refused(tokens: Tokens, token: str, certificate: str = MINE, now: datetime = NOW) -> Refusal:
    with pytest.raises(Refusal) as error:
        tokens.verify(token, certificate, now)
    assert 'error="invalid_token"' in error.value.headers["WWW-Authenticate"]
    return error.value


def test_nothing_is_no_token(tokens: Tokens) -> None:
    assert refused(tokens, "").slug == "token-invalid"


def test_issued_token_is_verified_for_its_certificate(tokens: Tokens) -> None:
    token, jti = tokens.issue("hz-hrss-benefits", MINE, {"verify:x", "catalogue"}, NOW)
    grant = tokens.verify(token, MINE, NOW)
    assert grant.client == "hz-hrss-benefits"
    assert grant.scopes == {"verify:x", "catalogue"}
    assert (grant.certificate, grant.issued_at) == (MINE, int(NOW.timestamp()))
    assert grant.expires_at - grant.issued_at == LIFETIME_S
    assert len(jti) >= 22, "at least 128 random bits"


def test_good_token_by_hand_is_accepted(tokens: Tokens) -> None:
    """The matrix below refuses for its one fault each, not for how its tokens are made."""
    assert tokens.verify(signed(), MINE, NOW).client == "hz-hrss-benefits"


MATRIX: dict[str, Callable[[], str]] = {
    "alg none": lambda: signed({"alg": "none"}),
    "alg None": lambda: signed({"alg": "None"}),
    "alg ES384": lambda: signed({"alg": "ES384"}),
    "alg RS256": lambda: signed({"alg": "RS256"}),
    "alg EdDSA": lambda: signed({"alg": "EdDSA"}),
    "alg missing": lambda: signed({"alg": None}),
    "alg a list": lambda: signed({"alg": ["ES256"]}),
    "typ JWT": lambda: signed({"typ": "JWT"}),
    "typ missing": lambda: signed({"typ": None}),
    "typ at+JWT": lambda: signed({"typ": "at+JWT"}),
    "typ application/jwt": lambda: signed({"typ": "application/jwt"}),
    "typ of a receipt": lambda: signed({"typ": "hecha-receipt+jws"}),
    "kid of another key": lambda: signed({"kid": "x"}),
    "kid missing": lambda: signed({"kid": None}),
    "kid a path": lambda: signed({"kid": "../../dev/null"}),
    "jku beside": lambda: signed({"jku": "https://attacker.example"}),
    "jwk beside": lambda: signed({"jwk": {"kty": "oct", "k": "AA"}}),
    "x5u beside": lambda: signed({"x5u": "https://attacker.example"}),
    "crit beside": lambda: signed({"crit": ["b64"], "b64": False}),
    "zip beside": lambda: signed({"zip": "DEF"}),
    "cty beside": lambda: signed({"cty": "JWT"}),
    "signed by another key": lambda: signed(key=OTHER),
    "iss of another": lambda: signed(iss="https://other.example"),
    "iss with a slash": lambda: signed(iss=ISSUER + "/"),
    "iss a list": lambda: signed(iss=[ISSUER]),
    "iss missing": lambda: signed(iss=None),
    "aud of another": lambda: signed(aud="https://other.example"),
    "aud a list": lambda: signed(aud=[ISSUER]),
    "aud a list of two": lambda: signed(aud=[ISSUER, "https://other.example"]),
    "aud missing": lambda: signed(aud=None),
    "sub missing": lambda: signed(sub=None),
    "sub of another client": lambda: signed(sub="hz-audit"),
    "client_id missing": lambda: signed(client_id=None),
    "client_id of another client": lambda: signed(client_id="hz-audit"),
    "client_id a number": lambda: signed(client_id=1, sub=1),
    "scope missing": lambda: signed(scope=None),
    "scope a list": lambda: signed(scope=["audit"]),
    "scope empty": lambda: signed(scope=""),
    "scope with two blanks": lambda: signed(scope="catalogue  audit"),
    "jti missing": lambda: signed(jti=None),
    "jti a number": lambda: signed(jti=1),
    "jti short": lambda: signed(jti="0123456789abcde"),
    "iat missing": lambda: signed(iat=None),
    "iat a text": lambda: signed(iat="1"),
    "iat a fraction": lambda: signed(iat=1.5),
    "iat true": lambda: signed(iat=True),
    "nbf a text": lambda: signed(nbf="1"),
    "nbf true": lambda: signed(nbf=True),
    "exp missing": lambda: signed(exp=None),
    "exp a text": lambda: signed(exp="9999999999"),
    "exp an object": lambda: signed(exp={"a": 1}),
    "exp at iat": lambda: signed(exp=int(NOW.timestamp())),
    "exp a second beyond the longest life": lambda: signed(exp=int(NOW.timestamp()) + 601),
    "cnf missing": lambda: signed(cnf=None),
    "cnf empty": lambda: signed(cnf={}),
    "cnf a text": lambda: signed(cnf=MINE),
    "cnf of a key": lambda: signed(cnf={"jkt": MINE}),
    "cnf a list": lambda: signed(cnf={"x5t#S256": [MINE]}),
    "cnf of an object": lambda: signed(cnf={"x5t#S256": {}}),
    "cnf of two": lambda: signed(cnf={"x5t#S256": MINE, "jkt": MINE}),
    "cnf cut": lambda: signed(cnf={"x5t#S256": MINE[:-1]}),
    "two parts": lambda: signed().rpartition(".")[0],
    "four parts": lambda: signed() + ".AA",
    "five parts, as a JWE": lambda: "A.B.C.D.E",
    "parts of one character": lambda: "A.B.C",
    "blank before": lambda: " " + signed(),
    "line feed behind": lambda: signed() + "\n",
    "padding behind": lambda: signed() + "==",
    "no signature": lambda: signed().rpartition(".")[0] + ".",
    "header no JSON": lambda: "e30x." + signed().partition(".")[2],
    "header an array": lambda: part([]) + "." + signed().partition(".")[2],
    "over 4,096 characters": lambda: signed(scope="x" * 4_096),
    "64 KiB": lambda: "A" * 65_536,
    "not ASCII": lambda: signed().replace(".", "。"),
    "lone surrogate": lambda: "\ud800." + signed().partition(".")[2],
    "NUL": lambda: signed() + "\0",
}


@pytest.mark.parametrize("make", MATRIX.values(), ids=MATRIX.keys())
def test_token_with_this_fault_is_invalid(tokens: Tokens, make: Callable[[], str]) -> None:
    assert refused(tokens, make()).slug == "token-invalid"


def test_matrix_has_the_48_cases_of_the_profile() -> None:
    assert len(MATRIX) >= 48


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER, Encoding.X962])
def test_public_key_as_a_secret_signs_nothing(tokens: Tokens, encoding: Encoding) -> None:
    form = PublicFormat.UncompressedPoint if encoding is Encoding.X962 else PublicFormat.SubjectPublicKeyInfo
    secret = KEY.public_key().public_bytes(encoding, form)
    for alg in ("HS256", "ES256"):
        text = f"{part({'alg': alg, 'typ': 'at+jwt', 'kid': tokens.kid})}.{part(claims())}"
        mac = urlsafe_b64encode(hmac.digest(secret, text.encode(), "sha256")).rstrip(b"=").decode()
        assert refused(tokens, f"{text}.{mac}").slug == "token-invalid"


def test_ed25519_signature_is_none_of_ours(tokens: Tokens) -> None:
    text = signed().rpartition(".")[0]
    signature = ed25519.Ed25519PrivateKey.generate().sign(text.encode())
    assert refused(tokens, f"{text}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}").slug == "token-invalid"


def test_token_names_its_key_and_nothing_else(tokens: Tokens) -> None:
    token, _ = tokens.issue("hz-hrss-benefits", MINE, ["catalogue"], NOW)
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": thumbprint(KEY.public_key())}


def test_both_spellings_of_the_type_are_accepted(tokens: Tokens) -> None:
    """RFC 9068 §4 has two."""
    for typ in ("at+jwt", "application/at+jwt"):
        assert tokens.verify(signed({"typ": typ}), MINE, NOW)


def test_id_is_the_one_that_is_given(tokens: Tokens) -> None:
    token, jti = tokens.issue("hz-hrss-benefits", MINE, ["catalogue"], NOW, jti="0123456789abcdef")
    assert (jti, tokens.read(token).id) == ("0123456789abcdef", "0123456789abcdef")


def test_mirrored_signature_is_the_same_token(tokens: Tokens) -> None:
    """ECDSA verifies n-s as well as s. It grants the same under the same id, by which it is revoked: nobody gains."""
    head, payload, signature = signed().split(".")
    r, s = decode_url(signature)[:32], int.from_bytes(decode_url(signature)[32:], "big")
    mirrored = encode_url(r + (ORDER - s).to_bytes(32, "big"))
    assert mirrored != signature
    assert tokens.read(f"{head}.{payload}.{mirrored}") == tokens.read(f"{head}.{payload}.{signature}")


@pytest.mark.parametrize("r_and_s", [bytes(64), bytes(63) + b"\1", b"\xff" * 64, b"\1" * 32, b"\1" * 70])
def test_degenerate_signature_is_invalid(tokens: Tokens, r_and_s: bytes) -> None:
    """Psychic signatures: zero as r and s verified anything once (CVE-2022-21449)."""
    text = signed().rpartition(".")[0]
    assert refused(tokens, f"{text}.{urlsafe_b64encode(r_and_s).rstrip(b'=').decode()}").slug == "token-invalid"


GOOD = signed()


@given(
    st.integers(0, len(GOOD) - 1),
    st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."),
)
def test_any_character_changed_makes_it_invalid(place: int, character: str) -> None:
    altered = GOOD[:place] + character + GOOD[place + 1 :]
    if altered != GOOD:
        refused(Tokens(KEY, ISSUER, LIFETIME_S), altered)


def test_certificate_of_another_is_not_bound(tokens: Tokens) -> None:
    token, _ = tokens.issue("hz-hrss-benefits", MINE, ["catalogue"], NOW)
    for certificate in (THEIRS, "", MINE[:-1], MINE + "A", MINE.lower(), "Ä"):
        assert refused(tokens, token, certificate).slug == "token-not-bound"


def test_remembered_token_is_still_held_against_certificate_and_clock(tokens: Tokens) -> None:
    token, _ = tokens.issue("hz-hrss-benefits", MINE, ["catalogue"], NOW)
    for _ in range(2):
        assert tokens.verify(token, MINE, NOW).client == "hz-hrss-benefits"
    assert refused(tokens, token, THEIRS).slug == "token-not-bound"
    assert "expired" in refused(tokens, token, now=NOW + timedelta(seconds=LIFETIME_S)).detail


@pytest.mark.parametrize(
    ("offset_s", "accepted"),
    [(-61, False), (-60, True), (-10, True), (0, True), (599, True), (600, False), (100_000, False)],
)
def test_clock_rules(tokens: Tokens, offset_s: int, *, accepted: bool) -> None:
    """FAPI 2.0 §5.3.2.1: up to 10 s ahead is accepted, more than 60 s is not; the last second is over at once."""
    token, _ = tokens.issue("hz-hrss-benefits", MINE, ["catalogue"], NOW)
    now = NOW + timedelta(seconds=offset_s)
    if accepted:
        assert tokens.verify(token, MINE, now)
    else:
        assert refused(tokens, token, now=now).slug == "token-invalid"


def test_token_valid_later_counts_as_from_the_future(tokens: Tokens) -> None:
    later = int(NOW.timestamp()) + 61
    assert "future" in refused(tokens, signed(nbf=later)).detail
    assert "future" in refused(tokens, signed(iat=later, exp=later + 1)).detail
    assert tokens.verify(signed(nbf=None), MINE, NOW)


def test_tokens_of_a_node_with_another_key_or_issuer_are_invalid(tokens: Tokens) -> None:
    for other in (Tokens(OTHER, ISSUER, LIFETIME_S), Tokens(KEY, "https://other.example", LIFETIME_S)):
        token, _ = other.issue("hz-hrss-benefits", MINE, ["catalogue"], NOW)
        assert refused(tokens, token).slug == "token-invalid"


def rotated(until: datetime | None) -> Tokens:
    """A node that signs with OTHER now; KEY was its own until then, or is the one that follows."""
    return Tokens(OTHER, ISSUER, LIFETIME_S, [VerificationKey.of(KEY.public_key(), until)])


def test_key_that_follows_is_verified_with_before_it_signs() -> None:
    """Workers change over one after the other: those that come last know what the first ones issue."""
    tokens = rotated(None)
    assert tokens.verify(GOOD, MINE, NOW).client == "hz-hrss-benefits"
    assert jwt.get_unverified_header(tokens.issue("a", MINE, ["b"], NOW)[0])["kid"] == tokens.kid


@pytest.mark.parametrize(
    ("issued_s", "accepted"), [(-300, True), (0, True), (60, True), (61, False), (86_400, False)]
)
def test_retired_key_verifies_what_was_issued_before_it_ended(issued_s: int, *, accepted: bool) -> None:
    """A minute is for the clocks of other instances, and for workers that are still to start anew."""
    issued = int(NOW.timestamp()) + issued_s
    token = signed(iat=issued, nbf=issued, exp=issued + LIFETIME_S)
    now = NOW + timedelta(seconds=issued_s + 1)
    if accepted:
        assert rotated(NOW).verify(token, MINE, now)
    else:
        assert refused(rotated(NOW), token, now=now).slug == "token-invalid"


@given(st.integers(-2_000, 2_000), st.integers(-100, 2_000), st.integers(0, 4_000))
@example(60, LIFETIME_S, 0)
def test_nothing_of_a_retired_key_is_accepted_when_the_overlap_is_over(iat_s: int, life_s: int, later_s: int) -> None:
    """Whatever times its thief writes into a token, remembered or not: one lifetime and a minute, then no more."""
    tokens, start = rotated(NOW), int(NOW.timestamp())
    token = signed(iat=start + iat_s, nbf=start + iat_s, exp=start + iat_s + life_s)
    ends = NOW + timedelta(seconds=module.MAX_LIFETIME_S + module.FUTURE_S)
    with suppress(Refusal):
        tokens.verify(token, MINE, NOW + timedelta(seconds=iat_s))
    refused(tokens, token, now=ends + timedelta(seconds=later_s))


def test_key_has_one_algorithm_whatever_the_token_says() -> None:
    foreign = VerificationKey("other", KEY.public_key(), "ES384")
    tokens = Tokens(OTHER, ISSUER, LIFETIME_S, [foreign])
    for alg in ("ES256", "ES384"):
        assert refused(tokens, signed({"alg": alg, "kid": "other"})).slug == "token-invalid"


def test_key_in_use_is_not_retired_by_an_entry_of_its_own() -> None:
    """The history may name a key that is in use once more."""
    tokens = Tokens(KEY, ISSUER, LIFETIME_S, [VerificationKey.of(KEY.public_key(), NOW - timedelta(days=1))])
    assert tokens.verify(GOOD, MINE, NOW)


def test_key_on_another_curve_is_no_token_key() -> None:
    with pytest.raises(ValueError, match="P-256"):
        VerificationKey.of(ec.derive_private_key(7, ec.SECP384R1()).public_key())


def test_read_tells_what_a_token_says_that_is_over(tokens: Tokens) -> None:
    """Revoking and looking up need to know whose it was."""
    grant = tokens.read(signed(exp=int(NOW.timestamp()) + 1))
    late, early = NOW + timedelta(seconds=1), NOW - timedelta(seconds=61)
    assert grant.fault(NOW) is None
    assert grant.fault(late) == "The token has expired: ask for a new one."
    assert grant.fault(early) == "The token is from the future: check the clocks."


def test_refused_token_is_not_remembered(tokens: Tokens) -> None:
    for make in MATRIX.values():
        refused(tokens, make())
    assert tokens._read_before == {}


def test_remembered_tokens_are_bounded(tokens: Tokens) -> None:
    grant = tokens.read(GOOD)
    tokens._read_before.update({number.to_bytes(32, "big"): grant for number in range(module.CACHED - 1)})
    tokens.verify(GOOD, MINE, NOW)
    assert len(tokens._read_before) == module.CACHED
    tokens.verify(signed(jti="another-0123456789"), MINE, NOW)
    assert len(tokens._read_before) == 1


def test_details_quote_nothing_of_the_token(tokens: Tokens) -> None:
    refusal = refused(tokens, signed(iss="https://secret.example"))
    assert "secret" not in refusal.detail + str(refusal.headers)


def test_challenge_of_a_missing_scope_names_it() -> None:
    refusal = module.insufficient("verify:x")
    assert refusal.slug == "insufficient-scope"
    assert refusal.headers["WWW-Authenticate"].endswith(
        'error="insufficient_scope", error_description="the token lacks a scope", scope="verify:x"'
    )


def test_challenge_cannot_be_broken_out_of() -> None:
    header = module.invalid('quote " and \\ and ümlaut.').headers["WWW-Authenticate"]
    assert header == 'Bearer realm="hecha", error="invalid_token", error_description="quote  and  and mlaut"'
