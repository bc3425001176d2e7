"""fsck finds every kind of damage, and finds none in a sound log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, insert, select, text, update

from app.log import tables
from app.log.check import Report, check
from app.log.storage import Store, StoreUnavailable
from evidence.checkpoint import Checkpoint
from evidence.merkle import Frontier, leaf_hash
from evidence.note import NoteSigner
from tests.unit.app.log.entries import SIZE, entry


def test_empty_log_is_sound(store: Store, signer: NoteSigner) -> None:
    report = check(store, signer.vkey)
    assert report.sound
    assert report.text() == "0 entries: the log is sound"


def test_long_log_is_sound(log: Store, signer: NoteSigner) -> None:
    assert check(log, signer.vkey).text() == f"{SIZE} entries: the log is sound"


def body(connection: Connection) -> None:
    changed = entry(3).body.replace(b"malformed", b"not-found")
    connection.execute(update(tables.log_entry).where(tables.log_entry.c.idx == 3).values(body=changed))


def body_and_hash(connection: Connection) -> None:
    changed = entry(3).body.replace(b"malformed", b"not-found")
    values = {"body": changed, "leaf_hash": leaf_hash(changed)}
    connection.execute(update(tables.log_entry).where(tables.log_entry.c.idx == 3).values(values))


def leaf(connection: Connection) -> None:
    connection.execute(update(tables.log_entry).where(tables.log_entry.c.idx == 260).values(leaf_hash=bytes(32)))


def no_record(connection: Connection) -> None:
    connection.execute(update(tables.log_entry).where(tables.log_entry.c.idx == 0).values(body=b'{"v":2}'))


def last_entry_gone(connection: Connection) -> None:
    connection.execute(delete(tables.log_entry).where(tables.log_entry.c.idx == SIZE - 1))


def first_entry_gone(connection: Connection) -> None:
    connection.execute(delete(tables.log_entry).where(tables.log_entry.c.idx == 0))


def middle_entry_gone(connection: Connection) -> None:
    connection.execute(delete(tables.log_entry).where(tables.log_entry.c.idx == 100))


def entries_swapped(connection: Connection) -> None:
    for old, new in ((5, -1), (6, 5), (-1, 6)):
        connection.execute(update(tables.log_entry).where(tables.log_entry.c.idx == old).values(idx=new))


def entry_added(connection: Connection) -> None:
    added = entry(9_999).body
    connection.execute(insert(tables.log_entry).values(idx=SIZE, body=added, leaf_hash=leaf_hash(added)))


def node_changed(connection: Connection) -> None:
    connection.execute(update(tables.log_node).values(hash=bytes(32)))


def node_gone(connection: Connection) -> None:
    connection.execute(delete(tables.log_node))


def head_gone(connection: Connection) -> None:
    connection.execute(delete(tables.log_head))


def head_size(connection: Connection) -> None:
    connection.execute(update(tables.log_head).values(size=SIZE - 1))


def frontier(connection: Connection) -> None:
    connection.execute(update(tables.log_head).values(frontier=Frontier().to_bytes()))


def signature(connection: Connection) -> None:
    note = connection.execute(select(tables.log_head.c.checkpoint)).scalar_one()
    connection.execute(update(tables.log_head).values(checkpoint=note.replace(f"\n{SIZE}\n", f"\n{SIZE + 1}\n")))


def foreign_signature(connection: Connection) -> None:
    other = NoteSigner("node.example/log", Ed25519PrivateKey.generate())
    note = connection.execute(select(tables.log_head.c.checkpoint)).scalar_one()
    connection.execute(update(tables.log_head).values(checkpoint=other.sign(note.partition("\n\n")[0] + "\n")))


def no_note(connection: Connection) -> None:
    connection.execute(update(tables.log_head).values(checkpoint="nothing"))


def decision_without_entry(connection: Connection) -> None:
    connection.execute(insert(tables.decision).values({**entry(7_777).index_row, "idx": SIZE + 5}))


DAMAGE: dict[Callable[[Connection], None], str] = {
    body: "entry 3 does not have its leaf hash",
    body_and_hash: "with another root",
    leaf: "entry 260 does not have its leaf hash",
    no_record: "entry 0: The entry is not a record of version 1",
    last_entry_gone: "the signed head covers 266 entries with another root",
    first_entry_gone: "entry 0 is missing",
    middle_entry_gone: "entry 100 is missing",
    entries_swapped: "with another root",
    entry_added: "with another root",
    node_changed: "tree node 0 of level 1 is not the hash of its leaves",
    node_gone: "tree node 0 of level 1 is not the hash of its leaves",
    head_gone: "the log has no head",
    head_size: "the stored head is not that of the entries",
    frontier: "the stored head is not that of the entries",
    signature: "the signed head: ",
    foreign_signature: "the signed head: ",
    no_note: "the signed head: ",
    decision_without_entry: "1 decisions that the log does not have",
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.items(), ids=[item.__name__ for item in DAMAGE])
def test_damage_is_found_and_named(
    log: Store, signer: NoteSigner, damage: Callable[[Connection], None], words: str
) -> None:
    with log.writing() as connection:
        damage(connection)
    report = check(log, signer.vkey)
    assert not report.sound
    assert any(words in found for found in report.damage), report.text()


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_log_cut_short_and_set_back_is_betrayed_by_an_older_head(log: Store, signer: NoteSigner, cut: int) -> None:
    """T13: whoever cuts entries must sign anew; with the stored signature the cut shows."""
    with log.writing() as connection:
        connection.execute(delete(tables.log_entry).where(tables.log_entry.c.idx >= SIZE - cut))
        connection.execute(delete(tables.decision).where(tables.decision.c.idx >= SIZE - cut))
    assert any("another root" in found for found in check(log, signer.vkey).damage)


def test_history_signed_anew_by_the_key_is_sound_to_fsck_and_not_to_receipts(log: Store, signer: NoteSigner) -> None:
    """fsck trusts the log's key: a second history by its holder is what witnesses and receipts are for."""
    with log.writing() as connection:
        connection.execute(delete(tables.log_entry).where(tables.log_entry.c.idx >= 100))
        connection.execute(delete(tables.decision).where(tables.decision.c.idx >= 100))
        connection.execute(delete(tables.log_node))
        leaves = connection.execute(select(tables.log_entry.c.leaf_hash).order_by(tables.log_entry.c.idx)).scalars()
        short = Frontier().extend([bytes(value) for value in leaves]).frontier
        note = signer.sign(Checkpoint(signer.name, short.size, short.root()).text())
        values: dict[str, Any] = {"size": 100, "frontier": short.to_bytes(), "checkpoint": note}
        connection.execute(update(tables.log_head).values(values))
    assert check(log, signer.vkey).sound


def test_unreadable_database_is_unavailable_not_sound(log: Store, signer: NoteSigner) -> None:
    with log.writing() as connection:
        connection.execute(text("DROP TABLE log_entry"))
    with pytest.raises(StoreUnavailable):
        check(log, signer.vkey)


def test_report_names_twenty_damages_and_counts_the_rest() -> None:
    report = Report(3, [f"damage {number}" for number in range(25)])
    lines = report.text().splitlines()
    assert lines[0] == "3 entries: 25 damaged"
    assert len(lines) == 22
    assert lines[-1] == "… and 5 more"
    assert Report(3, ["one"]).text().splitlines() == ["3 entries: 1 damaged", "one"]
