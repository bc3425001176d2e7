"""The node directory as a whole: node.yaml, departments/, services/, agreements/ and a department's own rules/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.registry.agreements import Agreements
from app.registry.catalogue import Catalogue
from app.registry.departments import Departments
from app.registry.files import NodeFileInvalid, read, read_folder
from policies.decision import RuleSet, RulesInvalid
from policies.packaged import packaged_rules, packaged_schema


@dataclass(frozen=True, slots=True)
class NodeDirectory:
    """Everything that a node is told by files. `origin` names its log (C2SP signed-note key name)."""

    name: str
    title: Mapping[str, str]
    origin: str
    departments: Departments
    catalogue: Catalogue
    agreements: Agreements
    rules: RuleSet


def load(folder: Path) -> NodeDirectory:
    """Read and check the whole directory. Raises `NodeFileInvalid`; nothing runs on a directory half right."""
    node = read(folder / "node.yaml")
    name, title, origin = node.text("node"), node.titles("title"), node.text("origin")
    revision, authority = node.integer("policy_revision"), node.text("authority")
    node.done()
    departments = Departments(read_folder(folder / "departments"))
    if authority not in departments.all:
        raise node.refuse(f"authority {authority} is no registered department")
    catalogue = Catalogue(read_folder(folder / "services"), departments.all)
    agreements = Agreements(read_folder(folder / "agreements"), catalogue, departments)
    own_rules = {path.name: path.read_text("utf-8") for path in sorted((folder / "rules").glob("*.cedar"))}
    try:
        rules = RuleSet.from_texts(packaged_rules(), packaged_schema(), revision, narrowing=own_rules)
    except (RulesInvalid, ValueError) as error:
        raise NodeFileInvalid(f"{folder}: {error}") from None
    return NodeDirectory(name, title, origin, departments, catalogue, agreements, rules)
