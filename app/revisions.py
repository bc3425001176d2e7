"""Putting a node directory in force: once at start, or by a reload while the node runs.

The directory must be signed by a policy signer, and its revision may only rise: number and digest of the one in force
stand in the database and in the log, and each is held against the other. A directory that is refused leaves the
running one in force and is recorded too. Agreements of the directory are taken over with both sides' signatures.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from adapters.base import BindingInvalid
from app.identity.caller import Caller
from app.log import tables
from app.log.sequencer import Place
from app.log.storage import Store, archive, archived
from app.recording import Recorder
from app.refusals import Refusal
from app.registry import ledger, node_directory, standing
from app.registry.agreement_document import Draft, unsigned_by
from app.registry.current import NotInForce, RevisionInForce, in_database, in_log
from app.registry.departments import Registered
from app.registry.files import NodeFileInvalid
from app.registry.lockouts import held_clients
from app.registry.node_directory import Filed, NodeDirectory
from app.registry.revision import RevisionInvalid, load_signed, read_signers
from app.settings import SettingInvalid
from app.steps import Step
from evidence.canonical import canonical

logger = logging.getLogger(__name__)

IN_FORCE, REFUSED = "in-force", "refused"
TRIES = 5  # each needs another change of what is in force in between


class RollBack(RevisionInvalid):
    """The directory is older than the one in force, or another one of the same number."""


REFUSALS = (NodeFileInvalid, BindingInvalid, SettingInvalid)
"""What refuses a directory: its files (`RevisionInvalid`, `RollBack` among them), or a source that has no binding."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What putting a directory in force does: `changes` it the one in force, and which agreements are `missing`.

    It rests on what was in force at `epoch`, when `live` were the rows of agreements that the missing ones end.
    """

    directory: NodeDirectory
    content: bytes
    missing: tuple[Filed, ...]
    changes: bool
    epoch: int = 0
    live: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Revisions:
    """Holds a folder's directory against what is in force, and puts it in force."""

    store: Store
    recorder: Recorder
    keys_dir: Path
    check: Callable[[NodeDirectory], None]  # that every source can be bound; raises what start-up refuses

    def install(self, folder: Path, caller: Caller | None = None, admit: Callable[[], object] | None = None) -> bool:
        """Put the directory in `folder` in force; whether anything changed.

        `admit` raises the `Refusal` of a caller who may do so no more; it is asked once more after all is read. Its
        agreements and the revision come into force in one transaction, or nothing does. Raises one of `REFUSALS`
        with the reason, which is recorded; and `Refusal`: record-not-written, or conflict.
        """
        files: dict[str, bytes] = {}
        try:
            files = node_directory.read_files(folder)
            return self._put(files, caller, admit or (lambda: None))
        except REFUSALS as error:
            self._refuse(files, error, caller)
            raise

    def examine(self, folder: Path) -> Plan:
        """What `install` would do; nothing is changed or recorded. Raises one of `REFUSALS`."""
        return self._plan(node_directory.read_files(folder))

    def _put(self, files: dict[str, bytes], caller: Caller | None, admit: Callable[[], object]) -> bool:
        """Put it in force as planned; planned anew where an agreement or another instance moved in between."""
        for _ in range(TRIES):
            plan = self._plan(files)
            if not plan.changes:
                return False
            # Whoever is locked out from here on moves the epoch that the plan rests on.
            admit()
            # However many agreements: thousands at once belong to a start, when nobody waits for the log yet.
            with suppress(ledger.Moved):
                self.recorder.record_step(_in_force(plan, datetime.now(UTC), caller))
                return True
        raise ledger.Moved

    def _plan(self, files: dict[str, bytes]) -> Plan:
        directory, _ = load_signed(files, read_signers(self.keys_dir))
        _same_log(directory, self.recorder.origin)
        self.check(directory)
        content = _content(files)
        with self.store.reading() as connection:
            epoch = connection.execute(select(tables.log_head.c.epoch)).scalar_one()
            before = _before(connection)
            _hold(before, directory, _digest(content))
            if before is not None and before.directory == _digest(content):
                # In force since all its agreements were taken over: ten thousand need not be read at each start.
                return Plan(directory, content, missing=(), changes=False)
            _leave_room(directory, held_clients(connection))
            missing = _in_turn(_missing(connection, directory, directory.filed()))
            rows = (standing.find(connection, item.draft.supersedes) for item in missing if item.draft.supersedes)
            live = {row.id: row for row in rows if row is not None and row.state in standing.LIVE}
        return Plan(directory, content, missing, changes=True, epoch=epoch, live=live)

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


