"""The registry in force follows the database: what changed is loaded, the rest is kept, altered bytes are refused."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from sqlalchemy import delete, select, text, update

from adapters.base import Adapter
from app.log import tables
from app.log.storage import StoreUnavailable, archive
from app.registry import current as module
from app.registry.catalogue import Service
from app.registry.current import LOOK_EVERY_S, Current, NotInForce, archived_directory, in_force
from app.server import put_in_force
from app.settings import Settings
from tests.nodes.agreements import moved
from tests.nodes.running import OwnNode, RunningNode, edited, environment
from tests.nodes.sources import CountingSource

TERMS = "hz-hrss-employment-status-unemployment-benefit"


@dataclass(slots=True)
class Closing(CountingSource):
    """A source that remembers that it was given back."""

    closed: int = 0

    def close(self) -> None:
        """Given back."""
        self.closed += 1


@dataclass(slots=True)
class Binder:
    """Binds the one service to a new source each time."""

    made: list[Closing] = field(default_factory=list)

    def __call__(self, services: Mapping[str, Service]) -> Mapping[str, Adapter]:
        """Bind."""
        assert "employment-status" in services
        self.made.append(Closing())
        return {"employment-status": self.made[-1]}


@pytest.fixture
def own(own_node: OwnNode) -> RunningNode:
    return own_node()


@pytest.fixture
def binder() -> Binder:
    return Binder()


@pytest.fixture
def current(own: RunningNode, binder: Binder) -> Iterator[Current]:
    made = Current(own.node.store, binder)
    yield made
    made.close()


def state(current: Current) -> str:
    agreement = current.registry.agreements.find(TERMS)
    assert agreement is not None
    return agreement.terms.state


def revised(own: RunningNode) -> None:
    """Put another revision in force, as another process would."""
    folder = edited(own.ground, own.folder, {"node.yaml": raised})
    env = environment(own.ground, own.folder, NODE_DIR=str(folder))
    assert put_in_force(Settings.from_env(env), own.node.store, env)


def raised(content: str) -> str:
    number = int(content.partition("policy_revision: ")[2].split()[0])
    return content.replace(f"policy_revision: {number}", f"policy_revision: {number + 1}")


def test_registry_is_what_the_database_says_is_in_force(own: RunningNode, current: Current) -> None:
    with own.node.store.reading() as connection:
        assert in_force(connection) == (current.registry.epoch, current.registry.revision, current.registry.digest)
    assert current.registry.rules.revision == current.registry.revision
    assert current.registry.readers.keys() == current.registry.catalogue.services.keys()
    assert "hz-hrss" in current.registry.departments.all
    assert state(current) == "active"


def test_nothing_changed_keeps_the_registry_as_it_is(current: Current) -> None:
    before = current.registry
    assert not current.has_moved()
    assert current.refresh() is before


def test_agreement_that_changed_is_loaded_and_nothing_else_is(
    own: RunningNode, current: Current, binder: Binder
) -> None:
    before = current.registry
    moved(own, TERMS, "suspended")
    assert current.has_moved()
    after = current.refresh()
    assert (state(current), after.epoch) == ("suspended", before.epoch + 1)
    assert after.directory is before.directory
    assert after.adapters is before.adapters
    assert len(binder.made) == 1
    assert not current.has_moved()
    held = before.agreements.find(TERMS)
    assert held is not None
    assert held.terms.state == "active", "whoever decides with the old registry still sees the old state"


@pytest.mark.parametrize("to", ["suspended", "revoked", "expired", "superseded", "approved"])
def test_agreement_in_no_matter_which_other_state_is_active_no_more(
    own: RunningNode, current: Current, to: str
) -> None:
    moved(own, TERMS, to)
    current.refresh()
    assert state(current) == to


def test_agreement_that_was_only_approved_is_not_held(own: RunningNode, binder: Binder) -> None:
    """Neither when the registry is loaded, nor when something else changes after."""
    moved(own, TERMS, "approved")
    fresh = Current(own.node.store, binder)
    assert fresh.registry.agreements.find(TERMS) is None
    moved(own, TERMS, "approved")
    fresh.refresh()
    assert fresh.registry.agreements.find(TERMS) is None
    fresh.close()


def test_new_revision_is_loaded_as_a_whole_and_the_old_sources_linger(
    own: RunningNode, current: Current, binder: Binder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER_S", 0.2)
    before = current.registry
    revised(own)
    after = current.refresh()
    assert (after.revision, after.digest != before.digest) == (before.revision + 1, True)
    assert after.rules.revision == after.revision
    assert state(current) == "active"
    old, new = binder.made
    assert old.closed == 0, "questions under way may still need it"
    deadline = time.monotonic() + 5
    while not old.closed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (old.closed, new.closed) == (1, 0)


def test_sources_are_given_back_at_the_end(own: RunningNode, binder: Binder) -> None:
    Current(own.node.store, binder).close()
    assert [source.closed for source in binder.made] == [1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, in the test's hand."""
    told = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: told[0])
    return told


