"""`python -m app pki`: what a trial authority issues and revokes, as OpenSSL and a node's own checks see it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app import __main__ as command_line
from app.commands.pki import NOTE
from app.keys.key_files import KeyInvalid
from app.refusals import Refusal
from app.trial import register as trial_register
from app.trial.authority import Authority
from app.trial.pki import Terms, TrialPki
from app.trial.register import Entry, PkiInvalid, digest
from app.trust.authorities import Authorities
from app.trust.revocation import RevocationLists

ROOT = Path(__file__).parents[3]
DNS = "hz-x.clients.hangzhou.example"
NOW = datetime.now(UTC).replace(microsecond=0)
_POINT = PublicFormat.UncompressedPoint

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("founded") / "pki"
    TrialPki.found(folder, NOW)
    return folder


@pytest.fixture
def folder(founded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(founded, tmp_path / "pki"))


@pytest.fixture
def run(folder: Path) -> Run:
    def invoke(command: str, *arguments: str, typed: str | None = None) -> Result:
        given = ["pki", command, *arguments, "--dir", str(folder)]
        return CliRunner().invoke(command_line.cli, given, input=typed)

    return invoke


@pytest.fixture
def issued(run: Run) -> Run:
    """The commands, with a certificate of hz-x already issued."""
    said(run("issue", "hz-x", "--dns", DNS))
    return run


def said(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.stdout.split())


def refused(result: Result, words: str, kind: type[Exception] = PkiInvalid) -> None:
    assert isinstance(result.exception, kind), (result.output, result.exception)
    assert re.search(words, str(result.exception)), str(result.exception)
    assert "\n" not in str(result.exception)


def certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def entries(folder: Path, client: str = "hz-x") -> list[Entry]:
    return [entry for entry in TrialPki(folder).register().entries if entry.holder == client]


def judged(folder: Path, name: str, purpose: str = "sslclient") -> str:
    """What OpenSSL says of a certificate and of every list that it needs: OK, or the error."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    files = {"-CAfile": "root.pem", "-CRLfile": "crls.pem", "-untrusted": f"{name}.pem"}
    command = ["openssl", "verify", "-x509_strict", "-crl_check_all", "-purpose", purpose]
    command += [word for option, file in files.items() for word in (option, str(folder / file))]
    command.append(str(folder / f"{name}.pem"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "OK" if done.returncode == 0 else done.stderr


def admitted(folder: Path, client: str, state: Path) -> bool:
    """Whether a node that trusts this authority and reads its lists takes the certificate."""
    authorities = Authorities(folder / "ca.pem")
    leaf, *chain = (one.public_bytes(Encoding.DER) for one in certificates(folder / f"{client}.pem"))
    path = authorities.verify(leaf, chain, datetime.now(UTC))
    lists = RevocationLists([str(folder / "crls.pem")], authorities, check="chain", grace_s=0, folder=state)
    try:
        lists.check(path, datetime.now(UTC))
    except Refusal as refusal:
        return {"certificate-revoked": False}[refusal.slug]
    return True


def request(key: Any, *names: str, path: Path, extensions: Iterable[x509.ExtensionType] = ()) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whoever\x1b[2J")])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    path.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    return str(path)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_folder_without_an_authority_says_how_to_make_one(run: Run, folder: Path) -> None:
    shutil.rmtree(folder)
    for command in (
        ["issue", "hz-x", "--dns", DNS],
        ["renew", "hz-x"],
        ["revoke", "hz-x", "--reason", "superseded"],
        ["server"],
        ["crl"],
        ["list"],
    ):
        refused(
            run(*command), rf"{folder} holds no trial authority: `python -m app pki init --dir {folder}` makes one"
        )
    assert not folder.exists()


def test_authority_is_made_in_a_new_folder_only(run: Run, folder: Path, tmp_path: Path) -> None:
    refused(run("init"), "pki is not empty: name a new folder")
    made = CliRunner().invoke(command_line.cli, ["pki", "init", "--dir", str(tmp_path / "deep" / "new")])
    assert "HECHA_TLS_CLIENT_CA" in said(made)
    names = {path.name for path in (tmp_path / "deep" / "new").iterdir()}
    authorities = {f"{name}.{end}" for name in ("root", "issuing") for end in ("pem", "key", "crl")}
    assert names == {"ca.pem", "crls.pem", "index.json", ".lock"} | authorities
    assert (tmp_path / "deep" / "new").stat().st_mode & 0o777 == 0o700


def test_keys_are_the_owners_and_certificates_everybodys(issued: Run, folder: Path) -> None:
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in folder.iterdir() if path.suffix != ""}
    assert modes == {".pem": 0o644, ".crl": 0o644, ".key": 0o600, ".json": 0o600}


def test_every_command_that_issues_says_that_this_is_for_trials(run: Run, folder: Path, tmp_path: Path) -> None:
    loud = [
        CliRunner().invoke(command_line.cli, ["pki", "init", "--dir", str(tmp_path / "new")]),
        run("server"),
        run("issue", "hz-x", "--dns", DNS),
        run("renew", "hz-x"),
    ]
    quiet = [run("list"), run("crl"), run("revoke", "hz-x", "--reason", "superseded")]
    assert [result.stderr.strip() for result in loud] == [NOTE] * 4
    assert [result.stderr for result in quiet] == [""] * 3
    assert "山东 第三十五条" in NOTE


def test_authorities_issue_leaves_only_below_the_second(folder: Path) -> None:
    root, issuing = certificates(folder / "ca.pem")
    root.verify_directly_issued_by(root)
    issuing.verify_directly_issued_by(root)
    lengths = [one.extensions.get_extension_for_class(x509.BasicConstraints).value for one in (root, issuing)]
    assert [(one.ca, one.path_length) for one in lengths] == [(True, 1), (True, 0)]


def test_client_certificate_is_taken_by_openssl_and_by_a_node(issued: Run, folder: Path, tmp_path: Path) -> None:
    assert judged(folder, "hz-x") == "OK"
    assert admitted(folder, "hz-x", tmp_path / "state")
    leaf = certificates(folder / "hz-x.pem")[0]
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert (list(usage), list(names)) == ([ExtendedKeyUsageOID.CLIENT_AUTH], [x509.DNSName(DNS)])
    private = load_pem_private_key((folder / "hz-x.key").read_bytes(), None)
    assert leaf.public_key() == private.public_key()
    (entry,) = entries(folder)
    assert (entry.serial, entry.names, entry.key) == (leaf.serial_number, (DNS,), digest(leaf.public_key()))
    assert leaf.not_valid_after_utc - NOW >= timedelta(days=90)
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints)


def test_issued_certificate_is_named_with_what_a_node_pins_it_by(run: Run, folder: Path) -> None:
    told = said(run("issue", "hz-x", "--dns", DNS, "--days", "30"))
    (entry,) = entries(folder)
    assert f"issued {entry.serial:x} to hz-x until" in told
    assert "hz-x.pem and hz-x.key" in told
    assert told.endswith(f"public key, for pinning: {entry.key}")
    assert (entry.not_after - NOW).days == 30


def test_place_of_the_list_is_said_only_if_it_is_given(run: Run, folder: Path, tmp_path: Path) -> None:
    url = "http://crl.hangzhou.example/issuing.crl"
    said(run("issue", "hz-x", "--dns", DNS, "--crl-url", url))
    points = certificates(folder / "hz-x.pem")[0].extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [name.value for point in points for name in point.full_name or ()] == [url]
    TrialPki.found(tmp_path / "new", NOW, "https://crl.hangzhou.example/root.crl")
    issuing = certificates(tmp_path / "new" / "issuing.pem")[0]
    assert issuing.extensions.get_extension_for_class(x509.CRLDistributionPoints)


@pytest.mark.parametrize(
    "url", ["", "crl.example/x", "ftp://crl.example/x", "http:///x", "http://a b", "http://[x", "http://核查/x"]
)
def test_place_of_the_list_that_cannot_be_one_is_refused(run: Run, folder: Path, url: str) -> None:
    refused(run("issue", "hz-x", "--dns", DNS, "--crl-url", url), "--crl-url takes the http or https URL")
    assert entries(folder) == []


@pytest.mark.parametrize(
    "client", ["", "x", "HZ-x", "hz_x", "../hz-x", "hz-x/y", "root", "issuing", "server", "ca", "核查"]
)
def test_what_is_no_client_id_gets_no_certificate(folder: Path, client: str) -> None:
    before = sorted(folder.iterdir())
    with pytest.raises(PkiInvalid, match="is no client id"):
        TrialPki(folder).issue(client, (DNS,), NOW, Terms())
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "dns",
    [
        "",
        "hz-x",
        "*.example",
        "HZ.example",
        "-a.example",
        "a..example",
        "a.example.",
        "a b.example",
        "核查.cn",
        "a" * 64 + ".cn",
    ],
)
def test_what_is_no_dns_name_is_not_certified(run: Run, folder: Path, dns: str) -> None:
    refused(run("issue", "hz-x", "--dns", dns), "is no DNS name: lower-case, with a dot, without wildcards")
    assert entries(folder) == []


