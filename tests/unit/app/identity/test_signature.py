"""A signature of a request is its caller's, of this request, of now, and of a nonce that nobody has used."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import http_sf
import pytest
from sqlalchemy import select

from app.identity.caller import Caller
from app.identity.certificate import Presented, key_digest, thumbprint_of
from app.identity.signature import KEPT_S, Replayed, Signatures, Signed, asked_for, target_base
from app.identity.signature_input import Message, SignatureInvalid
from app.log import tables
from app.log.storage import Store, StoreUnavailable
from app.refusals import Refusal
from app.registry.departments import Client
from app.trust import path
from evidence.jwk import thumbprint
from evidence.signed_request import COMPONENTS
from tests.nodes.signed import Pen, digest, signature
from tests.unit.app.trust import pki

ISSUER = "https://node.example"
TARGET = "/v1/services/employment-status/verifications"
NOW = pki.NOW
BODY = b'{"purpose":"unemployment-benefit"}'
CLIENT = Client("hz-hrss-benefits", {}, "hz-hrss", frozenset(), "tls_client_auth_san_dns", "x")
HOLDER = pki.leaf(pki.root())
PEN = Pen(HOLDER.key, thumbprint_of(HOLDER.der))
P256 = pki.new_key("p256", 7)


def caller(holder: pki.Holder = HOLDER, client: Client = CLIENT) -> Caller:
    certificate = holder.certificate
    found = path.Path((certificate,), NOW - timedelta(1), NOW + timedelta(1))
    return Caller(
        client, Presented(thumbprint_of(holder.der), key_digest(certificate), (), found), frozenset(), "jti"
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(f"sqlite:///{tmp_path / 'node.db'}", tmp_path / "lock")
    tables.metadata.create_all(made.engine)
    return made


@pytest.fixture
def signatures(store: Store) -> Signatures:
    return Signatures(store, ISSUER)


def message(pen: Pen = PEN, base: str = ISSUER, target: str = TARGET, **flaws: Any) -> Message:
    fields = {
        "content-type": "application/json",
        "content-digest": digest(BODY),
        "authorization": "Bearer secret",
        "host": "evil.example",
    }
    values = {"@method": "POST", "@target-uri": base + target, **fields}
    given = {"created": int(NOW.timestamp())} | flaws
    made = signature(pen, values, **given)
    return Message("POST", target, fields | {name.lower(): value for name, value in made.items()})


def of(signatures: Signatures, one: Message, who: Caller | None = None, now: datetime = NOW) -> Signed:
    found = signatures.of(one, BODY, who or caller(), now)
    assert found is not None
    return found


def refused(signatures: Signatures, one: Message, who: Caller | None = None, now: datetime = NOW) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        signatures.of(one, BODY, who or caller(), now)
    assert caught.value.slug == "signature-invalid"
    assert caught.value.headers == {"WWW-Authenticate": 'Bearer realm="hecha"'}
    return caught.value.detail


def test_request_without_a_signature_has_none(signatures: Signatures) -> None:
    assert signatures.of(Message("POST", TARGET, {}), BODY, caller(), NOW) is None
    assert signatures.of(Message("POST", TARGET, {"signature-input": ""}), BODY, caller(), NOW) is None


def test_verified_signature_is_evidence_with_the_certificate(signatures: Signatures) -> None:
    found = of(signatures, message(nonce="0123456789abcdef"))
    found.request.check()
    assert found.request.certificate == HOLDER.der
    assert found.request.body == BODY
    assert found.request.components == COMPONENTS
    assert found.nonce.client == CLIENT.name
    assert found.nonce.digest == sha256(b"0123456789abcdef").digest()
    assert found.nonce.expires_at == int(NOW.timestamp()) + KEPT_S


def test_verifying_alone_spends_no_nonce(signatures: Signatures, store: Store) -> None:
    one = message()
    assert of(signatures, one) == of(signatures, one)
    with store.reading() as connection:
        assert connection.execute(select(tables.nonce)).first() is None


def test_spent_nonce_is_refused_from_then_on(signatures: Signatures) -> None:
    one = message()
    found = of(signatures, one)
    signatures.spend(found, NOW)
    with pytest.raises(Replayed, match="used before"):
        signatures.spend(found, NOW)
    assert "used before" in refused(signatures, one)


@pytest.mark.parametrize(("age_s", "holds"), [(0, True), (60, True), (61, False), (-10, True), (-11, False)])
def test_signature_is_a_minute_old_at_most_and_ten_seconds_ahead(
    signatures: Signatures, age_s: int, *, holds: bool
) -> None:
    one = message(created=int(NOW.timestamp()) - age_s)
    if holds:
        of(signatures, one)
    else:
        assert "older than" in (said := refused(signatures, one)) or "from the future" in said


def test_signature_is_too_old_as_soon_as_the_minute_is_over(signatures: Signatures) -> None:
    one = message()
    of(signatures, one, now=NOW + timedelta(seconds=60))
    assert "older than 60 s" in refused(signatures, one, now=NOW + timedelta(seconds=60, microseconds=1))
    of(signatures, one, now=NOW - timedelta(seconds=10))
    assert "from the future" in refused(signatures, one, now=NOW - timedelta(seconds=10, microseconds=1))


def test_signature_that_expires_is_over_with_its_second(signatures: Signatures) -> None:
    one = message(expires=int(NOW.timestamp()) + 5)
    of(signatures, one, now=NOW + timedelta(seconds=5) - timedelta(microseconds=1))
    assert "has expired" in refused(signatures, one, now=NOW + timedelta(seconds=5))


def test_expiry_makes_no_signature_live_longer(signatures: Signatures) -> None:
    one = message(expires=int(NOW.timestamp()) + 9_999)
    assert "older than" in refused(signatures, one, now=NOW + timedelta(seconds=61))


def test_nonce_is_kept_longer_than_its_signature_is_good(signatures: Signatures) -> None:
    latest = NOW + timedelta(seconds=60)
    found = of(signatures, message(), now=latest)
    assert found.nonce.expires_at >= latest.timestamp() + 60


def test_key_of_the_client_beside_its_certificate_signs(signatures: Signatures) -> None:
    public: Any = P256.public_key()
    keyid = thumbprint(public)
    mine = caller(client=replace(CLIENT, signing_keys={keyid: public}))
    found = of(signatures, message(Pen(P256, keyid)), mine)
    assert (found.request.certificate, found.request.key) == (None, public)
    found.request.check()
    assert "keyid is the thumbprint" in refused(signatures, message(Pen(P256, keyid)))


def test_certificate_of_another_connection_does_not_sign(signatures: Signatures) -> None:
    other = pki.leaf(pki.root())
    assert "keyid is the thumbprint" in refused(signatures, message(), caller(other))
    of(signatures, message(Pen(other.key, thumbprint_of(other.der))), caller(other))


def test_algorithm_that_is_named_must_be_that_of_the_key(signatures: Signatures) -> None:
    of(signatures, message(alg="ecdsa-p256-sha256"))
    for algorithm in ("ecdsa-p384-sha384", "hmac-sha256", "none", ""):
        assert "alg says otherwise" in refused(signatures, message(alg=algorithm))


def test_body_is_held_against_its_digest(signatures: Signatures) -> None:
    with pytest.raises(SignatureInvalid, match="does not fit the body"):
        signatures.of(message(), BODY + b" ", caller(), NOW)


@pytest.mark.parametrize("kind", ["p521", "k256", "rsa1024"])
def test_certificate_whose_key_signs_no_requests_is_told(signatures: Signatures, kind: str) -> None:
    holder = pki.leaf(pki.root(), key=kind)
    pen = Pen(PEN.key, thumbprint_of(holder.der))
    assert "Requests are signed with a key" in refused(signatures, message(pen), caller(holder))


@pytest.mark.parametrize(
    ("issuer", "base"),
    [
        ("https://node.example", "https://node.example"),
        ("https://Node.Example:443", "https://node.example"),
        ("https://node.example:8443", "https://node.example:8443"),
        ("https://node.example/Hecha", "https://node.example/Hecha"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
    ],
)
def test_target_begins_with_the_issuer(store: Store, issuer: str, base: str) -> None:
    assert target_base(issuer) == base
    of(Signatures(store, issuer), message(base=base))
    assert "does not hold" in refused(Signatures(store, issuer), message(base="https://evil.example"))


@pytest.mark.parametrize("target", ["", "v1", "*", f"https://evil.example{TARGET}", f"@evil.example{TARGET}"])
def test_target_that_is_no_path_is_refused(signatures: Signatures, target: str) -> None:
    assert "by the path alone" in refused(signatures, message(target=target))


def test_target_that_is_no_address_is_refused(signatures: Signatures) -> None:
    assert "does not hold" in refused(signatures, message(target=f"{TARGET}?a=%zz"))


def test_what_is_asked_for_is_what_is_needed() -> None:
    ((label, (components, parameters)),) = dict[str, Any](
        http_sf.parse(asked_for("thumb")["Accept-Signature"].encode(), tltype="dictionary")  # type: ignore[arg-type]
    ).items()
    assert label == "hecha"
    assert tuple(name for name, _ in components) == COMPONENTS
    assert {name: value for name, value in parameters.items() if name != "nonce"} == {
        "created": True,
        "keyid": "thumb",
        "tag": "hecha",
    }
    assert asked_for("thumb") != asked_for("thumb"), "a nonce to take, each time another"


def test_store_that_cannot_tell_lets_nobody_in(signatures: Signatures, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_store: Store) -> None:
        raise StoreUnavailable("disk")

    found = of(signatures, message())
    for name in ("reading", "writing"):
        monkeypatch.setattr(Store, name, fail)
    for act in (lambda: of(signatures, message()), lambda: signatures.spend(found, NOW)):
        with pytest.raises(Refusal) as caught:
            act()
        assert caught.value.slug == "record-not-written"