def test_registry_is_looked_after_once_a_second(own: RunningNode, clock: list[float], binder: Binder) -> None:
    current = Current(own.node.store, binder)
    moved(own, TERMS, "suspended")
    clock[0] += LOOK_EVERY_S
    assert current.look() is current.registry
    assert state(current) == "active"
    clock[0] += 0.001
    current.look()
    assert state(current) == "suspended"
    moved(own, TERMS, "revoked")
    current.look()
    assert state(current) == "suspended", "it was looked after just now"
    current.close()


def test_looking_while_somebody_else_does_waits_for_nobody(
    own: RunningNode, clock: list[float], binder: Binder
) -> None:
    current = Current(own.node.store, binder)
    moved(own, TERMS, "suspended")
    clock[0] += 2
    with current._loading:
        current.look()
    assert state(current) == "active"
    current.look()
    assert state(current) == "suspended"
    current.close()


def test_database_that_cannot_be_read_leaves_the_registry_and_says_so_where_it_matters(
    own: RunningNode, clock: list[float], binder: Binder
) -> None:
    current = Current(own.node.store, binder)
    with own.node.store.writing() as connection:
        connection.execute(text("ALTER TABLE log_head RENAME TO gone"))
    before = current.registry
    clock[0] += 2
    assert current.look() is before
    for attempt in (current.has_moved, current.refresh):
        with pytest.raises(StoreUnavailable):
            attempt()
    assert current.registry is before
    current.close()


def test_database_without_a_directory_in_force_says_what_to_do(own: RunningNode, binder: Binder) -> None:
    with own.node.store.writing() as connection:
        connection.execute(delete(tables.registry))
    with pytest.raises(NotInForce, match="python -m app prepare"):
        Current(own.node.store, binder)


def test_altered_directory_in_the_archive_is_not_loaded(own: RunningNode, binder: Binder, current: Current) -> None:
    """A rule changed in the database is a rule that nobody signed."""
    table = tables.archive
    with own.node.store.writing() as connection:
        mine = table.c.digest == current.registry.digest
        content = bytes(connection.execute(select(table.c.content).where(mine)).scalar_one())
        assert b"hz-hrss" in content
        connection.execute(update(table).where(mine).values(content=content.replace(b"hz-hrss", b"hz-hrsx", 1)))
    with pytest.raises(NotInForce, match="archive does not hold"):
        Current(own.node.store, binder)


def test_directory_that_this_version_reads_otherwise_is_not_loaded(own: RunningNode) -> None:
    with own.node.store.writing() as connection:
        digest = archive(connection, "directory", b'{"node.yaml":"unknown: member\\n"}')
        with pytest.raises(NotInForce, match="that this version reads"):
            archived_directory(connection, digest)


def test_row_that_names_another_directory_than_the_log_is_not_believed(own: RunningNode, binder: Binder) -> None:
    with own.node.store.writing() as connection:
        digest = archive(connection, "directory", b'{"node.yaml":"unknown: member\\n"}')
        connection.execute(update(tables.registry).values(directory=digest))
    with pytest.raises(NotInForce, match="the database and the log name different revisions"):
        Current(own.node.store, binder)


def test_altered_agreement_in_the_archive_permits_nothing(own: RunningNode, binder: Binder) -> None:
    with own.node.store.writing() as connection:
        digest = connection.execute(
            select(tables.agreement.c.digest).where(tables.agreement.c.id == TERMS)
        ).scalar_one()
        mine = tables.archive.c.digest == digest
        content = bytes(connection.execute(select(tables.archive.c.content).where(mine)).scalar_one())
        wider = content.replace(b'"bits":240', b'"bits":999')
        assert wider != content
        connection.execute(update(tables.archive).where(mine).values(content=wider))
    current = Current(own.node.store, binder)
    assert current.registry.agreements.find(TERMS) is None
    current.close()
