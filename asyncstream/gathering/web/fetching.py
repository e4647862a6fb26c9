"""`Fetcher`: one URL to one page, within limits, the same for all engines.

Redirects, retries, limits and what a reply means are all here and in what is called from here; the libraries
under `ports.Http` ask one host for one reply at a time.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from io import BytesIO

from msgspec.structs import replace

from asyncstream.deadline import NO_DEADLINE
from asyncstream.errors import (
    AsyncstreamError,
    ConnectionFailed,
    DeadlineExceeded,
    RedirectRefused,
)
from asyncstream.gathering.web.config import FetchConfig
from asyncstream.gathering.web.decoding import ACCEPTED, check_framing, decoder_for
from asyncstream.gathering.web.pages import Page
from asyncstream.gathering.web.ports import Http, Reply
from asyncstream.gathering.web.replies import check_length, failure, redirect_target, too_large
from asyncstream.gathering.web.urls import Url, parse_url
from asyncstream.ports import Span, TimeLeft, for_ever
from asyncstream.retry import Retrying
from asyncstream.tracing.spans import UNTRACED
from asyncstream.units import KiB

# Bytes of a body that nobody wants which are read all the same, as a new connection costs more.
_DRAINED = 16 * KiB


class Fetcher:
    """Fetches pages. For as many workers at once as there are.

    Args:
        http: whom to ask; see `open_fetcher`.
        config: the limits.
        sleep: the engine's.
    """

    def __init__(self, http: Http, config: FetchConfig, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._http = http
        self._config = config
        # `left` of each page is its deadline: a gathering that stops sets it to 0.
        self._retrying = Retrying(config.retry_policy, NO_DEADLINE, sleep)
        self._headers = {"Accept": "*/*", "Accept-Encoding": ACCEPTED, "User-Agent": config.user_agent}

    async def fetch(self, url: str, *, left: TimeLeft = for_ever, span: Span = UNTRACED) -> Page:
        """A page, tried as often as `FetchConfig` says.

        Args:
            url: of the page.
            left: seconds until the deadline.
            span: of the item that the page is fetched for; gets a child.

        Raises:
            InputError: it is no URL of a page. Nobody was asked.
            AddressRefused, RedirectRefused: it, or where it redirects to, must not be asked.
            HostNotFound, ServerNotTrusted, PageNotFound, PageFailed: it is not to be had.
            BodyTooLarge, BodyUnreadable: it is not one that can be read.
            ServiceBusy, ConnectionFailed: it was not to be had by any try.
            DeadlineExceeded: the time was up first.
        """
        asked = parse_url(url)
        with span.child("fetch", host=asked.host) as tracing:
            attempts = 0

            async def once() -> Page:
                nonlocal attempts
                attempts += 1
                tracing.annotate(attempts=attempts)
                return await self._follow(asked, left)

            try:
                page = await self._retrying.run(once, left=left)
            except AsyncstreamError as error:
                error.attempts = attempts
                if error.retryable and left() <= 0:
                    raise DeadlineExceeded(f"{asked}: the deadline passed, after: {error}") from error
                raise
            tracing.annotate(status=page.status, redirects=page.redirects, bytes=len(page.body))
            return replace(page, asked=url, attempts=attempts)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    def _sent_to(self, url: Url) -> Mapping[str, str]:
        """Return the headers of every request, and those for this origin alone."""
        own = self._config.headers.get(url.origin, {})
        named = {name.lower() for name in own}
        return {name: value for name, value in self._headers.items() if name.lower() not in named} | own

    async def _follow(self, asked: Url, left: TimeLeft) -> Page:
        """One try: from the URL asked for through redirects to the page."""
        url = asked
        seconds = self._config.page_timeout
        for redirects in range(self._config.max_redirects + 1):
            if left() <= 0:
                raise DeadlineExceeded(f"{url}: the deadline passed before it was asked for")
            async with self._http.turn(url, left) as host:
                # Only now: to wait for others of the same host is no fault of the page.
                within = _Within(seconds, left)
                reply = await host.get(url, self._sent_to(url), within.left)
                try:
                    target = redirect_target(reply.status, reply.headers, url)
                    if target is None:
                        return await self._page(reply, url, redirects)
                    await _drain(reply)
                finally:
                    await reply.stream.close()
            url = target
            seconds = within.own_left()
        raise RedirectRefused(
            f"{asked} redirects more than {self._config.max_redirects} times, at last to {url}"
        )

    async def _page(self, reply: Reply, url: Url, redirects: int) -> Page:
        """What a reply that is no redirect has brought."""
        failed = failure(reply.status, reply.headers, url, time.time())
        if failed is not None:
            await _drain(reply)
            raise failed
        # 204 has no body, whatever its head says.
        body = await self._body(reply, url) if reply.status != 204 else b""
        kept = {name: value for name, value in reply.headers.items() if name != "set-cookie"}
        return Page(url.text, url.text, reply.status, kept, body, 1, redirects)

    async def _body(self, reply: Reply, url: Url) -> bytes:
        """A page's body, unpacked, of which neither form may be longer than allowed."""
        most = self._config.max_body
        check_length(reply.headers, url, most)
        check_framing(reply.headers, url)
        decoder = decoder_for(reply.headers.get("content-encoding", ""), url)
        received = 0
        # Not joined from chunks, which would hold it twice: `getvalue` hands out what was written. Closed, as
        # the traceback of an error, which results keep, would else hold it.
        with BytesIO() as body:
            while chunk := await reply.stream.read():
                received += len(chunk)
                if received > most:
                    raise too_large(url, f"{received} bytes or more", most)
                for piece in decoder.feed(chunk):
                    if body.tell() + len(piece) > most:
                        raise too_large(url, f"unpacked {most} bytes or more", most)
                    body.write(piece)
            decoder.finish()
            return body.getvalue()


class _Within:
    """The seconds left of a page's own, and of the deadline's.

    Args:
        seconds: of its own, from now on.
        deadline: seconds left until it.
    """

    def __init__(self, seconds: float, deadline: TimeLeft) -> None:
        self._end = time.monotonic() + seconds
        self._deadline = deadline

    def own_left(self) -> float:
        """Of its own."""
        return self._end - time.monotonic()

    def left(self) -> float:
        """Of both."""
        return min(self.own_left(), self._deadline())


async def _drain(reply: Reply) -> None:
    """Read a short body to its end, so that its connection can be used again; if it breaks, it cannot."""
    text = reply.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > _DRAINED:
        return
    with suppress(ConnectionFailed):
        while await reply.stream.read():
            continue
