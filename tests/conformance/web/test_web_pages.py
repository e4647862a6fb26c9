"""Requests for pages, framed and compressed bodies, attributes of pages, and spans."""

import gzip

import pytest

from asyncstream.errors import (
    BodyUnreadable,
    PageNotFound,
    TruncatedBody,
)
from asyncstream.lab.web import CLOSE, Answer
from asyncstream.lab.web.server import Asked
from asyncstream.version import __version__
from tests.conformance.fixture_types import Fetch, Serve

from .web_origins import KeptSpan, RawServer


def test_a_page_comes_with_what_the_server_told_of_it(fetch: Fetch, serve: Serve) -> None:
    told = {"Content-Type": "text/html; charset=iso-8859-1", "ETag": '"1"', "Set-Cookie": "secret=1"}
    origin = serve(page=Answer(200, told, (b"caf\xe9",), 4))
    page = fetch(f"{origin.urls[0]}/page?q=1#part")
    assert (page.status, page.body, page.text, page.content_type) == (200, b"caf\xe9", "café", "text/html")
    assert (page.asked, page.url) == (f"{origin.urls[0]}/page?q=1#part", f"{origin.urls[0]}/page?q=1")
    assert (page.etag, page.attempts, page.redirects) == ('"1"', 1, 0)
    assert "set-cookie" not in page.headers


def test_what_is_asked_says_who_asks_and_no_more(fetch: Fetch, serve: Serve) -> None:
    asked = []

    def answer(request: Asked) -> Answer:
        asked.append(request.headers)
        return Answer.of(b"", Set_Cookie="a=b")

    origin = serve(page=answer)
    fetch(f"{origin.urls[0]}/page", f"{origin.urls[0]}/page")
    host = origin.urls[0].removeprefix("http://")
    assert asked == 2 * [
        {
            "host": host,
            "accept": "*/*",
            "accept-encoding": "gzip",
            "user-agent": f"asyncstream/{__version__}",
        }
    ]


