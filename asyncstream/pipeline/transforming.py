"""Files changed by a transform: it makes parts in memory, and one is sent while it makes the next."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.errors import OutputTooLarge
from asyncstream.locations import SourceFile, TargetFile
from asyncstream.objects import MAX_PARTS, ByteRange, Stored
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.file_tasks import FileTasks
from asyncstream.pipeline.output import Output, OutputPart, PartBuffers, TransformSettings
from asyncstream.pipeline.segments import MemorySegment
from asyncstream.pipeline.tasks import (
    Begin,
    FileFacts,
    FillPart,
    Needs,
    OpenRange,
    Parts,
    Segment,
    SendPart,
    Task,
    send_after,
)
from asyncstream.ports import Body, Opened
from asyncstream.transforms import Held, Running
from asyncstream.transforms.protocol import PIECE, slices

# Content types that are wrong for bytes that a transform has unpacked or packed.
_COMPRESSED = re.compile(r"application/(x-)?(gzip|zstd|bzip2|xz)", re.IGNORECASE)


class TransformTasks(FileTasks):
    """Change each file by a transform.

    A part of a source of unknown size is filled in memory, too: see `BufferTasks`.

    Args:
        context: what the tasks work with.
        settings: the transform and its limits.

    Attributes:
        part_size: returns the bytes of a part, by its number.
    """

    continuable = False

    def __init__(self, context: TransferContext, settings: TransformSettings) -> None:
        super().__init__(context)
        self._engine = context.engine
        self._settings = settings
        self.part_size = settings.part_size
        self._buffers = PartBuffers()
        self.needs = Needs(settings.part_size(1), settings.memory)
        self.max_memory = settings.max_memory
        self.transform = settings.name

    def part_length(self, source: SourceFile, size: int) -> int:
        """Return the file's size: a transform reads one stream, from the first byte to the last."""
        return size

    async def is_copy(self, target: TargetFile, existing: Stored, opened: Opened) -> bool:
        """Return False: only its stored origin shows that an object is a transform's output."""
        return False

    def keep(self, most: int) -> None:
        """Keep at most `most` bytes of memory of parts that were sent, for the next ones."""
        self._buffers.keep(most)

    async def open_first(self, task: Begin, existing: Stored | None) -> OpenRange:
        """Open a file's source. For a transform, only tries to send count as attempts."""
        try:
            return await super().open_first(task, existing)
        finally:
            task.attempts = 0

    async def first_segment(self, task: Begin, opened: Opened) -> Segment:
        """Make the first part."""
        file = task.file
        running = await self._engine.compute(  # making a user's class may take long, too
            partial(
                Running,
                self._settings.factory,
                max_output=self._settings.max_output,
                max_ratio=self._settings.max_ratio,
                between=file.stop.check,
                memory=file.transform_bytes,
            )
        )
        output = file.output = Output(running, task)
        reading, file.open_range = file.open_range, None
        assert reading is not None  # noqa: S101 - opened by the same task
        wanted = None if opened.size is None else ByteRange(0, opened.size)
        output.source = self.reader.body(lambda: output.task, reading, wanted)
        return MemorySegment(await self._fill(task))

    def goes_as_one_put(self, file: FileFacts, first: Segment) -> bool:
        """Return whether the output has ended with the first part."""
        return file.output is not None and file.output.ended

    def parts(self, task: Begin, first: Segment) -> Parts:
        """Make the parts one after the other."""
        return _MadeParts(self, send_after(task, self.send_part, first, 1))

    async def _fill(self, task: Begin | FillPart) -> OutputPart:
        """Make the next part. It is empty if the output had ended before."""
        output = task.file.output
        assert output is not None  # noqa: S101 - made by Begin
        part = OutputPart(output.length, task.part_bytes, self._buffers, task.file.digests & {CRC64NVME})
        output.task = task
        try:
            with task.span.child("transform"):
                while not part.full and not output.ended:
                    task.file.stop.check()
                    if output.hungry:
                        output.feed(await self._chunks(output))
                    await self._engine.compute(partial(output.fill, part))
            if output.ended:
                if task.file.size is None and output.source is not None:
                    task.file.size = output.source.moved
                await output.close()
        except BaseException:
            part.clear()
            raise
        return part

    async def fill_part(self, task: FillPart) -> SendPart | None:
        """Make the next part, and return the task that sends it; None: the output had ended before.

        Raises:
            OutputTooLarge: S3 takes no more parts.
        """
        part = await self._fill(task)
        if not part.length:
            return None
        if task.number > MAX_PARTS:
            part.clear()
            made = 0 if task.file.output is None else task.file.output.length
            raise OutputTooLarge(
                f"the transform's output of {task.file.job.source} needs more than S3's maximum of "
                f"{MAX_PARTS} parts ({made} bytes so far). Raise part_size, and memory_limit so that a part "
                "fits"
            )
        return send_after(task, self.send_part, MemorySegment(part), task.number)

    def attributes(self, opened: Opened) -> Mapping[str, Any]:
        """Return the source's headers without those that name the encoding of its bytes."""
        kept = {name: value for name, value in opened.attributes.items() if name != "ContentEncoding"}
        if _COMPRESSED.fullmatch(kept.get("ContentType", "")):
            del kept["ContentType"]
        return kept

    def checksum_to_declare(self, file: FileFacts, body: Body) -> Checksum | None:
        """Return the checksum of the part in memory."""
        if not self._ends.destination_of(file.job.destination).verifies(file.job.destination):
            return None
        return body.digests.checksums().get(CRC64NVME)

    async def _chunks(self, output: Output) -> Sequence[bytes | memoryview]:
        """Return the next chunks of the source: enough to be worth a hop to the thread that computes."""
        source = output.source
        assert source is not None  # noqa: S101 - closed only when nothing more is made
        chunks: list[bytes | memoryview] = []
        size = 0
        while size < self._engine.computes_at_once:
            chunk = await source.next_chunk()
            if not chunk:
                break
            # The next read overwrites a view, so it is copied if several chunks are collected. Short slices
            # keep a transform's memory independent of `chunk_size`.
            chunks += slices(chunk if self._engine.computes_at_once == 1 else bytes(chunk), PIECE)
            size += len(chunk)
        return chunks


