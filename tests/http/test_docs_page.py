"""/docs: everything it loads comes from the node itself, and nothing else of the file system does."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest

from tests.nodes.problems import problem
from tests.nodes.running import RunningNode

HOST = "https://node.example"


class Links(HTMLParser):
    """Every address that a page loads or links to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what the tag refers to."""
        self.found += [value for name, value in attrs if name in {"src", "href", "action", "data"} and value]


@pytest.fixture(scope="module")
def page(node: RunningNode) -> str:
    response = node.nobody().open("GET", "/docs")
    assert response.status_code == 200
    assert response.mimetype == "text/html"
    return response.text


def test_page_refers_to_no_other_host(page: str) -> None:
    links = Links()
    links.feed(page)
    assert links.found
    urls = links.found + re.findall(r"""url\s*[:(]\s*["']?([^"')\s,]+)""", page)
    assert {urlsplit(urljoin(f"{HOST}/docs", url)).netloc for url in urls} == {urlsplit(HOST).netloc}
    assert not re.findall(r"https?://", page)


def test_every_file_of_the_page_is_served(node: RunningNode, page: str) -> None:
    links = Links()
    links.feed(page)
    for link in links.found:
        response = node.nobody().open("GET", urljoin("/docs", link))
        assert response.status_code == 200, link
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_page_asks_no_validator_and_loads_the_document_of_this_node(page: str) -> None:
    assert '"validatorUrl": null' in page
    assert re.search(r'url:\s*"/openapi.json"', page)


def test_browser_is_told_to_load_nothing_from_elsewhere(node: RunningNode) -> None:
    policy = node.nobody().open("GET", "/docs").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")
    assert not re.search(r"https?:|\*", policy)


@pytest.mark.parametrize(
    "name",
    ["../__init__.py", "%2e%2e/__init__.py", "..%2f__init__.py", "/etc/passwd", "%2fetc%2fpasswd", "no-such-file.js"],
)
def test_no_other_file_can_be_read(node: RunningNode, name: str) -> None:
    response = node.nobody().open("GET", f"/docs/static/{name}")
    assert response.status_code in {401, 404}
    problem(response, "not-found" if response.status_code == 404 else "certificate-required")


def test_impossible_range_is_the_callers_fault(node: RunningNode) -> None:
    headers = {"Range": "bytes=999999999-"}
    problem(node.nobody().open("GET", "/docs/static/swagger-ui.css", headers=headers), "malformed")
