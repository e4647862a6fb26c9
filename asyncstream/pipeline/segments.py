"""What an upload sends: segments, which know their length and can be opened as often as it takes."""

from collections.abc import Awaitable, Callable
from typing import Any

from asyncstream.errors import AsyncstreamError
from asyncstream.objects import ByteRange, CompletedPart, Written
from asyncstream.pipeline import progress, verification
from asyncstream.pipeline.body import BytesBody, ChunkBody
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.output import OutputPart
from asyncstream.pipeline.source import SourceReader
from asyncstream.pipeline.tasks import Begin, FileFacts, Segment, SendPart, Task
from asyncstream.ports import Body


class RangeSegment:
    """A range of the file's source: its bytes pass through."""

    def __init__(self, range_: ByteRange, reader: SourceReader, on_event: progress.OnEvent) -> None:
        self.range = range_
        self.length = range_.length
        self.moved = 0
        self._reader = reader
        self._on_event = on_event

    async def open(self, task: Task[Any]) -> ChunkBody:
        """GET the range; the first one of a file is open already."""
        file, reading = task.file, None
        self.moved = task.moved = 0
        if self.range.start == 0:
            reading, file.first = file.first, None
        if reading is None:
            task.attempts += 1
            reading = await self._reader.open(task, self.range if self.length else None)

        def count(size: int) -> None:
            self.moved += size
            task.moved = self.moved
            self._on_event(progress.BytesMoved(file.job.source, file.job.destination, size))

        return self._reader.body(lambda: task, reading, self.range, count)

    def discard(self) -> None:
        """Nothing is held."""


class MemorySegment:
    """A part that a transform has made, in memory."""

    moved = 0  # of the source bytes progress was told when they were read

    def __init__(self, part: OutputPart, check: Callable[[FileFacts], None]) -> None:
        self.length = part.length
        self._part = part
        self._check = check

    async def open(self, task: Task[Any]) -> BytesBody:
        """Return its bytes from the first on."""
        task.attempts += 1
        return self._part.body(lambda: self._check(task.file))

    def discard(self) -> None:
        """Give the memory back."""
        self._part.clear()


class Sender:
    """Sends segments. One for a transfer; holds nothing that changes."""

    def __init__(self, context: TransferContext, reader: SourceReader) -> None:
        self._store = context.store
        self._on_event = context.on_event
        self._reader = reader

    async def send_part(self, task: SendPart) -> CompletedPart:
        """Send one part, to S3's confirmation."""
        upload = task.file.upload
        assert upload is not None  # noqa: S101 - parts are planned only after the upload was opened
        written, body = await self.send(
            task, task.segment, lambda body: self._store.upload_part(upload, task.number, body)
        )
        digests = body.digests
        return CompletedPart(task.number, written.etag, body.length, digests.checksums(), digests.pieces())

    async def send(
        self, task: Task[Any], segment: Segment, write: Callable[[Body], Awaitable[Written]]
    ) -> tuple[Written, Body]:
        """Send a segment, as often as it takes; return S3's reply and the body that it compares with.

        Raises:
            ChecksumMismatch: S3 has received something else each time.
        """
        job = task.file.job

        async def once() -> tuple[Written, Body]:
            body = await segment.open(task)
            try:
                with task.span.child("PUT"):
                    written = await write(body)
            finally:
                await body.close()
            visible = " It is visible until it is overwritten." if isinstance(task, Begin) else ""
            verification.compare_received(written, body, job.destination, visible)
            return written, body

        def on_retry(error: AsyncstreamError, _: float) -> None:
            self._on_event(
                progress.PartRetried(job.source, job.destination, segment.moved, task.attempts, error)
            )

        try:
            return await self._reader.repeat(task, once, on_retry)
        finally:
            segment.discard()
