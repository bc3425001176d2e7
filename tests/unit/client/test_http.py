from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from client import http
from client.errors import NodeUnreachable, ReplyNotUnderstood, RequestRefused, TokenRefused
from client.http import NodeClient
from tests.unit.client.servers import Asked, HttpsServer, MemoryNode, Told, told
from tests.unit.evidence.issuer import QUESTION, SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.pki import Pki


def connect(url: str, pki: Pki, **settings: Any) -> NodeClient:
    settings = {
        "ca": pki.ca,
        "certificate": pki.client.certificate,
        "key": pki.client.key,
        "client_id": "hz-hrss-benefits",
        "timeout_s": 5.0,
        **settings,
    }
    return NodeClient(url, **settings)


def token_then(answer: Callable[[Asked], Told]) -> Callable[[Asked], Told]:
    def both(asked: Asked) -> Told:
        if asked.path == "/oauth2/token":
            return told(200, {"access_token": "good", "expires_in": 300})
        return answer(asked)

    return both


def test_nothing_listening_is_said_plainly(pki: Pki) -> None:
    with HttpsServer(pki, lambda _: Told(200)) as gone:
        url = gone.url
    with connect(url, pki) as client, pytest.raises(NodeUnreachable, match="no connection is accepted"):
        client.get("/livez")


def test_question_is_posted_as_compact_json_under_the_token(server: HttpsServer, node: MemoryNode, pki: Pki) -> None:
    with connect(server.url, pki) as client:
        reply = client.ask(SERVICE, QUESTION, "key-1")
    assert (reply.status, reply.body["result"]) == (200, "match")
    assert reply.headers["content-type"] == "application/json"
    token, asked = server.asked
    assert (token.method, token.path) == ("POST", "/oauth2/token")
    assert token.body == b"grant_type=client_credentials&client_id=hz-hrss-benefits"
    assert (asked.method, asked.path) == ("POST", f"/v1/services/{SERVICE}/verifications")
    assert asked.body == orjson.dumps(QUESTION)
    assert asked.headers["authorization"] == "Bearer good"
    assert asked.headers["idempotency-key"] == "key-1"


def test_problem_document_is_a_reply_and_no_error(server: HttpsServer, node: MemoryNode, pki: Pki) -> None:
    node.members = {"decision": "deny", "state": "not-permitted"}
    with connect(server.url, pki) as client:
        reply = client.ask(SERVICE, QUESTION)
    assert (reply.status, reply.body["type"]) == (403, "not-permitted")
    assert "idempotency-key" not in server.asked[-1].headers


def test_service_name_cannot_leave_its_place_in_the_path(server: HttpsServer, pki: Pki) -> None:
    with connect(server.url, pki) as client:
        client.ask("../x?y#z/", QUESTION)
    assert server.asked[-1].path == "/v1/services/..%2Fx%3Fy%23z%2F/verifications"


def test_token_is_asked_for_once_and_renewed_a_minute_before_its_end(server: HttpsServer, pki: Pki) -> None:
    now = [1_000.0]
    with connect(server.url, pki, clock=lambda: now[0]) as client:
        assert client.token() == client.token() == "good"
        now[0] += 239.9
        client.token()
        assert len(server.asked) == 1
        now[0] += 0.2
        client.token()
        assert len(server.asked) == 2


def test_token_for_a_scope_is_kept_apart(server: HttpsServer, pki: Pki) -> None:
    with connect(server.url, pki) as client:
        client.token()
        client.token("verify:employment-status audit")
        client.token("verify:employment-status audit")
    assert [asked.body.partition(b"&scope=")[2] for asked in server.asked] == [
        b"",
        b"verify%3Aemployment-status+audit",
    ]


def test_threads_that_need_a_token_together_ask_for_one(server: HttpsServer, pki: Pki) -> None:
    start = threading.Barrier(8)
    with connect(server.url, pki, maxsize=4) as client, ThreadPoolExecutor(8) as pool:

        def ask() -> int:
            start.wait()
            return client.ask(SERVICE, QUESTION).status

        assert {future.result() for future in [pool.submit(ask) for _ in range(8)]} == {200}
    assert [asked.path for asked in server.asked].count("/oauth2/token") == 1
    assert len({asked.connection for asked in server.asked}) <= 4


