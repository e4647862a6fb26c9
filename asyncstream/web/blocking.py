"""The urllib3 adapter, for the sequential and the thread engine.

It blocks and never suspends. urllib3 keeps connections and speaks HTTP; this module decides which addresses
it connects to and how long each read may take. It uses urllib3's pools of one host each, which follow no
redirects and use no proxies. A proxy from the environment would connect to unchecked addresses.
"""

import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from functools import cached_property
from http.client import (
    HTTPException,
    IncompleteRead,
    RemoteDisconnected,
)
from typing import Any

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from asyncstream.errors import ConnectionFailed
from asyncstream.http.reply_heads import WholeHead
from asyncstream.locations.urls import Url
from asyncstream.ports import TimeLeft
from asyncstream.units import KiB
from asyncstream.web.addresses import Network, parse_networks
from asyncstream.web.config import FetchConfig
from asyncstream.web.failures import raise_broken_body, raise_no_reply, turn_timeout
from asyncstream.web.hosts import Hosts
from asyncstream.web.lookup import Resolved, lookup_timeout, start_lookup
from asyncstream.web.page_replies import join_headers
from asyncstream.web.ports import Reply

CHUNK = 64 * KiB
# The most bytes of a reply's head; http.client itself would accept 6 MB.
LONGEST_HEAD = 256 * KiB
_NO_HEADER = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)
_LIBRARY_ERRORS = (HTTPError, HTTPException, OSError)


class _Limits:
    """The limits of the current request of this thread. urllib3 has no option that limits a single read."""

    def __init__(self, config: FetchConfig, allowed: tuple[Network, ...], left: TimeLeft) -> None:
        self.allowed = allowed
        self.connected = False  # whether the request has made a connection of its own
        self._connect_timeout = config.connect_timeout
        self._stall_timeout = config.stall_timeout
        self._left = left
        self._most, self._what = LONGEST_HEAD, "the reply's head"
        self._taken = 0
        # A server may send every byte of a body as its own chunk, which takes six bytes.
        self._most_with_framing = 8 * config.max_body + LONGEST_HEAD

    def to_connect(self) -> float:
        """Return the seconds that connecting may take."""
        return self._wait(self._connect_timeout)

    def to_read(self) -> float:
        """Return the seconds that a read may take."""
        return self._wait(self._stall_timeout)

    def count(self, size: int) -> None:
        """Add received bytes; raise ConnectionFailed if the reply has more than it may have."""
        self._taken += size
        if self._taken > self._most:
            raise ConnectionFailed(f"{self._what} has more than {self._most} bytes")

    def head_is_read(self) -> None:
        """Count the body and its framing from now on, including trailers, which may be endless."""
        self._most, self._what, self._taken = self._most_with_framing, "the framed body", 0

    def _wait(self, most: float) -> float:
        left = self._left()
        if left <= 0:
            raise TimeoutError("the time was up")
        return min(most, left)


_limits: ContextVar[_Limits] = ContextVar("limits")


