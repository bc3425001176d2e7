"""Putting a node directory in force: once at start, or by a reload while the node runs.

The directory must be signed by a policy signer, and its revision may only rise: number and digest of the one in force
stand in the database and in the log, and each is held against the other. A directory that is refused leaves the
running one in force and is recorded too. Agreements of the directory are taken over with both sides' signatures.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, delete, insert, select

from adapters.base import BindingInvalid
from app.identity.caller import Caller
from app.log import tables
from app.log.sequencer import Entry, Place
from app.log.storage import Store, archive, archived
from app.recording import Recorder
from app.refusals import Refusal
from app.registry import node_directory, standing
from app.registry.agreement_document import Draft, unsigned_by
from app.registry.current import RevisionInForce, in_database, in_log
from app.registry.files import NodeFileInvalid
from app.registry.node_directory import Filed, NodeDirectory
from app.registry.revision import RevisionInvalid, load_signed, read_signers
from app.settings import SettingInvalid
from app.steps import Step
from evidence.canonical import canonical

logger = logging.getLogger(__name__)

IN_FORCE, REFUSED = "in-force", "refused"


class RollBack(RevisionInvalid):
    """The directory is older than the one in force, or another one of the same number."""


REFUSALS = (NodeFileInvalid, BindingInvalid, SettingInvalid)
"""What refuses a directory: its files (`RevisionInvalid`, `RollBack` among them), or a source that has no binding."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What putting a directory in force does: `changes` it the one in force, and which agreements are `missing`."""

    directory: NodeDirectory
    content: bytes
    missing: tuple[Filed, ...]
    changes: bool


@dataclass(frozen=True, slots=True)
class Revisions:
    """Holds a folder's directory against what is in force, and puts it in force."""

    store: Store
    recorder: Recorder
    keys_dir: Path
    check: Callable[[NodeDirectory], None]  # that every source can be bound; raises what start-up refuses

    def install(self, folder: Path, caller: Caller | None = None) -> bool:
        """Put the directory in `folder` in force; whether anything changed.

        Raises one of `REFUSALS` with the reason, which is recorded; and `Refusal` record-not-written.
        """
        files: dict[str, bytes] = {}
        try:
            files = node_directory.read_files(folder)
            plan = self._plan(files)
        except REFUSALS as error:
            self._refuse(files, error, caller)
            raise
        # Agreements first: a crash in between leaves the old directory in force, and a start tries the whole again.
        self._take_over(plan.missing)
        if plan.changes:
            self.recorder.record_step(_in_force(plan.directory, plan.content, caller))
        return plan.changes

    def examine(self, folder: Path) -> Plan:
        """What `install` would do; nothing is changed or recorded. Raises one of `REFUSALS`."""
        return self._plan(node_directory.read_files(folder))

    def _plan(self, files: dict[str, bytes]) -> Plan:
        directory, _ = load_signed(files, read_signers(self.keys_dir))
        _same_log(directory, self.recorder.origin)
        self.check(directory)
        content = _content(files)
        with self.store.reading() as connection:
            before = _before(connection)
            _hold(before, directory, _digest(content))
            if before is not None and before.directory == _digest(content):
                # In force since all its agreements were taken over: ten thousand need not be read at each start.
                return Plan(directory, content, missing=(), changes=False)
            missing = _in_turn(_missing(connection, directory, directory.filed()))
        return Plan(directory, content, missing, changes=True)

    def _take_over(self, filed: Sequence[Filed]) -> None:
        now = datetime.now(UTC)
        with self.store.reading() as connection:
            rows = (standing.find(connection, item.draft.supersedes or "") for item in filed)
            live = {row.id for row in rows if row is not None and row.state in {"active", "suspended"}}
        live |= {item.draft.id for item in filed if item.draft.valid_until > now}
        entries: list[Entry] = [self.recorder.entry(_agreement(item, now, live))[0] for item in filed]
        self.recorder.sequencer.append_all(entries)

    def _refuse(self, files: dict[str, bytes], error: ValueError, caller: Caller | None) -> None:
        logger.error("the node directory is refused: %s", error)
        digest = _digest(_content(files))
        step = Step(
            id=str(uuid.uuid4()),
            at=datetime.now(UTC),
            kind="revision",
            state=REFUSED,
            about="node-directory",
            document={"directory": digest, "reason": str(error)},
            caller=caller,
            members={"directory": digest},
        )
        try:
            self.recorder.record_step(step)
        except Refusal:
            # It is refused all the same.
            logger.error("that the node directory is refused could not be recorded")  # noqa: TRY400


