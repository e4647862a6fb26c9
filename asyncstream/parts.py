"""What a slot does: the tasks of `tasks.py`, done. Started by the coordinator in `pipeline.py`."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec.structs import replace

from asyncstream import plan, progress, verification
from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.chunks import ChunkBody, Deadline
from asyncstream.config import TransferConfig
from asyncstream.continuation import CompletedPart
from asyncstream.errors import (
    AsyncstreamError,
    Cancelled,
    DestinationExists,
    NotModified,
    SlowDown,
    UploadGone,
)
from asyncstream.locations import S3Object
from asyncstream.plan import ByteRange
from asyncstream.ports import (
    Body,
    Engine,
    MultipartUpload,
    Opened,
    Origin,
    Store,
    Stored,
    TimeLeft,
    Written,
    for_ever,
)
from asyncstream.retry import Tries, repeat, wait_before_retry
from asyncstream.tasks import (
    Begin,
    Complete,
    FileInProgress,
    MovePart,
    OpenRange,
    Pause,
    Task,
)

T = TypeVar("T")

# Seconds a request may take that must not be cut short by cancellation: creating or aborting an upload.
SHIELD_SECONDS = 15.0


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
    ) -> None:
        self._store = store
        self._engine = engine
        self._config = config
        self._reach = reach
        self._deadline = deadline
        self._on_event = on_event

    async def run(self, task: Task) -> CompletedPart | str | None:
        """Do what the task says; see the methods for what each returns."""
        match task:
            case Begin():
                return await self.begin(task)
            case MovePart():
                return await self.move_part(task)
            case Complete():
                return await self.complete(task)
            case Pause():
                await self._close_first(task.file)
            case _:
                await self.drop(task.file)
        return None

    async def begin(self, task: Begin) -> str | None:
        """The ETag of the object written, or None where the file's `upload` was opened instead."""
        file = task.file
        there = None
        if self._config.if_exists == "skip":
            there = await self._ask(task, lambda: self._store.find(file.job.destination))
        try:
            first = file.first = await self._repeat(task, lambda: self._open_first(task, there))
        except NotModified:
            assert there is not None  # noqa: S101 - asked only of what is there
            return self._skip(file, there)
        opened = first.opened
        if there is not None and verification.is_copy(there, opened):
            await self._close_first(file)
            return self._skip(file, there)
        plan.check_size(opened.size)
        file.size, file.etag = opened.size, opened.etag
        whole = opened.range.length == opened.size
        await self._choose_digests(task, opened, whole)
        task.span.annotate(bytes=opened.range.length)
        self._on_event(progress.FileStarted(file.job.source, file.job.destination, opened.size))
        if whole and self._goes_as_one_put(file, opened.size):
            return await self._put(task, opened)

        async def create() -> None:
            file.upload = await self._store.create_upload(
                file.job.destination, opened.attributes, self._origin(opened)
            )

        with file.span.child("create"):
            # Shielded: an upload whose id is never learned can never be aborted.
            await self._repeat(task, lambda: self._engine.shielded(create(), SHIELD_SECONDS))
        return None

    async def _ask(self, task: Task, head: Callable[[], Awaitable[T]]) -> T:
        with task.file.span.child("HEAD"):
            return await self._repeat(task, head)

    def _origin(self, opened: Opened) -> Origin | None:
        """What a copy keeps of its source, for the next transfer to see that it need not be made again."""
        return Origin(opened.size, opened.etag) if self._config.if_exists == "skip" else None

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

    async def complete(self, task: Complete) -> str:
        """The ETag of the object that the file's parts have become.

        Raises:
            ChecksumMismatch: the parts together are not what the source's checksum says; nothing was made
                of them.
        """
        file = task.file
        upload = file.upload
        assert upload is not None  # noqa: S101
        parts = sorted(file.completed, key=lambda part: part.number)
        whole = verification.of_parts(file, parts)
        read_verified = verification.compare_read(file, parts, whole)
        declared = whole.get(CRC64NVME) if upload.verified else None
        with file.span.child("complete"):
            written = await self._repeat(task, lambda: self._complete_once(task, upload, parts, declared))
        file.read_verified = read_verified
        file.write_verified = verification.compare_made(written, declared, file.job.destination)
        return written.etag

    async def _complete_once(
        self, task: Complete, upload: MultipartUpload, parts: list[CompletedPart], declared: Checksum | None
    ) -> Written:
        try:
            return await self._store.complete_upload(upload, parts, declared)
        except (UploadGone, DestinationExists) as error:
            # After a reply that was lost (maybe to an earlier transfer that was killed then) it is gone, or
            # there is an object, because it became that one.
            if declared is None or not (task.retries or task.file.job.continuation):
                raise
            return await self._found_written(upload.target, declared, error)

    async def _found_written(self, target: S3Object, declared: Checksum, error: AsyncstreamError) -> Written:
        """The reply that was lost, if what is stored is what was written; else the error."""
        try:
            stored = await self._store.find(target)
        except AsyncstreamError as unknown:
            if unknown.retryable:
                raise
            error.add_note(f"whether {target} was written before the reply was lost is unknown: {unknown}")
            raise error from unknown
        if stored is None or stored.checksum != declared:
            raise error
        return Written(stored.etag, stored.checksum)

    async def _choose_digests(self, task: Begin, opened: Opened, whole: bool) -> None:
        """Which checksums to run: S3's of what it receives, and the one that it keeps of the source."""
        file = task.file
        if self._config.verify == "off":
            return
        source, etag = file.job.source, opened.etag
        told: Opened | Stored = opened
        if opened.range_asked:
            # A ranged GET tells no checksum. Asked for before the bytes move, as the kind decides what runs.
            told = await self._ask(task, lambda: self._store.head(source, etag))

        async def part_size(number: int) -> int | None:
            return await self._ask(task, lambda: self._store.part_size(source, etag, number))

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

    async def _put(self, task: Begin, opened: Opened) -> str:
        file = task.file
        target, kept, checksum = file.job.destination, opened.attributes, file.checksum
        origin = self._origin(opened)

        async def put(body: Body) -> Written:
            try:
                return await self._store.put(target, body, kept, checksum, origin)
            except DestinationExists as error:
                # After a reply that was lost it may be what was written then.
                if not task.retries or checksum is None:
                    raise
                return await self._found_written(target, checksum, error)

        written, _ = await self._move(task, opened.range, put)
        expected = verification.expected(file)
        if expected is not None:
            file.read_verified = expected.kind
        if written.checksum is not None and written.checksum.kind in file.digests:
            file.write_verified = written.checksum.kind
        return written.etag

    async def drop(self, file: FileInProgress) -> None:
        """Close the open body and abort the upload of a file of which no other task is running.

        Whatever the stop flag and the deadline say: nothing may be left behind.
        """
        try:
            await self._close_first(file)
        finally:
            await self._abort_upload(file)

    async def _close_first(self, file: FileInProgress) -> None:
        first, file.first = file.first, None
        if first is not None:
            await first.close()

    async def _abort_upload(self, file: FileInProgress) -> None:
        upload = file.upload
        if upload is None:
            return
        with file.span.child("abort"):
            # After the deadline, too, for a moment: an upload that stays costs its owner money.
            await repeat(
                lambda: self._store.abort_upload(upload),
                self._config.retry_policy,
                self._engine.sleep,
                lambda: min(SHIELD_SECONDS, self._deadline.ending()),
            )
        file.upload = None

    async def _open_first(self, task: Begin, there: Stored | None) -> OpenRange:
        file = task.file
        unless = None
        if there is not None and there.origin is not None and there.size == there.origin.size:
            unless = there.origin.etag
            if unless == file.etag:  # as the listing has it: no need to ask
                raise NotModified(f"{file.job.source} is as it was")
        wanted = plan.first_range(file.size, self._reach)
        task.attempts += 1
        reading = await self._open(task, wanted, unless)
        opened = reading.opened
        if opened.range.length <= self._reach:
            return reading
        # The whole of a file that turns out to have several parts: it is read as far as the first one goes.
        return OpenRange(replace(opened, range=ByteRange(0, self._reach)), reading.span)

    async def _open(self, task: Task, wanted: ByteRange | None, unless: str | None = None) -> OpenRange:
        with task.span.child("GET"):
            opened = await self._store.open(task.file.job.source, wanted, task.file.etag, unless)
        return OpenRange(opened, task.span.child("body"))

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
                reading = await self._open(task, wanted if wanted.length else None)
            body = self._body(task, reading, wanted, count)
            try:
                with task.span.child("PUT"):
                    written = await send(body)
            finally:
                await body.close()
            visible = " It is visible until it is overwritten." if isinstance(task, Begin) else ""
            verification.compare_received(written, body, destination, visible)
            return written, body

        def tell(error: AsyncstreamError) -> None:
            self._on_event(progress.PartRetried(source, destination, moved, task.attempts, error))

        return await self._repeat(task, once, tell)

    def _body(
        self, task: Task, reading: OpenRange, wanted: ByteRange, count: Callable[[int], None]
    ) -> ChunkBody:
        file = task.file

        async def resume(
            broke: AsyncstreamError, moved: int, failures: int, pause_ends: float
        ) -> OpenRange | None:
            tries, policy = Tries(failures - 1, free=1), self._config.retry_policy
            wait = wait_before_retry(broke, tries, policy, random.random())  # noqa: S311 - no secret
            if wait is None or self._deadline.now() + wait >= pause_ends:
                return None
            self._deadline.check_retry(broke, wait)
            task.attempts += 1
            task.retries += 1
            task.waited += wait
            await self._engine.sleep(wait)
            self._on_event(
                progress.PartRetried(file.job.source, file.job.destination, 0, task.attempts, broke)
            )
            left = ByteRange(wanted.start + moved, wanted.stop)
            return await self._repeat(
                task, lambda: self._open(task, left), left=lambda: pause_ends - self._deadline.now()
            )

        whole = wanted.length == file.size
        return ChunkBody(
            reading,
            wanted.length,
            stop=file.stop,
            deadline=self._deadline,
            digests=verification.digests(file, wanted.start),
            expected=verification.expected(file) if whole else None,
            on_bytes=count,
            resume=resume,
        )

    async def _repeat(
        self,
        task: Task,
        once: Callable[[], Awaitable[T]],
        tell: Callable[[AsyncstreamError], None] = lambda _: None,
        left: TimeLeft = for_ever,
    ) -> T:
        failures: list[AsyncstreamError] = []

        async def unless_stopped() -> T:
            if task.file.stop:
                raise Cancelled("stopped before it began")
            self._deadline.check()
            try:
                return await once()
            except AsyncstreamError as error:
                self._deadline.check_retry(error)
                raise

        async def wait(seconds: float) -> None:
            self._deadline.check_retry(failures[-1], seconds)
            task.retries += 1
            task.waited += seconds
            await self._engine.sleep(seconds)

        def told(error: AsyncstreamError) -> None:
            failures.append(error)
            task.slowed += isinstance(error, SlowDown)
            tell(error)

        return await repeat(unless_stopped, self._config.retry_policy, wait, left, told)
