"""The one typed error of the node: why a request gets no answer, as a problem slug.

`app.api.problems` holds the table of slugs and turns a refusal into a problem document, in one place.
INVARIANT: the texts here are written by us or name members of the request; they never quote a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
