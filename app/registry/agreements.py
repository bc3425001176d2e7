"""All agreements 共享协议 and standing terms that the node holds; finds the one that a question comes under.

What is held comes from the node database: documents, where each stands, and its signatures. An index is kept of all
of them; each is read and its signatures verified when it is first used, so that ten thousand cost a start little.
An agreement that cannot be read, or whose bytes are not those of its digest, applies to nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from app.registry.agreement_document import (
    ANYONE,
    Agreement,
    Bounds,
    Budget,
    agreement_of,
    digest_of,
    signers,
    unsigned_by,
)
from app.registry.catalogue import Catalogue
from app.registry.departments import Client, Departments
from app.registry.files import Members, NodeFileInvalid

__all__ = ["Agreement", "Agreements", "Bounds", "Budget", "Held"]

logger = logging.getLogger(__name__)

ACTIVE = "active"
_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Held:
    """An agreement as the database holds it: canonical bytes, digest, state, and a detached JWS by department."""

    id: str
    document: bytes
    digest: str
    state: str
    signatures: Mapping[str, str]


class Agreements:
    """An unchanging set of agreements; a change of one gives a new set. Shared by threads.

    `purposes` are those of all agreements, in any state. `budgets` are the tightest bounds that a department agreed
    to on a source attribute, over all its active agreements.
    """

    def __init__(self, catalogue: Catalogue, departments: Departments) -> None:
        self.purposes: frozenset[str] = frozenset()
        self.budgets: dict[tuple[str, str], Bounds] = {}
        self._catalogue = catalogue
        self._departments = departments
        self._entries: dict[str, _Entry] = {}
        self._of_party: dict[tuple[str, str], tuple[_Entry, ...]] = {}
        self._active: dict[tuple[str, str], Mapping[str, _Entry]] = {}
        self._bounding: dict[tuple[str, str], tuple[_Entry, ...]] = {}

    @classmethod
    def of(cls, held: Iterable[Held], catalogue: Catalogue, departments: Departments) -> Agreements:
        """The set of these agreements. Where several are active for one purpose, the first by id applies."""
        made = cls(catalogue, departments)
        made._put(held)
        return made

    def with_changes(self, held: Iterable[Held]) -> Agreements:
        """A set in which these agreements stand as given, and all others as here."""
        made = Agreements(self._catalogue, self._departments)
        made.purposes = self.purposes
        made.budgets = dict(self.budgets)
        made._entries = dict(self._entries)
        made._of_party = dict(self._of_party)
        made._active = dict(self._active)
        made._bounding = dict(self._bounding)
        made._put(held)
        return made

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, identifier: str) -> Agreement | None:
        """The agreement of that id; None if there is none, or it cannot be read."""
        entry = self._entries.get(identifier)
        return self._read(entry) if entry is not None else None

    def of_service(self, service: str) -> list[Agreement]:
        """Every agreement about a service, in the order of ids."""
        found = map(self._read, self._by_service.get(service, ()))
        return [agreement for agreement in found if agreement is not None]

    def purpose_for(self, service: str, attributes: Iterable[str]) -> str | None:
        """A purpose for which some active agreement lets these attributes be asked, found without reading any."""
        asked = frozenset(attributes)
        return next(
            (
                min(entry.purposes)
                for entry in self._by_service.get(service, ())
                if entry.held.state == ACTIVE and asked <= frozenset(entry.attributes)
            ),
            None,
        )

    @cached_property
    def _by_service(self) -> dict[str, list[_Entry]]:
        found: dict[str, list[_Entry]] = {}
        for _, entry in sorted(self._entries.items()):
            found.setdefault(entry.service, []).append(entry)
        return found

    def applying(self, client: Client, service: str, purpose: str) -> Agreement | None:
        """The agreement or standing terms that a question comes under.

        An active one for the purpose goes first, then one for the purpose in another state, then the nearest of
        the same parties, so that a denial can name what is missing. None where no terms name the department.
        """
        parties = (client.department, ANYONE)
        found = [entry for party in parties if (entry := self._active.get((party, service), _NONE).get(purpose))]
        if not found:
            found = [entry for party in parties for entry in self._of_party.get((party, service), ())]

        def distance(entry: _Entry) -> tuple[bool, bool, bool]:
            stranger = bool(entry.clients) and client.name not in entry.clients
            return purpose not in entry.purposes, entry.held.state != ACTIVE, stranger

        found.sort(key=distance)
        return next((agreement for entry in found if (agreement := self._read(entry))), None)

    def _put(self, held: Iterable[Held]) -> None:
        lost: set[_Entry] = set()
        gained: list[_Entry] = []
        for item in {item.id: item for item in held}.values():
            if (old := self._entries.pop(item.id, None)) is not None:
                lost.add(old)
            if (new := _entry(item)) is not None:
                self._entries[item.id] = new
                gained.append(new)
        for pair in _replaced(self._of_party, lost, gained, _Entry.pairs):
            active = [entry for entry in self._of_party[pair] if entry.held.state == ACTIVE]
            self._active[pair] = {purpose: entry for entry in reversed(active) for purpose in entry.purposes}
        bounded = _replaced(self._bounding, lost, gained, self._bounds)
        for key in bounded:
            bounds = Bounds()
            for entry in self._bounding[key]:
                bounds = bounds.also(entry.budget)
            self.budgets.pop(key, None)
            if bounds != Bounds():
                self.budgets[key] = bounds
        self.purposes |= frozenset(purpose for entry in gained for purpose in entry.purposes)

    def _bounds(self, entry: _Entry) -> Iterable[tuple[str, str]]:
        """The accounts that an active agreement's budget bounds, under whichever agreement is asked."""
        service = self._catalogue.find(entry.service)
        # A later catalogue may not have the service any more.
        if service is None or entry.budget is None or entry.held.state != ACTIVE:
            return ()
        columns = {column for name in entry.attributes for column in service.source_attributes.get(name, ())}
        columns |= {service.existence, *(name for name, _ in service.confirmed_by)}
        return [(party, column) for party in entry.parties if party != ANYONE for column in columns]

    def _read(self, entry: _Entry) -> Agreement | None:
        if not entry.is_read:
            # Threads may do this twice, to the same end.
            entry.agreement = self._agreement(entry)
            entry.is_read = True
        return entry.agreement

    def _agreement(self, entry: _Entry) -> Agreement | None:
        held = entry.held
        if digest_of(held.document) != held.digest:
            logger.error("agreement %s does not apply: its bytes are not those of its digest", held.id)
            return None
        missing = unsigned_by(self._departments, entry.signers, held.document, held.signatures)
        if missing:
            logger.error("agreement %s permits nothing: no valid signature of %s", held.id, ", ".join(missing))
        members = Members(f"agreement {held.id}", orjson.loads(held.document))
        lineage = self._lineage(entry)
        try:
            return agreement_of(members, digest=held.digest, state=held.state, signed=not missing, lineage=lineage)
        except NodeFileInvalid as error:
            logger.error("agreement does not apply: %s", error)  # noqa: TRY400 - the text is the reason
            return None

    def _lineage(self, entry: _Entry) -> str:
        """The first of the `supersedes` chain; a chain that came in circles ends where it began."""
        seen = {entry.held.id: None}
        before = entry.supersedes
        while before and before not in seen:
            seen[before] = None
            found = self._entries.get(before)
            before = found.supersedes if found is not None else None
        return min(seen) if before else next(reversed(seen))


