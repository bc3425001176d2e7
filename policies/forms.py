"""Cedar's JSON form of one rule, read and rewritten: what it needs, what it tests, how fine a time it sees.

Where a form is not understood, the finest time is assumed: a decision is then kept for one second only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Form: TypeAlias = "Mapping[str, Any]"

SECOND_S, MINUTE_S, DAY_S = 1, 60, 86_400

_CONTEXT = {"Var": "context"}
_TERMS = {".": {"left": {"Var": "resource"}, "attr": "terms"}}
_FINENESS = {"at": SECOND_S, "minute": MINUTE_S}
_EDGES = {"at": ("valid_from", "valid_until"), "minute": ("from_minute", "until_minute")}
# `<` and `>=` change over at the edge itself; `<=` and `>` would do so a moment later.
_HARMLESS = [
    ({"left": _CONTEXT, "attr": read}, {"left": _TERMS, "attr": edge})
    for read, edges in _EDGES.items()
    for edge in edges
]


def conjuncts(form: Form) -> list[Any]:
    """Give what must hold for the rule to hold, one by one: its conditions, taken apart at every `&&`."""
    return [part for condition in form["conditions"] for part in _parts(condition["body"])]


def permitting(form: Form, *bodies: Any) -> dict[str, Any]:
    """Make a permit of the rule, so that it can be asked whether it holds, or whether these bodies alone do."""
    conditions = [{"kind": "when", "body": body} for body in bodies] or form["conditions"]
    return {**form, "effect": "permit", "conditions": conditions}


def confined(form: Form, provider: str) -> dict[str, Any]:
    """Make the rule hold for this provider's services only; for others its own conditions are not evaluated."""
    of_provider = {".": {"left": {"Var": "resource"}, "attr": "provider"}}
    condition = {"kind": "when", "body": {"==": {"left": of_provider, "right": {"Value": provider}}}}
    return {**form, "conditions": [condition, *form["conditions"]]}


def names_tested(form: object) -> Iterator[str]:
    """Give every name after `has`: Cedar accepts any there."""
    match form:
        case {"has": {"attr": str(name)}}:
            yield name
    for part in _members(form):
        yield from names_tested(part)


def fineness_s(form: object) -> int:
    """Tell how long, in seconds, the rule can be blind to time passing, the edges of the terms apart.

    A day where it reads at most the weekday, a minute where it reads the minute, else a second. Comparing the time
    with the terms' own validity and hours is reading an edge, and costs nothing.
    """
    match form:
        case {"<": {"left": {".": read}, "right": {".": edge}}} | {">=": {"left": {".": read}, "right": {".": edge}}}:
            if (read, edge) in _HARMLESS:
                return DAY_S
        case {".": {"left": left, "attr": str(name)}} if left == _CONTEXT:
            return _FINENESS.get(name, DAY_S)
        case {"Var": "context"}:
            return SECOND_S
    return min(map(fineness_s, _members(form)), default=DAY_S)


def _parts(body: Any) -> Iterator[Any]:
    match body:
        case {"&&": {"left": left, "right": right}}:
            yield from _parts(left)
            yield from _parts(right)
        case _:
            yield body


def _members(form: object) -> Iterator[object]:
    match form:
        case dict():
            yield from form.values()
        case list():
            yield from form
