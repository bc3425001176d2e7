from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.base64s import decode, decode_url, encode, encode_url


def test_nothing_is_the_empty_text_in_both_alphabets() -> None:
    assert (encode(b""), encode_url(b""), decode(""), decode_url("")) == ("", "", b"", b"")


@given(st.binary(max_size=80))
def test_what_is_encoded_decodes_to_itself(data: bytes) -> None:
    assert decode(encode(data)) == data
    assert decode_url(encode_url(data)) == data


@given(st.text(alphabet="AZaz09+/-_= \n\u00e9", max_size=12))
def test_no_two_texts_decode_to_the_same_bytes(text: str) -> None:
    for read, write in ((decode, encode), (decode_url, encode_url)):
        try:
            data = read(text)
        except ValueError:
            continue
        assert write(data) == text


@pytest.mark.parametrize(
    "text",
    ["QQ==", "QR", "+/8", "QQ\n", " QQ", "Q", "QQ=", "Ａ０"],
    ids=["padding", "unused bits", "other alphabet", "newline", "space", "one character", "half", "wide"],
)
def test_base64url_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_url(text)


@pytest.mark.parametrize(
    "text",
    ["QQ", "QR==", "-_8=", "QQ==\n", "QQ===", "QQ==QQ=="],
    ids=["no padding", "unused bits", "other alphabet", "newline", "excess", "two texts"],
)
def test_base64_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(text)
