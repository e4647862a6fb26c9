"""A file from its first task to its result: a life with states.

    state        task(s) in flight        on success                               on failure, deadline, stop
    OPENING      Begin or Resume          written or skipped: ENDED; else MOVING   STOPPING
    MOVING       SendPart*, FillPart      all confirmed: COMPLETING, or ENDED      STOPPING
                                          if other transfers share the upload
    COMPLETING   Complete                 ENDED                                    STOPPING
    STOPPING     (what runs ends)         then PAUSING, ABORTING, ENDED or OPENING
    PAUSING      Pause                    ENDED, pending
    ABORTING     Abort                    ENDED, failed; or OPENING once more

`TRANSITIONS` is this table, and each step is checked by it. Nothing here does I/O.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from msgspec.structs import replace

from asyncstream.errors import BuffersNeeded, MemoryNeeded, OtherVersion
from asyncstream.kept_errors import drop_tracebacks
from asyncstream.pipeline import file_ends, progress
from asyncstream.pipeline.body import StopFlag
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.file_tasks import FileTasks
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.results import FileResult, Status
from asyncstream.pipeline.tasks import FileDone, FileFacts, Needs, Parts, SendPart, Task
from asyncstream.ports import Span


class State(Enum):
    """Where a file is between its first task and its result."""

    OPENING = auto()
    MOVING = auto()
    COMPLETING = auto()
    STOPPING = auto()
    PAUSING = auto()
    ABORTING = auto()
    ENDED = auto()


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.OPENING: frozenset({State.MOVING, State.ENDED, State.STOPPING}),
    State.MOVING: frozenset({State.COMPLETING, State.ENDED, State.STOPPING}),
    State.COMPLETING: frozenset({State.ENDED, State.STOPPING}),
    State.STOPPING: frozenset({State.PAUSING, State.ABORTING, State.ENDED, State.OPENING}),
    State.PAUSING: frozenset({State.ENDED}),
    State.ABORTING: frozenset({State.ENDED, State.OPENING}),
    State.ENDED: frozenset(),
}


class File:
    """A file: the coordinator asks for its next task, and reports how each task has ended.

    Attributes:
        state: see the table.
        result: the file's result, in the state ENDED.
        facts: what the tasks know of the file.
        part_bytes: bytes reserved for parts of its output.
        transform_bytes: bytes reserved for what its transform holds.
    """

    def __init__(
        self, job: Job, index: int, work: FileTasks, context: TransferContext, span: Span, stop: StopFlag
    ) -> None:
        self.index = index
        self.state = State.OPENING
        self.result: FileResult | None = None
        self.part_bytes = self.transform_bytes = 0
        self._work = work
        self._context = context
        self._span = span
        self._stop = stop
        self._started = context.deadline.now()
        self._in_flight = self._attempts = self._moved = 0
        self._restarted: str | None = None
        self._next: Task[Any] | None = None
        self._parts: Parts | None = None
        self._error: Exception | None = None
        self._ending: file_ends.Ending
        self._open(job, work.needs)

    @property
    def idle(self) -> bool:
        """Whether no task of the file runs, and it has not failed."""
        return self._error is None and not self._in_flight

    def next(self) -> Task[Any] | None:
        """Return the next task, the same one until it starts; None if there is none now."""
        if self.state is State.MOVING and self._parts is not None:
            self._next = self._parts.next(self._next)
        return self._next

    def start(self, reserved: Needs) -> Task[Any]:
        """Start the next task, and note the bytes that were reserved for it."""
        task, self._next = self.next(), None
        assert task is not None  # noqa: S101 - the caller has seen it
        self._in_flight += 1
        task.part_bytes += reserved.part_bytes
        self.part_bytes += reserved.part_bytes
        self.transform_bytes += reserved.transform_bytes
        self.facts.transform_bytes += reserved.transform_bytes
        if isinstance(task, SendPart) and task.span is self._span:
            task.span = self._span.branch("part", number=task.number, bytes=task.segment.length)
        return task

    def end_task(self, task: Task[Any], value: Any, error: Exception | None) -> None:
        """Note how a task has ended, and go to the next state."""
        self._in_flight -= 1
        self._attempts += task.attempts
        self._moved += task.moved
        if error is None and self._parts is not None and self.state in {State.MOVING, State.STOPPING}:
            self._parts.record(task, value)  # also if the file has failed: S3 has confirmed the part
            if self.state is State.STOPPING:
                self._discard_ready()
        elif error is not None and self._error is not None:
            # The result keeps the first error. This one's traceback and the engine's frames refer to each
            # other, and would keep a transform's window in memory until the next garbage collection.
            drop_tracebacks(error)
        if not task.handed_on:
            self._release_task(task, error)
        output = self.facts.output
        if output is not None and output.ended and not isinstance(task, SendPart):
            self.transform_bytes = 0
        self._advance(value, error)

    def fail(self, error: Exception) -> None:
        """Stop the file: no further task starts, and running ones stop at their next chunk."""
        self._error = error
        self.facts.stop.set()
        self._discard_ready()
        self._to(State.STOPPING)
        if not self._in_flight:
            self._pause_or_abort()

    def _open(self, job: Job, needs: Needs) -> None:
        self._parts = self._error = None
        self.facts = FileFacts(job, StopFlag(self._stop.deadline, self._stop), self._span, job.size, job.etag)
        self._next = self._work.first_task(self.facts, needs)

    def _to(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"  # noqa: S101
        self.state = state

    def _advance(self, value: Any, error: Exception | None) -> None:
        """Go to the next state, unless running tasks have to end first."""
        match self.state:
            case State.OPENING | State.MOVING | State.COMPLETING if error is not None:
                self.fail(error)
            case State.OPENING if isinstance(value, Parts):
                self._parts = value
                self._to(State.MOVING)
                self._complete_if_confirmed()
            case State.MOVING:
                self._complete_if_confirmed()
            case State.OPENING | State.COMPLETING:
                self._end_whole(value)
            case State.STOPPING if not self._in_flight:
                self._pause_or_abort()
            case State.PAUSING:  # also if its source could not be closed: the upload is there
                self._end("pending", continuation=file_ends.continuation(self.facts))
            case State.ABORTING:
                if error is not None and self.facts.upload is not None:
                    self._ending.error.add_note(file_ends.not_aborted(self.facts, error))
                self._end_or_reopen()

    def _complete_if_confirmed(self) -> None:
        if self._parts is None or not self._parts.confirmed:
            return
        if self.facts.only is not None:
            self._end("copied", bytes=self._length)
        else:
            self._to(State.COMPLETING)
            self._next = self._work.complete(self.facts)

    def _pause_or_abort(self) -> None:
        """Keep the upload for the next transfer, or drop the file; if nothing of it is open, end it."""
        facts, error = self.facts, self._error
        assert error is not None  # noqa: S101 - or it would not have stopped
        while self._parts is not None and (unfinished := self._parts.take_unfinished()) is not None:
            self._discard(unfinished)
        may_continue = self._context.deadline.pauses and self._work.continuable
        self._ending = file_ends.choose_ending(facts, error, self._work, may_continue)
        self._error = self._ending.error
        if isinstance(error, BuffersNeeded) and self._ending.needs is not None and not self._stop:
            self._buffer_parts(error, self._ending.needs)
        # Keep the upload even if no part is confirmed: keeping it costs no request, aborting it costs one.
        elif self._ending.pending and facts.upload is not None and self._may_keep_upload():
            self._to(State.PAUSING)
            self._next = self._work.pause(facts)
        elif facts.upload is not None or facts.open_range is not None or facts.output is not None:
            self._to(State.ABORTING)
            self._next = self._work.abort(facts)
        else:
            self._end_or_reopen()

    def _may_keep_upload(self) -> bool:
        """Whether the next transfer can make the rest of the upload."""
        facts, source = self.facts, self.facts.job.source
        known = bool(facts.part_plan.first and facts.etag)
        return known and self._context.ends.source_of(source).is_continuable(source)

    def _end_or_reopen(self) -> None:
        """End a file of which nothing is open, or open it once more."""
        error, pending, needs = self._ending
        once_more = isinstance(error, MemoryNeeded) or self._restarted is None
        if pending and self.facts.upload is None:
            self._end("pending")
        elif needs is None or not once_more or self.facts.upload is not None or self._stop:
            if self.facts.upload_left is not None:
                error.add_note(self.facts.upload_left)
            self._end("failed", error)
        else:
            self._reopen(error, needs)

    def _buffer_parts(self, error: BuffersNeeded, needs: Needs) -> None:
        """Open the file with tasks that make its parts in memory. They read the source that is open."""
        assert self._work.buffered is not None  # noqa: S101 - or it would need nothing
        drop_tracebacks(error)
        reading, self.facts.open_range = self.facts.open_range, None
        self._work = self._work.buffered
        self._attempts = 0
        self._to(State.OPENING)
        self._open(self.facts.job, needs)
        self.facts.open_range = reading

    def _reopen(self, error: Exception, needs: Needs) -> None:
        """Open the file once more, as if there had been no earlier transfer."""
        if not isinstance(error, MemoryNeeded):
            self._restarted = str(error)
        drop_tracebacks(error)  # no result keeps it: see `end_task`
        job, upload_left = self.facts.job, self.facts.upload_left
        self._context.on_event(
            progress.PartRetried(job.source, job.destination, self._moved, self._attempts, error)
        )
        self.transform_bytes = self._moved = 0
        self._to(State.OPENING)
        if isinstance(error, OtherVersion):
            job = replace(job, size=None, etag=None)
        self._open(replace(job, continuation=None), needs)
        self.facts.upload_left = upload_left

    def _discard_ready(self) -> None:
        """Discard the tasks that have not started."""
        if self._next is not None:
            self._discard(self._next)
        self._next = None
        while self._parts is not None and (made := self._parts.take_ready()) is not None:
            self._discard(made)

    def _discard(self, task: Task[Any]) -> None:
        task.discard()
        self._release_task(task, self._error)

    def _release_task(self, task: Task[Any], error: Exception | None) -> None:
        self.part_bytes -= task.part_bytes
        file_ends.end_span(task, error)

    @property
    def _length(self) -> int:
        """Bytes that this transfer copies: of an upload that it shares, those of its own parts."""
        facts = self.facts
        return facts.size or 0 if facts.only is None else facts.part_plan.range(*facts.only).length

    def _end_whole(self, whole: FileDone) -> None:
        if whole.status == "skipped":
            self._end("skipped", etag=whole.etag)
            return
        output, parts = self.facts.output, self._parts or self.facts.part_plan
        made = output.length if output is not None and self._work.transform else None
        self._end("copied", bytes=self._length, etag=whole.etag, parts=parts.planned, made=made)

    def _end(self, status: Status, error: Exception | None = None, **end: Any) -> None:
        facts = self.facts
        if error is not None:
            file_ends.lighten_error(error)
        self.result = FileResult(
            facts.job.source,
            facts.job.destination,
            status,
            attempts=self._attempts,
            seconds=self._context.deadline.now() - self._started,
            error=error,
            read_verified=facts.read_verified,
            write_verified=facts.write_verified,
            restarted=self._restarted,
            upload_left=facts.upload_left,
            **{"parts": len(facts.completed), **end},
        )
        self.transform_bytes = 0
        self._to(State.ENDED)
        self._span.annotate(bytes=self.result.bytes, parts=self.result.parts, attempts=self.result.attempts)
        self._span.end(self.result.error)
