"""What terms bind an answer to, and how an answer is disclosed under them.

An obligation that is not understood is never ignored: it is kept as `UnknownObligation`, and disclosing under
it is refused, so that the caller holds the answer back. Least is the default: overall, folded, unmasked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["overall", "per_attribute"]

MATCH, NO_MATCH, NOT_FOUND = "match", "no_match", "not_found"

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_AGE = re.compile(r"([1-9][0-9]{0,4})([mhd])")


@dataclass(frozen=True, slots=True)
class Disclose:
    """Disclose the overall result, or one code per agreed attribute; on a match also the masked values named.

    `attributes` are those the terms name: no other attribute's code is ever disclosed.
    """

    level: Level
    masked: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Fold:
    """Answer `no_match` where the subject was not found, so that existence is not disclosed."""


@dataclass(frozen=True, slots=True)
class HumanReview:
    """The consumer must not make the answer the sole ground of an adverse decision."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """Answer only from a source updated within `max_age`."""

    max_age: timedelta


@dataclass(frozen=True, slots=True)
class NotifyProvider:
    """Tell the provider of the answer (山东 第三十六条)."""


@dataclass(frozen=True, slots=True)
class UnknownObligation:
    """An obligation this version does not know: the answer is held back (`obligation-not-met`)."""

    name: str


Obligation: TypeAlias = Disclose | Fold | HumanReview | Freshness | NotifyProvider | UnknownObligation

_NAMED: dict[str, Obligation] = {
    "fold": Fold(),
    "human-review": HumanReview(),
    "notify-provider": NotifyProvider(),
}


class ObligationNotMet(Exception):
    """An answer must not leave, because an obligation on it cannot be executed."""


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What the consumer may see; which members there are depends on the terms, never on the result."""

    result: str
    attributes: Mapping[str, str] | None
    masked: Mapping[str, str | None] | None


def obligations_of(document: Mapping[str, object]) -> tuple[Obligation, ...]:
    """Read the obligations of a terms document, each once; `fold` holds unless it is false.

    Members read: `attributes`, `disclosure` {level, masked}, `fold`, `human_review`, `freshness` ("24h"), and
    `obligations`, further names. Raises ValueError for a member of the wrong form; a name that is not known
    becomes UnknownObligation.
    """
    found: list[Obligation] = [_disclosure(document)]
    if _flag(document, "fold", default=True):
        found.append(Fold())
    if _flag(document, "human_review", default=False):
        found.append(HumanReview())
    if "freshness" in document:
        found.append(Freshness(_age(document["freshness"])))
    found += [
        _NAMED.get(name, UnknownObligation(name)) for name in _names(document.get("obligations", []), "obligations")
    ]
    return tuple(dict.fromkeys(found))


def disclose(
    result: str,
    attributes: Mapping[str, str],
    masked: Mapping[str, str | None],
    obligations: Iterable[Obligation],
) -> Disclosed:
    """Reduce a true answer to what its obligations disclose.

    `attributes` has the code of every attribute asked, whatever the result; `masked` what masked values there
    are. Raises ObligationNotMet under an unknown obligation, and ValueError for what is no result.
    """
    bound = tuple(obligations)
    if unknown := [item.name for item in bound if isinstance(item, UnknownObligation)]:
        raise ObligationNotMet(", ".join(unknown))
    if result not in (MATCH, NO_MATCH, NOT_FOUND):
        raise ValueError("a result is match, no_match or not_found")
    terms = next((item for item in bound if isinstance(item, Disclose)), Disclose("overall"))
    codes = {name: attributes[name] for name in sorted(attributes) if name in terms.attributes}
    if Fold() in bound:
        # INVARIANT: folded, an absent subject and one that agrees in nothing get equal answers.
        absent = result == NOT_FOUND
        result = NO_MATCH if absent else result
        codes = {name: NO_MATCH if absent or code == NOT_FOUND else code for name, code in codes.items()}
    seen = masked if result == MATCH else {}
    return Disclosed(
        result=result,
        attributes=codes if terms.level == "per_attribute" else None,
        masked={name: seen.get(name) for name in sorted(terms.masked)} if terms.masked else None,
    )


def describe(obligations: Iterable[Obligation]) -> list[str]:
    """Name obligations for publishing in an answer: `disclose:overall`, `mask:employer`, `fold`."""
    return [name for item in obligations for name in _described(item)]


def _described(item: Obligation) -> list[str]:
    match item:
        case Disclose():
            return [f"disclose:{item.level}", *(f"mask:{name}" for name in sorted(item.masked))]
        case Freshness():
            minutes = item.max_age // _UNITS["m"]
            return [f"freshness:{minutes}m" if minutes % 60 else f"freshness:{minutes // 60}h"]
        case UnknownObligation():
            return [f"unknown:{item.name}"]
        case _:
            return [name for name, known in _NAMED.items() if known == item]


def _disclosure(document: Mapping[str, object]) -> Disclose:
    disclosure = document.get("disclosure", {})
    if not isinstance(disclosure, Mapping) or disclosure.keys() - {"level", "masked"}:
        raise ValueError("disclosure has the members level and masked")
    masked = frozenset(_names(disclosure.get("masked", []), "disclosure.masked"))
    attributes = frozenset(_names(document.get("attributes", []), "attributes"))
    if strange := masked - attributes:
        raise ValueError(f"masked values need agreed attributes: {', '.join(sorted(strange))}")
    match disclosure.get("level", "overall"):
        case "overall" | "per_attribute" as level:
            return Disclose(level, masked, attributes)
    raise ValueError("disclosure.level is overall or per_attribute")


def _flag(document: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = document.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name} is true or false")  # noqa: TRY004 — one error for every malformed member
    return value


def _names(value: object, member: str) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{member} is a list of names")
    return [str(item) for item in value]


def _age(value: object) -> timedelta:
    found = _AGE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("freshness is a number with m, h or d, such as 24h")
    return int(found[1]) * _UNITS[found[2]]
