"""Quota and disclosure budget: reserved in one atomic Redis round trip, true in the charge rows; fails closed.

Redis is only the front. It says which rebuild it stems from (`generation`) and up to which log index it was told of
commits; one that is empty, flushed or behind is rebuilt from the charge rows before anyone is answered. A rebuild
raises the generation in the log's head, so a reservation made before it can no longer be recorded.
"""

from __future__ import annotations

import hmac
import logging
import math
import threading
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import select, update

from app.log import tables
from app.log.storage import Store, StoreUnavailable, charged
from app.refusals import Refusal

logger = logging.getLogger(__name__)

SHANGHAI = ZoneInfo("Asia/Shanghai")
STATE = "hecha:state"
RESERVATION_TTL_S = 3_600
REBUILD_TIMEOUT_S = 60
PIECE = 5_000  # commands sent to Redis at once while rebuilding
SETTLED_AT_ONCE = 50
MILLIBITS = 1_000


@dataclass(frozen=True, slots=True)
class Account:
    """One account that a question draws on.

    `name` is the charge row's account; a quota counts questions and has no `question`; a budget counts thousandths
    of a bit and names the keyed question that is paid for once. `resets_at` is when a quota's period ends.
    """

    name: str
    amount: int
    limit: int
    question: str | None = None
    resets_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was reserved for one decision: the charges to record, and the generation they hold for."""

    id: str
    accounts: tuple[Account, ...]
    charges: tuple[Mapping[str, Any], ...]
    generation: int


def period(per: str, now: datetime) -> tuple[str, datetime]:
    """The name and end of the calendar period (`day`, `month`, `year`) that `now` lies in, by Asia/Shanghai."""
    # Shanghai's days begin on a full hour of UTC, so the hour decides.
    return _period(per, int(now.timestamp()) // 3_600)


@lru_cache(64)
def _period(per: str, hour: int) -> tuple[str, datetime]:
    local = datetime.fromtimestamp(hour * 3_600, SHANGHAI)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return local.strftime("%Y-%m-%d"), midnight + timedelta(days=1)
    if per == "month":
        return local.strftime("%Y-%m"), (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return local.strftime("%Y"), midnight.replace(year=local.year + 1, month=1, day=1)


def price(possible_answers: int) -> int:
    """What a question with that many possible answers may disclose at most, in thousandths of a bit."""
    return math.ceil(math.log2(possible_answers) * MILLIBITS)


def keyed(key: bytes, *parts: str) -> str:
    """A name for personal parts that only holders of the node's key can recompute (HMAC-SHA256, 128 bits)."""
    digest = hmac.digest(key, "\x1f".join(parts).encode(), "sha256")
    return urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()


class Limiter:
    """Reserves and refunds; shared by threads, each with a connection of its own."""

    def __init__(self, url: str, store: Store) -> None:
        self._url = url
        self._store = store
        self._local = threading.local()
        self._rebuilding = threading.Lock()
        self._seen = -1
        self._settled: deque[str] = deque()
        self._script = files("app").joinpath("limits.lua").read_bytes()
        self._sha = ""

    def reserve(self, identifier: str, accounts: Sequence[Account], committed: int, now: datetime) -> Reservation:
        """Reserve for one decision on every account or on none.

        `committed` is the newest log index this process wrote. Raises `Refusal`: quota-exceeded or
        budget-exhausted with Retry-After where time helps, limiter-unavailable if Redis cannot be trusted.
        """
        answer = self._run(identifier, accounts, committed, now)
        if answer[0] in (b"cold", b"behind"):
            self.rebuild()
            answer = self._run(identifier, accounts, committed, now)
        status = answer[0].decode()
        if status.startswith("limit "):
            raise _exceeded(accounts[int(status[6:])], now)
        if status != "ok":
            raise _unavailable()
        self._seen = max(self._seen, int(answer[2]))
        charges = tuple(
            {"account": account.name, "amount": int(cost), "question": account.question}
            for account, cost in zip(accounts, answer[4::2], strict=True)
            if int(cost)
        )
        return Reservation(identifier, tuple(accounts), charges, int(answer[1]))

    def refund(self, reservation: Reservation) -> None:
        """Give a reservation back whose question got no answer from the source."""
        try:
            connection = self._connection()
            connection.send_command("EVAL", _REFUND, 1, f"hecha:reservation:{reservation.id}")
            connection.read_response()
        except (redis.RedisError, OSError):
            # A refund that is lost is found again at the next rebuild, from the charge rows.
            self._drop_connection()

    def settle(self, reservation: Reservation) -> None:
        """Note that a reservation is recorded: from the next call on, the same question is free."""
        if reservation.charges:
            self._settled.append(reservation.id)

    def distrust(self) -> None:
        """Have the accounts rebuilt from the charge rows before the next question is answered."""
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
            query = select(head.c.generation, head.c.size)
            generation, size = connection.execute(query if self._store.sqlite else query.with_for_update()).one()
            if not at_start and self._holds(client, generation):
                return
            generation += 1
            # Without its state the front answers nobody, here or in another process, until all is written.
            client.delete(STATE)
            _refuse_eviction(client)
            _write_accounts(client, charged(connection))
            connection.execute(update(head).values(generation=generation))
        # Only once the generation is durable, so that no number is ever given out twice.
        client.hset(STATE, mapping={"generation": generation, "applied": size - 1})
        client.close()
        self._seen = max(self._seen, size - 1)

    def _holds(self, client: redis.Redis, generation: int) -> bool:
        found, applied = client.hmget(STATE, "generation", "applied")
        return found is not None and int(found) == generation and int(applied or -1) >= self._seen

    def _run(self, identifier: str, accounts: Sequence[Account], committed: int, now: datetime) -> list[bytes]:
        keys = [
            STATE,
            f"hecha:reservation:{identifier}",
            *(f"hecha:account:{item.name}" for item in accounts),
        ]
        arguments: list[str | int] = [committed, self._seen, RESERVATION_TTL_S]
        for account in accounts:
            arguments += (account.amount, account.limit, account.question or "", _ttl(account, now))
        arguments += self._take_settled()
        try:
            return self._asked(keys, arguments)
        except redis.TimeoutError as error:
            self._drop_connection()
            raise _lost(error) from None
        except (redis.ConnectionError, OSError):
            # A connection that was cut while idle: reserving twice under one id is reserving once.
            self._drop_connection()
        try:
            return self._asked(keys, arguments)
        except (redis.RedisError, OSError) as error:
            self._drop_connection()
            raise _lost(error) from None

    def _take_settled(self) -> list[str]:
        taken: list[str] = []
        while self._settled and len(taken) < SETTLED_AT_ONCE:
            with suppress(IndexError):
                taken.append(self._settled.popleft())
        return taken

    def _asked(self, keys: list[str], arguments: list[str | int]) -> list[bytes]:
        connection = self._connection()
        try:
            return self._evalsha(connection, keys, arguments)
        except redis.exceptions.NoScriptError:
            self._load(connection)
            return self._evalsha(connection, keys, arguments)

    def _evalsha(self, connection: Any, keys: list[str], arguments: list[str | int]) -> list[bytes]:
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
        connection = getattr(self._local, "connection", None)
        if connection is None:
            pool = redis.ConnectionPool.from_url(
                self._url, socket_timeout=2, socket_connect_timeout=2, max_connections=1
            )
            connection = self._local.connection = pool.make_connection()
            connection.connect()  # type: ignore[no-untyped-call]
        return connection

    def _drop_connection(self) -> None:
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            connection.disconnect()


