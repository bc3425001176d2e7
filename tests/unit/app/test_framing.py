"""When a request is worth a thread: once it is there, or once it is clear that it will be refused."""

from __future__ import annotations

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidHeader
from hypothesis import given
from hypothesis import strategies as st

from app.framing import HEAD_BYTES, LINE_BYTES, Arrival, Framing, Parser

LONGEST = 40_000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
PART, WHOLE, OVERLONG = Arrival.PART, Arrival.WHOLE, Arrival.OVERLONG


def lines(*more: bytes) -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in more) + b"\r\n"


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


def arrived(received: bytes) -> Arrival:
    return Framing(LONGEST).arrival(bytearray(received))


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"", PART),
        (HEAD, PART),
        (lines()[:-1], PART),
        (lines(), WHOLE),
        (lines(b"Content-Length: 3"), PART),
        (lines(b"content-length:3") + b"ab", PART),
        (lines(b"CONTENT-LENGTH:  003 ") + b"abc", WHOLE),
        (lines(b"Content-Length: 3") + b"abcGET /next", WHOLE),
        (lines(b"Content-Length: %d" % LONGEST), PART),
        (lines(b"Content-Length: 3", b"Expect: 100-continue"), PART),
        # What will be refused is not waited for.
        (lines(b"Content-Length: %d" % (LONGEST + 1)), WHOLE),
        (lines(b"Content-Length: 1" + b"0" * 30), WHOLE),
        (lines(b"Content-Length: -3"), WHOLE),
        (lines(b"Content-Length: three"), WHOLE),
        (lines(b"X-Content-Length: 3"), WHOLE),
        (b"\r\n\r\n" + lines(), WHOLE),
        (b"x" * (HEAD_BYTES - 1), PART),
        (b"x" * HEAD_BYTES, OVERLONG),
        (b"x" * HEAD_BYTES + b"\r\n\r\n", OVERLONG),
    ],
)
def test_request_is_started_when_head_and_body_are_there(received: bytes, expected: Arrival) -> None:
    assert arrived(received) is expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", PART),
        (b"5\r\na", PART),
        (chunk(b"abc"), PART),
        (chunk(b"abc") + b"0\r\n", PART),
        (chunk(b"abc") + b"0\r\n\r\n", WHOLE),
        (chunk(b"abc", b";a=b") + b"00\r\n\r\nGET", WHOLE),
        (b"0\r\nX-A: b\r\n", PART),
        (b"0\r\nX-A: b\r\n\r\n", WHOLE),
        # A body that holds what looks like its end.
        (b"9\r\n\r\n0\r\n\r\n", PART),
        # As much as is needed to refuse it.
        (chunk(bytes(LONGEST)), PART),
        (chunk(bytes(LONGEST)) + b"9\r\n", PART),
        (chunk(bytes(LONGEST)) + b"9\r\nx", WHOLE),
        (b"fffffffffff\r\n" + bytes(LONGEST), PART),
        (b"fffffffffff\r\n" + bytes(LONGEST + 1), WHOLE),
        # What is no chunk.
        (b"ZZ\r\n", WHOLE),
        (b"\r\n", WHOLE),
        (b"0x5\r\nabcde", WHOLE),
        (b"3\r\nabcde0", WHOLE),
        (b"1;" + b"x" * LINE_BYTES, WHOLE),
        (b"0\r\n" + b"x" * HEAD_BYTES, WHOLE),
        (chunk(b"x", b";" + b"e" * 2_000) * 100, OVERLONG),
    ],
)
def test_chunked_request_is_started_with_its_last_chunk(body: bytes, expected: Arrival) -> None:
    assert arrived(lines(CHUNKED) + body) is expected


@pytest.mark.parametrize(
    "head",
    [
        lines(CHUNKED, b"Content-Length: 9"),
        lines(b"Content-Length: 9", CHUNKED),
        lines(CHUNKED).replace(b"/1.1", b"/1.0"),
        b"\r\n" + lines(CHUNKED).replace(b"/1.1", b"/1.0"),
        lines(b"Transfer-Encoding: gzip"),
    ],
)
def test_coding_that_is_refused_is_refused_at_once(head: bytes) -> None:
    assert arrived(head) is WHOLE
    with pytest.raises(InvalidHeader):
        next(Parser(Config(), iter([head]), ""))


@given(pieces=st.lists(st.binary(min_size=1, max_size=30), max_size=5), chunked=st.booleans(), data=st.data())
def test_request_in_two_pieces_is_started_by_the_second(
    *, pieces: list[bytes], chunked: bool, data: st.DataObject
) -> None:
    """And gunicorn, which has nothing but that, finds all of its body in it."""
    body = b"".join(pieces)
    request = lines(b"Content-Length: %d" % len(body)) + body
    if chunked:
        request = lines(CHUNKED) + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"
    framing, cut = Framing(LONGEST), data.draw(st.integers(0, len(request) - 1))
    assert framing.arrival(bytearray(request[:cut])) is PART
    assert framing.arrival(bytearray(request)) is WHOLE
    assert next(Parser(Config(), iter([request]), "")).body.read() == body


@pytest.mark.parametrize(
    ("head", "asks"),
    [
        (lines(b"expect:100-Continue", b"Content-Length: 3"), True),
        (lines(b"Expect: 100-continue", CHUNKED), True),
        (lines(b"Content-Length: 3"), False),
        (lines(b"Expect: 100-continue"), False),
        (lines(b"Expect: 100-continue", b"Content-Length: %d" % (LONGEST + 1)), False),
        (lines(b"Expect: 100-continue", b"Content-Length: 3").replace(b"/1.1", b"/1.0"), False),
    ],
)
def test_body_is_asked_for_where_one_is_wanted(head: bytes, *, asks: bool) -> None:
    framing = Framing(LONGEST)
    framing.arrival(bytearray(head))
    assert framing.asks is asks
    framing.reset()
    assert not framing.asks


@pytest.mark.parametrize(
    ("request_text", "accepted"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nX-Host: x\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", False),
    ],
)
def test_request_has_one_host(request_text: bytes, *, accepted: bool) -> None:
    """RFC 9112 §3.2."""
    parser = Parser(Config(), iter([request_text]), "")
    if accepted:
        assert next(parser).method == "GET"
    else:
        with pytest.raises(InvalidHeader):
            next(parser)
