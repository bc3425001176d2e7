"""`deploy/nginx.conf` in a real nginx: what reaches the node, what comes back, and 1,000 spoofs from outside."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from app.api.problems import PROBLEMS
from client.http import NodeClient
from tests.nodes.consumer import der
from tests.servers.nginx import CONFIGURATION, LINES, MISSING, Nginx, certificate_map, mirror, program, running_nginx
from tests.servers.node import RunningNode
from tests.servers.proxy import NodeBehind, node_behind
from tests.servers.spoofs import COUNT, Forgery, spoofs
from tests.servers.wire import ask, field, none_accepted, over_tls, over_unix, request, statuses, tell, token_of
from tests.unit.app.trust import pki

pytestmark = pytest.mark.skipif(program() is None, reason=MISSING)

OWN, VICTIM = "hz-hrss-benefits", "hz-tax-levy"
CANARY = "339881197803120013"


@pytest.fixture(scope="module")
def behind(node: RunningNode) -> Iterator[NodeBehind]:
    """A node on a Unix socket; what it stands on is shared."""
    with node_behind(node.var, HECHA_WORKERS="1") as made:
        yield made


@pytest.fixture(scope="module")
def nginx(behind: NodeBehind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx in front of it. Whoever would write to its folders for bodies and answers finds them gone."""
    folder = tmp_path_factory.mktemp("nginx")
    with running_nginx(folder, behind.socket, behind.var / "pki") as made:
        for place in made.temporary():
            shutil.rmtree(place)
        yield made


@pytest.fixture(scope="module")
def mirrored(node: RunningNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nginx, Path, pki.Holder]]:
    """nginx with authorities of the test's own before a mirror: (nginx, PKI, issuing authority)."""
    life = (datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1))
    folder = tmp_path_factory.mktemp("mirrored")
    root = pki.root(life=life)
    issuing = pki.below(root, life=life)
    for name in ("server.pem", "server.key"):
        shutil.copy(node.var / "pki" / name, folder / name)
    (folder / "ca.pem").write_bytes((node.var / "pki" / "ca.pem").read_bytes() + root.pem + issuing.pem)
    path = node.var / "mirror.sock"
    with mirror(path), running_nginx(folder, path, folder) as made:
        yield made, folder, issuing


def handed_over(mirrored: tuple[Nginx, Path, pki.Holder], names: int, *fields: bytes) -> tuple[bytes, bytes]:
    """A certificate with so many names, and the head that nginx made of a request with it."""
    made, folder, issuing = mirrored
    life = (issuing.certificate.not_valid_before_utc, issuing.certificate.not_valid_after_utc)
    alternatives = tuple(x509.DNSName(f"name-{number:04d}.clients.example") for number in range(names))
    leaf = pki.leaf(issuing, life=life, names=alternatives)
    (folder / "leaf.pem").write_bytes(leaf.pem)
    (folder / "leaf.key").write_bytes(leaf.key_pem)
    lines = [b"GET /a%2fb/../c?d=%20e HTTP/1.1", b"Host: me:8443", b"Connection: close", *fields, b"", b""]
    reply = ask(over_tls(made.port, folder, "leaf", source="127.0.0.7"), b"\r\n".join(lines))
    return leaf.der, reply.partition(b"\r\n\r\n")[2]


def values(head: bytes, name: bytes) -> list[bytes]:
    return re.findall(rb"(?im)^" + name + rb":[ \t]*(.*?)\r$", head)


def test_certificate_map_is_as_generated() -> None:
    assert CONFIGURATION.read_text("utf-8").count(certificate_map()) == 1
    assert LINES * 48 >= 3_840


@pytest.mark.parametrize("names", [1, 2, 3, 5, 20, 60, 100])
def test_certificate_of_any_usual_size_is_handed_over_whole(
    mirrored: tuple[Nginx, Path, pki.Holder], names: int
) -> None:
    certificate, head = handed_over(mirrored, names)
    (value,) = values(head, b"client-cert")
    assert (value[:1], b64decode(value[1:-1], validate=True), value[-1:]) == (b":", certificate, b":")


def test_certificate_too_large_for_the_map_is_not_taken_for_none(mirrored: tuple[Nginx, Path, pki.Holder]) -> None:
    certificate, head = handed_over(mirrored, 130)
    assert len(certificate) > LINES * 48
    assert values(head, b"client-cert") == [b"unsupported"]


