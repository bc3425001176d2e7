"""Signed questions (RFC 9421, RFC 9530): an agreement may demand them, and every flaw of a signature is refused.

The signatures are made by `tests.nodes.signed`, from the standard's text. After each flaw a good one is answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import delete

from app.log import tables
from evidence.errors import SignatureNotVerified
from evidence.jwk import thumbprint, to_jwk
from tests.nodes.problems import recorded
from tests.nodes.running import ISSUER, Ground
from tests.nodes.signed import COVERED, Pen, digest, nonce, path_of, signature, values_of, x5t
from tests.nodes.signed_desk import CLIENT, SERVICE, Desk, accepted, signing_desk

P256 = [ec.derive_private_key(number, ec.SECP256R1()) for number in (21, 22)]


@pytest.fixture(scope="module")
def desk(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with signing_desk(ground, tmp_path_factory.mktemp("signed")) as made:
        yield made


def test_question_that_is_not_signed_where_it_must_be_is_denied_and_told_how(desk: Desk) -> None:
    response = desk.send({})
    recorded(desk.node, response, "not-permitted")
    (reason,) = response.get_json()["reasons"]
    assert reason["rule"] == "signature-required"
    assert reason["basis"] == ["海珠 第三十五条", "山东 第三十五条", "四川 第三十二条"]
    assert accepted(response)["keyid"] == desk.pen.keyid


def test_doing_what_accept_signature_says_is_answered(desk: Desk) -> None:
    asked = accepted(desk.send({}))
    assert desk.answered(desk.ask(nonce=asked["nonce"], keyid=asked["keyid"]))["result"] == "match"


def test_signed_question_is_answered_and_its_record_commits_to_the_signature(desk: Desk) -> None:
    answer = desk.answered(desk.ask())
    assert answer["result"] == "match"
    record = desk.node.record(answer["id"])
    assert record["rules"] == ["conditional-agreement"]
    (row,) = desk.node.rows(id=answer["id"])
    assert orjson.loads(row.facts)["signed_request"] is True
    # A digest of the body in clear would let whoever has the log try all numbers.
    assert desk.pen.keyid not in str(record["commitments"])
    assert digest(desk.demanding)[9:-1] not in str(record)


def test_signature_that_nobody_demands_is_recorded_all_the_same(desk: Desk) -> None:
    answer = desk.answered(desk.ask(desk.free))
    assert answer["result"] == "match"


def test_question_without_a_signature_has_none_in_its_record(desk: Desk) -> None:
    response = desk.send({}, desk.free)
    assert response.status_code == 200
    identifier = response.get_json()["id"]
    assert "signature" not in desk.node.record(identifier)["commitments"]
    assert desk.evidence(identifier) is None
    (row,) = desk.node.rows(id=identifier)
    assert orjson.loads(row.facts)["signed_request"] is False


def test_denial_of_something_else_asks_for_no_signature(desk: Desk) -> None:
    response = desk.node.consumer("hz-civil-dibao").ask(SERVICE, desk.demanding)
    recorded(desk.node, response, "not-permitted")
    assert "Accept-Signature" not in response.headers


def test_signature_is_one_reason_among_others(desk: Desk) -> None:
    desk.office.parties.taken(desk.office.parties.control(desk.agreement, "suspension"))
    response = desk.send({})
    rules = {reason["rule"] for reason in response.get_json()["reasons"]}
    assert rules == {"terms-not-active", "signature-required"}
    assert accepted(response)["tag"] == "hecha"
    desk.office.parties.taken(desk.office.parties.control(desk.agreement, "suspension", method="DELETE"))
    desk.answered(desk.ask())


@pytest.mark.parametrize("kind", ["p256", "p384", "ed25519", "rsa2048", "rsa3072"])
def test_key_of_any_usual_kind_signs(desk: Desk, kind: str) -> None:
    holder = desk.office.holder(CLIENT, key=kind)
    other = desk.holding(desk.office.caller(CLIENT, holder), Pen(holder.key, x5t(holder.certificate)))
    kept = desk.kept(other.ask())
    assert (kept.certificate, kept.key) == (holder.der, None)


def test_key_of_an_unusual_kind_does_not_sign(desk: Desk) -> None:
    holder = desk.office.holder(CLIENT, key="p521")
    caller = desk.office.caller(CLIENT, holder)
    if caller.form(grant_type="client_credentials", client_id=CLIENT).status_code != 200:
        pytest.skip("certificates with such a key are not accepted at all")
    other = desk.holding(caller, Pen(holder.key, x5t(holder.certificate)))
    assert "P-256 or P-384" in desk.refused(other.ask())


def test_key_registered_for_the_client_signs_until_it_is_taken_away(desk: Desk) -> None:
    name = "hz-hrss-signer"
    keys = [to_jwk(key.public_key()) for key in P256]
    desk.office.register(name, signing_keys=keys)
    holder = desk.office.holder(name)
    caller = desk.office.caller(name, holder)
    for key in P256:
        pen = Pen(key, thumbprint(key.public_key()))
        kept = desk.kept(desk.holding(caller, pen).ask())
        assert (kept.certificate, kept.key, kept.keyid) == (None, key.public_key(), pen.keyid)
    # The certificate's own key signs as well.
    own = desk.holding(caller, Pen(holder.key, x5t(holder.certificate)))
    desk.answered(own.ask())
    desk.office.change(name, signing_keys=keys[1:])
    first, second = (Pen(key, thumbprint(key.public_key())) for key in P256)
    assert "keyid is the thumbprint" in desk.refused(own.ask(pen=first))
    desk.answered(own.ask(pen=second))


def test_key_registered_for_another_client_does_not_sign(desk: Desk) -> None:
    name = "hz-hrss-other-signer"
    key = ec.derive_private_key(23, ec.SECP256R1())
    desk.office.register(name, signing_keys=[to_jwk(key.public_key())])
    assert "keyid is the thumbprint" in desk.refused(desk.ask(pen=Pen(key, thumbprint(key.public_key()))))


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_either_digest_of_the_standard_is_taken(desk: Desk, algorithm: str) -> None:
    made = digest(desk.demanding, algorithm)
    fields = desk.signed(values={"content-digest": made}) | {"Content-Digest": made}
    desk.answered(desk.send(fields))


def test_more_may_be_covered_than_is_demanded(desk: Desk) -> None:
    values = {"@scheme": "https", "@request-target": path_of(SERVICE), "@query": "?", "idempotency-key": "key-1"}
    covered = (*COVERED, "@authority", "@path", *values)
    desk.answered(desk.send(desk.signed(covered=covered, values=values) | {"Idempotency-Key": "key-1"}))


def test_order_and_label_are_free(desk: Desk) -> None:
    desk.answered(desk.ask(covered=tuple(reversed(COVERED)), label="dpt-1"))


def test_parameters_are_signed_in_the_order_in_which_they_were_sent(desk: Desk) -> None:
    now = int(time.time())
    backwards = {"tag": "hecha", "keyid": desk.pen.keyid, "expires": now + 30, "nonce": nonce(), "created": now}
    values = values_of(desk.consumer, SERVICE, desk.demanding)
    made = signature(desk.pen, values, only=backwards)
    assert made["Signature-Input"].index("tag=") < made["Signature-Input"].index("created=")
    desk.answered(desk.send(desk.signed() | made))


def test_spaces_between_what_is_covered_are_not_signed(desk: Desk) -> None:
    fields = desk.signed()
    loose = fields["Signature-Input"].replace('" "', '"  "').replace("sig=(", "sig=( ").replace(";nonce", "; nonce")
    assert loose != fields["Signature-Input"]
    desk.answered(desk.send(fields | {"Signature-Input": loose}))


def test_parameter_that_stands_twice_has_its_last_value(desk: Desk) -> None:
    fields = desk.signed()
    twice = fields["Signature-Input"].replace(");created", ");keyid=7;created")
    # What is signed has it once, in the place of the first.
    last = {"keyid": desk.pen.keyid, "created": int(time.time()), "nonce": nonce(), "tag": "hecha"}
    made = signature(desk.pen, values_of(desk.consumer, SERVICE, desk.demanding), only=last)
    made["Signature-Input"] = made["Signature-Input"].replace(");keyid", ");keyid=7;keyid")
    assert "keyid=7" in twice
    desk.answered(desk.send(desk.signed() | made))


def test_query_is_signed_as_it_was_sent(desk: Desk) -> None:
    target = f"{path_of(SERVICE)}?a=%7E1&b="
    fields = desk.signed(values={"@target-uri": ISSUER + target})
    response = desk.consumer.open(
        "POST", target, data=desk.demanding, headers={"Content-Type": "application/json", **fields}
    )
    desk.answered(response)


def test_signature_of_this_moment_is_good_for_a_minute(desk: Desk) -> None:
    now = int(time.time())
    for created in (now - 30, now + 5):
        desk.answered(desk.ask(created=created))
    desk.answered(desk.ask(expires=now + 30))
    desk.answered(desk.ask(alg="ecdsa-p256-sha256"))


@pytest.mark.parametrize("length", [16, 128])
def test_nonce_has_at_least_16_and_at_most_128_characters(desk: Desk, length: int) -> None:
    desk.answered(desk.ask(nonce=(nonce() * 8)[:length]))


OTHERS = ['other=("@method");tag="other"', 'other=();created=1;keyid="x"', "other;tag=other", "other=1"]


@pytest.mark.parametrize("other", OTHERS)
def test_signature_for_somebody_else_is_left_alone(desk: Desk, other: str) -> None:
    theirs = {"Signature-Input": other, "Signature": "other=:AAAA:"}
    response = desk.send(theirs, desk.free)
    assert response.status_code == 200
    assert desk.evidence(response.get_json()["id"]) is None
    assert [reason["rule"] for reason in desk.send(theirs).get_json()["reasons"]] == ["signature-required"]
    for turned in (False, True):
        ours = desk.signed()
        both = {
            name: ", ".join(sorted((ours[name], theirs[name]), reverse=turned))
            for name in ("Signature-Input", "Signature")
        }
        desk.answered(desk.send(ours | both))


def test_signature_without_a_tag_is_for_nobody(desk: Desk) -> None:
    fields = desk.signed(tag=None)
    response = desk.send(fields)
    assert [reason["rule"] for reason in response.get_json()["reasons"]] == ["signature-required"]
    assert desk.send(desk.signed(desk.free, tag=None), desk.free).status_code == 200


def test_bytes_without_anything_said_of_them_are_no_signature(desk: Desk) -> None:
    assert desk.send({"Signature": "sig=:AAAA:"}, desk.free).status_code == 200
    assert desk.send({"Signature": "sig=:AAAA:"}).status_code == 403


def test_replayed_nonce_is_refused_under_another_question_too(desk: Desk) -> None:
    once = nonce()
    desk.answered(desk.ask(nonce=once))
    assert "nonce was used" in desk.refused(desk.ask(nonce=once))
    assert "nonce was used" in desk.refused(desk.ask(desk.free, nonce=once))


def test_evidence_of_a_question_can_be_erased_with_its_salt(desk: Desk) -> None:
    answer = desk.answered(desk.ask())
    (row,) = desk.node.rows(id=answer["id"])
    with desk.node.node.store.writing() as connection:
        for table in (tables.salt, tables.signed_request):
            connection.execute(delete(table).where(table.c.idx == row.idx))
    assert desk.evidence(answer["id"]) is None
    assert desk.node.record(answer["id"])["commitments"]["signature"]


def test_signature_is_not_that_of_an_altered_question(desk: Desk) -> None:
    answer = desk.answered(desk.ask())
    kept = desk.evidence(answer["id"])
    assert kept is not None
    with pytest.raises(SignatureNotVerified):
        replace(kept, base=kept.base.replace(b"POST", b"PUT")).check()
