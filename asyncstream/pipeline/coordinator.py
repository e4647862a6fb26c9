"""The one pipeline: the coordinator that turns jobs into tasks and their ends into results.

Called by `session.py`; the same code for every engine. Its laws:

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
from functools import partial
from itertools import islice
from typing import Any

from msgspec.structs import replace

from asyncstream.deadline import Deadline
from asyncstream.errors import (
    AsyncstreamError,
    DeadlineExceeded,
    MemoryNeeded,
    SlowDown,
    SourceChanged,
)
from asyncstream.kept_errors import drop_tracebacks
from asyncstream.objects import MAX_PARTS, ByteRange
from asyncstream.pipeline import dropping, endings, progress, resuming
from asyncstream.pipeline.body import StopFlag
from asyncstream.pipeline.budget import MemoryBudget, SlotLimit, more_memory
from asyncstream.pipeline.output import OutputPart
from asyncstream.pipeline.parts import PartMover
from asyncstream.pipeline.reservations import Reservations, bring_forward_what_frees_memory
from asyncstream.pipeline.results import FileResults, Status
from asyncstream.pipeline.tasks import (
    Abort,
    Begin,
    Complete,
    FileInProgress,
    FillPart,
    Job,
    MovePart,
    Pause,
    Resume,
    SendPart,
    Task,
)
from asyncstream.ports import Engine, Finished, Slots, Span


class Coordinator:
    """Runs jobs to their ends, at most `slots` tasks and `budget.limit` bytes at once.

    Files begin in the order given, and only when no part of a file already begun is waiting: so few
    files are open at a time, and none waits for another.

    Args:
        jobs: what to copy.
        mover: runs one task.
        engine: runs many.
        slots: tasks in flight at once.
        budget: what the slots' bytes are reserved from.
        slot_bytes: bytes that one task in flight costs.
        later_ranges: the ranges after the first, given a file's size and how far the first one reached.
        on_event: progress callback.
        span: the transfer's.
        deadline: after which nothing is started, or what is not done is left to be continued. Its clock
            is the transfer's.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        mover: PartMover,
        engine: Engine,
        *,
        slots: int,
        budget: MemoryBudget,
        slot_bytes: int,
        later_ranges: Callable[[int, int], list[ByteRange]],
        on_event: progress.OnEvent,
        span: Span,
        deadline: Deadline,
    ) -> None:
        self._mover = mover
        self._engine = engine
        self._slot_count = slots
        self._limit = SlotLimit(slots)
        self._reservations = Reservations(budget, slot_bytes, mover)
        self._later_ranges = later_ranges
        self._on_event = on_event
        self._span = span
        self._deadline = deadline
        self._stop = StopFlag()
        self._jobs = jobs
        self._next = 0
        self._ready: deque[Task] = deque()
        self._begun: set[FileInProgress] = set()
        self._running = 0
        self._resuming = 0  # files whose parts are not known yet: the next file waits, as they go first
        self._aborts_late: bool | None = None  # not known before the deadline
        self._results = FileResults(jobs)

    async def run(self) -> FileResults:
        """One result a job, in the order of the jobs; a failed file never raises."""
        self._span.expect("file", len(self._results))
        try:
            async with self._engine.slots(self._slot_count) as slots:
                try:
                    await self._run_tasks(slots)
                except BaseException:
                    # Leaving the block joins the tasks; blocking ones stop at their next chunk.
                    self._stop.set()
                    raise
        except BaseException as stopped:
            await dropping.drop(self._begun, self._mover, self._engine, self._slot_count, stopped)
            raise
        finally:
            self._mover.keep(0)
        assert self._results.complete, "every job has an end"  # noqa: S101
        return self._results

    async def _run_tasks(self, slots: Slots) -> None:
        while True:
            self._start_tasks(slots)
            if not self._running:
                return
            finished = await slots.finished()
            self._running -= 1
            self._reservations.release_slot()
            self._settle(finished)

    def _start_tasks(self, slots: Slots) -> None:
        if self._deadline.left() <= 0:
            self._end_the_rest()
        while slots.free and self._running < self._limit.allowed:
            if not self._ready and (self._resuming or self._next == len(self._jobs)):
                return
            reserved = self._reservations.reserve(self._ready[0] if self._ready else None)
            if reserved is None:
                if not bring_forward_what_frees_memory(self._ready):
                    return
                continue
            task = self._ready.popleft() if self._ready else self._begin_next()
            task.room += reserved[0]
            task.file.memory += reserved[1]
            if isinstance(task, MovePart | SendPart) and task.span is task.file.span:
                task.span = task.file.span.branch("part", number=task.number, bytes=task.length)
            task.file.in_flight += 1
            self._running += 1
            slots.start(task, partial(self._mover.run, task))

    def _begin_next(self) -> Task:
        index, job = self._next, self._jobs[self._next]
        self._next += 1
        source, destination = job.source.uri, job.destination.uri
        span = self._span.branch("file", source=source, destination=destination)
        file = FileInProgress(
            job, index, self._deadline.now(), StopFlag(self._stop), span, job.size, job.etag
        )
        self._begun.add(file)
        if job.continuation is not None:
            self._resuming += 1
            return resuming.prepare(file, job.continuation)
        # The request that tells the file's size already reads the first part.
        return Begin(file, span.branch("part", number=1), memory=self._mover.memory)

    def _plan_missing_parts(self, file: FileInProgress) -> None:
        """Plan the parts that earlier transfers have not sent, and tell those that they have."""
        source, destination, size = file.job.source, file.job.destination, file.size or 0
        self._on_event(progress.FileStarted(source, destination, size))
        file.moved = sum(part.length for part in file.completed)
        self._on_event(progress.BytesMoved(source, destination, file.moved))
        self._ready.extend(resuming.missing(file))
        self._complete_if_all_is_there(file)

    def _plan(self, file: FileInProgress, ranges: Sequence[ByteRange]) -> None:
        file.planned = len(ranges)
        file.first_length = ranges[0].length
        file.step = ranges[1].length if len(ranges) > 1 else 0

    def _end_the_rest(self) -> None:
        """End the files that have not started, and stop those that a next transfer continues."""
        if self._has_uploads_to_abort():
            return
        started, self._next = self._next, len(self._jobs)
        try:
            self._deadline.check()
        except DeadlineExceeded as late:
            self._results.end_from(started, None if self._deadline.pauses else late.with_traceback(None))
        if self._on_event is not progress.ignore:  # they may be very many, and the time is up
            for index in range(started, len(self._jobs)):
                self._on_event(progress.FileFinished(self._results[index]))
        if not self._deadline.pauses:
            return  # the tasks of files in progress find out by themselves
        for file in list(self._begun):
            if file.error is None and not file.in_flight:
                self._fail(file, DeadlineExceeded(f"the deadline came before {file.job.source} was done"))

    def _has_uploads_to_abort(self) -> bool:
        """Whether files that have not started have uploads, which a task has to abort."""
        if self._deadline.pauses:
            return False
        if self._aborts_late is None:
            waiting = islice(self._jobs, self._next, None)
            self._aborts_late = any(job.continuation is not None for job in waiting)
        return self._aborts_late

    def _settle(self, finished: Finished) -> None:
        task: Task = finished.tag
        file = task.file
        self._count(task, finished)
        filled = _filled_by(task, finished)
        if filled is None:
            self._reservations.release_room(task)
        error = finished.error or file.error
        goes_on = isinstance(task, Begin) and finished.error is None and finished.result is None
        if not goes_on:
            endings.end_span(task, finished.error)
        if isinstance(task, Pause):
            self._end(file, "pending", continuation=endings.continuation(file))
        elif isinstance(task, Abort):
            endings.note_failed_abort(file, finished.error)
            self._end_or_restart(file)
        elif isinstance(error, Exception):
            self._fail(file, error)
        elif error is not None:
            raise error  # no failure of a file: the program is to end
        elif isinstance(task, MovePart | SendPart):
            self._complete_if_all_is_there(file)
        elif filled is not None:
            self._send_filled(task, filled)
        elif finished.result is None:
            self._plan_parts(task)
        else:
            self._finish_copied(file, etag=finished.result)

    def _count(self, task: Task, finished: Finished) -> None:
        """What a task that has ended leaves in its file, however it ended."""
        file = task.file
        file.in_flight -= 1
        file.attempts += task.attempts
        file.moved += task.moved
        self._resuming -= isinstance(task, Resume)
        self._limit.ended(slowed=task.slowed > 0 or isinstance(finished.error, SlowDown))
        if finished.error is not None and file.error is not None:
            # The result has the first error. Frames of the engine have this one and are in its traceback: in
            # that cycle a transform, with its window, would wait for the garbage collector.
            drop_tracebacks(finished.error)
        if isinstance(task, MovePart | SendPart) and finished.error is None:
            # Also of a file whose time is up meanwhile: what is confirmed need not be sent again.
            file.completed.append(finished.result)

    def _plan_parts(self, begun: Task) -> None:
        """Plan the parts of a file whose upload is open, its open first range before all else."""
        file = begun.file
        if isinstance(begun, Resume):
            self._plan_missing_parts(file)
            return
        first, size = file.first, file.size
        assert first is not None and size is not None  # noqa: S101, PT018 - left there by Begin
        done = first.opened.range
        later = self._later_ranges(size, done.stop)
        self._plan(file, [done, *later])
        self._ready.appendleft(
            MovePart(file, begun.span, retries=begun.retries, waited=begun.waited, number=1, range=done)
        )
        self._ready.extend(MovePart(file, file.span, number=n, range=r) for n, r in enumerate(later, start=2))

    def _send_filled(self, task: Task, part: OutputPart) -> None:
        """Send a part that a transform has made, and have it make the next one meanwhile."""
        file, number = task.file, task.number if isinstance(task, FillPart) else 1
        output = file.output
        assert output is not None  # noqa: S101 - it has made the part
        if part.length and number > MAX_PARTS:
            part.clear()
            self._reservations.release_room(task)
            self._fail(file, endings.too_many_parts(file))
            return
        file.planned = MAX_PARTS + 1  # as long as nobody knows
        if output.ended:
            file.planned = number if part.length else number - 1
            self._reservations.release_memory(file)
        else:
            self._ready.append(FillPart(file, file.span, number=number + 1))
        if not part.length:
            self._reservations.release_room(task)
            self._complete_if_all_is_there(file)
            return
        # Before all else: its room is free once it is sent.
        send = SendPart(file, task.span, number=number, part=part)
        send.retries, send.waited, send.room = task.retries, task.waited, task.room
        self._ready.appendleft(send)

    def _complete_if_all_is_there(self, file: FileInProgress) -> None:
        if len(file.completed) == file.planned:
            self._ready.appendleft(Complete(file, file.span))

    def _fail(self, file: FileInProgress, error: Exception) -> None:
        if file.error is None:
            file.error = error
            file.stop.set()
            for task in self._ready:
                if task.file is file:
                    self._reservations.release_room(task)
                    endings.end_span(task, error)
            self._ready = deque(task for task in self._ready if task.file is not file)
        if file.in_flight:
            return
        if self._ran_out_of_time(file) and not self._is_left(file):
            file.error = endings.in_vain(file)
        # Also without a part: no request is needed to leave an upload, and one to drop it.
        if self._is_left(file) and file.upload is not None and file.first_length:
            self._ready.appendleft(Pause(file, file.span))
        elif file.upload is not None or file.first is not None or file.output is not None:
            self._ready.appendleft(Abort(file, file.span))
        else:
            self._end_or_restart(file)

    def _end_or_restart(self, file: FileInProgress) -> None:
        """The end of a file that failed and left nothing, or its second beginning where that may help."""
        error, memory = file.error, max(file.memory, self._mover.memory)
        self._reservations.release_memory(file)
        if self._is_left(file) and file.upload is None:
            self._end(file, "pending")
            return
        more = None
        if isinstance(error, MemoryNeeded):
            most = self._mover.most_memory
            more = more_memory(error.needs, memory, self._mover.memory, most)
            if more is None:
                file.error = endings.too_little_memory(file, error, most)
        stale = file.job.continuation is not None and isinstance(error, SourceChanged)
        starts_over = stale or (isinstance(error, AsyncstreamError) and error.starts_over)
        again_helps = more is not None or (starts_over and file.restarted is None)
        if not again_helps or file.upload is not None or self._stop:
            endings.note_upload_left(file)
            self._end(file, "failed", error=file.error)
            return
        assert error is not None  # noqa: S101 - or it would have ended
        drop_tracebacks(error)  # no result has it: see `_count`
        self._on_event(
            progress.PartRetried(file.job.source, file.job.destination, file.moved, file.attempts, error)
        )
        # Without a continuation: from here on it is a file like any other.
        job = replace(file.job, continuation=None)
        again = FileInProgress(
            job,
            file.index,
            file.started,
            StopFlag(self._stop),
            file.span,
            job.size,
            job.etag,
            attempts=file.attempts,
            restarted=str(error) if more is None else file.restarted,
            upload_left=file.upload_left,
        )
        self._begun.discard(file)
        self._begun.add(again)
        self._ready.appendleft(Begin(again, again.span.branch("part", number=1), memory=more or memory))

    def _is_left(self, file: FileInProgress) -> bool:
        """Whether the file ends here because a next transfer is to go on with it."""
        return self._ran_out_of_time(file) and endings.fruitless(file) < endings.MOST_FRUITLESS

    def _ran_out_of_time(self, file: FileInProgress) -> bool:
        # What a transform was about to make cannot be kept.
        continued = self._deadline.pauses and not self._mover.transforms
        return continued and isinstance(file.error, DeadlineExceeded)

    def _finish_copied(self, file: FileInProgress, etag: str) -> None:
        if file.skipped:
            self._end(file, "skipped", etag=etag)
            return
        made = file.output.length if file.output is not None else None
        self._end(file, "copied", bytes=file.size or 0, etag=etag, parts=file.planned, made=made)

    def _end(self, file: FileInProgress, status: Status, **end: Any) -> None:
        result = endings.result(file, status, self._deadline.now(), **end)
        self._reservations.release_memory(file)
        self._begun.discard(file)
        file.span.annotate(bytes=result.bytes, parts=result.parts, attempts=result.attempts)
        file.span.end(result.error)
        self._results.put(file.index, result)
        self._on_event(progress.FileFinished(result))


def _filled_by(task: Task, finished: Finished) -> OutputPart | None:
    """The part that a task has filled, if it is to be sent: that of a file that failed is not."""
    file = task.file
    first, file.filled = file.filled, None
    made: OutputPart | None = finished.result if isinstance(task, FillPart) else first
    if finished.error is not None or file.error is not None:
        if made is not None:
            made.clear()
        return None
    return made
