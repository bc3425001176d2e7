"""Signs the example node directory as its departments and its policy signer would, with keys of the demonstration.

The template in git is unsigned, for nobody could keep its keys. `signed_directory` makes a copy that a node runs on:
departments with their public signing keys, every agreement accepted by its sides, the whole signed as one revision.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from app.registry import files as node_files
from app.registry.agreement_document import digest_of, signers
from app.registry.node_directory import SIGNATURES, read_files
from app.registry.revision import Revision, sign_directory
from evidence import jws
from evidence.canonical import canonical
from evidence.jwk import to_jwk

POLICY = "policy"
"""The name of the key that signs revisions; all others are named for their department."""

Keys = Mapping[str, ec.EllipticCurvePrivateKey]


def ensure_keys(folder: Path, names: Iterable[str]) -> dict[str, ec.EllipticCurvePrivateKey]:
    """The P-256 keys of these names from `<name>.key` in a folder (PKCS #8 PEM, mode 0600), made where missing."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in names:
        path = folder / f"{name}.key"
        if not path.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
    return {name: read_key(folder / f"{name}.key") for name in names}


def read_keys(folder: Path) -> dict[str, ec.EllipticCurvePrivateKey]:
    """Every key of a folder by name."""
    return {path.stem: read_key(path) for path in sorted(folder.glob("*.key"))}


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """One private key. Raises `ValueError` for a key of another kind."""
    key = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no P-256 key")  # noqa: TRY004 - a wrong value
    return key


def signers_document(keys: Keys) -> bytes:
    """The `policy-signers.jwks` of a node that trusts the policy key."""
    return orjson.dumps({"keys": [to_jwk(keys[POLICY].public_key())]}, option=orjson.OPT_INDENT_2) + b"\n"


def signed_directory(source: Path, target: Path, keys: Keys, *, revision: int = 0) -> Revision:
    """Copy an unsigned directory to `target`, replacing what is there, and sign it throughout.

    A department without a key among `keys` signs nothing. `revision` raises `policy_revision` to at least that.
    Raises `NodeFileInvalid` for a directory that no node would run on.
    """
    files = read_files(source)
    made: dict[str, bytes] = {**files, "node.yaml": _raised(files["node.yaml"], revision)}
    for name, members in node_files.documents(files, "departments"):
        made[name] = files[name] + _signing_keys(members, keys)
    for name, members in node_files.documents(files, "agreements"):
        made[name.removesuffix(".yaml") + SIGNATURES] = signatures(members, keys)
    shutil.rmtree(target, ignore_errors=True)
    for name, content in made.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return sign_directory(target, keys[POLICY])


def signatures(agreement: node_files.Members, keys: Keys) -> bytes:
    """The signature file of an agreement, accepted by each of its sides that has a key."""
    document = canonical(agreement.document)
    sides = signers(agreement.document["provider"], agreement.document.get("consumer"))
    accepted = {side: jws.sign(keys[side], jws.AGREEMENT, document, detached=True) for side in sides if side in keys}
    content = {"digest": digest_of(document), "signatures": accepted}
    return orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n"


def _signing_keys(department: node_files.Members, keys: Keys) -> bytes:
    name = str(department.document.get("department"))
    if name not in keys or "signing_keys" in department.document:
        return b""
    jwk = to_jwk(keys[name].public_key())
    return f'signing_keys:\n  - {{kty: EC, crv: P-256, x: "{jwk["x"]}", y: "{jwk["y"]}"}}\n'.encode()


def _raised(node: bytes, revision: int) -> bytes:
    def raised(found: re.Match[bytes]) -> bytes:
        return b"policy_revision: %d" % max(int(found[1]), revision)

    return re.sub(rb"(?m)^policy_revision: ([0-9]+)", raised, node)
