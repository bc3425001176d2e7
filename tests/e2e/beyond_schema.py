"""Refusals of requests that fit the published schema: what no JSON Schema can say, each with its reason.

A schema-valid request that the node refuses is a fault of the document, unless every reason given stands here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from app.api.published import UNPRINTABLE
from app.registry.question import IDENTIFIER_REASON

IN_THE_CATALOGUE: Final = (
    r"is no service of the catalogue",
    r"is no service of your department",
    r"is your own department's: .*",
    r"is open to every department under its standing terms: .*",
    r"is withheld: .*",
    r"is no attribute of this service",
    r"lack one that every question to this service must declare: .*",
    r"is more than the provider publishes for this service",
    r"has no mask in this service",
    r"must be true: only unconditional services have standing terms without it",
)
IN_THE_REGISTER: Final = (
    r"is no department of the node directory",
    r"is no registered department",
    r"is no consuming system of your department",
    r"is the name in another client's certificate",
    r"hold a key that another client or a department signs with",
    r"may hold authority in the sharing authority's own department only",
    r"names no standing terms of this service that could be replaced",
    r"is no agreement of your department about this service that could be replaced",
)
BY_THE_CLOCK: Final = (
    r"lies in the past",
    r"lies more than ten years ahead: .*",
    r"lies behind the end date",
)
# One member against another, or several of a list: JSON Schema compares no two values.
BETWEEN_MEMBERS: Final = (
    r"is not among the attributes",
    r"must begin before they end, within one day",
    r"may hold one of system-admin, security-admin and auditor, not two .*",
    r"agreement: hours .*",
)
# Check digits, points of a curve, canonical spellings, whole grammars.
BY_COMPUTING: Final = (
    re.escape(IDENTIFIER_REASON),
    r"the check (digit|character) of the .* is wrong",
    r"the birth date in the resident id number is no real date",
    r"a unified social credit code has 18 characters of GB 32100",
    r"a date is a real day written YYYY-MM-DD",
    r"a signing key is a public P-256 key for ES256 .*",
    r"kid must be the key's thumbprint .*",
    r"signing key .* stands twice",
    r"must be a network such as 10\.1\.0\.0/16",
    r"must be the subject as RFC 4514 writes it, .*",
    r"must be one address, written in its short form",
    r"must be a URI with its scheme, in ASCII",
    r"agreement: (case|operator) (is no regular expression|could take too long to match: .*)",
    # Whether Unicode assigns a character, and of what kind it is.
    re.escape(UNPRINTABLE),
    r"must be a text of 1 to 64 printable characters",
    # What is left of a name once its blanks and invisible characters are gone.
    r"empty",
    r"holds control characters",
)
REASONS: Final = re.compile(
    "|".join((*IN_THE_CATALOGUE, *IN_THE_REGISTER, *BY_THE_CLOCK, *BETWEEN_MEMBERS, *BY_COMPUTING))
)
# Problems and OAuth errors (RFC 6749 §5.2) without a list of reasons.
WHOLE: Final = frozenset(
    (
        "The cursor is not one of this list: start without one.",
        "The cursor is not one of this catalogue: start without one.",
        "This Idempotency-Key was used for another request: take a new key.",
        "a scope is not one this client may have",
        "the token was issued to another client",
    )
)


def is_beyond_schema(refusal: Mapping[str, Any]) -> bool:
    """Whether a refusal, as the client reads it, names nothing but what a schema cannot say."""
    if errors := refusal.get("errors"):
        return all(REASONS.fullmatch(error["reason"]) for error in errors)
    return refusal.get("detail", refusal.get("error_description")) in WHOLE
