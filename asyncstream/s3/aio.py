"""The aioboto3 transport, for the asyncio engine; opened by `session.py`."""

import math
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from functools import partial
from typing import Any

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from aiohttp.client_proto import ResponseHandler
from botocore.exceptions import BotoCoreError, ClientError

from asyncstream.errors import ConnectionFailed
from asyncstream.ports import Body, TimeLeft, for_ever
from asyncstream.s3.buffers import READ_BUFFER, SLOT, limit_buffers
from asyncstream.s3.client import (
    expect_nothing,
    make_lean,
    prepare,
    sdk_options,
)
from asyncstream.s3.failures import mapped
from asyncstream.s3.operations import METHODS
from asyncstream.s3.settings import CONNECTIONS_PER_PART, ClientSettings

# Seconds that the call under way in this task may take, until the last byte of its reply.
_seconds_left: ContextVar[float] = ContextVar("seconds_left", default=math.inf)
# To aiohttp 0 means for ever.
_SHORTEST = 0.001
_SDK_ERRORS = (BotoCoreError, ClientError, aiohttp.ClientError, OSError)


class AsyncioTransport:
    """aioboto3 clients, one a bucket region; belongs to the event loop that was running when opened."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._config = AioConfig(http_session_cls=_Session, **sdk_options(settings))
        self._clients: dict[str | None, Any] = {}
        self._open = AsyncExitStack()
        self.renewals = 0

    @property
    def slot_bytes(self) -> int:
        """What aiohttp, asyncio and OpenSSL hold for a GET and a PUT."""
        return SLOT

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        """See `ports.Transport`."""
        body = params.get("Body")
        if body is not None and not isinstance(body, bytes):
            params = {**params, "Body": _AsyncReadable(body)}
        outer = _seconds_left.set(left())
        try:
            client = await self._client(region)
            reply: dict[str, Any] = await getattr(client, METHODS[operation])(**params)
        except _SDK_ERRORS as error:
            raise mapped(error, operation, params) from error
        finally:
            _seconds_left.reset(outer)
        return reply

    def stream(self, body: Any, length: int, left: TimeLeft = for_ever) -> "_ContentStream":
        """See `ports.Transport`. The call that opened it bounds it, too."""
        return _ContentStream(body)

    @classmethod
    async def open(cls, settings: ClientSettings) -> "AsyncioTransport":
        """A transport with its first client made."""
        transport = cls(settings)
        await transport._client(None)
        return transport

    async def renew(self, renewals: int) -> None:
        """See `ports.Transport`. The former clients stay open for the tasks that use them now."""
        if renewals == self.renewals:
            self._clients = {}
            self.renewals += 1

    async def close(self) -> None:
        """Close all connections."""
        await self._open.aclose()

    async def _client(self, region: str | None) -> Any:
        client: Any = self._clients.get(region)
        if client is None:
            session = get_session()
            make_lean(session)
            client = await self._open.enter_async_context(
                aioboto3.Session(botocore_session=session).client(
                    "s3", endpoint_url=self._settings.endpoint_url, region_name=region, config=self._config
                )
            )
            prepare(client)
            client.meta.events.register_last("before-call.s3", expect_nothing)
            self._clients[region] = client
        return client


class _Session(AIOHTTPSession):  # type: ignore[misc]  # untyped
    """aiobotocore's HTTP session; it has no other way to pass options to aiohttp."""

    def _create_connector(self, proxy_url: str | None) -> aiohttp.TCPConnector:
        connector: Any = super()._create_connector(proxy_url)
        connector._factory = partial(_Protocol, loop=connector._loop)  # noqa: SLF001
        connect = connector._wrap_create_connection  # noqa: SLF001
        streams = self._max_pool_connections // CONNECTIONS_PER_PART

        async def connect_lean(*args: Any, **options: Any) -> Any:
            transport, protocol = await connect(*args, **options)
            limit_buffers(transport, streams)
            # aiohttp bounds what it waits for while reading, but not while sending.
            transport.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._timeout.sock_read * 1000)
            )
            return transport, protocol

        connector._wrap_create_connection = connect_lean  # noqa: SLF001
        return connector  # type: ignore[no-any-return]

    async def _get_session(self, proxy_url: str | None) -> "_Requests":
        return _Requests(await super()._get_session(proxy_url))


class _Protocol(ResponseHandler):
    """aiohttp's side of a connection, with two of its ends mended."""

    def close(self) -> None:
        # asyncio closes a connection only when all has been sent: to a peer that does not read, never.
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.transport.abort()
        super().close()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # Where the end of a body arrives while reading is paused, resuming starts the read timeout again, of
        # a connection in the pool by then: seconds later, in a warm Lambda at once, it spoils the next reply.
        runs = self._read_timeout_handle is not None  # already for another request
        super().resume_reading(resume_parser)
        if not runs and self._payload is not None and self._payload.is_eof():
            self._drop_timeout()


class _Requests:
    """What aiobotocore uses of an aiohttp session. Redirects are left to us: see `client.prepare`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(self, method: str, **options: Any) -> Any:
        left = _seconds_left.get()
        if left < math.inf:
            # To the last byte of the reply's body. Without the threshold, aiohttp rounds up to whole seconds.
            own = self._session.timeout
            options["timeout"] = aiohttp.ClientTimeout(
                total=max(left, _SHORTEST),
                sock_connect=own.sock_connect,
                sock_read=own.sock_read,
                ceil_threshold=math.inf,
            )
        return self._session.request(method, allow_redirects=False, read_bufsize=READ_BUFFER, **options)


class _AsyncReadable:
    """A `Body` as aiohttp pulls it. `read` is there because botocore asks for it, and is never called."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def read(self, _: int = -1) -> bytes:
        raise NotImplementedError("this body is sent by iterating it")

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        while chunk := await self._body.next_chunk():
            yield chunk


class _ContentStream:
    """A GET's body as aiohttp has it in hand: whatever has arrived, without joining or splitting it."""

    def __init__(self, body: Any) -> None:
        self._response: aiohttp.ClientResponse = body.__wrapped__

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except _SDK_ERRORS as error:
            raise ConnectionFailed(f"the source's body broke: {error}") from error

    async def close(self) -> None:
        # Returns the connection to the pool when the body was read to its end, else closes it.
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
