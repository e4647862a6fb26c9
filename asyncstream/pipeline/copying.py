"""Files copied as they are: parts are ranges of the source, and known as soon as its size is."""

from collections.abc import Callable
from typing import Any

from asyncstream.checksum import declarable
from asyncstream.errors import BuffersNeeded
from asyncstream.pipeline import plan, progress, resuming
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
    """

    def __init__(
        self,
        context: TransferContext,
        part_length: Callable[[int], int],
        buffered: FileTasks | None = None,
    ) -> None:
        super().__init__(context)
        self._part_length = part_length
        self.buffered = buffered

    def part_length(self, size: int) -> int:
        """Return the bytes of each part but the last."""
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
        return _CopiedParts(self, file, None)

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
        """Return the open range."""
        return RangeSegment(opened.range, self.reader)

    def goes_as_one_put(self, file: FileFacts, first: Segment) -> bool:
        """Return whether the open range is the whole file, and one PUT of it is enough.

        It is not if the bytes must be verified before they become visible and their checksum is known only
        after the last byte: then the file is an upload of one part.
        """
        destination = self._ends.destination_of(file.job.destination)
        return first.length == file.size and (
            self._config.verify != "before"
            or declarable(file.checksum) is not None
            or destination.sent_at_once(file.job.destination, first.length)
            or not destination.verifies(file.job.destination)
        )

    def parts(self, task: Begin, first: Segment) -> Parts:
        """Cut the file into parts."""
        file = task.file
        file.part_plan = plan.plan_parts(file.size or 0, first.length)
        return _CopiedParts(self, file, send_after(task, self.send_part, first, 1))


class _CopiedParts(Parts):
    """The parts of a copy: ranges, in the order of their numbers."""

    def __init__(self, copying: CopyTasks, file: FileFacts, first: SendPart | None) -> None:
        super().__init__(file, first, file.part_plan.planned)
        self._copying = copying
        done = {part.number for part in file.completed}
        numbers = range(1 if first is None else 2, self.planned + 1)
        self._missing = (number for number in numbers if number not in done)

    def make_task(self) -> Task[Any] | None:
        """Return the task that sends the next part."""
        number = next(self._missing, None)
        if number is None:
            return None
        file, copying = self.file, self._copying
        segment = RangeSegment(file.part_plan.range(number), copying.reader)
        return SendPart(file, file.span, copying.send_part, urgent=False, number=number, segment=segment)
