"""botocore connections that wait no longer than their call may take."""

import re
import socket
import ssl
from functools import partial
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPResponse,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from urllib3 import HTTPHeaderDict
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from asyncstream.engines.aside import start_aside
from asyncstream.http.reply_heads import WholeHead, check_line
from asyncstream.s3.call_limits import call_limits, limit_sending


class _Socket(socket.socket):
    """A socket whose reads respect the time left for the current call, also if a line takes many reads."""

    __slots__ = ()

    def recv_into(self, *arguments: Any) -> int:
        set_timeout(self, call_limits.get().to_read())
        return super().recv_into(*arguments)


class _TlsSocket(ssl.SSLSocket):
    """The same socket over TLS. A read returns at most 16 KiB, so every function call in it costs CPU."""

    def do_handshake(self, *arguments: Any) -> None:
        # If a proxy's reply was read before this, its reads have changed the timeout.
        set_timeout(self, call_limits.get().to_connect_or_write())
        super().do_handshake(*arguments)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        seconds = call_limits.get().to_read()
        if self.gettimeout() != seconds:
            self.settimeout(seconds)
        # `SSLSocket.recv_into` does only this, after checks that `read` repeats.
        return self.read(nbytes or len(buffer), buffer)  # type: ignore[return-value]  # a number, with a buffer

    def recv(self, *arguments: Any) -> bytes:
        # urllib3 reads TLS within TLS this way.
        set_timeout(self, call_limits.get().to_read())
        return super().recv(*arguments)


def set_timeout(connected: Any, seconds: float) -> None:
    """Set a socket's timeout if it differs. Setting it is a system call, which most reads can avoid."""
    if connected.gettimeout() != seconds:
        connected.settimeout(seconds)


class _Reply(WholeHead):
    """A reply with any number of headers: those of an object's metadata are few or many."""

    many_headers = True


class _LimitedConnection(HTTPConnection):
    """The changes to botocore's connections, for HTTP and HTTPS."""

    timeout: float
    port: int
    # https://github.com/urllib3/urllib3/blob/2.8.0/src/urllib3/connection.py#L231
    _dns_host: str
    sock: Any
    response_class: Any
    # https://github.com/boto/botocore/blob/1.43.117/botocore/awsrequest.py#L68
    _original_response_cls: Any
    # https://github.com/boto/botocore/blob/1.43.117/botocore/awsrequest.py#L75
    _response_received: bool

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.response_class = self._original_response_cls = _Reply

    def request(self, *request: Any, **options: Any) -> None:
        # If a reply came before the body was sent, its status is still stored here. botocore would use it for
        # the next request with Expect over this connection, and parse the real status line as a header.
        self.response_class = self._original_response_cls
        super().request(*request, **options)

    def _new_conn(self) -> Any:
        # urllib3 would try each of S3's eight addresses for the whole timeout.
        # https://github.com/urllib3/urllib3/blob/2.8.0/src/urllib3/connection.py#L233
        host, timeout = self._dns_host, self.timeout
        failed: Exception | None = None
        try:
            for *_, address in _resolve(host, self.port, self):
                self._dns_host, self.timeout = address[0], call_limits.get().to_connect_or_write()
                try:
                    return _limit_reads(super()._new_conn(), timeout)
                except (ConnectTimeoutError, NewConnectionError) as error:
                    failed = error
        finally:
            self._dns_host, self.timeout = host, timeout
        raise failed or NewConnectionError(self, f"{host} has no address")

    def send(self, data: Any) -> None:
        if self._response_received:
            # Otherwise botocore would discard the data while urllib3 reads the whole body, which for a
            # refused part is a range of the source. This error tells urllib3 that the peer has answered.
            raise BrokenPipeError("the server answered before the body was sent")
        limits = call_limits.get()
        limits.start_sending()
        if self.sock is not None:
            set_timeout(self.sock, limits.to_connect_or_write())
        super().send(data)

    def getresponse(self) -> Any:
        call_limits.get().start_reply()
        if isinstance(self.response_class, partial):  # botocore has already read the status line of a refusal
            status = self.response_class.keywords["status_tuple"]
            check_line(status[-1].encode())
            self.response_class = partial(_Refusal, **self.response_class.keywords)
        return super().getresponse()

    def _is_100_continue_status(self, maybe_status_line: bytes) -> bool:
        # Also for other interim replies, such as 102 Processing: the server goes on, so the body may be sent.
        # https://github.com/boto/botocore/blob/1.43.117/botocore/awsrequest.py#L225
        return re.match(rb"HTTP/1\.\d 1(?!01)\d\d\b", maybe_status_line) is not None

    def _consume_headers(self, fp: Any) -> None:
        # botocore would loop forever if the connection ended after 100 Continue.
        # https://github.com/boto/botocore/blob/1.43.117/botocore/awsrequest.py#L151
        while check_line(fp.readline()) != b"\r\n":
            pass


