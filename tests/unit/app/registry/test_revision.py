"""A node directory that is not, to the last byte, what a policy signer signed does not come into force."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.registry import node_directory
from app.registry.files import NodeFileInvalid
from app.registry.node_directory import REVISION, read_files
from app.registry.revision import (
    SIGNERS,
    RevisionInvalid,
    load_signed,
    open_revision,
    read_signers,
    sign_directory,
    sign_files,
)
from evidence import jws
from evidence.canonical import canonical
from evidence.jwk import thumbprint, to_jwk
from examples.demo import signing
from tests.unit.app.registry.conftest import Signed

TERMS = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
BESIDE = TERMS.replace(".yaml", ".signatures.json")
OWN_RULE = (
    '@id("no-sundays")\n@basis("四川 第二十三条")\n@reason("Not on Sundays.")\n@reason_zh("周日不予核验。")\n'
    "forbid (principal, action, resource) when { context.weekday == 7 };\n"
)


def refused(signed: Signed, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(RevisionInvalid, match=words) as error:
        load_signed(files, signed.trusted)
    assert str(error.value).startswith(REVISION)


def resigned(signed: Signed, files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    """The files under a revision that the policy signer signed with other members."""
    document = jws.verify(signed.files[REVISION].decode().strip(), signed.trusted, jws.REVISION).payload
    payload = canonical({**json.loads(document), **changes})
    return {**files, REVISION: jws.sign(signed.keys[signing.POLICY], jws.REVISION, payload).encode()}


def test_what_was_signed_comes_into_force(signed: Signed) -> None:
    directory, revision = load_signed(signed.files, signed.trusted)
    assert (revision.node, revision.number) == ("hangzhou", 1)
    assert revision.rules == directory.rules.digest
    assert revision.signer in signed.trusted
    assert revision.files.keys() == signed.files.keys() - {REVISION}
    assert revision.digest.startswith("sha256-")


def test_digest_of_a_revision_is_that_of_what_was_signed(signed: Signed) -> None:
    again = sign_files({k: v for k, v in signed.files.items() if k != REVISION}, signed.keys[signing.POLICY])
    assert again == signed.files[REVISION].decode().strip()


def test_unsigned_directory_is_refused(signed: Signed) -> None:
    refused(signed, {name: content for name, content in signed.files.items() if name != REVISION}, "is missing")


@pytest.mark.parametrize(
    "name", ["node.yaml", "departments/hz-tax.yaml", "services/wage-base.yaml", TERMS, "README.md"]
)
def test_altered_file_is_refused_and_named(signed: Signed, name: str) -> None:
    refused(signed, {**signed.files, name: signed.files[name] + b"\n"}, f"altered file {name}")


def test_altered_agreement_is_refused_by_a_single_word(signed: Signed) -> None:
    altered = signed.files[TERMS].replace(b"fold: false", b"fold: true")
    assert altered != signed.files[TERMS]
    refused(signed, {**signed.files, TERMS: altered}, f"altered file {TERMS}")


def test_altered_rule_is_refused(signed: Signed, tmp_path: Path) -> None:
    source = tmp_path / "template"
    shutil.copytree(signed.folder, source)
    (source / "rules").mkdir()
    (source / "rules" / "own.cedar").write_text(OWN_RULE, "utf-8")
    sign_directory(source, signed.keys[signing.POLICY])
    files = read_files(source)
    load_signed(files, signed.trusted)
    altered = files["rules/own.cedar"].replace(b"== 7", b"== 6")
    refused(signed, {**files, "rules/own.cedar": altered}, r"altered file rules/own\.cedar")
    del files["rules/own.cedar"]
    refused(signed, files, r"missing file rules/own\.cedar")


def test_stripped_signature_of_an_agreement_is_refused(signed: Signed) -> None:
    refused(
        signed, {name: content for name, content in signed.files.items() if name != BESIDE}, f"missing file {BESIDE}"
    )
    document = json.loads(signed.files[BESIDE])
    document["signatures"].pop("hz-hrss")
    refused(signed, {**signed.files, BESIDE: json.dumps(document).encode()}, f"altered file {BESIDE}")


@pytest.mark.parametrize("name", ["rules/open.cedar", "agreements/more.yaml", "notes.md"])
def test_extra_file_is_refused(signed: Signed, name: str) -> None:
    refused(signed, {**signed.files, name: b"x"}, f"extra file {name}")


def test_missing_file_is_refused(signed: Signed) -> None:
    refused(
        signed, {name: content for name, content in signed.files.items() if name != TERMS}, f"missing file {TERMS}"
    )


def test_long_list_of_differences_is_cut_short(signed: Signed) -> None:
    refused(signed, {REVISION: signed.files[REVISION]}, r"missing file .* and \d+ more$")


def test_unknown_signer_is_refused_even_under_a_trusted_name(signed: Signed) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    unsigned = {name: content for name, content in signed.files.items() if name != REVISION}
    refused(
        signed, {**unsigned, REVISION: sign_files(unsigned, stranger).encode()}, "not trusted here.* policy-signers"
    )
    payload = jws.verify(signed.files[REVISION].decode().strip(), signed.trusted, jws.REVISION).payload
    pretended = jws.Signer(stranger, jws.REVISION, next(iter(signed.trusted))).sign(payload)
    refused(signed, {**unsigned, REVISION: pretended.encode()}, "forged or altered")


def test_department_cannot_sign_policy_with_its_key_for_agreements(signed: Signed) -> None:
    unsigned = {name: content for name, content in signed.files.items() if name != REVISION}
    text = sign_files(unsigned, signed.keys["hz-tax"])
    refused(signed, {**unsigned, REVISION: text.encode()}, "not trusted here")


def test_revision_of_another_node_is_refused(signed: Signed) -> None:
    refused(signed, resigned(signed, dict(signed.files), node="ningbo"), "signed for the node ningbo, .* hangzhou")


def test_revision_of_another_number_is_refused(signed: Signed) -> None:
    refused(signed, resigned(signed, dict(signed.files), revision=2), "signed as revision 2, and node.yaml says 1")


def test_rule_set_that_differs_from_the_signed_one_is_refused(signed: Signed) -> None:
    """The packaged rules are the program's: a node with other ones must not run under this signature."""
    refused(signed, resigned(signed, dict(signed.files), rules="0" * 64), "the rule set differs from the signed one")


