"""The one typed error of the node: why a request gets no answer, as a problem slug.

`app.api.problems` holds the table of slugs and turns a refusal into a problem document, in one place.
INVARIANT: the texts here are written by us or name members of the request; they never quote a value.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)


class Refusal(Exception):
    """A request that ends without an answer.

    `slug` names the problem type; `detail` says in plain words what to do; `members` are extra members of the
    problem document (pointers, reasons); `headers` are added to the response.
    """

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail
        self.members = dict(members or {})
        self.headers = dict(headers or {})


def unexpected(error: Exception) -> Refusal:
    """The refusal for an exception that nobody expected: its kind and place go to the log, nothing goes outward."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_qualname}:{place.tb_lineno}" if place else "?"
    logger.error("unexpected %s in %s", type(error).__name__, where)
    return Refusal("internal-error", "The node failed; its operators can find the cause in their log.")
