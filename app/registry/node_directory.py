"""The node directory as a whole: node.yaml, departments/, services/, agreements/ and a department's own rules/.

It is read from a mapping of paths to bytes, from disk or from the archive, and nothing runs on a directory half
right: a file that no reader knows is refused (an editor's backup of a rule is not a rule, nor is a misspelt name).
Files and folders whose names begin with a dot are no part of it; nothing reads them, and no signature covers them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from app.registry import files as node_files
from app.registry.agreement_document import Draft, check_document
from app.registry.agreements import Agreements, Held
from app.registry.catalogue import Catalogue
from app.registry.deadlines import WorkCalendar, read_calendar
from app.registry.departments import Departments
from app.registry.files import DirectoryFiles, Members, NodeFileInvalid
from policies.decision import RuleSet, RulesInvalid
from policies.packaged import packaged_rules, packaged_schema

MAX_FILE = 1_048_576  # bytes
MAX_REVISION = 16_777_216  # bytes of the one file that names all the others
MAX_TOTAL = 134_217_728
MAX_FILES = 50_000
REVISION = "revision.jws"
SIGNATURES = ".signatures.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_KNOWN = re.compile(
    r"node\.yaml|revision\.jws|[^/]+\.md|(?:departments|services|agreements|calendar)/[^/]+\.(?:yaml|md)"
    r"|agreements/[^/]+\.signatures\.json|rules/(?:[^/]+/)?[^/]+\.(?:cedar|md)"
)
_COMMON = ("consumer", "provider", "service", "kind")  # to an agreement and the one that it supersedes
_DEPTH = 3  # rules/<provider>/<file>


@dataclass(frozen=True, slots=True)
class Filed:
    """An agreement that stands in the directory, with the signatures beside it (detached JWS by department)."""

    name: str
    draft: Draft
    signatures: Mapping[str, str]

    def may_supersede(self, old: Any) -> bool:
        """Whether it may end the old one, a draft or a row: nobody ends what is agreed between others."""
        return all(getattr(self.draft, name) == getattr(old, name) for name in _COMMON)

    def foreign(self) -> NodeFileInvalid:
        """That it names an agreement of others as superseded."""
        return NodeFileInvalid(
            f"{self.name}: {self.draft.supersedes} is no {self.draft.kind} between the same departments about the "
            "same service, so that it cannot be superseded by this one"
        )

    def held(self, state: str) -> Held:
        """It, as the database would hold it in that state."""
        return Held(self.draft.id, self.draft.document, self.draft.digest, state, self.signatures)


@dataclass(frozen=True, slots=True)
class NodeDirectory:
    """Everything that a node is told by files. `origin` names its log (C2SP signed-note key name).

    Agreements are read on demand (`filed`): which of them are in force, the node's database knows.
    """

    name: str
    title: Mapping[str, str]
    origin: str
    authority: str
    departments: Departments
    catalogue: Catalogue
    rules: RuleSet
    files: DirectoryFiles
    calendar: WorkCalendar

    def filed(self) -> list[Filed]:
        """Every agreement of the directory, checked, in the order of file names. Raises `NodeFileInvalid`."""
        found: dict[str, Filed] = {}
        seen = set()
        for name, members in node_files.documents(self.files, "agreements"):
            draft = check_document(members, self.catalogue, self.departments)
            if draft.id in found:
                raise members.refuse(f"agreement {draft.id} stands twice, also in {found[draft.id].name}")
            beside = name.removesuffix(".yaml") + SIGNATURES
            found[draft.id] = Filed(name, draft, _signatures(beside, self.files.get(beside), draft))
            seen.add(beside)
        for name in self.files:
            if name.endswith(SIGNATURES) and name not in seen:
                raise NodeFileInvalid(f"{name}: there is no agreement beside it")
        _refuse_overlaps(found)
        return list(found.values())

    def agreements_if_active(self) -> Agreements:
        """All agreements of the directory as if each were active: for what is written without a database."""
        return Agreements.of([item.held("active") for item in self.filed()], self.catalogue, self.departments)


def read_files(folder: Path) -> dict[str, bytes]:
    """Every file of a node directory by its path below `folder`, read once, within bounds of size and number.

    Raises `NodeFileInvalid`: a link that leads out of the folder, no plain file, or a name with other characters than
    letters, digits, `.`, `_` and `-`.
    """
    found: dict[str, bytes] = {}
    total = 0
    for name, path in _walk(folder, folder.resolve(), "", _DEPTH):
        content = _content(path, name)
        total += len(content)
        if len(found) >= MAX_FILES or total > MAX_TOTAL:
            raise NodeFileInvalid(f"{folder}: more than {MAX_FILES:,} files or {MAX_TOTAL:,} bytes")
        found[name] = content
    return found


def load(source: DirectoryFiles | Path) -> NodeDirectory:
    """Check a whole directory but for its agreements, from its files or its folder. Raises `NodeFileInvalid`."""
    files = read_files(source) if isinstance(source, Path) else source
    for name in sorted(files):
        _check_file(name, files[name])
    if "node.yaml" not in files:
        raise NodeFileInvalid(f"{source if isinstance(source, Path) else 'node directory'}: node.yaml is missing")
    node = node_files.parse("node.yaml", files["node.yaml"])
    name, title, origin = node.text("node"), node.titles("title"), node.text("origin")
    revision, authority = node.integer("policy_revision"), node.text("authority")
    node.done()
    departments = Departments(members for _, members in node_files.documents(files, "departments"))
    if authority not in departments.all:
        raise node.refuse(f"authority {authority} is no registered department")
    catalogue = Catalogue((members for _, members in node_files.documents(files, "services")), departments.all)
    rules = _rules(files, revision, departments)
    calendar = read_calendar(members for _, members in node_files.documents(files, "calendar"))
    return NodeDirectory(name, title, origin, authority, departments, catalogue, rules, files, calendar)


def _check_file(name: str, content: bytes) -> None:
    if not _KNOWN.fullmatch(name):
        raise NodeFileInvalid(f"{name}: is no file of a node directory; remove it, or let its name begin with a dot")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise NodeFileInvalid(f"{name}: not UTF-8") from None


def _walk(folder: Path, root: Path, above: str, depth: int) -> Iterator[tuple[str, Path]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise NodeFileInvalid(f"{above or folder}: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        name, path = above + entry.name, Path(entry.path)
        if not _NAME.fullmatch(entry.name):
            raise NodeFileInvalid(f"{name!r}: a name has letters, digits, '.', '_' and '-' only")
        if entry.is_symlink() and not path.resolve().is_relative_to(root):
            raise NodeFileInvalid(f"{name}: a link that leads out of the directory")
        if not entry.is_dir():
            yield name, path
        elif depth == 1:
            raise NodeFileInvalid(f"{name}: a folder too deep")
        else:
            yield from _walk(path, root, f"{name}/", depth - 1)


def _content(path: Path, name: str) -> bytes:
    most = MAX_REVISION if name == REVISION else MAX_FILE
    try:
        if not path.is_file():
            raise NodeFileInvalid(f"{name}: not a plain file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise NodeFileInvalid(f"{name}: {error.strerror}") from None
    if len(content) > most:
        raise NodeFileInvalid(f"{name}: larger than {most:,} bytes")
    return content


def _rules(files: DirectoryFiles, revision: int, departments: Departments) -> RuleSet:
    own = {name.removeprefix("rules/"): files[name].decode() for name in sorted(files) if name.endswith(".cedar")}
    for name in own:
        folder, inner, _ = name.partition("/")
        if inner and folder not in departments.all:
            raise NodeFileInvalid(f"rules/{name}: {folder} is no registered department, so it would hold for nobody")
    try:
        return RuleSet.from_texts(packaged_rules(), packaged_schema(), revision, narrowing=own)
    except (RulesInvalid, ValueError) as error:
        raise NodeFileInvalid(f"rules: {error}") from None


def _signatures(name: str, content: bytes | None, draft: Draft) -> dict[str, str]:
    """The signatures beside an agreement; none where there is no file. They are verified when they are used."""
    if content is None:
        return {}
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise NodeFileInvalid(f"{name}: not JSON") from None
    members = Members(name, document if isinstance(document, dict) else {})
    digest, signatures = members.text("digest"), members.members("signatures").rest()
    members.done()
    if digest != draft.digest:
        raise members.refuse("the agreement beside it was changed since it was signed: its digest is another")
    if not signatures.keys() <= set(draft.signers) or not all(isinstance(item, str) for item in signatures.values()):
        raise members.refuse(f"signatures are texts by department: {', '.join(draft.signers)}")
    return signatures


def _refuse_overlaps(found: Mapping[str, Filed]) -> None:
    """Refuse two agreements that would be in force for one purpose at one time, unless one supersedes the other.

    One supersedes another of the same departments, service and kind only.
    """
    for item in found.values():
        old = found.get(item.draft.supersedes or "")
        if old is not None and not item.may_supersede(old.draft):
            raise item.foreign()
    purposes: dict[tuple[str, str, str], list[Filed]] = {}
    for item in found.values():
        draft = item.draft
        for party in draft.parties:
            for purpose in draft.purposes:
                others = purposes.setdefault((party, draft.service, purpose), [])
                for other in others:
                    if _overlap(draft, other.draft):
                        raise NodeFileInvalid(
                            f"{item.name}: {other.draft.id} is already agreed for the purpose {purpose}; "
                            "name it as superseded, or end it before this begins"
                        )
                others.append(item)


def _overlap(one: Draft, other: Draft) -> bool:
    successive = one.supersedes == other.id or other.supersedes == one.id
    return not successive and one.valid_from < other.valid_until and other.valid_from < one.valid_until
