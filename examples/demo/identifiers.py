"""Synthetic identifiers with valid check digits, in region codes that nobody was ever given.

Zhejiang (33) has the prefectures 01 to 11 in GB/T 2260; it once had 21 to 28 for rural prefectures and 90 for
cities under the province. 3398 was never assigned, so no resident id number (GB 11643) and no unified social
credit code (GB 32100) with one of `REGIONS` belongs to anyone. (3399 is avoided: insurance systems write
339900 for the provincial level.)
"""

from __future__ import annotations

from datetime import date
from typing import Literal

Sex = Literal["M", "F"]

PERSONA_REGION = "339881"
"""The region of the published test subjects; the rest of the population never has it."""

DISTRICTS = {
    "339882": "演示一区",
    "339883": "演示二区",
    "339884": "演示三区",
    "339885": "演示四区",
    "339886": "演示县",
}
"""Invented districts, code to name."""

REGIONS = (PERSONA_REGION, *DISTRICTS)
"""Every region code that the demonstration uses; none is issued."""

# SPEC: GB 11643: ISO 7064 MOD 11-2, written as weights from left to right.
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS = "10X98765432"

# SPEC: GB 11714: weights of the organisation code, MOD 11.
_ORGANISATION_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)

# SPEC: GB 32100: 31 characters (no I, O, S, V, Z), weights 3^i MOD 31.
_CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)


def resident_id(region: str, born: date, ordinal: int, sex: Sex) -> str:
    """Return the 18-character id number of the `ordinal`-th (from 0) person of this region, birthday and sex.

    The sequence number is odd for men and even for women (GB 11643). Raises `ValueError` past the 499th.
    """
    sequence = 2 * ordinal + (1 if sex == "M" else 2)
    if not 1 <= sequence <= 999:
        raise ValueError("the sequence numbers of this birthday are used up")
    body = f"{region}{born:%Y%m%d}{sequence:03d}"
    total = sum(weight * int(digit) for weight, digit in zip(_RESIDENT_WEIGHTS, body, strict=True))
    return body + _RESIDENT_CHECKS[total % 11]


def credit_code(region: str, serial: int, kind: Literal["91", "92"]) -> str:
    """Return credit code number `serial` of a region: kind `91` is a company, `92` a sole trader.

    Raises `ValueError` past eight digits.
    """
    if not 0 <= serial <= 99_999_999:
        raise ValueError("the serial numbers of this region are used up")
    body = f"{kind}{region}{organisation_code(serial)}"
    pairs = zip(_CREDIT_WEIGHTS, body, strict=True)
    total = sum(weight * _CREDIT_ALPHABET.index(character) for weight, character in pairs)
    return body + _CREDIT_ALPHABET[(31 - total % 31) % 31]


def organisation_code(serial: int) -> str:
    """Return the nine characters of organisation code `serial`, whose own check character is GB 11714's."""
    body = f"{serial:08d}"
    total = sum(weight * int(digit) for weight, digit in zip(_ORGANISATION_WEIGHTS, body, strict=True))
    check = 11 - total % 11
    return body + ("X" if check == 10 else "0" if check == 11 else str(check))