def _content(files: dict[str, bytes]) -> bytes:
    """The whole directory as one canonical document, texts by path."""
    return canonical({path: content.decode("utf-8", "replace") for path, content in files.items()})


def _digest(content: bytes) -> str:
    return "sha256-" + hashlib.sha256(content).hexdigest()


def _same_log(directory: NodeDirectory, origin: str) -> None:
    if directory.origin != origin:
        raise RevisionInvalid(f"node.yaml: the log is named {origin} and stays so; origin cannot change")


def _before(connection: Connection) -> RevisionInForce | None:
    """What is in force by the database, which must be what the log names last, its documents archived unaltered."""
    held = in_database(connection)
    if held != in_log(connection):
        raise RevisionInvalid(
            "the database and the log name different revisions of the node directory as the one in force: one of "
            "them was altered; restore the node database"
        )
    if held is not None:
        for kind, digest in (("node directory", held.directory), ("rule set", held.rules)):
            if archived(connection, digest) is None:
                raise RevisionInvalid(
                    f"the archive does not hold the {kind} in force, {digest}, or not as it was put in force: "
                    "restore the node database"
                )
    return held


def _hold(before: RevisionInForce | None, directory: NodeDirectory, digest: str) -> None:
    """Raise `RollBack` unless the directory is the one in force or a later one."""
    number = directory.rules.revision
    if before is None or number > before.revision or (number, digest) == (before.revision, before.directory):
        return
    if number < before.revision:
        raise RollBack(
            f"node.yaml: policy_revision {number} is older than {before.revision}, which is in force; "
            "to take rules back, sign them again under a higher number"
        )
    raise RollBack(
        f"node.yaml: policy_revision {number} is in force with other content; raise the number and sign again"
    )


def _missing(connection: Connection, directory: NodeDirectory, filed: list[Filed]) -> Iterator[Filed]:
    """The directory's agreements that the database does not hold yet. Raises `NodeFileInvalid`."""
    rows = connection.execute(select(tables.agreement.c.id, tables.agreement.c.digest))
    held: dict[str, str] = {row.id: row.digest for row in rows}
    now = datetime.now(UTC)
    # Of ten thousand new agreements few are in anybody's way: one look tells which to look at.
    places = standing.places(connection)
    for item in filed:
        draft = item.draft
        if draft.id not in held:
            if missing := unsigned_by(directory.departments, draft.signers, draft.document, item.signatures):
                raise RevisionInvalid(
                    f"{item.name}: no valid signature of {', '.join(missing)}: nothing runs on an unsigned agreement"
                )
            crowded = draft.valid_until > now and not places.isdisjoint(standing.places_of(draft))
            if crowded and (others := _in_the_way(connection, draft, standing.taken(connection, draft), now)):
                raise NodeFileInvalid(_taken(item, others[0]))
            yield item
        elif held[draft.id] != draft.digest:
            raise NodeFileInvalid(
                f"{item.name}: {draft.id} was accepted with other content; an accepted agreement never changes: "
                f"give the new one an id of its own and `supersedes: {draft.id}`"
            )