class _Entry:
    """One agreement in the index: what finding it needs, and the agreement itself once it was read."""

    __slots__ = (
        "agreement",
        "attributes",
        "budget",
        "clients",
        "held",
        "is_read",
        "parties",
        "purposes",
        "service",
        "signers",
        "supersedes",
    )

    def __init__(self, held: Held, document: Mapping[str, Any]) -> None:
        consumer: str | None = document.get("consumer")
        budget = document.get("budget")
        self.held = held
        self.service: str = document["service"]
        named: list[str] = [consumer] if consumer else document.get("departments") or [ANYONE]
        self.parties = tuple(dict.fromkeys(named))
        self.signers = signers(document["provider"], consumer)
        self.purposes = frozenset(document["purposes"])
        self.clients = frozenset(document.get("clients", ()))
        self.attributes: tuple[str, ...] = tuple(document.get("attributes", ()))
        self.budget = Budget(budget["bits"], "renews" in budget) if budget else None
        self.supersedes: str | None = document.get("supersedes")
        self.agreement: Agreement | None = None
        self.is_read = False

    def pairs(self) -> list[tuple[str, str]]:
        return [(party, self.service) for party in self.parties]


def _entry(held: Held) -> _Entry | None:
    try:
        return _Entry(held, orjson.loads(held.document))
    except (ValueError, KeyError, TypeError, AttributeError):
        logger.error("agreement %s does not apply: its document cannot be read", held.id)  # noqa: TRY400
        return None


def _replaced(
    index: dict[tuple[str, str], tuple[_Entry, ...]],
    lost: set[_Entry],
    gained: Iterable[_Entry],
    keys: Any,
) -> set[tuple[str, str]]:
    """Take lost entries out of an index of tuples and put gained ones in, ordered by id; the keys it touched."""
    changes: dict[tuple[str, str], list[_Entry]] = {key: [] for entry in lost for key in keys(entry)}
    for entry in gained:
        for key in keys(entry):
            changes.setdefault(key, []).append(entry)
    for key, new in changes.items():
        kept = [entry for entry in index.get(key, ()) if entry not in lost]
        index[key] = tuple(sorted([*kept, *new], key=lambda entry: entry.held.id))
    return set(changes)
