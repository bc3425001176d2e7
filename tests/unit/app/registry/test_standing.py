"""Where agreements stand in the database: one active for a department, service and purpose, whoever tries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.log import tables
from app.log.storage import Store
from app.registry import standing
from app.registry.agreement_document import ANYONE, Draft

DRAFT = Draft(
    id="agreement-a",
    document=b"{}",
    digest="sha256-a",
    kind="agreement",
    service="employment-status",
    provider="hz-tax",
    consumer="hz-hrss",
    parties=("hz-hrss",),
    signers=("hz-tax", "hz-hrss"),
    purposes=frozenset({"benefit", "review"}),
    valid_from=datetime(2026, 1, 1, tzinfo=UTC),
    valid_until=datetime(2027, 1, 1, tzinfo=UTC),
    supersedes=None,
)
OTHER = replace(DRAFT, id="agreement-b", purposes=frozenset({"review", "audit"}))


@pytest.fixture
def store(either_store: Store) -> Store:
    return either_store


def places(store: Store) -> set[tuple[str, ...]]:
    with store.reading() as connection:
        return {tuple(row) for row in connection.execute(select(tables.agreement_active))}


def active(store: Store, draft: Draft) -> None:
    with store.writing() as connection:
        standing.claim(connection, draft)
        standing.add(connection, draft, standing.ACTIVE, 1)


def test_new_agreement_is_found_as_it_was_added(store: Store) -> None:
    with store.writing() as connection:
        signatures = {"hz-tax": "a..b"}
        standing.add(connection, DRAFT, "approved", 7, signatures=signatures, due="2026-12-01", application="app-1")
        row = standing.find(connection, DRAFT.id)
        assert standing.find(connection, "agreement-c") is None
    assert row is not None
    found: dict[str, Any] = dict(row._mapping)
    assert orjson.loads(found.pop("signatures")) == signatures
    assert found == {
        "id": "agreement-a",
        "digest": "sha256-a",
        "state": "approved",
        "epoch": 7,
        "kind": "agreement",
        "service": "employment-status",
        "provider": "hz-tax",
        "consumer": "hz-hrss",
        "valid_until": int(DRAFT.valid_until.timestamp()),
        "due": "2026-12-01",
        "application": "app-1",
    }


def test_active_agreement_takes_a_place_for_each_party_and_purpose(store: Store) -> None:
    active(store, replace(DRAFT, parties=("hz-civil", "hz-hrss")))
    assert places(store) == {
        (party, "employment-status", purpose, "agreement-a")
        for party in ("hz-civil", "hz-hrss")
        for purpose in ("benefit", "review")
    }


def test_second_agreement_for_a_taken_purpose_is_named_and_cannot_claim(store: Store) -> None:
    active(store, DRAFT)
    with store.reading() as connection:
        assert standing.taken(connection, OTHER) == ["agreement-a"]
        assert standing.taken(connection, DRAFT) == [], "its own places are in nobody's way"
    # Inside the block, since the store would turn the error into its own.
    with store.engine.connect() as connection, pytest.raises(IntegrityError):
        standing.claim(connection, OTHER)
    assert {row[-1] for row in places(store)} == {"agreement-a"}


@pytest.mark.parametrize(
    "members",
    [
        {"parties": ("hz-civil",)},
        {"parties": (ANYONE,)},
        {"service": "wage-base"},
        {"purposes": frozenset({"audit"})},
    ],
)
def test_other_department_service_or_purpose_is_another_place(store: Store, members: dict[str, Any]) -> None:
    active(store, DRAFT)
    other = replace(OTHER, **{"purposes": DRAFT.purposes, **members})
    with store.reading() as connection:
        assert standing.taken(connection, other) == []
    active(store, other)
    assert {row[-1] for row in places(store)} == {"agreement-a", "agreement-b"}


@pytest.mark.parametrize("state", ["suspended", "revoked", "expired", "superseded"])
def test_agreement_that_is_active_no_more_gives_its_places_back(store: Store, state: str) -> None:
    active(store, DRAFT)
    active(store, replace(OTHER, purposes=frozenset({"audit"})))
    with store.writing() as connection:
        standing.move(connection, DRAFT.id, state, 2)
        row = standing.find(connection, DRAFT.id)
    assert row is not None
    assert (row.state, row.epoch) == (state, 2)
    assert {row[-1] for row in places(store)} == {"agreement-b"}


def test_agreement_that_stays_active_keeps_its_places(store: Store) -> None:
    active(store, DRAFT)
    before = places(store)
    with store.writing() as connection:
        standing.move(connection, DRAFT.id, standing.ACTIVE, 2, due="2026-12-01")
        row = standing.find(connection, DRAFT.id)
    assert row is not None
    assert (row.due, row.epoch) == ("2026-12-01", 2)
    assert places(store) == before


def test_several_that_stand_in_the_way_are_told_in_order(store: Store) -> None:
    active(store, replace(DRAFT, id="agreement-z", purposes=frozenset({"benefit"})))
    active(store, replace(DRAFT, id="agreement-b", purposes=frozenset({"review", "audit"})))
    with store.reading() as connection:
        assert standing.taken(connection, DRAFT) == ["agreement-b", "agreement-z"]
