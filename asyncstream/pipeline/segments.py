"""What an upload sends: segments, which know their length and can be opened as often as it takes."""

from typing import Any

from asyncstream.objects import ByteRange
from asyncstream.pipeline import progress
from asyncstream.pipeline.body import BytesBody, ChunkBody
from asyncstream.pipeline.output import OutputPart
from asyncstream.pipeline.source import SourceReader
from asyncstream.pipeline.tasks import Task


class RangeSegment:
    """A range of the file's source: its bytes pass through."""

    def __init__(self, range_: ByteRange, reader: SourceReader, on_event: progress.OnEvent) -> None:
        self.range = range_
        self.length = range_.length
        self.moved = 0
        self._reader = reader
        self._on_event = on_event

    async def open(self, task: Task[Any]) -> ChunkBody:
        """GET the range; the first range of a file is open already."""
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
        """Do nothing: a range holds no memory."""


class MemorySegment:
    """A part that a transform has made, in memory."""

    moved = 0  # progress has counted the bytes of the source when they were read

    def __init__(self, part: OutputPart) -> None:
        self.length = part.length
        self._part = part

    async def open(self, task: Task[Any]) -> BytesBody:
        """Return its bytes from the first on."""
        task.attempts += 1
        return self._part.body(task.file.stop.check)

    def discard(self) -> None:
        """Give the memory back."""
        self._part.clear()
