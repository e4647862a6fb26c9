"""Ranges of a source read, and requests tried again; used by `parts.py` and `transforming.py`."""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from asyncstream.deadline import Deadline
from asyncstream.errors import AsyncstreamError, Cancelled, SlowDown, SourceChanged
from asyncstream.objects import ByteRange
from asyncstream.pipeline import progress, verification
from asyncstream.pipeline.body import ChunkBody
from asyncstream.pipeline.tasks import OpenRange, Task
from asyncstream.ports import Engine, Store, TimeLeft, for_ever
from asyncstream.retry import RetryPolicy, Tries, repeat, wait_before_retry

T = TypeVar("T")


def tell_nobody(error: AsyncstreamError) -> None:
    """The `tell` of a request that moves no bytes."""


class SourceReader:
    """Opens and resumes ranges, within the deadline. One for a transfer; holds nothing that changes."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        policy: RetryPolicy,
        deadline: Deadline,
        on_event: progress.OnEvent,
    ) -> None:
        self._store = store
        self._engine = engine
        self._policy = policy
        self._deadline = deadline
        self._on_event = on_event

    async def open(self, task: Task, wanted: ByteRange | None, unless: str | None = None) -> OpenRange:
        """One GET, of a range or of the whole; see `ports.Store.open`."""
        file = task.file
        with task.span.child("GET"):
            opened = await self._store.open(file.job.source, wanted, file.etag, unless)
        if file.size is not None and opened.size != file.size:
            await opened.stream.close()
            raise SourceChanged(f"{file.job.source} has {opened.size} bytes, and had {file.size} before")
        return OpenRange(opened, task.span.child("body"))

    def body(
        self, now: Callable[[], Task], reading: OpenRange, wanted: ByteRange, count: Callable[[int], None]
    ) -> ChunkBody:
        """What is open of a range, as a body that goes on over another connection where one breaks.

        Args:
            now: the task that reads it now, which what is done again is counted for.
            reading: what is open.
            wanted: the range.
            count: told the size of each chunk.
        """
        file = now().file

        async def resume(
            broke: AsyncstreamError, moved: int, failures: int, pause_ends: float
        ) -> OpenRange | None:
            task, tries = now(), Tries(failures - 1, free=1)
            wait = wait_before_retry(broke, tries, self._policy, random.random())  # noqa: S311 - no secret
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
            return await self.repeat(
                task, lambda: self.open(task, left), left=lambda: pause_ends - self._deadline.now()
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

    async def ask(self, task: Task, head: Callable[[], Awaitable[T]]) -> T:
        """What a HEAD tells."""
        with task.file.span.child("HEAD"):
            return await self.repeat(task, head)

    async def repeat(
        self,
        task: Task,
        once: Callable[[], Awaitable[T]],
        tell: Callable[[AsyncstreamError], None] = tell_nobody,
        left: TimeLeft = for_ever,
    ) -> T:
        """What `once` returns, tried as often as policy, deadline and the file's stop flag allow."""
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

        return await repeat(unless_stopped, self._policy, wait, left, told)
