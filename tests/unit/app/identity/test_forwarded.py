from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import http_sf
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from app.identity import forwarded
from app.identity.forwarded import ADDRESS, CERTIFICATE, CHAIN
from app.refusals import Refusal
from app.trust.path import MAX_CERTIFICATE, MAX_CHAIN, MAX_TOTAL

DER = bytes(range(256)) * 3 + b"\xfb\xff"  # base64 with + and / and one =
TEXT = b64encode(DER).decode()
FIELD = f":{TEXT}:"
PEM = f"-----BEGIN CERTIFICATE-----\n{TEXT}\n-----END CERTIFICATE-----\n"
ANY = st.text(st.characters(max_codepoint=255))


def refused(field: str | None = FIELD, chain: str | None = None) -> str:
    environ = {CERTIFICATE: field, CHAIN: chain}
    with pytest.raises(Refusal) as error:
        forwarded.certificates({name: value for name, value in environ.items() if value is not None})
    assert error.value.slug == "malformed"
    assert TEXT not in error.value.detail
    return error.value.detail


def test_nothing_said_is_no_certificate_and_no_address() -> None:
    assert forwarded.certificates({}) == (None, ())
    assert forwarded.address({}) is None
    forwarded.refuse_certificate({ADDRESS: "10.0.0.1", "HTTP_X_CLIENT_CERT": FIELD})


def test_byte_sequence_is_the_certificate() -> None:
    assert forwarded.certificates({CERTIFICATE: FIELD}) == (DER, ())
    assert forwarded.certificates({CERTIFICATE: FIELD, CHAIN: f"{FIELD},\t:MIIB:  , {FIELD}"}) == (
        DER,
        (DER, b"0\x82\x01", DER),
    )


def test_example_of_the_standard_is_read() -> None:
    """RFC 9440 Appendix A, Figure 2; it belongs to the client BC."""
    text = (
        "MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVk"
        "aWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
        "8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAf"
        "BgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMw"
        "EYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ"
        "0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk="
    )
    certificate, _ = forwarded.certificates({CERTIFICATE: f":{text}:"})
    assert certificate is not None
    assert x509.load_der_x509_certificate(certificate).subject.rfc4514_string() == "CN=BC"


OTHER_FORMS = {
    "nothing": "",
    "blank": " ",
    "empty byte sequence": "::",
    "one colon": ":",
    "no colons": TEXT,
    "colon before only": f":{TEXT}",
    "colon behind only": f"{TEXT}:",
    "two byte sequences": f"{FIELD}{FIELD}",
    "list of two": f"{FIELD}, {FIELD}",
    "joined by the server": f"{FIELD},{FIELD}",
    "list of one with a comma": f"{FIELD},",
    "inner list": f"({FIELD})",
    "dictionary": f"cert={FIELD}",
    "parameter": f"{FIELD};a",
    "parameter with a value": f"{FIELD}; a=1",
    "string": f'"{TEXT}"',
    "token": "SUCCESS",
    "integer": "1",
    "boolean": "?1",
    "blank before": f" {FIELD}",
    "blank behind": f"{FIELD} ",
    "blank inside": f":{TEXT[:64]} {TEXT[64:]}:",
    "tab inside": f":{TEXT[:64]}\t{TEXT[64:]}:",
    "line feed inside": f":{TEXT[:64]}\n{TEXT[64:]}:",
    "line feed behind": f"{FIELD}\n",
    "padding missing": FIELD.replace("=", ""),
    "padding too long": FIELD.replace("=", "=="),
    "padding inside": f":{TEXT[:4]}===={TEXT[4:]}:",
    "padding alone": ":====:",
    "bits set behind the last byte": f":{TEXT[:-2]}{chr(ord(TEXT[-2]) + 1)}=:",
    "one character too many": f":{TEXT}A:",
    "base64url": f":{urlsafe_b64encode(DER).decode()}:",
    "hexadecimal": DER.hex(),
    "hexadecimal in colons": f":{DER.hex()}!:",
    "PEM": PEM,
    "PEM on one line": PEM.replace("\n", " "),
    "PEM in colons": f":{PEM}:",
    "PEM escaped": quote(PEM),
    "not ASCII": f":{TEXT[:4]}\xe9\xe9\xe9\xe9{TEXT[8:]}:",
    "full-width colons": f"：{TEXT}：",
    "NUL": f":{TEXT}\0:",
    "percent-encoded colons": f"%3A{TEXT}%3A",
    "hash": f"Hash={DER[:32].hex()};Cert={quote(PEM)}",
    "over 16 KiB": f":{b64encode(bytes(MAX_CERTIFICATE + 1)).decode()}:",
    "over 1 MiB": f":{b64encode(bytes(2**20)).decode()}:",
}