def test_node_gets_the_fields_of_nginx_alone_and_the_target_as_it_was_sent(
    mirrored: tuple[Nginx, Path, pki.Holder],
) -> None:
    said = [
        b"Client-Cert: :AAAA:",
        b"client-cert: x",
        b"Client_Cert: y",
        b"Client-Cert-Chain: :AAAA:",
        b"client-cert-chain: z",
    ]
    said += [
        b"X-Forwarded-For: 10.1.2.3",
        b"x-forwarded-for: 10.1.2.4",
        b"Transfer-Encoding: chunked",
        b"Connection: Client-Cert",
    ]
    certificate, head = handed_over(mirrored, 1, *said[:-2])
    assert head.startswith(b"GET /a%2fb/../c?d=%20e HTTP/1.1\r\n")
    (value,) = values(head, b"client.cert")
    assert b64decode(value[1:-1]) == certificate
    assert values(head, b"client.cert.chain") == []
    assert values(head, b"x.forwarded.for") == [b"127.0.0.7"]
    assert values(head, b"host") == [b"me:8443"]
    # Not even if the connection is told to carry it no further.
    _, head = handed_over(mirrored, 1, said[0], said[-1])
    assert len(values(head, b"client.cert")) == 1


def test_without_a_certificate_there_is_no_field(mirrored: tuple[Nginx, Path, pki.Holder]) -> None:
    made, folder, _ = mirrored
    sent = (
        b"GET / HTTP/1.1\r\nHost: me\r\nConnection: close\r\nClient-Cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\n\r\n"
    )
    assert b"client" not in ask(over_tls(made.port, folder), sent).partition(b"\r\n\r\n")[2].lower()


def forgery_of(behind: NodeBehind) -> Forgery:
    pki_folder = behind.var / "pki"
    token = token_of(over_unix(behind.socket), VICTIM, field(pki_folder, VICTIM))
    return Forgery(der(pki_folder / f"{VICTIM}.pem"), token)


@pytest.mark.slow
def test_no_spoof_is_accepted_without_a_certificate(nginx: Nginx, behind: NodeBehind) -> None:
    connect = over_tls(nginx.port, behind.var / "pki")
    counted = none_accepted(tell(connect, list(spoofs(forgery_of(behind)))), COUNT)
    assert counted[401] > COUNT / 2
    # What is passed off is good: its holder is let in, and stays itself with the field.
    victim = over_tls(nginx.port, behind.var / "pki", VICTIM)
    token = token_of(victim, VICTIM)
    assert statuses(ask(victim, request(token))) == (200,)
    assert statuses(ask(victim, request(token, field(behind.var / "pki", OWN)))) == (200,)


