"""A signed request as evidence: RFC 9421's own examples hold, and whatever is altered is told apart."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from evidence.base64s import encode_url
from evidence.errors import CommitmentNotVerified, KeyNotVerified, NotVerified, SignatureNotVerified
from evidence.jwk import thumbprint
from evidence.receipt import unread
from evidence.record import seal
from evidence.signed_request import (
    BodyNotVerified,
    EvidenceNotVerified,
    SignedRequest,
    algorithm_of,
    certificate_thumbprint,
    verify,
)

# RFC 9421, appendix B.1: the public keys of its examples.
RSA_PSS = """-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----
"""
ECC_P256 = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----
"""
ED25519 = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
"""
OF_REQUEST = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
OF_RESPONSE = "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:"
VALUES = {
    "date": "Tue, 20 Apr 2021 02:07:55 GMT",
    "@method": "POST",
    "@path": "/foo",
    "@query": "?param=Value&Pet=dog",
    "@authority": "example.com",
    "@status": "200",
    "content-type": "application/json",
    "content-digest": OF_REQUEST,
    "content-length": "18",
}
AT_B = ";created=1618884473;keyid="
# Appendix B.2, without the one by a shared secret: key, components, parameters, signature.
EXAMPLES: dict[str, tuple[str, list[str], str, str]] = {
    "B.2.1": (
        RSA_PSS,
        [],
        f'{AT_B}"test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"',
        (
            "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7"
            "ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZ"
            "sfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Ny"
            "t8C8ssinQ98Xw9Q=="
        ),
    ),
    "B.2.2": (
        RSA_PSS,
        ["@authority", "content-digest", '"@query-param";name="Pet"'],
        f'{AT_B}"test-key-rsa-pss";tag="header-example"',
        (
            "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECx"
            "CmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+"
            "H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/"
            "XaVe4bXTugEjHSw=="
        ),
    ),
    "B.2.3": (
        RSA_PSS,
        [
            "date",
            "@method",
            "@path",
            "@query",
            "@authority",
            "content-type",
            "content-digest",
            "content-length",
        ],
        f'{AT_B}"test-key-rsa-pss"',
        (
            "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K"
            "0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1"
            "xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5f"
            "TIztsDZKEgM4cUA=="
        ),
    ),
    "B.2.4": (
        ECC_P256,
        ["@status", "content-type", "content-digest", "content-length"],
        f'{AT_B}"test-key-ecc-p256"',
        "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==",
    ),
    "B.2.6": (
        ED25519,
        ["date", "@method", "@path", "@authority", "content-type", "content-length"],
        f'{AT_B}"test-key-ed25519"',
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
    ),
}


def example(name: str) -> tuple[Any, bytes, bytes]:
    """Key, signature and signature base of an example."""
    pem, components, parameters, signature = EXAMPLES[name]
    values = VALUES | ({"content-digest": OF_RESPONSE, "content-length": "23"} if "@status" in components else {})
    names = [item if item.startswith('"') else f'"{item}"' for item in components]
    lines = [f"{item}: {'dog' if 'Pet' in item else values[item.strip(chr(34))]}" for item in names]
    base = "\n".join([*lines, f'"@signature-params": ({" ".join(names)}){parameters}'])
    return load_pem_public_key(pem.encode()), b64decode(signature), base.encode()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_of_the_standard_holds(name: str) -> None:
    verify(*example(name))


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_with_another_base_does_not_hold(name: str) -> None:
    key, signature, base = example(name)
    with pytest.raises(SignatureNotVerified):
        verify(key, signature, base.replace(b"1618884473", b"1618884474"))


@pytest.mark.parametrize("name", EXAMPLES)
@settings(deadline=None)
@given(place=st.integers(0, 4_095))
def test_example_with_a_flipped_bit_does_not_hold(name: str, place: int) -> None:
    key, signature, base = example(name)
    changed = bytearray(signature)
    changed[place // 8 % len(changed)] ^= 1 << place % 8
    with pytest.raises(SignatureNotVerified):
        verify(key, bytes(changed), base)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 96, 128])
def test_ecdsa_signature_of_another_length_does_not_hold(length: int) -> None:
    key, signature, base = example("B.2.4")
    with pytest.raises(SignatureNotVerified):
        verify(key, (signature * 2)[:length], base)


def test_signature_in_der_is_not_in_the_form_of_the_standard() -> None:
    with pytest.raises(SignatureNotVerified):
        verify(P256.public_key(), P256.sign(b"base", ec.ECDSA(hashes.SHA256())), b"base")


P256, P384 = ec.derive_private_key(11, ec.SECP256R1()), ec.derive_private_key(12, ec.SECP384R1())
RSA_2048 = rsa.generate_private_key(65_537, 2_048)


def test_algorithm_follows_from_the_key_alone() -> None:
    keys = (P256, P384, RSA_2048, ed25519.Ed25519PrivateKey.generate())
    assert [algorithm_of(key.public_key()).algorithm_id for key in keys] == [
        "ecdsa-p256-sha256",
        "ecdsa-p384-sha384",
        "rsa-pss-sha512",
        "ed25519",
    ]


@pytest.mark.parametrize(
    "key",
    [
        ec.derive_private_key(11, ec.SECP521R1()),
        ec.derive_private_key(11, ec.SECP256K1()),
        rsa.generate_private_key(65_537, 1_024),
        dsa.generate_private_key(1_024),
        x25519.X25519PrivateKey.generate(),
    ],
    ids=["P-521", "secp256k1", "RSA 1024", "DSA", "X25519"],
)
def test_other_keys_sign_no_requests(key: Any) -> None:
    with pytest.raises(KeyNotVerified, match="Requests are signed with"):
        verify(key.public_key(), b"", b"")


def certificate(key: Any = P256) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hz-hrss-benefits")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(AT - timedelta(1)).not_valid_after(AT + timedelta(1))
    return builder.sign(P256, hashes.SHA256()).public_bytes(Encoding.DER)


AT = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
BODY = b'{"purpose":"unemployment-benefit","subject":{"id_number":"339881197803120013"}}'
TARGET = "https://node.example/v1/services/employment-status/verifications"
COVERED = ("@method", "@target-uri", "content-digest", "content-type", "authorization")
CERTIFICATE = certificate()


def signed(
    *,
    body: bytes = BODY,
    covered: tuple[str, ...] = COVERED,
    target: str = TARGET,
    keyid: str = certificate_thumbprint(CERTIFICATE),
    more: str = "",
    signer: Any = P256,
    **parameters: Any,
) -> SignedRequest:
    """A signed question; the flaw is in what is signed, unless it is made afterwards."""
    said: dict[str, Any] = {
        "created": int(AT.timestamp()),
        "keyid": keyid,
        "nonce": "0123456789abcdef",
        "tag": "hecha",
    } | parameters
    text = "".join(
        f";{name}={value if isinstance(value, int) else chr(34) + value + chr(34)}"
        for name, value in said.items()
        if value is not None
    )
    input_ = f"({' '.join(chr(34) + name + chr(34) for name in covered)}){text}{more}"
    values = {
        "@method": "POST",
        "@target-uri": target,
        "content-digest": f"sha-256=:{b64encode(sha256(body).digest()).decode()}:",
        "content-type": "application/json",
        "authorization": "Bearer secret",
    }
    base = "\n".join([*(f'"{name}": {values[name]}' for name in covered), f'"@signature-params": {input_}']).encode()
    return SignedRequest(input_, raw(base, signer), base, body, certificate=CERTIFICATE)


def raw(base: bytes, key: Any = P256) -> bytes:
    r, s = decode_dss_signature(key.sign(base, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def record_of(request: SignedRequest, question: Any = None, **members: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """A record of the request, and the salts that open it."""
    clear = {
        "kind": "question",
        "id": "0123456789abcdef",
        "at": "2026-11-22T06:00:01.000Z",
        "state": "not-permitted",
        "service": "employment-status",
        "certificate": certificate_thumbprint(CERTIFICATE),
    }
    clear = {name: value for name, value in (clear | members).items() if value is not None}
    hidden = {"signature": request.committed(), "question": question or orjson.loads(request.body)}
    sealed = seal(clear, hidden, bytes(range(32)))
    return orjson.loads(sealed.body), sealed.openings


GOOD = signed()


def test_third_party_verifies_what_was_signed_and_that_the_record_is_about_it() -> None:
    GOOD.check()
    GOOD.check_record(*record_of(GOOD))


def test_key_beside_the_certificate_verifies_as_well() -> None:
    keyid = thumbprint(P256.public_key())
    request = replace(signed(keyid=keyid), certificate=None, key=P256.public_key())
    request.check()
    # The connection's certificate is another one then.
    request.check_record(*record_of(request))


def test_record_of_a_question_that_could_not_be_read_is_about_it_too() -> None:
    for body in (b'{"purpose":', b"\xff\x00", b"[1]"):
        request = signed(body=body)
        request.check()
        request.check_record(*record_of(request, question=unread(body), service=None))


def test_what_is_committed_to_is_the_signature_and_no_value_of_the_request() -> None:
    assert GOOD.committed() == {
        "input": GOOD.input,
        "signature": encode_url(GOOD.signature),
        "keyid": certificate_thumbprint(CERTIFICATE),
        "base": encode_url(sha256(GOOD.base).digest()),
    }
    assert "secret" not in str(GOOD.committed())


def test_components_and_parameters_are_those_of_the_signature() -> None:
    assert GOOD.components == COVERED
    assert GOOD.parameters == {
        "created": int(AT.timestamp()),
        "keyid": certificate_thumbprint(CERTIFICATE),
        "nonce": "0123456789abcdef",
        "tag": "hecha",
    }


def flipped(content: bytes) -> bytes:
    return bytes((*content[:-1], content[-1] ^ 1))


ALTERED: dict[str, tuple[Callable[[], SignedRequest], type[NotVerified]]] = {
    "body": (lambda: replace(GOOD, body=flipped(BODY)), BodyNotVerified),
    "signature": (lambda: replace(GOOD, signature=flipped(GOOD.signature)), SignatureNotVerified),
    "base": (lambda: replace(GOOD, base=GOOD.base.replace(b"POST", b"PUT")), SignatureNotVerified),
    "parameters": (lambda: replace(GOOD, input=GOOD.input.replace("0123", "9123")), EvidenceNotVerified),
    "components": (lambda: replace(GOOD, input=GOOD.input.replace('"@method" ', "")), EvidenceNotVerified),
    "certificate": (lambda: replace(GOOD, certificate=flipped(CERTIFICATE)), KeyNotVerified),
    "certificate of another client": (lambda: replace(GOOD, certificate=certificate(P384)), KeyNotVerified),
    "no certificate": (lambda: replace(GOOD, certificate=None), KeyNotVerified),
    "another key": (lambda: replace(GOOD, certificate=None, key=P256.public_key()), KeyNotVerified),
    "signed by another key": (lambda: signed(signer=ec.derive_private_key(9, ec.SECP256R1())), SignatureNotVerified),
    "certificate that cannot be read": (
        lambda: replace(signed(keyid=certificate_thumbprint(b"no DER")), certificate=b"no DER"),
        KeyNotVerified,
    ),
    "no digest": (lambda: signed(covered=(*COVERED[:2], *COVERED[3:])), EvidenceNotVerified),
    "no token": (lambda: signed(covered=COVERED[:4]), EvidenceNotVerified),
    "a component twice": (lambda: signed(covered=(*COVERED, "@method")), EvidenceNotVerified),
    "another tag": (lambda: signed(tag="other"), EvidenceNotVerified),
    "no tag": (lambda: signed(tag=None), EvidenceNotVerified),
    "no time": (lambda: signed(created=None), EvidenceNotVerified),
    "no key": (lambda: signed(keyid=""), KeyNotVerified),
    "two signatures in one": (lambda: signed(more=", two=()"), EvidenceNotVerified),
    "a component with a parameter": (
        lambda: replace(GOOD, input=GOOD.input.replace('"@method"', '"@method";req')),
        EvidenceNotVerified,
    ),
    "no list": (lambda: replace(GOOD, input="1"), EvidenceNotVerified),
    "components that are no names": (
        lambda: replace(GOOD, input=GOOD.input.replace('"@method"', "7")),
        EvidenceNotVerified,
    ),
    "nothing readable": (lambda: replace(GOOD, input="(("), EvidenceNotVerified),
}


@pytest.mark.parametrize("flaw", ALTERED)
def test_altered_evidence_is_told_apart(flaw: str) -> None:
    make, error = ALTERED[flaw]
    with pytest.raises(NotVerified) as caught:
        make().check()
    assert type(caught.value) is error
    GOOD.check()


@settings(deadline=None)
@given(st.integers(0, 8 * len(GOOD.base) - 1))
def test_flipped_bit_of_the_base_is_found(place: int) -> None:
    changed = bytearray(GOOD.base)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(SignatureNotVerified):
        replace(GOOD, base=bytes(changed)).check()


OTHER = signed(nonce="another nonce, as long")
RECORDS: dict[str, tuple[Callable[[], Any], str]] = {
    "another signature": (lambda: record_of(OTHER), "not the one that the node recorded"),
    "another certificate": (lambda: record_of(GOOD, certificate="A" * 43), "another certificate"),
    "no certificate": (lambda: record_of(GOOD, certificate=None), "another certificate"),
    "another question": (lambda: record_of(GOOD, question={"purpose": "x"}), "question that was signed"),
    "another service": (lambda: record_of(GOOD, service="wage-base"), "service that was asked"),
    "a minute and a second later": (lambda: record_of(GOOD, at="2026-11-22T06:01:01.001Z"), "another time"),
    "eleven seconds earlier": (lambda: record_of(GOOD, at="2026-11-22T05:59:49.000Z"), "another time"),
    "salts that open nothing": (lambda: (record_of(GOOD)[0], {}), "not the one that the node recorded"),
}


@pytest.mark.parametrize("flaw", RECORDS)
def test_record_of_something_else_is_told(flaw: str) -> None:
    make, said = RECORDS[flaw]
    with pytest.raises(CommitmentNotVerified, match=said):
        GOOD.check_record(*make())
    GOOD.check_record(*record_of(GOOD))


@pytest.mark.parametrize("at", ["2026-11-22T06:01:00.000Z", "2026-11-22T05:59:50.000Z"])
def test_record_of_the_last_moment_is_about_it(at: str) -> None:
    GOOD.check_record(*record_of(GOOD, at=at))


def test_service_spelt_with_escapes_is_the_same() -> None:
    request = signed(target=TARGET.replace("-", "%2D"))
    request.check_record(*record_of(request))


def test_document_reads_back_as_it_was() -> None:
    assert SignedRequest.parse(GOOD.document()) == GOOD
    request = replace(GOOD, certificate=None, key=P256.public_key(), body=b"\x00\xff")
    assert SignedRequest.parse(request.document()) == request


def edited(**members: Any) -> bytes:
    document = orjson.loads(GOOD.document()) | members
    return orjson.dumps({name: value for name, value in document.items() if value is not ...}, default=str)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"1",
        edited(v=2),
        edited(v=...),
        edited(body=...),
        edited(signature="%"),
        edited(base=7),
        edited(certificate=...),
        edited(certificate=7),
        edited(certificate=..., key={"kty": "EC"}),
        edited(certificate=..., key="no key"),
    ],
)
def test_what_is_no_evidence_is_refused(document: bytes) -> None:
    with pytest.raises(EvidenceNotVerified, match="no evidence"):
        SignedRequest.parse(document)