def _resolve(host: str, port: int, connection: Any) -> list[Any]:
    seconds = call_limits.get().to_connect_or_write()
    found = start_aside(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    try:
        return found.result(seconds)
    except TimeoutError as error:
        message = f"the address of {host} was not found within {seconds:g} s"
        raise ConnectTimeoutError(connection, message) from error
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error


def _limit_reads(connected: socket.socket, stall_timeout: float) -> _Socket:
    """Return the same connection as a socket whose reads respect the time left."""
    seconds = connected.gettimeout()
    bounded = _Socket(connected.family, connected.type, connected.proto, connected.detach())
    bounded.settimeout(seconds)
    # The last bytes of a body count as sent once they are in the kernel's buffers. Without this, a peer that
    # does not read them would get the time that S3 may take to reply.
    limit_sending(bounded, stall_timeout)
    return bounded


class _Refusal(_Reply, AWSHTTPResponse):  # type: ignore[misc]  # untyped
    """A reply that came instead of 100 Continue."""

    # https://github.com/boto/botocore/blob/1.43.117/botocore/awsrequest.py#L41
    _status_tuple: Any

    @property
    def status_is_read(self) -> bool:
        return self._status_tuple is not None


class _Connection(_LimitedConnection, AWSHTTPConnection):  # type: ignore[misc]  # untyped
    pass


class _TlsConnection(_LimitedConnection, AWSHTTPSConnection):  # type: ignore[misc]  # untyped
    def connect(self) -> None:
        self.ssl_context.sslsocket_class = _TlsSocket
        super().connect()

    def _connect_tls_proxy(self, *arguments: Any) -> Any:
        # urllib3 creates its own context for a proxy, and does not accept one that verifies in the same way.
        # https://github.com/urllib3/urllib3/blob/2.8.0/src/urllib3/connection.py#L943
        connected = super()._connect_tls_proxy(*arguments)
        connected.__class__ = _TlsSocket
        return connected


class _WholeReplies:
    """A pool that rejects replies shorter than their Content-Length: botocore turns off urllib3's check.

    Otherwise an XML document cut to nothing looks like a reply without an ETag, not like a broken connection.
    """

    def urlopen(self, *request: Any, **options: Any) -> Any:
        reply = super().urlopen(*request, **options | {"enforce_content_length": True})  # type: ignore[misc]
        _decode(reply.headers)
        return reply


def _decode(headers: HTTPHeaderDict) -> None:
    """Decode headers as UTF-8: http.client has decoded them as Latin-1.

    botocore sends text as UTF-8. Without this, each copy of a UTF-8 header would be encoded once more. Bytes
    that are not UTF-8 become surrogates, as aiohttp decodes them.
    """
    for name, value in list(headers.itermerged()):
        if not value.isascii():
            headers[name] = value.encode("latin-1").decode("utf-8", "surrogateescape")


class _Pool(_WholeReplies, AWSHTTPConnectionPool):  # type: ignore[misc]  # untyped
    ConnectionCls = _Connection


class _TlsPool(_WholeReplies, AWSHTTPSConnectionPool):  # type: ignore[misc]  # untyped
    ConnectionCls = _TlsConnection


def use_own_connections(client: Any) -> None:
    """Make a new client use these connections; botocore has no option for it."""
    # https://github.com/boto/botocore/blob/1.43.117/botocore/client.py#L936
    # https://github.com/boto/botocore/blob/1.43.117/botocore/httpsession.py#L312
    client._endpoint.http_session._pool_classes_by_scheme.update(http=_Pool, https=_TlsPool)  # noqa: SLF001
