"""Endless bodies, heads and waits: the client leaves them within its limits of bytes and time."""

import gzip
import time
import tracemalloc
from collections.abc import Iterator
from functools import cache
from itertools import chain, repeat

import pytest

from asyncstream.errors import (
    BodyTooLarge,
    ConnectionFailed,
    DeadlineExceeded,
)
from asyncstream.lab.web import RESET, Answer
from tests.conformance.fixture_types import Fetch, Serve
from tests.servers.base import PATIENCE, until

from .web_origins import FOR_EVER, RawServer

pytestmark = pytest.mark.loops


def test_a_body_may_have_max_body_bytes_and_not_one_more(fetch: Fetch, serve: Serve) -> None:
    def page(size: int, packed: int) -> Answer:
        body = gzip.compress(b"x" * size) if packed else b"x" * size
        return Answer(200, {"Content-Encoding": "gzip"} if packed else {}, (body,))

    origin = serve({f"/{size}-{packed}": page(size, packed) for size in (1000, 1001) for packed in (0, 1)})
    limit = {"max_body": 1000}
    for packed in (0, 1):
        assert len(fetch(f"{origin.urls[0]}/1000-{packed}", config=limit).body) == 1000
        with pytest.raises(BodyTooLarge, match="more than the 1000"):
            fetch(f"{origin.urls[0]}/1001-{packed}", config=limit)


def test_a_body_told_to_be_too_long_is_not_waited_for(fetch: Fetch, serve: Serve) -> None:
    origin = serve(page=Answer(200, {}, (FOR_EVER,), 2_000_000))
    with pytest.raises(BodyTooLarge, match="2000000 bytes"):
        fetch(f"{origin.urls[0]}/page")


def test_a_body_without_an_end_is_left_when_it_is_too_long(fetch: Fetch, serve: Serve) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 10_000

    origin = serve(page=Answer(200, {}, endless()))
    with pytest.raises(BodyTooLarge):
        fetch(f"{origin.urls[0]}/page", config={"max_body": 100_000})


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(100_000_000))


def test_a_bomb_costs_no_more_memory_than_a_page(fetch: Fetch, serve: Serve) -> None:
    origin = serve(page=Answer.of(bomb(), Content_Encoding="gzip"), small=Answer.of(b"small"))
    fetch(f"{origin.urls[0]}/small")  # imports the engine's modules, whose memory does not count
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="decompressed"):
            fetch(f"{origin.urls[0]}/page")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, (), 0, delay=FOR_EVER),
        Answer(200, {}, (b"some", FOR_EVER), 100),
        Answer(200, {}, (FOR_EVER,), None),
    ],
    ids=["head", "body", "chunk"],
)
def test_a_server_that_falls_silent_is_left(fetch: Fetch, serve: Serve, answer: Answer) -> None:
    origin = serve(page=answer)
    with pytest.raises(ConnectionFailed):
        fetch(f"{origin.urls[0]}/page", config={"stall_timeout": 0.2, "max_attempts": 2})
    # A busy server may count the requests after the client has left.
    until(lambda: origin.counts()["requests"] == {"127.0.0.1": 2})


OK = b"HTTP/1.1 200 OK\r\n"


def dripping(before: bytes, again: bytes) -> RawServer:
    """Return a server that never falls silent: after `before`, it sends `again` for ever."""
    return RawServer(lambda _: chain([before], repeat(again)), pause=0.02)


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (b"", b"H"),
        (OK, b"x"),
        (OK, b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Content-Length: 10000\r\n\r\n", b"x"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
    ids=["status", "header", "headers", "continue", "body", "chunk size", "trailers"],
)
def test_a_dripping_server_is_left_after_page_timeout(
    fetch: Fetch, request: pytest.FixtureRequest, before: bytes, again: bytes
) -> None:
    """The server never falls silent, so no wait for a single byte times out."""
    server = dripping(before, again)
    request.addfinalizer(server.close)
    with pytest.raises(ConnectionFailed):
        fetch(server.url, config={"page_timeout": 0.3, "max_attempts": 1})


def test_a_head_with_a_long_policy_and_many_cookies_is_read(fetch: Fetch, serve: Serve) -> None:
    headers = {"Content-Security-Policy": "x" * 15_000} | {f"X-Cookie-{n}": "y" * 1000 for n in range(60)}
    origin = serve(page=Answer(200, headers, (b"here",), 4))
    assert fetch(f"{origin.urls[0]}/page").body == b"here"


def test_an_endless_head_is_left_before_it_fills_the_memory(
    fetch: Fetch, request: pytest.FixtureRequest
) -> None:
    server = dripping(OK + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 15_000) for n in range(200)), b"X: y\r\n")
    request.addfinalizer(server.close)
    tracemalloc.start()
    try:
        with pytest.raises(ConnectionFailed, match=r"head|400"):
            fetch(server.url, config={"max_attempts": 1})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000


def test_what_follows_the_last_chunk_without_end_is_left_too(
    fetch: Fetch, request: pytest.FixtureRequest
) -> None:
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\npage\r\n0\r\n"
    said: list[int] = []

    def say(_: object) -> Iterator[bytes]:
        yield head
        while len(said) < 1000:
            said.append(1)
            yield b"X-Trailer: %b\r\n" % (b"y" * 10_000)

    server = RawServer(say)
    request.addfinalizer(server.close)
    with pytest.raises(ConnectionFailed):
        fetch(server.url, config={"max_attempts": 1, "max_body": 1000})
    assert len(said) < 1000


def test_the_error_of_a_page_does_not_keep_its_bytes(fetch: Fetch, serve: Serve) -> None:
    size = 2_000_000  # the libraries' own buffers are a small part of it
    origin = serve(cut=Answer(200, {}, (b"x" * size, RESET), 2 * size), small=Answer.of(b""))
    fetch(f"{origin.urls[0]}/small")  # imports the engine's modules, whose memory does not count
    tracemalloc.start()
    try:
        errors = []
        for _ in range(10):
            with pytest.raises(ConnectionFailed) as caught:
                fetch(f"{origin.urls[0]}/cut", config={"max_attempts": 1, "max_body": 2 * size})
            errors.append(caught.value)
            del caught
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 2 * size


def test_a_page_that_takes_longer_than_the_deadline_fails_by_it(fetch: Fetch, serve: Serve) -> None:
    origin = serve(page=Answer(200, {}, (b"some", FOR_EVER), 100))
    for seconds in PATIENCE:
        end = time.monotonic() + seconds
        with pytest.raises(DeadlineExceeded):
            fetch(f"{origin.urls[0]}/page", left=lambda end=end: end - time.monotonic())
        if origin.counts()["requests"]:
            break
    assert origin.counts()["requests"] == {"127.0.0.1": 1}


def test_no_request_is_sent_after_the_deadline(fetch: Fetch, serve: Serve) -> None:
    origin = serve(page=Answer.of(b""))
    with pytest.raises(DeadlineExceeded):
        fetch(f"{origin.urls[0]}/page", left=lambda: 0.0)
    assert origin.counts()["requests"] == {}
