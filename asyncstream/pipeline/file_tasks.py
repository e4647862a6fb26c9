"""The steps that copies and transforms share: open a file, write it whole or create its upload, drop it."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgspec.structs import replace

from asyncstream.checksum import Checksum, declarable
from asyncstream.errors import AccessDenied, DestinationExists, NotModified, SourceChanged
from asyncstream.locations import SourceFile, TargetFile
from asyncstream.objects import ByteRange, CompletedPart, Origin, Stored, Written
from asyncstream.pipeline import plan, progress, verification
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.jobs import check_writable
from asyncstream.pipeline.source import SourceReader
from asyncstream.pipeline.tasks import (
    Abort,
    Begin,
    Complete,
    FileDone,
    FileFacts,
    Needs,
    OpenRange,
    OpenResult,
    Parts,
    Pause,
    Resume,
    Segment,
    SendPart,
    Task,
)
from asyncstream.pipeline.uploads import Uploads
from asyncstream.ports import Body, Opened


class FileTasks(ABC):
    """Creates and runs the tasks of files. One instance per transfer; keeps no state of a file.

    Args:
        context: what the tasks work with.

    Attributes:
        needs: what is reserved for a file that opens.
        max_memory: bytes that the transforms of all files may hold.
        transform: the name of the transform, stored with each destination; empty for copies.
        continuable: whether a later transfer can continue a file.
        reopens: whether a file may start again, as if there had been no earlier transfer.
        buffered: does the work of a file whose size is unknown, if this cannot.
    """

    needs = Needs()
    continuable = True
    reopens = True
    max_memory = 0
    transform = ""
    buffered: "FileTasks | None" = None

    def __init__(self, context: TransferContext) -> None:
        self._context = context
        self._ends = context.ends
        self._config = context.config
        self.reader = SourceReader(context)
        self.uploads = Uploads(context, self.reader)

    @abstractmethod
    def part_length(self, source: SourceFile, size: int) -> int:
        """Return the bytes that one GET of a source of this size reads at most."""

    @abstractmethod
    async def first_segment(self, task: Begin, opened: Opened) -> Segment:
        """Return the first segment of a file whose source is open."""

    @abstractmethod
    def goes_as_one_put(self, file: FileFacts, first: Segment) -> bool:
        """Return whether one PUT of the first segment writes the object."""

    @abstractmethod
    def parts(self, task: Begin, first: Segment) -> Parts:
        """Return the parts of a file whose upload is open; the segment is the first of them."""

    def check_source(self, opened: Opened) -> None:  # noqa: B027 - any source will do
        """Check that the source can be copied.

        Raises:
            BuffersNeeded: only by the tasks `buffered`.
        """

    async def is_copy(self, target: TargetFile, existing: Stored, opened: Opened) -> bool:
        """Return whether the file at the destination is a copy of an open source, by size and checksum."""
        if existing.size != opened.size or opened.checksum is None:
            return False
        found = existing.checksum
        if found is None:
            found = await self._ends.destination_of(target).compute_checksum(target, opened.checksum.kind)
        return found == opened.checksum

    def attributes(self, opened: Opened) -> Mapping[str, Any]:
        """Return the headers of the source that the destination keeps."""
        return opened.attributes

    def checksum_to_declare(self, file: FileFacts, body: Body) -> Checksum | None:
        """Return the checksum of a PUT's bytes, if it is known before the last byte, for S3 to compare."""
        return declarable(file.checksum)

    def keep(self, most: int) -> None:  # noqa: B027 - a copy keeps nothing
        """Keep at most `most` bytes of memory for the next parts."""

    def first_task(self, file: FileFacts, needs: Needs) -> Begin | Resume:
        """Return a file's first task."""
        return Begin(file, file.span.branch("part", number=1), self.begin, needs)

    def complete(self, file: FileFacts) -> Complete:
        """Return the task that makes the parts an object."""
        return Complete(file, file.span, self.uploads.complete)

    def pause(self, file: FileFacts) -> Pause:
        """Return the task that closes a file's source and leaves its upload."""
        return Pause(file, file.span, lambda task: self._pause(task.file))

    def abort(self, file: FileFacts) -> Abort:
        """Return the task that drops a file that has failed."""
        return Abort(file, file.span, lambda task: self.drop(task.file))

    async def begin(self, task: Begin) -> OpenResult:
        """Open a file's source; write the object by one PUT, or create its upload.

        Raises:
            AsyncstreamError: the file fails with this error.
        """
        file = task.file
        check_writable(file.job)
        existing = await self._look_for_destination(task)
        try:
            if file.open_range is None:  # else it was opened by tasks that could not copy it
                file.open_range = await self.open_first(task, existing)
        except NotModified:
            assert existing is not None  # noqa: S101 - asked only of what is there
            return _skip(file, existing)
        opened = file.open_range.opened
        if existing is not None and await self.is_copy(file.job.destination, existing, opened):
            await self._close_source(file)
            return _skip(file, existing)
        if opened.size is not None:
            plan.check_size(opened.size)
        self.check_source(opened)
        file.size, file.etag = opened.size, opened.etag
        await self.choose_digests(task, opened)
        await self._read_tags(task)
        self._context.on_event(progress.FileStarted(file.job.source, file.job.destination, opened.size))
        segment = await self.first_segment(task, opened)
        task.span.annotate(bytes=segment.length)
        if self.goes_as_one_put(file, segment):
            return await self._put(task, opened, segment)
        try:
            await self.uploads.create(task, self._kept(file, opened), self._origin(opened))
        except BaseException:
            segment.discard()
            raise
        return self.parts(task, segment)

    async def send_part(self, task: SendPart) -> CompletedPart:
        """Send one part, and return what S3 has confirmed."""
        upload = task.file.upload
        assert upload is not None  # noqa: S101 - parts are planned only after the upload was opened
        destination = self._ends.destination_of(upload.target)
        written, body = await self.send(
            task,
            task.segment,
            lambda body: destination.upload_part(upload, task.number, task.segment.start, body),
        )
        digests = body.digests
        return CompletedPart(task.number, written.etag, body.length, digests.checksums(), digests.pieces())

    async def send(
        self, task: Task[Any], segment: Segment, write: Callable[[Body], Awaitable[Written]]
    ) -> tuple[Written, Body]:
        """Send a segment, repeated if need be; return S3's reply, and the body to compare it with.

        Raises:
            ChecksumMismatch: S3 received other bytes each time.
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

        try:
            return await self.reader.repeat_part(task, once)
        finally:
            segment.discard()

    async def drop(self, file: FileFacts) -> None:
        """Close the open body of a file and abort its upload; no other task of the file may be running.

        The stop flag and the deadline do not prevent this, so that nothing is left behind. An upload that
        other transfers share stays.
        """
        try:
            await self._close_source(file)
        finally:
            if file.only is None:
                await self.uploads.abort(file)

    async def _pause(self, file: FileFacts) -> None:
        try:
            await self._close_source(file)
        finally:
            await self.uploads.find_left(file)

    async def _look_for_destination(self, task: Begin) -> Stored | None:
        """Return the object at the destination, if there is one and `if_exists` depends on it.

        Raises:
            DestinationExists: it exists, and `if_exists` is "fail". The PUT also has If-None-Match, which
                some servers ignore.
        """
        target = task.file.job.destination
        if self._config.if_exists == "overwrite":
            return None
        try:
            existing = await self.reader.ask(task, lambda: self._ends.destination_of(target).find(target))
        except AccessDenied:
            if self._config.if_exists == "fail":  # a role that may only write relies on If-None-Match
                return None
            raise
        if existing is not None and self._config.if_exists == "fail":
            raise DestinationExists(f'{target} exists and if_exists="fail" is set: it was not changed')
        return existing

    async def open_first(self, task: Begin, existing: Stored | None) -> OpenRange:
        """Open the first range of a file's source.

        Raises:
            NotModified: the destination is already a copy of this version of the source.
        """
        return await self.reader.repeat(task, lambda: self._open_first(task, existing))

    async def _open_first(self, task: Begin, existing: Stored | None) -> OpenRange:
        file = task.file
        if_none_match = None
        origin = None if existing is None else existing.origin
        if existing is not None and origin is not None and self._may_be_made_of(existing, origin):
            if_none_match = origin.etag
            if if_none_match == file.etag:  # the listing has said so: no request is needed
                raise NotModified(f"{file.job.source} has not changed")
        task.attempts += 1
        wanted = None  # the reply to a GET of the whole file has its size and its checksum, to find a copy by
        if file.size is not None and file.size != (existing and existing.size):
            length = self.part_length(file.job.source, file.size)
            wanted = ByteRange(0, length) if length < file.size else None
        reading = await self.reader.open(task, wanted, if_none_match)
        opened = reading.opened
        if opened.size is None or not opened.in_ranges:
            return reading
        length = self.part_length(file.job.source, opened.size)
        if opened.range.length <= length:
            return reading
        # The file's size was unknown, and it has several parts: it is read to the end of the first one.
        return OpenRange(replace(opened, range=ByteRange(0, length)), reading.span)

    async def choose_digests(self, task: Begin, opened: Opened) -> None:
        """Choose which checksums run: the kind that S3 computes of uploads, and the source's own kind."""
        file = task.file
        if self._config.verify == "off" and not opened.demanded:
            return
        source, etag = file.job.source, opened.etag
        end = self._ends.source_of(source)
        described: Opened | Stored = opened
        if opened.range_asked:
            # The reply to a ranged GET has no checksum. Its kind has to be known before the bytes move.
            described = await self.reader.ask(task, lambda: end.head(source, etag))
            if described.size != opened.size:
                raise SourceChanged(f"HEAD of {source} says {described.size} bytes, and GET {opened.size}")

        async def part_size(number: int) -> int | None:
            return await self.reader.ask(task, lambda: end.part_size(source, etag, number))

        whole = opened.size is None or opened.range.length == opened.size
        await verification.choose_digests(file, described, whole, part_size)

    async def _read_tags(self, task: Begin) -> None:
        """Read the source's tags, if the copy gets them and they are not replaced by the user's own."""
        file = task.file
        if not self._config.copy_tags or "Tagging" in self._config.extra_args:
            return
        with file.span.child("tags"):
            file.tags = await self.reader.repeat(
                task, lambda: self._ends.source_of(file.job.source).tags(file.job.source)
            )

    def _kept(self, file: FileFacts, opened: Opened) -> Mapping[str, Any]:
        kept = self.attributes(opened)
        return {**kept, "Tagging": file.tags} if file.tags else kept

    async def _put(self, task: Begin, opened: Opened, segment: Segment) -> FileDone:
        """Write the object by one PUT of a segment."""
        file = task.file
        target, kept, origin = file.job.destination, self._kept(file, opened), self._origin(opened)

        async def put(body: Body) -> Written:
            checksum = self.checksum_to_declare(file, body)
            try:
                return await self._ends.destination_of(target).put(target, body, kept, checksum, origin)
            except DestinationExists as error:
                # If the reply to an earlier try was lost, that try may have written the object.
                if not task.retries or checksum is None:
                    raise
                return await self.uploads.find_written(target, checksum, error)

        written, body = await self.send(task, segment, put)
        expected = verification.expected(file)
        if expected is not None:
            file.read_verified = expected.kind
        if written.checksum is not None and written.checksum.kind in body.digests.checksums():
            file.write_verified = written.checksum.kind
        return FileDone(written.etag)

    def _origin(self, opened: Opened) -> Origin | None:
        """Return the metadata by which a later transfer with `if_exists="skip"` recognises the copy."""
        if self._config.if_exists != "skip" or opened.size is None or not opened.etag:
            return None
        return Origin(opened.size, opened.etag, self.transform)

    def _may_be_made_of(self, existing: Stored, origin: Origin) -> bool:
        same_size = existing.size == origin.size or bool(self.transform)
        return same_size and origin.transform == self.transform

    async def _close_source(self, file: FileFacts) -> None:
        unread, file.open_range = file.open_range, None
        output, file.output = file.output, None
        if unread is not None:
            await unread.close()
        if output is not None:
            await output.close()


def _skip(file: FileFacts, existing: Stored) -> FileDone:
    file.size = existing.size
    return FileDone(existing.etag, "skipped")
