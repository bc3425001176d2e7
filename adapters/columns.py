"""What a source's column holds, read as text, day or amount. Pure; the only place that knows drivers' types.

Null is None. Text of an unexpected form raises `ValueInvalid`: such a value agrees with nothing. A type
that the binding cannot mean (bytes, a list) raises `SourceMisbehaved`: the source is not what its binding
says.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Context, Decimal
from functools import lru_cache
from math import isfinite
from typing import Final
from uuid import UUID

from adapters.base import SourceMisbehaved
from adapters.normalise import ValueInvalid, loose, real_day, resident_id

SHANGHAI: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
"""Days are days in Asia/Shanghai, which has kept UTC+8 without summer time since 1992."""
EXACT: Final = Context(prec=80)
"""Amounts of at most 28 digits are added and multiplied in it without rounding."""

_DAYS_KEPT = 16_384
_CENT = Decimal("0.01")
_MOST_DECIMALS = 20
_TOO_LARGE = Decimal(10) ** 18
_LONGEST_NUMBER = 200
_AMOUNT = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,10})?")
_NUMBER = re.compile(r"(-?)0*([0-9]+)(?:[.·]([0-9]*?)0*)?")
_OLD_ID = 15
_DAY = re.compile(r"([0-9]{4})(-?)([0-9]{2})\2([0-9]{2})(?:[T ][0-9:.]{5,15})?")


def text_of(raw: object) -> str | None:
    """Return a column's value as text: whole numbers in digits, truth as `true` or `false`."""
    if raw is None or isinstance(raw, str):
        return raw
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, (int, UUID)):
        return str(raw)
    if isinstance(raw, Decimal) and raw.is_finite() and raw == raw.to_integral_value():
        return f"{raw:.0f}"
    raise SourceMisbehaved(f"a column bound as text holds {type(raw).__name__}")


def day_of(raw: object) -> date | None:
    """Return a column's value as a day; blank text is null, `YYYYMMDD` and days with a time are read."""
    if isinstance(raw, datetime):
        return _local_day(raw)
    if raw is None or isinstance(raw, date):
        return raw
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = str(raw)
    if not isinstance(raw, str):
        raise SourceMisbehaved(f"a column bound as a day holds {type(raw).__name__}")
    return _written_day(raw)


@lru_cache(_DAYS_KEPT)
def _written_day(raw: str) -> date | None:
    # A source has few different days, and every row of a subject is read for every question about it.
    text = raw.strip()
    if not text:
        return None
    found = _DAY.fullmatch(text) if len(text) <= 26 else None
    day = real_day(*found.group(1, 3, 4)) if found else None
    if day is None:
        raise ValueInvalid("the column holds no date")
    return day


def amount_of(raw: object) -> Decimal | None:
    """Return a column's value as an exact amount below 10^18.

    A binary float is taken as the two-decimal amount it stands for: SQLite hands out NUMERIC columns as
    floats.
    """
    if raw is None:
        return None
    if isinstance(raw, str):
        text = raw.strip()
        if len(text) > 30 or not _AMOUNT.fullmatch(text):
            raise ValueInvalid("the column holds no amount")
        return Decimal(text)
    if isinstance(raw, bool) or not isinstance(raw, (int, float, Decimal)):
        raise SourceMisbehaved(f"a column bound as an amount holds {type(raw).__name__}")
    amount = Decimal(repr(raw)) if isinstance(raw, float) else Decimal(raw)
    if not amount.is_finite() or abs(amount) >= _TOO_LARGE:
        raise ValueInvalid("the column holds no amount")
    if isinstance(raw, float):
        return EXACT.quantize(amount, _CENT)
    if int(amount.as_tuple().exponent) < -_MOST_DECIMALS:
        raise ValueInvalid("the column holds no amount")
    return amount


def plain(raw: object) -> str:
    """Return a column's value as one text, whatever it is bound as: the same for all spellings of the same value.

    Type, width, blanks, letter case, dots, brackets, zeros around a number, the form of a day and of an old id number
    do not count; blank is null. It tells less apart than any comparator, never more. Raises `SourceMisbehaved` for
    a type that no column may have.
    """
    if raw is None:
        return ""
    # INVARIANT: the form stays as it is from version to version: another one would renew every disclosure account.
    text = raw.strip() if isinstance(raw, str) else _written(raw)
    return _plain_day(text) or _plain_number(loose(text))


def _written(raw: object) -> str:
    if isinstance(raw, datetime):
        return _local_day(raw).isoformat()
    if isinstance(raw, date):
        return raw.isoformat()
    if isinstance(raw, float) and isfinite(raw) and abs(raw) < _TOO_LARGE:
        return str(amount_of(raw))
    if isinstance(raw, Decimal) and raw.is_finite() and abs(raw.adjusted()) < _LONGEST_NUMBER:
        return f"{raw:f}"
    if isinstance(raw, (int, float, Decimal, UUID)):
        return str(raw)
    raise SourceMisbehaved(f"a column holds {type(raw).__name__}")


def _plain_day(text: str) -> str | None:
    found = _DAY.fullmatch(text)
    day = real_day(*found.group(1, 3, 4)) if found else None
    return None if day is None else day.isoformat()


def _plain_number(text: str) -> str:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    sign, whole, part = found.groups()
    number = f"{whole}.{part}" if part else whole
    if sign and number != "0":
        return sign + number
    if len(number) == _OLD_ID:
        with suppress(ValueInvalid):
            return resident_id(number)
    return _plain_day(number) or number


def instant_of(raw: object) -> datetime | None:
    """Return a column's value in UTC; a day, or a time without offset, is one of Asia/Shanghai."""
    if raw is None:
        return None
    if isinstance(raw, str):
        raw = _read_instant(raw.strip())
    elif isinstance(raw, date) and not isinstance(raw, datetime):
        raw = datetime(raw.year, raw.month, raw.day, tzinfo=SHANGHAI)
    if not isinstance(raw, datetime):
        raise SourceMisbehaved("the column of the last update holds no time")
    try:
        return (raw if raw.tzinfo else raw.replace(tzinfo=SHANGHAI)).astimezone(UTC)
    except OverflowError:
        raise SourceMisbehaved("the column of the last update holds no time") from None


def _read_instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _local_day(time: datetime) -> date:
    try:
        return time.astimezone(SHANGHAI).date() if time.tzinfo else time.date()
    except OverflowError:  # 9999-12-31 as an open end, in a zone west of Shanghai
        return time.date()
