"""A transport whose requests fail as its faults say; all other requests use the real transport."""

import itertools
import sys
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from typing import Any, ClassVar

from asyncstream.errors import ConnectionFailed, ServiceBusy
from asyncstream.pipeline.body import ChunkBody
from asyncstream.ports import ByteStream, TimeLeft, Transport, for_ever

ALWAYS = range(1, sys.maxsize)


class Fault(ABC):
    """A failure of the requests of one operation that have the given parameters.

    Args:
        operation: "GetObject" and so on.
        times: the numbers of the requests to fail, counted from 1.
        parameters: under the names of the SDK's operation.
    """

    def __init__(self, operation: str, times: Container[int] = (1,), **parameters: Any) -> None:
        self._operation = operation
        self._times = times
        self._parameters = parameters
        self._seen = itertools.count(1)  # atomic, because several threads send

    def befalls(self, operation: str, params: Mapping[str, Any]) -> bool:
        return (
            operation == self._operation
            and self._parameters.items() <= {**params, "Body": None}.items()
            and next(self._seen) in self._times
        )

    @abstractmethod
    async def call(
        self, transport: Transport, operation: str, params: Mapping[str, Any], region: str | None
    ) -> dict[str, Any]:
        """Send the request, and fail it."""


class Refused(Fault):
    """S3 is busy, and refuses the request without reading it."""

    async def call(
        self, transport: Transport, operation: str, params: Mapping[str, Any], region: str | None
    ) -> dict[str, Any]:
        raise ServiceBusy(f"{operation}: SlowDown")


class ReplyLost(Fault):
    """S3 executes the request, and the connection breaks before its reply."""

    async def call(
        self, transport: Transport, operation: str, params: Mapping[str, Any], region: str | None
    ) -> dict[str, Any]:
        await transport.call(operation, params, region)
        raise ConnectionFailed(f"{operation}: the reply was lost")


class UploadBroken(Fault):
    """The connection breaks while the client sends the body, one chunk before its end."""

    async def call(
        self, transport: Transport, operation: str, params: Mapping[str, Any], region: str | None
    ) -> dict[str, Any]:
        return await transport.call(operation, {**params, "Body": _BrokenBody(params["Body"])}, region)


class DownloadBroken(Fault):
    """The connection breaks while the client receives the body, after one chunk."""

    async def call(
        self, transport: Transport, operation: str, params: Mapping[str, Any], region: str | None
    ) -> dict[str, Any]:
        reply = await transport.call(operation, params, region)
        return {**reply, "Body": _Doomed(reply["Body"], ends_silently=False)}


class DownloadTruncated(Fault):
    """The body ends after one chunk as if it were complete."""

    async def call(
        self, transport: Transport, operation: str, params: Mapping[str, Any], region: str | None
    ) -> dict[str, Any]:
        reply = await transport.call(operation, params, region)
        return {**reply, "Body": _Doomed(reply["Body"], ends_silently=True)}


class FaultyTransport:
    """Asks the faults about every request, in order; the first that applies decides.

    The faults are a class attribute: they change with every test, while sessions keep their transports.
    """

    faults: ClassVar[Sequence[Fault]] = ()

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def slot_bytes(self) -> int:
        return self._transport.slot_bytes

    @property
    def is_aws(self) -> bool:
        return self._transport.is_aws

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        for fault in self.faults:
            if fault.befalls(operation, params):
                return await fault.call(self._transport, operation, params, region)
        return await self._transport.call(operation, params, region, left)

    def stream(self, body: Any, length: int, left: TimeLeft = for_ever) -> ByteStream:
        if isinstance(body, _Doomed):
            return _DoomedStream(self._transport.stream(body.body, length, left), body.ends_silently)
        return self._transport.stream(body, length, left)

    @property
    def renewals(self) -> int:
        return self._transport.renewals

    async def renew(self, renewals: int) -> None:
        await self._transport.renew(renewals)

    async def close(self) -> None:
        await self._transport.close()


class _BrokenBody:
    def __init__(self, body: ChunkBody) -> None:
        self._body = body
        self.length = body.length
        self.digests = body.digests
        self.error: Exception | None = None

    async def next_chunk(self) -> bytes | memoryview:
        chunk = await self._body.next_chunk()
        if self._body.moved == self.length:
            raise ConnectionResetError("the connection broke while the body was sent")
        return chunk


class _Doomed:
    def __init__(self, body: Any, *, ends_silently: bool) -> None:
        self.body = body
        self.ends_silently = ends_silently


class _DoomedStream:
    def __init__(self, stream: ByteStream, ends_silently: bool) -> None:
        self._stream = stream
        self._ends_silently = ends_silently
        self._read = False

    async def read(self) -> bytes | memoryview:
        if not self._read:
            self._read = True
            return await self._stream.read()
        if self._ends_silently:
            return b""
        raise ConnectionFailed("the connection broke while the body was received")

    async def close(self) -> None:
        await self._stream.close()