def test_client_without_a_name_or_with_one_twice_is_refused(run: Run) -> None:
    refused(run("issue", "hz-x"), "a certificate needs a name: --dns hz-food-permits")
    refused(run("issue", "hz-x", "--dns", DNS, "--dns", DNS), "a name is given twice")


def test_second_first_certificate_is_refused(issued: Run) -> None:
    refused(issued("issue", "hz-x", "--dns", DNS), "holds a certificate already: `python -m app pki renew hz-x`")


def test_name_of_another_client_is_not_given_away(issued: Run, folder: Path) -> None:
    """A certificate with the names of two clients belongs to neither."""
    refused(issued("issue", "hz-y", "--dns", "b.example", "--dns", DNS), "hz-x holds a certificate of such a name")
    said(issued("revoke", "hz-x", "--reason", "cessationOfOperation"))
    said(issued("issue", "hz-y", "--dns", DNS))


def test_server_certificate_is_for_this_machine_unless_told_otherwise(run: Run, folder: Path) -> None:
    said(run("server"))
    assert judged(folder, "server", "sslserver") == "OK"
    assert "unsuitable certificate purpose" in judged(folder, "server", "sslclient").replace(
        "unsupported", "unsuitable"
    )
    assert entries(folder, "server")[0].names == ("localhost", "127.0.0.1", "::1")
    said(run("server", "--name", "node.hangzhou.example", "--name", "10.1.2.3"))
    assert entries(folder, "server")[1].names == ("node.hangzhou.example", "10.1.2.3")


