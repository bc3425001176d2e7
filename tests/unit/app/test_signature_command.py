"""`python -m app signature` verifies a recorded question's signature anew, and tells what was altered apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from app.commands.signature import signature
from app.log.sealing import Sealer
from app.recording import evidence_name
from evidence.jwk import thumbprint, to_jwk
from evidence.signed_request import SignedRequest
from tests.nodes.commands import altered, copied_database, settings_of
from tests.nodes.running import Ground
from tests.nodes.signed import Pen
from tests.nodes.signed_desk import CLIENT, SERVICE, Desk, signing_desk
from tests.unit.app.trust import pki


@pytest.fixture(scope="module")
def desk(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with signing_desk(ground, tmp_path_factory.mktemp("command")) as made:
        yield made


@pytest.fixture(scope="module")
def asked(desk: Desk) -> str:
    """The id of a signed question."""
    identifier: str = desk.answered(desk.ask())["id"]
    return identifier


def run(desk: Desk, *arguments: str, **settings: str) -> Result:
    hidden = {name: None for name in os.environ if name.startswith("HECHA_")}
    result = CliRunner().invoke(signature, list(arguments), env={**hidden, **settings_of(desk.node, **settings)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_signature_holds_and_is_told_without_the_question(desk: Desk, asked: str) -> None:
    result = run(desk, asked)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    record = desk.node.record(asked)
    assert lines[0].endswith(f"recorded at {record['at']}: answered")
    assert lines[1] == f"by {CLIENT} of hz-hrss, about {SERVICE}"
    assert lines[2].startswith("signed at 20")
    assert lines[2].endswith(", covering @method, @target-uri, content-digest, content-type, authorization")
    assert lines[3].startswith(f"with the key of its certificate {desk.pen.keyid}: ")
    assert lines[4].startswith("holds: ")
    assert len(lines) == 5
    question = orjson.loads(desk.demanding)
    for hidden in (question["subject"]["id_number"], question["confirm"]["name"], desk.consumer.token(), "Bearer"):
        assert hidden not in result.output


def test_body_is_shown_when_asked_for(desk: Desk, asked: str) -> None:
    result = run(desk, asked, "--show-body")
    assert result.exit_code == 0
    assert result.output.splitlines()[-1].encode() == desk.demanding
    assert desk.consumer.token() not in result.output


def test_denied_question_can_be_shown_too(desk: Desk) -> None:
    body = orjson.dumps(orjson.loads(desk.demanding) | {"purpose": "curiosity"})
    result = run(desk, desk.ask(body).get_json()["instance"])
    assert result.exit_code == 0
    assert "not-permitted" in result.output


def test_question_to_no_service_can_be_shown_too(desk: Desk) -> None:
    response = desk.send(desk.signed(b"[]"), b"[]")
    result = run(desk, response.get_json()["instance"])
    assert (result.exit_code, "about employment-status" in result.output) == (0, True)


def test_key_beside_the_certificate_is_named(desk: Desk) -> None:
    key = pki.new_key("p256", 31)
    public = key.public_key()
    desk.office.register("hz-hrss-named", signing_keys=[to_jwk(public)])  # type: ignore[arg-type]
    pen = Pen(key, thumbprint(public))  # type: ignore[arg-type]
    other = desk.holding(desk.office.caller("hz-hrss-named", desk.office.holder("hz-hrss-named")), pen)
    result = run(desk, other.answered(other.ask())["id"])
    assert result.exit_code == 0
    assert f"with the key {pen.keyid}, registered for the client" in result.output


NOTHING: dict[str, tuple[str, ...]] = {
    "the evidence": ("DELETE FROM signed_request",),
    "the salt": ("DELETE FROM salt",),
    "both": ("DELETE FROM signed_request", "DELETE FROM salt"),
}


@pytest.mark.parametrize("what", NOTHING)
def test_erased_question_can_be_shown_no_more(desk: Desk, asked: str, tmp_path: Path, what: str) -> None:
    url = copied_database(desk.node, tmp_path)
    for statement in NOTHING[what]:
        altered(url, f"{statement} WHERE idx = (SELECT idx FROM decision WHERE id = ?)", asked)
    result = run(desk, asked, DATABASE_URL=url)
    assert (result.exit_code, "was erased" in result.output) == (2, True)


def test_question_that_was_not_signed_has_nothing_to_show(desk: Desk) -> None:
    result = run(desk, desk.send({}, desk.free).get_json()["id"])
    assert (result.exit_code, "was not signed" in result.output) == (2, True)


def test_unknown_decision_has_nothing_to_show(desk: Desk) -> None:
    result = run(desk, "00000000-0000-4000-8000-000000000000")
    assert (result.exit_code, "no decision of that id" in result.output) == (2, True)


OF = "WHERE idx = (SELECT idx FROM decision WHERE id = ?)"


def test_record_that_was_altered_is_found(desk: Desk, asked: str, tmp_path: Path) -> None:
    url = copied_database(desk.node, tmp_path)
    altered(url, f"UPDATE log_entry SET body = CAST(replace(body, 'hz-tax', 'hz-tix') AS BLOB) {OF}", asked)
    result = run(desk, asked, DATABASE_URL=url)
    assert (result.exit_code, "The record was altered" in result.output) == (1, True)


@pytest.mark.parametrize("table", ["salt", "signed_request"])
def test_row_of_another_decision_is_found(desk: Desk, asked: str, tmp_path: Path, table: str) -> None:
    other = desk.answered(desk.ask())["id"]
    url = copied_database(desk.node, tmp_path)
    altered(
        url,
        f"UPDATE {table} SET sealed = (SELECT sealed FROM {table} {OF}) {OF}",
        other,
        asked,
    )
    result = run(desk, asked, DATABASE_URL=url)
    assert (result.exit_code, "does not hold: What is sealed" in result.output) == (1, True)


def test_evidence_cannot_pass_for_a_salt(desk: Desk, asked: str, tmp_path: Path) -> None:
    url = copied_database(desk.node, tmp_path)
    altered(url, f"UPDATE salt SET sealed = (SELECT sealed FROM signed_request {OF}) {OF}", asked, asked)
    assert run(desk, asked, DATABASE_URL=url).exit_code == 1


Forgery = Callable[[Desk, SignedRequest], SignedRequest]
# What somebody makes who has the database and the seal key in his hands, and what is said of it.
FORGED: dict[str, tuple[Forgery, str]] = {
    "body": (lambda _, kept: replace(kept, body=kept.body + b" "), "The body is not the one that was signed"),
    "signature": (
        lambda _, kept: replace(kept, signature=kept.signature[:-1] + bytes((kept.signature[-1] ^ 1,))),
        "The signature is not by this key",
    ),
    "base": (
        lambda _, kept: replace(kept, base=kept.base.replace(b"POST", b"PUT")),
        "The signature is not by this key",
    ),
    "certificate": (
        lambda desk, kept: replace(kept, certificate=desk.office.holder(CLIENT).der),
        "not the one that the signature names",
    ),
    "another question of the same client": (lambda desk, _: another(desk), "not the one that the node recorded"),
}


def another(desk: Desk) -> SignedRequest:
    kept = desk.evidence(desk.answered(desk.ask())["id"])
    assert kept is not None
    return kept


@pytest.mark.parametrize("what", FORGED)
def test_forged_evidence_is_told_apart(desk: Desk, asked: str, tmp_path: Path, what: str) -> None:
    forge, said = FORGED[what]
    kept = desk.evidence(asked)
    assert kept is not None
    sealed = Sealer(desk.node.node.keys.seal).seal(forge(desk, kept).document(), evidence_name(asked))
    url = copied_database(desk.node, tmp_path)
    altered(url, f"UPDATE signed_request SET sealed = ? {OF}", sealed, asked)
    result = run(desk, asked, DATABASE_URL=url)
    assert (result.exit_code, said in result.output) == (1, True), result.output
    assert "holds:" not in result.output.replace("does not hold:", "")
    assert run(desk, asked).exit_code == 0


def test_certificate_that_is_none_is_not_named(desk: Desk, asked: str, tmp_path: Path) -> None:
    kept = desk.evidence(asked)
    assert kept is not None
    broken = replace(kept, certificate=b"no DER", input=kept.input.replace(";created=", ";expires="))
    sealed = Sealer(desk.node.node.keys.seal).seal(broken.document(), evidence_name(asked))
    url = copied_database(desk.node, tmp_path)
    altered(url, f"UPDATE signed_request SET sealed = ? {OF}", sealed, asked)
    result = run(desk, asked, DATABASE_URL=url)
    assert result.exit_code == 1
    assert "signed at no time" in result.output
    assert f"with the key of its certificate {desk.pen.keyid}\n" in result.output


def test_another_seal_key_opens_nothing(desk: Desk, asked: str, tmp_path: Path) -> None:
    url = copied_database(desk.node, tmp_path)
    sealed = Sealer(bytes(32)).seal(b"{}", evidence_name(asked))
    altered(url, f"UPDATE signed_request SET sealed = ? {OF}", sealed, asked)
    result = run(desk, asked, DATABASE_URL=url)
    assert (result.exit_code, "seal key" in result.output) == (1, True)
