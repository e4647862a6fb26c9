"""Which failed fetches are retried."""

import json
import logging
import traceback
from collections.abc import Iterable
from contextlib import closing
from email.utils import formatdate
from typing import Any

import pytest

from asyncstream.errors import (
    AsyncstreamError,
    ConnectionClosed,
    ConnectionFailed,
    PageFailed,
    PageNotFound,
    RedirectRefused,
    ServiceBusy,
    SlowDown,
)
from asyncstream.lab.web import RESET, Answer, LabWeb, WebModel, rows_of_page
from asyncstream.locations.urls import interleaved
from asyncstream.web.pages import Page
from tests.conformance.fixture_types import Fetch, FetchAll, Serve
from tests.servers.base import PATIENCE

from .web_origins import FOR_EVER, Listener, RawServer

pytestmark = pytest.mark.loops


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, PageNotFound), (410, PageNotFound), (400, PageFailed), (403, PageFailed), (300, PageFailed),
     (304, PageFailed), (418, PageFailed)],
)  # fmt: skip
def test_what_will_be_no_page_the_next_time_either_fails_at_once(
    fetch: Fetch, serve: Serve, status: int, error: type[PageNotFound | PageFailed]
) -> None:
    origin = serve(page=Answer(status, {}, (), 0))
    with pytest.raises(error, match=str(status)) as caught:
        fetch(f"{origin.urls[0]}/page?key=hidden")
    assert caught.value.status == status
    assert "hidden" not in str(caught.value)
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


@pytest.mark.parametrize(
    ("status", "error"),
    [(408, ServiceBusy), (425, ServiceBusy), (429, SlowDown), (500, ServiceBusy), (502, ServiceBusy),
     (503, SlowDown), (504, ServiceBusy), (599, ServiceBusy)],
)  # fmt: skip
def test_busy_statuses_are_retried_as_often_as_allowed(
    fetch: Fetch, serve: Serve, status: int, error: type[BaseException]
) -> None:
    origin = serve(
        always=Answer.of(b"later", status),
        twice=lambda asked: Answer.of(b"later", status) if asked.nth <= 2 else Answer.of(b"now"),
    )
    page = fetch(f"{origin.urls[0]}/twice")
    assert (page.body, page.attempts) == (b"now", 3)
    origin.reset()
    with pytest.raises(error, match=str(status)):
        fetch(f"{origin.urls[0]}/always", config={"max_attempts": 3})
    assert origin.counts()["requests"] == {"127.0.0.1": 3}


@pytest.mark.parametrize("asked_for", ["100000", formatdate(4e9, usegmt=True)])
def test_a_page_with_too_long_a_retry_after_is_given_up(fetch: Fetch, serve: Serve, asked_for: str) -> None:
    origin = serve(page=Answer.of(b"", 429, Retry_After=asked_for))
    with pytest.raises(SlowDown) as caught:
        fetch(f"{origin.urls[0]}/page")
    assert caught.value.retry_after > 10_000
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


def test_a_page_is_read_from_its_start_after_a_reset(fetch: Fetch, serve: Serve) -> None:
    half = Answer(200, {}, (b"ha", RESET), 4)
    origin = serve(page=lambda asked: half if asked.nth == 1 else Answer.of(b"half"))
    page = fetch(f"{origin.urls[0]}/page")
    assert (page.body, page.attempts) == (b"half", 2)


def test_a_silent_server_is_asked_max_attempts_and_once_more(
    fetch: Fetch, request: pytest.FixtureRequest
) -> None:
    """Once more, because the server may have closed a kept connection; no library retries by itself."""
    asked = []
    server = RawServer(lambda path: asked.append(path) or [])
    request.addfinalizer(server.close)
    with pytest.raises(ConnectionClosed):
        fetch(f"{server.url}/page", config={"max_attempts": 2})
    assert asked == ["/page"] * 3


def test_kept_connections_that_end_cost_no_attempt(fetch: Fetch, request: pytest.FixtureRequest) -> None:
    """The server closes each connection after its reply, without `Connection: close`."""
    paths = []

    def say(path: str) -> list[bytes]:
        paths.append(path)
        if path.startswith("/from"):
            return [f"HTTP/1.1 302 Found\r\nLocation: /to{path[5:]}\r\nContent-Length: 0\r\n\r\n".encode()]
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"]

    server = RawServer(say)
    request.addfinalizer(server.close)
    numbers = range(30)
    pages = fetch(*(f"{server.url}/from{number}" for number in numbers), config={"max_attempts": 1})
    assert [(page.body, page.attempts, page.redirects) for page in pages] == [(b"page", 1, 1)] * 30
    assert paths == [path for number in numbers for path in (f"/from{number}", f"/to{number}")]


def test_many_kept_connections_that_end_cost_no_attempt(
    fetch_all: FetchAll, request: pytest.FixtureRequest
) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /to\r\nContent-Length: 0\r\n\r\n"
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    server = RawServer(lambda path: [page if path == "/to" else moved])
    request.addfinalizer(server.close)
    pages = fetch_all(*(f"{server.url}/{number}" for number in range(40)), config={"max_attempts": 1})
    assert [type(page) for page in pages] == [Page] * 40


