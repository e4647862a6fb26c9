"""botocore's connections, made to wait no longer than a call may take; set up by `blocking.py`."""

from contextvars import ContextVar
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from asyncstream.ports import TimeLeft, for_ever

# A socket with a timeout of 0 would not wait at all, and fail in another way.
_SHORTEST = 0.001


# Tells the seconds that the call under way on this thread may still take: no option of the SDK reaches a
# single call.
time_left: ContextVar[TimeLeft] = ContextVar("time_left", default=for_ever)


def cut(timeout: float, left: float) -> float:
    """Seconds that a socket may wait: its timeout, unless less is left."""
    return max(_SHORTEST, min(timeout, left))


class _Bounded:
    """What both classes do otherwise than botocore."""

    timeout: float
    sock: Any
    response_class: Any
    _original_response_cls: Any
    _response_received: bool

    def request(self, *request: Any, **options: Any) -> None:
        # A reply that came before the body leaves its status behind: botocore would take it for that of the
        # next request with Expect over this connection, and the real one for headers.
        self.response_class = self._original_response_cls
        super().request(*request, **options)  # type: ignore[misc]

    def connect(self) -> None:
        self.timeout = cut(self.timeout, time_left.get()())
        super().connect()  # type: ignore[misc]

    def send(self, data: Any) -> None:
        if self._response_received:
            # botocore would send nothing of it, while urllib3 pulls the whole body: of a refused part that is
            # its range of the source. This is how it hears of a peer that has answered already.
            raise BrokenPipeError("answered before the body was sent")
        left = time_left.get()()
        if self.sock is not None and left < self.timeout:
            self.sock.settimeout(cut(self.timeout, left))
        super().send(data)  # type: ignore[misc]

    def getresponse(self) -> Any:
        self.timeout = cut(self.timeout, time_left.get()())
        return super().getresponse()  # type: ignore[misc]


class _Connection(_Bounded, AWSHTTPConnection):  # type: ignore[misc]  # untyped
    pass


class _TlsConnection(_Bounded, AWSHTTPSConnection):  # type: ignore[misc]  # untyped
    pass


class _Pool(AWSHTTPConnectionPool):  # type: ignore[misc]  # untyped
    ConnectionCls = _Connection


class _TlsPool(AWSHTTPSConnectionPool):  # type: ignore[misc]  # untyped
    ConnectionCls = _TlsConnection


def bound(client: Any) -> None:
    """Have a new client make connections of these kinds; botocore has no option for it."""
    client._endpoint.http_session._pool_classes_by_scheme.update(http=_Pool, https=_TlsPool)  # noqa: SLF001
