"""Keys in a hardware module: what signs with them cannot tell, and every way in which a module fails is one line."""

from __future__ import annotations

import copy
import ctypes
import gc
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from app.keys import hsm
from app.keys import node_keys as keys
from app.keys.hsm import ED25519, P256, HsmUnavailable
from app.keys.key_files import KeyInvalid
from evidence.jws import Signer, verify
from evidence.note import NoteSigner, NoteVerifier, open_note
from tests.servers import softhsm
from tests.servers.softhsm import MODULE, SoftHsm

pytestmark = pytest.mark.skipif(not softhsm.is_installed(), reason=softhsm.MISSING)

ROOT = Path(__file__).parents[4]
ES256 = ec.ECDSA(hashes.SHA256())
KEYS: tuple[dict[str, Any], ...] = (
    {"curve": "p256", "label": "token"},
    {"curve": "p256", "label": "receipt", "id": "02"},
    {"curve": "ed25519", "label": "log"},
    {"curve": "p384", "label": "p384"},
    {"curve": "p256", "label": "not-for-signing", "sign": False},
    {"curve": "p256", "label": "without-public", "public": "none"},
    {"curve": "p256", "label": "without-private", "destroy": True},
    {"curve": "p256", "label": "swapped", "public": "receipt"},
    {"curve": "p256", "label": "twins", "id": "0a"},
    {"curve": "p256", "label": "twins", "id": "0b"},
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    token = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    token.init()
    token.make(*KEYS)
    return token


@pytest.fixture
def token(made: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftHsm]:
    """A copy of the token, for this test alone."""
    from app.keys import cryptoki

    cryptoki.stop_all()
    own = SoftHsm(tmp_path / "hsm")
    shutil.copytree(made.folder, own.folder)
    own.conf.write_text(made.conf.read_text().replace(str(made.tokens), str(own.tokens)))
    monkeypatch.setenv("SOFTHSM2_CONF", str(own.conf))
    yield own
    cryptoki.stop_all()


@pytest.fixture
def folder(token: SoftHsm, tmp_path: Path) -> Path:
    """A keys folder whose signing keys are all in the module."""
    folder = tmp_path / "keys"
    keys.create(folder)
    for name in ("token", "receipt", "log"):
        (folder / f"{name}.pem").unlink()
        token.write_uri(folder / f"{name}.uri", name)
    (folder / "key-history.json").unlink()
    return folder


Load = Callable[..., Any]


@pytest.fixture
def load(token: SoftHsm, tmp_path: Path) -> Load:
    return lambda label, kind=P256: hsm.load(token.write_uri(tmp_path / f"{label}.uri", label), kind)


def close_all_sessions() -> None:
    """What pulling a token out does: every session of every process is gone, and with them the login."""
    library, slots, count = ctypes.CDLL(str(MODULE)), (ctypes.c_ulong * 8)(), ctypes.c_ulong(8)
    assert library.C_GetSlotList(ctypes.c_ubyte(1), slots, ctypes.byref(count)) == 0
    for slot in slots[: count.value]:
        assert library.C_CloseAllSessions(ctypes.c_ulong(slot)) == 0


def test_file_that_names_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token.uri").touch(0o600)
    with pytest.raises(KeyInvalid, match=r"token\.uri must hold one line, pkcs11:token="):
        hsm.load(tmp_path / "token.uri", P256)


def test_token_signed_in_the_module_is_verified_by_another_library(load: Load) -> None:
    key = load("token")
    token = jwt.encode({"sub": "hz-x"}, key, "ES256")
    assert jwt.decode(token, key.public_key(), ["ES256"]) == {"sub": "hz-x"}


def test_receipts_signed_in_the_module_verify(load: Load) -> None:
    key = load("receipt")
    signer = Signer(key, "hecha-receipt+jws")
    signed = verify(signer.sign(b"{}"), {signer.kid: key.public_key()}, "hecha-receipt+jws")
    assert (signed.kid, signed.payload) == (signer.kid, b"{}")


def test_checkpoints_signed_in_the_module_verify(load: Load) -> None:
    signer = NoteSigner("hz-tax.example/log", load("log", ED25519))
    assert open_note(signer.sign("a\nb\n"), [NoteVerifier.parse(signer.vkey)]).text == "a\nb\n"


def test_prepared_digest_is_signed_as_it_is(load: Load) -> None:
    key = load("token")
    prepared = ec.ECDSA(Prehashed(hashes.SHA256()))
    key.public_key().verify(key.sign(sha256(b"x").digest(), prepared), b"x", ES256)


@pytest.mark.parametrize(("label", "kind"), [("token", P256), ("log", ED25519)])
def test_private_half_is_not_to_be_had(load: Load, label: str, kind: Any) -> None:
    key = load(label, kind)
    assert isinstance(key, kind.type)
    assert copy.copy(key) is copy.deepcopy(key) is key
    with pytest.raises(UnsupportedAlgorithm, match="stays in the hardware module"):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnsupportedAlgorithm, match="stays in the hardware module"):
        key.private_numbers() if kind is P256 else key.private_bytes_raw()


