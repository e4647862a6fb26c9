"""Ranges of a source, opened and resumed, and requests repeated within the deadline."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from asyncstream.errors import AsyncstreamError, NotResumable, SlowDown, SourceChanged
from asyncstream.objects import ByteRange
from asyncstream.pipeline import progress, verification
from asyncstream.pipeline.body import ChunkBody
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.tasks import OpenRange, Task
from asyncstream.ports import TimeLeft, for_ever
from asyncstream.retry import OnRetry, Tries, ignore_retry

T = TypeVar("T")


class SourceReader:
    """Opens and resumes ranges, within the deadline. One for a transfer; holds nothing that changes."""

    def __init__(self, context: TransferContext) -> None:
        self._ends = context.ends
        self._retrying = context.ends.retrying
        self._on_event = context.on_event

    async def open(
        self, task: Task[Any], wanted: ByteRange | None, if_none_match: str | None = None
    ) -> OpenRange:
        """Send one GET for a range, or for the whole object; see `ports.Source.open`.

        Raises:
            SourceChanged: the object's size is not the one known.
        """
        file = task.file
        with task.span.child("GET"):
            source = self._ends.source_of(file.job.source)
            await source.make_ready(file.job.source, wanted, file.etag, file.stop.check)
            opened = await source.open(file.job.source, wanted, file.etag, if_none_match)
        if file.size is not None and opened.size != file.size:
            await opened.stream.close()
            raise SourceChanged(f"{file.job.source} has {opened.size} bytes, and had {file.size} before")
        return OpenRange(opened, task.span.child("body"))

    def body(self, now: Callable[[], Task[Any]], reading: OpenRange, wanted: ByteRange | None) -> ChunkBody:
        """Return an open range as a body that resumes over another connection if one breaks.

        Without a range to resume, a connection that breaks raises NotResumable.

        Args:
            now: returns the task that reads now. Its bytes, retries and waits are counted there.
            reading: the open range.
            wanted: its first and last byte; None: all bytes of a source of unknown size.
        """
        file, deadline = now().file, self._retrying.deadline

        def count(size: int) -> None:
            now().moved += size
            self._on_event(progress.BytesMoved(file.job.source, file.job.destination, size))

        async def resume(
            broke: AsyncstreamError, moved: int, failures: int, pause_ends: float
        ) -> OpenRange | None:
            def left() -> float:
                return pause_ends - deadline.now()

            task = now()
            if wanted is None and broke.retryable:
                raise NotResumable(f"{file.job.source} broke off after {moved} bytes: {broke}") from broke
            wait = self._retrying.wait_after(broke, Tries(failures - 1, free=1), left)
            if wait is None:
                return None
            task.attempts += 1
            task.retries += 1
            task.waited += wait
            await self._retrying.sleep(wait)
            self._on_event(
                progress.PartRetried(file.job.source, file.job.destination, 0, task.attempts, broke)
            )
            assert wanted is not None  # noqa: S101 - or there is nothing to wait for
            unread = ByteRange(wanted.start + moved, wanted.stop)
            return await self.repeat(task, lambda: self.open(task, unread), left=left)

        whole = wanted is None or wanted.length == file.size
        return ChunkBody(
            reading,
            None if wanted is None else wanted.length,
            stop=file.stop,
            digests=verification.digests(file, 0 if wanted is None else wanted.start),
            expected=verification.expected(file) if whole else None,
            on_bytes=count,
            resume=resume,
        )

    async def ask(self, task: Task[Any], head: Callable[[], Awaitable[T]]) -> T:
        """Send a HEAD, repeated if need be, and return its reply."""
        with task.file.span.child("HEAD"):
            return await self.repeat(task, head)

    async def repeat_part(self, task: Task[Any], once: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `once`, which moves bytes; see `repeat`. A try that fails takes them back."""
        job, moved_before = task.file.job, task.moved

        def on_retry(error: AsyncstreamError, _: float) -> None:
            taken_back, task.moved = task.moved - moved_before, moved_before
            self._on_event(
                progress.PartRetried(job.source, job.destination, taken_back, task.attempts, error)
            )

        return await self.repeat(task, once, on_retry)

    async def repeat(
        self,
        task: Task[Any],
        once: Callable[[], Awaitable[T]],
        on_retry: OnRetry = ignore_retry,
        left: TimeLeft = for_ever,
    ) -> T:
        """Return the result of `once`, repeated as policy, deadline and the file's stop flag allow."""

        async def unless_stopped() -> T:
            task.file.stop.check()
            return await once()

        def count(error: AsyncstreamError, wait: float) -> None:
            task.retries += 1
            task.waited += wait
            task.slowed += isinstance(error, SlowDown)
            on_retry(error, wait)

        return await self._retrying.run(unless_stopped, count, left)
