"""Odd replies, byte for byte: every engine reads or refuses them in the same way."""

from collections.abc import Callable

import pytest

from asyncstream.errors import BodyUnreadable, ConnectionFailed, PageFailed, PageNotFound
from asyncstream.web.pages import Page
from tests.conformance.fixture_types import Fetch

from .web_origins import ALLOWED, RawServer

# Some of the HTTP libraries refuse the reply themselves.
UNREADABLE = (BodyUnreadable, ConnectionFailed)
OK = b"HTTP/1.1 200 OK\r\n"
PAGE = OK + b"Content-Length: 4\r\n\r\npage"
MOVED = b"HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n"


@pytest.fixture
def fetched(fetch: Fetch, request: pytest.FixtureRequest) -> Callable[..., Page]:
    """Fetch a page from a server with this reply; `others` has replies for other paths."""

    def fetched(reply: bytes, **others: bytes) -> Page:
        answers = {"/": reply, **{f"/{path}": answer for path, answer in others.items()}}
        server = RawServer(lambda path: [answers.get(path, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")])
        request.addfinalizer(server.close)
        page: Page = fetch(f"{server.url}/", config={"allowed_networks": ALLOWED, "max_attempts": 1})
        return page

    return fetched


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + PAGE,
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + PAGE,
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + PAGE,
        b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\npage",
        b"HTTP/1.1 200 OK\nContent-Length: 4\n\npage",
        b"HTTP/1.0 200 OK\r\n\r\npage",
        OK + b"X-Folded: a\r\n b\r\nContent-Length: 4\r\n\r\npage",
        OK + b"Transfer-Encoding: identity\r\n\r\npage",
        OK + b"Transfer-Encoding: Chunked\r\n\r\n4;name=value\r\npage\r\n0\r\nX-Trailer: 1\r\n\r\n",
    ],
    ids=[
        "100",
        "103",
        "several",
        "no reason",
        "line feeds",
        "1.0",
        "folded",
        "identity",
        "extension, trailer",
    ],
)
def test_a_page_is_read_however_old_or_new_its_server(fetched: Callable[..., Page], reply: bytes) -> None:
    assert fetched(reply).body == b"page"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n", PageFailed),
        (OK + b"Content-Length: 4\r\nContent-Length: 6\r\n\r\npage", ConnectionFailed),
        (OK + b"Content-Length: -4\r\n\r\npage", UNREADABLE),
        (OK + b"Content-Length: 0x4\r\n\r\npage", UNREADABLE),
        (OK + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n4\r\npage\r\n0\r\n\r\n", UNREADABLE),
        (OK + b"No header\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npage\r\n0\r\n\r\n", ConnectionFailed),
        (OK + b" folded\r\nContent-Length: 4\r\n\r\npage", ConnectionFailed),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n4\r\npage\r\n0\r\n\r\n", BodyUnreadable),
        (OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 4\r\n\r\npage", BodyUnreadable),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\npage\r\n0\r\n\r\n", ConnectionFailed),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n-4\r\npage\r\n0\r\n\r\n", ConnectionFailed),
        (b"HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\npage", ConnectionFailed),
        (b"<html>page", ConnectionFailed),
    ],
    ids=[
        "101",
        "two lengths",
        "negative length",
        "length in hex",
        "length and chunks",
        "no header",
        "folded first",
        "packed for the way",
        "packed twice",
        "no size",
        "negative size",
        "status",
        "0.9",
    ],
)
def test_what_cannot_be_understood_is_no_page(
    fetched: Callable[..., Page], reply: bytes, error: type[BaseException] | tuple[type[BaseException], ...]
) -> None:
    with pytest.raises(error):
        fetched(reply)


HEAD = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"X: y\r\nContent-Length: 300\r\n"


@pytest.mark.parametrize(
    "cut",
    [
        *(b"HTTP/1.1 10", b"HTTP/1.1 103 Early Hints\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n"),
        *(HEAD[: HEAD.index(OK) + 11], HEAD[: HEAD.index(b"X: y")], HEAD[:-3], HEAD, HEAD + b"\r"),
    ],
    ids=["103", "after 103", "103's headers", "status", "after it", "length", "blank line", "within it"],
)
def test_a_head_that_is_cut_is_a_broken_connection(fetched: Callable[..., Page], cut: bytes) -> None:
    with pytest.raises(ConnectionFailed):
        fetched(cut)


@pytest.mark.parametrize(
    ("location", "path"),
    [(b"/caf\xc3\xa9", "caf%C3%A9"), (b"/caf\xe9", "caf%C3%A9"), (b"/a b", "a%20b")],
    ids=["UTF-8", "Latin-1", "space"],
)
def test_a_redirect_in_any_encoding_leads_to_the_same_page(
    fetched: Callable[..., Page], location: bytes, path: str
) -> None:
    page = fetched(MOVED + b"Location: " + location + b"\r\n\r\n", **{path: PAGE})
    assert page.url.endswith(f"/{path}")


@pytest.mark.parametrize("head", [b"", b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_204_reply_has_no_body_despite_its_head(fetched: Callable[..., Page], head: bytes) -> None:
    assert fetched(b"HTTP/1.1 204 No Content\r\n" + head + b"\r\n").body == b""


def test_two_targets_of_a_redirect_are_none(fetched: Callable[..., Page]) -> None:
    with pytest.raises(PageNotFound):
        fetched(MOVED + b"Location: /a\r\nLocation: /b\r\n\r\n", a=PAGE, b=PAGE)


def test_odd_headers_become_text_and_repeated_ones_are_joined(
    fetched: Callable[..., Page],
) -> None:
    told = b'ETag: "\xe9"\r\nX-Name: caf\xc3\xa9\r\nVary: a\r\nvary: b\r\nContent-Length: 4\r\n\r\npage'
    headers = fetched(OK + told).headers
    assert (headers["etag"], headers["x-name"], headers["vary"]) == ('"é"', "café", "a, b")