def _in_turn(filed: Iterable[Filed]) -> tuple[Filed, ...]:
    """Each behind the one that it supersedes: a directory may bring both at once, whatever its files are named."""
    by_id = {item.draft.id: item for item in filed}

    def generation(item: Filed) -> int:
        seen, before = {item.draft.id}, item.draft.supersedes
        while before is not None and before in by_id and before not in seen:
            seen.add(before)
            before = by_id[before].draft.supersedes
        return len(seen)

    return tuple(sorted(by_id.values(), key=generation))


def _in_force(directory: NodeDirectory, content: bytes, caller: Caller | None) -> Step:
    digest, number = _digest(content), directory.rules.revision

    def change(connection: Connection, place: Place) -> None:
        _hold(in_database(connection), directory, digest)
        archive(connection, "directory", content)
        archive(connection, "rules", directory.rules.archive())
        for service in directory.catalogue.services.values():
            archive(connection, "contract", canonical(service.contract))
        connection.execute(delete(tables.registry))
        row = {"id": 1, "revision": number, "directory": digest, "idx": place.index}
        connection.execute(insert(tables.registry).values(row))

    return Step(
        id=str(uuid.uuid4()),
        at=datetime.now(UTC),
        kind="revision",
        state=IN_FORCE,
        about=directory.name,
        document={
            "contracts": {name: item.contract_digest for name, item in directory.catalogue.services.items()},
            "directory": digest,
            "revision": number,
            "rules": directory.rules.digest,
        },
        caller=caller,
        members={"revision": number, "directory": digest, "policy": directory.rules.digest},
        change=change,
        moves_epoch=True,
    )


def _in_the_way(connection: Connection, draft: Draft, taken: Iterable[str], now: datetime) -> list[str]:
    """Those agreements that hold its places and are neither superseded by it nor past their end."""
    rows = {other: standing.find(connection, other) for other in taken}
    return [
        other
        for other, row in rows.items()
        if other != draft.supersedes and not (row is not None and row.valid_until <= now.timestamp())
    ]


def _taken(item: Filed, other: str) -> str:
    return f"{item.name}: {other} is active for one of its purposes: name it as superseded, or revoke it first"


def _agreement(item: Filed, now: datetime, live: AbstractSet[str]) -> Step:
    draft = item.draft
    state = standing.ACTIVE if draft.valid_until > now else "expired"
    superseded = state == standing.ACTIVE and draft.supersedes in live

    def change(connection: Connection, place: Place) -> None:
        archive(connection, "agreement", draft.document)
        if state == standing.ACTIVE:
            taken = standing.taken(connection, draft)
            if others := _in_the_way(connection, draft, taken, now):
                raise Refusal("conflict", _taken(item, others[0]) + ".")
            for other in taken:
                if other != draft.supersedes:
                    standing.move(connection, other, "expired", place.epoch)
            if superseded and draft.supersedes is not None:
                standing.move(connection, draft.supersedes, "superseded", place.epoch)
            standing.claim(connection, draft)
        standing.add(connection, draft, state, place.epoch, signatures=item.signatures)

    return Step(
        id=str(uuid.uuid4()),
        at=now,
        kind="agreement",
        state=state,
        about=draft.id,
        document={"agreement": draft.digest, "signatures": dict(item.signatures), "source": item.name},
        consumer=draft.consumer,
        provider=draft.provider,
        service=draft.service,
        agreement=draft.digest,
        change=change,
        moves_epoch=True,
        also=(_superseded(draft, now),) if superseded else (),
    )


def _superseded(draft: Draft, now: datetime) -> Step:
    """The end of the agreement that a new one takes the place of, as a record of its own."""
    return Step(
        id=str(uuid.uuid4()),
        at=now,
        kind="agreement",
        state="superseded",
        about=draft.supersedes or "",
        document={"agreement": draft.supersedes, "by": draft.id, "change": "superseded"},
        consumer=draft.consumer,
        provider=draft.provider,
        service=draft.service,
    )
