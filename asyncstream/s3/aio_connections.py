"""aiohttp connections that verify servers, limit how long they wait, and use little memory.

They work with every aiobotocore from 2.25.1 to 3.x. They use private attributes of aiobotocore's session,
which does not accept an aiohttp session (https://github.com/aio-libs/aiobotocore/issues/125), of aiohttp's
connector (`_factory`) and of its protocol.
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
from asyncstream.s3.call_limits import limit_sending
from asyncstream.s3.settings import CONNECTIONS_PER_PART

# aiohttp takes a timeout of 0 as no timeout.
_SHORTEST = 0.001
# The most header lines of a reply; aiohttp's default is 128. The 2 KB of metadata of an object have room for
# 1,040 names with two characters at most and empty values.
MAX_HEADERS = 1_200
# The first version of aiobotocore that compares the name in a certificate with the host. Older versions rely
# on urllib3 for that, as botocore does, and behind a proxy they do not check certificates at all.
_VERIFIES_SINCE = (3, 9)


class Call:
    """The time limits of one call.

    Args:
        left: seconds for the whole call, to the last byte of its reply.
        patience: seconds for the reply, from the last byte of the request sent. For a GET, only the head of
            the reply counts.
    """

    def __init__(self, left: float, patience: float) -> None:
        self.left = left
        self.reply_is_late = False
        self._patience = patience
        self._timer = ExitStack()
        self._ended = False

    def start_reply(self, connection: "_Protocol") -> None:
        """Start the time limit of the reply: the request is sent."""
        self._timer.close()  # the limit of a proxy's reply to CONNECT
        if not self._ended:  # a reply may come before the last byte of the body is sent
            # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/base_protocol.py#L35
            timer = connection._loop.call_later(self._patience, self._give_up, connection)  # noqa: SLF001
            self._timer.callback(timer.cancel)

    def end(self) -> None:
        """Cancel the time limit: the reply has arrived, or the call has failed."""
        self._ended = True
        self._timer.close()

    def _give_up(self, connection: "_Protocol") -> None:
        self.reply_is_late = True
        # aiohttp does the same if no byte arrives in time.
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/client_proto.py#L310
        connection._on_read_timeout()  # noqa: SLF001


# The call of this task, also in the tasks that send its body.
current_call: ContextVar[Call] = ContextVar("current_call")


class _Resolver(AbstractResolver):
    """Looks up host names on separate threads, as the blocking connections do.

    aiohttp's own resolver uses the event loop's threads: there are few, and closing the loop waits for them.
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
        """Do nothing: no resources are kept."""


class _Response(aiohttp.ClientResponse):
    """A reply whose headers may have bytes that are not UTF-8, which aiobotocore decodes strictly."""

    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple((name, _HeaderBytes(value)) for name, value in super().raw_headers)


class _HeaderBytes(bytes):
    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        return super().decode(encoding, errors)


