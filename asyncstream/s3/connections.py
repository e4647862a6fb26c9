"""botocore's connections, made to wait no longer than a call may take."""

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
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from asyncstream.engines.aside import aside
from asyncstream.http.reply_heads import WholeHead, check_line
from asyncstream.s3.waits import waits


class _Socket(socket.socket):
    """Each read waits for as long as the call under way allows, however many a line takes."""

    __slots__ = ()

    def recv_into(self, *arguments: Any) -> int:
        set_timeout(self, waits.get().for_read())
        return super().recv_into(*arguments)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS, where each read has 16 KiB at most: every call that is made in it is felt."""

    def do_handshake(self, *arguments: Any) -> None:
        # A proxy's reply was read before: its reads have left a timeout behind.
        set_timeout(self, waits.get().for_one())
        super().do_handshake(*arguments)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        seconds = waits.get().for_read()
        if self.gettimeout() != seconds:
            self.settimeout(seconds)
        # `SSLSocket.recv_into` does no more than this, after checks that `read` makes again.
        return self.read(nbytes or len(buffer), buffer)  # type: ignore[return-value]  # a number, with a buffer

    def recv(self, *arguments: Any) -> bytes:
        # So urllib3 reads TLS within TLS.
        set_timeout(self, waits.get().for_read())
        return super().recv(*arguments)


def set_timeout(connected: Any, seconds: float) -> None:
    """Have a socket wait no longer. To set a timeout is a system call, which most reads need not make."""
    if connected.gettimeout() != seconds:
        connected.settimeout(seconds)


class _Bounded(HTTPConnection):
    """What both classes do otherwise than botocore."""

    timeout: float
    port: int
    _dns_host: str
    sock: Any
    response_class: Any
    _original_response_cls: Any
    _response_received: bool

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.response_class = self._original_response_cls = WholeHead

    def request(self, *request: Any, **options: Any) -> None:
        # A reply that came before the body leaves its status behind: botocore would take it for that of the
        # next request with Expect over this connection, and the real one for headers.
        self.response_class = self._original_response_cls
        super().request(*request, **options)

    def _new_conn(self) -> Any:
        # urllib3 would grant each of S3's eight addresses the whole timeout.
        host, timeout = self._dns_host, self.timeout
        failed: Exception | None = None
        try:
            for *_, address in _resolved(host, self.port, self):
                self._dns_host, self.timeout = address[0], waits.get().for_one()
                try:
                    return _bounded(super()._new_conn(), timeout)
                except (ConnectTimeoutError, NewConnectionError) as error:
                    failed = error
        finally:
            self._dns_host, self.timeout = host, timeout
        raise failed or NewConnectionError(self, f"{host} has no address")

    def send(self, data: Any) -> None:
        if self._response_received:
            # botocore would send nothing of it, while urllib3 pulls the whole body: of a refused part that is
            # its range of the source. This is how it hears of a peer that has answered already.
            raise BrokenPipeError("answered before the body was sent")
        under_way = waits.get()
        under_way.start_sending()
        if self.sock is not None:
            set_timeout(self.sock, under_way.for_one())
        super().send(data)

    def getresponse(self) -> Any:
        waits.get().start_reply()
        if isinstance(self.response_class, partial):  # botocore has read the status line of a refusal
            status = self.response_class.keywords["status_tuple"]
            check_line(status[-1].encode())
            self.response_class = partial(_Refusal, **self.response_class.keywords)
        return super().getresponse()

    def _consume_headers(self, fp: Any) -> None:
        # botocore would read on for ever where the connection has ended after 100 Continue.
        while check_line(fp.readline()) != b"\r\n":
            pass


def _resolved(host: str, port: int, connection: Any) -> list[Any]:
    seconds = waits.get().for_one()
    found = aside(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    try:
        return found.result(seconds)
    except TimeoutError as error:
        told = f"the address of {host} was not found within {seconds:g} s"
        raise ConnectTimeoutError(connection, told) from error
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error


def _bounded(connected: socket.socket, stall_timeout: float) -> _Socket:
    """The same connection, as a socket whose reads are bounded."""
    seconds = connected.gettimeout()
    bounded = _Socket(connected.family, connected.type, connected.proto, connected.detach())
    bounded.settimeout(seconds)
    # The last bytes of a body are in the kernel's buffers when they count as sent: a peer that does not read
    # them would be waited for as one that makes a reply.
    bounded.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_timeout * 1000))
    return bounded


class _Refusal(WholeHead, AWSHTTPResponse):  # type: ignore[misc]  # untyped
    """A reply that came in place of 100 Continue."""

    _status_tuple: Any

    @property
    def status_is_read(self) -> bool:
        return self._status_tuple is not None


class _Connection(_Bounded, AWSHTTPConnection):  # type: ignore[misc]  # untyped
    pass


class _TlsConnection(_Bounded, AWSHTTPSConnection):  # type: ignore[misc]  # untyped
    def connect(self) -> None:
        self.ssl_context.sslsocket_class = _TlsSocket
        super().connect()

    def _connect_tls_proxy(self, *arguments: Any) -> Any:
        # urllib3 makes a context of its own for a proxy, and takes none that would verify as that does.
        connected = super()._connect_tls_proxy(*arguments)
        connected.__class__ = _TlsSocket
        return connected


class _WholeBodies:
    """A pool whose replies may not end before their Content-Length: botocore turns urllib3's check off.

    Otherwise an XML document that is cut to nothing is a reply without an ETag, and no broken connection.
    """

    def urlopen(self, *request: Any, **options: Any) -> Any:
        return super().urlopen(*request, **options | {"enforce_content_length": True})  # type: ignore[misc]


class _Pool(_WholeBodies, AWSHTTPConnectionPool):  # type: ignore[misc]  # untyped
    ConnectionCls = _Connection


class _TlsPool(_WholeBodies, AWSHTTPSConnectionPool):  # type: ignore[misc]  # untyped
    ConnectionCls = _TlsConnection


def bound(client: Any) -> None:
    """Have a new client make connections of these kinds; botocore has no option for it."""
    client._endpoint.http_session._pool_classes_by_scheme.update(http=_Pool, https=_TlsPool)  # noqa: SLF001