@pytest.mark.parametrize("name", ["", "a b", "*.example", "10.1.2.3/8", "https://node.example"])
def test_what_names_no_server_is_refused(run: Run, name: str) -> None:
    refused(run("server", "--name", name), "is neither a host name nor an address")
    refused(run("server", "--name", "a.example", "--name", "a.example"), "a server needs names, and each once")


def test_request_gives_its_key_and_nothing_else(run: Run, folder: Path, tmp_path: Path) -> None:
    """An authority's powers, other names, another purpose: whatever a department writes into it is left out."""
    key = new_key()
    wanted = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
    )
    csr = request(key, "hz-audit.clients.hangzhou.example", path=tmp_path / "x.csr", extensions=wanted)
    told = said(run("issue", "hz-x", "--csr", csr, "--dns", DNS))
    assert "hz-x.pem in" in told
    assert not (folder / "hz-x.key").exists()
    leaf = certificates(folder / "hz-x.pem")[0]
    assert leaf.public_key() == key.public_key()
    assert leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "hz-x"
    assert list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == [x509.DNSName(DNS)]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert judged(folder, "hz-x") == "OK"


def test_names_of_a_request_are_shown_and_approved(run: Run, folder: Path, tmp_path: Path) -> None:
    csr = request(new_key(), DNS, path=tmp_path / "x.csr", extensions=[x509.BasicConstraints(ca=True, path_length=0)])
    denied = run("issue", "hz-x", "--csr", csr, typed="n\n")
    assert (denied.exit_code, entries(folder)) == (1, [])
    approved = run("issue", "hz-x", "--csr", csr, typed="y\n")
    told = said(approved)
    assert f"The request asks for: {DNS}" in told
    assert "left out: subject CN=whoever�[2J; BasicConstraints" in told
    assert "\x1b" not in approved.stdout
    assert entries(folder)[0].names == (DNS,)


