"""The published comparators, and how a service file's binding becomes a comparison. Pure.

Null never matches, but for the open end of `covers_date`. Tolerance and grid are the provider's, never the
caller's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adapters.base import EXISTENCE, AttributeBinding, BindingInvalid
from adapters.comparison import Comparison, Row, Value
from adapters.mask import MASKS
from adapters.ordered import CoversDate, Day, Exists, Within
from adapters.texts import Code, CreditCode, Exact, Name, OneOf, Organisation, ResidentId, TextComparison

__all__ = ["COMPARATORS", "Comparison", "Row", "Value", "build"]

COMPARATORS: Final[Mapping[str, type[Comparison]]] = MappingProxyType(
    {
        comparator.name: comparator
        for comparator in (
            *(
                Exact,
                Code,
                Name,
                Organisation,
                Day,
                CoversDate,
                Within,
                OneOf,
                Exists,
                CreditCode,
                ResidentId,
            ),
        )
    }
)
"""Every comparator by its name in service files."""


def build(binding: AttributeBinding) -> Comparison:
    """Return the comparison that a binding describes.

    Raises `BindingInvalid` on an unknown comparator, role, option or mask, or a missing role or option.
    """
    comparator = COMPARATORS.get(binding.compare)
    if comparator is None:
        raise BindingInvalid(f"{binding.name}: no comparator {binding.compare!r}; known: {', '.join(COMPARATORS)}")
    allowed = comparator.required | comparator.optional
    faults = [
        *(f"needs the column {role!r}" for role in comparator.roles if role not in binding.columns),
        *(f"takes no column {role!r}" for role in binding.columns if role not in comparator.roles),
        *(f"no column can be named {EXISTENCE!r}" for column in binding.columns.values() if column == EXISTENCE),
        *(f"needs the option {option!r}" for option in sorted(comparator.required - set(binding.options))),
        *(f"takes no option {option!r}" for option in binding.options if option not in allowed),
    ]
    if binding.mask is not None and not (binding.mask in MASKS and issubclass(comparator, TextComparison)):
        faults.append(f"no mask {binding.mask!r} for {binding.compare}; masks of texts: {', '.join(MASKS)}")
    if faults:
        raise BindingInvalid(f"{binding.name}: {'; '.join(faults)}")
    return comparator(binding)