def test_what_went_wrong_can_be_logged_with_all_its_causes(
    fetch: Fetch, serve: Serve, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    key = "1" * 20  # no line of code contains it, because tracebacks show lines of code
    silent, closed = RawServer(lambda _: [b""], pause=FOR_EVER), Listener()
    echo = RawServer(lambda path: [f"GET {path} HTTP/1.1\r\n\r\n".encode()])
    told = RawServer(lambda path: [f"Your key is {path.partition('=')[2]}\r\n\r\n".encode()])
    no_header = RawServer(lambda _: [b"HTTP/1.1 200 OK\r\nno header\r\n\r\n"])
    closed.close()
    for server in (silent, echo, told, no_header):
        request.addfinalizer(server.close)
    caplog.set_level(logging.DEBUG)
    good = serve(page=Answer.of(b"")).urls[0]
    assert fetch(f"{good}/page?key={key}").body == b""
    for url, config in (
        (f"{silent.url}/", {"stall_timeout": 0.1}),
        (f"http://127.0.0.1:{closed.port}/", {}),
        ("http://name.invalid/", {}),
        (f"{echo.url}/", {}),
        (f"{told.url}/", {}),
        (f"{no_header.url}/", {}),
        (silent.url, {"allowed_networks": ()}),
    ):
        with pytest.raises(AsyncstreamError) as caught:
            fetch(f"{url}?key={key}", config={"max_attempts": 1, **config})
        causes: list[BaseException] = []
        error: BaseException | None = caught.value
        while error is not None:
            assert error not in causes
            causes.append(error)
            error = error.__cause__
        assert key not in "".join(traceback.format_exception(caught.value))
    assert key not in caplog.text


@pytest.mark.parametrize("length", [5, 50], ids=["cut", "whole"])
@pytest.mark.parametrize(
    ("head", "error", "asked"),
    [
        (b"HTTP/1.1 404 Not Found\r\n", PageNotFound, 1),
        (b"HTTP/1.1 429 Slow Down\r\nRetry-After: 60\r\n", SlowDown, 1),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://elsewhere/\r\n", RedirectRefused, 1),
        (b"HTTP/1.1 302 Found\r\nLocation: /missing\r\n", PageNotFound, 2),
    ],
)
def test_the_body_of_an_error_or_redirect_decides_nothing(
    fetch: Fetch,
    request: pytest.FixtureRequest,
    head: bytes,
    error: type[BaseException],
    asked: int,
    length: int,
) -> None:
    paths = []

    def say(path: str) -> list[bytes]:
        paths.append(path)
        status = b"HTTP/1.1 404 Not Found\r\n" if path == "/missing" else head
        return [status + b"Connection: close\r\nContent-Length: 50\r\n\r\n" + b"x" * length]

    server = RawServer(say)
    request.addfinalizer(server.close)
    with pytest.raises(error):
        fetch(f"{server.url}/", config={"retry_max_wait": 1.0})
    assert len(paths) == asked


def test_a_short_query_does_not_hide_what_went_wrong(fetch: Fetch) -> None:
    with closing(Listener()) as listener:
        url = f"http://127.0.0.1:{listener.port}/?1&e=r"
    with pytest.raises(ConnectionFailed, match=r"refused|Connect call failed"):
        fetch(url, config={"max_attempts": 1})


def test_a_closed_port_is_tried_again_and_given_up(fetch: Fetch) -> None:
    with closing(Listener()) as listener:
        port = listener.port
    with pytest.raises(ConnectionFailed, match=r"refused|111"):
        fetch(f"http://127.0.0.1:{port}/", config={"max_attempts": 2})


def test_each_page_of_a_faulty_web_is_fetched_or_has_an_error(fetch_all: FetchAll) -> None:
    model = WebModel(faults=0.3, seed=1)
    expected = {
        "": {(Page, 1)},
        "slow": {(Page, 1)},
        "busy": {(Page, 2)},
        "reset": {(Page, 2)},
        "missing": {(PageNotFound, 1)},
        "stalled": {(ConnectionFailed, 2)},
    }
    with LabWeb(model, hosts=20) as web:
        urls = interleaved(web.urls(60))
        for stall_timeout in PATIENCE:
            web.reset()
            config = {"stall_timeout": stall_timeout, "max_attempts": 2, "connections_per_host": 2}
            ends = ends_of(model, urls, fetch_all(*urls, config=config))
            if ends == expected:
                break
        counts = web.counts()
    assert ends == expected
    assert len(counts["requests"]) == 20
    assert max(counts["max_at_once"].values()) <= 2


def ends_of(
    model: WebModel, urls: Iterable[str], pages: Iterable[Any]
) -> dict[str, set[tuple[type, int | None]]]:
    """Return the ends of pages with their numbers of attempts, by the page's fault."""
    kinds = ("", "slow", "busy", "reset", "missing", "stalled")
    ends: dict[str, set[tuple[type, int | None]]] = {kind: set() for kind in kinds}
    for url, page in zip(urls, pages, strict=True):
        number = int(url.rpartition("/")[2])
        if isinstance(page, Page):
            assert json.loads(page.body) == rows_of_page(number)
        ends[model.fault(number)].add((type(page), getattr(page, "attempts", None)))
    return ends
