from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWK

from evidence.errors import KeyNotVerified
from evidence.jwk import (
    FROM,
    MAX_DOCUMENT,
    MAX_KEYS,
    PURPOSE,
    UNTIL,
    ValidKey,
    dated_keys,
    to_dated_jwk,
    valid_keys_from_jwks,
)
from evidence.jws import sign, verify
from evidence.receipt import keys_from_jwks, thumbprint, to_jwk

KEY = ec.derive_private_key(7, ec.SECP256R1()).public_key()
JWK = to_jwk(KEY)
# The public key of RFC 7515 appendix A.3.
RFC7515 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "kid": "a3",
}


def test_document_without_keys_is_refused() -> None:
    with pytest.raises(KeyNotVerified, match="no ES256 key"):
        keys_from_jwks({"keys": []})


def test_thumbprint_is_that_of_rfc_7638() -> None:
    members = {name: JWK[name] for name in ("crv", "kty", "x", "y")}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    assert thumbprint(KEY) == urlsafe_b64encode(digest).rstrip(b"=").decode() == JWK["kid"]


def test_key_of_rfc_7515_is_read_and_written_alike() -> None:
    key = keys_from_jwks({"keys": [RFC7515]})["a3"]
    assert to_jwk(key, "a3") == {**RFC7515, "alg": "ES256", "use": "sig"}


def test_written_key_is_read_by_another_implementation() -> None:
    assert PyJWK.from_dict(JWK).key.public_numbers() == KEY.public_numbers()


def test_document_is_read_as_text_bytes_and_value() -> None:
    document = {"keys": [JWK]}
    for given in (document, json.dumps(document), orjson.dumps(document)):
        keys = keys_from_jwks(given)
        assert keys[thumbprint(KEY)].public_numbers() == KEY.public_numbers()


def test_coordinate_with_leading_zeroes_keeps_its_32_bytes() -> None:
    small = next(
        key
        for key in (ec.derive_private_key(i, ec.SECP256R1()).public_key() for i in range(1, 5_000))
        if key.public_numbers().x < 2**248
    )
    jwk = to_jwk(small)
    assert len(jwk["x"]) == 43
    assert keys_from_jwks({"keys": [jwk]})[jwk["kid"]].public_numbers() == small.public_numbers()


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"alg": "ES384"},
        {"use": "enc", "key_ops": ["verify"]},
        {"use": ["sig"]},
        {"key_ops": ["sign"]},
        {"key_ops": ["encrypt"]},
        {"key_ops": []},
        {"key_ops": None},
        {"use": "sig", "key_ops": ["encrypt", "wrapKey"]},
        {"key_ops": "verify"},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "RSA"},
        {"crv": "P-384"},
    ],
    ids=str,
)
def test_key_for_anything_but_es256_verification_is_left_out(changes: dict[str, Any]) -> None:
    other = {**JWK, "kid": "other", **changes}
    assert list(keys_from_jwks({"keys": [other, JWK]})) == [JWK["kid"]]


@pytest.mark.parametrize(
    "entry",
    [
        {**JWK, "d": "AQ"},
        {"kty": "oct", "k": "AQ"},
        {**JWK, "x": JWK["y"]},
        {**JWK, "x": JWK["x"][:-1]},
        {**JWK, "x": JWK["x"] + "="},
        {**JWK, "x": "AQ", "y": "A" * 84},
        {**JWK, "y": 7},
        {name: JWK[name] for name in JWK if name != "y"},
        {name: JWK[name] for name in JWK if name != "kid"},
        {**JWK, "kid": ""},
        {**JWK, "kid": 7},
        {**JWK, "kid": "x" * 257},
        "key",
    ],
)
def test_malformed_key_refuses_the_whole_document(entry: Any) -> None:
    with pytest.raises(KeyNotVerified):
        keys_from_jwks({"keys": [{**RFC7515}, entry]})


def test_two_keys_of_one_name_are_refused() -> None:
    with pytest.raises(KeyNotVerified, match="name of its own"):
        keys_from_jwks({"keys": [JWK, {**RFC7515, "kid": JWK["kid"]}]})


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{",
        '{"keys":{}}',
        '{"keys":null}',
        " " * (MAX_DOCUMENT + 1),
        {"keys": [JWK] * (MAX_KEYS + 1)},
    ],
)
def test_document_that_is_no_jwk_set_is_refused(document: Any) -> None:
    with pytest.raises(KeyNotVerified):
        keys_from_jwks(document)


