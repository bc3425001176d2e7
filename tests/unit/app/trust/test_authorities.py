from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from app.trust import authorities as module
from app.trust.authorities import Authorities, AuthoritiesInvalid, PathInvalid
from tests.unit.app.trust.pki import (
    NOW,
    SHA1_RSA,
    Holder,
    as_pem,
    below,
    flipped,
    leaf,
    name,
    new_key,
    replaced,
    resigned,
    revocation_list,
    root,
)

ROOT = root()
ISSUING = below(ROOT)
CLIENT = leaf(ISSUING)


def written(folder: Path, *parts: Holder | bytes) -> Path:
    path = folder / "authorities.pem"
    path.write_bytes(b"\n".join(part.pem if isinstance(part, Holder) else part for part in parts))
    return path


def look_again(authorities: Authorities) -> None:
    """Let the next use look at the file, as if a second had passed."""
    authorities._file._looked_at = float("-inf")


def trusts(authorities: Authorities, client: Holder) -> bool:
    try:
        authorities.verify(client.der, client.chain, NOW)
    except PathInvalid:
        return False
    return True


def in_pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


REFUSED: dict[str, tuple[tuple[Holder | bytes, ...], str]] = {
    "empty file": ((), "no root"),
    "text without certificates": ((b"no certificate here",), "no root"),
    "issuing authority alone": ((ISSUING,), "no root"),
    "client's certificate": ((ROOT, CLIENT), "certificate 2 .* not that of an authority"),
    "self-signed client": (
        (root("Client", ca=False, usage=("digital_signature",)),),
        "certificate 1 .* not that of an authority",
    ),
    "root that may not issue": ((root("Idle", usage=("crl_sign",)),), "does not say that it may issue"),
    "root without key usage": ((root("Idle", usage=None),), "does not say that it may issue"),
    "root of an old version": (
        (in_pem(resigned(ROOT.der, ROOT.key, lambda parts: parts[1:7])),),
        "not that of an authority",
    ),
    "private key": ((ROOT, ROOT.key_pem), "private key stands in it: take it out"),
    "revocation list": ((ROOT, as_pem(revocation_list(ROOT))), "something else than whole certificates"),
    "half a certificate": ((ROOT.pem, ISSUING.pem[:200]), "something else than whole certificates"),
    "damaged certificate": (
        (ROOT, b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
        "certificate 2 cannot be read",
    ),
    "root with a signature turned over": (
        (in_pem(flipped(ROOT.der)),),
        "no root",
    ),
    "short key": ((ROOT, root("Short", key="rsa1024")), "certificate 2 .* An authority's key must be RSA"),
    "root by Ed25519": ((root("Ed25519", key="ed25519"),), "An authority's key must be RSA"),
    "limits on directory names": (
        (ROOT, below(ROOT, "Limited", excluded=(x509.DirectoryName(name("x")),))),
        "limits distinguished names",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_file_of_no_use_is_refused(tmp_path: Path, case: str) -> None:
    parts, words = REFUSED[case]
    path = written(tmp_path, *parts)
    with pytest.raises(AuthoritiesInvalid, match=words) as refused:
        Authorities(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuthoritiesInvalid, match="No such file"):
        Authorities(tmp_path / "none.pem")


def test_file_of_more_than_a_thousand_certificates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuthoritiesInvalid, match="more than 1000 certificates"):
        Authorities(written(tmp_path, *[ROOT] * 1_001))


def test_file_beyond_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(AuthoritiesInvalid, match="more than 100 bytes"):
        Authorities(written(tmp_path, ROOT))


def test_text_between_certificates_is_passed_over(tmp_path: Path) -> None:
    """Bundles are often written with the names above each certificate."""
    path = written(tmp_path, b"# the root", ROOT, b"# the issuing authority", ISSUING, ISSUING)
    assert trusts(Authorities(path), leaf(ISSUING))


def test_authorities_are_found_by_name_with_roots_first(tmp_path: Path) -> None:
    cross = below(root("Other"), "Root")
    authorities = Authorities(written(tmp_path, cross, ROOT, root("Other")))
    found = authorities.named(ROOT.certificate.subject.public_bytes())
    assert [(one.certificate, one.is_root) for one in found] == [(ROOT.certificate, True), (cross.certificate, False)]
    assert authorities.named(b"") == ()


def test_certificate_that_stands_there_twice_counts_once(tmp_path: Path) -> None:
    authorities = Authorities(written(tmp_path, ROOT, ROOT))
    assert len(authorities.named(ROOT.certificate.subject.public_bytes())) == 1


def test_self_issued_certificate_of_an_older_key_is_no_root(tmp_path: Path) -> None:
    """A changed root's new key, certified by the old one: trusted only if the old one is."""
    old = root(key="rsa2048")
    changed = below(old, "Root", key=new_key("rsa2048", 1))
    by_sha1 = resigned(changed.der, old.key, replaced(2, SHA1_RSA), algorithm=SHA1_RSA, digest=hashes.SHA1())
    for certificate in (changed.der, by_sha1):
        with pytest.raises(AuthoritiesInvalid, match="no root"):
            Authorities(written(tmp_path, in_pem(certificate)))


def test_replaced_file_is_in_force_within_a_second_of_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    other = root("Other")
    authorities = Authorities(written(tmp_path, ROOT, ISSUING))
    assert authorities.generation == 1
    written(tmp_path, other)
    assert trusts(authorities, CLIENT), "looked at less than a second ago"
    look_again(authorities)
    assert not trusts(authorities, CLIENT)
    assert trusts(authorities, leaf(other))
    assert authorities.generation == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}/authorities.pem was replaced: its authorities are in force"
    ]


def test_generation_looks_at_the_file(tmp_path: Path) -> None:
    """So that whoever remembers what was verified drops it without asking for a path."""
    authorities = Authorities(written(tmp_path, ROOT))
    written(tmp_path, ROOT, ISSUING)
    look_again(authorities)
    assert authorities.generation == 2


@pytest.mark.parametrize("content", [b"", ROOT.pem[:100], ROOT.key_pem], ids=["empty", "cut short", "private key"])
def test_broken_replacement_keeps_what_runs(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    authorities = Authorities(written(tmp_path, ROOT, ISSUING))
    written(tmp_path, content)
    for _ in range(3):
        look_again(authorities)
        assert trusts(authorities, CLIENT)
    assert authorities.generation == 1
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("the authorities that were read before stay in force: ")


def test_file_that_is_gone_keeps_what_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, ROOT, ISSUING)
    authorities = Authorities(path)
    path.unlink()
    look_again(authorities)
    assert trusts(authorities, CLIENT)
    assert "No such file" in caplog.text
    written(tmp_path, ROOT)
    look_again(authorities)
    assert authorities.generation == 2


def test_many_threads_see_one_replacement(tmp_path: Path) -> None:
    authorities = Authorities(written(tmp_path, ROOT, ISSUING))
    written(tmp_path, ROOT, ISSUING, root("Other"))
    look_again(authorities)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: trusts(authorities, CLIENT), range(200)))
    assert authorities.generation == 2
