"""Quota and disclosure budget: reserved in one atomic Redis round trip, true in the charge rows; fails closed.

Redis is only the front. It says which rebuild it stems from (`generation`), which run of which server was told of it,
and up to which log index it was told of commits; one that is empty, flushed, started again, replaced or behind is
rebuilt from the charge rows (`app.limits.rebuild`) before anyone is answered. A rebuild raises the generation in the
log's head, so a reservation made before it can no longer be recorded. It also tells early, before a source is asked,
that the registry has moved on (`epoch`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import select, update

from app.limits.account import NO_EPOCH, Account, Exhausted, Reservation, charge_of, exceeded
from app.limits.rebuild import (
    ACCOUNT,
    REBUILD,
    RESERVATION,
    RESERVATIONS,
    STATE,
    Settled,
    recorded,
    refuse_eviction,
    write_accounts,
)
from app.log import tables
from app.log.sequencer import RegistryChanged
from app.log.storage import Store, StoreUnavailable
from app.refusals import Refusal

logger = logging.getLogger(__name__)

RECORDED_WITHIN_S = 600  # a question that takes longer is decided anew
SWEPT_AFTER_S = 3_600  # the clocks of a node's instances may be apart by the difference
SWEEP_EVERY_S = 60.0
SWEPT_AT_ONCE = 50
REBUILD_TIMEOUT_S = 60
SETTLED_AT_ONCE = 50
_SETTLING = "settling"  # a reservation on nothing, which carries news alone

Arguments: TypeAlias = "list[str | bytes | int]"


class Limiter:
    """Reserves and refunds; shared by threads, each with a connection of its own."""

    def __init__(self, url: str, store: Store) -> None:
        self._url = url
        self._store = store
        self._local = threading.local()
        self._rebuilding = threading.Lock()
        self._seen = -1
        self._settled: deque[Settled] = deque()
        self._script = _script("give_back", "reserve")
        self._sha = ""
        self._open: set[str] = set()  # reservations of this process that are under way
        self._sweep_due = 0.0

    def reserve(
        self, identifier: str, accounts: Sequence[Account], committed: int, now: datetime, *, epoch: int = NO_EPOCH
    ) -> Reservation:
        """Reserve for one decision on every account or on none.

        `committed` is the newest log index this process wrote, `epoch` the registry's that the question was decided
        under. Raises `Refusal`: quota-exceeded with Retry-After, `Exhausted`, limiter-unavailable if Redis cannot be
        trusted; and `RegistryChanged` if the registry is known to have moved on.
        Whatever was reserved under this id before is given back.
        """
        until = time.time() + RECORDED_WITHIN_S
        if time.monotonic() >= self._sweep_due:
            self._sweep_due = time.monotonic() + SWEEP_EVERY_S
            self.sweep(time.time())
        answer = self._run(identifier, accounts, (committed, epoch), now)
        if answer[0] in (b"cold", b"behind"):
            self.rebuild()
            answer = self._run(identifier, accounts, (committed, epoch), now)
        status = answer[0].decode()
        if status.startswith("limit "):
            account = accounts[int(status[6:])]
            raise exceeded(account, now) if account.question is None else Exhausted(account, answer[4].decode(), now)
        if status == "changed":
            raise RegistryChanged
        if status != "ok":
            raise _unavailable()
        self._seen = max(self._seen, int(answer[2]))
        self._open.add(identifier)
        return replace(_reservation(identifier, accounts, answer), until=until)

    def renew(self, account: Account, known: str, values: str) -> bool:
        """Begin an account anew under other source values, unless somebody did so first.

        What is reserved but not recorded yet stays drawn. Raises `Refusal` limiter-unavailable.
        """
        try:
            connection = self._connection()
            connection.send_command("EVAL", _script("renew"), 1, ACCOUNT + account.name, known, values)
            return bool(connection.read_response())
        except (redis.RedisError, OSError) as error:
            self._drop_connection()
            raise _lost(error) from None

    def announce(self, epoch: int) -> None:
        """Tell every process that the registry has moved on; they would find out when they record."""
        try:
            connection = self._connection()
            connection.send_command("EVAL", _script("announce"), 1, STATE, epoch)
            connection.read_response()
        except (redis.RedisError, OSError):
            self._drop_connection()

    def refund(self, reservation: Reservation) -> None:
        """Give a reservation back whose question got no answer from the source."""
        self._open.discard(reservation.id)
        try:
            self._give_back(reservation.id)
        except (redis.RedisError, OSError):
            # A refund that is lost is made up for when the question is reserved again, by the next sweep or rebuild.
            self._drop_connection()

    def sweep(self, now: float) -> None:
        """Clear up some reservations that their processes left behind, killed or cut off from Redis.

        INVARIANT: by `now` (seconds since 1970) they can be recorded no more, so the charge rows say for good which
        of them were: these are settled with the next reservation, all others are given back.
        """
        try:
            connection = self._connection()
            connection.send_command("ZRANGEBYSCORE", RESERVATIONS, "-inf", now, "LIMIT", 0, SWEPT_AT_ONCE)
            left = [key.decode().removeprefix(RESERVATION) for key in connection.read_response()]
            if not left:
                return
            with self._store.reading() as database:
                found = recorded(database, left)
            self._settled.extend(found)
            for identifier in sorted({*left} - {item[0] for item in found}):
                self._give_back(identifier, left_by=now)
        except (redis.RedisError, OSError, StoreUnavailable) as error:
            self._drop_connection()
            logger.warning("what was left reserved is not given back yet: %s", type(error).__name__)

    def _give_back(self, identifier: str, *, left_by: float | None = None) -> None:
        connection = self._connection()
        script = _script("give_back", "refund")
        connection.send_command("EVAL", script, 1, RESERVATION + identifier, "" if left_by is None else left_by)
        connection.read_response()

    def settle(self, reservation: Reservation, index: int, known: Mapping[str, str] | None = None) -> None:
        """Note that a reservation is recorded at `index`: it stays drawn, and the same question is free from now on.

        `known` are the source values that its answer was about, by account. Under load the news travels with the next
        reservation of this process; if there is none under way, it is told at once.
        """
        self._open.discard(reservation.id)
        if reservation.accounts:
            values = {ACCOUNT + name: text for name, text in (known or {}).items()}
            # Only a record that names its values makes the rows begin the account anew.
            anew = [name for name in values if name.removeprefix(ACCOUNT) in reservation.renewed]
            self._settled.append((reservation.id, index, values, anew))
            if not self._open:
                with suppress(Refusal):
                    self._run(_SETTLING, (), (-1, NO_EPOCH), datetime.now(UTC))

    def distrust(self) -> None:
        """Have the accounts rebuilt from the charge rows before the next question is answered."""
        self._open.clear()
        try:
            connection = self._connection()
            connection.send_command("DEL", STATE)
            connection.read_response()
        except (redis.RedisError, OSError):
            self._drop_connection()

    def rebuild(self, *, at_start: bool = False) -> None:
        """Write the accounts anew from the charge rows, under a generation of its own.

        One that another process has rebuilt meanwhile is left alone, but never `at_start`: a Redis that was set
        back to an older state while no node ran looks whole. Raises `Refusal` limiter-unavailable.
        """
        with self._rebuilding:
            try:
                self._rebuild(at_start=at_start)
            except (redis.RedisError, OSError, StoreUnavailable) as error:
                self._drop_connection()
                logger.warning("the limiter cannot be rebuilt: %s", type(error).__name__)
                raise _unavailable() from None

    def _rebuild(self, *, at_start: bool) -> None:
        # No retries while the write lock is held: everyone else waits behind it.
        client = redis.Redis.from_url(self._url, socket_timeout=REBUILD_TIMEOUT_S, retry=Retry(NoBackoff(), 0))
        # The write lock keeps commits out, so that no charge is missed or counted twice.
        with self._store.writing() as connection:
            head = tables.log_head
            query = select(head.c.generation, head.c.size, head.c.epoch)
            generation, size, epoch = connection.execute(
                query if self._store.sqlite else query.with_for_update()
            ).one()
            server = _run_id(client.info("server"))
            if not at_start and self._holds(client, generation, server):
                return
            generation += 1
            # Without its state the front answers nobody, here or in another process, until all is written.
            client.delete(STATE)
            client.set(REBUILD, generation)
            refuse_eviction(client)
            write_accounts(client, connection)
            connection.execute(update(head).values(generation=generation))
        # Only once the generation is durable, so that no number is ever given out twice.
        client.eval(_script("rebuilt").decode(), 2, REBUILD, STATE, generation, size - 1, epoch, server)
        client.close()
        self._seen = max(self._seen, size - 1)

    def _holds(self, client: redis.Redis, generation: int, server: str) -> bool:
        found, applied, told = client.hmget(STATE, "generation", "applied", "server")
        if found is None or told != server.encode():
            return False
        return int(found) == generation and int(applied or -1) >= self._seen

    def _run(
        self, identifier: str, accounts: Sequence[Account], standing: tuple[int, int], now: datetime
    ) -> list[bytes]:
        keys = [
            STATE,
            RESERVATION + identifier,
            *(ACCOUNT + item.name for item in accounts),
        ]
        committed, epoch = standing
        arguments: Arguments = [committed, self._seen, f"{time.time() + SWEPT_AFTER_S:.0f}", epoch]
        taken = self._take_settled()
        arguments.append(orjson.dumps(taken) if taken else b"")
        drawn: Arguments = []
        for account in accounts:
            drawn += (account.amount, account.limit, account.question or "", _ttl(account, now))
        try:
            return self._asked(keys, arguments, drawn)
        except redis.TimeoutError as error:
            self._drop_connection()
            self._settled.extendleft(taken)
            raise _lost(error) from None
        except (redis.ConnectionError, OSError):
            # A connection that was cut while idle: reserving twice under one id is reserving once.
            self._drop_connection()
        try:
            return self._asked(keys, arguments, drawn)
        except (redis.RedisError, OSError) as error:
            self._drop_connection()
            self._settled.extendleft(taken)
            raise _lost(error) from None

    def _take_settled(self) -> list[Settled]:
        taken: list[Settled] = []
        while self._settled and len(taken) < SETTLED_AT_ONCE:
            with suppress(IndexError):
                taken.append(self._settled.popleft())
        return taken

    def _asked(self, keys: list[str], standing: Arguments, drawn: Arguments) -> list[bytes]:
        connection = self._connection()
        arguments = [*standing, self._local.server, *drawn]
        try:
            return self._evalsha(connection, keys, arguments)
        except redis.exceptions.NoScriptError:
            self._load(connection)
            return self._evalsha(connection, keys, arguments)

    def _evalsha(self, connection: Any, keys: list[str], arguments: Arguments) -> list[bytes]:
        if not self._sha:
            self._load(connection)
        connection.send_command("EVALSHA", self._sha, len(keys), *keys, *arguments)
        answer: list[bytes] = connection.read_response()
        return answer

    def _load(self, connection: Any) -> None:
        connection.send_command("SCRIPT", "LOAD", self._script)
        self._sha = connection.read_response().decode()

    def _connection(self) -> Any:
        """The thread's own connection: half the time of one that is taken from a pool for each command."""
        held = getattr(self._local, "connection", None)
        if held is None:
            pool = redis.ConnectionPool.from_url(
                self._url, socket_timeout=2, socket_connect_timeout=2, max_connections=1
            )
            connection: Any = pool.make_connection()
            connection.connect()
            # A connection stays with one run of one server: what it is told of, that run has in memory.
            connection.send_command("INFO", "server")
            self._local.server = _run_id(connection.read_response())
            held = self._local.connection = connection
        return held

    def _drop_connection(self) -> None:
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            connection.disconnect()


