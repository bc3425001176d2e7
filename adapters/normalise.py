"""Values brought to the one form in which they are compared. Pure.

Every function is idempotent on its own result, takes text of bounded length and raises `ValueInvalid` for
anything else; the text of that error names the rule and never the value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final

MAX_NAME: Final = 100
"""Characters in the name of a person."""
MAX_ORGANISATION: Final = 200
"""Characters in the name of an organisation."""
MAX_CODE: Final = 64
"""Characters in a code."""

RESIDENT_ID: Final = "[0-9]{15}|[0-9]{17}[0-9X]"
CREDIT_CODE: Final = "[0-9A-HJ-NP-RTUWXY]{2}[0-9]{6}[0-9A-HJ-NP-RTUWXY]{10}"
MONEY: Final = r"(?:0|[1-9][0-9]{0,12})(?:\.[0-9]{1,2})?"
DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
"""Each of these patterns is to match the whole text."""

_CENT = Decimal("0.01")
_FIRST_YEAR = 1800
_HAN = re.compile(r"[\u4e00-\u9fff]+")
_DOTS = dict.fromkeys(map(ord, "•・‧.∙⋅ꞏ"), "·")
_BRACKETS = dict.fromkeys(map(ord, "[{【〔〖「『《〈"), "(") | dict.fromkeys(map(ord, "]}】〕〗」』》〉"), ")")
_LOOSE = _DOTS | _BRACKETS
_SETTLED = re.compile(r"[\u4e00-\u9fff0-9A-Za-z()]+")
# Full-width letters and digits to ASCII capitals, the way they stand in numbers.
_NARROW = {ord(char.lower()): char for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_NARROW |= {ord(char) + 0xFEE0: char for char in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_NARROW |= {ord(char.lower()) + 0xFEE0: char for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}

# SPEC: GB 11643: ISO 7064 MOD 11-2, written as weights from left to right.
_RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_RESIDENT_CHECKS = "10X98765432"
# SPEC: GB 32100: 31 characters (no I, O, S, V, Z), weights 3^i MOD 31.
_CREDIT_VALUES = {char: value for value, char in enumerate("0123456789ABCDEFGHJKLMNPQRTUWXY")}
_CREDIT_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)

_SEPARATORS = r"[\s\u200b-\u200f\u2060\ufeff\-_\u2010-\u2015\u2212·•./]*"
_RUN = re.compile(f"[0-9](?:{_SEPARATORS}[0-9])*(?:{_SEPARATORS}X)?")
_GLUED_ID = re.compile(r"(?=([1-9][0-9]{5}(?:18|19|20)[0-9]{9}[0-9X]))")
_MOBILE = re.compile(r"(?:(?:00)?86)?1[3-9][0-9]{9}")
# Issuers' first digits (ISO/IEC 7812), so that a number which opens with a year or with 33 is not taken for
# a card.
_CARD = re.compile(r"(?:2[2-7]|3[05689]|[4-69][0-9])[0-9]{14,17}")


class ValueInvalid(ValueError):
    """A value has not the form its type demands. The text says which rule, never the value."""


def resident_id(raw: str) -> str:
    """Return the 18 characters of a resident id number (GB 11643), `X` in capitals.

    Takes full-width digits, a small `x`, and the old number of 15 digits, whose century is taken to be
    19xx. Checks the check digit and that the birth date is a real day from 1800 on; regions are not looked
    up in GB/T 2260.
    """
    text = raw.translate(_NARROW) if len(raw) <= 18 else ""
    if not re.fullmatch(RESIDENT_ID, text):
        raise ValueInvalid("a resident id number has 18 characters (or 15 digits)")
    if len(text) == 15:
        body = f"{text[:6]}19{text[6:]}"
        text = body + _resident_check(body)
    elif text[17] != _resident_check(text):
        raise ValueInvalid("the check digit of the resident id number is wrong")
    born = real_day(text[6:10], text[10:12], text[12:14])
    if born is None or born.year < _FIRST_YEAR:
        raise ValueInvalid("the birth date in the resident id number is no real date")
    return text


def credit_code(raw: str) -> str:
    """Return the 18 characters of a unified social credit code (GB 32100), check character right."""
    text = raw.translate(_NARROW) if len(raw) <= 18 else ""
    if not re.fullmatch(CREDIT_CODE, text):
        raise ValueInvalid("a unified social credit code has 18 characters of GB 32100")
    total = sum(weight * _CREDIT_VALUES[char] for weight, char in zip(_CREDIT_WEIGHTS, text, strict=False))
    if _CREDIT_VALUES[text[17]] != -total % 31:
        raise ValueInvalid("the check character of the unified social credit code is wrong")
    return text


def name(raw: str) -> str:
    """Return the name of a person: NFKC, no blanks, middle dots as U+00B7, at most 100 characters."""
    if len(raw) <= MAX_NAME and _HAN.fullmatch(raw):
        return raw
    return _folded(raw, _DOTS, MAX_NAME)


def organisation(raw: str) -> str:
    """Return the name of an organisation: NFKC, no blanks, brackets round, at most 200 characters."""
    if len(raw) <= MAX_ORGANISATION and _HAN.fullmatch(raw):
        return raw
    return _folded(raw, _BRACKETS, MAX_ORGANISATION)


def loose(raw: str) -> str:
    """Return a text of any kind without what the others overlook: blanks, width, kinds of dots and brackets, case.

    Never raises: what is no value of any type keeps its text.
    """
    if _SETTLED.fullmatch(raw):
        return raw.upper()
    if raw.isascii():
        return "".join(raw.split()).translate(_LOOSE).upper()
    return _unspaced(raw, _LOOSE).upper()


def code(raw: str) -> str:
    """Return a code in NFKC without blanks, letter case kept; at most 64 characters."""
    return _folded(raw, {}, MAX_CODE)


def phone(raw: str) -> str:
    """Return the digits of a mainland telephone number: a mobile number, or area code and number."""
    digits = re.sub(r"[\s-]", "", raw.translate(_NARROW)) if len(raw) <= 32 else ""
    digits = re.sub(r"\A(?:\+86|0086|86(?=1[3-9][0-9]{9}\Z))", "", digits)
    if not re.fullmatch(r"1[3-9][0-9]{9}|0[0-9]{9,11}", digits):
        raise ValueInvalid("a telephone number is a mobile number or begins with its area code")
    return digits


def money(raw: str) -> Decimal:
    """Return an amount in yuan with two decimals, from `"1280000.00"`; below 10^13, never negative."""
    if len(raw) > 16 or not re.fullmatch(MONEY, raw):
        raise ValueInvalid("an amount is a decimal string of yuan with at most two decimals")
    return Decimal(raw).quantize(_CENT)


def iso_date(raw: str) -> date:
    """Return the day written `YYYY-MM-DD` (ISO 8601), which must exist."""
    day = real_day(*raw.split("-")) if len(raw) == 10 and re.fullmatch(DATE, raw) else None
    if day is None:
        raise ValueInvalid("a date is a real day written YYYY-MM-DD")
    return day


def real_day(year: str, month: str, day: str) -> date | None:
    """Return the day of these digits, None where the calendar has none."""
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


SUBJECT_TYPES: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {"resident_id": resident_id, "credit_code": credit_code, "code": code}
)
"""The normaliser of each type of subject."""


def stored_forms(subject_type: str, value: str) -> tuple[str, ...]:
    """Return the spellings in which a source may hold a normalised subject, the normal one first.

    A resident id number may stand with a small `x`, and as the old number of 15 digits if born 19xx.
    """
    if subject_type != "resident_id" or len(value) != 18:
        return (value,)
    forms = (value, value[:17] + "x") if value[17] == "X" else (value,)
    return (*forms, value[:6] + value[8:17]) if value[6:8] == "19" else forms


def find_identifiers(text: str) -> bool:
    """Say whether a text that must name nobody (a case number, an operator) holds somebody's number.

    Found are a resident id number (18 characters with a right check digit, also inside a longer row of
    digits; 15 digits with a real birth date), a mobile number (1[3-9] and nine digits, also after 86) and a
    bank card number (16 to 19 digits, an issuer's first digits, Luhn), in digits of any script or width,
    and also when split by blanks, dashes, dots, slashes or underscores. So a case number is refused if
    digit groups that stand side by side join to such a number: `138-20260001` is, `HRSS-2026-000123` is
    not.
    """
    return any(_names_someone(run.group()) for run in _RUN.finditer(_plain_digits(text)))


def _plain_digits(text: str) -> str:
    """Digits of every script as ASCII, letters as capitals."""
    folded = unicodedata.normalize("NFKC", text).upper()
    return "".join(str(unicodedata.decimal(char, char)) for char in folded)


def _names_someone(run: str) -> bool:
    tokens = [token for token in re.split(_SEPARATORS.replace("*", "+"), run) if token]
    if any(_is_resident_id(found.group(1)) for found in _GLUED_ID.finditer("".join(tokens))):
        return True
    return any(_is_personal(digits) for digits in _joined(tokens))


def _joined(tokens: list[str]) -> Iterator[str]:
    """Every row of neighbouring tokens that is short enough to be a number."""
    for start in range(len(tokens)):
        digits = ""
        for token in tokens[start:]:
            digits += token
            if len(digits) > 19:
                break
            yield digits


def _is_personal(digits: str) -> bool:
    if _MOBILE.fullmatch(digits):
        return True
    if len(digits) == 15:
        return _is_resident_id(digits)
    return _CARD.fullmatch(digits) is not None and _luhn(digits)


def _is_resident_id(text: str) -> bool:
    try:
        resident_id(text)
    except ValueInvalid:
        return False
    return True


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def _resident_check(body: str) -> str:
    total = sum(weight * int(digit) for weight, digit in zip(_RESIDENT_WEIGHTS, body, strict=False))
    return _RESIDENT_CHECKS[total % 11]


def _folded(raw: str, variants: Mapping[int, str], limit: int) -> str:
    """NFKC without blanks and invisible characters, variants unified; bounded before and after."""
    if len(raw) > limit:
        raise ValueInvalid(f"longer than {limit} characters")
    text = _unspaced(raw, variants)
    if not text:
        raise ValueInvalid("empty")
    if len(text) > limit:
        raise ValueInvalid(f"longer than {limit} characters")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise ValueInvalid("holds control characters")
    return text


def _unspaced(raw: str, variants: Mapping[int, str]) -> str:
    text = "".join(char for char in unicodedata.normalize("NFKC", raw) if not _is_blank(char))
    # Taking a blank out may bring a letter and its accent together, so that they compose only now.
    return unicodedata.normalize("NFKC", text.translate(variants))


def _is_blank(char: str) -> bool:
    """Spaces of all kinds, zero-width characters and variation selectors."""
    return char.isspace() or unicodedata.category(char) == "Cf" or 0xFE00 <= ord(char) <= 0xFE0F
