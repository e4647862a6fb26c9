"""Uploads that several transfers fill: one opens them, others move their parts, the last one completes them.

`CopyTasks` moves the parts that a continuation names (`Continuation.only`). Nothing is kept beside S3's own
list of parts, so a transfer that is killed or repeated needs no bookkeeping.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from asyncstream.checksum import checkable_in_parts
from asyncstream.errors import (
    AccessDenied,
    ChecksumMismatch,
    DeadlineExceeded,
    PartsMissing,
    SourceChanged,
    SourceNotFound,
    UploadGone,
)
from asyncstream.pipeline import resuming
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.continuation import PartRun, joined
from asyncstream.pipeline.copying import CopyTasks
from asyncstream.pipeline.tasks import (
    Begin,
    Complete,
    FileDone,
    FileFacts,
    OpenResult,
    Parts,
    Resume,
    Segment,
)
from asyncstream.ports import Opened

# Runs of missing parts that an error names.
_NAMED = 5


class OpenTasks(CopyTasks):
    """Create the uploads of files, and leave their parts to other transfers: the files end pending.

    Args:
        context: its deadline must pause.
        part_length: returns the bytes of each part but the last, given the file's size.
    """

    def __init__(self, context: TransferContext, part_length: Callable[[int], int]) -> None:
        super().__init__(context, part_length)

    async def begin(self, task: Begin) -> OpenResult:
        """Note which object is at the destination, to tell the new one from it; see `FileTasks`."""
        target = task.file.job.destination
        try:
            stored = await self.reader.ask(task, lambda: self._ends.destination_of(target).find(target))
        except AccessDenied:  # then the last step cannot look for the new one either
            stored = None
        task.file.replaces = None if stored is None else (stored.etag, stored.modified)
        return await super().begin(task)

    def goes_as_one_put(self, file: FileFacts, first: Segment) -> bool:
        """Return False: each file is an upload."""
        return False

    async def choose_digests(self, task: Begin, opened: Opened) -> None:
        """Choose one kind of checksum: that which S3 has of the whole source, else CRC64NVME.

        S3 computes it of each part. So the last step can combine them, and compare them with the source's.
        """
        await super().choose_digests(task, opened)
        file, own = task.file, task.file.checksum
        if own is not None and checkable_in_parts(own.kind):
            file.kind = own.kind
        file.digests = file.digests & {file.kind}
        file.composite = None  # it cannot be computed from the checksums of parts of other sizes

    def parts(self, task: Begin, first: Segment) -> Parts:
        """Leave the parts to other transfers.

        Raises:
            DeadlineExceeded: always, so that the upload is kept.
        """
        raise DeadlineExceeded(f"{task.file.job.source}: other transfers move its parts")


class FinishTasks(CopyTasks):
    """Complete uploads whose parts other transfers have moved. Parts that are missing are not sent."""

    reopens = False

    def __init__(self, context: TransferContext) -> None:
        super().__init__(context, lambda size: size)

    async def resume(self, task: Resume) -> OpenResult:
        """List the parts, and return them if none is missing.

        Raises:
            PartsMissing: parts are missing, and other transfers can still move them.
            SourceChanged, SourceNotFound: parts are missing, and cannot be moved. The upload was aborted.
            UploadGone: the upload was aborted.
        """
        file, upload = task.file, task.file.upload
        assert upload is not None  # noqa: S101 - set by `prepare`
        destination = self._ends.destination_of(upload.target)
        try:
            there = await resuming.list_parts(task, upload, destination, self.reader)
        except UploadGone as gone:
            return FileDone(await resuming.find_shared(task, destination, self.reader, gone))
        parts = [part for part in there.values() if resuming.has_planned_length(file, part)]
        if len(parts) < file.part_plan.planned:
            await self._check_source(task)
            raise PartsMissing(_missing(file, {part.number for part in parts}))
        file.completed, file.listed = parts, len(parts)
        file.runs = joined(PartRun.of(part) for part in parts)
        return self._parts(file, None)

    def complete(self, file: FileFacts) -> Complete:
        """Return the task that makes the parts an object; if they are not the source's, it aborts them."""
        return Complete(file, file.span, self._complete)

    async def drop(self, file: FileFacts) -> None:
        """Leave the upload as it is: what has failed may succeed in another transfer."""

    async def _complete(self, task: Complete) -> FileDone:
        try:
            return await self.uploads.complete(task)
        except ChecksumMismatch:
            await self.uploads.abort(task.file)
            raise

    async def _check_source(self, task: Resume) -> None:
        """Abort the upload if the source is not the one that its parts were read from."""
        source, etag = task.file.job.source, task.file.etag
        end = self._ends.source_of(source)
        try:
            await self.reader.ask(task, lambda: end.head(source, etag))
        except (SourceChanged, SourceNotFound):
            await self.uploads.abort(task.file)
            raise


def _missing(file: FileFacts, there: Iterable[int]) -> str:
    numbers = sorted(set(range(1, file.part_plan.planned + 1)).difference(there))
    runs = list(_runs(numbers))
    named = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs[:_NAMED])
    more = f" and {len(runs) - _NAMED:,} more runs" if len(runs) > _NAMED else ""
    return (
        f"{file.job.destination}: {len(numbers):,} of {file.part_plan.planned:,} parts are missing, "
        f"{named}{more}: run the batches again that have them"
    )


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    for _, run in groupby(enumerate(numbers), lambda each: each[1] - each[0]):
        found = [number for _, number in run]
        yield found[0], found[-1]
