"""aiohttp's connections, made to verify servers and to hold little; set up by `aio.py`.

They run on every aiobotocore from 2.25.1 to 3.x, and use private attributes: of aiobotocore's session, as it
takes no aiohttp session (https://github.com/aio-libs/aiobotocore/issues/125), of aiohttp's connector
(`_factory`) and of its protocol.
"""

import math
import socket
import ssl
from contextvars import ContextVar
from functools import cached_property, partial
from typing import Any

import aiohttp
from aiobotocore import __version__ as aiobotocore_version
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp.client_proto import ResponseHandler
from botocore.httpsession import create_urllib3_context, get_cert_path

from asyncstream.s3.buffers import READ_BUFFER, limit_buffers
from asyncstream.s3.settings import CONNECTIONS_PER_PART

# Seconds that the call under way in this task may take, until the last byte of its reply.
seconds_left: ContextVar[float] = ContextVar("seconds_left", default=math.inf)
# To aiohttp 0 means for ever.
_SHORTEST = 0.001
# Before this version aiobotocore does not compare the name in a certificate with the host, as botocore leaves
# that to urllib3, and checks no certificate at all behind a proxy.
_VERIFIES = (3, 9)


class VerifiedSession(AIOHTTPSession):  # type: ignore[misc]  # untyped
    """aiobotocore's HTTP session, for S3 and for the services that S3's credentials come from."""

    async def _get_session(self, proxy_url: str | None) -> "_Requests":
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        connector: Any = session.connector
        if connector._factory.func is not _Protocol:  # noqa: SLF001
            streams = max(1, self._max_pool_connections // CONNECTIONS_PER_PART)
            connector._factory = partial(  # noqa: SLF001
                _Protocol,
                streams,
                self._timeout.sock_read,
                **connector._factory.keywords,  # noqa: SLF001
            )
        return _Requests(session, self._tls)

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        """The context that verifies servers, where aiobotocore's own does not."""
        if tuple(map(int, aiobotocore_version.split(".")[:2])) >= _VERIFIES:
            return None
        context: ssl.SSLContext = create_urllib3_context()
        context.check_hostname = True
        context.load_verify_locations(get_cert_path(self._verify))
        if self._cert_file:
            context.load_cert_chain(self._cert_file, self._key_file)
        return context


class VerifiedConfig(AioConfig):  # type: ignore[misc]  # untyped
    """The default of a session's clients. aiobotocore 2 drops the session class when it merges configs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(http_session_cls=VerifiedSession, **options)

    def merge(self, other_config: Any) -> Any:
        """`other_config` with what it leaves open."""
        merged = super().merge(other_config)
        merged.http_session_cls = VerifiedSession
        return merged


class _Protocol(ResponseHandler):
    """aiohttp's side of a connection: bounded, and with two of its ends mended."""

    def __init__(self, streams: int, stall_timeout: float, **options: Any) -> None:
        super().__init__(**options)
        self._streams = streams
        self._stall_timeout = stall_timeout

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        limit_buffers(transport, self._streams)
        # aiohttp bounds what it waits for while reading, but not while sending.
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._stall_timeout * 1000)
        )

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
    """What aiobotocore uses of an aiohttp session. Redirects are left to us: see `client.prepare_client`."""

    def __init__(self, session: aiohttp.ClientSession, tls: ssl.SSLContext | None) -> None:
        self._session = session
        self._options: dict[str, Any] = {"allow_redirects": False, "read_bufsize": READ_BUFFER}
        if tls is not None:
            self._options["ssl"] = tls

    def request(self, method: str, **options: Any) -> Any:
        left = seconds_left.get()
        if left < math.inf:
            # To the last byte of the reply's body. Without the threshold, aiohttp rounds up to whole seconds.
            own = self._session.timeout
            options["timeout"] = aiohttp.ClientTimeout(
                total=max(left, _SHORTEST),
                sock_connect=own.sock_connect,
                sock_read=own.sock_read,
                ceil_threshold=math.inf,
            )
        return self._session.request(method, **options, **self._options)
