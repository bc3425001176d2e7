"""What is PostgreSQL's own: types, padding, open ends, locks, rights, and a server that falls silent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import monotonic, sleep

import psycopg
import pytest

from adapters.base import AttributeBinding, Binding, BindingInvalid, SourceMisbehaved, SourceUnavailable
from adapters.compare import build
from adapters.engines import close_engine, open_engine
from adapters.sql import SqlAdapter
from tests.contract.people import ONE_RELATION, TODAY, WEI, ask
from tests.contract.sources import KEY, PostgresSource
from tests.servers.postgres import PASSWORD, start_postgres

TYPED = """
CREATE SCHEMA tax;
CREATE TABLE tax."Wages (2026)" (
    id_no char(18), "full name" varchar(50), start date, "end" date, employer text,
    wage numeric(14, 4), level smallint, active boolean, seen timestamptz, photo bytea, serial bigint
)
"""


def typed(source: PostgresSource, **values: str) -> None:
    """One row of a relation with real types."""
    row = {"id_no": f"'{WEI}'", '"full name"': "'张伟'", "start": "'2020-01-01'"} | values
    source.execute(TYPED, f'INSERT INTO tax."Wages (2026)" ({", ".join(row)}) VALUES ({", ".join(row.values())})')


def bind(attribute: AttributeBinding | None = None) -> Binding:
    attributes = ONE_RELATION.attributes if attribute is None else (attribute,)
    relation = "tax.Wages (2026)"
    return replace(ONE_RELATION, relation=relation, register=relation, attributes=attributes)


def result(source: PostgresSource, attribute: AttributeBinding, declared: object) -> str:
    comparison = build(attribute)
    value = comparison.snap(comparison.parse(declared))
    question = replace(ask(WEI, "张伟"), declared={attribute.name: value})
    (answer,) = source.adapter(bind(attribute)).answer([question], timeout_s=5)
    return answer.result.value


WITHIN = AttributeBinding("it", "within", {"column": "wage"}, {"tolerance": "5000.00", "grid": "10000.00"})
SEEN = AttributeBinding("it", "date", {"column": "seen"})


@pytest.mark.parametrize(
    ("stored", "attribute", "declared", "expected"),
    [
        ({"start": "'2026-03-01'"}, AttributeBinding("it", "date", {"column": "start"}), "2026-03-01", "match"),
        ({"seen": "'2026-02-28 23:00+00'"}, SEEN, "2026-03-01", "match"),
        ({"seen": "'9999-12-31 23:00+00'"}, SEEN, "9999-12-31", "match"),
        ({"seen": "'-infinity'"}, SEEN, "0001-01-01", "match"),
        ({"seen": "'0044-03-15 12:00+00 BC'"}, SEEN, "0001-01-01", "match"),
        ({"wage": "1284999.99"}, WITHIN, "1280000.00", "match"),
        ({"wage": "1285000.01"}, WITHIN, "1280000.00", "no_match"),
        ({"wage": "'NaN'"}, WITHIN, "1280000.00", "no_match"),
        ({"wage": "null"}, WITHIN, "0", "no_match"),
        ({"level": "3"}, AttributeBinding("it", "code", {"column": "level"}), "3", "match"),
        (
            {"active": "true"},
            AttributeBinding("it", "one_of", {"column": "active"}, {"values": ["true", "false"]}),
            "true",
            "match",
        ),
        ({"employer": "'a\u2003b'"}, AttributeBinding("it", "exact", {"column": "employer"}), "a b", "no_match"),
    ],
)
def test_typed_column_is_compared(
    postgres_source: PostgresSource,
    stored: Mapping[str, str],
    attribute: AttributeBinding,
    *,
    declared: str,
    expected: str,
) -> None:
    typed(postgres_source, **stored)
    assert result(postgres_source, attribute, declared) == expected


@pytest.mark.parametrize("end", ["'infinity'", "null", "'9999-12-31'"])
def test_period_without_end_covers_today(postgres_source: PostgresSource, end: str) -> None:
    typed(postgres_source, **{'"end"': end})
    answers = postgres_source.adapter(bind()).answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)
    assert answers[0].result.value == "match"


def test_old_number_in_a_padded_column_is_found(postgres_source: PostgresSource) -> None:
    typed(postgres_source, id_no=f"'{WEI[:6] + WEI[8:17]}'")
    answers = postgres_source.adapter(bind()).answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)
    assert answers[0].result.value == "match"


def test_padded_key_column_is_looked_up_by_its_index(postgres_source: PostgresSource) -> None:
    typed(postgres_source)
    postgres_source.execute(
        'INSERT INTO tax."Wages (2026)" (id_no) SELECT 339000000000000000 + n FROM generate_series(1, 5000) n',
        'CREATE INDEX wages_key ON tax."Wages (2026)" (id_no)',
        'ANALYZE tax."Wages (2026)"',
    )
    adapter = postgres_source.adapter(bind())
    adapter.answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)
    adapter.close()  # a session reports what it scanned when it ends
    with postgres_source.server.connect() as connection:
        for _ in range(100):
            scans = connection.execute(
                "SELECT i.idx_scan FROM pg_stat_user_indexes i WHERE i.indexrelname = 'wages_key'"
            ).fetchall()
            if scans == [(1,)]:
                break
            sleep(0.05)
    assert scans == [(1,)]


def test_number_in_an_integer_column_is_found(postgres_source: PostgresSource) -> None:
    typed(postgres_source, serial="4711")
    binding = replace(bind(), subject_type="code", subject_column="serial", register_column="serial")
    answers = postgres_source.adapter(binding).answer([ask("4711", "张伟", employed_on=TODAY)], timeout_s=5)
    assert answers[0].result.value == "match"


def test_column_of_bytes_is_misbehaviour(postgres_source: PostgresSource) -> None:
    typed(postgres_source, photo=r"'\x616263'")
    attribute = AttributeBinding("photo", "exact", {"column": "photo"})
    with pytest.raises(SourceMisbehaved, match="employment-status: a column bound as text holds bytes"):
        result(postgres_source, attribute, "abc")


def test_locked_relation_is_unavailable_in_time(postgres_source: PostgresSource) -> None:
    typed(postgres_source)
    postgres_source.execute('CREATE TABLE wages AS SELECT * FROM tax."Wages (2026)"')
    adapter = postgres_source.adapter(ONE_RELATION)
    with postgres_source.locked("wages"):
        started = monotonic()
        with pytest.raises(SourceUnavailable):
            adapter.answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=0.5)
        assert monotonic() - started < 2
        assert not adapter.probe().reachable
    assert adapter.answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)[0].result.value == "match"


def test_frozen_server_is_unavailable_in_time(postgres_source: PostgresSource) -> None:
    typed(postgres_source)
    adapter = postgres_source.adapter(bind())
    question = ask(WEI, "张伟", employed_on=TODAY)
    adapter.answer([question], timeout_s=5)
    with postgres_source.server.connect() as connection:
        found = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'hecha'").fetchall()
    pids = [pid for (pid,) in found]
    assert pids
    with postgres_source.server.frozen(pids):
        started = monotonic()
        with pytest.raises(SourceUnavailable):
            adapter.answer([question], timeout_s=0.5)
        assert monotonic() - started < 3
    assert adapter.answer([question], timeout_s=5)[0].result.value == "match"


def test_session_that_the_server_ended_is_not_noticed(postgres_source: PostgresSource) -> None:
    typed(postgres_source)
    adapter = postgres_source.adapter(bind())
    question = ask(WEI, "张伟", employed_on=TODAY)
    (before,) = adapter.answer([question], timeout_s=5)
    with postgres_source.server.connect() as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'hecha'"
        ).fetchall()
    assert ended == [(True,)]
    assert adapter.answer([question], timeout_s=5) == [before]


@pytest.mark.parametrize("statement", ["INSERT INTO t VALUES (1)", "UPDATE t SET a = 1", "DROP TABLE t"])
def test_connection_of_an_adapter_cannot_write(postgres_source: PostgresSource, statement: str) -> None:
    postgres_source.execute("CREATE TABLE t (a integer)")
    connection = open_engine(postgres_source.url).raw_connection()
    try:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.cursor().execute(statement)
    finally:
        connection.close()
        close_engine(postgres_source.url)


def test_refused_password_is_unavailable_and_not_told(postgres_source: PostgresSource) -> None:
    url = postgres_source.url.replace(PASSWORD, "not-the-secret")
    adapter = SqlAdapter(ONE_RELATION, url=url, fingerprint_key=KEY)
    with pytest.raises(SourceUnavailable) as caught:
        adapter.answer([ask(WEI, "张伟", employed_on=TODAY)], timeout_s=5)
    assert "secret" not in str(caught.value)
    assert not adapter.probe().reachable
    adapter.close()


def test_options_of_the_url_are_kept(postgres_source: PostgresSource) -> None:
    url = f"{postgres_source.url}&options=-csearch_path%3Dtax"
    postgres_source.execute(TYPED)
    binding = replace(ONE_RELATION, relation="Wages (2026)", register="Wages (2026)")
    adapter = SqlAdapter(binding, url=url, fingerprint_key=KEY)
    assert adapter.probe().schema_problems == ()
    adapter.close()


def test_relation_without_the_right_to_read_is_a_problem_of_the_probe(postgres_source: PostgresSource) -> None:
    postgres_source.execute(TYPED, "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    url = postgres_source.url.replace("hecha_test:throw-away", "guest:guest")
    adapter = SqlAdapter(bind(), url=url, fingerprint_key=KEY)
    assert adapter.probe().schema_problems == ("tax.Wages (2026): missing or not readable",)
    adapter.close()
    postgres_source.execute("DROP ROLE guest")


def test_other_driver_is_refused(postgres_source: PostgresSource) -> None:
    with pytest.raises(BindingInvalid, match="psycopg"):
        open_engine("postgresql://a:secret@h/d")


def test_several_servers_run_side_by_side(postgres_source: PostgresSource) -> None:
    with start_postgres({"max_connections": "10"}) as other:
        with other.connect() as connection:
            assert connection.execute("SHOW max_connections").fetchall() == [("10",)]
        assert other.home != postgres_source.server.home
    assert not other.home.exists()
