"""What a slot does for a file that is changed on its way: parts filled and sent; called by `parts.py`."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from asyncstream.checksum import CRC64NVME
from asyncstream.deadline import Deadline
from asyncstream.errors import AsyncstreamError, Cancelled
from asyncstream.objects import ByteRange, Written
from asyncstream.pipeline import progress, verification
from asyncstream.pipeline.body import BytesBody
from asyncstream.pipeline.output import Output, OutputPart, PartBuffers, Transforming
from asyncstream.pipeline.reading import SourceReader
from asyncstream.pipeline.tasks import Begin, FillPart, Task
from asyncstream.ports import Body, Engine
from asyncstream.transforms import Running
from asyncstream.transforms.protocol import PIECE, slices


class PartFiller:
    """Has a transform make parts of a source, and sends them. One for a transfer.

    Args:
        engine: which computes.
        reader: of the sources.
        transforming: what to make of them.
        deadline: after which nothing more is made or sent.
        on_event: progress callback.
    """

    def __init__(
        self,
        engine: Engine,
        reader: SourceReader,
        transforming: Transforming,
        deadline: Deadline,
        on_event: progress.OnEvent,
    ) -> None:
        self.transforming = transforming
        self._engine = engine
        self._reader = reader
        self._deadline = deadline
        self._on_event = on_event
        self._buffers = PartBuffers()

    async def begin(self, task: Begin) -> OutputPart:
        """The first part of a file whose source is open; all there is, if `file.output.ended`."""
        file, made = task.file, self.transforming
        reading, file.first = file.first, None
        assert reading is not None  # noqa: S101 - opened by the same task

        def count(size: int) -> None:
            output.told += size
            self._on_event(progress.BytesMoved(file.job.source, file.job.destination, size))

        def now() -> Task:
            current: Task = task if file.output is None else file.output.task
            return current

        source = self._reader.body(now, reading, ByteRange(0, reading.opened.size), count)
        try:
            running = await self._engine.compute(  # a user's class may take its time to be made, too
                partial(
                    Running,
                    made.factory,
                    max_output=made.max_output,
                    max_ratio=made.max_ratio,
                    between=partial(self._check, task),
                    memory=file.memory,
                )
            )
        except BaseException:
            await source.close()
            raise
        output = file.output = Output(source, running)
        return await self._fill(task, output)

    async def fill(self, task: FillPart) -> OutputPart:
        """The next part; if `file.output.ended` the last, and perhaps empty."""
        output = task.file.output
        assert output is not None  # noqa: S101 - made by Begin
        return await self._fill(task, output)

    async def _fill(self, task: Task, output: Output) -> OutputPart:
        part = OutputPart(task.room, self._buffers, task.file.digests & {CRC64NVME})
        output.task, told = task, output.told
        try:
            with task.span.child("transform"):
                while not part.full and not output.ended:
                    self._check(task)
                    if output.hungry:
                        output.feed(await self._chunks(output))
                    await self._engine.compute(partial(output.fill, part))
            if output.ended:
                await output.close()
        except BaseException:
            part.clear()
            raise
        finally:
            task.moved = output.told - told
        return part

    async def _chunks(self, output: Output) -> Sequence[bytes | memoryview]:
        """The next chunks of the source: as many as are worth a hop to where they are computed with."""
        source = output.source
        assert source is not None  # noqa: S101 - closed only when nothing more is made
        chunks: list[bytes | memoryview] = []
        size = 0
        while size < self._engine.computes_at_once:
            chunk = await source.next_chunk()
            if not chunk:
                break
            # A view is valid until the next chunk only; bytes are not copied by this.
            # Cut, so that a transform has as little in hand with any `chunk_size`.
            chunks += slices(chunk if self._engine.computes_at_once == 1 else bytes(chunk), PIECE)
            size += len(chunk)
        return chunks

    async def send(
        self, task: Task, part: OutputPart, send: Callable[[Body], Awaitable[Written]]
    ) -> tuple[Written, BytesBody]:
        """A part sent, from memory each time; what S3 replied, and the body that it compares with."""
        source, destination = task.file.job.source, task.file.job.destination

        async def once() -> tuple[Written, BytesBody]:
            task.attempts += 1
            body = part.body(partial(self._check, task))
            try:
                with task.span.child("PUT"):
                    written = await send(body)
            finally:
                body.close()
            visible = " It is visible until it is overwritten." if isinstance(task, Begin) else ""
            verification.compare_received(written, body, destination, visible)
            return written, body

        def on_retry(error: AsyncstreamError, _: float) -> None:
            self._on_event(progress.PartRetried(source, destination, 0, task.attempts, error))

        try:
            return await self._reader.repeat(task, once, on_retry)
        finally:
            part.clear()

    def keep(self, most: int) -> None:
        """Keep at most so many bytes of parts that were sent, for those to come."""
        self._buffers.keep(most)

    def _check(self, task: Task) -> None:
        if task.file.stop:
            raise Cancelled("stopped before its last byte")
        self._deadline.check()
