"""A whole node in this process, under a clock that is turned by hand, over registers made for an attack.

Real rules, agreements, limiter (Valkey), log (SQLite) and source; only HTTP, TLS and tokens are left out, which no
attack on answers touches. Questions are put as `app.verification.Verification.ask` takes them.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson

from app.keys import node_keys as keys
from app.registry.revision import SIGNERS
from app.server import prepare_state
from app.services import Node, build
from app.settings import Settings
from app.valkey import EmbeddedValkey
from app.verification import Request
from bench.callers import unchecked_caller
from examples.demo import signing
from examples.demo.build import PROVIDERS
from examples.demo.departments import NODE_DIR, client_names, department_names
from examples.demo.identifiers import DISTRICTS, resident_id
from examples.demo.names import personal_name
from examples.demo.pki import write_pki

SERVICE = "property-contract"
START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LOADED_AT = "2026-11-16T06:00:00+08:00"

Rewrite = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Subject:
    """A buyer with one registered contract; `price` is in fen."""

    id_number: str
    name: str
    contract: str
    price: int


@dataclass(frozen=True, slots=True)
class Employed:
    """A person with one employment, both of whose days belong to it."""

    id_number: str
    name: str
    first: date
    last: date


@dataclass(slots=True)
class Clock:
    """The node's time of day, which stands still until it is turned."""

    at: datetime = START

    def __call__(self) -> datetime:
        """The time of day."""
        return self.at

    def turn(self, to: datetime) -> None:
        """Turn it forward."""
        self.at = max(self.at, to)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an attacker sees: the answer's JSON, or the slug of the refusal."""

    slug: str
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Simulated:
    """The node, its clock, and what its directory was made from."""

    node: Node
    clock: Clock
    folder: Path
    signing_keys: signing.Keys

    def ask(self, client: str, body: Mapping[str, Any], service: str = SERVICE) -> Reply:
        """Put one question as a client whose certificate and token are sound."""
        registered = self.node.registry.departments.clients[client]
        caller = unchecked_caller(registered, [f"verify:{service}"], "simulated")
        reply = self.node.verification.ask(Request(caller, service, orjson.dumps(body), "127.0.0.1"))
        if reply.refusal is not None:
            return Reply(reply.refusal.slug)
        return Reply("answered", orjson.loads(reply.body))

    def install(self, edits: Mapping[str, Rewrite], revision: int) -> None:
        """Put another revision of the node directory in force, as an operator does."""
        folder = _directory(self.folder, edits, self.signing_keys, revision)
        assert self.node.revisions.install(folder)
        self.node.current.refresh()


@contextmanager
def simulated(
    subjects: Sequence[Subject], edits: Mapping[str, Rewrite], employed: Sequence[Employed] = ()
) -> Iterator[Simulated]:
    """A new node over these people, with these edits of the example node directory; gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="hecha-sim-"))
    valkey = EmbeddedValkey(folder)
    try:
        signers = signing.ensure_keys(folder / "signing", [*department_names(), signing.POLICY])
        keys.create(folder / "keys")
        (folder / "pki").mkdir()
        write_pki(folder / "pki", client_names(), datetime.now(UTC))
        (folder / "keys" / SIGNERS).write_bytes(signing.signers_document(signers))
        write_register(folder / "housing.db", subjects)
        write_wages(folder / "tax.db", employed)
        env = _environment(folder, _directory(folder, edits, signers, 1))
        valkey.start()
        settings = Settings.from_env(env)
        prepare_state(settings, env)
        node = build(settings, env)
        clock = Clock()
        node = replace(node, verification=replace(node.verification, clock=clock))
        yield Simulated(node, clock, folder, signers)
        node.close()
    finally:
        valkey.stop()
        shutil.rmtree(folder, ignore_errors=True)


def write_register(path: Path, subjects: Sequence[Subject]) -> None:
    """The housing authority's database with these subjects' contracts and nobody else's."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE contract_parties (id_no TEXT PRIMARY KEY, full_name TEXT)")
        connection.execute("CREATE TABLE property_contracts (contract_number TEXT, buyer_id_no TEXT, price TEXT)")
        connection.execute("CREATE INDEX by_buyer ON property_contracts (buyer_id_no)")
        connection.execute("CREATE TABLE load_status (relation TEXT NOT NULL, loaded_at TEXT NOT NULL)")
        connection.execute("INSERT INTO load_status VALUES ('property_contracts', ?)", (LOADED_AT,))
        connection.executemany(
            "INSERT INTO contract_parties VALUES (?, ?)", [(item.id_number, item.name) for item in subjects]
        )
        connection.executemany(
            "INSERT INTO property_contracts VALUES (?, ?, ?)",
            [(item.contract, item.id_number, f"{item.price // 100}.{item.price % 100:02d}") for item in subjects],
        )