def _refuse_eviction(client: redis.Redis) -> None:
    """A Redis that may forget accounts to make room would forget budgets: raise `RedisError`."""
    try:
        found = client.config_get("maxmemory*")
    except redis.ResponseError:
        # Hosted servers hide their settings; docs/deployment.md says what theirs must be.
        return
    if found.get("maxmemory", "0") != "0" and found.get("maxmemory-policy") != "noeviction":
        logger.error("Redis may evict keys: set maxmemory-policy to noeviction")
        raise redis.RedisError


def _write_accounts(client: redis.Redis, charges: Iterable[tuple[str, str | None, int]]) -> None:
    """Replace every account by what the charge rows say, in bounded pieces."""
    pipeline = client.pipeline(transaction=False)
    for name in client.scan_iter("hecha:*", count=PIECE):
        pipeline.unlink(name)
        _flush(pipeline)
    for account, question, amount in charges:
        pipeline.hincrby(f"hecha:account:{account}", "spent", amount)
        if question:
            pipeline.hset(f"hecha:account:{account}", question, str(amount))
        _flush(pipeline)
    pipeline.execute()


def _flush(pipeline: redis.client.Pipeline) -> None:
    if len(pipeline) >= PIECE:
        pipeline.execute()


def _ttl(account: Account, now: datetime) -> int:
    # A quota's counter may be forgotten a day after its period: its name holds the period.
    return int((account.resets_at - now).total_seconds()) + 86_400 if account.resets_at else 0


def _exceeded(account: Account, now: datetime) -> Refusal:
    if account.resets_at is None:
        return Refusal(
            "budget-exhausted",
            "Further questions about this subject would disclose more than the agreement allows.",
        )
    wait = max(1, math.ceil((account.resets_at - now).total_seconds()))
    return Refusal(
        "quota-exceeded",
        f"The agreement's {account.limit} questions for this period are used up.",
        headers={"Retry-After": str(wait)},
    )


def _lost(error: Exception) -> Refusal:
    logger.warning("Redis does not answer: %s", type(error).__name__)
    return _unavailable()


def _unavailable() -> Refusal:
    return Refusal(
        "limiter-unavailable",
        "Quota and budget cannot be checked now, so nothing is answered: try again shortly.",
        headers={"Retry-After": "1"},
    )


_REFUND = """
local reserved = redis.call('HGETALL', KEYS[1])
for n = 1, #reserved, 2 do
  if reserved[n] ~= 'id' then
    local amount, question = string.match(reserved[n + 1], '^(%d+) (.*)$')
    redis.call('HINCRBY', reserved[n], 'spent', -tonumber(amount))
    -- Only a payment of this reservation's own: another one may have paid for the same question meanwhile.
    if question ~= '' and redis.call('HGET', reserved[n], question) == 'p' .. string.sub(KEYS[1], 19) then
      redis.call('HDEL', reserved[n], question)
    end
  end
end
return redis.call('DEL', KEYS[1])
"""
