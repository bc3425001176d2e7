"""fsck finds whoever was let in or locked out by a row that no step in the log tells of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, delete, insert, select, update

from app.log import tables
from app.log.check import check
from app.log.check_clients import check_clients
from app.log.storage import archive
from evidence.canonical import canonical
from tests.nodes.office import REJECT, SECOND, Office, open_office
from tests.nodes.running import Ground

OTHER_THUMBPRINT = "A" * 43


@pytest.fixture(scope="module")
def office(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """Clients that went through everything that a client can go through."""
    with open_office(ground, tmp_path_factory.mktemp("office")) as made:
        for name in ("hz-one", "hz-two", "hz-three"):
            made.register(name)
        made.change("hz-one", roles=["consumer", "steward"])
        made.suspend("hz-two")
        made.suspend("hz-three", by=SECOND)
        made.resume("hz-three")
        made.suspend("hz-outsider")
        made.taken(made.decide(made.propose("hz-four"), REJECT))
        made.propose("hz-five")
        made.taken(made.lock("hz-one", made.holder("hz-one")))
        made.send("/v1/clients/hz-two/suspension", {"reason": "Again."})  # refused, and recorded
        yield made


def damage(office: Office, tamper: Callable[[Connection], None] | None = None) -> list[str]:
    """What is found after a tamper, which is then undone."""
    with office.node.node.store.engine.connect() as connection, connection.begin() as transaction:
        if tamper is not None:
            tamper(connection)
        found = check_clients(connection, list(records(connection)))
        transaction.rollback()
    return found


def records(connection: Connection) -> Iterator[tuple[int, dict[str, Any]]]:
    for row in connection.execute(select(tables.log_entry).order_by(tables.log_entry.c.idx)):
        record = orjson.loads(row.body)
        if record["kind"] == "client":
            yield row.idx, record


def test_whole_life_of_clients_is_sound(office: Office) -> None:
    assert damage(office) == []
    assert check(office.node.node.store, office.node.node.vkey).sound


def of(name: str) -> Any:
    return tables.client.c.id == name


def let_in_again(connection: Connection) -> None:
    assert connection.execute(update(tables.client).where(of("hz-two")).values(suspended=False)).rowcount == 1


def directory_client_let_in_again(connection: Connection) -> None:
    assert connection.execute(delete(tables.client).where(of("hz-outsider"))).rowcount == 1


def locked_out(connection: Connection) -> None:
    assert connection.execute(update(tables.client).where(of("hz-one")).values(suspended=True)).rowcount == 1


def moved_to_another_department(connection: Connection) -> None:
    connection.execute(update(tables.client).where(of("hz-one")).values(department="hz-ops"))


def given_another_document(connection: Connection) -> None:
    digest = archive(connection, "client", canonical({"client": {"client": "hz-one", "roles": ["auditor"]}}))
    connection.execute(update(tables.client).where(of("hz-one")).values(digest=digest))


def given_its_old_document(connection: Connection) -> None:
    """What was changed comes back: the roles or the key that it had."""
    row = tables.step.c
    query = select(row.digest).where(row.about == "client:hz-one", row.state == "registered")
    old = connection.execute(query).scalar_one()
    connection.execute(update(tables.client).where(of("hz-one")).values(digest=old))


def unknown_client(connection: Connection) -> None:
    values = {"id": "hz-evil", "department": "hz-ops", "digest": "sha256-0", "suspended": False, "epoch": 1}
    connection.execute(insert(tables.client).values(**values))


def client_gone(connection: Connection) -> None:
    connection.execute(delete(tables.client).where(of("hz-three")))


def certificate_let_in_again(connection: Connection) -> None:
    assert connection.execute(delete(tables.suspended_certificate)).rowcount == 1


def certificate_exchanged(connection: Connection) -> None:
    connection.execute(update(tables.suspended_certificate).values(thumbprint=OTHER_THUMBPRINT))


def certificate_of_another(connection: Connection) -> None:
    connection.execute(update(tables.suspended_certificate).values(client="hz-two"))


def certificate_locked_out_by_nobody(connection: Connection) -> None:
    values = {"thumbprint": OTHER_THUMBPRINT, "client": "hz-one", "since": 1}
    connection.execute(insert(tables.suspended_certificate).values(**values))


def change(name: str) -> Any:
    return tables.client_change.c.client == name


def proposal_approved_by_a_row(connection: Connection) -> None:
    values = {"state": "approved", "decided_by": SECOND}
    connection.execute(update(tables.client_change).where(change("hz-five")).values(**values))


def rejected_proposal_reopened(connection: Connection) -> None:
    connection.execute(update(tables.client_change).where(change("hz-four")).values(state="proposed"))


def proposal_of_somebody_else(connection: Connection) -> None:
    connection.execute(update(tables.client_change).where(change("hz-five")).values(proposed_by="hz-sysadmin"))


def proposal_with_another_document(connection: Connection) -> None:
    connection.execute(update(tables.client_change).where(change("hz-five")).values(digest="sha256-0"))


def proposal_gone(connection: Connection) -> None:
    connection.execute(delete(tables.client_change).where(change("hz-five")))


def proposal_by_a_row(connection: Connection) -> None:
    row = connection.execute(select(tables.client_change).where(change("hz-five"))).one()
    connection.execute(insert(tables.client_change).values({**row._mapping, "id": "another"}))


def archive_altered(connection: Connection) -> None:
    row = tables.archive
    content = canonical({"client": {"client": "hz-one"}})
    assert connection.execute(update(row).where(row.c.kind == "client").values(content=content)).rowcount


def archive_lost(connection: Connection) -> None:
    connection.execute(delete(tables.archive).where(tables.archive.c.kind == "client"))


DAMAGE: dict[Callable[[Connection], None], str] = {
    let_in_again: "client hz-two has another suspended than the log says",
    directory_client_let_in_again: "client hz-outsider is missing from the database, and the log tells of it",
    locked_out: "client hz-one has another suspended than the log says",
    moved_to_another_department: "client hz-one has another department than the log says",
    given_another_document: "client hz-one has another digest than the log says",
    given_its_old_document: "client hz-one has another digest than the log says",
    unknown_client: "client hz-evil stands in the database, and the log says nothing of it",
    client_gone: "client hz-three is missing from the database",
    certificate_let_in_again: "suspended certificate ",
    certificate_exchanged: f"suspended certificate {OTHER_THUMBPRINT} stands in the database",
    certificate_of_another: "has another client than the log says",
    certificate_locked_out_by_nobody: f"suspended certificate {OTHER_THUMBPRINT} stands in the database",
    proposal_approved_by_a_row: "has another decided_by, state than the log says",
    rejected_proposal_reopened: "has another state than the log says",
    proposal_of_somebody_else: "has another proposed_by than the log says",
    proposal_with_another_document: "has another digest than the log says",
    proposal_gone: "is missing from the database, and the log tells of it",
    proposal_by_a_row: "proposal another stands in the database, and the log says nothing of it",
    archive_altered: "the archive does not hold what entry ",
    archive_lost: "the archive does not hold what entry ",
}


@pytest.mark.parametrize(("tamper", "words"), DAMAGE.items(), ids=[item.__name__ for item in DAMAGE])
def test_tampering_is_found_and_named(office: Office, tamper: Callable[[Connection], None], words: str) -> None:
    found = damage(office, tamper)
    assert any(words in one for one in found), found
    assert damage(office) == [], "undone"


def said(office: Office, **changes: Any) -> list[str]:
    """What is found where the last step is recorded otherwise."""
    with office.node.node.store.reading() as connection:
        steps = [item for item in records(connection) if item[1]["state"] == "certificate-suspended"]
        index, record = steps[-1]
        altered = {name: value for name, value in {**record, **changes}.items() if value is not None}
        others = [item for item in records(connection) if item[0] != index]
        return check_clients(connection, [*others, (index, altered)])


@pytest.mark.parametrize("changes", [{"at": "soon"}, {"at": None}])
def test_record_that_says_too_little_is_damage_and_ends_nothing(office: Office, changes: dict[str, Any]) -> None:
    assert any("does not say what a step about a client says" in one for one in said(office, **changes))


@pytest.mark.parametrize("state", ["suspended", "registered"])
def test_record_with_the_document_of_another_step_is_damage(office: Office, state: str) -> None:
    assert any("the archive does not hold what entry" in one for one in said(office, state=state))


def test_record_whose_document_is_no_json_object_is_damage(office: Office) -> None:
    with office.node.node.store.engine.connect() as connection, connection.begin() as transaction:
        for content in (b"\xff", b"[]"):
            digest = archive(connection, "client", content)
            record = {"kind": "client", "state": "suspended", "document": digest}
            found = check_clients(connection, [(0, record)])
            assert "the archive does not hold what entry 0 says" in found[0]
        transaction.rollback()


def test_whole_check_tells_of_it(office: Office) -> None:
    store, vkey = office.node.node.store, office.node.node.vkey
    with store.writing() as connection:
        let_in_again(connection)
    assert "client hz-two has another suspended" in check(store, vkey).text()
    with store.writing() as connection:
        connection.execute(update(tables.client).where(of("hz-two")).values(suspended=True))
    assert check(store, vkey).sound
