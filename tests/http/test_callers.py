"""Who gets in: callers without a certificate, with a wrong one, or with one that has too few rights."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.nodes.consumer import Consumer
from tests.nodes.problems import problem, recorded
from tests.nodes.questions import CLIENT, SERVICE, employment
from tests.nodes.routes import Route, routes
from tests.nodes.running import OwnNode, RunningNode

Consumers = Callable[[str], Consumer]

ALL = list(routes())
CLOSED = [route for route in ALL if not route.public]
OPEN = [route for route in ALL if route.public]


def every(found: list[Route]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("route", found, ids=str)


@every(CLOSED)
def test_nobody_gets_in_without_a_certificate(node: RunningNode, route: Route) -> None:
    before = len(node.rows())
    response = node.nobody().open(route.method, route.path)
    document = problem(response, "certificate-required")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="hecha"'
    assert "instance" not in document
    assert len(node.rows()) == before


@every(OPEN)
def test_public_route_needs_no_certificate(node: RunningNode, route: Route) -> None:
    assert node.nobody().open(route.method, route.path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/metrics", "/readyz", "/log"])
def test_unknown_path_tells_nothing_to_nobody(node: RunningNode, path: str) -> None:
    problem(node.nobody().open("GET", path), "certificate-required")


@pytest.mark.parametrize("pem", ["bad/unregistered", "bad/expired", "server"])
def test_certificate_that_is_no_active_clients_is_not_trusted(node: RunningNode, pem: str) -> None:
    before = len(node.rows())
    response = node.stranger(pem).ask(SERVICE, employment(), Authorization="Bearer x.y.z")
    problem(response, "certificate-not-trusted")
    assert response.headers["WWW-Authenticate"].startswith("Bearer ")
    assert len(node.rows()) == before


@pytest.mark.parametrize("der", [b"", b"\x30\x03\x02\x01\x01", b"-----BEGIN CERTIFICATE-----", bytes(4_096)])
def test_certificate_that_cannot_be_read_is_not_trusted(node: RunningNode, der: bytes) -> None:
    problem(Consumer(node.app, "nobody", der).open("GET", "/v1/services"), "certificate-not-trusted")


def test_altered_certificate_is_not_taken_for_the_registered_one(node: RunningNode, consumer: Consumers) -> None:
    """The node checks its path itself, wherever the handshake took place."""
    good = consumer(CLIENT)
    assert good.certificate is not None
    forged = Consumer(node.app, CLIENT, good.certificate[:-1] + bytes([good.certificate[-1] ^ 1]))
    response = forged.ask(SERVICE, employment(), Authorization=f"Bearer {good.token()}")
    problem(response, "certificate-not-trusted")


@pytest.mark.parametrize(
    "header",
    ["X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Client-Cert", "Ssl-Client-Cert", "Hecha-Peer"],
)
def test_certificate_in_a_header_is_ignored(node: RunningNode, consumer: Consumers, header: str) -> None:
    """A header is what a caller says; `Client-Cert` itself is refused, see tests/http/test_proxy.py."""
    certificate = consumer(CLIENT).certificate
    assert certificate is not None
    value = f":{b64encode(certificate).decode()}:"
    problem(node.nobody().open("GET", "/v1/services", headers={header: value}), "certificate-required")


def test_suspended_client_is_stopped_at_the_door(own_node: OwnNode) -> None:
    def suspend(text: str) -> str:
        return text.replace("- client: hz-hrss-benefits\n", "- client: hz-hrss-benefits\n    suspended: true\n")

    node = own_node({"departments/hz-hrss.yaml": suspend})
    caller = node.consumer(CLIENT)
    problem(caller.form(grant_type="client_credentials", client_id=CLIENT), "certificate-not-trusted")
    problem(caller.ask(SERVICE, employment(), Authorization="Bearer x.y.z"), "certificate-not-trusted")
    assert node.consumer("hz-hrss-review").token()


def test_restricted_department_is_denied_by_its_article(own_node: OwnNode) -> None:
    node = own_node({"departments/hz-hrss.yaml": lambda text: text + "restricted: true\n"})
    response = node.consumer(CLIENT).ask(SERVICE, employment())
    recorded(node, response, "not-permitted")
    assert [(item["rule"], item["basis"]) for item in response.get_json()["reasons"]] == [
        ("department-restricted", ["山东 第二十八条"])
    ]


def test_suspended_provider_is_denied(own_node: OwnNode) -> None:
    node = own_node({"departments/hz-tax.yaml": lambda text: text + "suspended: true\n"})
    response = node.consumer(CLIENT).ask(SERVICE, employment())
    recorded(node, response, "not-permitted")
    assert [item["rule"] for item in response.get_json()["reasons"]] == ["provider-suspended"]


def test_question_from_outside_the_agreed_networks_is_denied(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    headers = {"Authorization": f"Bearer {caller.token()}"}
    path = f"/v1/services/{SERVICE}/verifications"
    for address in ("203.0.113.7", "2001:db8::7", "", "no address"):
        environ = {"REMOTE_ADDR": address}
        response = caller.open("POST", path, json=employment(), headers=headers, environ_overrides=environ)
        recorded(node, response, "not-permitted")
    response = caller.open("POST", path, json=employment(), headers=headers, environ_overrides={"REMOTE_ADDR": "::1"})
    assert response.status_code == 200


def test_forwarded_address_is_ignored(node: RunningNode, consumer: Consumers) -> None:
    caller = consumer(CLIENT)
    headers = {
        "Authorization": f"Bearer {caller.token()}",
        "X-Forwarded-For": "127.0.0.1",
        "Forwarded": "for=127.0.0.1",
    }
    response = caller.open(
        "POST",
        f"/v1/services/{SERVICE}/verifications",
        json=employment(),
        headers=headers,
        environ_overrides={"REMOTE_ADDR": "203.0.113.7"},
    )
    recorded(node, response, "not-permitted")


def test_question_outside_the_agreed_hours_is_denied(own_node: OwnNode) -> None:
    """An hour that is not now, by the clock that the node reads."""
    away = (datetime.now(UTC) + timedelta(hours=8 + 12)).strftime("%H")

    def hours(text: str) -> str:
        return text.replace('from: "00:00", until: "24:00"', f'from: "{away}:00", until: "{away}:59"')

    node = own_node({"agreements/hz-hrss-employment-status-unemployment-benefit.yaml": hours})
    response = node.consumer(CLIENT).ask(SERVICE, employment())
    recorded(node, response, "not-permitted")
    assert [item["rule"] for item in response.get_json()["reasons"]] == ["outside-hours"]