def test_what_is_sent_is_the_url_in_its_normal_form(fetch: Fetch, request: pytest.FixtureRequest) -> None:
    paths = [
        "/a%2fb/é",
        "/a//b/../c",
        "//h/x",
        "/[x]",
        "/?a[]=1&b=%2f+c",
        "/%zz",
        "/a'b(c)!*$;d=e,f",
        "/a?b?c",
    ]
    asked = []

    def say(path: str) -> list[bytes]:
        asked.append(path)
        return [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"]

    server = RawServer(say)
    request.addfinalizer(server.close)
    pages = fetch(*(server.url + path for path in paths))
    assert asked == [page.url.removeprefix(server.url) for page in pages]
    assert asked[:2] == ["/a%2Fb/%C3%A9", "/a//b/../c"]


@pytest.mark.parametrize("length", [10_000, None])
@pytest.mark.parametrize("packed", [False, True])
def test_a_body_is_whole_however_it_is_framed_and_packed(
    fetch: Fetch, serve: Serve, length: int | None, packed: bool
) -> None:
    body = b"0123456789" * 1000
    sent = gzip.compress(body) if packed else body
    headers = {"Content-Encoding": "gzip"} if packed else {}
    pieces = tuple(sent[at : at + 7] for at in range(0, len(sent), 7))
    origin = serve(page=Answer(200, headers, pieces, len(sent) if length else None))
    assert fetch(f"{origin.urls[0]}/page").body == body


def test_gzip_of_several_members_is_one_body(fetch: Fetch, serve: Serve) -> None:
    sent = gzip.compress(b"one,") + gzip.compress(b"two")
    origin = serve(page=Answer.of(sent, Content_Encoding="gzip"))
    assert fetch(f"{origin.urls[0]}/page").body == b"one,two"


def test_a_connection_is_reused_after_pages_and_redirects(fetch: Fetch, serve: Serve) -> None:
    """It is reused after short errors, too."""
    origin = serve(
        page=Answer.of(b"x" * 1000),
        moved=Answer.of(b"over there", 302, Location="/page"),
        busy=lambda asked: Answer.of(b"busy", 503) if asked.nth == 1 else Answer.of(b""),
    )
    base = origin.urls[0]
    fetch(f"{base}/page", f"{base}/moved", f"{base}/busy", f"{base}/page")
    assert origin.counts()["connections"] == {"127.0.0.1": 1}


@pytest.mark.parametrize("length", [100, None])
def test_a_body_that_ends_too_early_is_no_page(fetch: Fetch, serve: Serve, length: int | None) -> None:
    origin = serve(page=Answer(200, {}, (b"short", CLOSE), length))
    with pytest.raises(TruncatedBody):
        fetch(f"{origin.urls[0]}/page", config={"max_attempts": 2})
    assert origin.counts()["requests"] == {"127.0.0.1": 2}


def test_a_gzip_that_ends_too_early_is_no_page(fetch: Fetch, serve: Serve) -> None:
    sent = gzip.compress(b"x" * 1000)[:-9]
    origin = serve(page=Answer.of(sent, Content_Encoding="gzip"))
    with pytest.raises(TruncatedBody, match="before the gzip in it did"):
        fetch(f"{origin.urls[0]}/page", config={"max_attempts": 1})


@pytest.mark.parametrize(
    ("encoding", "body", "told"),
    [("gzip", b"no gzip", "not gzip"), ("br", b"x", "'br'"), ("gzip, gzip", b"x", "'gzip, gzip'"),
     ("deflate", b"x", "'deflate'"), ("gzip", gzip.compress(b"") * 1001, "1000 gzip members")],
)  # fmt: skip
def test_a_body_in_another_encoding_is_refused_by_name(
    fetch: Fetch, serve: Serve, encoding: str, body: bytes, told: str
) -> None:
    """So is a body that does not match its encoding."""
    origin = serve(page=Answer.of(body, Content_Encoding=encoding))
    with pytest.raises(BodyUnreadable, match=told):
        fetch(f"{origin.urls[0]}/page")
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


def test_each_fetch_has_a_span_that_tells_what_it_took(fetch: Fetch, serve: Serve) -> None:
    origin = serve(
        page=Answer.of(b"12345"),
        old=lambda asked: Answer.of(b"", 503) if asked.nth == 1 else Answer.of(b"", 302, Location="/page"),
    )
    span = KeptSpan()
    fetch(f"{origin.urls[0]}/old", span=span)
    [child] = span.children
    assert child.name == "fetch"
    assert child.annotations == {
        "host": "127.0.0.1", "attempts": 2, "status": 200, "redirects": 1, "bytes": 5
    }  # fmt: skip


def test_the_span_of_a_fetch_that_failed_tells_why(fetch: Fetch, serve: Serve) -> None:
    span = KeptSpan()
    with pytest.raises(PageNotFound) as caught:
        fetch(f"{serve().urls[0]}/", span=span)
    assert span.children[0].error is caught.value


def test_an_origins_headers_are_sent_to_no_other_origin(fetch: Fetch, serve: Serve) -> None:
    """A redirect within the origin sends them again."""
    asked = []
    other = serve(page=lambda request: asked.append(request.headers) or Answer.of(b"the other's"))
    away = Answer(302, {"Location": f"{other.urls[0]}/page"}, (), 0)
    origin = serve(
        page=lambda request: asked.append(request.headers) or Answer.of(b"its"),
        near=Answer(302, {"Location": "/page"}, (), 0),
        away=lambda request: asked.append(request.headers) or away,
    )
    config = {"headers": {origin.urls[0]: {"X-Api-Key": "k1", "accept": "application/json"}}}
    pages = fetch(f"{origin.urls[0]}/near", f"{origin.urls[0]}/away", config=config)
    assert [page.body for page in pages] == [b"its", b"the other's"]
    told = [{name.lower(): value for name, value in headers.items()} for headers in asked]
    assert [headers.get("x-api-key") for headers in told] == ["k1", "k1", None]
    assert [headers["accept"] for headers in told] == ["application/json", "application/json", "*/*"]
