"""The one body: SDKs pull `ChunkBody.next_chunk` while they send.

For boto3 a `read()` drives `next_chunk` by one `send(None)`, for aiohttp `__aiter__` awaits it. `ChunkBody`
counts bytes, checks the length, runs the checksums, reports progress, resumes a broken source over another
connection, and checks the stop flag and the deadline. No other code does any of this.
"""

from collections.abc import Awaitable, Callable

from asyncstream.checksum import CRC64NVME, Checksum, Composite, Digests
from asyncstream.deadline import NO_DEADLINE, Deadline
from asyncstream.errors import (
    AsyncstreamError,
    Cancelled,
    ChecksumMismatch,
    ConnectionFailed,
    NothingYet,
    TruncatedBody,
)
from asyncstream.ports import ByteStream
from asyncstream.units import KiB, MiB

# Seconds that a body may pause for while it is sent: S3 ends a PUT that pauses for 20.
LONGEST_PAUSE = 15.0
# After this many bytes of progress, a broken connection resets the failure count.
PROGRESS = 4 * MiB
# Bytes of a body in memory that are sent at a time.
_PIECE = 256 * KiB


class StopFlag:
    """Says when work has to stop: once it or its parent is set, or the time is up.

    Args:
        deadline: after which nothing goes on.
        parent: the flag of the whole transfer.
    """

    def __init__(self, deadline: Deadline = NO_DEADLINE, parent: "StopFlag | None" = None) -> None:
        self.deadline = deadline
        self._parent = parent
        self._set = False

    def set(self) -> None:
        """Ask all bodies that share this flag to stop at their next chunk."""
        self._set = True

    def check(self) -> None:
        """Raise Cancelled once the flag is set, and DeadlineExceeded once the time is up."""
        if self:
            raise Cancelled("stopped before its last byte")
        self.deadline.check()

    def __bool__(self) -> bool:
        return self._set or bool(self._parent)


class ChunkBody:
    """One range of a source on its way into one upload.

    Args:
        stream: the body of the ranged GET.
        length: bytes of the range; the body hands on exactly this many. None: it hands on all there are, and
            its own `length` is known at the end.
        stop: checked before each chunk.
        digests: the checksums that run over the bytes.
        expected: the checksum that the bytes must have; the body does not hand on the last chunk otherwise.
        on_bytes: called with the size of each chunk.
        resume: opens the range again from a byte on, given the number of failures without progress; returns
            None to give up.
    """

    def __init__(
        self,
        stream: ByteStream,
        length: int | None,
        *,
        stop: StopFlag,
        digests: Digests,
        expected: Checksum | Composite | None,
        on_bytes: Callable[[int], None],
        resume: Callable[[AsyncstreamError, int, int, float], Awaitable[ByteStream | None]],
    ) -> None:
        self.length = length or 0
        self.moved = 0
        self.error: Exception | None = None
        self.digests = digests
        self._sized = length is not None
        self._ended = length == 0
        self._stream = stream
        self._stop = stop
        self._expected = expected
        self._on_bytes = on_bytes
        self._resume = resume
        self._failures = 0
        self._failed_at = 0

    async def next_chunk(self) -> bytes | memoryview:
        """Return the next bytes; empty at the end. A memoryview is valid until the next call.

        Raises:
            TruncatedBody, ConnectionFailed: the connection broke, and could not be resumed in time.
            SourceChanged: the source was overwritten in the meantime.
            ChecksumMismatch: the bytes differ from those that S3 has a checksum of.
            Cancelled, DeadlineExceeded: see `StopFlag`.
        """
        if self._ended:
            return b""
        try:
            chunk = await self._read()
            self.moved += len(chunk)
            self.digests.update(chunk)
            self._ended = self.moved == self.length if self._sized else not chunk
            if self._ended:
                self.length = self.moved
                self._check_whole()
                # Another GET can use the connection while this upload waits for its reply.
                await self._stream.close()
            self._on_bytes(len(chunk))
        except Exception as error:
            self.error = error
            raise
        return chunk

    def check(self) -> None:
        """Raise Cancelled or DeadlineExceeded once the body must stop; see `StopFlag`."""
        self._stop.check()

    async def close(self) -> None:
        """Give the source's connection back, or close it."""
        await self._stream.close()

    async def _read(self) -> bytes | memoryview:
        pause_ends = self._stop.deadline.now() + LONGEST_PAUSE
        while True:
            self._stop.check()
            try:
                chunk = await self._stream.read()
                if not self._sized:
                    return chunk
                if not chunk:
                    raise TruncatedBody(f"the source ended after {self.moved} of {self.length} bytes")
                # The first GET of an object over 5 GiB asks for all of it; its first part ends here.
                return chunk[: self.length - self.moved]
            except ChecksumMismatch:
                raise  # what was read before, and is sent already, may be wrong
            except NothingYet as silent:
                if self._sized and self._stop.deadline.now() >= pause_ends:
                    raise ConnectionFailed(f"no new bytes for {LONGEST_PAUSE:g} s") from silent
            except AsyncstreamError as error:
                await self._resume_after(error, pause_ends)

    async def _resume_after(self, broke: AsyncstreamError, pause_ends: float) -> None:
        """Continue from the byte reached, over another connection, while the upload waits."""
        if self.moved - self._failed_at >= PROGRESS:
            self._failures = 0
        self._failures += 1
        self._failed_at = self.moved
        await self._stream.close()
        if self._stop.deadline.now() >= pause_ends:
            raise broke
        stream = await self._resume(broke, self.moved, self._failures, pause_ends)
        if stream is None:
            raise broke
        self._stream = stream
        if self._stop.deadline.now() >= pause_ends:
            raise broke

    def _check_whole(self) -> None:
        expected = self._expected
        if expected is None:
            return
        found: Checksum | Composite = (
            self.digests.composed()
            if isinstance(expected, Composite)
            else self.digests.checksums()[expected.kind]
        )
        if found != expected:
            raise ChecksumMismatch(
                f"the {self.length} bytes read have the {found.kind} {found.value}, "
                f"their source {expected.value}: they were changed on their way"
            )


class BytesBody:
    """Bytes in memory, as the body of an upload: their checksums are known before the first is sent.

    Args:
        content: the bytes.
        digests: their checksums; default: a CRC64NVME, computed here.
        check: called before each chunk; raises to stop.
    """

    def __init__(
        self,
        content: bytes | memoryview,
        digests: Digests | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.length = len(content)
        self.error: Exception | None = None
        if digests is None:
            digests = Digests([CRC64NVME])
            digests.update(content)
        self.digests = digests
        self._content = content
        self._starts = iter(range(0, self.length, _PIECE))
        self.check = check

    async def next_chunk(self) -> bytes:
        """Return the next bytes; empty at the end.

        Raises:
            Cancelled, DeadlineExceeded: `check` raised it.
        """
        try:
            self.check()
        except Exception as error:
            self.error = error
            raise
        start = next(self._starts, self.length)
        # A copy: after a failed request the SDK may still hold the chunk when another part uses the memory.
        # As short as a chunk of a source, because a socket's timeout is that of a chunk.
        return bytes(self._content[start : start + _PIECE])

    async def close(self) -> None:
        """Drop the bytes, which an error's traceback would otherwise keep as long as the error."""
        self._content = b""