def test_wildcard_of_a_request_is_refused_even_if_somebody_approves_it(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    csr = request(new_key(), "*.hangzhou.example", path=tmp_path / "x.csr")
    refused(run("issue", "hz-x", "--csr", csr, typed="y\n"), "is no DNS name")
    assert entries(folder) == []


def test_request_without_a_name_needs_one_from_the_command_line(run: Run, tmp_path: Path) -> None:
    result = run("issue", "hz-x", "--csr", request(new_key(), path=tmp_path / "x.csr"))
    assert (result.exit_code, "give the client's with --dns" in result.output) == (2, True)


def test_request_that_another_key_signed_is_refused(run: Run, tmp_path: Path) -> None:
    """Whoever sends it may not hold the key that is to be certified."""
    first, second = (
        x509.load_pem_x509_csr(Path(request(new_key(), DNS, path=tmp_path / name)).read_bytes()) for name in "ab"
    )
    forged = second.public_bytes(Encoding.DER).replace(
        second.public_key().public_bytes(Encoding.X962, _POINT),
        first.public_key().public_bytes(Encoding.X962, _POINT),
    )
    pem = x509.load_der_x509_csr(forged).public_bytes(Encoding.PEM)
    (tmp_path / "forged.csr").write_bytes(pem)
    refused(run("issue", "hz-x", "--csr", str(tmp_path / "forged.csr"), "--dns", DNS), "not signed by its own key")


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65_537, 1_024),
        ec.generate_private_key(ec.SECP224R1()),
        ec.generate_private_key(ec.SECP256K1()),
    ],
    ids=["rsa1024", "p224", "secp256k1"],
)
def test_request_of_a_weak_key_is_refused(run: Run, tmp_path: Path, key: Any) -> None:
    csr = request(key, DNS, path=tmp_path / "x.csr")
    refused(run("issue", "hz-x", "--csr", csr, "--dns", DNS), "must be P-256, P-384, or RSA of 2048 to 8192 bits")


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65_537, 2_048)], ids=["p384", "rsa2048"]
)
def test_request_of_another_strong_key_is_taken(run: Run, folder: Path, tmp_path: Path, key: Any) -> None:
    said(run("issue", "hz-x", "--csr", request(key, DNS, path=tmp_path / "x.csr"), "--dns", DNS))
    assert judged(folder, "hz-x") == "OK"


