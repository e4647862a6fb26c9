"""aiohttp's connections, made to verify servers and to hold little.

They run on every aiobotocore from 2.25.1 to 3.x, and use private attributes: of aiobotocore's session, as it
takes no aiohttp session (https://github.com/aio-libs/aiobotocore/issues/125), of aiohttp's connector
(`_factory`) and of its protocol.
"""

import math
import socket
import ssl
from contextlib import ExitStack
from contextvars import ContextVar
from functools import cached_property, partial
from typing import Any

import aiohttp
from aiobotocore import __version__ as aiobotocore_version
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from botocore.httpsession import create_urllib3_context, get_cert_path

from asyncstream.engines.aio import wait_aside
from asyncstream.s3.buffers import READ_BUFFER, limit_buffers
from asyncstream.s3.settings import CONNECTIONS_PER_PART

# To aiohttp 0 means for ever.
_SHORTEST = 0.001
# Before this version aiobotocore does not compare the name in a certificate with the host, as botocore leaves
# that to urllib3, and checks no certificate at all behind a proxy.
_VERIFIES = (3, 9)


class Call:
    """What bounds the waits of one call.

    Args:
        left: seconds that it may take, to the last byte of its reply.
        patience: seconds that its reply may take after the last byte of the request was sent; of a GET, the
            head of the reply.
    """

    def __init__(self, left: float, patience: float) -> None:
        self.left = left
        self.reply_is_late = False
        self._patience = patience
        self._timer = ExitStack()
        self._ended = False

    def start_reply(self, connection: "_Protocol") -> None:
        """Bound the whole reply from now on: the request is sent."""
        self._timer.close()  # that of a proxy's reply to CONNECT
        if not self._ended:  # a reply may come before the last byte of the body is sent
            timer = connection._loop.call_later(self._patience, self._give_up, connection)  # noqa: SLF001
            self._timer.callback(timer.cancel)

    def end(self) -> None:
        """Wait no longer: the reply has come, or never will."""
        self._ended = True
        self._timer.close()

    def _give_up(self, connection: "_Protocol") -> None:
        self.reply_is_late = True
        # What aiohttp does where no byte comes in time.
        connection._on_read_timeout()  # noqa: SLF001


# The call in this task, and in those that send its body.
under_way: ContextVar[Call] = ContextVar("under_way")


class _Resolver(AbstractResolver):
    """Looks names up aside, as the blocking connections do.

    aiohttp's own resolver does so on the loop's threads: those are few, and are waited for when it closes.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=kind, proto=0, flags=0)
            for kind, _, _, _, address in await wait_aside(look_up, self._seconds)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


class VerifiedSession(AIOHTTPSession):  # type: ignore[misc]  # untyped
    """aiobotocore's HTTP session, for S3 and for the services that S3's credentials come from."""

    _connector_args: dict[str, Any]

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._connector_args = {**self._connector_args, "resolver": _Resolver(self._timeout.sock_connect)}

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
        self._call: Call | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        limit_buffers(transport, self._streams)
        # aiohttp bounds what it waits for while reading, but not while sending.
        transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self._stall_timeout * 1000)
        )

    def set_response_params(self, **options: Any) -> None:
        super().set_response_params(**options)
        self._call = under_way.get(None)

    def start_timeout(self) -> None:
        # aiohttp calls this when a request is sent, a proxy's CONNECT included.
        super().start_timeout()
        if self._call is not None:
            self._call.start_reply(self)

    def start_body(self, stall_timeout: float) -> None:
        """Bound the wait for each next byte of a body, which may have been read ahead as far as it is let."""
        self.read_timeout = stall_timeout
        if not self._reading_paused:
            super().start_timeout()

    def close(self) -> None:
        # asyncio closes a connection only when all has been sent, and over TLS when the peer has said
        # good-bye: of a peer that does not read, or that drips, never.
        self.abort()

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
        call = under_way.get(None)
        if call is not None:
            options["timeout"] = aiohttp.ClientTimeout(
                # To the last byte of the reply's body.
                total=None if call.left == math.inf else max(call.left, _SHORTEST),
                sock_connect=self._session.timeout.sock_connect,
                # Each read of a reply may take as long as the whole; see `Call` and `body_follows`.
                sock_read=None,
                # Without it, aiohttp rounds up to whole seconds.
                ceil_threshold=math.inf,
            )
        return self._session.request(method, **options, **self._options)


def body_follows(response: aiohttp.ClientResponse, stall_timeout: float) -> None:
    """Have the body of a reply break where no byte comes for so many seconds."""
    if response.connection is not None and isinstance(response.connection.protocol, _Protocol):
        response.connection.protocol.start_body(stall_timeout)
