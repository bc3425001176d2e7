"""Base64 in both alphabets of RFC 4648, decoded strictly: one text for one value, or `ValueError`."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


def encode(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648 §4)."""
    return b2a_base64(data, newline=False).decode()


def decode(text: str) -> bytes:
    """Return the bytes of exactly one standard base64 text; raises `ValueError` on any other spelling."""
    data = a2b_base64(text.encode("ascii"), strict_mode=True)
    if encode(data) != text:
        raise ValueError("this is not base64 in its one canonical spelling")
    return data


def encode_url(data: bytes) -> str:
    """Return base64url without padding (RFC 4648 §5, RFC 7515 §2)."""
    return b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def decode_url(text: str) -> bytes:
    """Return the bytes of exactly one unpadded base64url text; raises `ValueError` on any other spelling."""
    standard = text.encode("ascii").translate(_FROM_URL)
    data = a2b_base64(standard + b"=" * (-len(standard) % 4), strict_mode=True)
    # The comparison refuses padding, the other alphabet and unused bits that are not zero.
    if encode_url(data) != text:
        raise ValueError("this is not base64url in its one canonical spelling")
    return data