@pytest.mark.parametrize(
    "content", [b"", b"no request", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
)
def test_what_is_no_request_is_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csr").write_bytes(content)
    refused(run("issue", "hz-x", "--csr", str(tmp_path / "x.csr"), "--dns", DNS), "the request cannot be read")


def test_renewed_certificate_has_the_name_and_a_new_key_and_the_old_one_stays_good(issued: Run, folder: Path) -> None:
    shutil.copy(folder / "hz-x.pem", folder / "before.pem")
    said(issued("renew", "hz-x", "--days", "10"))
    before, after = entries(folder)
    assert (before.names, before.key != after.key, before.serial != after.serial) == (after.names, True, True)
    assert (judged(folder, "hz-x"), judged(folder, "before")) == ("OK", "OK")
    private = load_pem_private_key((folder / "hz-x.key").read_bytes(), None)
    assert certificates(folder / "hz-x.pem")[0].public_key() == private.public_key()


def test_renewed_certificate_keeps_its_key_if_asked_to(issued: Run, folder: Path) -> None:
    key = (folder / "hz-x.key").read_bytes()
    said(issued("renew", "hz-x", "--same-key"))
    before, after = entries(folder)
    assert (before.key, before.serial != after.serial) == (after.key, True)
    assert (folder / "hz-x.key").read_bytes() == key
    assert judged(folder, "hz-x") == "OK"


def test_department_that_made_its_own_key_renews_with_a_request_or_the_same(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    first, second = new_key(), new_key()
    said(run("issue", "hz-x", "--csr", request(first, DNS, path=tmp_path / "x.csr"), "--dns", DNS))
    refused(run("renew", "hz-x"), "the key of hz-x was not made here: give --csr with its next one, or --same-key")
    said(run("renew", "hz-x", "--same-key"))
    said(run("renew", "hz-x", "--csr", request(second, "other.example", path=tmp_path / "y.csr")))
    assert [entry.key for entry in entries(folder)] == [digest(key.public_key()) for key in (first, first, second)]
    assert {entry.names for entry in entries(folder)} == {(DNS,)}


def test_key_that_no_longer_fits_does_not_stay_beside_the_certificate(
    issued: Run, folder: Path, tmp_path: Path
) -> None:
    said(issued("renew", "hz-x", "--csr", request(new_key(), path=tmp_path / "x.csr")))
    assert not (folder / "hz-x.key").exists()


def test_two_ways_to_name_a_key_are_too_many(issued: Run, tmp_path: Path) -> None:
    result = issued("renew", "hz-x", "--same-key", "--csr", request(new_key(), path=tmp_path / "x.csr"))
    assert (result.exit_code, "give one of them" in result.output) == (2, True)


def test_only_what_was_issued_and_not_revoked_is_renewed(issued: Run) -> None:
    refused(issued("renew", "hz-y"), "hz-y holds no certificate to renew: `python -m app pki issue hz-y --dns …`")
    refused(issued("renew", "issuing"), "is no client id")
    said(issued("revoke", "hz-x", "--reason", "affiliationChanged"))
    for arguments in (["hz-x"], ["hz-x", "--same-key"]):
        refused(issued("renew", *arguments), "hz-x holds no certificate to renew")


def test_certificate_that_was_exchanged_by_hand_does_not_lend_its_key(issued: Run, folder: Path) -> None:
    said(issued("issue", "hz-y", "--dns", "hz-y.example"))
    shutil.copy(folder / "hz-y.pem", folder / "hz-x.pem")
    refused(issued("renew", "hz-x", "--same-key"), r"hz-x\.pem is not the last certificate of hz-x")


def test_revoked_certificate_is_refused_by_openssl_and_by_a_node(issued: Run, folder: Path, tmp_path: Path) -> None:
    assert admitted(folder, "hz-x", tmp_path / "state")
    said(issued("revoke", "hz-x", "--reason", "keyCompromise"))
    assert "certificate revoked" in judged(folder, "hz-x")
    assert not admitted(folder, "hz-x", tmp_path / "state")
    (entry,) = entries(folder)
    listed = x509.load_der_x509_crl((folder / "issuing.crl").read_bytes())
    found = listed.get_revoked_certificate_by_serial_number(entry.serial)
    assert found is not None
    assert found.extensions.get_extension_for_class(x509.CRLReason).value.reason is x509.ReasonFlags.key_compromise
    assert (entry.reason, entry.revoked_at) == ("keyCompromise", found.revocation_date_utc)


def test_reason_that_says_nothing_is_left_out(issued: Run, folder: Path) -> None:
    """RFC 5280 §5.3.1."""
    said(issued("revoke", "hz-x", "--reason", "unspecified"))
    (found,) = x509.load_der_x509_crl((folder / "issuing.crl").read_bytes())
    assert list(found.extensions) == []


def test_compromised_key_is_never_certified_again(run: Run, folder: Path, tmp_path: Path) -> None:
    csr = request(new_key(), DNS, path=tmp_path / "x.csr")
    said(run("issue", "hz-x", "--csr", csr, "--dns", DNS))
    said(run("revoke", "hz-x", "--reason", "keyCompromise"))
    refused(run("issue", "hz-x", "--csr", csr, "--dns", DNS), "that key was revoked as compromised: make a new one")
    refused(run("issue", "hz-y", "--csr", csr, "--dns", "hz-y.example"), "revoked as compromised")
    assert len(entries(folder)) == 1


def test_one_certificate_is_revoked_by_its_number_however_it_is_written(issued: Run, folder: Path) -> None:
    said(issued("renew", "hz-x"))
    before, after = entries(folder)
    text = f"{before.serial:040X}"
    pairs = ":".join(text[i : i + 2] for i in range(0, 40, 2))
    assert f"revoked {before.serial:x} of hz-x (superseded)" in said(
        issued("revoke", pairs, "--reason", "superseded")
    )
    assert [entry.state(NOW) for entry in entries(folder)] == ["revoked", "valid"]
    assert judged(folder, "hz-x") == "OK"
    assert after.serial != before.serial


def test_client_is_revoked_with_all_its_certificates(issued: Run, folder: Path) -> None:
    said(issued("renew", "hz-x"))
    said(issued("issue", "hz-y", "--dns", "hz-y.example"))
    said(issued("revoke", "hz-x", "--reason", "cessationOfOperation"))
    assert [entry.state(NOW) for entry in entries(folder)] == ["revoked", "revoked"]
    assert (judged(folder, "hz-y"), "revoked" in judged(folder, "hz-x")) == ("OK", True)


def test_nothing_is_revoked_twice_or_unknown(issued: Run, folder: Path) -> None:
    said(issued("revoke", "hz-x", "--reason", "superseded"))
    number = TrialPki(folder).register().list_number
    refused(issued("revoke", "hz-x", "--reason", "superseded"), "hz-x: is revoked already: `python -m app pki list`")
    for which in ("hz-z", "ffff", "", ":", "root"):
        refused(issued("revoke", which, "--reason", "superseded"), "there is no such certificate: `python -m app pki")
    assert issued("revoke", "hz-x", "--reason", "certificateHold").exit_code == 2
    assert TrialPki(folder).register().list_number == number


def test_issuing_authority_that_was_revoked_issues_nothing_more(issued: Run, folder: Path) -> None:
    said(issued("revoke", "issuing", "--reason", "keyCompromise"))
    refused(issued("issue", "hz-y", "--dns", "hz-y.example"), "the issuing authority is revoked")
    refused(issued("renew", "hz-x"), "the issuing authority is revoked")
    listed = x509.load_der_x509_crl((folder / "root.crl").read_bytes())
    assert [found.serial_number for found in listed] == [certificates(folder / "issuing.pem")[0].serial_number]
    assert "certificate revoked" in judged(folder, "hz-x")


def test_lists_are_numbered_dated_and_signed_by_their_own_authority(run: Run, folder: Path) -> None:
    first = TrialPki(folder).register().list_number
    told = said(run("crl", "--days", "3"))
    assert f"list number {first + 1}, next update within 3 days" in told
    said(run("crl"))
    for name in ("root", "issuing"):
        listed = x509.load_der_x509_crl((folder / f"{name}.crl").read_bytes())
        (authority,) = certificates(folder / f"{name}.pem")
        key = authority.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert listed.is_signature_valid(key)
        assert listed.issuer == authority.subject
        assert listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == first + 2
        assert listed.next_update_utc is not None
        assert listed.next_update_utc - listed.last_update_utc == timedelta(days=3)
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        named = listed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert named == own
    assert (folder / "crls.pem").read_bytes().count(b"BEGIN X509 CRL") == 2


def test_list_shows_every_certificate_with_its_state(issued: Run, folder: Path) -> None:
    said(issued("renew", "hz-x"))
    before, after = entries(folder)
    said(issued("revoke", f"{before.serial:x}", "--reason", "superseded"))
    TrialPki(folder).issue("hz-old", ("hz-old.example",), NOW - timedelta(days=40), Terms(days=1))
    told = said(issued("list"))
    assert re.search(rf"{before.serial:x} hz-x revoked: superseded {before.not_after:%Y-%m-%d}", told)
    assert re.search(rf"{after.serial:x} hz-x valid {after.not_after:%Y-%m-%d %H:%MZ} {DNS}", told)
    assert "hz-old expired" in told


def test_certificate_that_has_run_out_makes_room_for_a_first_one(folder: Path) -> None:
    pki = TrialPki(folder)
    pki.issue("hz-x", (DNS,), NOW - timedelta(days=40), Terms(days=1))
    pki.issue("hz-y", (DNS,), NOW, Terms())
    pki.renew("hz-x", NOW, Terms())


def test_certificate_does_not_outlive_its_authority(folder: Path) -> None:
    with pytest.raises(PkiInvalid, match="ends before that: begin anew in another folder"):
        TrialPki(folder).issue("hz-x", (DNS,), NOW + timedelta(days=1_800), Terms(days=90))


def test_commands_at_once_lose_no_entry(folder: Path) -> None:
    def work(number: int) -> None:
        TrialPki(folder).issue(f"hz-{number:02}", (f"hz-{number:02}.example",), NOW, Terms())
        TrialPki(folder).write_lists(NOW)

    first = TrialPki(folder).register().list_number
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(24)))
    register = TrialPki(folder).register()
    assert {entry.holder for entry in register.entries} == {"issuing", *(f"hz-{number:02}" for number in range(24))}
    assert register.list_number == first + 24


