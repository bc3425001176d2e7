"""Whose certificate and whose id it was, as the records of issued tokens know it, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from app.log import tables
from app.log.storage import Store
from app.registry import holders
from app.registry.departments import Client
from app.registry.holders import Holder

DNS = "tls_client_auth_san_dns"
PINS = ["sha256-" + digit * 64 for digit in "01"]
CLIENT = Client("hz-new", {"en": "New", "zh": "新"}, "hz-tax", frozenset({"consumer"}), DNS, "new.example")
MINE, TWIN, OTHER = ("A" * 42 + end for end in "AEI")


def issued(connection: Connection, index: int, client: str, *certificates: str, **changes: Any) -> None:
    """The record of a token, as the index holds it."""
    connection.execute(insert(tables.log_entry).values(idx=index, leaf_hash=b"\0" * 32, body=b"{}"))
    row = {"idx": index, "id": f"jti-{index}", "at": index, "kind": "token", "state": "issued", "client": client}
    facts = Holder(frozenset(certificates), (DNS, "new.example"), PINS[0]).facts()
    connection.execute(insert(tables.decision).values(**(row | {"consumer": "hz-tax", "facts": facts} | changes)))


def test_holder_is_kept_and_found_as_it_was(either_store: Store) -> None:
    made = Holder.of(CLIENT, PINS[0], (MINE, ""))
    assert made == Holder(frozenset((MINE,)), (DNS, "new.example"), PINS[0])
    with either_store.writing() as connection:
        issued(connection, 0, "hz-new", MINE)
        issued(connection, 1, "hz-new", OTHER, kind="question")
        issued(connection, 2, "hz-new", OTHER, facts=None)
        assert holders.holder_of(connection, "jti-0") == made
        assert [holders.holder_of(connection, f"jti-{index}") for index in (1, 2, 3)] == [None] * 3


def test_holder_is_let_in_while_name_and_key_are_its_clients() -> None:
    made = Holder.of(CLIENT, PINS[0], (MINE,))
    assert made.is_let_in_as(CLIENT)
    assert made.is_let_in_as(replace(CLIENT, public_keys=frozenset(PINS)))
    assert not made.is_let_in_as(replace(CLIENT, public_keys=frozenset(PINS[1:])))
    assert not made.is_let_in_as(replace(CLIENT, certificate_value="NEW.example"))
    assert not made.is_let_in_as(replace(CLIENT, certificate_name="tls_client_auth_san_uri"))
    assert Holder(frozenset((MINE,))).is_let_in_as(CLIENT)


def test_certificate_is_that_of_whoever_last_got_a_token_over_it_or_its_twin(either_store: Store) -> None:
    with either_store.writing() as connection:
        issued(connection, 0, "hz-old", MINE, TWIN)
        issued(connection, 1, "hz-new", MINE, TWIN)
        issued(connection, 2, "hz-refused", MINE, state="introspected")
        assert {holders.client_with(connection, thumbprint) for thumbprint in (MINE, TWIN)} == {"hz-new"}
        assert holders.client_with(connection, OTHER) is None
        assert holders.last_certificates(connection, "hz-old") == {MINE, TWIN}
        issued(connection, 3, "hz-old", OTHER)
        assert holders.last_certificates(connection, "hz-old") == {OTHER}
        assert holders.last_certificates(connection, "hz-nobody") == frozenset()


def test_what_was_long_ago_is_not_looked_for(either_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "LOOKED_BACK", 2)
    with either_store.writing() as connection:
        for index, certificate in enumerate((MINE, OTHER, OTHER)):
            issued(connection, index, f"hz-{certificate[-1].lower()}", certificate)
        assert holders.client_with(connection, MINE) is None
        assert holders.client_with(connection, OTHER) == "hz-i"
        assert holders.last_certificates(connection, "hz-a") == frozenset()


def test_id_was_anothers_by_token_row_or_approved_proposal(either_store: Store) -> None:
    def of(department: str, client: str = "hz-new") -> bool:
        return holders.was_of_another(connection, client, department)

    change = {"digest": "-", "action": "register", "proposed_by": "hz-a", "proposed_at": 0, "department": "hz-tax"}
    with either_store.writing() as connection:
        assert not of("hz-hrss")
        issued(connection, 0, "hz-new", MINE)
        assert (of("hz-hrss"), of("hz-tax"), of("hz-hrss", "hz-other")) == (True, False, False)
        row = {"id": "hz-row", "department": "hz-tax", "suspended": False, "epoch": 1}
        connection.execute(insert(tables.client).values(**row))
        assert (of("hz-hrss", "hz-row"), of("hz-tax", "hz-row")) == (True, False)
        for state in ("proposed", "rejected", "approved"):
            said = change | {"id": state, "client": f"hz-{state}", "state": state}
            connection.execute(insert(tables.client_change).values(**said))
        assert [of("hz-hrss", f"hz-{state}") for state in ("proposed", "rejected", "approved")] == [
            False,
            False,
            True,
        ]