def test_connection_is_kept_between_requests(server: HttpsServer, pki: Pki) -> None:
    with connect(server.url, pki) as client:
        for _ in range(5):
            client.ask(SERVICE, QUESTION)
    assert len({asked.connection for asked in server.asked}) == 1


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (told(401, {"error": "invalid_client", "error_description": "another certificate"}), "invalid_client"),
        (told(403, {"title": "Forbidden", "detail": "not registered"}), "not registered"),
        (Told(500, b"<html>"), "HTTP 500"),
        (told(200, {"expires_in": 300}), "no access token"),
        (told(200, {"access_token": "", "expires_in": 300}), "no access token"),
        (told(200, {"access_token": "x", "expires_in": "300"}), "no access token"),
        (told(200, {"access_token": "x", "expires_in": True}), "no access token"),
    ],
)
def test_refused_token_says_why(pki: Pki, reply: Told, says: str) -> None:
    with (
        HttpsServer(pki, lambda _: reply) as server,
        connect(server.url, pki) as client,
        pytest.raises(TokenRefused, match=says),
    ):
        client.ask(SERVICE, QUESTION)
    assert len(server.asked) == 1


def test_public_documents_are_read_without_a_token(server: HttpsServer, node: MemoryNode, pki: Pki) -> None:
    with connect(server.url, pki) as client:
        assert client.get("/.well-known/jwks.json").body == {"keys": [node.issuer.jwk]}
    assert [asked.path for asked in server.asked] == ["/.well-known/jwks.json"]
    assert "authorization" not in server.asked[0].headers


def test_bytes_are_read_with_the_media_type_asked_for(server: HttpsServer, node: MemoryNode, pki: Pki) -> None:
    with connect(server.url, pki) as client:
        assert client.get_bytes("/log/checkpoint", "text/plain").decode() == node.issuer.checkpoint()
    assert server.asked[-1].headers["accept"] == "text/plain"


def test_refused_bytes_carry_their_status(server: HttpsServer, pki: Pki) -> None:
    with connect(server.url, pki) as client, pytest.raises(RequestRefused, match="no such thing") as caught:
        client.get_bytes("/log/nothing")
    assert caught.value.status == 404


def test_redirect_to_another_host_is_not_followed(pki: Pki) -> None:
    target = told(307, {"title": "elsewhere"}, Location="https://attacker.example/")
    with HttpsServer(pki, token_then(lambda _: target)) as server, connect(server.url, pki) as client:
        assert client.ask(SERVICE, QUESTION).status == 307
    assert len(server.asked) == 2


