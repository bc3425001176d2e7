"""Every flawed certificate against real nodes, over TLS and through a proxy: refused, and the next good one not."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlencode

import pytest
from cryptography import x509

from examples.demo import signing
from examples.demo.departments import NODE_DIR
from tests.e2e.certificate_cases import CASES, DAY, NAME, NOW, World, fetching
from tests.servers.node import RunningNode, demo_folder, free_port
from tests.unit.app.trust import pki
from tests.unit.app.trust.pki import Holder

pytestmark = pytest.mark.slow

TOKEN = urlencode({"grant_type": "client_credentials", "client_id": "hz-hrss-benefits"})
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
SLUGS = {"certificate-not-trusted", "certificate-revoked", "revocation-unknown"}
Answer: TypeAlias = "tuple[int, bytes, dict[str, str]]"
HANDSHAKE = "refused in the handshake"


class ProxiedNode(RunningNode):
    """A node that listens on a Unix socket, for a proxy."""

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.var / "node.sock"

    @property
    def env(self) -> dict[str, str]:
        """Without TLS files of its own."""
        plain = {"HECHA_BIND": f"unix:{self.socket}", "HECHA_PROXY_PEERS": "unix", **self.settings}
        env = super().env | plain | {"HECHA_STATE_DIR": str(self.var / "proxied")}
        env["HECHA_DATABASE_URL"] = f"sqlite:///{self.var / 'proxied' / 'node.db'}"
        return {name: value for name, value in env.items() if name not in {"HECHA_TLS_CERTIFICATE", "HECHA_TLS_KEY"}}

    def is_live(self) -> bool:
        """Whether it answers on its socket."""
        with suppress(OSError):
            return self.get("/livez")[0] == 200
        return False

    def get(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Answer:
        """One request as a proxy sends it; underscores in names of headers stand for hyphens."""
        connection = http.client.HTTPConnection("localhost", timeout=15)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(15)
            connection.sock.connect(str(self.socket))
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body or None, FORM | named)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()


@dataclass(frozen=True)
class Ways:
    """One world of certificates and the two nodes that trust its root; `folder` is for files of clients."""

    world: World
    direct: RunningNode
    proxied: ProxiedNode
    folder: Path
    good: Holder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "good", self.world.good())

    def over_tls(self, holder: Holder) -> Answer | str:
        """Ask for a token in a TLS connection with this certificate and the chain above it."""
        files = self.folder / f"{threading.get_ident()}.pem", self.folder / f"{threading.get_ident()}.key"
        files[0].write_bytes(holder.pem + b"".join(above.pem for above in holder.above[:-1]))
        files[1].write_bytes(holder.key_pem)
        context = ssl.create_default_context(cafile=self.direct.var / "pki" / "ca.pem")
        # This side must be able to show what is too weak for any good client.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.load_cert_chain(*files)
        connection = http.client.HTTPSConnection("127.0.0.1", self.direct.port, context=context, timeout=15)
        try:
            connection.request("POST", "/oauth2/token", TOKEN, FORM)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        except (ssl.SSLError, ConnectionError):
            return HANDSHAKE
        finally:
            connection.close()

    def through_the_proxy(self, holder: Holder) -> Answer:
        """Ask for a token as a proxy that checked nothing would pass it on."""
        chain = ", ".join(_sequence(above.der) for above in holder.above[:-1])
        headers = {"Client_Cert": _sequence(holder.der)} | ({"Client_Cert_Chain": chain} if chain else {})
        return self.proxied.get("/oauth2/token", "POST", TOKEN, **headers)


def _sequence(der: bytes) -> str:
    return f":{b64encode(der).decode()}:"


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    world = World.made()
    with ExitStack() as stack:
        var = stack.enter_context(demo_folder())
        _directory(var)
        settings = _lists(var, world)
        direct = RunningNode(var, free_port(), settings)
        proxied = ProxiedNode(var, free_port(), settings)
        for node in (direct, proxied):
            stack.callback(node.stop)
            node.start()
        folder = var / "clients"
        folder.mkdir()
        yield Ways(world, direct, proxied, folder)


def _directory(var: Path) -> None:
    """The example directory with one client pinned to a key that nobody holds and another one suspended."""
    source = var / "template"
    shutil.copytree(NODE_DIR, source)
    pin = f'public_keys: ["sha256-{"0" * 64}"]'
    for name, old, new in (
        (
            "hz-hrss",
            'hz-hrss-review.clients.hangzhou.example"}',
            f'hz-hrss-review.clients.hangzhou.example", {pin}}}',
        ),
        ("hz-tax", "- client: hz-tax-levy\n", "- client: hz-tax-levy\n    suspended: true\n"),
    ):
        path = source / "departments" / f"{name}.yaml"
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")
    signing.signed_directory(source, var / "node", signing.read_keys(var / "pki" / "signing"))


def _lists(var: Path, world: World) -> dict[str, str]:
    """Settings with the world's authorities and their revocation lists."""
    life = (NOW - DAY, NOW + DAY)
    revoked = {holder: pki.revocation_list(holder, life=life) for holder in (world.narrow, world.shallow)}
    revoked[world.root] = pki.revocation_list(world.root, world.revoked, life=life)
    revoked[world.issuing] = pki.revocation_list(world.issuing, 4_001, 4_002, life=life)
    revoked[world.revoked] = pki.revocation_list(world.revoked, life=life)
    paths = []
    for number, content in enumerate(revoked.values()):
        paths.append(var / f"{number}.crl")
        paths[-1].write_bytes(content)
    authorities = var / "trusted.pem"
    authorities.write_bytes(world.trusted)
    return {"HECHA_TLS_CLIENT_CA": str(authorities), "HECHA_CLIENT_CRLS": " ".join(map(str, paths))}