def test_key_signs_and_does_nothing_else(load: Load) -> None:
    key = load("token")
    assert (key.key_size, key.curve.name) == (256, "secp256r1")
    with pytest.raises(UnsupportedAlgorithm, match="for signatures"):
        key.exchange(ec.ECDH(), ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(UnsupportedAlgorithm, match="signs ECDSA"):
        key.sign(b"x", SimpleNamespace(algorithm=hashes.SHA256()))


def test_node_signs_everything_in_the_module(folder: Path) -> None:
    loaded = keys.load(folder)
    loaded.token.public_key().verify(loaded.token.sign(b"x", ES256), b"x", ES256)
    loaded.receipt.public_key().verify(loaded.receipt.sign(b"x", ES256), b"x", ES256)
    loaded.log.public_key().verify(loaded.log.sign(b"x"), b"x")
    assert isinstance(loaded.log, ed25519.Ed25519PrivateKey)


def test_no_file_is_made_beside_a_key_of_the_module(folder: Path) -> None:
    assert keys.create(folder) == []


def test_file_and_module_for_one_key_are_refused(folder: Path, tmp_path: Path) -> None:
    keys.create(tmp_path / "others")
    shutil.copy(tmp_path / "others" / "log.pem", folder / "log.pem")
    with pytest.raises(KeyInvalid, match=r"log\.pem and log\.uri are both there: remove the one"):
        keys.load(folder)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602])
def test_file_of_the_uri_that_is_open_to_others_is_refused(folder: Path, mode: int) -> None:
    (folder / "receipt.uri").chmod(mode)
    with pytest.raises(KeyInvalid, match=r"receipt\.uri is open to others"):
        keys.load(folder)


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_pin_that_others_may_read_is_refused(folder: Path, token: SoftHsm, mode: int) -> None:
    token.pin.chmod(mode)
    with pytest.raises(KeyInvalid, match=r"token\.uri: .*pin is open to others .*chmod 600"):
        keys.load(folder)


def test_pin_that_is_missing_is_named(folder: Path, token: SoftHsm) -> None:
    token.pin.unlink()
    with pytest.raises(KeyInvalid, match=r"token\.uri: .*/pin: No such file or directory$"):
        keys.load(folder)


def test_wrong_pin_is_tried_once(load: Load, token: SoftHsm) -> None:
    """A token locks after a few wrong ones, and a node that is started again and again would see to that."""
    right = token.pin.read_text()
    token.pin.write_text("0000\n")
    with pytest.raises(KeyInvalid, match=r"the token hecha trial refuses the PIN of .*PinIncorrect"):
        load("token")
    with pytest.raises(KeyInvalid, match=r"refused the PIN of .* before: put the right one there") as refused:
        load("token")
    assert "0000" not in str(refused.value)
    token.pin.write_text(right)
    assert load("token").key_size == 256


def test_package_that_is_missing_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.keys.cryptoki")
    monkeypatch.delattr("app.keys.cryptoki")
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(KeyInvalid, match=r"token\.uri names a key of a hardware module: pip install hecha\[hsm\]$"):
        keys.load(folder)


def test_module_that_cannot_be_loaded_is_named(token: SoftHsm, tmp_path: Path) -> None:
    (tmp_path / "no.so").write_bytes(b"no library")
    (tmp_path / "a.uri").touch(0o600)
    for module, words in ((tmp_path / "absent.so", "No such file"), (tmp_path / "no.so", "cannot be loaded")):
        (tmp_path / "a.uri").write_text(token.uri("token", module))
        with pytest.raises(KeyInvalid, match=rf"a\.uri: .*{words}"):
            hsm.load(tmp_path / "a.uri", P256)


