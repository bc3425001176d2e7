"""One history: entries get their place in the tree, and are durable before anyone is answered.

Group commit with a leader: the first thread that waits writes for all that wait with it, in one transaction
holding records, index, salts, charges, tree nodes and the signed head. Followers sleep until their leader is done.
INVARIANT: `append` returns only after the commit; an entry it did not return for may be absent.
INVARIANT: no decision is written behind a change that it rests on: each entry is held against the registry's epoch
at its own place in the log, and against the moment up to which its decision holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, update
from sqlalchemy.exc import IntegrityError

from app.log import tables
from app.log.multi_insert import insert_rows
from app.log.storage import Store, StoreUnavailable
from app.refusals import Refusal
from evidence.checkpoint import Checkpoint
from evidence.merkle import Frontier, leaf_hash
from evidence.note import NoteSigner

GROUP = 128  # entries a transaction: some 10 ms on the slowest disk met, well under the 50 ms that design allows


class NotWritten(Exception):
    """The record is not durable, so no answer may leave."""


class ReservationStale(Exception):
    """The limiter was rebuilt since this entry's reservation: reserve again, then append again."""


class RegistryChanged(Exception):
    """What this entry's decision rests on has changed or run out: decide anew, then append again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands: its index in the log, and the registry's epoch from there on."""

    index: int
    epoch: int


@dataclass(slots=True)
class Entry:
    """What one decision or step writes. `completed` builds the stored reply once the index in the log is known.

    A decision names the `epoch` it was made under, and in `until` the moment (seconds since 1970) at which it ends.
    A `change` is run inside the transaction; it may raise `Refusal`, and then the entry is not written.
    `moves_epoch`: decisions rest on what is changed. What stands in `also` is written behind it, or neither is.
    """

    body: bytes
    index_row: Mapping[str, Any]
    sealed_salt: bytes | None = None
    charges: Sequence[Mapping[str, Any]] = ()
    generation: int | None = None
    epoch: int | None = None
    until: float | None = None
    completed: Callable[[int], Mapping[str, Any]] | None = None
    change: Callable[[Connection, Place], None] | None = None
    moves_epoch: bool = False
    step: Mapping[str, Any] | None = None
    also: Sequence[Entry] = ()
    notice: str | None = None  # the provider to be told
    sealed_request: bytes | None = None  # what its client signed
    leaf: bytes = b""
    index: int = -1
    error: Exception | None = None
    leads: bool = False
    # Held until the entry's thread may go on: as leader, or with its entry written.
    gate: threading.Lock = field(default_factory=threading.Lock)


class Sequencer:
    """Appends entries to the node's tree; shared by threads, and by processes through the store's lock."""

    def __init__(self, store: Store, signer: NoteSigner) -> None:
        self._store = store
        self._signer = signer
        self._mutex = threading.Lock()
        self._queue: list[Entry] = []
        self._leading = False
        self.last_index = -1

    def append(self, entry: Entry) -> int:
        """Write one entry durably and return its index.

        Raises `NotWritten`, `ReservationStale`, `RegistryChanged`, or the `Refusal` of the entry's change.
        """
        _hash(entry)
        entry.gate.acquire()
        with self._mutex:
            self._queue.append(entry)
            entry.leads = not self._leading
            self._leading = True
        if not entry.leads:
            entry.gate.acquire()
        if entry.leads:
            self._lead()
        if entry.error is not None:
            raise entry.error
        return entry.index

    def _lead(self) -> None:
        """Write one group, this thread's entry among it, then hand leadership to the first that still waits."""
        group = self._write()
        with self._mutex:
            successor = self._queue[0] if self._queue else None
            self._leading = successor is not None
        # The leader's own entry stood first in the queue, so it is never its own successor.
        for entry in group[1:]:
            entry.gate.release()
        if successor is not None:
            successor.leads = True
            successor.gate.release()

    def _take(self) -> list[Entry]:
        with self._mutex:
            group, self._queue = self._queue[:GROUP], self._queue[GROUP:]
        return group

    def _write(self) -> list[Entry]:
        group: list[Entry] = []
        try:
            with self._store.writing() as connection:
                head = self._head(connection)
                # Taken only now, under the writer's lock: whoever came while another process wrote goes along.
                group = self._take()
                self._commit(connection, group, head)
        except Exception as error:  # noqa: BLE001 - followers must wake whatever happened to their leader
            group = group or self._take()
            text = str(error) if isinstance(error, (StoreUnavailable, NotWritten)) else type(error).__name__
            for entry in group:
                entry.error = NotWritten(text)
        else:
            written = [entry.index for entry in group if entry.error is None]
            self.last_index = max(self.last_index, *written, -1)
        return group

    def _head(self, connection: Connection) -> Any:
        return connection.exec_driver_sql(_HEAD if self._store.sqlite else f"{_HEAD} FOR UPDATE").one()

    def _commit(self, connection: Connection, group: list[Entry], head: Any) -> None:
        current, epoch = _admitted(connection, group, head)
        if not current:
            return
        extended = Frontier.from_bytes(head.frontier).extend([entry.leaf for entry in current])
        frontier = extended.frontier
        note = self._signer.sign(Checkpoint(self._signer.name, frontier.size, frontier.root()).text())
        moved = connection.exec_driver_sql(
            _MOVE_HEAD.format("?" if self._store.sqlite else "%s"),
            (frontier.size, frontier.to_bytes(), note, epoch, head.size),
        )
        # INVARIANT: compare-and-swap. Whoever moved the head meanwhile has the only history.
        if moved.rowcount != 1:
            raise NotWritten("the head of the log moved under the writer")
        _insert(connection, current)
        nodes = [{"level": level, "idx": index, "hash": value} for level, index, value in extended.nodes]
        insert_rows(connection, tables.log_node, nodes)


