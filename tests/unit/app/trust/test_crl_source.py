from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from app.trust import crl_source as module
from app.trust.crl_source import Unreachable, UrlSource
from tests.unit.app.trust.list_server import Published, list_server


@pytest.fixture
def published() -> Iterator[Published]:
    with list_server() as found:
        found.content = b"a list"
        yield found


@pytest.fixture
def source(published: Published) -> Iterator[UrlSource]:
    found = UrlSource(published.url)
    yield found
    found.close()


def test_list_is_fetched_as_it_stands(published: Published, source: UrlSource) -> None:
    assert source.fetch() == b"a list"
    assert published.asked[0]["Accept-Encoding"] == "identity"
    assert "If-None-Match" not in published.asked[0]


def test_unchanged_list_is_not_sent_again(published: Published, source: UrlSource) -> None:
    published.etag = '"1"'
    assert source.fetch() == b"a list"
    assert source.fetch() is None
    published.etag, published.content = '"2"', b"another"
    assert source.fetch() == b"another"
    assert [asked.get("If-None-Match") for asked in published.asked] == [None, '"1"', '"1"']


def test_forgotten_list_is_sent_again(published: Published, source: UrlSource) -> None:
    published.etag = '"1"'
    source.fetch()
    source.forget()
    assert source.fetch() == b"a list"


def test_unasked_304_is_no_answer(published: Published, source: UrlSource) -> None:
    published.status, published.content = 304, b""
    with pytest.raises(Unreachable, match="status 304"):
        source.fetch()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(published: Published, source: UrlSource, status: int) -> None:
    published.status, published.headers = status, {"Location": published.url + "2"}
    with pytest.raises(Unreachable, match=f"status {status}"):
        source.fetch()
    assert [asked["path"] for asked in published.asked] == ["/ca.crl"]


@pytest.mark.parametrize("status", [204, 206, 404, 500])
def test_other_answers_are_no_list(published: Published, source: UrlSource, status: int) -> None:
    published.status = status
    published.content = b"" if status == 204 else b"a list"
    with pytest.raises(Unreachable, match=f"status {status}"):
        source.fetch()


def test_list_beyond_size_is_refused(
    published: Published, source: UrlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    published.content = bytes(100_000)
    assert source.fetch() == bytes(100_000)
    published.content = bytes(100_001)
    with pytest.raises(Unreachable, match="more than 100000 bytes"):
        source.fetch()


def test_list_cut_short_is_refused_and_fetched_whole_the_next_time(published: Published, source: UrlSource) -> None:
    published.etag, published.length = '"1"', 100
    with pytest.raises(Unreachable, match="ProtocolError"):
        source.fetch()
    published.length = None
    assert source.fetch() == b"a list"


def test_compressed_list_is_not_unpacked(published: Published, source: UrlSource) -> None:
    """What is unpacked may be a thousand times larger."""
    published.headers = {"Content-Encoding": "gzip"}
    assert source.fetch() == b"a list"


def test_server_that_hangs_is_given_up(
    published: Published, source: UrlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    published.hangs.set()
    hurried = UrlSource(published.url)
    with pytest.raises(Unreachable, match="ReadTimeoutError"):
        hurried.fetch()
    hurried.close()


def test_server_that_drips_is_given_up(
    published: Published, source: UrlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FETCH_S", -1.0)
    with pytest.raises(Unreachable, match="took longer"):
        source.fetch()


def test_server_that_is_gone_is_told_without_its_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    source = UrlSource(f"http://127.0.0.1:{port}/ca.crl?secret=1")
    with pytest.raises(Unreachable) as refused:
        source.fetch()
    assert "secret" not in str(refused.value)
    source.close()


def test_proxy_of_the_environment_is_not_used(
    published: Published, source: UrlSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert UrlSource(published.url).fetch() == b"a list"
    assert published.asked[0]["path"] == "/ca.crl"


def test_name_shows_no_query_and_tells_two_apart() -> None:
    one, two = (UrlSource(f"https://ca.example/list.crl?key={key}").name for key in ("a", "b"))
    assert one.startswith("https://ca.example/list.crl?sha256-")
    assert one != two
    assert UrlSource("http://ca.example/list.crl").name == "http://ca.example/list.crl"
