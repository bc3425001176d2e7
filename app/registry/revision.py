"""The signed revision of a node directory: `revision.jws`, which covers every other file and the whole rule set.

Compact JWS (ES256) over canonical `{"files": {path: sha256 hex}, "node", "revision", "rules"}`, by a policy signer: a
key of `policy-signers.jwks` in the node's keys folder, which is not part of the directory. Whether the number is high
enough is for the keeper of the high-water mark to say (the node's database).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

from app.registry import node_directory
from app.registry.files import DirectoryFiles, NodeFileInvalid
from app.registry.node_directory import REVISION, NodeDirectory
from evidence import jws
from evidence.canonical import NotCanonical, canonical, parse_canonical
from evidence.errors import JwsNotVerified, KeyNotVerified, SignatureNotVerified
from evidence.jwk import keys_from_jwks, thumbprint

SIGNERS = "policy-signers.jwks"


class RevisionInvalid(NodeFileInvalid):
    """The directory is not what a policy signer signed. The text names what differs and what to do."""


@dataclass(frozen=True, slots=True)
class Revision:
    """What a policy signer signed. `digest` is `sha256-<hex>` of the signed bytes, `files` their SHA-256 in hex."""

    node: str
    number: int
    rules: str
    files: Mapping[str, str]
    digest: str
    signer: str

    def check(self, directory: NodeDirectory) -> None:
        """Check that it was signed for this node, revision and rule set. Raises `RevisionInvalid`."""
        if self.node != directory.name:
            raise RevisionInvalid(f"{REVISION}: signed for the node {self.node}, and this is {directory.name}")
        if self.number != directory.rules.revision:
            raise RevisionInvalid(
                f"{REVISION}: signed as revision {self.number}, and node.yaml says {directory.rules.revision}"
            )
        if self.rules != directory.rules.digest:
            raise RevisionInvalid(
                f"{REVISION}: the rule set differs from the signed one; if the program's own rules changed, review "
                "them, raise policy_revision and sign anew"
            )


def load_signed(
    files: DirectoryFiles, signers: Mapping[str, EllipticCurvePublicKey]
) -> tuple[NodeDirectory, Revision]:
    """Verify the revision, then read the directory. Raises `RevisionInvalid`, or `NodeFileInvalid` as `load` does."""
    revision = open_revision(files, signers)
    directory = node_directory.load(files)
    revision.check(directory)
    return directory, revision


def open_revision(files: DirectoryFiles, signers: Mapping[str, EllipticCurvePublicKey]) -> Revision:
    """The revision of these files, its signature and every file's digest verified. Raises `RevisionInvalid`."""
    if REVISION not in files:
        raise RevisionInvalid(f"{REVISION} is missing: the directory is not signed (python -m app policy sign)")
    text = files[REVISION].decode("ascii", "replace").removesuffix("\n")
    try:
        signed = jws.verify(text, signers, jws.REVISION, named="revision")
    except SignatureNotVerified as error:
        raise RevisionInvalid(f"{REVISION}: {error} Trusted are the keys of {SIGNERS}.") from None
    except JwsNotVerified as error:
        raise RevisionInvalid(f"{REVISION}: {error}") from None
    revision = _parse(signed)
    _compare(revision.files, _digests(files))
    return revision


def read_signers(keys_dir: Path) -> dict[str, EllipticCurvePublicKey]:
    """The keys that may sign a revision, by thumbprint, from the node's keys folder. Raises `RevisionInvalid`."""
    path = keys_dir / SIGNERS
    try:
        if path.stat().st_mode & 0o022:
            raise RevisionInvalid(f"{path}: others may write it, so it says nothing; chmod 644")
        found = keys_from_jwks(path.read_bytes())
    except OSError as error:
        raise RevisionInvalid(
            f"{path}: {error.strerror}; it holds the public keys of those who sign policy"
        ) from None
    except KeyNotVerified as error:
        raise RevisionInvalid(f"{path}: {error}") from None
    return {thumbprint(key): key for key in found.values()}


def sign_files(files: DirectoryFiles, key: EllipticCurvePrivateKey) -> str:
    """The `revision.jws` of these files. Raises `NodeFileInvalid` for a directory that no node would run on."""
    directory = node_directory.load(files)
    directory.filed()
    document: dict[str, Any] = {
        "node": directory.name,
        "revision": directory.rules.revision,
        "rules": directory.rules.digest,
        "files": _digests(files),
    }
    return jws.sign(key, jws.REVISION, canonical(document))


def sign_directory(folder: Path, key: EllipticCurvePrivateKey) -> Revision:
    """Check a directory and write its `revision.jws`, replacing one that is there. Raises `NodeFileInvalid`."""
    files = node_directory.read_files(folder)
    text = sign_files(files, key)
    partial = folder / f".{REVISION}.partial"
    partial.write_text(text + "\n", "ascii")
    os.replace(partial, folder / REVISION)  # noqa: PTH105 - the same; named for what it does
    public = key.public_key()
    return open_revision({**files, REVISION: text.encode()}, {thumbprint(public): public})


def _parse(signed: jws.Signed) -> Revision:
    malformed = RevisionInvalid(f"{REVISION}: signed, but no revision of a node directory")
    try:
        value: Any = parse_canonical(signed.payload)
    except NotCanonical:
        raise malformed from None
    if not isinstance(value, dict) or value.keys() != {"files", "node", "revision", "rules"}:
        raise malformed
    node, number, rules, listed = value["node"], value["revision"], value["rules"], value["files"]
    if not isinstance(node, str) or type(number) is not int or not isinstance(rules, str):
        raise malformed
    if not isinstance(listed, dict) or not all(isinstance(item, str) for item in listed.values()):
        raise malformed
    digest = "sha256-" + hashlib.sha256(signed.payload).hexdigest()
    return Revision(node, number, rules, listed, digest, signed.kid)


def _digests(files: DirectoryFiles) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != REVISION}


def _compare(signed: Mapping[str, str], found: Mapping[str, str]) -> None:
    faults = [f"missing file {name}" for name in sorted(signed.keys() - found.keys())]
    faults += [f"extra file {name}" for name in sorted(found.keys() - signed.keys())]
    faults += [f"altered file {name}" for name in sorted(signed.keys() & found.keys()) if signed[name] != found[name]]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise RevisionInvalid(f"{REVISION}: not the signed directory: {', '.join(faults[:5])}{more}")
