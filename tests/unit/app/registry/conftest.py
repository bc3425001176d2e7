from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.registry import node_directory
from app.registry.node_directory import Filed, NodeDirectory, read_files
from evidence.jwk import thumbprint
from examples.demo import signing
from examples.demo.departments import NODE_DIR, department_names


@dataclass(frozen=True)
class Signed:
    """The example node directory, signed, with the private keys of everyone who signed it."""

    folder: Path
    keys: Mapping[str, ec.EllipticCurvePrivateKey]
    files: Mapping[str, bytes]
    directory: NodeDirectory

    @property
    def trusted(self) -> dict[str, ec.EllipticCurvePublicKey]:
        key = self.keys[signing.POLICY].public_key()
        return {thumbprint(key): key}

    def filed(self, identifier: str) -> Filed:
        return next(item for item in self.directory.filed() if item.draft.id == identifier)


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("signed")
    keys = signing.ensure_keys(folder / "keys", [*department_names(), signing.POLICY])
    signing.signed_directory(NODE_DIR, folder / "node", keys)
    files = read_files(folder / "node")
    return Signed(folder / "node", keys, files, node_directory.load(files))