def _reservation(identifier: str, accounts: Sequence[Account], answer: list[bytes]) -> Reservation:
    spent, cost = answer[3::5], answer[4::5]
    paid, known, anew = answer[5::5], answer[6::5], answer[7::5]
    renewed = frozenset(account.name for account, flag in zip(accounts, anew, strict=True) if flag == b"1")
    charges = tuple(
        charge_of(account, int(amount), renewed=account.name in renewed)
        for account, amount in zip(accounts, cost, strict=True)
        if int(amount)
    )
    budgets = [place for place, account in enumerate(accounts) if account.question]
    free = bool(budgets) and all(int(cost[place]) == 0 and paid[place] for place in budgets)
    answers = [int(paid[place]) for place in budgets if accounts[place].answers] if free else []
    return Reservation(
        id=identifier,
        accounts=tuple(accounts),
        charges=charges,
        generation=int(answer[1]),
        spent=tuple(int(amount) for amount in spent),
        known={account.name: text.decode() for account, text in zip(accounts, known, strict=True) if text},
        paid_at=max(answers, default=None),
        renewed=renewed,
    )


def _ttl(account: Account, now: datetime) -> int:
    # A quota's counter may be forgotten a day after its period: its name holds the period.
    return int((account.resets_at - now).total_seconds()) + 86_400 if account.resets_at else 0


def _lost(error: Exception) -> Refusal:
    logger.warning("Redis does not answer: %s", type(error).__name__)
    return _unavailable()


def _unavailable() -> Refusal:
    return Refusal(
        "limiter-unavailable",
        "Quota and budget cannot be checked now, so nothing is answered: try again shortly.",
        headers={"Retry-After": "1"},
    )


def _run_id(info: Any) -> str:
    """What `INFO server` says of one run of one server. Raises `RedisError` where it says nothing."""
    fields = (
        dict(line.partition(":")[::2] for line in info.decode().splitlines()) if isinstance(info, bytes) else info
    )
    if not fields.get("run_id"):
        raise redis.RedisError("INFO server names no run_id")
    return str(fields["run_id"])


@cache
def _script(*names: str) -> bytes:
    folder = files("app.limits")
    return b"\n".join(folder.joinpath(f"{name}.lua").read_bytes() for name in names)
