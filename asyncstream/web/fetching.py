"""`Fetcher`: fetch the page of a URL within limits, the same for all engines.

This module and the functions that it calls handle redirects, retries, limits and the meaning of replies. The
libraries behind `ports.Http` send one request to one host.
"""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from io import BytesIO

from msgspec.structs import replace

from asyncstream.deadline import NO_DEADLINE
from asyncstream.errors import (
    AsyncstreamError,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    RedirectRefused,
)
from asyncstream.locations.urls import Url, parse_url
from asyncstream.ports import Span, TimeLeft, for_ever
from asyncstream.retry import Retrying
from asyncstream.tracing.spans import UNTRACED
from asyncstream.units import KiB
from asyncstream.web.config import FetchConfig
from asyncstream.web.decoding import ACCEPTED, check_framing, decoder_for
from asyncstream.web.page_replies import check_length, failure, redirect_target, too_large
from asyncstream.web.pages import Page
from asyncstream.web.ports import Host, Http, Reply

# An unwanted body of at most this many bytes is read to its end, since a new connection costs more.
_DRAINED = 16 * KiB


class Fetcher:
    """Fetches pages; any number of workers may use it at once.

    Args:
        http: the adapter of an HTTP library; see `open_fetcher`.
        config: the limits for pages, and the headers to send.
        sleep: the engine's sleep function, in seconds.
    """

    def __init__(self, http: Http, config: FetchConfig, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._http = http
        self._config = config
        # `fetch` passes each page's deadline as `left`. A gathering that stops makes `left` return 0.
        self._retrying = Retrying(config.retry_policy, NO_DEADLINE, sleep)
        self._headers = {"Accept": "*/*", "Accept-Encoding": ACCEPTED, "User-Agent": config.user_agent}

    async def fetch(self, url: str, *, left: TimeLeft = for_ever, span: Span = UNTRACED) -> Page:
        """Fetch a page, retrying as often as `FetchConfig` allows.

        Args:
            url: the URL of the page.
            left: returns the seconds until the deadline.
            span: the trace span of the page; gets a child span.

        Raises:
            InputError: the URL is not the URL of a page; no request was sent.
            AddressRefused, RedirectRefused: the URL, or its redirect, must not be requested.
            HostNotFound, ServerNotTrusted, PageNotFound, PageFailed: the page cannot be fetched.
            BodyTooLarge, BodyUnreadable: the body cannot be read.
            ServiceBusy, ConnectionFailed: every attempt failed.
            DeadlineExceeded: the deadline passed first.
        """
        parsed = parse_url(url)
        with span.child("fetch", host=parsed.host) as tracing:
            attempts = 0

            async def once() -> Page:
                nonlocal attempts
                attempts += 1
                tracing.annotate(attempts=attempts)
                return await self._follow(parsed, left)

            try:
                page = await self._retrying.run(once, left=left)
            except AsyncstreamError as error:
                error.attempts = attempts
                if error.retryable and left() <= 0:
                    raise DeadlineExceeded(f"{parsed}: the deadline passed, after: {error}") from error
                raise
            tracing.annotate(status=page.status, redirects=page.redirects, bytes=len(page.body))
            return replace(page, asked=url, attempts=attempts)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    def _request_headers(self, url: Url, more: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers of every request, those of this request, and those for this origin alone."""
        own = self._config.headers.get(url.origin, {})
        named = {name.lower() for name in own}
        usual = {**self._headers, **more}
        return {name: value for name, value in usual.items() if name.lower() not in named} | own

    async def _follow(self, start: Url, left: TimeLeft) -> Page:
        """Make one attempt: follow redirects from the URL to the page, and read it."""
        seconds = self._config.page_timeout
        async with self._follow_redirects(start, left, {}, seconds) as (reply, url, redirects):
            return await self._page(reply, url, redirects)

    @asynccontextmanager
    async def reach(
        self, start: Url, left: TimeLeft, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[Reply, Url]]:
        """Make one attempt: follow redirects from the URL to a reply with a file.

        The caller reads its body. It occupies the connection until the context is left.

        Args:
            start: the URL.
            left: returns the seconds until the deadline.
            headers: headers of the request, beside those that all requests have.

        Raises:
            AsyncstreamError: see `fetch`.
        """
        async with self._follow_redirects(start, left, headers, math.inf) as (reply, url, _):
            failed = failure(reply.status, reply.headers, url, time.time())
            if failed is not None:
                await _drain(reply)
                raise failed
            yield reply, url

    @asynccontextmanager
    async def _follow_redirects(
        self, start: Url, left: TimeLeft, headers: Mapping[str, str], seconds: float
    ) -> AsyncIterator[tuple[Reply, Url, int]]:
        """Provide the first reply that is not a redirect, its URL, and the number of redirects."""
        url = start
        for redirects in range(self._config.max_redirects + 1):
            if left() <= 0:
                raise DeadlineExceeded(f"{url}: the deadline passed before it was requested")
            async with self._http.turn(url, left) as host:
                # The page's own time starts now: waiting for a connection to the host does not count.
                attempt = _AttemptTime(seconds, left)
                reply = await self._request(host, url, attempt.left, headers)
                try:
                    target = redirect_target(reply.status, reply.headers, url)
                    if target is None:
                        yield reply, url, redirects
                        return
                    await _drain(reply)
                finally:
                    await reply.stream.close()
            url = target
            seconds = attempt.own_left()
        raise RedirectRefused(
            f"{start} redirects more than {self._config.max_redirects} times, lastly to {url}: "
            "raise max_redirects if that is intended"
        )

    async def _request(self, host: Host, url: Url, left: TimeLeft, more: Mapping[str, str]) -> Reply:
        """Request a page. If its server has closed a kept connection meanwhile, try the next one.

        Some servers close every connection after a reply without saying so. If that failed the attempt, each
        attempt at a redirected page would start with the redirect, and fail at its target.
        """
        headers = self._request_headers(url, more)
        for _ in range(self._config.connections_per_host):
            try:
                return await host.get(url, headers, left)
            except ConnectionClosed as error:
                if not error.reused:
                    raise
        return await host.get(url, headers, left)

    async def _page(self, reply: Reply, url: Url, redirects: int) -> Page:
        """Return the page of a reply, or raise the error that its status means."""
        failed = failure(reply.status, reply.headers, url, time.time())
        if failed is not None:
            await _drain(reply)
            raise failed
        # A reply with status 204 has no body, even if its head says so.
        body = await self._body(reply, url) if reply.status != 204 else b""
        kept = {name: value for name, value in reply.headers.items() if name != "set-cookie"}
        return Page(url.text, url.text, reply.status, kept, body, 1, redirects)

    async def _body(self, reply: Reply, url: Url) -> bytes:
        """Read and decompress a page's body; neither form may be larger than `max_body`."""
        most = self._config.max_body
        check_length(reply.headers, url, most)
        check_framing(reply.headers, url)
        decoder = decoder_for(reply.headers.get("content-encoding", ""), url)
        received = 0
        # Joining chunks would hold the body twice in memory; `getvalue` returns it without a copy. The buffer
        # is closed, since results keep errors, whose tracebacks would otherwise keep the body.
        with BytesIO() as body:
            while chunk := await reply.stream.read():
                received += len(chunk)
                if received > most:
                    raise too_large(url, f"{received} bytes or more", most)
                for piece in decoder.feed(chunk):
                    if body.tell() + len(piece) > most:
                        raise too_large(url, f"{most} bytes or more when decompressed", most)
                    body.write(piece)
            decoder.finish()
            return body.getvalue()


class _AttemptTime:
    """The time left for an attempt: the earlier of its own time-out and the deadline.

    Args:
        seconds: the attempt's own time-out, from now on.
        deadline: returns the seconds until the deadline.
    """

    def __init__(self, seconds: float, deadline: TimeLeft) -> None:
        self._end = time.monotonic() + seconds
        self._deadline = deadline

    def own_left(self) -> float:
        """Return the seconds until the attempt's own time-out."""
        return self._end - time.monotonic()

    def left(self) -> float:
        """Return the seconds until the time-out or the deadline, whichever is first."""
        return min(self.own_left(), self._deadline())


async def _drain(reply: Reply) -> None:
    """Read a short body to its end, so that its connection can be used again; ignore a failure."""
    text = reply.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > _DRAINED:
        return
    with suppress(ConnectionFailed):
        while await reply.stream.read():
            continue
