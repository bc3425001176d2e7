from __future__ import annotations

import pytest
from sqlalchemy import select

from app.log import tables
from app.log.multi_insert import insert_rows
from app.log.storage import Store


def row(index: int, **members: object) -> dict[str, object]:
    others = {"question": None, "attribute": None, "ceiling": 3, "fingerprint": None, "renewed": False}
    return {"idx": index, "account": "a", "amount": 1, **others, **members}


def test_no_rows_are_no_statement(store: Store) -> None:
    with store.writing() as connection:
        insert_rows(connection, tables.charge, [])


@pytest.mark.parametrize("count", [1, 2, 128, 384])
def test_all_rows_go_in_whatever_their_number(store: Store, count: int) -> None:
    with store.writing() as connection:
        insert_rows(connection, tables.charge, [row(index, amount=index) for index in range(count)])
    with store.reading() as connection:
        found = connection.execute(select(tables.charge).order_by(tables.charge.c.idx)).all()
    assert [item._asdict() for item in found] == [row(index, amount=index) for index in range(count)]


def test_order_of_members_does_not_matter_and_values_are_no_sql(store: Store) -> None:
    odd = "a'); DROP TABLE charge; --"
    with store.writing() as connection:
        insert_rows(connection, tables.charge, [dict(reversed(row(1, account=odd).items())), row(2)])
    with store.reading() as connection:
        assert set(connection.execute(select(tables.charge.c.account)).scalars()) == {odd, "a"}


def test_row_without_a_column_is_no_row(store: Store) -> None:
    with pytest.raises(KeyError), store.writing() as connection:
        insert_rows(connection, tables.charge, [{name: value for name, value in row(1).items() if name != "ceiling"}])
