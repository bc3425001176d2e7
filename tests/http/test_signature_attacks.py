"""Attacks on signed questions: each flaw of a signature is refused and recorded.

A good one right after each is answered. The signatures are made by `tests.nodes.signed`, from the standard's text.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha1
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from werkzeug.test import TestResponse

from tests.nodes.office import host
from tests.nodes.running import ISSUER, Ground
from tests.nodes.signed import COVERED, Pen, digest, path_of, x5t
from tests.nodes.signed_desk import CLIENT, SERVICE, Desk, signing_desk
from tests.unit.app.trust import pki

OTHER = "hz-hrss-review"


@pytest.fixture(scope="module")
def desk(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with signing_desk(ground, tmp_path_factory.mktemp("signed")) as made:
        yield made


def edit(field: str, pattern: str, by: str) -> Callable[[Desk], TestResponse]:
    """A good signature, of which one field is rewritten on its way."""

    def send(desk: Desk) -> TestResponse:
        fields = desk.signed()
        changed = re.sub(pattern, by, fields[field], count=1)
        assert changed != fields[field]
        return desk.send(fields | {field: changed})

    return send


def flawed(**flaws: Any) -> Callable[[Desk], TestResponse]:
    """A signature that holds, over too little or under wrong parameters."""
    return lambda desk: desk.ask(**flaws)


def at(seconds: int, name: str = "created", **more: Any) -> Callable[[Desk], TestResponse]:
    """A signature of another time."""
    return lambda desk: desk.ask(**({name: int(time.time()) + seconds} | more))


def without(name: str) -> tuple[str, ...]:
    return tuple(item for item in COVERED if item != name)


def with_parameter(name: str, parameter: str) -> Callable[[Desk], TestResponse]:
    """A signature that covers a component with a parameter, whose value is that of the plain one."""
    return flawed(covered=tuple(f'"{item}";{parameter}' if item == name else item for item in COVERED))


def sent_with(**fields: str) -> Callable[[Desk], TestResponse]:
    """A good signature, sent with other fields."""
    changed = {name.replace("_", "-"): value for name, value in fields.items()}
    return lambda desk: desk.send(desk.signed() | changed)


def digest_of(text: str) -> Callable[[Desk], TestResponse]:
    """A signature that holds over this Content-Digest."""
    return lambda desk: desk.send(desk.signed(values={"content-digest": text}) | {"Content-Digest": text})


def another_body(desk: Desk) -> TestResponse:
    body = orjson.dumps(orjson.loads(desk.demanding) | {"case": "CASE-0002"})
    return desk.send(desk.signed(), body)


def digest_of_another_body(desk: Desk) -> TestResponse:
    return digest_of(digest(b"{}"))(desk)


def two_of_ours(desk: Desk) -> TestResponse:
    fields, other = desk.signed(), desk.signed(label="other")
    both = {name: f"{fields[name]}, {other[name]}" for name in ("Signature-Input", "Signature")}
    return desk.send(fields | both)


def same_label_twice(desk: Desk) -> TestResponse:
    fields, other = desk.signed(), desk.signed()
    return desk.send(fields | {"Signature-Input": f"{fields['Signature-Input']}, {other['Signature-Input']}"})


def another_token(desk: Desk) -> TestResponse:
    other = desk.consumer.form(grant_type="client_credentials", client_id=CLIENT, scope=f"verify:{SERVICE}")
    return desk.send(desk.signed() | {"Authorization": f"Bearer {other.get_json()['access_token']}"})


def another_service(desk: Desk) -> TestResponse:
    return desk.ask(values={"@target-uri": ISSUER + path_of("person-basic")})


def another_method(desk: Desk) -> TestResponse:
    return desk.ask(values={"@method": "PUT"})


def query_added(desk: Desk) -> TestResponse:
    headers = {"Content-Type": "application/json", **desk.signed()}
    return desk.consumer.open("POST", f"{path_of(SERVICE)}?a=1", data=desk.demanding, headers=headers)


def query_taken_away(desk: Desk) -> TestResponse:
    return desk.ask(values={"@target-uri": f"{ISSUER}{path_of(SERVICE)}?a=1"})


def at_another_host(desk: Desk) -> TestResponse:
    headers = {
        "Content-Type": "application/json",
        **desk.signed(values={"@target-uri": f"https://evil{path_of(SERVICE)}"}),
    }
    return desk.consumer.open(
        "POST", path_of(SERVICE), data=desk.demanding, headers={**headers, "Host": "evil"}, base_url="https://evil"
    )


def target_that_names_a_host(desk: Desk) -> TestResponse:
    target = f"https://evil{path_of(SERVICE)}"
    headers = {"Content-Type": "application/json", **desk.signed(values={"@target-uri": target})}
    return desk.consumer.open(
        "POST", path_of(SERVICE), data=desk.demanding, headers=headers, environ_overrides={"RAW_URI": target}
    )


def by_another_client(desk: Desk) -> TestResponse:
    return desk.ask(pen=Pen.of(desk.node.ground.folder / "pki", OTHER))


def by_another_client_under_our_name(desk: Desk) -> TestResponse:
    return desk.ask(pen=replace(Pen.of(desk.node.ground.folder / "pki", OTHER), keyid=desk.pen.keyid))


def with_a_foreign_certificate(desk: Desk) -> TestResponse:
    holder = pki.leaf(pki.root("Foreign"), host(CLIENT))
    return desk.ask(pen=Pen(holder.key, x5t(holder.certificate)))


def with_a_new_certificate_of_the_same_client(desk: Desk) -> TestResponse:
    holder = desk.office.holder(CLIENT)
    return desk.ask(pen=Pen(holder.key, x5t(holder.certificate)))


def in_der(desk: Desk) -> TestResponse:
    class Der(Pen):
        def sign(self, base: str) -> bytes:
            assert isinstance(self.key, ec.EllipticCurvePrivateKey)
            return self.key.sign(base.encode(), ec.ECDSA(hashes.SHA256()))

    return desk.ask(pen=Der(desk.pen.key, desk.pen.keyid))


def _tagged(desk: Desk) -> TestResponse:
    """A signature for somebody else, made into one for a node on its way."""
    fields = desk.signed(tag="other")
    return desk.send(fields | {"Signature-Input": fields["Signature-Input"].replace('"other"', '"hecha"')})


def _flipped(desk: Desk) -> TestResponse:
    fields = desk.signed()
    place = len(fields["Signature"]) // 2
    letter = "A" if fields["Signature"][place] != "A" else "B"
    changed = fields["Signature"][:place] + letter + fields["Signature"][place + 1 :]
    return desk.send(fields | {"Signature": changed})


SHA_1 = f"sha=:{b64encode(sha1(b'{}', usedforsecurity=False).digest()).decode()}:"
HOLDS = "does not hold over this request"
COVER = "must cover"
PLAIN = "by their plain names"
FIELDS = "dictionaries of structured fields"
TYPES = "of the types of RFC 9421"
FITS = "does not fit the body"
FLAWS: dict[str, tuple[Callable[[Desk], TestResponse], str]] = {
    "missing digest": (flawed(covered=without("content-digest")), COVER),
    "digest that is covered and not sent": (sent_with(Content_Digest=""), HOLDS),
    "wrong digest": (digest_of_another_body, FITS),
    "changed body": (another_body, FITS),
    "empty coverage": (flawed(covered=()), COVER),
    "old created": (at(-62), "older than 60 s"),
    "alg mismatch": (flawed(alg="ed25519"), "alg says otherwise"),
    "unknown key": (flawed(keyid="A" * 43), "keyid is the thumbprint"),
    "two labels": (two_of_ours, "Several signatures"),
    "changed method": (another_method, HOLDS),
    "changed path": (another_service, HOLDS),
    "future created": (at(40), "from the future"),
    "expired": (at(-1, "expires"), "has expired"),
    "created of another age": (flawed(created=0), "older than"),
    "created of no age": (flawed(created=999_999_999_999_999), "from the future"),
    "missing created": (flawed(created=None), "needs its parameter created"),
    "missing nonce": (flawed(nonce=None), "needs its parameter nonce"),
    "missing keyid": (flawed(keyid=None), "needs its parameter keyid"),
    "no parameter but the tag": (flawed(created=None, nonce=None, keyid=None), "created, keyid, nonce"),
    "short nonce": (flawed(nonce="a" * 15), "16 to 128"),
    "long nonce": (flawed(nonce="a" * 129), "16 to 128"),
    "nonce that is a token": (flawed(nonce="<abcdefghijklmnopqrst>"), TYPES),
    "created that is a text": (flawed(created="1618884473"), TYPES),
    "created that is a flag": (flawed(created="<?1>"), TYPES),
    "created that is a fraction": (flawed(created="<1618884473.5>"), TYPES),
    "keyid that is bytes": (flawed(keyid="<:AAAA:>"), TYPES),
    "tag that is a token": (flawed(tag="<hecha>"), TYPES),
    "unknown parameter": (flawed(audience="x"), TYPES),
    "method not covered": (flawed(covered=without("@method")), COVER),
    "target not covered": (flawed(covered=without("@target-uri")), COVER),
    "content type not covered": (flawed(covered=without("content-type")), COVER),
    "token not covered": (flawed(covered=without("authorization")), COVER),
    "path in place of the target": (flawed(covered=("@path", *without("@target-uri"))), COVER),
    "changed query": (query_added, HOLDS),
    "query taken away": (query_taken_away, HOLDS),
    "changed authorization": (another_token, HOLDS),
    "changed content type": (sent_with(Content_Type="application/json; charset=utf-8"), HOLDS),
    "changed coverage": (edit("Signature-Input", '"content-type"', '"content-type" "host"'), HOLDS),
    "changed nonce": (edit("Signature-Input", 'nonce="....', 'nonce="0000'), HOLDS),
    "changed created": (edit("Signature-Input", r";created=\d+", f";created={int(time.time())}0"), "from the future"),
    "tag put on": (_tagged, HOLDS),
    "another host": (at_another_host, HOLDS),
    "another scheme": (flawed(values={"@target-uri": f"http://{ISSUER[8:]}{path_of(SERVICE)}"}), HOLDS),
    "target that names a host": (target_that_names_a_host, "by the path alone"),
    "signature of another client": (by_another_client, "keyid is the thumbprint"),
    "signature of another client under our name": (by_another_client_under_our_name, HOLDS),
    "foreign certificate's key": (with_a_foreign_certificate, "keyid is the thumbprint"),
    "a certificate that was not shown": (with_a_new_certificate_of_the_same_client, "keyid is the thumbprint"),
    "digest by an old algorithm": (digest_of(SHA_1), FITS),
    "digest that is none": (digest_of("sha-256"), FITS),
    "digest of another length": (digest_of("sha-256=:AAAA:"), FITS),
    "no digest in the digest": (digest_of(" "), HOLDS),
    "a good and a wrong digest": (
        lambda desk: digest_of(f"{digest(desk.demanding)}, {digest(b'', 'sha-512')}")(desk),
        FITS,
    ),
    "digest that stands twice": (lambda desk: digest_of(f"{digest(b'{}')}, {digest(desk.demanding)}")(desk), FITS),
    "a component of a response": (with_parameter("@method", "req"), PLAIN),
    "a component reserialised": (with_parameter("content-digest", "sf"), PLAIN),
    "a component as bytes": (with_parameter("content-type", "bs"), PLAIN),
    "a member of a component": (with_parameter("content-digest", 'key="sha-256"'), PLAIN),
    "a component of the trailers": (with_parameter("content-digest", "tr"), PLAIN),
    "a parameter of the query": (
        flawed(covered=(*COVERED, '"@query-param";name="a"'), values={"@query-param": "1"}),
        PLAIN,
    ),
    "a component that no request has": (flawed(covered=(*COVERED, "@status"), values={"@status": "200"}), PLAIN),
    "parameters that sign themselves": (
        flawed(covered=(*COVERED, "@signature-params"), values={"@signature-params": "x"}),
        PLAIN,
    ),
    "a component that is no name": (edit("Signature-Input", r'\("@method"', '(7 "@method"'), PLAIN),
    "a component twice": (flawed(covered=(*COVERED, "@method")), HOLDS),
    "a component in capitals": (flawed(covered=(*COVERED, "Host"), values={"Host": "localhost"}), HOLDS),
    "a field that was not sent": (flawed(covered=(*COVERED, "date"), values={"date": "now"}), HOLDS),
    "no list of components": (edit("Signature-Input", r"\(.*\)", "1"), PLAIN),
    "a flag in place of a list": (edit("Signature-Input", r"=\(.*\)", ""), PLAIN),
    "oversized input": (flawed(keyid="A" * 4_096), "at most 4096"),
    "oversized signature": (edit("Signature", "=:", f"=:{'AAAA' * 1_100}"), "at most 4096"),
    "garbage in the input": (sent_with(Signature_Input="(((("), FIELDS),
    "garbage that is not ASCII": (sent_with(Signature_Input="sig=\xff"), FIELDS),
    "a date beyond all times": (sent_with(Signature_Input="sig=@999999999999999"), FIELDS),
    "garbage in the signature": (sent_with(Signature="(((("), FIELDS),
    "no signature": (sent_with(Signature=""), "no byte sequence"),
    "signature under another label": (edit("Signature", "^sig", "gis"), "no byte sequence"),
    "signature that is a text": (sent_with(Signature='sig="AAAA"'), "no byte sequence"),
    "signature that is a list": (sent_with(Signature="sig=(:AAAA:)"), "no byte sequence"),
    "empty signature": (sent_with(Signature="sig=::"), HOLDS),
    "one label twice": (same_label_twice, FIELDS),
    "signature of zeros": (sent_with(Signature=f"sig=:{b64encode(bytes(64)).decode()}:"), HOLDS),
    "signature in another form": (in_der, HOLDS),
    "signature with a byte more": (edit("Signature", "=:(....)", r"=:AAAA\1"), HOLDS),
    "altered signature": (_flipped, HOLDS),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flawed_signature_is_refused_and_a_good_one_right_after_is_not(desk: Desk, flaw: str) -> None:
    send, said = FLAWS[flaw]
    before = desk.nonces()
    response = send(desk)
    assert desk.nonces() == before, "what does not hold spends no nonce"
    assert said in desk.refused(response), response.get_json()["detail"]


@pytest.mark.parametrize("flaw", ["unknown key", "old created", "changed method", "garbage in the input"])
def test_flawed_signature_is_refused_though_nobody_demands_one(desk: Desk, flaw: str) -> None:
    send, said = FLAWS[flaw]
    assert said in desk.refused(send(replace(desk, demanding=desk.free)))