def _leave_room(directory: NodeDirectory, registered: Iterable[Registered]) -> None:
    """Raise `RevisionInvalid` where a client that is registered over HTTP would lose its department, id or name."""
    found = directory.departments.with_registered(registered)
    for row in registered:
        if row.document is not None and (
            row.client in directory.departments.clients or row.client not in found.clients
        ):
            raise RevisionInvalid(
                f"departments/: {row.client} of {row.department} is registered over HTTP (/v1/clients), and this "
                "directory has no room for it: leave out what has its id or its certificate's name"
            )


def _before(connection: Connection) -> RevisionInForce | None:
    """What is in force by the database, which must be what the log names last, its documents archived unaltered."""
    held = in_database(connection)
    try:
        said = in_log(connection)
    except NotInForce as error:
        raise RevisionInvalid(str(error)) from None
    if held != said:
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
    places, halts = standing.places(connection), standing.halts(connection)
    for item in filed:
        draft = item.draft
        if draft.id not in held:
            if missing := unsigned_by(directory.departments, draft.signers, draft.document, item.signatures):
                raise RevisionInvalid(
                    f"{item.name}: no valid signature of {', '.join(missing)}: nothing runs on an unsigned agreement"
                )
            _check_superseded(connection, item)
            if draft.valid_until > now and (others := standing.halted(draft, halts)):
                raise NodeFileInvalid(
                    f"{item.name}: the sharing authority has suspended {others[0]} for one of its purposes; nothing "
                    "takes its place before the authority resumes or ends it"
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


def _check_superseded(connection: Connection, item: Filed) -> None:
    """An agreement ends none but one between the same sides about the same service. Raises `NodeFileInvalid`."""
    if item.draft.supersedes is None:
        return
    old = standing.find(connection, item.draft.supersedes)
    if old is not None and not item.may_supersede(old):
        raise item.foreign()


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


def _in_force(plan: Plan, now: datetime, caller: Caller | None) -> Step:
    """The revision's record, with those of its agreements right behind it, in one transaction."""
    directory, digest, number = plan.directory, _digest(plan.content), plan.directory.rules.revision

    def change(connection: Connection, place: Place) -> None:
        # What was planned rests on the revision in force and on where agreements stood: both move the epoch.
        if place.epoch != plan.epoch + 1:
            raise ledger.Moved
        archive(connection, "directory", plan.content)
        archive(connection, "rules", directory.rules.archive())
        for service in directory.catalogue.services.values():
            archive(connection, "contract", canonical(service.contract))
        connection.execute(delete(tables.registry))
        row = {"id": 1, "revision": number, "directory": digest, "idx": place.index}
        connection.execute(insert(tables.registry).values(row))

    return Step(
        id=str(uuid.uuid4()),
        at=now,
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
        also=_agreements(plan, now),
    )


def _agreements(plan: Plan, now: datetime) -> tuple[Step, ...]:
    """The records of a plan's agreements, each followed by the end of the one whose place it takes."""
    live = {**plan.live, **{item.draft.id: item.draft for item in plan.missing if item.draft.valid_until > now}}
    steps: list[Step] = []
    for item in plan.missing:
        ends = live.pop(item.draft.supersedes or "", None) if item.draft.valid_until > now else None
        steps.append(_agreement(item, now, ends))
        if ends is not None:
            steps.append(_superseded(item.draft, ends, now))
    return tuple(steps)


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


def _agreement(item: Filed, now: datetime, ends: Any | None) -> Step:
    """The record that takes an agreement over; `ends` is the one, in the database or filed with it, that it ends."""
    draft = item.draft
    state = standing.ACTIVE if draft.valid_until > now else "expired"

    def change(connection: Connection, place: Place) -> None:
        archive(connection, "agreement", draft.document)
        if state == standing.ACTIVE:
            taken = standing.taken(connection, draft)
            if others := _in_the_way(connection, draft, taken, now):
                raise Refusal("conflict", _taken(item, others[0]) + ".")
            for other in taken:
                if other != draft.supersedes:
                    standing.move(connection, other, "expired", place.epoch)
            if ends is not None:
                standing.move(connection, ends.id, "superseded", place.epoch)
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
    )


def _superseded(draft: Draft, old: Any, now: datetime) -> Step:
    """The end of the agreement that a new one takes the place of, as a record of its own."""
    return Step(
        id=str(uuid.uuid4()),
        at=now,
        kind="agreement",
        state="superseded",
        about=old.id,
        document={"agreement": old.id, "of": old.digest, "by": draft.id, "change": "superseded"},
        consumer=old.consumer,
        provider=old.provider,
        service=old.service,
        agreement=old.digest,
    )