class _WithoutQueries(logging.Filter):
    """Removes queries, which may hold keys, from what urllib3 logs about the requests of this module."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _limits.get(None) is not None and isinstance(record.args, tuple):
            record.args = tuple(map(_without_query, record.args))
        return True


def _without_query(argument: Any) -> Any:
    if not isinstance(argument, str) or "?" not in argument:
        return argument
    return f"{argument.partition('?')[0]}?..."


_WITHOUT_QUERIES = _WithoutQueries()  # a single object, so that a logger adds it only once


class BlockingHttp:
    """One urllib3 pool per host. See `ports.Http`."""

    def __init__(self, config: FetchConfig) -> None:
        for name in ("urllib3.connectionpool", "urllib3.connection"):
            logging.getLogger(name).addFilter(_WITHOUT_QUERIES)
        self._config = config
        self._allowed = parse_networks(config.allowed_networks)
        self._hosts = Hosts(self._new_host)
        self._lock = threading.Lock()

    @asynccontextmanager
    async def turn(self, url: Url, left: TimeLeft) -> AsyncIterator["_Host"]:
        """See `ports.Http`."""
        with self._lock:
            host = self._hosts.take(url)
        try:
            if not host.turns.acquire(timeout=max(0.0, min(left(), threading.TIMEOUT_MAX))):
                raise turn_timeout(url)
            try:
                yield host
            finally:
                host.turns.release()
        finally:
            with self._lock:
                unused = self._hosts.give_back(url)
            if unused is not None:
                unused.pool.close()

    async def close(self) -> None:
        """Close all connections."""
        for host in self._hosts.take_out():
            host.pool.close()

    def _new_host(self, url: Url) -> "_Host":
        most = self._config.connections_per_host
        pool: HTTPConnectionPool
        if url.scheme == "https":
            pool = HTTPSConnectionPool(url.host, url.port, maxsize=most, ssl_context=self._tls)
            pool.ConnectionCls = _TlsConnection
        else:
            pool = HTTPConnectionPool(url.host, url.port, maxsize=most)
            pool.ConnectionCls = _Connection
        return _Host(pool, most, self._config, self._allowed)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        context.sslsocket_class = _TlsSocket
        return context


class _Host:
    def __init__(
        self, pool: HTTPConnectionPool, most: int, config: FetchConfig, allowed: tuple[Network, ...]
    ) -> None:
        self.pool = pool
        self.turns = threading.BoundedSemaphore(most)
        self._config = config
        self._allowed = allowed

    async def get(self, url: Url, headers: Mapping[str, str], left: TimeLeft) -> Reply:
        """See `ports.Host`."""
        limits = _Limits(self._config, self._allowed, left)
        outer = _limits.set(limits)
        try:
            raw = self.pool.urlopen(
                "GET",
                url.target,
                headers=dict(headers),
                retries=False,
                redirect=False,
                timeout=limits.to_connect(),
                preload_content=False,
                decode_content=False,
            )
        except _LIBRARY_ERRORS as error:
            raise_no_reply(error, url, (RemoteDisconnected,), reused=not limits.connected)
        finally:
            _limits.reset(outer)
        limits.head_is_read()
        # http.client decodes headers as Latin-1.
        encoded = (
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in raw.headers.iteritems()
        )
        return Reply(raw.status, join_headers(encoded), _Stream(raw, url, limits))


class _Stream:
    """See `asyncstream.ports.ByteStream`."""

    def __init__(self, raw: BaseHTTPResponse, url: Url, limits: _Limits) -> None:
        self._raw = raw
        self._url = url
        self._limits = limits
        self._ended = False

    async def read(self) -> bytes:
        outer = _limits.set(self._limits)
        try:
            data = self._raw.read1(CHUNK)
        except _LIBRARY_ERRORS as error:
            raise_broken_body(error, self._url, (IncompleteRead,))
        finally:
            _limits.reset(outer)
        self._ended = not data
        return data

    async def close(self) -> None:
        if not self._ended:
            self._raw.close()
        self._raw.release_conn()


class _FinalResponse(WholeHead):
    """A reply whose head must be readable.

    http.client ends the head at the first line that is not a header, so it would lose the headers after it,
    which say how the body is framed.
    """

    def begin(self) -> None:
        super().begin()
        # The parser's other defects concern multipart bodies, and it gets no body here.
        if any(isinstance(defect, _NO_HEADER) for defect in self.headers.defects):
            raise HTTPException("a line of the reply's head is not a header")


class _ToAllowedAddresses(HTTPConnection):
    """A connection that looks its host up once, checks the addresses, and connects to one of them."""

    response_class = _FinalResponse
    # https://github.com/urllib3/urllib3/blob/2.8.0/src/urllib3/connection.py#L231
    _dns_host: str

    def _new_conn(self) -> socket.socket:
        # https://github.com/urllib3/urllib3/blob/2.8.0/src/urllib3/connection.py#L233
        limits = _limits.get()
        limits.connected = True
        try:
            addresses = start_lookup(self._dns_host, self.port, limits.allowed).result(limits.to_connect())
        except TimeoutError as error:
            raise lookup_timeout(self._dns_host) from error
        failed: OSError | None = None
        for tried, resolved in enumerate(addresses):
            # Share the time, so that an address that does not answer leaves some for the others.
            seconds = limits.to_connect() / (len(addresses) - tried)
            try:
                return _connect(resolved, seconds)
            except OSError as error:
                failed = error
        raise ConnectionFailed(f"{self._dns_host} cannot be connected to: {failed}") from failed


class _Connection(_ToAllowedAddresses):
    pass


class _TlsConnection(_ToAllowedAddresses, HTTPSConnection):
    pass


class _LimitedReads:
    """A socket whose every read has the current request's timeout, also if a line takes several reads."""

    def recv_into(self, *arguments: Any) -> int:
        limits = _limits.get()
        self.settimeout(limits.to_read())  # type: ignore[attr-defined]
        size: int = super().recv_into(*arguments)  # type: ignore[misc]
        limits.count(size)
        return size


class _Socket(_LimitedReads, socket.socket):
    pass


class _TlsSocket(_LimitedReads, ssl.SSLSocket):
    pass


def _connect(resolved: Resolved, seconds: float) -> _Socket:
    connected = _Socket(resolved.family, socket.SOCK_STREAM)
    try:
        connected.settimeout(seconds)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.connect((resolved.address, resolved.port))
    except BaseException:
        connected.close()
        raise
    return connected