NO_REVISION: dict[str, Any] = {
    "no map": [],
    "members missing": {"node": "hangzhou"},
    "members more": {"files": {}, "node": "hangzhou", "revision": 1, "rules": "", "more": 1},
    "number no number": {"files": {}, "node": "hangzhou", "revision": True, "rules": ""},
    "rules no text": {"files": {}, "node": "hangzhou", "revision": 1, "rules": 1},
    "node no text": {"files": {}, "node": 1, "revision": 1, "rules": ""},
    "files no map": {"files": [], "node": "hangzhou", "revision": 1, "rules": ""},
    "digests no texts": {"files": {"a": 1}, "node": "hangzhou", "revision": 1, "rules": ""},
}


@pytest.mark.parametrize("document", NO_REVISION.values(), ids=NO_REVISION.keys())
def test_signed_document_that_is_no_revision_is_refused(signed: Signed, document: Any) -> None:
    text = jws.sign(signed.keys[signing.POLICY], jws.REVISION, canonical(document))
    refused(signed, {**signed.files, REVISION: text.encode()}, "signed, but no revision")


def test_payload_that_is_not_canonical_is_refused(signed: Signed) -> None:
    text = jws.sign(signed.keys[signing.POLICY], jws.REVISION, b'{ "node": "hangzhou"}')
    refused(signed, {**signed.files, REVISION: text.encode()}, "signed, but no revision")


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"a.b", b"not a signature"])
def test_revision_that_is_no_jws_is_refused(signed: Signed, content: bytes) -> None:
    refused(signed, {**signed.files, REVISION: content}, "revision")


def test_signature_of_an_agreement_never_stands_for_a_revision(signed: Signed) -> None:
    payload = jws.verify(signed.files[REVISION].decode().strip(), signed.trusted, jws.REVISION).payload
    text = jws.sign(signed.keys[signing.POLICY], jws.AGREEMENT, payload)
    refused(signed, {**signed.files, REVISION: text.encode()}, "not a revision signed with ES256")


def test_altered_file_is_found_before_anything_is_read_from_it(signed: Signed) -> None:
    refused(signed, {**signed.files, "node.yaml": b"["}, r"altered file node\.yaml")


def test_directory_that_no_node_would_run_on_is_not_signed(signed: Signed, tmp_path: Path) -> None:
    shutil.copytree(signed.folder, tmp_path / "node")
    before = (tmp_path / "node" / REVISION).read_bytes()
    (tmp_path / "node" / TERMS).write_text("agreement: x\n")
    with pytest.raises(NodeFileInvalid, match=TERMS):
        sign_directory(tmp_path / "node", signed.keys[signing.POLICY])
    assert (tmp_path / "node" / REVISION).read_bytes() == before


def test_signing_again_replaces_the_revision(signed: Signed, tmp_path: Path) -> None:
    shutil.copytree(signed.folder, tmp_path / "node")
    node = tmp_path / "node" / "node.yaml"
    node.write_text(node.read_text("utf-8").replace("policy_revision: 1", "policy_revision: 2"), "utf-8")
    revision = sign_directory(tmp_path / "node", signed.keys[signing.POLICY])
    assert revision == open_revision(read_files(tmp_path / "node"), signed.trusted)
    assert revision.number == 2
    assert node_directory.load(tmp_path / "node").rules.revision == 2
    assert not list((tmp_path / "node").glob(".*")), "nothing is left lying about"


def test_trusted_signers_are_those_of_the_keys_folder(signed: Signed, tmp_path: Path) -> None:
    (tmp_path / SIGNERS).write_bytes(signing.signers_document(signed.keys))
    assert read_signers(tmp_path).keys() == signed.trusted.keys()
    load_signed(signed.files, read_signers(tmp_path))


def test_name_of_a_signer_is_its_thumbprint_whatever_the_file_calls_it(signed: Signed, tmp_path: Path) -> None:
    key = signed.keys[signing.POLICY].public_key()
    (tmp_path / SIGNERS).write_text(json.dumps({"keys": [to_jwk(key, "the boss")]}))
    assert list(read_signers(tmp_path)) == [thumbprint(key)]


def test_signers_that_others_could_write_say_nothing(signed: Signed, tmp_path: Path) -> None:
    path = tmp_path / SIGNERS
    path.write_bytes(signing.signers_document(signed.keys))
    for mode in (0o664, 0o646):
        path.chmod(mode)
        with pytest.raises(RevisionInvalid, match="others may write it"):
            read_signers(tmp_path)


def test_missing_or_empty_signers_trust_nobody(tmp_path: Path) -> None:
    with pytest.raises(RevisionInvalid, match=r"policy-signers\.jwks: No such file"):
        read_signers(tmp_path)
    (tmp_path / SIGNERS).write_text('{"keys": []}')
    (tmp_path / SIGNERS).chmod(0o600)
    with pytest.raises(RevisionInvalid, match=r"policy-signers\.jwks: .* no ES256 key"):
        read_signers(tmp_path)
