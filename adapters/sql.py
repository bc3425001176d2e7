"""Sources in SQL: any SQLAlchemy 2.0 dialect, proven on SQLite and PostgreSQL. Reads only, in sets.

The register and the relation asked are both read whatever the first says, so that time tells nothing about
it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Final, TypeVar, cast

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import SQLAlchemyError

from adapters.base import Answer, Binding, Probe, Question, SourceError, SourceMisbehaved, SourceUnavailable
from adapters.columns import instant_of, text_of
from adapters.engines import close_engine, limit, open_engine
from adapters.faults import fault_of
from adapters.fingerprints import Record
from adapters.judge import Judge
from adapters.lookup import Fetch, Rows, fetch, lookup, newest, nothing_of
from adapters.normalise import stored_forms

CHUNK: Final = 1000
"""Questions that one statement asks about at most."""
AS_OF_CACHE_S: Final = 5.0
"""How long the time of the last update is believed."""
PROBE_TIMEOUT_S: Final = 2.0
"""How long a look at the source itself may take."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Fault:
    """What went wrong, and whether a fresh connection may help."""

    error: SourceError
    stale: bool


class SqlAdapter:
    """A service bound to relations of one database. Shared by threads; see `adapters.base.Adapter`.

    `updated` names the relation and column whose greatest value is the time of the source's last update.
    Raises `BindingInvalid` for a URL or a binding that cannot work; the database itself is first met by a
    question or `probe`.
    """

    def __init__(
        self, binding: Binding, *, url: str, fingerprint_key: bytes, updated: tuple[str, str] | None = None
    ) -> None:
        self._binding = binding
        self._judge = Judge(binding, fingerprint_key)
        self._url: str | None = url
        self._updated = updated
        self._as_of: tuple[float, datetime | None] | None = None
        self._engine = open_engine(url)
        dialect = self._engine.dialect
        self._driver_error: type[Exception] = dialect.loaded_dbapi.Error
        self._errors = (SQLAlchemyError, self._driver_error, ValueError, OverflowError)
        self._asked = lookup(dialect, binding.relation, binding.subject_column, self._judge.asked_columns)
        self._register: Fetch | None = None
        if not self._judge.single:
            columns = self._judge.register_columns
            self._register = lookup(dialect, binding.register, binding.register_column, columns)

    def answer(self, questions: Sequence[Question], *, timeout_s: float) -> list[Answer]:
        """Answer all questions in order, or raise `SourceError`. Time counts over all chunks together."""
        deadline = monotonic() + timeout_s
        answers: list[Answer] = []
        try:
            for start in range(0, len(questions), CHUNK):
                answers += self._answer(questions[start : start + CHUNK], deadline)
        except SourceError as error:
            raise self._named(error) from None
        return answers

    def probe(self) -> Probe:
        """Connect, select no row of what is bound, and read the last update. Never raises."""
        try:
            problems = self._run(self._problems)
            return Probe(True, tuple(problems), None if problems else self.as_of())
        except SourceUnavailable:
            return Probe(False, (), None)
        except SourceMisbehaved as error:
            return Probe(True, (str(error),), None)

    def as_of(self) -> datetime | None:
        """Return the time of the last update (UTC), looked up every five seconds. Raises `SourceError`."""
        if self._updated is None:
            return None
        known = self._as_of
        if known is None or monotonic() - known[0] > AS_OF_CACHE_S:
            try:
                known = self._as_of = (monotonic(), instant_of(self._run(self._newest)))
            except SourceError as error:
                raise self._named(error) from None
        return known[1]

    def close(self) -> None:
        """Give back the connections, once."""
        url, self._url = self._url, None
        if url is not None:
            close_engine(url)

    def _named(self, error: SourceError) -> SourceError:
        return type(error)(f"{self._binding.service}: {error}")

    def _answer(self, questions: Sequence[Question], deadline: float) -> list[Answer]:
        # Several questions of a bulk may be about one subject, and a subject may stand in several spellings.
        subjects = {
            form: question.subject
            for question in questions
            for form in stored_forms(self._binding.subject_type, question.subject)
        }
        keys = list(subjects)

        def read(connection: PoolProxiedConnection) -> tuple[Rows, Rows]:
            limit(connection, self._engine.dialect, deadline)
            asked = self._asked(connection, keys)
            if self._register is None:
                return asked, asked
            limit(connection, self._engine.dialect, deadline)
            return self._register(connection, keys), asked

        register_rows, asked_rows = self._run(read)
        asked = _by_subject(asked_rows, subjects)
        register = asked if self._register is None else _by_subject(register_rows, subjects)
        return [
            self._judge.answer(question, register.get(question.subject, ()), asked.get(question.subject, ()))
            for question in questions
        ]

    def _problems(self, connection: PoolProxiedConnection) -> list[str]:
        judge, binding = self._judge, self._binding
        needs: dict[str, dict[str, None]] = defaultdict(dict)
        needs[binding.relation] |= dict.fromkeys((binding.subject_column, *judge.asked_columns))
        needs[binding.register] |= dict.fromkeys((binding.register_column, *judge.register_columns))
        if self._updated is not None:
            needs[self._updated[0]][self._updated[1]] = None
        return [
            f"{missing}: missing or not readable"
            for relation, columns in needs.items()
            for missing in self._missing(connection, relation, list(columns))
        ]

    def _missing(self, connection: PoolProxiedConnection, relation: str, columns: Sequence[str]) -> list[str]:
        if self._is_readable(connection, relation, columns):
            return []
        if not self._is_readable(connection, relation, ()):
            return [relation]
        return [f"{relation}.{item}" for item in columns if not self._is_readable(connection, relation, (item,))]

    def _is_readable(self, connection: PoolProxiedConnection, relation: str, columns: Sequence[str]) -> bool:
        limit(connection, self._engine.dialect, monotonic() + PROBE_TIMEOUT_S)
        try:
            fetch(connection, nothing_of(self._engine.dialect, relation, columns))
        except self._errors as error:
            if isinstance(fault_of(error), SourceMisbehaved):
                return False
            raise
        return True

    def _newest(self, connection: PoolProxiedConnection) -> object:
        relation, column = self._updated or ("", "")
        limit(connection, self._engine.dialect, monotonic() + PROBE_TIMEOUT_S)
        return fetch(connection, newest(self._engine.dialect, relation, column))[0][0]

    def _run(self, work: Callable[[PoolProxiedConnection], _T]) -> _T:
        """Do the work on a connection of the pool; if it was found dead, once more on a fresh one."""
        outcome = self._attempt(work)
        if isinstance(outcome, _Fault) and outcome.stale:
            self._engine.dispose()  # its neighbours died with it
            outcome = self._attempt(work)
        if isinstance(outcome, _Fault):
            raise outcome.error
        return outcome

    def _attempt(self, work: Callable[[PoolProxiedConnection], _T]) -> _T | _Fault:
        connection = None
        try:
            connection = self._engine.raw_connection()
            return work(connection)
        except self._errors as error:
            stale = connection is not None and self._is_dead(error, connection)
            if connection is not None:
                connection.invalidate()  # what it had prepared may no longer fit the source
            return _Fault(fault_of(error), stale)
        finally:
            if connection is not None:
                connection.close()

    def _is_dead(self, error: Exception, connection: PoolProxiedConnection) -> bool:
        dialect, dead = self._engine.dialect, cast("Any", connection.dbapi_connection)
        return isinstance(error, self._driver_error) and dialect.is_disconnect(cast("Any", error), dead, None)


def _by_subject(rows: Rows, subjects: Mapping[str, str]) -> Mapping[str, list[Record]]:
    """Group rows by subject, without their key, which `char` columns pad."""
    found: dict[str, list[Record]] = {}
    for key, *record in rows:
        subject = subjects.get(str(text_of(key)).strip())
        if subject is not None:
            found.setdefault(subject, []).append(record)
    return found
