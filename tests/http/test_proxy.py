"""Behind a trusted proxy: what it says of the certificate and the address counts, and is checked like any other."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from werkzeug.test import TestResponse

from app.identity.certificate import key_digest
from app.identity.connection import PEER, PEER_CERTIFICATE
from tests.nodes import running
from tests.nodes.consumer import Consumer
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.running import Ground, OwnNode, RunningNode
from tests.unit.app.trust import pki
from tests.unit.app.trust.pki import DAY, Holder

NOW = datetime.now(UTC).replace(microsecond=0)
LIFE = (NOW - DAY, NOW + DAY)
PROXY = "10.9.8.1"
DOMAIN = "clients.hangzhou.example"


@dataclass(slots=True)
class Proxied(Consumer):
    """A client behind the proxy at `peer`, which says what it has seen: its certificate, chain and address."""

    chain: tuple[bytes, ...] = ()
    address: str | None = "127.0.0.1"
    peer: str = "unix"
    more: dict[str, str] = field(default_factory=dict)

    def open(self, method: str, path: str, **arguments: Any) -> TestResponse:
        """One request without a token."""
        environ = {PEER: self.peer, **arguments.pop("environ_overrides", {})}
        said = {
            "Client-Cert": self.certificate and sequence(self.certificate),
            "Client-Cert-Chain": ", ".join(map(sequence, self.chain)),
            "X-Forwarded-For": self.address,
        }
        headers = arguments.pop("headers", {}) | {name: value for name, value in said.items() if value} | self.more
        client = self.app.test_client()
        return client.open(
            path, method=method, headers=headers, environ_overrides=environ, buffered=True, **arguments
        )


def sequence(der: bytes) -> str:
    return f":{b64encode(der).decode()}:"


def slug(response: TestResponse) -> str:
    """The problem's type; a certificate that is refused comes with a challenge."""
    if response.status_code == 401:
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="hecha"')
    found: str = response.get_json()["type"]
    return found


@pytest.fixture(scope="module")
def authority() -> Holder:
    return pki.root(life=LIFE)


@pytest.fixture(scope="module")
def issuing(authority: Holder) -> Holder:
    return pki.below(authority, life=LIFE)


def client_of(holder: Holder, name: str = CLIENT, **plan: Any) -> Holder:
    """A client's certificate as the register knows it, with flaws if there are any."""
    return pki.leaf(holder, name, **{"names": (x509.DNSName(f"{name}.{DOMAIN}"),), "life": LIFE} | plan)


