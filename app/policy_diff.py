"""What a proposed node directory would change: recorded questions decided under it and under the one in force.

The question is who would lose or gain what if it were published now. So both sides take the agreements as they stand
now, whatever stood when a question was recorded, with what each directory says of client, department and service;
agreements that only the proposed one has apply where they would. All other facts are the recorded ones. The directory
need not be signed: this comes before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from app.recorded import Documents, Flawed, Recorded, Verdict
from app.registry.agreements import Agreement, Agreements
from app.registry.current import Registry
from app.registry.departments import Client
from app.registry.gathering import gathered_anew
from app.registry.node_directory import NodeDirectory
from policies.facts import Facts

Kind: TypeAlias = "Literal['loses', 'gains', 'other rules']"
Applying: TypeAlias = "Callable[[Client, str, str], Agreement | None]"
"""Finds the agreement that a client's question to a service for a purpose comes under."""

NOT_REGISTERED = Verdict(permitted=False, rules=("not-registered",))
WEEK = timedelta(weeks=1)


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """How questions of one consumer to a service for a purpose are decided now, and would be then: by which rules.

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


@dataclass(frozen=True, slots=True)
class _Side:
    """A directory with the clients that ask under it."""

    directory: NodeDirectory
    clients: Mapping[str, Client]


class Proposal:
    """A proposed directory beside the registry in force."""

    def __init__(self, registry: Registry, proposed: NodeDirectory) -> None:
        """Check the proposed agreements. Raises `NodeFileInvalid`."""
        self._registry = registry
        self._now = _Side(registry.directory, registry.departments.clients)
        self._then = _Side(proposed, proposed.departments.with_registered(registry.registered).clients)
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
        now = _decided(self._now, recorded, facts, self._applying_now)
        then = _decided(self._then, recorded, facts, self._applying_then)
        if now == then:
            return None
        kind: Kind = "other rules" if now.permitted == then.permitted else "gains" if then.permitted else "loses"
        return Change(facts.department, facts.service, facts.purpose, kind, now.rules, then.rules)

    def _applying_now(self, client: Client, service: str, purpose: str) -> Agreement | None:
        return self._registry.agreements.applying(client, service, purpose)

    def _applying_then(self, client: Client, service: str, purpose: str) -> Agreement | None:
        """That of the proposed directory alone, if it names the purpose; else as now, but for those superseded."""
        brought = self._brought.applying(client, service, purpose)
        if brought is not None and purpose in brought.terms.purposes:
            # Unsigned, the directory would not be put in force.
            return replace(brought, terms=replace(brought.terms, signed=True))
        found = self._applying_now(client, service, purpose)
        if found is not None and found.terms.state == "active" and found.terms.id in self._superseded:
            return replace(found, terms=replace(found.terms, state="superseded"))
        return found


def _decided(side: _Side, recorded: Recorded, facts: Facts, applying: Applying) -> Verdict:
    client = side.clients.get(facts.client)
    anew = gathered_anew(facts, side.directory, side.clients)
    if client is None or anew is None:
        return NOT_REGISTERED
    decision = side.directory.rules.decide(_under(applying(client, facts.service, facts.purpose), anew, recorded))
    return Verdict(decision.permitted, tuple(rule.id for rule in decision.rules))


def _under(agreement: Agreement | None, facts: Facts, recorded: Recorded) -> Facts:
    """The same question under an agreement or none; an erased case or operator counts as it did when recorded."""
    if agreement is None:
        return replace(facts, terms=None, case_agreed=True, operator_agreed=True)
    case, operator = recorded.case, recorded.operator
    return replace(
        facts,
        terms=agreement.terms,
        attributes=facts.attributes | agreement.masked,
        case_agreed=facts.case_agreed if case is None else agreement.case_agreed(case),
        operator_agreed=facts.operator_agreed if operator is None else agreement.operator_agreed(operator),
        at=_within(agreement, facts),
    )


def _within(agreement: Agreement, facts: Facts) -> datetime:
    """The same hour of the week, from the first week on in which the agreement is valid."""
    early = agreement.terms.valid_from - facts.at
    return facts.at + WEEK * -(-early // WEEK) if early > timedelta() else facts.at