def _hash(entry: Entry) -> None:
    for one in (entry, *entry.also):
        one.leaf = leaf_hash(one.body)


def _admitted(connection: Connection, group: list[Entry], head: Any) -> tuple[list[Entry], int]:
    """The entries that still hold, each with its index, their changes made; and the epoch after them."""
    admitted: list[Entry] = []
    epoch, now = head.epoch, time.time()
    for entry in group:
        for offset, one in enumerate((entry, *entry.also)):
            one.index = head.size + len(admitted) + offset
        moved = epoch + entry.moves_epoch
        try:
            _hold(entry, head.generation, epoch, now)
            if entry.change is not None:
                # A change that is refused takes nothing with it of the others in the group.
                with connection.begin_nested():
                    for one in (entry, *entry.also):
                        if one.change is not None:
                            one.change(connection, Place(one.index, moved))
        except (ReservationStale, RegistryChanged, Refusal) as error:
            entry.error = error
        except IntegrityError as error:
            entry.error = NotWritten(type(error).__name__)
        else:
            admitted += (entry, *entry.also)
            epoch = moved
    return admitted, epoch


def _hold(entry: Entry, generation: int, epoch: int, now: float) -> None:
    if entry.generation not in (None, generation):
        raise ReservationStale
    if entry.epoch not in (None, epoch) or (entry.until is not None and now >= entry.until):
        raise RegistryChanged


def _insert(connection: Connection, group: list[Entry]) -> None:
    entries = [{"idx": entry.index, "leaf_hash": entry.leaf, "body": entry.body} for entry in group]
    insert_rows(connection, tables.log_entry, entries)
    insert_rows(connection, tables.decision, [{**entry.index_row, "idx": entry.index} for entry in group])
    salts = [{"idx": entry.index, "sealed": entry.sealed_salt} for entry in group if entry.sealed_salt]
    insert_rows(connection, tables.salt, salts)
    signed = [{"idx": entry.index, "sealed": entry.sealed_request} for entry in group if entry.sealed_request]
    insert_rows(connection, tables.signed_request, signed)
    charges = [{**charge, "idx": entry.index} for entry in group for charge in entry.charges]
    insert_rows(connection, tables.charge, charges)
    insert_rows(connection, tables.step, [{**entry.step, "idx": entry.index} for entry in group if entry.step])
    notices = [{"idx": entry.index, "provider": entry.notice} for entry in group if entry.notice]
    insert_rows(connection, tables.notice, notices)
    for entry in group:
        if entry.completed is not None:
            connection.execute(_COMPLETE, entry.completed(entry.index))


# Read and moved once a group under the writer's lock: as text, each takes a third of the time.
_HEAD = "SELECT size, frontier, generation, epoch FROM log_head WHERE id = 1"
_MOVE_HEAD = (
    "UPDATE log_head SET size = {0}, frontier = {0}, checkpoint = {0}, epoch = {0} WHERE id = 1 AND size = {0}"
)
_COMPLETE = (
    update(tables.idempotency)
    .where(
        tables.idempotency.c.client == bindparam("of_client"),
        tables.idempotency.c.key == bindparam("of_key"),
        # A claim that lapsed and was taken by another request is that request's to complete.
        tables.idempotency.c.decision_id == bindparam("of_decision"),
    )
    .values(sealed_reply=bindparam("new_sealed_reply"))
)