def test_module_that_others_may_write_is_not_loaded(token: SoftHsm, tmp_path: Path) -> None:
    """It is code, and it is given the PIN."""
    module = Path(shutil.copy(MODULE, tmp_path))
    module.chmod(0o666)
    (tmp_path / "a.uri").touch(0o600)
    (tmp_path / "a.uri").write_text(token.uri("token", module))
    with pytest.raises(KeyInvalid, match=r"libsofthsm2\.so can be written by others"):
        hsm.load(tmp_path / "a.uri", P256)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("absent", "holds 0 private keys of that name"),
        ("without-private", "holds 0 private keys of that name"),
        ("without-public", "holds 0 public keys of that name"),
        ("twins", "holds 2 private keys of that name: one is needed"),
        ("not-for-signing", r"not meant for signing \(CKA_SIGN\)"),
        ("swapped", "public key is not that of its private key"),
        ("p384", "must be a P-256 key"),
        ("log", "must be a P-256 key"),
    ],
)
def test_key_that_is_not_what_it_should_be_is_refused(load: Load, label: str, words: str) -> None:
    with pytest.raises(KeyInvalid, match=rf"{label}\.uri: .*{words}"):
        load(label)


def test_key_of_tokens_does_not_sign_the_log(load: Load) -> None:
    with pytest.raises(KeyInvalid, match="must be an Ed25519 key"):
        load("token", ED25519)


def test_key_of_a_label_that_two_have_is_found_by_its_id(token: SoftHsm, tmp_path: Path) -> None:
    found = []
    for number in ("0a", "0b"):
        path = token.write_uri(tmp_path / f"{number}.uri", f"twins;id=%{number}")
        found.append(hsm.load(path, P256).public_key().public_numbers())
    assert found[0] != found[1]


def test_key_is_found_by_its_id_alone(token: SoftHsm, tmp_path: Path, load: Load) -> None:
    path = token.write_uri(tmp_path / "a.uri", "receipt")
    path.write_text(path.read_text().replace("object=receipt", "id=%02"))
    assert hsm.load(path, P256).public_key() == load("receipt").public_key()


def test_point_is_read_with_and_without_its_head() -> None:
    """Modules of PKCS#11 2.x give an OCTET STRING, some of 3.x the bare point."""
    point = b"\x04\x41" + bytes(63)
    assert hsm._point(b"\x04\x41" + point, 65) == hsm._point(point, 65) == point
    assert hsm._point(b"\x04\x20" + bytes(32), 32) == hsm._point(bytes(32), 32) == bytes(32)


def test_key_that_does_not_sign_at_the_start_is_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.keys import cryptoki

    def fails(*_: object) -> bytes:
        raise cryptoki.Unusable("the module fails")

    monkeypatch.setattr(cryptoki.Module, "sign", fails)
    with pytest.raises(KeyInvalid, match=r"token\.uri: the key does not sign: see the log above"):
        load("token")


def test_token_that_is_not_there_is_named(token: SoftHsm, tmp_path: Path) -> None:
    path = token.write_uri(tmp_path / "a.uri", "token")
    path.write_text(path.read_text().replace("token=hecha%20trial", "token=other"))
    with pytest.raises(KeyInvalid, match="NoSuchToken"):
        hsm.load(path, P256)


def test_sixteen_threads_sign_at_once(load: Load) -> None:
    """Without locks of the operating system this crashes the process."""
    receipt, log = load("receipt"), load("log", ED25519)

    def work(number: int) -> int:
        for turn in range(25):
            data = b"%d.%d" % (number, turn)
            receipt.public_key().verify(receipt.sign(data, ES256), data, ES256)
            log.public_key().verify(log.sign(data), data)
        return number

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == list(range(16))