# Ends a child at the n-th call that changes the folder, as a power cut would, until one runs through.
KILLED = """
import os, shutil, sys
from datetime import UTC, datetime
from pathlib import Path
from app.trial.pki import Terms, TrialPki

folder, target = Path(sys.argv[1]), Path(sys.argv[2])
now, count, code = datetime.now(UTC).replace(microsecond=0), 0, 9
while code == 9:
    copy = shutil.copytree(folder, target / str(count))
    child = os.fork()
    if not child:
        left = count
        def counted(real):
            def call(*arguments, **named):
                global left
                if left == 0:
                    os._exit(9)
                left -= 1
                return real(*arguments, **named)
            return call
        for name in ("open", "fsync", "fdopen"):
            setattr(os, name, counted(getattr(os, name)))
        for name in ("replace", "unlink"):
            setattr(Path, name, counted(getattr(Path, name)))
        TrialPki(copy).renew("hz-x", now, Terms())
        TrialPki(copy).revoke("hz-y", "keyCompromise", now)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count += 1
print(count, code)
"""


def test_whatever_leaves_can_be_revoked_wherever_a_command_is_killed(
    issued: Run, folder: Path, tmp_path: Path
) -> None:
    said(issued("issue", "hz-y", "--dns", "hz-y.example"))
    command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    count, code = map(int, done.stdout.split())
    assert (code, count > 30) == (0, True)
    for number in range(count):
        left = tmp_path / str(number)
        register = TrialPki(left).register()
        known = {entry.serial for entry in register.entries}
        assert {certificates(left / f"{name}.pem")[0].serial_number for name in ("hz-x", "hz-y")} <= known
        again = TrialPki(left)
        again.renew("hz-x", NOW, Terms())
        again.write_lists(NOW)
        assert judged(left, "hz-x") == "OK"
        is_revoked = next(register.of("hz-y")).revoked_at is not None
        assert ("revoked" in judged(left, "hz-y")) is is_revoked


