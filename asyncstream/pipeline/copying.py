"""Files copied as they are: parts are ranges of the source, and known as soon as its size is."""

from collections.abc import Callable, Iterator
from typing import Any

from asyncstream.checksum import declarable
from asyncstream.errors import BuffersNeeded, CopyRefused
from asyncstream.locations import S3Object, SourceFile
from asyncstream.objects import CompletedPart, CopiedRange, Written
from asyncstream.pipeline import plan, progress, resuming
from asyncstream.pipeline.assembling import AssembledPart, AssembledParts, Assembly
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.file_tasks import FileTasks
from asyncstream.pipeline.segments import RangeSegment
from asyncstream.pipeline.tasks import (
    Begin,
    FileDone,
    FileFacts,
    Needs,
    OpenResult,
    Parts,
    ReadPiece,
    Resume,
    Segment,
    SendPart,
    Task,
    send_after,
)
from asyncstream.ports import Opened


class CopyTasks(FileTasks):
    """Copy files.

    Args:
        context: what the tasks work with.
        part_length: returns the bytes of each part but the last, given the file's size.
        buffered: copies the files that cannot be copied in ranges of known size; None if there are none.
        assembly: how to read parts that take many requests; None: like any other.
        in_order_length: `part_length` of files that are decoded from their start; None: the same.
    """

    def __init__(
        self,
        context: TransferContext,
        part_length: Callable[[int], int],
        buffered: FileTasks | None = None,
        assembly: Assembly | None = None,
        in_order_length: Callable[[int], int] | None = None,
    ) -> None:
        super().__init__(context)
        self._part_length = part_length
        self._in_order_length = in_order_length
        self.buffered = buffered
        self._assembly = assembly

    def part_length(self, source: SourceFile, size: int) -> int:
        """Return the bytes of each part but the last."""
        end = self._ends.source_of(source)
        if self._in_order_length is not None and end.is_in_order(source):
            return self._in_order_length(size)
        if self._assembly is not None and end.is_scattered(source):
            return plan.part_length(size, self._assembly.part_length)
        return self._part_length(size)

    def first_task(self, file: FileFacts, needs: Needs) -> Begin | Resume:
        """Return a file's first task, which continues an earlier transfer if there was one."""
        continuation = file.job.continuation
        if continuation is None:
            return super().first_task(file, needs)
        resuming.prepare(file, continuation)
        return Resume(file, file.span, self.resume)

    async def resume(self, task: Resume) -> OpenResult:
        """Continue the upload of an earlier transfer; see `resuming.resume`."""
        file = task.file
        destination = self._ends.destination_of(file.job.destination)
        etag = await resuming.resume(task, destination, self.reader, self.uploads.find_written)
        if etag is not None:
            return FileDone(etag)
        source, target = file.job.source, file.job.destination
        self._context.on_event(progress.FileStarted(source, target, file.size or 0))
        task.moved = sum(part.length for part in file.completed)
        self._context.on_event(progress.BytesMoved(source, target, task.moved))
        return self._parts(file, None)

    def check_source(self, opened: Opened) -> None:
        """Check that the source can be copied in ranges, or by one PUT.

        Raises:
            BuffersNeeded: it cannot.
        """
        if opened.size is None:
            raise BuffersNeeded("the size of the source is known only after its last byte")
        if not opened.in_ranges and opened.size > plan.MAX_PUT:
            raise BuffersNeeded(f"the source of {opened.size} bytes can only be read in order")

    def keep(self, most: int) -> None:
        """Keep at most `most` bytes of memory for the next parts of files of unknown size."""
        if self.buffered is not None:
            self.buffered.keep(most)

    async def first_segment(self, task: Begin, opened: Opened) -> Segment:
        """Plan the parts, and return the open range."""
        file, source = task.file, task.file.job.source
        file.part_plan = plan.plan_parts(file.size or 0, opened.range.length)
        cut = self._ends.source_of(source).plan_copies(source, opened.range.length) if file.size else None
        target = file.job.destination
        if (
            cut is not None
            and self._ends.one_server
            and self._ends.destination_of(target).copies_parts(target)
        ):
            file.part_plan = plan.PartPlan(file.size or 0, 0, 0, cut)
            # Its first part may be longer, or copied by the server.
            reading, file.open_range = file.open_range, None
            if reading is not None:
                await reading.close()
        return RangeSegment(opened.range, self.reader)

    def goes_as_one_put(self, file: FileFacts, first: Segment) -> bool:
        """Return whether the open range is the whole file, and one PUT of it is enough.

        It is not if the bytes must be verified before they become visible and their checksum is known only
        after the last byte: then the file is an upload of one part.
        """
        destination = self._ends.destination_of(file.job.destination)
        return (
            first.length == file.size
            and not self._leaves_first(file)
            and (
                self._config.verify != "before"
                or declarable(file.checksum) is not None
                or destination.sent_at_once(file.job.destination, first.length)
                or not destination.verifies(file.job.destination)
            )
        )

    def parts(self, task: Begin, first: Segment) -> Parts:
        """Cut the file into parts."""
        if self._leaves_first(task.file):
            task.attempts = 0  # no part was tried yet
            return self._parts(task.file, None)
        return self._parts(task.file, send_after(task, self.send_part, first, 1))

    async def copy_part(self, task: SendPart) -> CompletedPart:
        """Have the server copy a part itself; if it cannot, and the upload is shared, send the bytes."""
        file = task.file
        upload, copied = file.upload, _copied_range(file, task.number)
        assert upload is not None and copied is not None  # noqa: S101, PT018 - that is why it runs
        destination = self._ends.destination_of(upload.target)

        async def once() -> Written:
            task.attempts += 1
            return await destination.copy_part(upload, task.number, copied)

        try:
            with task.span.child("COPY"):
                written = await self.reader.repeat_part(task, once)
        except CopyRefused:
            if file.only is None:
                raise
            return await self.send_part(task)
        length = task.segment.length
        task.moved += length
        self._context.on_event(progress.BytesMoved(file.job.source, file.job.destination, length))
        found = written.checksum
        checksums = {} if found is None else {found.kind: found}
        return CompletedPart(task.number, written.etag, length, checksums)

    async def read_piece(self, task: ReadPiece) -> None:
        """Read a piece of a part into memory."""
        part = task.sending.segment
        assert isinstance(part, AssembledPart)  # noqa: S101 - no other part has pieces

        async def once() -> None:
            body, at = await RangeSegment(task.range, self.reader).open(task), task.range.start
            try:
                while chunk := await body.next_chunk():
                    part.write(at, chunk)
                    at += len(chunk)
            finally:
                await body.close()

        try:
            await self.reader.repeat_part(task, once)
        finally:
            task.attempts = 0  # only tries to send a part count
        # The memory is now that of the task that sends the part.
        task.sending.part_bytes += task.part_bytes
        task.handed_on = task.part_bytes > 0

    def _parts(self, file: FileFacts, first: SendPart | None) -> Parts:
        """Return the parts that are not confirmed; the task sends the first of them, if that is open."""
        done = {part.number for part in file.completed}
        start, last = file.only or (1, file.part_plan.planned)
        numbers = range(start if first is None else 2, last + 1)
        missing = (number for number in numbers if number not in done)
        source = self._ends.source_of(file.job.source)
        last_from = source.last_from(file.job.source, file.size or 0)
        if first is None and self._assembly is not None and self._assembles(file, file.part_plan.first):
            return AssembledParts(
                file,
                missing,
                self._assembly.pieces,
                read_piece=self.read_piece,
                send_part=self.send_part,
                last_from=last_from,
            )
        return _CopiedParts(self, file, first, missing, last_from)

    def _leaves_first(self, file: FileFacts) -> bool:
        """Whether the range that is open is not sent as the first part."""
        return file.part_plan.cut is not None or self._assembles(file, file.part_plan.first)

    def _assembles(self, file: FileFacts, part_length: int) -> bool:
        """Whether the parts of a file are assembled in memory."""
        if self._assembly is None or not 0 < part_length <= self._assembly.part_length:
            return False
        return bool(file.size) and self._ends.source_of(file.job.source).is_scattered(file.job.source)


