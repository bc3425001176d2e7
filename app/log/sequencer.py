"""One history: entries get their place in the tree, and are durable before anyone is answered.

Group commit with a leader: the first thread that waits writes for all that wait with it, in one transaction
holding records, index, salts, charges, tree nodes and the signed head. Followers sleep until their leader is done.
INVARIANT: `append` returns only after the commit; an entry it did not return for may be absent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from app.log import tables
from app.log.multi_insert import insert_rows
from app.log.storage import Store, StoreUnavailable
from evidence.checkpoint import Checkpoint
from evidence.merkle import Frontier, leaf_hash
from evidence.note import NoteSigner

GROUP = 128  # entries a transaction: some 10 ms on the slowest disk met, well under the 50 ms that design allows


class NotWritten(Exception):
    """The record is not durable, so no answer may leave."""


class ReservationStale(Exception):
    """The limiter was rebuilt since this entry's reservation: reserve again, then append again."""


@dataclass(slots=True)
class Entry:
    """What one decision writes. `completed` builds the stored reply once the index in the log is known."""

    body: bytes
    index_row: Mapping[str, Any]
    sealed_salt: bytes | None = None
    charges: Sequence[Mapping[str, Any]] = ()
    generation: int | None = None
    completed: Callable[[int], Mapping[str, Any]] | None = None
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
        """Write one entry durably and return its index. Raises `NotWritten` or `ReservationStale`."""
        entry.leaf = leaf_hash(entry.body)
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
                # Taken only now: whoever came while another process wrote goes along.
                group = self._take()
                self._commit(connection, group)
        except Exception as error:  # noqa: BLE001 - followers must wake whatever happened to their leader
            group = group or self._take()
            text = str(error) if isinstance(error, (StoreUnavailable, NotWritten)) else type(error).__name__
            for entry in group:
                entry.error = NotWritten(text)
        else:
            self.last_index = max(self.last_index, *(entry.index for entry in group))
        return group

    def _commit(self, connection: Connection, group: list[Entry]) -> None:
        head = connection.execute(_HEAD if self._store.sqlite else _HEAD.with_for_update()).one()
        current = [entry for entry in group if entry.generation in (None, head.generation)]
        for entry in group:
            if entry.generation not in (None, head.generation):
                entry.error = ReservationStale()
        if not current:
            return
        extended = Frontier.from_bytes(head.frontier).extend([entry.leaf for entry in current])
        for offset, entry in enumerate(current):
            entry.index = head.size + offset
        frontier = extended.frontier
        note = self._signer.sign(Checkpoint(self._signer.name, frontier.size, frontier.root()).text())
        moved = connection.execute(
            _MOVE_HEAD,
            {
                "old_size": head.size,
                "new_size": frontier.size,
                "new_frontier": frontier.to_bytes(),
                "new_checkpoint": note,
            },
        )
        # INVARIANT: compare-and-swap. Whoever moved the head meanwhile has the only history.
        if moved.rowcount != 1:
            raise NotWritten("the head of the log moved under the writer")
        _insert(connection, current)
        nodes = [{"level": level, "idx": index, "hash": value} for level, index, value in extended.nodes]
        insert_rows(connection, tables.log_node, nodes)


def _insert(connection: Connection, group: list[Entry]) -> None:
    entries = [{"idx": entry.index, "leaf_hash": entry.leaf, "body": entry.body} for entry in group]
    insert_rows(connection, tables.log_entry, entries)
    insert_rows(connection, tables.decision, [{**entry.index_row, "idx": entry.index} for entry in group])
    salts = [{"idx": entry.index, "sealed": entry.sealed_salt} for entry in group if entry.sealed_salt]
    insert_rows(connection, tables.salt, salts)
    charges = [{**charge, "idx": entry.index} for entry in group for charge in entry.charges]
    insert_rows(connection, tables.charge, charges)
    for entry in group:
        if entry.completed is not None:
            connection.execute(_COMPLETE, entry.completed(entry.index))


_HEAD = select(tables.log_head.c.size, tables.log_head.c.frontier, tables.log_head.c.generation).where(
    tables.log_head.c.id == 1
)
_MOVE_HEAD = (
    update(tables.log_head)
    .where(tables.log_head.c.id == 1, tables.log_head.c.size == bindparam("old_size"))
    .values(
        size=bindparam("new_size"),
        frontier=bindparam("new_frontier"),
        checkpoint=bindparam("new_checkpoint"),
    )
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
