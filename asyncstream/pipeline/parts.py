"""What a slot does: the tasks of `tasks.py`, done. Started by the coordinator in `pipeline.py`."""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.deadline import Deadline
from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    DestinationExists,
    NotModified,
    SourceChanged,
)
from asyncstream.objects import ByteRange, CompletedPart, Origin, Stored, Written
from asyncstream.pipeline import plan, progress, resuming, verification
from asyncstream.pipeline.body import ChunkBody
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.output import OutputPart, Transforming
from asyncstream.pipeline.reading import SourceReader
from asyncstream.pipeline.tasks import (
    Begin,
    Complete,
    FileInProgress,
    FillPart,
    MovePart,
    OpenRange,
    Pause,
    Resume,
    SendPart,
    Task,
)
from asyncstream.pipeline.transforming import PartFiller
from asyncstream.pipeline.uploads import Uploads
from asyncstream.ports import Body, Engine, Opened, Store
from asyncstream.retry import Retrying

# Sends a body by the function given, as often as it takes.
Move = Callable[[Callable[[Body], Awaitable[Written]]], Awaitable[tuple[Written, Body]]]

# Of what is no longer compressed, or now is, these say nothing that is true.
_COMPRESSED = re.compile(r"application/(x-)?(gzip|zstd|bzip2|xz)", re.IGNORECASE)


