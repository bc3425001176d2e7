"""Builds everything the demonstration needs under one folder; what is there and current is left alone.

`pki/`, `node/` (the signed node directory) and the key in `keys/` that it is trusted by, `sources/<department>.db`,
`personas.json`, `claimants.ndjson`, `expected.json` (line to result), `confirmable.json` (lines). Data depend on seed
and scale only; keys are new with every PKI.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.registry import files, node_directory
from app.registry.files import DirectoryFiles
from app.registry.revision import SIGNERS
from evidence.jwk import thumbprint
from examples.demo import signing, world
from examples.demo.claimants import Claimant
from examples.demo.departments import NODE_DIR, client_names, department_names
from examples.demo.personas import personas
from examples.demo.pki import is_fresh, write_pki
from examples.demo.sources import write_sources
from examples.demo.world import Scale

PROVIDERS = ("hz-tax", "hz-market", "hz-civil", "hz-housing", "hz-police")
_STAMP = "built.json"
_NODE_STAMP = "node.json"
_FILES = ("personas.json", "claimants.ndjson", "expected.json", "confirmable.json")

Progress = Callable[[str], None]


def build(  # noqa: PLR0913 - the counts of one scale, each by name
    var: Path,
    *,
    people: int = 100_000,
    enterprises: int = 20_000,
    claimants: int = 11_000,
    hits: int = 64,
    confirmable: int = 32,
    progress: Progress = lambda _: None,
) -> bool:
    """Build what is missing or out of date under `var`; return whether anything was.

    `progress` gets one line for each step. Raises `ValueError` if the counts contradict each other.
    """
    scale = Scale(people, enterprises, claimants, hits, confirmable)
    made = _ensure_pki(var / "pki", progress)
    made |= _ensure_node(var, progress)
    stamp = {"scale": asdict(scale), "seed": world.SEED, "generator": _generator()}
    if _is_current(var, stamp):
        return made
    (var / _STAMP).unlink(missing_ok=True)
    progress(f"making {people:,} people, {enterprises:,} enterprises and {claimants:,} claimants")
    world_made = world.make(scale)
    progress("writing one database for each provider department")
    (var / "sources").mkdir(parents=True, exist_ok=True)
    write_sources(world_made, var / "sources")
    _write_personas(var)
    _write_claimants(var, world_made.claims.claimants)
    _write_json(var / _STAMP, stamp)
    return True


def _ensure_pki(folder: Path, progress: Progress) -> bool:
    clients, now = client_names(), datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    if is_fresh(folder, clients, now):
        return False
    progress(f"issuing certificates for the node and {len(clients)} clients")
    write_pki(folder, clients, now)
    return True


def _ensure_node(var: Path, progress: Progress) -> bool:
    """Sign the template anew when it, the node's own rules or the keys have changed; what people change stays."""
    keys = signing.ensure_keys(var / "pki" / "signing", [*department_names(), signing.POLICY])
    trusted = var / "keys" / SIGNERS
    if not trusted.is_file() or thumbprint(keys[signing.POLICY].public_key()) not in trusted.read_text("ascii"):
        trusted.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        trusted.write_bytes(signing.signers_document(keys))
    template = node_directory.load(NODE_DIR)
    parts = [f"{name}:{hashlib.sha256(content).hexdigest()}" for name, content in sorted(template.files.items())]
    parts += [template.rules.digest, *(thumbprint(key.public_key()) for key in keys.values())]
    stamp = {"template": hashlib.sha256("\n".join(parts).encode()).hexdigest()}
    path = var / _NODE_STAMP
    before = json.loads(path.read_bytes()) if path.is_file() else {}
    if stamp.items() <= before.items() and (var / "node").is_dir():
        return False
    if _agreements_differ(template.files, var / "node"):
        # An accepted agreement never changes; in a demonstration nobody is bound by what it was.
        progress("an example agreement has changed: beginning with an empty log")
        shutil.rmtree(var / "state", ignore_errors=True)
    progress("signing agreements and the node directory")
    # A node keeps the highest revision that it has seen, and refuses the same number with other content.
    revision = signing.signed_directory(NODE_DIR, var / "node", keys, revision=before.get("revision", 0) + 1)
    _write_json(path, {**stamp, "revision": revision.number})
    return True


def _agreements_differ(template: DirectoryFiles, signed: Path) -> bool:
    """Whether an agreement that was signed here before has other content in the template."""
    names = [name for name in template if name.startswith("agreements/") and (signed / name).is_file()]
    return any(
        files.parse(name, template[name]).document != files.read(signed / name).document
        for name in names
        if name.endswith(".yaml")
    )


def _is_current(var: Path, stamp: dict[str, Any]) -> bool:
    wanted = [var / _STAMP, *(var / name for name in _FILES)]
    wanted += [var / "sources" / f"{provider}.db" for provider in PROVIDERS]
    return all(path.is_file() for path in wanted) and json.loads((var / _STAMP).read_bytes()) == stamp


def _generator() -> str:
    """Return a digest of this package's sources: data made by older code are made again."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write_personas(var: Path) -> None:
    documents = [persona.document(number) for number, persona in enumerate(personas(), start=1)]
    _write(var / "personas.json", json.dumps(documents, ensure_ascii=False, indent=1) + "\n")


def _write_claimants(var: Path, claimants: Iterable[Claimant]) -> None:
    numbered = list(enumerate(claimants, start=1))
    rows = (json.dumps(claimant.row(), ensure_ascii=False, separators=(",", ":")) for _, claimant in numbered)
    _write(var / "claimants.ndjson", "\n".join(rows) + "\n")
    _write_json(var / "expected.json", {str(line): claimant.expected for line, claimant in numbered})
    _write_json(var / "confirmable.json", [line for line, claimant in numbered if claimant.confirmable])


def _write_json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
