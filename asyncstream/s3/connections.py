"""botocore's connections, made to wait no longer than a call may take; set up by `blocking.py`."""

import socket
from contextvars import ContextVar
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

from asyncstream.ports import TimeLeft, for_ever
from asyncstream.reply_heads import WholeHead, check_line

# A socket with a timeout of 0 would not wait at all, and fail in another way.
_SHORTEST = 0.001


# Tells the seconds that the call under way on this thread may still take: no option of the SDK reaches a
# single call.
time_left: ContextVar[TimeLeft] = ContextVar("time_left", default=for_ever)


def cut(timeout: float, left: float) -> float:
    """Seconds that a socket may wait: its timeout, unless less is left."""
    return max(_SHORTEST, min(timeout, left))


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
                self._dns_host, self.timeout = address[0], cut(timeout, time_left.get()())
                try:
                    return super()._new_conn()
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
        left = time_left.get()()
        if self.sock is not None and left < self.timeout:
            self.sock.settimeout(cut(self.timeout, left))
        super().send(data)

    def getresponse(self) -> Any:
        self.timeout = cut(self.timeout, time_left.get()())
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
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error


class _Refusal(WholeHead, AWSHTTPResponse):  # type: ignore[misc]  # untyped
    """A reply that came in place of 100 Continue."""

    _status_tuple: Any

    @property
    def status_is_read(self) -> bool:
        return self._status_tuple is not None


class _Connection(_Bounded, AWSHTTPConnection):  # type: ignore[misc]  # untyped
    pass


class _TlsConnection(_Bounded, AWSHTTPSConnection):  # type: ignore[misc]  # untyped
    pass


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