class PartMover:
    """Runs tasks. One for a transfer; holds nothing that changes."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        config: TransferConfig,
        reach: int,
        deadline: Deadline,
        on_event: progress.OnEvent,
        transforming: Transforming | None = None,
    ) -> None:
        self._store = store
        self._config = config
        self._reach = reach
        self._on_event = on_event
        retrying = Retrying(config.retry_policy, deadline, engine.sleep)
        self._reader = SourceReader(store, retrying, on_event)
        self._uploads = Uploads(store, engine, config, retrying, self._reader)
        self._filler = None
        if transforming is not None:
            self._filler = PartFiller(engine, self._reader, transforming, deadline, on_event)

    @property
    def transforms(self) -> bool:
        """Whether files are changed on their way."""
        return self._filler is not None

    def output_part_size(self, number: int) -> int:
        """Bytes to reserve for a part that a transform makes, by its number; 0 where files are copied."""
        return self._filler.transforming.part_size(number) if self._filler is not None else 0

    @property
    def memory(self) -> int:
        """Bytes to reserve for what the transform of a file holds, at first."""
        return self._filler.transforming.memory if self._filler is not None else 0

    @property
    def most_memory(self) -> int:
        """Bytes that the transforms of all files may hold."""
        return self._filler.transforming.most_memory if self._filler is not None else 0

    async def run(  # noqa: PLR0911 - a table
        self, task: Task
    ) -> CompletedPart | OutputPart | str | None:
        """Do what the task says; see the methods for what each returns."""
        match task:
            case Begin():
                return await self.begin(task)
            case Resume():
                return await resuming.resume(task, self._store, self._reader, self._uploads.find_written)
            case MovePart():
                return await self.move_part(task)
            case FillPart():
                assert self._filler is not None  # noqa: S101 - Begin has filled the first part
                return await self._filler.fill(task)
            case SendPart():
                return await self.send_part(task)
            case Complete():
                return await self._uploads.complete(task)
            case Pause():
                await self._close_source(task.file)
            case _:
                await self.drop(task.file)
        return None

    def keep(self, most: int) -> None:
        """Keep at most so many bytes for parts to come; 0 when there is none."""
        if self._filler is not None:
            self._filler.keep(most)

    async def begin(self, task: Begin) -> str | None:
        """The ETag of the object written, or None where the file's `upload` was opened instead."""
        file = task.file
        there = None
        if self._config.if_exists == "skip":
            there = await self._reader.ask(task, lambda: self._store.find(file.job.destination))
        elif self._config.if_exists == "fail":
            await self._check_absent(task)
        try:
            first = file.first = await self._reader.repeat(task, lambda: self._open_first(task, there))
        except NotModified:
            assert there is not None  # noqa: S101 - asked only of what is there
            return self._skip(file, there)
        opened = first.opened
        if there is not None and self._filler is None and verification.is_copy(there, opened):
            await self._close_source(file)
            return self._skip(file, there)
        plan.check_size(opened.size)
        file.size, file.etag = opened.size, opened.etag
        whole = opened.range.length == opened.size
        await self._choose_digests(task, opened, whole)
        self._on_event(progress.FileStarted(file.job.source, file.job.destination, opened.size))
        part = None if self._filler is None else await self._filler.begin(task)
        task.span.annotate(bytes=opened.range.length if part is None else part.length)
        if self._filler is not None and part is not None:
            if file.output is not None and file.output.ended:
                return await self._put(task, opened, partial(self._filler.send, task, part))
            file.filled = part
        elif whole and self._goes_as_one_put(file, opened.size):
            return await self._put(task, opened, partial(self._move, task, opened.range))

        await self._uploads.create(task, self._attributes(opened), self._origin(opened))
        return None

    async def _check_absent(self, task: Begin) -> None:
        """Look for the destination, as some servers ignore If-None-Match, which the write brings in any case.

        Raises:
            DestinationExists: it is there.
        """
        target = task.file.job.destination
        try:
            there = await self._reader.ask(task, lambda: self._store.find(target))
        except AccessDenied:  # who may only write leaves it to the server
            return
        if there is not None:
            raise DestinationExists(f'{target} is there already, and if_exists="fail": it was left as it is')

    def _origin(self, opened: Opened) -> Origin | None:
        """What a copy keeps of its source, for the next transfer to see that it need not be made again."""
        if self._config.if_exists != "skip":
            return None
        return Origin(opened.size, opened.etag, self._transform)

    @property
    def _transform(self) -> str:
        return self._filler.transforming.name if self._filler is not None else ""

    def _attributes(self, opened: Opened) -> Mapping[str, Any]:
        """What the destination keeps of the source's headers: nothing that says how its bytes are written."""
        if self._filler is None:
            return opened.attributes
        kept = {name: value for name, value in opened.attributes.items() if name != "ContentEncoding"}
        if _COMPRESSED.fullmatch(kept.get("ContentType", "")):
            del kept["ContentType"]
        return kept

    def _skip(self, file: FileInProgress, there: Stored) -> str:
        file.skipped = True
        file.size = there.size
        return there.etag

    async def move_part(self, task: MovePart) -> CompletedPart:
        """One part, from the range to S3's confirmation."""
        file = task.file
        upload = file.upload
        assert upload is not None  # noqa: S101 - parts are planned only after the upload was opened
        written, body = await self._move(
            task, task.range, lambda body: self._store.upload_part(upload, task.number, body)
        )
        digests = body.digests
        return CompletedPart(
            task.number, written.etag, task.range.length, digests.checksums(), digests.pieces()
        )

    async def send_part(self, task: SendPart) -> CompletedPart:
        """One part of a transform's output, from memory to S3's confirmation."""
        upload = task.file.upload
        assert upload is not None and self._filler is not None  # noqa: S101, PT018 - opened by Begin
        written, body = await self._filler.send(
            task, task.part, lambda body: self._store.upload_part(upload, task.number, body)
        )
        return CompletedPart(task.number, written.etag, body.length, body.digests.checksums())

    async def _choose_digests(self, task: Begin, opened: Opened, whole: bool) -> None:
        """Which checksums to run: S3's of what it receives, and the one that it keeps of the source."""
        file = task.file
        if self._config.verify == "off":
            return
        source, etag = file.job.source, opened.etag
        told: Opened | Stored = opened
        if opened.range_asked:
            # A ranged GET tells no checksum. Asked for before the bytes move, as the kind decides what runs.
            told = await self._reader.ask(task, lambda: self._store.head(source, etag))
            if told.size != opened.size:
                raise SourceChanged(f"HEAD of {source} tells {told.size} bytes, and GET {opened.size}")

        async def part_size(number: int) -> int | None:
            return await self._reader.ask(task, lambda: self._store.part_size(source, etag, number))

        await verification.choose(file, told, whole, part_size)

    def _goes_as_one_put(self, file: FileInProgress, size: int) -> bool:
        """Whether one PUT does: not if the bytes are to be verified before they become visible, and their
        checksum is known only after the last of them was sent. Then they are the one part of an upload.
        """
        return (
            self._config.verify != "before"
            or file.checksum is not None
            or self._store.sent_at_once(size)
            or not self._store.verifies(file.job.destination.bucket)
        )

    async def _put(self, task: Begin, opened: Opened, move: Move) -> str:
        """The ETag of the object that one PUT has made, of what `move` sends."""
        file = task.file
        target, kept, origin = file.job.destination, self._attributes(opened), self._origin(opened)

        async def put(body: Body) -> Written:
            checksum = self._known_before(file, body)
            try:
                return await self._store.put(target, body, kept, checksum, origin)
            except DestinationExists as error:
                # After a reply that was lost it may be what was written then.
                if not task.retries or checksum is None:
                    raise
                return await self._uploads.find_written(target, checksum, error)

        written, body = await move(put)
        expected = verification.expected(file)
        if expected is not None:
            file.read_verified = expected.kind
        if written.checksum is not None and written.checksum.kind in body.digests.checksums():
            file.write_verified = written.checksum.kind
        return written.etag

    def _known_before(self, file: FileInProgress, body: Body) -> Checksum | None:
        """The checksum of what a PUT sends, where it is known before the last byte: S3 then compares it."""
        if self._filler is None:
            return file.checksum
        if not self._store.verifies(file.job.destination.bucket):
            return None
        return body.digests.checksums().get(CRC64NVME)

    async def drop(self, file: FileInProgress) -> None:
        """Close the open body and abort the upload of a file of which no other task is running.

        Whatever the stop flag and the deadline say: nothing may be left behind.
        """
        try:
            await self._close_source(file)
        finally:
            await self._uploads.abort(file)

    async def _close_source(self, file: FileInProgress) -> None:
        first, file.first = file.first, None
        output, file.output = file.output, None
        if first is not None:
            await first.close()
        if output is not None:
            await output.close()

    async def _open_first(self, task: Begin, there: Stored | None) -> OpenRange:
        file = task.file
        unless = None
        if there is not None and there.origin is not None and self._may_be_of(there, there.origin):
            unless = there.origin.etag
            if unless == file.etag:  # as the listing has it: no need to ask
                raise NotModified(f"{file.job.source} is as it was")
        wanted = plan.first_range(file.size, self._reach)
        # Of a transform's output the tries are those of sending it.
        task.attempts += self._filler is None
        reading = await self._reader.open(task, wanted, unless)
        opened = reading.opened
        if opened.range.length <= self._reach:
            return reading
        # The whole of a file that turns out to have several parts: it is read as far as the first one goes.
        return OpenRange(replace(opened, range=ByteRange(0, self._reach)), reading.span)

    def _may_be_of(self, there: Stored, origin: Origin) -> bool:
        """Whether what is stored may be what would be made of that origin."""
        same_size = there.size == origin.size or self._filler is not None
        return same_size and origin.transform == self._transform

    async def _move(
        self, task: Task, wanted: ByteRange, send: Callable[[Body], Awaitable[Written]]
    ) -> tuple[Written, ChunkBody]:
        """One range read and sent; what S3 replied, and the body that it compares with."""
        file = task.file
        source, destination = file.job.source, file.job.destination
        moved = 0

        def count(size: int) -> None:
            nonlocal moved
            moved += size
            task.moved = moved
            self._on_event(progress.BytesMoved(source, destination, size))

        async def once() -> tuple[Written, ChunkBody]:
            nonlocal moved
            moved = task.moved = 0
            reading = None
            if wanted.start == 0:
                reading, file.first = file.first, None
            if reading is None:
                task.attempts += 1
                reading = await self._reader.open(task, wanted if wanted.length else None)
            body = self._reader.body(lambda: task, reading, wanted, count)
            try:
                with task.span.child("PUT"):
                    written = await send(body)
            finally:
                await body.close()
            visible = " It is visible until it is overwritten." if isinstance(task, Begin) else ""
            verification.compare_received(written, body, destination, visible)
            return written, body

        def on_retry(error: AsyncstreamError, _: float) -> None:
            self._on_event(progress.PartRetried(source, destination, moved, task.attempts, error))

        return await self._reader.repeat(task, once, on_retry)
