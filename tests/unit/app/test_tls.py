"""TLS of the node: what the context allows, and what happens when its files change under it."""

from __future__ import annotations

import logging
import shutil
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from app.settings import SettingInvalid, Settings
from app.tls import LOOK_S, Contexts, tls_context
from examples.demo.pki import write_pki
from tests.servers.worker import client_context, tls_settings

FILES = ("server.pem", "server.key", "ca.pem")


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    return written(tmp_path / "pki")


def written(folder: Path) -> Path:
    folder.mkdir()
    write_pki(folder, {"a": "a.example"}, datetime.now(UTC))
    return folder


@pytest.fixture
def settings(pki: Path) -> Settings:
    return tls_settings(pki)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contexts(settings: Settings, pki: Path, clock: Clock) -> Contexts:
    return Contexts(lambda: tls_context(settings), [pki / name for name in FILES], clock)


def look_again(contexts: Contexts, clock: Clock) -> bool:
    clock.now += LOOK_S
    return contexts.refresh()


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection in memory, the client's first. Raises `ssl.SSLError` if one refuses."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost", session=session),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends[1].write(b"x")
    ends[0].read(1)  # and with it tickets, if there are any
    return ends


def test_node_without_certificate_files_has_no_tls(tmp_path: Path) -> None:
    bare = Settings.from_env({"HECHA_NODE_DIR": str(tmp_path)})
    assert Contexts.of(bare) is None
    with pytest.raises(SettingInvalid, match="are needed for TLS"):
        tls_context(bare)


def test_tls_is_1_3_and_asks_for_a_certificate_without_demanding_one(settings: Settings, pki: Path) -> None:
    context = tls_context(settings)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_OPTIONAL
    for name in (None, "a"):
        _, server = handshake(context, client_context(pki, name))
        assert (server.getpeercert(binary_form=True) is not None) is (name is not None)


@pytest.mark.parametrize("name", ["bad/expired", "bad/foreign", "server"])
def test_bad_certificate_ends_the_handshake(settings: Settings, pki: Path, name: str) -> None:
    """Expired, of a foreign authority, or not meant for clients."""
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tls_context(settings), client_context(pki, name))


def test_tls_1_2_is_spoken_only_if_the_operator_says_so(pki: Path) -> None:
    old = client_context(pki)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(tls_context(tls_settings(pki)), old)
    allowed = tls_context(tls_settings(pki, TLS_MINIMUM="1.2"))
    assert handshake(allowed, old)[1].version() == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        handshake(allowed, old)


def test_every_suite_has_forward_secrecy_and_authenticates_what_it_encrypts(settings: Settings) -> None:
    for suite in tls_context(settings).get_ciphers():
        assert suite["aead"], suite["name"]
        assert suite["kea"] in ("kx-ecdhe", "kx-any"), suite["name"]  # TLS 1.3 is always ephemeral
        assert suite["auth"] != "auth-null", suite["name"]
        assert suite["strength_bits"] >= 128, suite["name"]


