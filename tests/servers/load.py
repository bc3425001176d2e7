"""Clients that ask a node over and over, and the log in which the order of what they were answered stands."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, TypeAlias

import orjson
from sqlalchemy import create_engine, select

from app.log import tables
from client.http import NodeClient, Reply
from tests.servers.node import RunningNode

Body: TypeAlias = dict[str, Any]
Ask: TypeAlias = Callable[[NodeClient, Body], Reply]
Open: TypeAlias = Callable[[], NodeClient]
Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """One reply: when its request was sent and it came (seconds since 1970), its status, and the id that it names."""

    sent_at: float
    came_at: float
    status: int
    id: str | None


@dataclass(slots=True)
class Load:
    """Threads that ask until told to stop; each has a connection and a token of its own."""

    ask: Ask
    replies: list[Answered] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self, open_client: Open, bodies: Sequence[Body]) -> None:
        """Ask one body after the other, again from the first, until told to stop."""
        with open_client() as client:
            for body in cycle(bodies):
                if self.done.is_set():
                    return
                sent_at = time.time()
                reply = self.ask(client, body)
                found = reply.body.get("id") or reply.body.get("instance")
                self.replies.append(Answered(sent_at, time.time(), reply.status, found))

    def wait_for(self, count: int, status: int, since: float = 0.0) -> None:
        """Wait until so many replies of that status have come to requests sent since then."""
        deadline = time.monotonic() + 30
        while sum(one.status == status and one.sent_at >= since for one in self.replies) < count:
            assert time.monotonic() < deadline, f"no {count} replies with status {status}"
            time.sleep(0.01)

    def statuses(self, since: float, until: float = float("inf")) -> set[int]:
        """The statuses of all replies that came in this time to requests that were sent in it."""
        return {one.status for one in self.replies if since <= one.sent_at and one.came_at < until}


@contextmanager
def loaded(ask: Ask, open_client: Open, bodies: Sequence[Body], threads: int) -> Iterator[Load]:
    """The node under load until the block ends; what a thread met is raised then."""
    load = Load(ask)
    with ThreadPoolExecutor(threads) as pool:
        running: list[Future[None]] = [
            pool.submit(load.run, open_client, bodies[number::threads]) for number in range(threads)
        ]
        try:
            yield load
        finally:
            load.done.set()
        for one in running:
            one.result(30)


def claimants(node: RunningNode, purpose: str = "unemployment-benefit") -> list[Body]:
    """Questions of `hz-hrss` about every claimant of the demonstration."""
    lines = (node.var / "claimants.ndjson").read_text("utf-8").splitlines()
    common = {"case": "UB-LOAD-1", "operator": "operator-1", "purpose": purpose}
    return [{**common, **json.loads(line)} for line in lines]


def log_of(node: RunningNode) -> list[Record]:
    """Every record in the order of the log."""
    engine = create_engine(node.env["HECHA_DATABASE_URL"])
    entry = tables.log_entry.c
    try:
        with engine.connect() as connection:
            query = select(entry.body).order_by(entry.idx)
            return [orjson.loads(body) for body in connection.execute(query).scalars()]
    finally:
        engine.dispose()