def test_key_on_another_curve_is_not_written() -> None:
    with pytest.raises(ValueError, match="P-256"):
        to_jwk(ec.derive_private_key(7, ec.SECP384R1()).public_key())


BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 22, 8, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "changes", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"use": "enc", "key_ops": ["encrypt"]}]
)
def test_key_for_encryption_verifies_no_signature_that_holds(changes: dict[str, Any]) -> None:
    """PyJWT takes such a key all the same: six of the invalid cases of Wycheproof pass there."""
    private = ec.derive_private_key(7, ec.SECP256R1())
    jws = sign(private, "x+jws", b"{}")
    assert verify(jws, keys_from_jwks({"keys": [JWK]}), "x+jws").payload == b"{}"
    for read in (keys_from_jwks, valid_keys_from_jwks):
        with pytest.raises(KeyNotVerified, match="no ES256 key"):
            read({"keys": [JWK | changes]})
    assert dated_keys({"keys": [JWK | changes]}) == {}


@pytest.mark.parametrize(
    "extra", [{"x5u": "https://attacker.example/c"}, {"x5c": ["MIIB"]}, {"jku": "https://attacker.example/k"}]
)
def test_certificates_and_references_in_a_key_change_nothing(extra: dict[str, Any]) -> None:
    found = keys_from_jwks({"keys": [JWK | extra]})[JWK["kid"]]
    assert found.public_numbers() == KEY.public_numbers()


def test_key_is_written_and_read_with_its_time_and_use() -> None:
    written = to_dated_jwk(ValidKey(KEY, BEGIN, END), "receipt")
    assert written == {**JWK, PURPOSE: "receipt", FROM: "2026-01-01T00:00:00Z", UNTIL: "2026-11-22T08:30:15Z"}
    read = valid_keys_from_jwks({"keys": [written]})[JWK["kid"]]
    assert (read.valid_from, read.valid_until) == (BEGIN, END)
    assert read.key.public_numbers() == KEY.public_numbers()


def test_key_without_a_time_has_no_bounds() -> None:
    (read,) = valid_keys_from_jwks({"keys": [JWK]}).values()
    assert (read.valid_from, read.valid_until) == (None, None)
    assert to_dated_jwk(read, "receipt") == {**JWK, PURPOSE: "receipt"}


def test_key_that_was_retired_is_not_given_to_those_who_ask_for_no_times() -> None:
    former = {**RFC7515, UNTIL: "2026-11-22T08:30:15Z"}
    assert keys_from_jwks({"keys": [former, JWK]}).keys() == {JWK["kid"]}
    assert valid_keys_from_jwks({"keys": [former, JWK]}).keys() == {"a3", JWK["kid"]}
    with pytest.raises(KeyNotVerified, match="no ES256 key"):
        keys_from_jwks({"keys": [former]})


def test_keys_of_another_use_are_not_mixed_in() -> None:
    token = to_dated_jwk(ValidKey(KEY, BEGIN), "token")
    assert dated_keys({"keys": [token]}) == {}
    assert dated_keys({"keys": [token]}, "token").keys() == {JWK["kid"]}


@pytest.mark.parametrize("member", [FROM, UNTIL])
@pytest.mark.parametrize(
    "time",
    [
        "",
        None,
        7,
        True,
        ["2026-11-22T08:30:15Z"],
        "2026-11-22",
        "2026-11-22T08:30:15",
        "2026-11-22T08:30:15+00:00",
        "2026-11-22T08:30:15.5Z",
        "2026-11-22 08:30:15Z",
        "2026-11-22T08:30:15z",
        "2026-02-30T08:30:15Z",
        "2026-11-22T24:30:15Z",
        "0000-11-22T08:30:15Z",
        "٢٠٢٦-11-22T08:30:15Z",
        "2026-11-22T08:30:15Z\n",
    ],
)
def test_time_that_cannot_be_read_refuses_the_whole_document(member: str, time: Any) -> None:
    """Left out of account, it would make a key good for ever."""
    with pytest.raises(KeyNotVerified, match="a time that cannot be read"):
        valid_keys_from_jwks({"keys": [JWK, {**RFC7515, member: time}]})