class _CopiedParts(Parts):
    """The parts of a copy: ranges, in the order of their numbers."""

    def __init__(
        self,
        copying: CopyTasks,
        file: FileFacts,
        first: SendPart | None,
        missing: Iterator[int],
        last_from: int,
    ) -> None:
        start, last = file.only or (1, file.part_plan.planned)
        super().__init__(file, first, last + 1 - start, last_from)
        self._copying = copying
        self._missing = missing
        self._number: int | None = None

    def make_task(self) -> Task[Any] | None:
        """Return the task that sends the next part."""
        if self._number is None:
            self._number = next(self._missing, None)
        if self._number is None or self._must_wait(self._number):
            return None
        number, self._number = self._number, None
        file, copying = self.file, self._copying
        segment = RangeSegment(file.part_plan.range(number), copying.reader)
        run = copying.send_part if _copied_range(file, number) is None else copying.copy_part
        return SendPart(file, file.span, run, urgent=False, number=number, segment=segment)


def _copied_range(file: FileFacts, number: int) -> CopiedRange | None:
    """Return what the server copies as a part; None if the bytes of the part are sent."""
    cut, continuation, source = file.part_plan.cut, file.job.continuation, file.job.source
    if cut is not None:
        return cut.copies.get(number)
    if continuation is None or not continuation.copies or not isinstance(source, S3Object):
        return None
    return CopiedRange(source, file.part_plan.range(number), continuation.etag)
