"""The registry in force: departments, catalogue, rules, agreements, sources, as one object that never changes.

Every process holds one and works with it until it learns that the epoch has moved: then it loads what changed. The
node directory comes from the database's archive by its digest, never from disk, so that all processes and instances
run with the one that the log says is in force.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import orjson
from sqlalchemy import Connection, func, select, text

from adapters.base import Adapter
from app.log import tables
from app.log.storage import Store, StoreUnavailable, archived
from app.registry import node_directory
from app.registry.agreements import Agreements, Held
from app.registry.catalogue import Catalogue, Service
from app.registry.departments import Departments, Registered
from app.registry.files import NodeFileInvalid
from app.registry.lockouts import Lockouts, held_clients, held_lockouts
from app.registry.node_directory import NodeDirectory
from app.registry.question import QuestionReader
from evidence.merkle import leaf_hash
from policies.decision import RuleSet

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LINGER_S = 90.0  # how long the sources of a replaced directory stay open for questions under way

Bind: TypeAlias = "Callable[[Mapping[str, Service]], Mapping[str, Adapter]]"
"""Opens the source of every service that has one."""


class NotInForce(Exception):
    """There is no node directory in force, or not the one that the log names. The text says what to do."""


@dataclass(frozen=True, slots=True)
class RevisionInForce:
    """The revision in force: number, digests of node directory and rule set (`sha256-<hex>`), index of its record."""

    revision: int
    directory: str
    rules: str
    index: int


@dataclass(frozen=True, slots=True)
class Registry:
    """What the node knows under one epoch; `revision` and `digest` are those of the node directory.

    `departments` are the directory's, with the clients that the database knows beside it (`registered`).
    """

    epoch: int
    revision: int
    digest: str
    directory: NodeDirectory
    departments: Departments
    registered: tuple[Registered, ...]
    lockouts: Lockouts
    agreements: Agreements
    readers: Mapping[str, QuestionReader]
    adapters: Mapping[str, Adapter]

    @property
    def catalogue(self) -> Catalogue:
        """All services."""
        return self.directory.catalogue

    @property
    def rules(self) -> RuleSet:
        """The rules in force."""
        return self.directory.rules


class Current:
    """Holds the registry in force for one process; shared by threads."""

    def __init__(self, store: Store, bind: Bind) -> None:
        """Load it. Raises `NotInForce` and `StoreUnavailable`."""
        self._store = store
        self._bind = bind
        self._loading = threading.Lock()
        self._looked_at = time.monotonic()
        with store.reading() as connection:
            self.registry = self._loaded(connection)

    def refresh(self) -> Registry:
        """Load what has changed since, if anything has; the registry in force. Raises `StoreUnavailable`."""
        with self._loading, self._store.reading() as connection:
            epoch, revision, digest = in_force(connection)
            held = self.registry
            if digest != held.digest:
                self.registry = self._followed(connection)
                _close_later(held.adapters)
            elif epoch != held.epoch:
                agreements = held.agreements.with_changes(held_agreements(connection, held.epoch, held.agreements))
                self.registry = replace(
                    _with_clients(held, connection),
                    epoch=epoch,
                    revision=revision,
                    lockouts=held_lockouts(connection),
                    agreements=agreements,
                )
        return self.registry

    def look(self) -> Registry:
        """The registry, looked after once a second: for requests that no record of a decision would correct."""
        if time.monotonic() - self._looked_at > LOOK_EVERY_S and self._loading.acquire(blocking=False):
            try:
                self._looked_at = time.monotonic()
                moved = self.has_moved()
            except StoreUnavailable:
                # Whatever needs the database says so itself.
                moved = False
            finally:
                self._loading.release()
            if moved:
                self.refresh()
        return self.registry

    def followed(self) -> Registry:
        """The registry in force at this moment, loaded if it has moved. Raises `StoreUnavailable`."""
        return self.refresh() if self.has_moved() else self.registry

    def has_moved(self) -> bool:
        """Whether the database is at another epoch by now. Raises `StoreUnavailable`."""
        with self._store.reading() as connection:
            epoch: int = connection.execute(select(tables.log_head.c.epoch)).scalar_one()
        return epoch != self.registry.epoch

    def close(self) -> None:
        """Give back every source."""
        for adapter in self.registry.adapters.values():
            adapter.close()

    def _followed(self, connection: Connection) -> Registry:
        try:
            return self._loaded(connection)
        except NotInForce as error:
            # The node answers nobody by a directory that the log does not bear out, nor by one that is over.
            logger.error("what is said to be in force cannot be followed: %s", error)  # noqa: TRY400
            raise StoreUnavailable(type(error).__name__) from None

    def _loaded(self, connection: Connection) -> Registry:
        epoch, revision, digest = in_force(connection)
        said = in_log(connection)
        if said is None or said != in_database(connection):
            raise NotInForce("the database and the log name different revisions as the one in force: restore it")
        directory = archived_directory(connection, digest)
        if said.rules != f"sha256-{directory.rules.digest}":
            raise NotInForce(
                "this program's own rules are not those in force: review them, raise policy_revision, sign the "
                "directory and put it in force, or run the program that it was signed with"
            )
        services = directory.catalogue.services
        registered = held_clients(connection)
        return Registry(
            epoch=epoch,
            revision=revision,
            digest=digest,
            directory=directory,
            departments=directory.departments.with_registered(registered),
            registered=registered,
            lockouts=held_lockouts(connection),
            agreements=Agreements.of(held_agreements(connection), directory.catalogue, directory.departments),
            readers={name: QuestionReader(service) for name, service in services.items()},
            adapters=self._bind(services),
        )


def _with_clients(held: Registry, connection: Connection) -> Registry:
    """The registry with what the database says of clients now, read only if a client has moved since."""
    table = tables.client
    if connection.execute(select(table.c.id).where(table.c.epoch > held.epoch).limit(1)).first() is None:
        return held
    registered = held_clients(connection)
    departments = held.directory.departments.with_registered(registered)
    return replace(held, departments=departments, registered=registered)


def in_force(connection: Connection) -> tuple[int, int, str]:
    """Epoch, revision and digest of the node directory in force. Raises `NotInForce`."""
    head, registry = tables.log_head.c, tables.registry.c
    query = select(head.epoch, registry.revision, registry.directory).where(head.id == registry.id)
    row = connection.execute(query).first()
    if row is None:
        raise NotInForce("no node directory is in force yet: run `python -m app prepare`")
    return row.epoch, row.revision, row.directory


def in_database(connection: Connection) -> RevisionInForce | None:
    """The revision that the database says is in force, with its place in the log and the rule set named there."""
    registry, entry = tables.registry, tables.log_entry
    query = select(registry, entry.c.body).outerjoin(entry, entry.c.idx == registry.c.idx)
    row = connection.execute(query).first()
    if row is None:
        return None
    return RevisionInForce(row.revision, row.directory, _rules(orjson.loads(row.body or b"{}")), row.idx)


def in_log(connection: Connection) -> RevisionInForce | None:
    """The revision that the log names last as put in force. Raises `NotInForce` where its records were altered.

    By the records themselves, each held against its leaf hash: whoever sets the search index and the registry back
    together gains nothing. That the leaf hashes are those of the signed tree, `check-log` finds.
    """
    found = next(_put_in_force(connection), None)
    last = -1 if found is None else found.index
    for table in (tables.decision.c, tables.step.c):
        query = select(func.max(table.idx)).where(table.kind == "revision", table.state == "in-force")
        named = connection.execute(query).scalar()
        if named is not None and named > last:
            raise NotInForce(f"the log lacks entry {named}, which put a revision in force: restore the node database")
    return found


def _put_in_force(connection: Connection) -> Iterator[RevisionInForce]:
    """Every record that put a revision in force, the newest first. Raises `NotInForce`."""
    entry, is_revision = tables.log_entry.c, text(tables.IS_REVISION[connection.dialect.name])
    query = select(entry.idx, entry.leaf_hash, entry.body).where(is_revision).order_by(entry.idx.desc())
    for row in connection.execute(query):
        if leaf_hash(row.body) != bytes(row.leaf_hash):
            raise NotInForce(f"entry {row.idx} of the log was altered: restore the node database")
        said = orjson.loads(row.body)
        if (said["kind"], said["state"]) == ("revision", "in-force"):
            yield RevisionInForce(said["revision"], said["directory"], _rules(said), row.idx)


def _rules(said: Mapping[str, Any]) -> str:
    return f"sha256-{said.get('policy', '')}"


def archived_directory(connection: Connection, digest: str) -> NodeDirectory:
    """The node directory of that digest. Raises `NotInForce` where the archive does not hold it unaltered."""
    content = archived(connection, digest)
    if content is None:
        raise NotInForce(f"the archive does not hold the node directory {digest}: restore the database")
    files = {path: text.encode() for path, text in orjson.loads(content).items()}
    try:
        return node_directory.load(files)
    except NodeFileInvalid as error:
        # Sound when it was put in force: this version of the node reads it differently.
        raise NotInForce(f"{error}; put a revision in force that this version reads") from None


def held_agreements(connection: Connection, since: int = -1, known: Agreements | None = None) -> Iterator[Held]:
    """Every agreement that is, or was, accepted by both sides, as the database holds it; those changed `since`.

    One that is `known` and yet only approved is among them: it must not stay in force.
    """
    table, kept = tables.agreement, tables.archive
    query = (
        select(table, kept.c.content)
        .join(kept, kept.c.digest == table.c.digest)
        .where(table.c.epoch > since)
        .order_by(table.c.id)
    )
    for row in connection.execute(query):
        if row.state == "approved" and not (known and known.find(row.id)):
            continue
        yield Held(row.id, bytes(row.content), row.digest, row.state, orjson.loads(row.signatures))


def _close_later(adapters: Mapping[str, Adapter]) -> None:
    def close() -> None:
        for adapter in adapters.values():
            adapter.close()

    timer = threading.Timer(LINGER_S, close)
    timer.daemon = True
    timer.start()