def assert_good(ways: Ways) -> None:
    """The good certificate gets its token both ways."""
    for answer in (ways.over_tls(ways.good), ways.through_the_proxy(ways.good)):
        assert answer[0] == 200, answer


def refused(answer: Answer, *others: str) -> str:
    """The slug of a refusal, which has the right status and challenge."""
    status, body, headers = answer
    slug = str(json.loads(body)["type"])
    assert slug in SLUGS.union(others)
    assert (status, "WWW-Authenticate" in headers) == ((503, False) if slug == "revocation-unknown" else (401, True))
    assert headers["Content-Type"] == "application/problem+json"
    assert NAME.encode() not in body
    return slug


def test_there_are_at_least_forty_flaws() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("flaw", CASES)
def test_certificate_is_refused_both_ways_and_the_next_good_one_is_not(ways: Ways, flaw: str) -> None:
    holder = CASES[flaw](ways.world)
    over_tls, proxied = ways.over_tls(holder), refused(ways.through_the_proxy(holder))
    if over_tls != HANDSHAKE:
        assert not isinstance(over_tls, str)
        # TLS 1.3 knows no way to sign with a key on such a curve, so that no certificate is shown at all.
        assert refused(over_tls, "certificate-required") in {proxied, "certificate-required"}
    assert_good(ways)


@pytest.mark.parametrize(
    ("flaw", "slug"),
    [
        ("revoked", "certificate-revoked"),
        ("revoked for the time being", "certificate-revoked"),
        ("of an authority that is revoked", "certificate-revoked"),
        ("of an authority without a list", "revocation-unknown"),
    ],
)
def test_revocation_has_words_of_its_own(ways: Ways, flaw: str, slug: str) -> None:
    assert refused(ways.through_the_proxy(CASES[flaw](ways.world))) == slug


def test_good_certificate_with_an_extension_of_its_authoritys_own_is_taken(ways: Ways) -> None:
    """Authorities in China put data of their own into certificates; it is not critical."""
    holder = ways.world.good(extra=((x509.UnrecognizedExtension(pki.PRIVATE_OID, b"\x05\x00"), False),))
    assert ways.through_the_proxy(holder)[0] == 200
    assert ways.over_tls(holder)[0] == 200


def test_node_fetches_nothing_that_a_certificate_names(ways: Ways) -> None:
    """Issuers, lists and status from wherever the certificate says: 0 connections."""
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(1.5)
        holder = fetching(ways.world, f"http://127.0.0.1:{trap.getsockname()[1]}/")
        assert ways.over_tls(holder) == HANDSHAKE
        refused(ways.through_the_proxy(holder))
        with pytest.raises(TimeoutError):
            trap.accept()
    assert_good(ways)
