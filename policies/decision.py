"""Permit or deny: Cedar decides over facts, and a denial names every rule that was broken, with its articles.

Default deny, forbid wins, an evaluation error denies. A decision is kept and given again for the same facts up
to the next moment at which a rule could see a change (`period`), so it outlives no expiry and no edge of the
agreed hours; a state is a fact, so it outlives no revocation either.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

import cedarpy

from policies import request
from policies.kept import Kept
from policies.loading import DEFAULT_DENY, EVALUATION_ERROR, Loader, Rule, RulesInvalid
from policies.period import period

if TYPE_CHECKING:
    from collections.abc import Mapping

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

# At most twice as many are held. A kept decision takes about 0.5 KB, and 10,000 agreements in use fit; the entities
# of one client, service and terms take about 15 KB, and are wanted again only for other facts or when a period ends.
KEPT_DECISIONS = 16_384
KEPT_ENTITIES = 512
KEPT_VERDICTS = 1_024


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

    `digest` is the SHA-256 (hex) of `archive()`, so it changes with any byte of the rules and the schema. `forms`
    has every rule by id in Cedar's JSON form, as it is evaluated.
    """

    def __init__(self, loader: Loader, revision: int, content: bytes) -> None:
        self.rules = tuple(loader.rules)
        self.forms: Mapping[str, Mapping[str, Any]] = MappingProxyType(loader.forms)
        self.revision = revision
        self.digest = hashlib.sha256(content).hexdigest()
        self._content = content
        self._policies = loader.policies()
        self._fineness_s = loader.fineness_s()
        # A decision, after the seconds [from, until) in which it is that of its facts.
        self._decided: Kept[tuple[int, int, Decision]] = Kept(KEPT_DECISIONS)
        self._verdicts: Kept[Decision] = Kept(KEPT_VERDICTS)
        self._entities: Kept[cedarpy.Entities] = Kept(KEPT_ENTITIES)

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

        A narrowing file `<provider>/<name>` holds for that provider's services alone, any other for all.
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
        return cls(loader, revision, _canonical(texts, schema_text, own))

    @classmethod
    def from_archive(cls, content: bytes, revision: int) -> RuleSet:
        """Load what `archive` gave. Raises RulesInvalid for other bytes, and ValueError for a revision under 1."""
        try:
            match json.loads(content):
                case {"narrowing": dict(own), "rules": dict(texts), "schema": str(schema)}:
                    held = (*own.values(), *texts.values())
                    if all(isinstance(text, str) for text in held) and _canonical(texts, schema, own) == content:
                        return cls.from_texts(texts, schema, revision, narrowing=own)
        except (UnicodeError, json.JSONDecodeError, RecursionError):
            pass
        raise RulesInvalid("archive", 1, None, "this is no archived rule set, or not in the form it was archived in")

    def archive(self) -> bytes:
        """Give all texts as canonical JSON (RFC 8785), from which `from_archive` makes an equal set."""
        return self._content

    def decide(self, facts: Facts) -> Decision:
        """Permit or deny one question. Never raises for a fact that fits no rule: that is a denial."""
        key, at_s = request.untimed(facts), request.second(facts)
        kept = self._decided.get(key)
        if kept is not None and kept[0] <= at_s < kept[1]:
            return kept[2]
        try:
            decision = self._decide(facts, at_s)
        except ValueError:
            # Facts outside the schema: an unknown sharing type, an address that is none.
            return self._decision((EVALUATION_ERROR,), permitted=False, errors=True)
        self._decided.keep(
            key, (*period(facts.terms, at_s, self._fineness_s.get(facts.provider, self._fineness_s[None])), decision)
        )
        return decision

    def _decide(self, facts: Facts, at_s: int) -> Decision:
        result = cedarpy.is_authorized(request.request(facts, at_s), self._policies, self._prepared(facts))
        diagnostics = result.diagnostics
        errors, holding = bool(diagnostics.errors), frozenset(diagnostics.reasons)
        # INVARIANT: the determining rules are all permits or all forbids, so with the errors they are the decision.
        key = (holding, errors, facts.withheld_basis)
        decision = self._verdicts.get(key)
        if decision is None:
            permitted = result.allowed and not errors
            effect = "permit" if permitted else "forbid"
            rules = tuple(
                _grounded(rule, facts) for rule in self.rules if rule.id in holding and rule.effect == effect
            )
            if errors:
                rules = (*rules, EVALUATION_ERROR)
            decision = self._decision(rules or (DEFAULT_DENY,), permitted=permitted, errors=errors)
            self._verdicts.keep(key, decision)
        return decision

    def _decision(self, rules: tuple[Rule, ...], *, permitted: bool, errors: bool) -> Decision:
        return Decision(permitted, rules, self.revision, self.digest, errors)

    def _prepared(self, facts: Facts) -> cedarpy.Entities:
        key = request.parties(facts)
        prepared = self._entities.get(key)
        if prepared is None:
            prepared = cedarpy.Entities.from_json_str(request.entities(facts))
            self._entities.keep(key, prepared)
        return prepared


def _grounded(rule: Rule, facts: Facts) -> Rule:
    if rule.quotes_ground and facts.withheld_basis:
        return replace(rule, basis=(*rule.basis, facts.withheld_basis))
    return rule


def _canonical(texts: Mapping[str, str], schema_text: str, narrowing: Mapping[str, str]) -> bytes:
    # RFC 8785 for what stands here: objects with sorted keys, and strings.
    content = {"narrowing": dict(narrowing), "rules": dict(texts), "schema": schema_text}
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
