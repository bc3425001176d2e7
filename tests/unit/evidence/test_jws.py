from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from evidence.errors import JwsNotVerified, NotVerified, SignatureNotVerified
from evidence.jwk import thumbprint
from evidence.jws import AGREEMENT, MAX_JWS, REVISION, Signed, Signer, sign, verify

KEY = ec.generate_private_key(ec.SECP256R1())
KID = thumbprint(KEY.public_key())
KEYS = {KID: KEY.public_key()}
DOCUMENT = '{"agreement":"a","service":"就业状态"}'.encode()
DETACHED = sign(KEY, AGREEMENT, DOCUMENT, detached=True)
WHOLE = sign(KEY, AGREEMENT, DOCUMENT)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def header(**changes: Any) -> str:
    value = {"alg": "ES256", "kid": KID, "typ": AGREEMENT, **changes}
    return b64(json.dumps({k: v for k, v in sorted(value.items()) if v is not None}, separators=(",", ":")).encode())


def test_nothing_verifies_without_keys() -> None:
    with pytest.raises(SignatureNotVerified, match="not trusted"):
        verify(WHOLE, {}, AGREEMENT)


@given(st.binary(min_size=1, max_size=200))
def test_what_was_signed_verifies_whole_and_detached(payload: bytes) -> None:
    assert verify(sign(KEY, REVISION, payload), KEYS, REVISION) == Signed(KID, payload)
    detached = sign(KEY, REVISION, payload, detached=True)
    assert verify(detached, KEYS, REVISION, payload=payload) == Signed(KID, payload)


def test_detached_form_is_the_whole_one_without_its_middle() -> None:
    """RFC 7515 appendix F."""
    first, middle, last = WHOLE.split(".")
    assert f"{first}..{last}" == DETACHED
    assert middle == b64(DOCUMENT)


def test_same_payload_gives_the_same_text() -> None:
    assert sign(KEY, AGREEMENT, DOCUMENT) == WHOLE == Signer(KEY, AGREEMENT).sign(DOCUMENT)


def test_other_libraries_verify_it() -> None:
    assert jwt.PyJWS().decode(WHOLE, KEY.public_key(), algorithms=["ES256"]) == DOCUMENT
    assert jwt.get_unverified_header(WHOLE) == {"alg": "ES256", "kid": KID, "typ": AGREEMENT}


def test_it_verifies_what_other_libraries_sign() -> None:
    signed = jwt.PyJWS().encode(DOCUMENT, KEY, "ES256", {"kid": KID, "typ": AGREEMENT}, sort_headers=True)
    assert verify(signed, KEYS, AGREEMENT).payload == DOCUMENT


@given(st.integers(0, len(DETACHED) - 1), st.sampled_from("AZaz09-_.=+/ "))
def test_any_altered_character_of_a_detached_signature_fails(place: int, character: str) -> None:
    altered = DETACHED[:place] + character + DETACHED[place + 1 :]
    if altered != DETACHED:
        with pytest.raises(NotVerified):
            verify(altered, KEYS, AGREEMENT, payload=DOCUMENT)


@given(st.integers(0, len(DOCUMENT) * 8 - 1))
def test_signature_over_other_bytes_fails(bit: int) -> None:
    altered = bytearray(DOCUMENT)
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureNotVerified, match="forged or altered"):
        verify(DETACHED, KEYS, AGREEMENT, payload=bytes(altered))


def test_signature_by_another_key_under_a_trusted_name_fails() -> None:
    other = Signer(ec.generate_private_key(ec.SECP256R1()), AGREEMENT, KID)
    with pytest.raises(SignatureNotVerified, match="forged or altered"):
        verify(other.sign(DOCUMENT), KEYS, AGREEMENT)


def test_signature_of_one_document_never_stands_for_another_kind() -> None:
    with pytest.raises(JwsNotVerified, match="not a revision signed"):
        verify(WHOLE, KEYS, REVISION, named="revision")


def test_detached_is_not_taken_for_whole_nor_whole_for_detached() -> None:
    with pytest.raises(JwsNotVerified, match="carry its payload"):
        verify(DETACHED, KEYS, AGREEMENT)
    with pytest.raises(JwsNotVerified, match="be detached"):
        verify(WHOLE, KEYS, AGREEMENT, payload=DOCUMENT)


TWICE = b64(b'{"alg":"none","alg":"ES256","kid":"x","typ":"y"}')
BODY, SIGNATURE = WHOLE.split(".")[1:]
MALFORMED = {
    "empty": ("", "three parts"),
    "two parts": (f"{header()}.{BODY}", "three parts"),
    "JWE's five parts": (f"{header()}....", "three parts"),
    "padding": (f"{header()}=.{BODY}.{SIGNATURE}", "not base64url"),
    "standard alphabet": (f"{header()}.{BODY}.{'+' * 86}", "not base64url"),
    "letters of other scripts": (f"{header()}.{BODY}.签", "not base64url"),
    "no algorithm": (f"{header(alg='none')}.{BODY}.", "not a thing signed with ES256"),
    "symmetric algorithm": (f"{header(alg='HS256')}.{BODY}.{SIGNATURE}", "not a thing signed with ES256"),
    "header with a key of its own": (f"{header(jwk={})}.{BODY}.{SIGNATURE}", "exactly alg, kid and typ"),
    "header with an address of keys": (f"{header(jku='https://x')}.{BODY}.{SIGNATURE}", "exactly alg, kid and typ"),
    "header with critical members": (f"{header(crit=['b64'], b64=False)}.{BODY}.{SIGNATURE}", "exactly alg, kid"),
    "no kid": (f"{header(kid=None)}.{BODY}.{SIGNATURE}", "exactly alg, kid and typ"),
    "kid that is no text": (f"{header(kid=1)}.{BODY}.{SIGNATURE}", "not a thing signed with ES256"),
    "header that is a list": (f"{b64(b'[]')}.{BODY}.{SIGNATURE}", "exactly alg, kid and typ"),
    "header with spaces": (f"{b64(b'{ }')}.{BODY}.{SIGNATURE}", "not canonical JSON"),
    "header with a member twice": (
        f"{TWICE}.{BODY}.{SIGNATURE}",
        "not canonical JSON",
    ),
    "too large": ("a" * (MAX_JWS + 1), "too large"),
}


@pytest.mark.parametrize(("text", "words"), MALFORMED.values(), ids=MALFORMED.keys())
def test_document_that_is_no_such_jws_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(JwsNotVerified, match=words):
        verify(text, KEYS, AGREEMENT, named="thing")


@pytest.mark.parametrize("length", [0, 63, 65, 70, 72])
def test_signature_of_another_length_is_refused(length: int) -> None:
    """Among them DER, which ES256 does not use (RFC 7518 §3.4)."""
    with pytest.raises(SignatureNotVerified):
        verify(f"{header()}.{BODY}.{b64(bytes(length))}", KEYS, AGREEMENT)


def test_signature_of_zeroes_is_refused() -> None:
    with pytest.raises(SignatureNotVerified):
        verify(f"{header()}.{BODY}.{b64(bytes(64))}", KEYS, AGREEMENT)


def test_key_on_another_curve_signs_nothing() -> None:
    with pytest.raises(ValueError, match="P-256"):
        sign(ec.generate_private_key(ec.SECP384R1()), AGREEMENT, DOCUMENT)
