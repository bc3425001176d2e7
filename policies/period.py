"""For how long the same facts have the same decision: up to the next moment at which a rule could see a change.

INVARIANT: rules see time as a whole second, a minute of the day and a weekday, all in Asia/Shanghai, and compare
it with the terms' validity and hours. Between two neighbouring edges of these nothing that they see changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.facts import CHINA, WHOLE_WEEK
from policies.forms import DAY_S, MINUTE_S

if TYPE_CHECKING:
    from policies.facts import Terms

CHINA_S = int(CHINA.utcoffset(None).total_seconds())


def period(terms: Terms | None, at_s: int, fineness_s: int) -> tuple[int, int]:
    """Give the seconds [from, until) around `at_s`, since 1970 UTC, in which a decision stays what it is.

    `fineness_s` is the shortest time that the rules can tell apart by themselves: a second, a minute or a day.
    """
    from_s = at_s - (at_s + CHINA_S) % fineness_s
    until_s = from_s + fineness_s
    if terms is None:
        return from_s, until_s
    hours = terms.hours or WHOLE_WEEK
    midnight_s = at_s - (at_s + CHINA_S) % DAY_S
    for edge_s in (
        int(terms.valid_from.timestamp()),
        int(terms.valid_until.timestamp()),
        midnight_s + hours.from_minute * MINUTE_S,
        midnight_s + hours.until_minute * MINUTE_S,
    ):
        if from_s < edge_s <= at_s:
            from_s = edge_s
        elif at_s < edge_s < until_s:
            until_s = edge_s
    return from_s, until_s