@pytest.mark.slow
def test_client_stays_itself_whatever_spoof_it_sends(nginx: Nginx, behind: NodeBehind) -> None:
    """With its own token: 200 as itself, or nginx does not pass the request on. Never 401, as somebody else."""
    own = over_tls(nginx.port, behind.var / "pki", OWN)
    forgery = forgery_of(behind)
    told = tell(own, list(spoofs(Forgery(forgery.certificate, token_of(own, OWN)))))
    # nginx ends a head at a bare line feed, so some of these lose their token, and their caller nothing else.
    answers = [status for one in told for status in one.statuses if (one.spoof.kind, status) != ("line end", 401)]
    assert {*answers} <= {200, 400}
    assert answers.count(200) > COUNT / 2
    # With the victim's token and field: not accepted, because it is not the victim.
    none_accepted(tell(own, list(spoofs(forgery, COUNT // 5))), COUNT // 5)


def test_client_behind_nginx_asks_its_question(nginx: Nginx, behind: NodeBehind) -> None:
    folder = behind.var / "pki"
    persona = json.loads((behind.var / "personas.json").read_text("utf-8"))[0]
    name = persona["client"]
    with NodeClient(
        nginx.url,
        ca=folder / "ca.pem",
        certificate=folder / f"{name}.pem",
        key=folder / f"{name}.key",
        client_id=name,
    ) as caller:
        members = ("purpose", "case", "operator", "subject", "confirm", "declared")
        for _ in range(3):
            assert (
                caller.ask(persona["service"], {member: persona[member] for member in members}).body["result"]
                == "match"
            )


def test_public_paths_need_no_certificate_and_all_others_do(nginx: Nginx, behind: NodeBehind) -> None:
    connect = over_tls(nginx.port, behind.var / "pki")
    for path in (b"/livez", b"/.well-known/jwks.json", b"/openapi.json"):
        assert statuses(ask(connect, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) == (200,)
    assert b'"certificate-required"' in ask(connect, request("token"))


@pytest.mark.parametrize("name", ["expired", "foreign", "unregistered"])
def test_bad_certificate_is_refused_as_the_node_does(nginx: Nginx, behind: NodeBehind, name: str) -> None:
    """The first two by nginx in its own words, the third by the node."""
    folder = behind.var / "pki" / "bad"
    context = ssl.create_default_context(cafile=behind.var / "pki" / "ca.pem")
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")

    def connect() -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", nginx.port), 10)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    reply = ask(connect, request("token"))
    assert statuses(reply) == (401,)
    assert b'WWW-Authenticate: Bearer realm="hecha"' in reply
    assert problem(reply)["type"] == "certificate-not-trusted"


def problem(reply: bytes) -> dict[str, object]:
    """The problem document of a reply, held against the node's own table where its type stands there."""
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/problem+json\r\n" in head + b"\r\n"
    document: dict[str, object] = json.loads(body)
    assert (document["status"],) == statuses(reply)
    if document["type"] != "about:blank":
        stated = PROBLEMS[str(document["type"])]
        assert (stated.status, stated.title) == (document["status"], document["title"])
    return document


@pytest.mark.parametrize(
    ("sent", "slug"),
    [
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "malformed"),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "malformed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9_000 + b"\r\nConnection: close\r\n\r\n", "malformed"),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "malformed"),
        (b"GET /.nginx/malformed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "not-found"),
        (b"GET / HTTP/9.9\r\nHost: x\r\nConnection: close\r\n\r\n", "malformed"),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 65537\r\n\r\n" + b"x" * 65_537,
            "too-large",
        ),
    ],
    ids=["no host", "long target", "long field", "TRACE", "an inner path", "version", "large body"],
)
def test_what_nginx_refuses_itself_is_a_problem_document(
    nginx: Nginx, behind: NodeBehind, sent: bytes, slug: str
) -> None:
    reply = ask(over_tls(nginx.port, behind.var / "pki"), sent)
    assert problem(reply)["type"] == slug
    assert re.search(rb"nginx/|gunicorn|<html", reply) is None


def test_plain_http_to_the_tls_port_is_malformed(nginx: Nginx) -> None:
    reply = ask(lambda: socket.create_connection(("127.0.0.1", nginx.port), 10), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert problem(reply)["type"] == "malformed"


def test_tls_below_1_3_is_not_spoken(nginx: Nginx, behind: NodeBehind) -> None:
    context = ssl.create_default_context(cafile=behind.var / "pki" / "ca.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", nginx.port), 10) as plain,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(plain, server_hostname="127.0.0.1"),
    ):
        pass


def test_largest_body_and_answer_pass_without_touching_the_disk(nginx: Nginx, behind: NodeBehind) -> None:
    """The folders that they would be written to are gone."""
    own = over_tls(nginx.port, behind.var / "pki", OWN)
    body = b"{}".ljust(65_536)
    head = b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert b'"invalid_request"' in ask(own, head + body)
    document = ask(own, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert len(document) > 65_536
    assert document.rstrip().endswith(b"}")


def test_logs_hold_nothing_of_a_request(nginx: Nginx, behind: NodeBehind) -> None:
    own = over_tls(nginx.port, behind.var / "pki", OWN)
    for sent in (
        f"GET /v1/{CANARY}?id={CANARY} HTTP/1.1\r\nHost: {CANARY}\r\nReferer: {CANARY}\r\nUser-Agent: {CANARY}\r\n",
        f"GET /{CANARY}\x00 HTTP/1.1\r\nHost: x\r\n",
        f"GET / HTTP/1.1\r\nX {CANARY}: y\r\nHost: {CANARY}\x01\r\n",
        f"{CANARY}\r\n",
    ):
        ask(own, f"{sent}Connection: close\r\n\r\n".encode())
    assert nginx.logs().count("\n") > 3
    assert CANARY not in nginx.logs()
    assert OWN not in nginx.logs()


def test_node_that_is_down_is_unavailable_and_its_place_is_not_told(behind: NodeBehind, tmp_path: Path) -> None:
    with running_nginx(tmp_path, tmp_path / "nobody.sock", behind.var / "pki") as alone:
        reply = ask(over_tls(alone.port, behind.var / "pki"), request(CANARY))
        assert (problem(reply)["type"], statuses(reply)) == ("about:blank", (503,))
        assert b"Retry-After: 5" in reply
        assert b"sock" not in reply
        assert CANARY not in alone.logs()