def test_proxy_of_the_environment_is_not_used(server: HttpsServer, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    with connect(server.url, pki) as client:
        assert client.ask(SERVICE, QUESTION).status == 200


def test_node_of_another_authority_is_refused(pki: Pki, foreign_pki: Pki) -> None:
    with (
        HttpsServer(foreign_pki, lambda _: Told(200, b"{}")) as server,
        connect(server.url, pki) as client,
        pytest.raises(NodeUnreachable, match="certificate"),
    ):
        client.get("/livez")
    assert server.asked == []


def test_authorities_of_the_system_are_not_trusted(
    pki: Pki, foreign_pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(foreign_pki.ca))
    with (
        HttpsServer(foreign_pki, lambda _: Told(200, b"{}")) as server,
        connect(server.url, pki) as client,
        pytest.raises(NodeUnreachable, match="certificate"),
    ):
        client.get("/livez")


def test_client_certificate_of_another_authority_is_refused_by_the_node(pki: Pki, foreign_pki: Pki) -> None:
    with (
        HttpsServer(pki, lambda _: Told(200, b"{}")) as server,
        connect(server.url, pki, certificate=foreign_pki.client.certificate, key=foreign_pki.client.key) as client,
        pytest.raises(NodeUnreachable, match="perhaps over the client certificate"),
    ):
        client.get("/livez")
    assert server.asked == []


def test_name_that_nobody_knows_is_said_plainly(pki: Pki) -> None:
    with (
        connect("https://no-such-node.invalid", pki) as client,
        pytest.raises(NodeUnreachable, match="name is not known"),
    ):
        client.get("/.well-known/jwks.json")


def test_node_under_another_host_name_is_refused(server: HttpsServer, pki: Pki) -> None:
    with (
        connect(server.url.replace("127.0.0.1", "localhost"), pki) as client,
        pytest.raises(NodeUnreachable, match="localhost"),
    ):
        client.get("/livez")


def test_node_that_speaks_only_tls_1_2_is_refused(pki: Pki) -> None:
    with (
        HttpsServer(pki, lambda _: Told(200, b"{}"), newest=ssl.TLSVersion.TLSv1_2) as server,
        connect(server.url, pki) as client,
        pytest.raises(NodeUnreachable),
    ):
        client.get("/livez")


def test_node_that_does_not_answer_in_time_is_unreachable_and_not_asked_again(pki: Pki) -> None:
    held = threading.Event()

    def hold(_: Asked) -> Told:
        held.wait(5)
        return Told(200, b"{}")

    with HttpsServer(pki, token_then(hold)) as server, connect(server.url, pki, timeout_s=0.3) as client:
        with pytest.raises(NodeUnreachable, match="does not answer in time"):
            client.ask(SERVICE, QUESTION)
        held.set()
    assert len(server.asked) == 2


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"x"', b"\xff"])
def test_reply_that_is_no_json_object_is_not_understood(pki: Pki, body: bytes) -> None:
    with (
        HttpsServer(pki, token_then(lambda _: Told(200, body))) as server,
        connect(server.url, pki) as client,
        pytest.raises(ReplyNotUnderstood, match="not a JSON object"),
    ):
        client.ask(SERVICE, QUESTION)


def test_reply_that_cannot_be_unpacked_is_not_understood(pki: Pki) -> None:
    junk = Told(200, b"no gzip", {"Content-Encoding": "gzip"})
    with (
        HttpsServer(pki, token_then(lambda _: junk)) as server,
        connect(server.url, pki) as client,
        pytest.raises(ReplyNotUnderstood, match="unpacked"),
    ):
        client.ask(SERVICE, QUESTION)


def test_closed_client_asks_nothing(server: HttpsServer, pki: Pki) -> None:
    client = connect(server.url, pki)
    client.close()
    with pytest.raises(NodeUnreachable, match="closed"):
        client.get("/livez")
    assert server.asked == []


def test_reply_without_end_is_cut_off(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REPLY", 1_000)
    long = token_then(lambda _: Told(200, bytes(1_001)))
    with HttpsServer(pki, long) as server, connect(server.url, pki) as client:
        with pytest.raises(ReplyNotUnderstood, match="larger"):
            client.get_bytes("/log/tile/0/000")
        server.answer = token_then(lambda _: Told(200, bytes(1_000)))
        assert len(client.get_bytes("/log/tile/0/000")) == 1_000


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://127.0.0.1:8443",
        "127.0.0.1:8443",
        "https://",
        "https://user:secret@127.0.0.1",
        "https://127.0.0.1/path",
        "https://127.0.0.1/?q",
        "https://[::1",
    ],
)
def test_base_url_that_is_no_https_origin_is_refused(pki: Pki, url: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        connect(url, pki)


def test_base_url_may_be_an_ipv6_address(pki: Pki) -> None:
    with connect("https://[::1]:1", pki) as client:
        assert client.base_url == "https://[::1]:1"
        with pytest.raises(NodeUnreachable):
            client.get("/.well-known/jwks.json")


def test_base_url_may_end_in_a_slash_and_leave_out_the_port(pki: Pki) -> None:
    assert connect("https://hz-tax.example/", pki).base_url == "https://hz-tax.example:443"
