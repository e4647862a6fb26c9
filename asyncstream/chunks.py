"""The one body: `ChunkBody.next_chunk`, pulled by the SDKs while they send; made by `parts.py`.

For boto3 a `read()` drives `next_chunk` by one `send(None)`, for aiohttp `__aiter__` awaits it. Nothing
of what it does stands anywhere else: it counts, checks the length, tells progress, and looks at the stop
flag and the deadline.
"""

import math
from collections.abc import Callable

from asyncstream.errors import AsyncstreamError, Cancelled, DeadlineExceeded, TruncatedBody
from asyncstream.ports import ByteStream


class StopFlag:
    """Set once, by the coordinator; looked at by every chunk of the bodies that share it."""

    def __init__(self, parent: "StopFlag | None" = None) -> None:
        self._parent = parent
        self._set = False

    def set(self) -> None:
        """Ask all bodies that share this flag to stop at their next chunk."""
        self._set = True

    def __bool__(self) -> bool:
        return self._set or bool(self._parent)


class Deadline:
    """A point in time after which no byte moves."""

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds

    def left(self) -> float:
        """Seconds until the time is up."""
        return math.inf if self._end is None else self._end - self._clock()

    def check(self) -> None:
        """Raise DeadlineExceeded when the time is up."""
        if self.left() <= 0:
            raise DeadlineExceeded(f"the deadline of {self.seconds:g} s passed before the work was done")


class ChunkBody:
    """One range of a source on its way into one upload.

    Args:
        stream: the body of the ranged GET.
        length: bytes of the range: exactly so many are handed on.
        stop: raises Cancelled in the next chunk once set.
        deadline: raises DeadlineExceeded in the next chunk once passed.
        on_bytes: told the size of each chunk.
    """

    def __init__(
        self,
        stream: ByteStream,
        length: int,
        stop: StopFlag,
        deadline: Deadline,
        on_bytes: Callable[[int], None],
    ) -> None:
        self.length = length
        self.moved = 0
        self.error: Exception | None = None
        self._stream = stream
        self._stop = stop
        self._deadline = deadline
        self._on_bytes = on_bytes

    async def next_chunk(self) -> bytes | memoryview:
        """The next bytes; empty at the end. A memoryview is valid until the next call.

        Raises:
            TruncatedBody: the source ended early.
            Cancelled, DeadlineExceeded: see the class.
            ConnectionFailed: from the stream.
        """
        if self.moved == self.length:
            return b""
        try:
            if self._stop:
                raise Cancelled("stopped before its last byte")
            self._deadline.check()
            chunk = await self._stream.read()
            size = len(chunk)
            if not size:
                raise TruncatedBody(f"the source ended after {self.moved} of {self.length} bytes")
            if self.moved + size > self.length:
                raise AsyncstreamError(f"the source sent more than the {self.length} bytes it promised")
            self.moved += size
            self._on_bytes(size)
        except Exception as error:
            self.error = error
            raise
        return chunk


class BytesBody:
    """Bytes already in memory, as the body of an upload: for reports."""

    def __init__(self, content: bytes) -> None:
        self.length = len(content)
        self.error: Exception | None = None
        self._content = content

    async def next_chunk(self) -> bytes:
        """All of it at the first call, then nothing."""
        chunk, self._content = self._content, b""
        return chunk