class VerifiedSession(AIOHTTPSession):  # type: ignore[misc]  # untyped
    """aiobotocore's HTTP session, for S3 and for the services that provide S3's credentials."""

    # These, `_timeout`, `_max_pool_connections`, `_verify`, `_cert_file` and `_key_file`:
    # https://github.com/aio-libs/aiobotocore/blob/3.10.0/aiobotocore/httpsession.py#L88-L115
    _connector_args: dict[str, Any]
    _max_pool_connections: int

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._connector_args = {**self._connector_args, "resolver": _Resolver(self._timeout.sock_connect)}
        # Several transfers may use one client at once, and each limits its own connections by its slots. With
        # a limit for all, GETs could take all connections, and their PUTs would wait for ever.
        self._streams = max(1, self._max_pool_connections // CONNECTIONS_PER_PART)
        self._max_pool_connections = 0

    async def _get_session(self, proxy_url: str | None) -> "_Requests":
        # https://github.com/aio-libs/aiobotocore/blob/3.10.0/aiobotocore/httpsession.py#L231
        session: aiohttp.ClientSession = await super()._get_session(proxy_url)
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/client.py#L492
        session._response_class = _Response  # noqa: SLF001 - aiobotocore has no option for it
        connector: Any = session.connector
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/connector.py#L334
        if connector._factory.func is not _Protocol:  # noqa: SLF001
            connector._factory = partial(  # noqa: SLF001
                _Protocol,
                self._streams,
                self._timeout.sock_read,
                **connector._factory.keywords,  # noqa: SLF001
            )
        return _Requests(session, self._tls)

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        """The context that verifies servers, if aiobotocore's own does not."""
        if tuple(map(int, aiobotocore_version.split(".")[:2])) >= _VERIFIES_SINCE:
            return None
        context: ssl.SSLContext = create_urllib3_context()
        context.check_hostname = True
        context.load_verify_locations(get_cert_path(self._verify))
        if self._cert_file:
            context.load_cert_chain(self._cert_file, self._key_file)
        return context


class VerifiedConfig(AioConfig):  # type: ignore[misc]  # untyped
    """A client config with `VerifiedSession`, which aiobotocore 2 would drop when it merges configs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(http_session_cls=VerifiedSession, **options)

    def merge(self, other_config: Any) -> Any:
        """Return `other_config`, with the values that it leaves open taken from this one."""
        merged = super().merge(other_config)
        merged.http_session_cls = VerifiedSession
        return merged


class _Protocol(ResponseHandler):
    """aiohttp's protocol of a connection, with time limits, small buffers, and two fixes for its end."""

    def __init__(self, streams: int, stall_timeout: float, **options: Any) -> None:
        super().__init__(**options)
        self._streams = streams
        self._stall_timeout = stall_timeout
        self._call: Call | None = None
        self._kernel_limits = True
        self._sending = ExitStack()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        limit_buffers(transport, self._streams)
        # aiohttp limits its waits while reading, but not while sending. Where the kernel cannot do it either,
        # `_watch_sending` does. It does not see the bytes in the kernel's buffers.
        self._kernel_limits = limit_sending(transport.get_extra_info("socket"), self._stall_timeout)

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._kernel_limits:
            self._watch_sending()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._sending.close()

    def _watch_sending(self, before: int = -1) -> None:
        """Close the connection if the peer takes none of the waiting bytes for `stall_timeout` seconds."""
        if self.transport is None:
            return
        waiting = self.transport.get_write_buffer_size()
        if waiting == before:
            self.abort()
        else:
            timer = self._loop.call_later(self._stall_timeout, self._watch_sending, waiting)
            self._sending.callback(timer.cancel)

    def set_response_params(self, **options: Any) -> None:
        super().set_response_params(**options | {"max_headers": MAX_HEADERS})
        self._call = current_call.get(None)

    def start_timeout(self) -> None:
        # aiohttp calls this when a request is sent, also for a proxy's CONNECT.
        super().start_timeout()
        if self._call is not None:
            self._call.start_reply(self)

    def start_body(self, stall_timeout: float) -> None:
        """Limit the wait for each further byte of a body, unless reading is paused with full buffers."""
        self.read_timeout = stall_timeout
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/base_protocol.py#L38
        if not self._reading_paused:
            super().start_timeout()

    def close(self) -> None:
        # asyncio closes a connection only after it has sent everything, and over TLS only after the peer has
        # closed its side. If the peer does not read, or sends byte by byte, that never happens.
        self.abort()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # If the end of a body arrives while reading is paused, resuming restarts the read timeout, although
        # the connection is back in the pool. Seconds later, or at once in a warm Lambda, the timeout breaks
        # the next reply.
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/client_proto.py#L196-L203
        # `_read_timeout_handle`, `_payload`, `_drop_timeout`:
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/client_proto.py#L46
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/client_proto.py#L35
        # https://github.com/aio-libs/aiohttp/blob/v3.14.5/aiohttp/client_proto.py#L282
        runs = self._read_timeout_handle is not None  # already for another request
        super().resume_reading(resume_parser)
        if not runs and self._payload is not None and self._payload.is_eof():
            self._drop_timeout()


class _Requests:
    """The part of an aiohttp session that aiobotocore uses. It follows no redirects: see `prepare_client`."""

    def __init__(self, session: aiohttp.ClientSession, tls: ssl.SSLContext | None) -> None:
        self._session = session
        self._options: dict[str, Any] = {"allow_redirects": False, "read_bufsize": READ_BUFFER}
        if tls is not None:
            self._options["ssl"] = tls

    def request(self, method: str, **options: Any) -> Any:
        call = current_call.get(None)
        if call is not None:
            options["timeout"] = aiohttp.ClientTimeout(
                # Up to the last byte of the reply's body.
                total=None if call.left == math.inf else max(call.left, _SHORTEST),
                sock_connect=self._session.timeout.sock_connect,
                # `Call` limits the reply and `limit_body` its body.
                sock_read=None,
                # Otherwise aiohttp rounds up to whole seconds.
                ceil_threshold=math.inf,
            )
        return self._session.request(method, **options, **self._options)


def limit_body(response: aiohttp.ClientResponse, stall_timeout: float) -> None:
    """Make the body of a reply fail if no byte arrives for `stall_timeout` seconds."""
    if response.connection is not None and isinstance(response.connection.protocol, _Protocol):
        response.connection.protocol.start_body(stall_timeout)