@pytest.fixture(scope="module")
def file(authority: Holder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Authorities: the root alone."""
    path = tmp_path_factory.mktemp("authorities") / "ca.pem"
    path.write_bytes(authority.pem)
    return path


@pytest.fixture(scope="module")
def behind(ground: Ground, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node that trusts a Unix socket and a small network."""
    made = running.start(
        ground, tmp_path_factory.mktemp("behind"), TLS_CLIENT_CA=str(file), PROXY_PEERS="unix 10.9.8.0/30"
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def good(behind: RunningNode, authority: Holder) -> Proxied:
    return Proxied(behind.app, CLIENT, client_of(authority).der)


def ask_token(caller: Consumer) -> TestResponse:
    """A request that needs nothing but a certificate."""
    return caller.form(grant_type="client_credentials", client_id=CLIENT)


def proxied(node: RunningNode, holder: Holder | bytes | None, **said: Any) -> Proxied:
    der = holder.der if isinstance(holder, Holder) else holder
    return Proxied(node.app, CLIENT, der, **said)


def test_proxy_that_says_nothing_brings_a_caller_without_certificate(behind: RunningNode) -> None:
    assert slug(ask_token(proxied(behind, None))) == "certificate-required"
    assert proxied(behind, None).open("GET", "/livez").status_code == 200
    assert proxied(behind, None).open("GET", "/.well-known/jwks.json").status_code == 200


@pytest.mark.parametrize("peer", ["unix", PROXY, f"::ffff:{PROXY}"])
def test_client_behind_a_proxy_gets_a_token_and_an_answer(good: Proxied, peer: str) -> None:
    caller = Proxied(good.app, CLIENT, good.certificate, peer=peer)
    response = caller.ask(SERVICE, employment())
    assert (response.status_code, response.get_json()["result"]) == (200, "match")


def test_off_by_default_nobody_may_say_whose_certificate_it_saw(node: RunningNode, ground: Ground) -> None:
    genuine = node.consumer(CLIENT)
    for peer in ("unix", PROXY, "127.0.0.1", "::1"):
        assert slug(ask_token(proxied(node, genuine.certificate, peer=peer))) == "malformed"
        only_chain = proxied(node, None, peer=peer, more={"Client-Cert-Chain": sequence(b"any")})
        assert slug(ask_token(only_chain)) == "malformed"
    # Not even beside the same certificate in the TLS layer.
    assert slug(genuine.open("POST", "/oauth2/token", headers={"Client-Cert": "::"})) == "malformed"
    assert ask_token(genuine).status_code == 200


def test_whoever_is_no_proxy_is_refused_and_may_come_with_its_own_tls(behind: RunningNode, good: Proxied) -> None:
    for peer in ("10.9.8.4", "127.0.0.1", "::1"):
        assert slug(ask_token(proxied(behind, good.certificate, peer=peer))) == "malformed"
    direct = Consumer(behind.app, CLIENT, good.certificate)
    assert ask_token(direct).status_code == 200
    assert slug(direct.open("GET", "/v1/services", headers={"Client-Cert": "::"})) == "malformed"


def test_own_certificate_of_the_proxy_is_not_the_callers(behind: RunningNode, good: Proxied) -> None:
    """A proxy that shows a certificate on its own TLS hop to the node, here even that of a registered client."""
    hop = {PEER: PROXY, PEER_CERTIFICATE: good.certificate}
    form = {"grant_type": "client_credentials", "client_id": CLIENT}
    caller = proxied(behind, None, peer=PROXY)
    assert slug(caller.open("POST", "/oauth2/token", data=form, environ_overrides=hop)) == "certificate-required"


def test_other_forms_of_the_certificate_are_malformed(behind: RunningNode, good: Proxied) -> None:
    assert good.certificate is not None
    text, pem = sequence(good.certificate), b64encode(good.certificate).decode()
    for value in ("", "::", pem, f"{text}, {text}", f"{text},{text}", f"{text};a=1", f"({text})", f'"{pem}"'):
        assert slug(ask_token(proxied(behind, None, more={"Client-Cert": value}))) == "malformed", value
    assert slug(ask_token(proxied(behind, None, chain=(good.certificate,)))) == "malformed"
    assert ask_token(good).status_code == 200


BAD: dict[str, Callable[[Holder, Holder], Holder | bytes]] = {
    "expired": lambda root, _: client_of(root, life=(NOW - 3 * DAY, NOW - DAY)),
    "not valid yet": lambda root, _: client_of(root, life=(NOW + DAY, NOW + 3 * DAY)),
    "of a foreign authority": lambda *_: client_of(pki.root(life=LIFE)),
    "of a foreign authority of the same name": lambda root, _: client_of(
        pki.root(life=LIFE, subject=root.certificate.subject)
    ),
    "self-signed": lambda *_: pki.root("self", ca=False, names=(x509.DNSName(f"{CLIENT}.{DOMAIN}"),), life=LIFE),
    "meant for servers": lambda root, _: client_of(root, purposes=(pki.SERVER_AUTH,)),
    "meant for nothing": lambda root, _: client_of(root, purposes=None),
    "of an authority": lambda _, issuing: issuing,
    "of the root": lambda root, _: root,
    "of nobody here": lambda root, _: client_of(root, "nobody"),
    "of two clients": lambda root, _: client_of(
        root, names=(x509.DNSName(f"{CLIENT}.{DOMAIN}"), x509.DNSName(f"hz-hrss-review.{DOMAIN}"))
    ),
    "altered": lambda root, _: pki.flipped(client_of(root).der),
    "with something behind it": lambda root, _: client_of(root).der + b"\0",
    "two in one": lambda root, _: client_of(root).der * 2,
    "cut off": lambda root, _: client_of(root).der[:-1],
    "no certificate at all": lambda *_: b"0\x03\x02\x01\x07",
    "16 KiB of nothing": lambda *_: bytes(16_384),
    "PEM inside": lambda root, _: client_of(root).pem,
    "under an authority that is not sent": lambda _, issuing: client_of(issuing),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
def test_certificate_with_this_flaw_is_not_trusted(
    good: Proxied, authority: Holder, issuing: Holder, make: Callable[..., Holder | bytes]
) -> None:
    """The proxy's own check is not relied on."""
    made = make(authority, issuing)
    caller = Proxied(good.app, CLIENT, made.der if isinstance(made, Holder) else made)
    assert slug(ask_token(caller)) == "certificate-not-trusted"
    assert ask_token(good).status_code == 200


@pytest.mark.parametrize("chain", [(), (0,), (0, 1), (1, 0), (0, 0), (1,)])
def test_authorities_in_between_come_in_the_chain(
    behind: RunningNode, authority: Holder, issuing: Holder, chain: Sequence[int]
) -> None:
    below = pki.below(issuing, "Issuing below", life=LIFE)
    sent = tuple((below.der, issuing.der)[number] for number in chain)
    response = ask_token(proxied(behind, client_of(below), chain=sent))
    if {0, 1} <= {*chain}:
        assert response.status_code == 200
    else:
        assert slug(response) == "certificate-not-trusted"


def test_chain_makes_no_authority_trusted(behind: RunningNode) -> None:
    foreign = pki.root(life=LIFE)
    below = pki.below(foreign, life=LIFE)
    caller = proxied(behind, client_of(below), chain=(below.der, foreign.der))
    assert slug(ask_token(caller)) == "certificate-not-trusted"


def test_chain_may_stand_on_several_lines_and_is_bounded(behind: RunningNode, issuing: Holder) -> None:
    leaf = client_of(issuing)
    lines = [("Client-Cert", sequence(leaf.der))] + [("Client-Cert-Chain", sequence(issuing.der))] * 2
    form = {"grant_type": "client_credentials", "client_id": CLIENT}
    environ = {PEER: "unix"}
    for count, status in ((2, 200), (4, 200), (5, 400)):
        sent = lines[:1] + lines[1:2] * count
        # As gunicorn joins them; the test client would keep the last one only.
        joined = {"HTTP_CLIENT_CERT_CHAIN": ",".join(value for name, value in sent if name.endswith("Chain"))}
        response = behind.app.test_client().post(
            "/oauth2/token", data=form, headers=sent[:1], environ_overrides=environ | joined
        )
        assert response.status_code == status


def test_revoked_certificate_is_revoked_behind_a_proxy_too(
    own_node: OwnNode, authority: Holder, file: Path, tmp_path: Path
) -> None:
    revoked, other = client_of(authority), client_of(authority)
    lists = tmp_path / "root.crl"
    lists.write_bytes(pki.revocation_list(authority, revoked, life=LIFE))
    node = own_node(TLS_CLIENT_CA=str(file), PROXY_PEERS="unix", CLIENT_CRLS=str(lists))
    assert slug(ask_token(proxied(node, revoked))) == "certificate-revoked"
    assert ask_token(proxied(node, other)).status_code == 200


def test_pinned_key_and_suspension_hold_behind_a_proxy_too(own_node: OwnNode, authority: Holder, file: Path) -> None:
    pinned, other = client_of(authority), client_of(authority)
    line = f'certificate: {{tls_client_auth_san_dns: "{CLIENT}.{DOMAIN}"'

    def pin(text: str) -> str:
        pins = f'{line}, public_keys: ["{key_digest(pinned.certificate)}"]'
        return text.replace(line, pins).replace(
            "- client: hz-hrss-review", "- suspended: true\n    client: hz-hrss-review"
        )

    node = own_node({"departments/hz-hrss.yaml": pin}, TLS_CLIENT_CA=str(file), PROXY_PEERS="unix")
    assert ask_token(proxied(node, pinned)).status_code == 200
    assert slug(ask_token(proxied(node, other))) == "certificate-not-trusted"
    assert slug(ask_token(proxied(node, client_of(authority, "hz-hrss-review")))) == "certificate-not-trusted"


def test_token_is_bound_to_the_forwarded_certificate(behind: RunningNode, good: Proxied, authority: Holder) -> None:
    bearer = {"Authorization": f"Bearer {good.token()}"}
    assert good.open("GET", "/v1/services", headers=bearer).status_code == 200
    # The same certificate, on a connection to the node itself.
    assert (
        Consumer(behind.app, CLIENT, good.certificate).open("GET", "/v1/services", headers=bearer).status_code == 200
    )
    for thief in (client_of(authority), client_of(authority, "hz-hrss-review")):
        stolen = proxied(behind, thief).open("GET", "/v1/services", headers=bearer)
        assert (stolen.status_code, slug(stolen)) == (401, "token-not-bound")


def ask_from(caller: Proxied, address: str | None) -> TestResponse:
    return Proxied(caller.app, CLIENT, caller.certificate, address=address).ask(
        SERVICE, employment(), Authorization=f"Bearer {caller.token()}"
    )


def test_networks_are_held_against_the_address_that_the_proxy_saw(good: Proxied) -> None:
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert ask_from(good, address).status_code == 200
    for address in ("203.0.113.7", "2001:db8::7", "10.9.8.1"):
        refused = ask_from(good, address)
        assert [item["rule"] for item in refused.get_json()["reasons"]] == ["outside-networks"], address


def test_unknown_address_is_in_no_agreed_network(own_node: OwnNode, authority: Holder, file: Path) -> None:
    """A proxy that does not say it costs those questions only whose agreement names networks."""
    line = 'networks: ["127.0.0.0/8", "::1/128"]\n'
    agreement = "agreements/hz-hrss-employment-status-unemployment-benefit.yaml"
    settings = {"TLS_CLIENT_CA": str(file), "PROXY_PEERS": "unix"}
    agreed, free = own_node(**settings), own_node({agreement: lambda text: text.replace(line, "")}, **settings)
    refused = proxied(agreed, client_of(authority), address=None).ask(SERVICE, employment())
    assert [item["rule"] for item in refused.get_json()["reasons"]] == ["outside-networks"]
    assert proxied(free, client_of(authority), address=None).ask(SERVICE, employment()).status_code == 200


def test_address_that_was_appended_to_is_malformed(good: Proxied) -> None:
    for address in ("127.0.0.1, 203.0.113.7", "203.0.113.7,127.0.0.1", "127.0.0.1:80", "localhost", "unknown"):
        assert slug(ask_from(good, address)) == "malformed"


def test_other_proxies_headers_say_nothing(behind: RunningNode, good: Proxied) -> None:
    assert good.certificate is not None
    for name in (
        "X-Client-Cert",
        "X-SSL-Client-Cert",
        "SSL-Client-Cert",
        "X-ARR-ClientCert",
        "Hecha-Peer-Certificate",
    ):
        for value in (sequence(good.certificate), b64encode(good.certificate).decode()):
            assert slug(ask_token(proxied(behind, None, more={name: value}))) == "certificate-required"
            direct = Consumer(behind.app, CLIENT, None)
            assert slug(direct.open("POST", "/oauth2/token", headers={name: value})) == "certificate-required"


def test_answers_are_kept_apart_by_certificate(behind: RunningNode, good: Proxied) -> None:
    """RFC 9440 §2.4: uncacheable, or told apart by the field."""
    bearer = {"Authorization": f"Bearer {good.token()}"}
    answers = [
        good.open(method, path, headers=headers)
        for headers in (bearer, {})
        for method, path in (
            ("GET", "/v1/services"),
            ("GET", f"/v1/services/{SERVICE}"),
            ("GET", "/log/checkpoint"),
            ("GET", "/log/tile/0/000.p/1"),
            ("GET", "/v1/agreements"),
            ("GET", "/v1/nothing"),
            ("POST", f"/v1/services/{SERVICE}/verifications"),
        )
    ]
    answers += [ask_token(good), ask_token(proxied(behind, None)), ask_from(good, "127.0.0.1")]
    assert {answer.status_code for answer in answers} >= {200, 401, 404}
    for answer in answers:
        uncacheable = "no-store" in answer.headers.get("Cache-Control", "")
        assert uncacheable or "Client-Cert" in answer.headers.get("Vary", ""), answer.request.path
    assert "no-store" not in good.open("GET", "/.well-known/jwks.json").headers.get("Cache-Control", "")


@pytest.mark.parametrize("path", ["/livez", "/.well-known/jwks.json", "/openapi.json", "/docs"])
def test_field_from_nobody_who_may_is_refused_on_public_paths_too(
    node: RunningNode, behind: RunningNode, good: Proxied, path: str
) -> None:
    assert slug(proxied(node, good.certificate).open("GET", path)) == "malformed"
    assert slug(proxied(behind, good.certificate, peer="127.0.0.1").open("GET", path)) == "malformed"
    assert good.open("GET", path).status_code == 200
