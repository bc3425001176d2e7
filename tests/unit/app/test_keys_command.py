"""`python -m app keys`: operators see every key but no secret, and are told what a rotation asks of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app import __main__ as command_line
from app.keys import node_keys
from app.keys.key_files import KeyInvalid
from evidence.jwk import thumbprint
from tests.servers import softhsm
from tests.servers.softhsm import SoftHsm

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    node_keys.create(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def run(folder: Path) -> Run:
    """Runs `keys …` on the folder."""

    def invoke(*arguments: str, **env: str) -> Result:
        hidden = {name: None for name in os.environ if name.startswith("HECHA_")}
        own = {"HECHA_KEYS_DIR": str(folder)}
        return CliRunner().invoke(command_line.cli, ["keys", *arguments], env={**hidden, **own, **env})

    return invoke


def said(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_keys_are_made_once_and_their_names_told(run: Run, tmp_path: Path) -> None:
    made = said(run("--init", "--dir", str(tmp_path / "new")))
    assert made.startswith(f"created in {tmp_path / 'new'}: token.pem, receipt.pem, log.pem, seal.key")
    assert made.endswith("key-history.json")
    assert "every key is there" in said(run("--init", HECHA_KEYS_DIR=str(tmp_path / "new")))


@pytest.mark.parametrize("arguments", [["--dir", "DIR"], [], ["--init", "list"], ["nothing"], ["rotate", "log"]])
def test_keys_are_not_made_or_changed_by_accident(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    absent = tmp_path / "absent"
    result = run(*(str(absent) if word == "DIR" else word for word in arguments), HECHA_KEYS_DIR=str(absent))
    assert (result.exit_code, absent.exists()) == (2, False)


def test_folder_must_be_named(run: Run) -> None:
    for arguments in (["--init"], ["list"], ["rotate", "token"]):
        result = run(*arguments, HECHA_KEYS_DIR="")
        assert (result.exit_code, "give --dir, or set HECHA_KEYS_DIR" in result.output) == (2, True)


def test_folder_may_be_named_before_or_behind_the_command(run: Run, folder: Path) -> None:
    for arguments in (["--dir", str(folder), "list"], ["list", "--dir", str(folder)]):
        assert "receipt.pem" in said(run(*arguments, HECHA_KEYS_DIR=""))


def test_every_key_is_listed_and_no_secret_shown(run: Run, folder: Path) -> None:
    listed = said(run("list"))
    loaded = node_keys.load(folder)
    assert thumbprint(loaded.token.public_key()) in listed
    assert thumbprint(loaded.receipt.public_key()) in listed
    assert re.search(r"token current \S+ token\.pem 20\S+Z", listed)
    assert re.search(r"log current \S+ log\.pem", listed)
    for name in node_keys.SECRET:
        assert f"{name} current {name}.key" in listed
        assert getattr(loaded, name).hex() not in listed
    assert "PRIVATE" not in listed


def test_key_that_is_missing_is_listed_as_such(run: Run, folder: Path) -> None:
    (folder / "seal.key").unlink()
    assert "seal missing" in said(run("list"))


def test_rotation_tells_what_to_do_by_when(run: Run, folder: Path) -> None:
    before = thumbprint(node_keys.load(folder).receipt.public_key())
    prepared = said(run("rotate", "receipt", "--prepare"))
    following = re.search(r"receipt-next\.pem is made: (\S{43})\. Restart the node", prepared)
    assert following is not None
    assert "was prepared already" in said(run("rotate", "receipt", "--prepare"))
    assert re.search(rf"receipt next {following[1]} receipt-next\.pem", said(run("list")))

    rotated = said(run("rotate", "receipt"))
    found = re.fullmatch(
        rf"receipt: {following[1]} is current, {before} ends at (\S+)\. Restart every instance of the node by then: "
        "what it signs with the former key after that counts as forged",
        rotated,
    )
    assert found is not None
    left = datetime.fromisoformat(found[1]) - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)
    assert re.search(rf"receipt former {before} key-history\.json \S+ {found[1]}", said(run("list")))


def test_stolen_key_ends_now(run: Run, folder: Path) -> None:
    said(run("rotate", "token", "--now", "--restart-within", "0"))
    (past,) = node_keys.load(folder).history
    assert past.valid_until <= datetime.now(UTC)


def test_rotation_that_was_not_prepared_is_refused(run: Run) -> None:
    assert isinstance(run("rotate", "token").exception, KeyInvalid)


def test_rotation_that_was_interrupted_is_finished_and_said_to_be(run: Run, folder: Path) -> None:
    said(run("rotate", "token", "--prepare"))
    prepared = (folder / "token-next.pem").read_bytes()
    said(run("rotate", "token"))
    # As if it had been killed between the history and the file.
    (folder / "token.pem").rename(folder / "token-next.pem")
    assert "token current" in said(run("list"))
    assert "a rotation that was interrupted is finished now; no other was begun" in said(run("rotate", "token"))
    assert (folder / "token.pem").read_bytes() == prepared


@pytest.mark.skipif(not softhsm.is_installed(), reason=softhsm.MISSING)
def test_keys_move_into_a_module_and_on_within_it(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.keys import cryptoki

    token = SoftHsm(tmp_path / "hsm")
    token.init()
    token.make({"curve": "p256", "label": "one"}, {"curve": "p256", "label": "two"})
    monkeypatch.setenv("SOFTHSM2_CONF", str(token.conf))
    cryptoki.stop_all()

    token.write_uri(folder / "receipt-next.uri", "one")
    assert "receipt-next.uri was prepared already" in said(run("rotate", "receipt", "--prepare"))
    said(run("rotate", "receipt"))
    assert (folder / "receipt.uri").exists()
    assert not (folder / "receipt.pem").exists()
    listed = said(run("list"))
    assert "receipt.uri" in listed

    with pytest.raises(KeyInvalid, match=r"receipt\.uri names a key of a hardware module: make the next key there"):
        raise run("rotate", "receipt", "--prepare").exception or AssertionError
    token.write_uri(folder / "receipt-next.uri", "two")
    cryptoki.stop_all()
    assert said(run("rotate", "receipt")).endswith("destroy it there after the restart")
    assert (folder / "receipt.uri").read_text() == token.uri("two") + "\n"
    assert len(node_keys.load(folder).history) == 2
    cryptoki.stop_all()
