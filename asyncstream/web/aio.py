"""The aiohttp adapter, for the asyncio engine. It belongs to the event loop that opened it.

`_Resolver` looks up host names and checks their addresses. aiohttp does not call it for a host that is an IP
address, so the socket factory checks the address of every socket again. `trust_env` is off: a proxy from the
environment would connect to unchecked addresses.
"""

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from asyncstream.locations.urls import Url
from asyncstream.ports import TimeLeft
from asyncstream.units import KiB
from asyncstream.web import addresses
from asyncstream.web.config import FetchConfig
from asyncstream.web.failures import raise_broken_body, raise_no_reply, turn_timeout
from asyncstream.web.hosts import Hosts
from asyncstream.web.lookup import lookup_timeout, start_lookup
from asyncstream.web.page_replies import join_headers
from asyncstream.web.ports import Reply

# aiohttp stops reading at twice this many bytes.
READ_BUFFER = 32 * KiB
# The most bytes per line of a reply's head: twice aiohttp's default, with which sites that send long cookies
# and policies would fail with this engine only. The most lines are http.client's limit.
LONGEST_LINE, MAX_LINES = 16 * KiB, 100
# aiohttp takes a timeout of 0 as no timeout.
_SHORTEST = 0.001
_LIBRARY_ERRORS = (aiohttp.ClientError, OSError)


class AsyncioHttp:
    """One aiohttp session per host. See `ports.Http`."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._allowed = addresses.parse_networks(config.allowed_networks)
        self._hosts = Hosts(self._new_host)

    @asynccontextmanager
    async def turn(self, url: Url, left: TimeLeft) -> AsyncIterator["_Host"]:
        """See `ports.Http`."""
        host = self._hosts.take(url)
        try:
            await _acquire_turn(host.turns, url, left())
            try:
                yield host
            finally:
                host.turns.release()
        finally:
            unused = self._hosts.give_back(url)
            if unused is not None:
                await unused.session.close()

    async def close(self) -> None:
        """Close all connections."""
        for host in self._hosts.take_out():
            await host.session.close()

    def _new_host(self, url: Url) -> "_Host":
        most = self._config.connections_per_host
        connector = aiohttp.TCPConnector(
            limit=most,
            resolver=_Resolver(self._allowed, self._config.connect_timeout),
            socket_factory=self._new_socket,
            # Look up the name for every connection, as the other engines do.
            use_dns_cache=False,
            ssl=self._tls if url.scheme == "https" else True,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BUFFER,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MAX_LINES,
            trace_configs=[_REUSE],
        )
        # aiohttp sends a failed request a second time, and has no option against it. A test counts requests.
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/client.py#L503
        session._retry_connection = False  # noqa: SLF001 - see above
        return _Host(session, most, self._config)

    def _new_socket(self, connecting_to: tuple[Any, ...]) -> socket.socket:
        """Return a socket for an address after checking that it may be connected to."""
        family, kind, protocol, _, address = connecting_to
        addresses.check(address[0], address[0], self._allowed)
        return socket.socket(family, kind, protocol)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context


async def _note_reuse(_: aiohttp.ClientSession, context: Any, __: object) -> None:
    context.trace_request_ctx.add(_REUSED)


_REUSED = "reused"
_REUSE = aiohttp.TraceConfig()
_REUSE.on_connection_reuseconn.append(_note_reuse)


class _Host:
    def __init__(self, session: aiohttp.ClientSession, most: int, config: FetchConfig) -> None:
        self.session = session
        self.turns = asyncio.BoundedSemaphore(most)
        self._config = config

    async def get(self, url: Url, headers: Mapping[str, str], left: TimeLeft) -> Reply:
        """See `ports.Host`."""
        # `total` lasts until the last byte of the body. By default, aiohttp rounds long times up to seconds.
        seconds = left()
        timeout = aiohttp.ClientTimeout(
            total=None if seconds == math.inf else max(seconds, _SHORTEST),
            sock_connect=self._config.connect_timeout,
            sock_read=self._config.stall_timeout,
            ceil_threshold=math.inf,
        )
        noted: set[str] = set()
        try:
            response = await self.session.get(
                URL(url.text, encoded=True),
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                trace_request_ctx=noted,
            )
        except _LIBRARY_ERRORS as error:
            raise_no_reply(error, url, (aiohttp.ServerDisconnectedError,), reused=_REUSED in noted)
        return Reply(response.status, join_headers(response.raw_headers), _Stream(response, url))


class _Stream:
    """See `asyncstream.ports.ByteStream`."""

    def __init__(self, response: aiohttp.ClientResponse, url: Url) -> None:
        self._response = response
        self._url = url

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except _LIBRARY_ERRORS as error:
            raise_broken_body(error, self._url, (aiohttp.ClientPayloadError,))

    async def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
            return
        connection = self._response.connection
        if connection is not None and connection.transport is not None:
            # Over TLS, `close` would wait for the server's close_notify.
            connection.transport.abort()
        self._response.close()


class _Resolver(AbstractResolver):
    """Looks names up as the other engines do, and returns only addresses that may be connected to."""

    def __init__(self, allowed: tuple[addresses.Network, ...], seconds: float) -> None:
        self._allowed = allowed
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(self._seconds):
                found = await asyncio.wrap_future(start_lookup(host, port, self._allowed))
        except TimeoutError as error:
            raise lookup_timeout(host) from error
        return [
            ResolveResult(hostname=host, host=each.address, port=port, family=each.family, proto=0, flags=0)
            for each in found
        ]

    async def close(self) -> None:
        """Do nothing: the resolver keeps no state."""


async def _acquire_turn(turns: asyncio.BoundedSemaphore, url: Url, left: float) -> None:
    """Wait for a turn; raise DeadlineExceeded after `left` seconds."""
    try:
        async with asyncio.timeout(None if left == math.inf else max(left, 0.0)):
            await turns.acquire()
    except TimeoutError as error:
        raise turn_timeout(url) from error