def write_wages(path: Path, employed: Sequence[Employed]) -> None:
    """The tax bureau's database with these people's employments and nobody else's."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE taxpayers (id_no TEXT PRIMARY KEY, full_name TEXT)")
        connection.execute(
            "CREATE TABLE wage_declarations (id_no TEXT, employer_name TEXT, start_date TEXT, end_date TEXT)"
        )
        connection.execute("CREATE TABLE load_status (relation TEXT NOT NULL, loaded_at TEXT NOT NULL)")
        connection.execute("INSERT INTO load_status VALUES ('wage_declarations', ?)", (LOADED_AT,))
        connection.executemany(
            "INSERT INTO taxpayers VALUES (?, ?)", [(item.id_number, item.name) for item in employed]
        )
        connection.executemany(
            "INSERT INTO wage_declarations VALUES (?, '杭州某某有限公司', ?, ?)",
            [(item.id_number, item.first.isoformat(), item.last.isoformat()) for item in employed],
        )


def id_numbers(count: int) -> Iterator[str]:
    """So many valid resident id numbers, of people born in the 20th century who live nowhere."""
    for place in range(count):
        days, rest = divmod(place, len(DISTRICTS) * 400)
        district, ordinal = divmod(rest, 400)
        born = date(1950, 1, 1) + timedelta(days=days)
        yield resident_id(list(DISTRICTS)[district], born, ordinal, "F" if place % 2 else "M")


def buyers(count: int, rng: Random, step: int) -> list[Subject]:
    """So many buyers; three prices in four lie where a careless comparison would give most away.

    `step` (fen) is the provider's grid: prices on it, half way between, a fen beside either, and any others.
    """
    found = []
    numbers = rng.sample(list(id_numbers(max(20_000, count))), count)
    for place, number in enumerate(numbers):
        base = rng.randrange(30, 400) * step
        shift = (0, step // 2, rng.choice((-1, 1)) + rng.choice((0, step // 2)), rng.randrange(step))[place % 4]
        name = personal_name(rng, "F" if int(number[16]) % 2 == 0 else "M")
        found.append(Subject(number, name, f"{2014 + place % 12}YS{100_000 + place:06d}", base + shift))
    return found


def workers(count: int, rng: Random, within: date, span: int) -> list[Employed]:
    """So many people who were employed on that day, from and to any day less than `span` days away."""
    return [
        Employed(
            number,
            personal_name(rng, "F" if int(number[16]) % 2 == 0 else "M"),
            within - timedelta(days=rng.randrange(span)),
            within + timedelta(days=rng.randrange(span)),
        )
        for number in rng.sample(list(id_numbers(max(20_000, count))), count)
    ]


def _directory(folder: Path, edits: Mapping[str, Rewrite], signers: signing.Keys, revision: int) -> Path:
    source, target = folder / f"template-{revision}", folder / f"directory-{revision}"
    shutil.copytree(NODE_DIR, source)
    for name, rewrite in edits.items():
        path = source / name
        before = path.read_text("utf-8") if path.exists() else ""
        changed = rewrite(before)
        assert changed != before, name
        path.write_text(changed, "utf-8")
    signing.signed_directory(source, target, signers, revision=revision)
    return target


def _environment(folder: Path, directory: Path) -> dict[str, str]:
    env = {
        "HECHA_NODE_DIR": str(directory),
        "HECHA_STATE_DIR": str(folder),
        "HECHA_KEYS_DIR": str(folder / "keys"),
        "HECHA_DATABASE_URL": f"sqlite:///{folder / 'node.db'}",
        "HECHA_ISSUER": "https://node.hangzhou.example",
        "HECHA_TLS_CLIENT_CA": str(folder / "pki" / "ca.pem"),
    }
    for provider in PROVIDERS:
        env[f"HECHA_SOURCE_{provider.upper().replace('-', '_')}"] = f"sqlite:///{folder / 'absent.db'}"
    return env | {
        "HECHA_SOURCE_HZ_HOUSING": f"sqlite:///{folder / 'housing.db'}",
        "HECHA_SOURCE_HZ_TAX": f"sqlite:///{folder / 'tax.db'}",
    }


def months(count: int) -> Iterator[datetime]:
    """The beginnings of so many months from now on, at nine in the morning of Hangzhou or a little later."""
    year, month = START.year, START.month
    for _ in range(count):
        month += 1
        year, month = (year + 1, 1) if month > 12 else (year, month)
        yield datetime(year, month, 2, 1, 0, tzinfo=UTC)


def quota_of(count: int, per: str = "month") -> Rewrite:
    """A rewrite of an agreement's quota."""
    return lambda text: re.sub(r"quota: {.*}", f"quota: {{count: {count}, per: {per}}}", text)
