"""What a slot does: the tasks that move one file's bytes. Started by the coordinator in `pipeline.py`.

A task never touches the budget, the order or another file. What it learns it leaves in its
`FileInProgress` (one writer at a time: a file has a single task until its upload is open) or returns.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct, field

from asyncstream import plan, progress
from asyncstream.chunks import ChunkBody, Deadline, StopFlag
from asyncstream.config import TransferConfig
from asyncstream.errors import AsyncstreamError, Cancelled, RangeNotSatisfiable
from asyncstream.locations import S3Object
from asyncstream.plan import ByteRange
from asyncstream.ports import Body, CompletedPart, Engine, MultipartUpload, Opened, Span, Store
from asyncstream.retry import repeat

T = TypeVar("T")

# Seconds a request may take that must not be cut short by cancellation: creating or aborting an upload.
SHIELD_SECONDS = 15.0


class Job(Struct, frozen=True):
    """One file to copy. `size` and `etag` are known where a listing told them."""

    source: S3Object
    destination: S3Object
    size: int | None = None
    etag: str | None = None


class OpenRange(Struct, frozen=True):
    """A range being read. `span` is that of its body: from the reply's headers to the last byte."""

    opened: Opened
    span: Span

    async def close(self) -> None:
        """Give the connection back."""
        self.span.end()
        await self.opened.stream.close()


class FileInProgress(Struct, eq=False):
    """A file between its first request and its last reply.

    `etag` pins every read. `first` is the first range, read by the request that told the file's size
    and not yet handed on. `upload` is set as soon as S3 has opened it, so that it can be aborted.
    """

    job: Job
    index: int
    started: float
    stop: StopFlag
    span: Span
    size: int | None
    etag: str | None
    first: OpenRange | None = None
    upload: MultipartUpload | None = None
    completed: list[CompletedPart] = field(default_factory=list)
    planned: int = 1
    in_flight: int = 0
    attempts: int = 0
    error: Exception | None = None


class Task(Struct, eq=False):
    """One task of one file. The counts are read when it has ended.

    `span` is that of the part whose bytes it moves, or of the file. `attempts` counts the GETs it sent,
    `retries` what it did again, `waited` the seconds it waited before that.
    """

    file: FileInProgress
    span: Span
    attempts: int = 0
    retries: int = 0
    waited: float = 0.0


class Begin(Task):
    """Open the file's first range; write the object if that is all of it, else open an upload."""


class MovePart(Task, kw_only=True):
    """Move one range into one part."""

    number: int
    range: ByteRange


class Complete(Task):
    """Make the parts an object."""


class Abort(Task):
    """Drop the upload of a file that failed."""


class PartMover:
    """Runs tasks. One for a transfer; holds nothing that changes."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        config: TransferConfig,
        part_size: int,
        deadline: Deadline,
        on_event: progress.OnEvent,
    ) -> None:
        self._store = store
        self._engine = engine
        self._config = config
        self._part_size = part_size
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
        await self.drop(task.file)
        return None

    async def begin(self, task: Begin) -> str | None:
        """The ETag of the object written, or None where the file's `upload` was opened instead."""
        file = task.file
        first = file.first = await self._repeat(task, lambda: self._open_first(task))
        opened = first.opened
        plan.check_size(opened.size)
        file.size, file.etag = opened.size, opened.etag
        task.span.annotate(bytes=opened.range.length)
        self._on_event(progress.FileStarted(file.job.source, file.job.destination, opened.size))
        target, kept = file.job.destination, opened.attributes
        if opened.range.length == opened.size:
            return await self._move(task, opened.range, lambda body: self._store.put(target, body, kept))

        async def create() -> None:
            file.upload = await self._store.create_upload(target, kept)

        with file.span.child("create"):
            # Shielded: an upload whose id is never learned can never be aborted.
            await self._repeat(task, lambda: self._engine.shielded(create(), SHIELD_SECONDS))
        return None

    async def move_part(self, task: MovePart) -> CompletedPart:
        """One part, from the range to S3's confirmation."""
        upload = task.file.upload
        assert upload is not None  # noqa: S101 - parts are planned only after the upload was opened
        return await self._move(
            task, task.range, lambda body: self._store.upload_part(upload, task.number, body)
        )

    async def complete(self, task: Complete) -> str:
        """The ETag of the object that the file's parts have become."""
        file = task.file
        upload = file.upload
        assert upload is not None  # noqa: S101
        parts = sorted(file.completed, key=lambda part: part.number)
        with file.span.child("complete"):
            return await self._repeat(task, lambda: self._store.complete_upload(upload, parts))

    async def drop(self, file: FileInProgress) -> None:
        """Close the open body and abort the upload of a file of which no other task is running.

        Whatever the stop flag and the deadline say: nothing may be left behind.
        """
        first, file.first = file.first, None
        try:
            if first is not None:
                await first.close()
        finally:
            await self._abort_upload(file)

    async def _abort_upload(self, file: FileInProgress) -> None:
        upload = file.upload
        if upload is None:
            return
        with file.span.child("abort"):
            # No deadline: an upload that stays costs its owner money.
            await repeat(
                lambda: self._store.abort_upload(upload),
                self._config.retry_policy,
                self._engine.sleep,
                lambda: SHIELD_SECONDS,
            )
        file.upload = None

    async def _open_first(self, task: Begin) -> OpenRange:
        file = task.file
        wanted = plan.first_range(file.size, self._part_size, self._config.multipart)
        task.attempts += 1
        try:
            return await self._open(task, wanted)
        except RangeNotSatisfiable:
            # No range of an empty object can be had, not even its first byte.
            return await self._open(task, None)

    async def _open(self, task: Task, wanted: ByteRange | None) -> OpenRange:
        with task.span.child("GET"):
            opened = await self._store.open(task.file.job.source, wanted, task.file.etag)
        return OpenRange(opened, task.span.child("body"))

    async def _move(self, task: Task, wanted: ByteRange, send: Callable[[Body], Awaitable[T]]) -> T:
        file = task.file
        source, destination = file.job.source, file.job.destination
        moved = 0

        async def once() -> T:
            nonlocal moved
            moved = 0
            reading = None
            if wanted.start == 0:
                reading, file.first = file.first, None
            if reading is None:
                task.attempts += 1
                reading = await self._open(task, wanted if wanted.length else None)
            body_span = reading.span

            def count(size: int) -> None:
                nonlocal moved
                moved += size
                if moved == wanted.length:
                    body_span.end()
                self._on_event(progress.BytesMoved(source, destination, size))

            try:
                with task.span.child("PUT"):
                    stream = reading.opened.stream
                    return await send(ChunkBody(stream, wanted.length, file.stop, self._deadline, count))
            finally:
                await reading.close()

        def tell(error: AsyncstreamError) -> None:
            self._on_event(progress.PartRetried(source, destination, moved, task.attempts, error))

        return await self._repeat(task, once, tell)

    async def _repeat(
        self,
        task: Task,
        once: Callable[[], Awaitable[T]],
        tell: Callable[[AsyncstreamError], None] = lambda _: None,
    ) -> T:
        async def unless_stopped() -> T:
            if task.file.stop:
                raise Cancelled("stopped before it began")
            self._deadline.check()
            return await once()

        async def wait(seconds: float) -> None:
            task.retries += 1
            task.waited += seconds
            await self._engine.sleep(seconds)

        return await repeat(unless_stopped, self._config.retry_policy, wait, self._deadline.left, tell)
