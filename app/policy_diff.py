"""What a proposed node directory would change: recorded questions decided under it and under the one in force.

Both sides take the recorded facts, with what each directory says of client, department and service; agreements that
the proposed one brings apply where they would. The directory need not be signed: this comes before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from app.recorded import Documents, Flawed, Recorded, Verdict
from app.registry.agreements import Agreement, Agreements
from app.registry.current import Registry
from app.registry.gathering import gathered_anew
from app.registry.node_directory import NodeDirectory
from policies.facts import Facts

Kind: TypeAlias = "Literal['loses', 'gains', 'other rules']"

NOT_REGISTERED = Verdict(permitted=False, rules=("not-registered",))
WEEK = timedelta(weeks=1)


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """How questions of one consumer to a service for a purpose would be decided, and by which rules, then and now.

    `purpose` is empty where the recorded one was of no agreement. `not-registered` stands for rules where the client
    or the service is gone.
    """

    consumer: str
    service: str
    purpose: str
    kind: Kind
    now: tuple[str, ...]
    then: tuple[str, ...]


@dataclass(slots=True)
class Difference:
    """Changes with the number of questions each concerns; how many were asked again, and how many could not be."""

    changes: Counter[Change]
    asked: int = 0
    flawed: int = 0


class Proposal:
    """A proposed directory beside the registry in force."""

    def __init__(self, registry: Registry, proposed: NodeDirectory) -> None:
        """Check the proposed agreements. Raises `NodeFileInvalid`."""
        self._registry = registry
        self._proposed = proposed
        new = [item for item in proposed.filed() if registry.agreements.find(item.draft.id) is None]
        brought = [item.held("active") for item in new]
        self._superseded = {item.draft.supersedes for item in new}
        self._brought = Agreements.of(brought, proposed.catalogue, proposed.departments)

    def difference(self, questions: Iterable[Recorded], documents: Documents) -> Difference:
        """Ask every question again on both sides."""
        found = Difference(Counter())
        for recorded in questions:
            try:
                facts = documents.facts(recorded)
            except Flawed:
                found.flawed += 1
            else:
                found.asked += 1
                if (change := self._change(facts, recorded)) is not None:
                    found.changes[change] += 1
        return found

    def _change(self, facts: Facts, recorded: Recorded) -> Change | None:
        now = _decided(self._registry.directory, facts)
        then = _decided(self._proposed, self._under_brought(facts, recorded))
        if now == then:
            return None
        kind: Kind = "other rules" if now.permitted == then.permitted else "gains" if then.permitted else "loses"
        return Change(facts.department, facts.service, facts.purpose, kind, now.rules, then.rules)

    def _under_brought(self, facts: Facts, recorded: Recorded) -> Facts:
        """The question under an agreement that only the proposed directory has, if it would come under it."""
        client = self._proposed.departments.clients.get(facts.client)
        found = self._brought.applying(client, facts.service, facts.purpose) if client and facts.purpose else None
        if found is None or facts.purpose not in found.terms.purposes:
            terms = facts.terms
            gone = terms is not None and terms.state == "active" and terms.id in self._superseded
            return replace(facts, terms=replace(terms, state="superseded")) if terms and gone else facts
        case, operator = recorded.case, recorded.operator
        return replace(
            facts,
            terms=replace(found.terms, signed=True),  # or the directory would not be put in force
            attributes=facts.attributes | found.masked,
            case_agreed=facts.case_agreed if case is None else found.case_agreed(case),
            operator_agreed=facts.operator_agreed if operator is None else found.operator_agreed(operator),
            at=_within(found, facts),
        )


def _within(agreement: Agreement, facts: Facts) -> datetime:
    """The same hour of the week, from the first week on in which the agreement is valid."""
    early = agreement.terms.valid_from - facts.at
    return facts.at + WEEK * -(-early // WEEK) if early > timedelta() else facts.at


def _decided(directory: NodeDirectory, facts: Facts) -> Verdict:
    anew = gathered_anew(facts, directory)
    if anew is None:
        return NOT_REGISTERED
    decision = directory.rules.decide(anew)
    return Verdict(decision.permitted, tuple(rule.id for rule in decision.rules))