@pytest.mark.parametrize("suite", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_weaker_suite_is_refused(pki: Path, suite: str) -> None:
    old = client_context(pki)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers(suite)
    with pytest.raises(ssl.SSLError):
        handshake(tls_context(tls_settings(pki, TLS_MINIMUM="1.2")), old)


def test_nothing_is_compressed_and_nothing_renegotiated(settings: Settings) -> None:
    options = tls_context(settings).options
    assert options & ssl.OP_NO_COMPRESSION
    assert options & ssl.OP_NO_RENEGOTIATION


def test_session_is_never_resumed(settings: Settings, pki: Path) -> None:
    """In TLS 1.3 a resumed session would bring its certificate along without showing it."""
    context, named = tls_context(settings), client_context(pki, "a")
    first, _ = handshake(context, named)
    again, _ = handshake(context, named, first.session)
    assert not again.session_reused


def test_session_of_tls_1_2_does_not_outlive_the_files(pki: Path) -> None:
    settings = tls_settings(pki, TLS_MINIMUM="1.2")
    old = client_context(pki, "a")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    first, _ = handshake(tls_context(settings), old)
    again, _ = handshake(tls_context(settings), old, first.session)
    assert not again.session_reused


def test_one_context_serves_until_its_files_change(contexts: Contexts, clock: Clock) -> None:
    first = contexts.in_force
    assert not look_again(contexts, clock)
    assert contexts.in_force is first


def test_replaced_certificate_is_served_but_changes_no_authorities(
    contexts: Contexts, clock: Clock, pki: Path, tmp_path: Path
) -> None:
    other = written(tmp_path / "other")
    for name in ("server.pem", "server.key"):
        shutil.copyfile(other / name, pki / name)
    before = contexts.in_force
    assert not contexts.refresh()  # not yet: the files are looked at once a second
    assert contexts.in_force is before
    handshake(contexts.in_force.context, client_context(pki))
    assert not look_again(contexts, clock)
    handshake(contexts.in_force.context, client_context(other))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(contexts.in_force.context, client_context(pki))


def test_new_process_looks_at_once(contexts: Contexts, pki: Path, tmp_path: Path) -> None:
    """It starts with what its master loaded, maybe long ago."""
    shutil.copyfile(written(tmp_path / "other") / "ca.pem", pki / "ca.pem")
    assert contexts.refresh(at_once=True)


def test_replaced_authorities_refuse_the_old_clients_and_admit_the_new(
    contexts: Contexts, clock: Clock, pki: Path, tmp_path: Path
) -> None:
    old, other = shutil.copytree(pki, tmp_path / "old"), written(tmp_path / "other")
    # As a careful operator does it: another file, moved over the old one.
    shutil.copyfile(other / "ca.pem", pki / "new.pem").rename(pki / "ca.pem")
    assert look_again(contexts, clock)
    foreign = client_context(old)
    foreign.load_cert_chain(other / "a.pem", other / "a.key")
    handshake(contexts.in_force.context, foreign)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(contexts.in_force.context, client_context(old, "a"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    other = written(path.parent / "replacement")
    shutil.copyfile(other / path.name, path)


def missing(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("server.pem", cut, "server.pem with server.key cannot be used (BAD_END_LINE)"),
        ("server.pem", emptied, "server.pem with server.key cannot be used (not PEM)"),
        ("server.pem", replaced, "server.pem with server.key cannot be used (KEY_VALUES_MISMATCH)"),
        ("server.pem", missing, "FileNotFoundError"),
        ("server.key", cut, "server.pem with server.key cannot be used ("),
        ("server.key", replaced, "server.pem with server.key cannot be used (KEY_VALUES_MISMATCH)"),
        ("server.key", a_folder, "server.pem with server.key cannot be used ("),
        ("ca.pem", cut, "ca.pem cannot be used (not PEM)"),
        ("ca.pem", emptied, "ca.pem cannot be used (NO_CERTIFICATE_OR_CRL_FOUND)"),
    ],
)
def test_broken_replacement_keeps_what_is_in_force_and_is_told_once(  # noqa: PLR0917 - fixtures and a case
    contexts: Contexts, clock: Clock, pki: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str,
    damage: object, told: str,
) -> None:  # fmt: skip
    assert callable(damage)
    before, good = contexts.in_force, shutil.copytree(pki, tmp_path / "good")
    damage(pki / name)
    for _ in range(3):
        assert not look_again(contexts, clock)
        assert contexts.in_force is before
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert told in record.getMessage()
    assert str(tmp_path) not in record.getMessage()
    if (pki / name).is_dir():
        (pki / name).rmdir()
    shutil.copyfile(good / name, pki / name)
    look_again(contexts, clock)
    assert contexts.in_force is not before
    handshake(contexts.in_force.context, client_context(good, "a"))


def test_files_that_change_while_they_are_read_are_not_in_force(settings: Settings, pki: Path, clock: Clock) -> None:
    def made() -> ssl.SSLContext:
        context = tls_context(settings)
        with (pki / "ca.pem").open("ab") as file:
            file.write(b"\n")
        return context

    with pytest.raises(SettingInvalid, match="are being written"):
        Contexts(made, [pki / name for name in FILES], clock)


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
def test_node_does_not_start_on_files_that_do_not_fit(settings: Settings, pki: Path, name: str) -> None:
    cut(pki / name)
    with pytest.raises(SettingInvalid, match=name):
        Contexts.of(settings)


def test_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(settings: Settings, pki: Path) -> None:
    key = serialization.load_pem_private_key((pki / "server.key").read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (pki / "server.key").write_bytes(encrypted)
    with pytest.raises(SettingInvalid, match="the key is encrypted"):
        tls_context(settings)