class _AsItIs:
    """The transform of a copy: bytes stay as they are."""

    def feed(self, chunk: bytes | memoryview) -> Iterable[bytes | memoryview]:
        return (chunk,)

    def finish(self) -> bytes:
        return b""


AS_IT_IS = "", _AsItIs, Held(_AsItIs())


class BufferTasks(TransformTasks):
    """Copy files of unknown size: each part is filled in memory before it is sent."""

    def attributes(self, opened: Opened) -> Mapping[str, Any]:
        """Return the source's headers."""
        return opened.attributes


class _MadeParts(Parts):
    """The parts that a transform makes of a file, as many as it takes."""

    def __init__(self, work: TransformTasks, first: SendPart) -> None:
        super().__init__(first.file, first, planned=1)
        self._work = work
        self._filling = False

    @property
    def confirmed(self) -> bool:
        """Whether the output has ended, and S3 has confirmed all of it."""
        # While a part is filled the output may have ended, and the part is not counted yet.
        return not self._filling and self._output.ended and super().confirmed

    def make_task(self) -> Task[Any] | None:
        """Return the task that makes the next part; None while another one is made, and at the end."""
        if self._filling or self._output.ended:
            return None
        self._filling = True
        file, number = self.file, self.planned + 1
        needs = Needs(part_bytes=self._work.part_size(number))
        return FillPart(file, file.span, self._work.fill_part, needs, urgent=False, number=number)

    def record(self, task: Task[Any], value: Any) -> None:
        """Keep a part that S3 has confirmed, or the task that sends the part just made."""
        if not isinstance(task, FillPart):
            super().record(task, value)
            return
        self._filling = False
        self.ready = value
        self.planned += value is not None

    @property
    def _output(self) -> Output:
        output = self.file.output
        assert output is not None  # noqa: S101 - made by Begin, and closed only after the last part
        return output