def test_module_that_cannot_be_used_by_threads_is_refused(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """CKR_CANT_LOCK: used all the same, it would crash sooner or later."""
    from app.keys import cryptoki

    load("token")
    cryptoki.stop_all()
    monkeypatch.setattr(cryptoki._modules[MODULE], "_functions", SimpleNamespace(initialize=lambda _: 0x0A))
    with pytest.raises(KeyInvalid, match="the module cannot be used by several threads: use one that can"):
        load("token")


def test_session_ends_with_its_thread(load: Load) -> None:
    from app.keys import cryptoki

    key, handles = load("token"), []

    def work() -> None:
        key.sign(b"x", ES256)
        (held,) = cryptoki._modules[MODULE]._mine.sessions.values()
        handles.append(held.session.handle)

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    gc.collect()
    information = ctypes.create_string_buffer(256)
    library = ctypes.CDLL(str(MODULE))
    states = {library.C_GetSessionInfo(ctypes.c_ulong(handle), information) for handle in handles}
    assert states == {0xB3}, "CKR_SESSION_HANDLE_INVALID"
    key.sign(b"x", ES256)


def test_token_that_was_pulled_out_and_put_back_signs_again(load: Load) -> None:
    token, receipt, log = load("token"), load("receipt"), load("log", ED25519)
    for _ in range(3):
        close_all_sessions()
        for key in (token, receipt):
            key.public_key().verify(key.sign(b"x", ES256), b"x", ES256)
        log.public_key().verify(log.sign(b"x"), b"x")


def test_token_that_is_gone_refuses_the_request_and_signs_when_it_is_back(
    load: Load, token: SoftHsm, caplog: pytest.LogCaptureFixture
) -> None:
    key = load("token")
    close_all_sessions()
    away = token.tokens.rename(token.folder / "away")
    with caplog.at_level(logging.ERROR), pytest.raises(HsmUnavailable) as refused:
        key.sign(b"x", ES256)
    assert (refused.value.slug, refused.value.headers) == ("record-not-written", {"Retry-After": "5"})
    assert "the hardware module does not sign: the module fails:" in caplog.text
    away.rename(token.tokens)
    key.public_key().verify(key.sign(b"x", ES256), b"x", ES256)


def test_key_that_was_exchanged_behind_the_node_signs_nothing(load: Load, token: SoftHsm) -> None:
    """What it signs would not verify under the key that the node publishes."""
    from app.keys import cryptoki

    key = load("token")
    cryptoki.stop_all()
    shutil.rmtree(token.folder)
    token.init()
    token.make({"curve": "p256", "label": "token"})
    with pytest.raises(HsmUnavailable):
        key.sign(b"x", ES256)


def test_module_is_given_back_while_threads_sign(load: Load) -> None:
    """As before a fork: who is inside ends first, who comes later opens everything anew."""
    from app.keys import cryptoki

    key, is_over = load("token"), threading.Event()

    def work(_: int) -> int:
        count = 0
        while not is_over.is_set():
            key.public_key().verify(key.sign(b"x", ES256), b"x", ES256)
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(work, number) for number in range(4)]
        for _ in range(10):
            cryptoki.stop_all()
            is_over.wait(0.05)
        is_over.set()
        assert all(count.result() > 0 for count in counts)


def test_nothing_is_open_while_a_process_forks(load: Load) -> None:
    from app.keys import cryptoki

    key = load("token")
    cryptoki._before_fork()
    is_running = cryptoki._modules[MODULE]._is_running
    cryptoki._after_fork()
    assert not is_running
    key.public_key().verify(key.sign(b"x", ES256), b"x", ES256)


FORKING = """
import os, sys, threading
from pathlib import Path
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from app.keys import cryptoki
from app.keys import hsm

ES256 = ec.ECDSA(hashes.SHA256())
key = hsm.load(Path(sys.argv[1]), hsm.P256)

def sign(times):
    for turn in range(times):
        key.public_key().verify(key.sign(b"%d" % turn, ES256), b"%d" % turn, ES256)

def work():
    threads = [threading.Thread(target=sign, args=(20,)) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

sign(1)
children = []
for _ in range(3):
    child = os.fork()
    # A module that holds a connection would send what both write over it: nothing open may be shared.
    is_given_back = not any(module._is_running for module in cryptoki._modules.values())
    if not child:
        work()
        os._exit(0 if is_given_back else 1)
    assert is_given_back
    children.append(child)
    sign(1)
work()
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_parent_and_children_sign_after_a_fork(token: SoftHsm, tmp_path: Path) -> None:
    """gunicorn's master signs at its start, forks workers, and forks again whenever one ends."""
    path = token.write_uri(tmp_path / "token.uri", "token")
    done = subprocess.run(
        [sys.executable, "-c", FORKING, path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[0, 0, 0]\n", "")
