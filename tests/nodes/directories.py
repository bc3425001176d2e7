"""A node's own directory on disk, published anew by those who may, or tampered with by those who may not."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from app.registry import files
from app.registry.agreement_document import digest_of
from app.registry.node_directory import REVISION as REVISION_FILE
from app.registry.node_directory import read_files
from app.registry.revision import sign_directory
from evidence import jws
from evidence.canonical import canonical
from examples.demo import signing
from tests.nodes.running import Edits, Ground

AGREEMENT = "agreements/hz-hrss-employment-status-unemployment-benefit"
RULE = """\
@id("{id}")
@basis("山东 第五条")
@reason("Nobody asks for this purpose.")
@reason_zh("该用途不予核验。")
forbid (principal, action, resource)
when {{ resource.name == "{service}" && context.purpose == "{purpose}" }};
"""
Keys: TypeAlias = "Mapping[str, ec.EllipticCurvePrivateKey]"
Tamper: TypeAlias = "Callable[[Path, Keys], None]"
REVISION = 5
"""The number of the revision that these tests begin with."""


def rule(identifier: str, service: str = "employment-status", purpose: str = "unemployment-benefit") -> str:
    """A department's own rule that forbids one purpose of one service."""
    return RULE.format(id=identifier, service=service, purpose=purpose)


OWN_RULE = rule("nobody-recruits", purpose="recruitment")
BEGIN: Edits = {
    "node.yaml": lambda text: text.replace("policy_revision: 1", f"policy_revision: {REVISION}"),
    "rules/own.cedar": lambda _: OWN_RULE,
}
"""Edits of the example directory with which a node of these tests begins."""


def publish(ground: Ground, folder: Path, revision: int, edits: Edits | None = None) -> Path:
    """Rewrite files of the template beside a node's directory, and sign all of it as that revision."""
    template, target = folder / "template", folder / "directory"
    for name, rewrite in {"node.yaml": _raised(revision), **(edits or {})}.items():
        path = template / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rewrite(path.read_text("utf-8") if path.exists() else ""), "utf-8")
    signing.signed_directory(template, target, ground.signing_keys())
    return target


def alter_rule(directory: Path, _keys: Keys) -> None:
    replaced(directory / "rules" / "own.cedar", "recruitment", "marriage")


def alter_agreement(directory: Path, _keys: Keys) -> None:
    replaced(directory / f"{AGREEMENT}.yaml", "budget: {bits: 240}", "budget: {bits: 90000}")


def strip_signature(directory: Path, _keys: Keys) -> None:
    (directory / "revision.jws").unlink()


def sign_as_stranger(directory: Path, _keys: Keys) -> None:
    replaced(directory / "node.yaml", f"policy_revision: {REVISION}", f"policy_revision: {REVISION + 1}")
    sign_directory(directory, ec.generate_private_key(ec.SECP256R1()))


def lower_revision(directory: Path, keys: Keys) -> None:
    replaced(directory / "node.yaml", f"policy_revision: {REVISION}", f"policy_revision: {REVISION - 1}")
    sign_directory(directory, keys[signing.POLICY])


def same_revision_other_content(directory: Path, keys: Keys) -> None:
    (directory / "rules" / "own.cedar").unlink()
    sign_directory(directory, keys[signing.POLICY])


def add_file(directory: Path, _keys: Keys) -> None:
    (directory / "rules" / "more.cedar").write_text(rule("nobody-marries", purpose="marriage"), "utf-8")


def alter_agreement_and_sign_as_policy(directory: Path, keys: Keys) -> None:
    """Whoever may sign policy still is no side of an agreement."""
    replaced(directory / "node.yaml", f"policy_revision: {REVISION}", f"policy_revision: {REVISION + 1}")
    replaced(directory / f"{AGREEMENT}.yaml", "agreement: hz-hrss-", "agreement: hz-hrss-other-")
    replaced(directory / f"{AGREEMENT}.yaml", "purposes: [unemployment-benefit]", "purposes: [curiosity]")
    path = directory / f"{AGREEMENT}.signatures.json"
    document = files.read(directory / f"{AGREEMENT}.yaml").document
    path.write_bytes(orjson.dumps({"digest": digest_of(canonical(document)), "signatures": {}}))
    sign_directory(directory, keys[signing.POLICY])


def sign_unchecked(directory: Path, keys: Keys, revision: int = REVISION + 1) -> None:
    """Sign whatever stands there as a policy signer with another program would, which reads rules differently."""
    node = directory / "node.yaml"
    node.write_text(_raised(revision)(node.read_text("utf-8")), "utf-8")
    files = {name: content for name, content in read_files(directory).items() if name != REVISION_FILE}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    document: dict[str, Any] = {"node": "hangzhou", "revision": revision, "rules": "0" * 64, "files": digests}
    text = jws.sign(keys[signing.POLICY], jws.REVISION, canonical(document))
    (directory / REVISION_FILE).write_text(text, "ascii")


def _raised(revision: int) -> Callable[[str], str]:
    return lambda text: re.sub(r"(?<=policy_revision: )\d+", str(revision), text)


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text, path
    path.write_text(text.replace(old, new, 1), "utf-8")