def test_folder_that_others_can_write_issues_nothing(issued: Run, folder: Path) -> None:
    folder.chmod(0o777)
    refused(issued("renew", "hz-x"), "pki can be written by others", KeyInvalid)


@pytest.mark.parametrize("name", ["issuing.key", "index.json"])
def test_file_that_others_can_read_issues_nothing(issued: Run, folder: Path, name: str) -> None:
    (folder / name).chmod(0o644)
    refused(issued("renew", "hz-x"), f"{name} is open to others", KeyInvalid)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"certificates":[{}],"list_number":1,"list_days":7}', b"\xff"]
)
def test_register_that_is_damaged_is_not_written_over(run: Run, folder: Path, content: bytes) -> None:
    (folder / trial_register.INDEX).write_bytes(content)
    refused(run("issue", "hz-x", "--dns", DNS), r"index\.json cannot be read: restore it")
    assert (folder / trial_register.INDEX).read_bytes() == content


def test_root_may_be_kept_elsewhere_until_it_is_needed(run: Run, folder: Path) -> None:
    (folder / "root.key").unlink()
    said(run("issue", "hz-x", "--dns", DNS))
    refused(run("crl"), r"root\.key: No such file or directory$", KeyInvalid)


def test_authority_of_another_folder_is_another_one(folder: Path, tmp_path: Path) -> None:
    other = Authority.found("Hecha trial root", "Hecha trial", NOW)
    assert other.certificate.subject == certificates(folder / "root.pem")[0].subject
    assert other.certificate.public_key() != certificates(folder / "root.pem")[0].public_key()
