"""Permit or deny: Cedar decides over facts, and a denial names every rule that was broken, with its articles.

Default deny, forbid wins, an evaluation error denies. A decision is kept and given again for the same facts
within the same second. No rule, not even a department's own, sees a finer time than that, so a kept decision
outlives no expiry and no edge of the agreed hours.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

import cedarpy

from policies import request
from policies.loading import DEFAULT_DENY, EVALUATION_ERROR, Loader, Rule, RulesInvalid

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from policies.facts import Facts

__all__ = [
    "DEFAULT_DENY",
    "EVALUATION_ERROR",
    "Decision",
    "Explanation",
    "Rule",
    "RuleSet",
    "RulesInvalid",
    "explain",
]

# A kept decision takes about 1 KB, the entities of one client, service and terms about 14 KB.
KEPT_DECISIONS = 4096
KEPT_ENTITIES = 2048

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Decision:
    """Permit or deny, the determining rules in the order of the set, and that set's revision and digest.

    A permit names the permits that hold, a denial every forbid that holds (never none: `default-deny` or
    `evaluation-error` stands in). `errors`: the rules could not be evaluated; that is an incident.
    """

    permitted: bool
    rules: tuple[Rule, ...]
    revision: int
    digest: str
    errors: bool


class Reason(TypedDict):
    """A reason in both languages."""

    en: str
    zh: str


class Explanation(TypedDict):
    """One rule as the caller is told it: id, articles, reason; nothing of anyone's terms."""

    rule: str
    basis: list[str]
    reason: Reason


def explain(decision: Decision) -> list[Explanation]:
    """Why a question was decided so, in plain JSON: for the 403 body, the record and the command line."""
    return [
        {"rule": rule.id, "basis": list(rule.basis), "reason": {"en": rule.reason_en, "zh": rule.reason_zh}}
        for rule in decision.rules
    ]


class RuleSet:
    """A checked set of rules in force under one revision. Shared by threads.

    `digest` is the SHA-256 (hex) over the canonical JSON of all texts, so it changes with any of their bytes.
    """

    def __init__(self, loader: Loader, revision: int, digest: str) -> None:
        self.rules = tuple(loader.rules)
        self.revision = revision
        self.digest = digest
        self._policies = loader.policies()
        self._schema = loader.schema
        self._asked: _Kept[_Asked] = _Kept(KEPT_DECISIONS)
        self._entities: _Kept[cedarpy.Entities] = _Kept(KEPT_ENTITIES)

    @classmethod
    def from_texts(
        cls,
        texts: Mapping[str, str],
        schema_text: str,
        revision: int,
        *,
        narrowing: Mapping[str, str] | None = None,
    ) -> RuleSet:
        """Check rule texts by file name; `narrowing` are departments' own files, which hold no permit.

        Raises RulesInvalid, naming file, line, rule and reason, and ValueError for a revision under 1.
        """
        if revision < 1:
            raise ValueError("a revision is a number from 1 upwards")
        own = narrowing or {}
        if both := texts.keys() & own.keys():
            raise RulesInvalid(min(both), 1, None, "a department's file must not bear the name of a packaged one")
        loader = Loader(schema_text)
        loader.add(texts, narrowing=False)
        loader.add(own, narrowing=True)
        return cls(loader, revision, _digest(texts, schema_text, own))

    def decide(self, facts: Facts) -> Decision:
        """Permit or deny one question. Never raises for a fact that fits no rule: that is a denial."""
        key, at_s = request.untimed(facts), request.second(facts)
        kept = self._asked.get(key)
        if kept is not None and kept.at_s == at_s:
            return kept.decision
        try:
            # INVARIANT: an opening is that of equal facts, so only the time can differ.
            opening = kept.opening if kept else request.opening(facts)
            decision = self._decide(facts, request.request(facts, opening, at_s))
        except ValueError:
            # Facts outside the schema: an unknown sharing type, an address that is none.
            return self._decision((EVALUATION_ERROR,), permitted=False, errors=True)
        self._asked.keep(key, _Asked(opening, at_s, decision))
        return decision

    def _decide(self, facts: Facts, asked: dict[str, Any]) -> Decision:
        result = cedarpy.is_authorized(asked, self._policies, self._prepared(facts))
        errors = bool(result.diagnostics.errors)
        permitted = result.allowed and not errors
        holding = result.diagnostics.reasons
        effect = "permit" if permitted else "forbid"
        rules = tuple(_grounded(rule, facts) for rule in self.rules if rule.id in holding and rule.effect == effect)
        if errors:
            rules = (*rules, EVALUATION_ERROR)
        return self._decision(rules or (DEFAULT_DENY,), permitted=permitted, errors=errors)

    def _decision(self, rules: tuple[Rule, ...], *, permitted: bool, errors: bool) -> Decision:
        return Decision(permitted, rules, self.revision, self.digest, errors)

    def _prepared(self, facts: Facts) -> cedarpy.Entities:
        key = request.parties(facts)
        prepared = self._entities.get(key)
        if prepared is None:
            prepared = cedarpy.Entities.from_json_str(request.entities(facts), self._schema)
            self._entities.keep(key, prepared)
        return prepared


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question prepared for Cedar, and the decision on it at one second."""

    opening: str
    at_s: int
    decision: Decision


class _Kept(Generic[V]):
    """At most `limit` values, the longest unused given up first. Shared by threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def keep(self, key: Hashable, value: V) -> None:
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._limit:
                self._values.popitem(last=False)


def _grounded(rule: Rule, facts: Facts) -> Rule:
    if rule.quotes_ground and facts.withheld_basis:
        return replace(rule, basis=(*rule.basis, facts.withheld_basis))
    return rule


def _digest(texts: Mapping[str, str], schema_text: str, narrowing: Mapping[str, str]) -> str:
    # RFC 8785 for what stands here: objects with sorted keys, and strings.
    content = {"narrowing": dict(narrowing), "rules": dict(texts), "schema": schema_text}
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
