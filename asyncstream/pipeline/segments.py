"""What an upload sends: segments, which know their length and can be opened as often as it takes."""

from typing import Any

from asyncstream.objects import ByteRange
from asyncstream.pipeline.body import BytesBody, ChunkBody
from asyncstream.pipeline.output import OutputPart
from asyncstream.pipeline.source import SourceReader
from asyncstream.pipeline.tasks import Task


class RangeSegment:
    """A range of the file's source: its bytes pass through."""

    def __init__(self, range_: ByteRange, reader: SourceReader) -> None:
        self.range = range_
        self.start = range_.start
        self.length = range_.length
        self._reader = reader

    async def open(self, task: Task[Any]) -> ChunkBody:
        """GET the range; the first range of a file is open already."""
        file, reading = task.file, None
        if self.range.start == 0:
            reading, file.open_range = file.open_range, None
        if reading is None:
            task.attempts += 1
            reading = await self._reader.open(task, self.range if self.length else None)
        return self._reader.body(lambda: task, reading, self.range)

    def discard(self) -> None:
        """Do nothing: a range holds no memory."""


class MemorySegment:
    """A part that a transform has made, in memory."""

    def __init__(self, part: OutputPart) -> None:
        self.start = part.start
        self.length = part.length
        self._part = part

    async def open(self, task: Task[Any]) -> BytesBody:
        """Return its bytes from the first on."""
        task.attempts += 1
        return self._part.body(task.file.stop.check)

    def discard(self) -> None:
        """Give the memory back."""
        self._part.clear()
