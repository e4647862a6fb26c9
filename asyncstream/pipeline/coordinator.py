"""The one pipeline: the coordinator asks files for their next tasks, and reports to them how each task ended.

The same code for every engine. Its laws:

1. Ports are `async def`; blocking adapters never suspend (`engines/driver.py` raises if one does).
2. Within the pipeline and what it stands on, only the engines import threading, asyncio,
   concurrent.futures or anyio; only the transport adapters import an SDK.
3. One coordinator owns the budget, the part list and the order; tasks only move bytes. So no locks.
4. Bytes are reserved before work starts, in plan order. (Tasks racing for the budget deadlock.)
5. Per-chunk work never hops between threads or tasks; hops are per part.
6. Cancelling joins all work, then aborts the uploads; a failed abort is noted on the error, never hidden.
7. Pool threads run in `contextvars.copy_context()`.
8. Progress callbacks are plain functions in every engine.
9. The coordinator begins and ends the spans of files and parts; tasks make spans within those only.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import cached_property, partial
from itertools import islice

from asyncstream.deadline import SHIELD_SECONDS, Deadline
from asyncstream.engines.loop import run_tasks
from asyncstream.errors import DeadlineExceeded, SlowDown
from asyncstream.mapping.calls import map_items
from asyncstream.pipeline import progress
from asyncstream.pipeline.body import StopFlag
from asyncstream.pipeline.budget import SlotLimit
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.file import File, State
from asyncstream.pipeline.file_ends import not_aborted
from asyncstream.pipeline.file_tasks import FileTasks
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.reservations import Reservations
from asyncstream.pipeline.results import FileResults
from asyncstream.pipeline.tasks import Needs, Resume
from asyncstream.pipeline.unfinished import PlannedFiles
from asyncstream.ports import Finished, Slots, Span
from asyncstream.tracing.spans import UNTRACED

# Above every `_memory_rank`.
_NOTHING_WAITS = 3


class Coordinator:
    """Runs jobs to their ends, at most `slots` tasks and the budget's bytes at once.

    Files open in the order given, and only when no part of an open file is waiting: so few files are open at
    a time, and none waits for another.

    Args:
        jobs: the files.
        work: copies or transforms them.
        context: what the tasks work with.
        slots: tasks in flight at once.
        reservations: of the tasks' bytes.
        span: the span of the transfer.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        work: FileTasks,
        context: TransferContext,
        *,
        slots: int,
        reservations: Reservations,
        span: Span,
    ) -> None:
        self._jobs = jobs
        self._work = work
        self._context = context
        self._deadline = context.deadline
        self._slot_count = slots
        self._limit = SlotLimit(slots)
        self._reservations = reservations
        self._span = span
        self._stop = StopFlag(context.deadline)
        self._next = 0
        self._open: set[File] = set()
        self._ready: dict[File, None] = {}  # files that have a next task, in the order in which they got one
        self._resuming = 0  # files whose parts S3 has not listed yet: they go before the next file
        self._results = FileResults(jobs)
        self._ended: deque[File] = deque()
        self.running = 0

    async def run(self) -> FileResults:
        """Return one result a job, in the order of the jobs; a failed file never raises."""
        self._span.expect("file", len(self._results))
        try:
            async with self._context.engine.slots(self._slot_count) as slots:
                try:
                    async with aclosing(run_tasks(slots, self)) as ended:
                        async for file in ended:
                            self._put_result(file)
                except BaseException:
                    # Leaving the block joins the tasks; blocking ones stop at their next chunk.
                    self._stop.set()
                    raise
        except BaseException as stopped:
            await self._drop_open_files(stopped)
            raise
        finally:
            self._work.keep(0)
        assert self._results.complete, "every job has an end"  # noqa: S101
        return self._results

    def hand_over(self) -> File | None:
        """Return a file that has ended."""
        return self._ended.popleft() if self._ended else None

    def start(self, slots: Slots) -> bool:
        """Start as many tasks as slots, bytes and S3 allow; return whether files have ended."""
        if self._deadline.left() <= 0:
            self._stop_at_deadline()
        while slots.free and self.running < self._limit.allowed:
            startable = self._reserve_next()
            if startable is None:
                break
            file, reserved = startable
            if reserved.transform_bytes:
                # Memory of parts that were sent is kept for the next part, and no longer reserved.
                self._work.keep(self._reservations.free)
            task = file.start(reserved)
            self._queue(file)
            self.running += 1
            slots.start((file, task), partial(task.run, task))
        return bool(self._ended)

    def settle(self, finished: Finished) -> None:
        """Report to a file how its task has ended."""
        file, task = finished.tag
        self.running -= 1
        self._resuming -= isinstance(task, Resume)
        self._reservations.release_slot()
        self._limit.ended(slowed=task.slowed > 0 or isinstance(finished.error, SlowDown))
        if finished.error is not None and not isinstance(finished.error, Exception):
            raise finished.error  # such as KeyboardInterrupt: it ends the transfer, not a file
        self._change(file, partial(file.end_task, task, finished.result, finished.error))

    def _reserve_next(self) -> tuple[File, Needs] | None:
        """Return the file whose task starts next, and what was reserved for it; None if none can start now.

        While a task waits for memory, only tasks of a lower `_memory_rank` start, because they free memory.
        Sending a part ranks below filling one, and filling one below opening a file with a transform.
        """
        waits_for = _NOTHING_WAITS
        for file in sorted(self._ready, key=_is_later):
            task = file.next()
            if task is None or _memory_rank(task.needs) >= waits_for:
                continue
            reserved = self._reservations.reserve(task.needs)
            if reserved is not None:
                return file, reserved
            waits_for = _memory_rank(task.needs)
        if waits_for < _NOTHING_WAITS or self._resuming or self._next == len(self._jobs):
            return None
        reserved = self._reservations.reserve(self._work.needs)
        return None if reserved is None else (self._open_next(), reserved)

    def _open_next(self) -> File:
        index, job = self._next, self._jobs[self._next]
        self._next += 1
        span = self._span.branch("file", source=job.source.uri, destination=job.destination.uri)
        file = File(job, index, self._work, self._context, span, self._stop)
        self._open.add(file)
        self._resuming += isinstance(file.next(), Resume)
        return file

    def _queue(self, file: File) -> None:
        """Keep a file among the ready ones if it has a next task, and in its place if it was ready before."""
        if file.next() is None:
            self._ready.pop(file, None)
        else:
            self._ready[file] = None

    def _change(self, file: File, step: Callable[[], None]) -> None:
        """Have a file take a step, and release what it no longer holds."""
        part_bytes, transform_bytes = file.part_bytes, file.transform_bytes
        step()
        self._reservations.release(part_bytes - file.part_bytes, transform_bytes - file.transform_bytes)
        self._queue(file)
        if file.state is State.ENDED:
            self._open.discard(file)
            self._ended.append(file)

    def _put_result(self, file: File) -> None:
        assert file.result is not None  # noqa: S101 - it has ended
        self._results.put(file.index, file.result)
        self._context.on_event(progress.FileFinished(file.result))

    def _stop_at_deadline(self) -> None:
        """End the files that have not started; stop idle ones if a next transfer continues them.

        Other files in progress stop by themselves. Files with uploads start, so that a task aborts them.
        """
        if self._deadline.pauses:
            self._end_unstarted(None)
            for file in [file for file in self._open if file.idle]:
                source = file.facts.job.source
                error = DeadlineExceeded(f"the deadline came before {source} was done")
                self._change(file, partial(file.fail, error))
        elif not self._unstarted_have_uploads:
            self._end_unstarted(self._deadline.exceeded())

    @cached_property
    def _unstarted_have_uploads(self) -> bool:
        """Whether files that had not started by the deadline have uploads of an earlier transfer."""
        if isinstance(self._jobs, PlannedFiles):  # making a million jobs takes seconds, and the time is up
            return any(position >= self._next for position in self._jobs.continued)
        return any(job.continuation is not None for job in islice(self._jobs, self._next, None))

    def _end_unstarted(self, error: DeadlineExceeded | None) -> None:
        """End the files that have not started: with an error, or pending."""
        first, self._next = self._next, len(self._jobs)
        self._results.end_from(first, error)
        on_event = self._context.on_event
        if on_event is progress.ignore:  # making thousands of results takes time, and the time is up
            return
        for index in range(first, len(self._jobs)):
            on_event(progress.FileFinished(self._results[index]))

    async def _drop_open_files(self, stopped: BaseException) -> None:
        """Close the sources of open files and abort their uploads; note on the error what could not be."""
        try:
            await self._context.engine.shielded(self._abort_all(stopped), SHIELD_SECONDS)
        except TimeoutError as late:
            for file in self._open:
                stopped.add_note(not_aborted(file.facts, late))

    async def _abort_all(self, stopped: BaseException) -> None:
        outcomes = map_items(
            lambda file: self._work.drop(file.facts),
            list(self._open),
            self._context.engine,
            max_concurrency=self._slot_count,
            deadline=Deadline(None, self._deadline.now),
            span=UNTRACED,
            ordered=False,
        )
        async for dropped in outcomes:
            self._open.discard(dropped.item)
            if dropped.error is not None:
                stopped.add_note(not_aborted(dropped.item.facts, dropped.error))


def _is_later(file: File) -> bool:
    task = file.next()
    return task is None or not task.urgent  # False sorts before True


def _memory_rank(needs: Needs) -> int:
    """Return 2 for a task that needs a transform's memory, 1 for one that needs a part's, else 0."""
    return 2 if needs.transform_bytes else int(needs.part_bytes > 0)
