"""Strategies of valid identifiers, their check digits by python-stdnum, which is no code of ours."""

from __future__ import annotations

from datetime import date

from hypothesis import strategies as st
from stdnum.cn import ric, uscc

CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"

days = st.dates(date(1900, 1, 1), date(2099, 12, 31))
regions = st.sampled_from(["110101", "330106", "440305", "339881", "999999"])
issued_regions = st.sampled_from(["110101", "330106", "440305", "650102", "460105"])


def with_check(body: str) -> str:
    """Seventeen digits and their check digit."""
    return body + str(ric.calc_check_digit(body + "0"))


def resident_ids(region: st.SearchStrategy[str] = regions) -> st.SearchStrategy[str]:
    """Id numbers of real days and right check digits."""
    return st.builds(
        lambda where, born, sequence: with_check(f"{where}{born:%Y%m%d}{sequence:03d}"),
        region,
        days,
        st.integers(0, 999),
    )


def credit_codes() -> st.SearchStrategy[str]:
    """Credit codes with right check characters."""
    return st.builds(
        lambda kind, region, rest: (body := kind + region + rest) + str(uscc.calc_check_digit(body)),
        st.sampled_from(["91", "92", "12", "51"]),
        regions,
        st.text(CREDIT_ALPHABET, min_size=9, max_size=9),
    )


hostile = (
    st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Zs", "N", "Lo"]), max_size=30)
    | st.text("0123456789Xx-. １２３４", max_size=40)
)
"""Text of every kind: lone surrogates, controls, and rows of digits."""