@pytest.mark.parametrize("field", OTHER_FORMS.values(), ids=OTHER_FORMS.keys())
def test_certificate_in_another_form_is_malformed(field: str) -> None:
    assert "Client-Cert is no" in refused(field)


LISTS = ("list of two", "joined by the server", "blank before", "blank behind")


@pytest.mark.parametrize("form", sorted(OTHER_FORMS.keys() - LISTS))
def test_chain_in_another_form_is_malformed(form: str) -> None:
    assert "Client-Cert-Chain" in refused(FIELD, OTHER_FORMS[form])


@pytest.mark.parametrize("form", LISTS)
def test_chain_is_a_list_with_optional_white_space(form: str) -> None:
    certificate, above = forwarded.certificates({CERTIFICATE: FIELD, CHAIN: OTHER_FORMS[form]})
    assert {certificate, *above} == {DER}


def test_certificate_of_16_kib_is_read() -> None:
    largest = bytes(MAX_CERTIFICATE)
    assert forwarded.certificates({CERTIFICATE: f":{b64encode(largest).decode()}:"}) == (largest, ())


def test_chain_without_certificate_is_malformed() -> None:
    assert "without" in refused(None, FIELD)
    assert "without" in refused(None, "")


def test_chain_of_five_or_over_32_kib_is_malformed() -> None:
    quarter = f":{b64encode(bytes((MAX_TOTAL - len(DER)) // MAX_CHAIN)).decode()}:"
    assert len(forwarded.certificates({CERTIFICATE: FIELD, CHAIN: ",".join([quarter] * MAX_CHAIN)})[1]) == MAX_CHAIN
    refused(FIELD, ",".join([FIELD] * (MAX_CHAIN + 1)))
    refused(FIELD, ",".join([quarter] * MAX_CHAIN).replace(quarter, f":{b64encode(bytes(8_192)).decode()}:", 1))


@given(st.binary(min_size=3, max_size=2_000), st.lists(st.binary(min_size=3, max_size=200), max_size=MAX_CHAIN))
def test_what_another_implementation_writes_is_read(der: bytes, above: list[bytes]) -> None:
    environ = {CERTIFICATE: http_sf.ser(der)}
    if above:
        environ[CHAIN] = http_sf.ser([(item, {}) for item in above])
    assert forwarded.certificates(environ) == (der, tuple(above))


@given(st.one_of(ANY, ANY.map(lambda text: f":{text}:"), st.binary().map(lambda der: f":{b64encode(der).decode()}")))
def test_what_is_read_means_the_same_to_another_implementation(field: str) -> None:
    try:
        certificate, _ = forwarded.certificates({CERTIFICATE: field})
    except Refusal:
        return
    assert http_sf.parse(field.encode("latin-1"), tltype="item") == (certificate, {})


@given(st.integers(0, len(FIELD) - 1), st.characters(max_codepoint=255))
def test_no_other_spelling_is_the_same_certificate(place: int, character: str) -> None:
    altered = FIELD[:place] + character + FIELD[place + 1 :]
    try:
        certificate, _ = forwarded.certificates({CERTIFICATE: altered})
    except Refusal:
        return
    assert (certificate == DER) == (altered == FIELD)


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:0DB8:0::0007", "2001:db8::7"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:0a01:0203", "10.1.2.3"),
    ],
)
def test_address_is_read_in_its_canonical_form(field: str, address: str) -> None:
    assert forwarded.address({ADDRESS: field}) == address


@pytest.mark.parametrize(
    "field",
    [
        "",
        "unknown",
        "unix:",
        "localhost",
        "10.1.2.3,10.1.2.4",
        "10.1.2.3, 127.0.0.1",
        "10.1.2.3 127.0.0.1",
        " 10.1.2.3",
        "10.1.2.3 ",
        "10.1.2.3\n",
        "10.1.2.3:4711",
        "[2001:db8::7]",
        "[2001:db8::7]:4711",
        '"10.1.2.3"',
        "fe80::1%eth0",
        "10.1.2",
        "010.1.2.3",
        "10.1.2.3/32",
        "0x0a.1.2.3",
        "167838211",
        "1:2:3:4:5:6:7:8:9",
        "for=10.1.2.3",
        "１０.1.2.3",
        "f" * 1_000,
    ],
)
def test_anything_but_exactly_one_address_is_malformed(field: str) -> None:
    with pytest.raises(Refusal) as error:
        forwarded.address({ADDRESS: field})
    assert error.value.slug == "malformed"


@pytest.mark.parametrize("name", [CERTIFICATE, CHAIN])
@pytest.mark.parametrize("field", ["", FIELD, "anything"])
def test_certificate_of_whoever_is_no_proxy_is_malformed_in_any_form(name: str, field: str) -> None:
    with pytest.raises(Refusal) as error:
        forwarded.refuse_certificate({name: field})
    assert error.value.slug == "malformed"
