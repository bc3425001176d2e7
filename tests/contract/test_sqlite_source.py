"""What is SQLite's own: affinity, files that are replaced or locked, and text that is none."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from adapters.base import AttributeBinding, BindingInvalid, Code, SourceMisbehaved, SourceUnavailable
from adapters.compare import build
from adapters.engines import close_engine, open_engine
from tests.contract.people import ONE_RELATION, TODAY, WAGES, WEI, ask, results
from tests.contract.sources import SqliteSource

QUESTION = ask(WEI, "张伟", employed_on=TODAY)
ROW = (WEI, "张伟", "2020-01-01", None, "杭州鑫恒泰纺织有限公司")


@pytest.mark.parametrize("kind", ["NUMERIC", "DECIMAL(14, 2)", "REAL", "TEXT", "INTEGER", "BLOB"])
@pytest.mark.parametrize(
    ("stored", "expected"),
    [("1280000.00", "match"), ("1284999.99", "match"), ("1285000.01", "no_match"), ("1275000.00", "match")],
)
def test_amount_is_exact_whatever_the_column_was_declared_as(
    sqlite_source: SqliteSource, kind: str, stored: str, expected: str
) -> None:
    sqlite_source.execute(
        f'CREATE TABLE wages (id_no TEXT, "full name" TEXT, price {kind})',
        f"INSERT INTO wages VALUES ('{WEI}', '张伟', '{stored}')",
    )
    price = AttributeBinding("price", "within", {"column": "price"}, {"tolerance": "5000.00", "grid": "10000.00"})
    comparison = build(price)
    question = replace(ask(WEI, "张伟"), declared={"price": comparison.parse("1280000.00")})
    adapter = sqlite_source.adapter(replace(ONE_RELATION, attributes=(price,)))
    assert adapter.answer([question], timeout_s=5)[0].result.value == expected


def test_number_in_an_integer_column_is_found(sqlite_source: SqliteSource) -> None:
    sqlite_source.execute(
        'CREATE TABLE wages (id_no INTEGER PRIMARY KEY, "full name", start, "end", employer)',
        "INSERT INTO wages VALUES (4711, '张伟', '2020-01-01', NULL, NULL)",
    )
    adapter = sqlite_source.adapter(replace(ONE_RELATION, subject_type="code"))
    answers = adapter.answer([ask("4711", "张伟", employed_on=TODAY)], timeout_s=5)
    assert answers[0].result is Code.MATCH


def test_column_that_ignores_letter_case_does_not_mix_up_subjects(sqlite_source: SqliteSource) -> None:
    sqlite_source.execute(
        'CREATE TABLE wages (id_no TEXT COLLATE NOCASE, "full name", start, "end", employer)',
        "INSERT INTO wages VALUES ('AB', '张伟', '2020-01-01', NULL, NULL)",
    )
    adapter = sqlite_source.adapter(replace(ONE_RELATION, subject_type="code"))
    asked = [ask(subject, "张伟", employed_on=TODAY) for subject in ("ab", "AB")]
    assert results(adapter.answer(asked[:1], timeout_s=5)) == ["not_found"]
    assert results(adapter.answer(asked, timeout_s=5)) == ["not_found", "match"]


def test_file_replaced_over_night_is_read_anew(sqlite_source: SqliteSource, tmp_path: Path) -> None:
    sqlite_source.fill("wages", WAGES, [ROW])
    adapter = sqlite_source.adapter(ONE_RELATION)
    assert adapter.answer([QUESTION], timeout_s=5)[0].result is Code.MATCH
    tomorrow = SqliteSource(tmp_path / "tomorrow.db")
    tomorrow.fill("wages", WAGES, [(*ROW[:3], "2026-01-01", None)])
    tomorrow.path.replace(sqlite_source.path)
    assert adapter.answer([QUESTION], timeout_s=5)[0].result is Code.NO_MATCH


def test_file_locked_by_its_writer_is_unavailable_in_time(sqlite_source: SqliteSource) -> None:
    sqlite_source.fill("wages", WAGES, [ROW])
    adapter = sqlite_source.adapter(ONE_RELATION)
    writer = sqlite3.connect(sqlite_source.path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    started = monotonic()
    with pytest.raises(SourceUnavailable):
        adapter.answer([QUESTION], timeout_s=0.3)
    assert 0.2 < monotonic() - started < 2
    writer.execute("ROLLBACK")
    writer.close()
    assert adapter.answer([QUESTION], timeout_s=5)[0].result is Code.MATCH


def test_missing_file_is_unavailable_and_is_not_created(sqlite_source: SqliteSource) -> None:
    with pytest.raises(SourceUnavailable):
        sqlite_source.adapter(ONE_RELATION).answer([QUESTION], timeout_s=5)
    assert not sqlite_source.path.exists()


def test_file_that_is_no_database_is_misbehaviour(sqlite_source: SqliteSource) -> None:
    sqlite_source.path.write_bytes(b"id_no,full name\n" * 1000)
    adapter = sqlite_source.adapter(ONE_RELATION)
    with pytest.raises(SourceMisbehaved):
        adapter.answer([QUESTION], timeout_s=5)
    assert adapter.probe().reachable


def test_text_that_is_no_utf8_is_misbehaviour_without_the_text(sqlite_source: SqliteSource) -> None:
    sqlite_source.fill("wages", WAGES, [])
    sqlite_source.execute(
        f"INSERT INTO wages VALUES ('{WEI}', CAST(X'D5C5CEB0' AS TEXT), '2020-01-01', NULL, '某公司')"
    )
    with pytest.raises(SourceMisbehaved) as caught:
        sqlite_source.adapter(ONE_RELATION).answer([QUESTION], timeout_s=5)
    assert str(caught.value) == "employment-status: the source is not as its binding says (OperationalError)"


@pytest.mark.parametrize(
    "statement", ["INSERT INTO wages (id_no) VALUES (1)", "DROP TABLE wages", "CREATE TABLE x (a)"]
)
def test_connection_of_an_adapter_cannot_write(sqlite_source: SqliteSource, statement: str) -> None:
    sqlite_source.fill("wages", WAGES, [ROW])
    connection = open_engine(sqlite_source.url).raw_connection()
    try:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.cursor().execute(statement)
    finally:
        connection.close()
        close_engine(sqlite_source.url)


def test_services_of_one_source_share_its_connections(sqlite_source: SqliteSource) -> None:
    engine = open_engine(sqlite_source.url)
    assert open_engine(sqlite_source.url) is engine
    close_engine(sqlite_source.url)
    assert open_engine(sqlite_source.url) is engine
    close_engine(sqlite_source.url)
    close_engine(sqlite_source.url)
    again = open_engine(sqlite_source.url)
    assert again is not engine
    close_engine(sqlite_source.url)
    close_engine(sqlite_source.url)  # once too often


def test_forked_process_opens_connections_of_its_own(sqlite_source: SqliteSource) -> None:
    sqlite_source.fill("wages", WAGES, [ROW])
    adapter = sqlite_source.adapter(ONE_RELATION)
    adapter.answer([QUESTION], timeout_s=5)
    pool = adapter._engine.pool
    child = os.fork()
    if child == 0:
        fresh = adapter._engine.pool is not pool
        os._exit(0 if fresh and adapter.answer([QUESTION], timeout_s=5)[0].result is Code.MATCH else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert adapter._engine.pool is pool
    assert adapter.answer([QUESTION], timeout_s=5)[0].result is Code.MATCH


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true"])
def test_sqlite_without_a_file_is_refused(url: str) -> None:
    with pytest.raises(BindingInvalid, match="path of a file"):
        open_engine(url)


@pytest.mark.parametrize("url", ["", "not a url", "nosuch://user:secret@host/x", "mysql+pymysql://u:secret@h/d"])
def test_url_that_cannot_be_opened_is_refused_without_being_told(url: str) -> None:
    with pytest.raises(BindingInvalid) as caught:
        open_engine(url)
    assert "secret" not in str(caught.value)
