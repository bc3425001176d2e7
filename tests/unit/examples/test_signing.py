from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.registry import node_directory
from app.registry.files import NodeFileInvalid, documents
from app.registry.node_directory import read_files
from evidence.jwk import keys_from_jwks, thumbprint
from examples.demo.departments import NODE_DIR, department_names
from examples.demo.signing import (
    POLICY,
    ensure_keys,
    read_key,
    read_keys,
    signatures,
    signed_directory,
    signers_document,
)

OPEN = "agreements/hz-police-person-basic-standing-terms"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ec.EllipticCurvePrivateKey]:
    return ensure_keys(tmp_path_factory.mktemp("keys"), [*department_names(), POLICY])


def test_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    made = ensure_keys(tmp_path / "keys", ["a", "b"])
    again = ensure_keys(tmp_path / "keys", ["b", "c"])
    assert made["b"].private_numbers() == again["b"].private_numbers()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert list(read_keys(tmp_path / "keys")) == ["a", "b", "c"]


def test_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "a.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ValueError, match="no P-256 key"):
        read_key(tmp_path / "a.key")


def test_template_is_copied_whole_and_only_added_to(
    keys: dict[str, ec.EllipticCurvePrivateKey], tmp_path: Path
) -> None:
    signed_directory(NODE_DIR, tmp_path / "node", keys)
    before, after = read_files(NODE_DIR), read_files(tmp_path / "node")
    added = {name for name in after if name not in before}
    assert {name for name in added if not name.endswith(".signatures.json")} == {"revision.jws"}
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {f"departments/{name}.yaml" for name in department_names()}
    assert all(after[name].startswith(before[name]) for name in changed)


def test_same_keys_sign_the_same_bytes(keys: dict[str, ec.EllipticCurvePrivateKey], tmp_path: Path) -> None:
    first = signed_directory(NODE_DIR, tmp_path / "one", keys)
    assert signed_directory(NODE_DIR, tmp_path / "two", keys) == first
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")


def test_what_stood_there_before_is_gone(keys: dict[str, ec.EllipticCurvePrivateKey], tmp_path: Path) -> None:
    (tmp_path / "node" / "rules").mkdir(parents=True)
    (tmp_path / "node" / "rules" / "old.cedar").write_text("permit")
    signed_directory(NODE_DIR, tmp_path / "node", keys)
    assert not (tmp_path / "node" / "rules").exists()


def test_revision_rises_to_what_is_asked_and_never_falls(
    keys: dict[str, ec.EllipticCurvePrivateKey], tmp_path: Path
) -> None:
    shutil.copytree(NODE_DIR, tmp_path / "template")
    node = tmp_path / "template" / "node.yaml"
    node.write_text(node.read_text("utf-8").replace("policy_revision: 1", "policy_revision: 5"), "utf-8")
    assert signed_directory(tmp_path / "template", tmp_path / "node", keys, revision=3).number == 5
    assert signed_directory(tmp_path / "template", tmp_path / "node", keys, revision=8).number == 8
    assert node_directory.load(tmp_path / "node").rules.revision == 8


def test_department_without_a_key_accepts_nothing(
    keys: dict[str, ec.EllipticCurvePrivateKey], tmp_path: Path
) -> None:
    signed_directory(NODE_DIR, tmp_path / "node", {name: key for name, key in keys.items() if name != "hz-police"})
    assert json.loads((tmp_path / "node" / f"{OPEN}.signatures.json").read_bytes())["signatures"] == {}
    directory = node_directory.load(tmp_path / "node")
    assert directory.departments.all["hz-police"].signing_keys == {}


def test_keys_that_a_department_already_has_are_kept(
    keys: dict[str, ec.EllipticCurvePrivateKey], tmp_path: Path
) -> None:
    signed_directory(NODE_DIR, tmp_path / "one", keys)
    others = ensure_keys(tmp_path / "others", keys)
    signed_directory(tmp_path / "one", tmp_path / "two", {**others, POLICY: keys[POLICY]})
    directory = node_directory.load(tmp_path / "two")
    held = directory.departments.all["hz-tax"].signing_keys
    assert list(held) == [thumbprint(keys["hz-tax"].public_key())]


def test_directory_that_no_node_would_run_on_is_not_signed(
    keys: dict[str, ec.EllipticCurvePrivateKey], tmp_path: Path
) -> None:
    shutil.copytree(NODE_DIR, tmp_path / "template")
    (tmp_path / "template" / "services" / "wage-base.yaml").write_text("service: wage-base\n")
    with pytest.raises(NodeFileInvalid, match=r"wage-base\.yaml"):
        signed_directory(tmp_path / "template", tmp_path / "node", keys)


def test_sides_sign_what_they_agreed_on(keys: dict[str, ec.EllipticCurvePrivateKey]) -> None:
    agreements = node_directory.load(NODE_DIR)
    for name, members in documents(agreements.files, "agreements"):
        sides = {members.document["provider"], members.document.get("consumer", members.document["provider"])}
        assert json.loads(signatures(members, keys))["signatures"].keys() == sides, name


def test_node_trusts_the_policy_key_and_no_departments(keys: dict[str, ec.EllipticCurvePrivateKey]) -> None:
    assert list(keys_from_jwks(signers_document(keys))) == [thumbprint(keys[POLICY].public_key())]
