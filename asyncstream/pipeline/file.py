"""A file from its first task to its result: a life with states.

    state        task(s) in flight        on success                               on failure, deadline, stop
    OPENING      Begin or Resume          written or skipped: ENDED; else MOVING   STOPPING
    MOVING       SendPart*, FillPart      all confirmed: COMPLETING                STOPPING
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

from asyncstream.errors import AsyncstreamError, DeadlineExceeded, MemoryNeeded, SourceChanged
from asyncstream.kept_errors import drop_tracebacks
from asyncstream.pipeline import file_ends, progress
from asyncstream.pipeline.body import StopFlag
from asyncstream.pipeline.budget import more_memory
from asyncstream.pipeline.context import TransferContext
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.results import FileResult, Status
from asyncstream.pipeline.tasks import FileFacts, Needs, Parts, SendPart, Task, Whole
from asyncstream.pipeline.work import Work
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
    State.MOVING: frozenset({State.COMPLETING, State.STOPPING}),
    State.COMPLETING: frozenset({State.ENDED, State.STOPPING}),
    State.STOPPING: frozenset({State.PAUSING, State.ABORTING, State.ENDED, State.OPENING}),
    State.PAUSING: frozenset({State.ENDED}),
    State.ABORTING: frozenset({State.ENDED, State.OPENING}),
    State.ENDED: frozenset(),
}


class File:
    """A file that the coordinator asks for its next task, and tells how each task has ended.

    Attributes:
        state: see the table.
        result: the file's result, in the state ENDED.
        facts: what the tasks know of the file.
        room: bytes reserved for parts of its output.
        memory: bytes reserved for what its transform holds.
    """

    def __init__(
        self, job: Job, index: int, work: Work, context: TransferContext, span: Span, stop: StopFlag
    ) -> None:
        self.index = index
        self.state = State.OPENING
        self.result: FileResult | None = None
        self.room = self.memory = 0
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
        self._open(job, work.needs)

    @property
    def idle(self) -> bool:
        """Whether it works on no task, and has not failed."""
        return self._error is None and not self._in_flight

    def next(self) -> Task[Any] | None:
        """Return the task that is to start next, the same one until it starts; None: there is none now."""
        if self._next is None and self.state is State.MOVING and self._parts is not None:
            self._next = self._parts.next()
        return self._next

    def start(self, reserved: Needs) -> Task[Any]:
        """Start the next task with what was reserved for it."""
        task, self._next = self.next(), None
        assert task is not None  # noqa: S101 - the caller has seen it
        self._in_flight += 1
        task.room += reserved.part
        self.room += reserved.part
        self.memory += reserved.memory
        self.facts.memory = self.memory
        if isinstance(task, SendPart) and task.span is self._span:
            task.span = self._span.branch("part", number=task.number, bytes=task.segment.length)
        return task

    def took(self, task: Task[Any], value: Any, error: Exception | None) -> None:
        """Take in how a task has ended, and go to the state that follows."""
        self._in_flight -= 1
        self._attempts += task.attempts
        self._moved += task.moved
        if error is None and self.state in {State.MOVING, State.STOPPING}:
            error = self._take_part(task, value)
        elif error is not None and self._error is not None:
            # The result has the first error. Frames of the engine have this one and are in its traceback: in
            # that cycle a transform, with its window, would wait for the garbage collector.
            drop_tracebacks(error)
        if not task.handed_on:
            self._let_go(task, error)
        output = self.facts.output
        if output is not None and output.ended and not isinstance(task, SendPart):
            self.memory = 0
        self._advance(value, error)

    def fail(self, error: Exception) -> None:
        """Stop: nothing more of it starts, and what runs ends at its next chunk."""
        self._error = error
        self.facts.stop.set()
        self._discard_ready()
        self._to(State.STOPPING)
        if not self._in_flight:
            self._leave()

    def _open(self, job: Job, needs: Needs) -> None:
        self._parts = self._error = None
        self.facts = FileFacts(job, StopFlag(self._stop.deadline, self._stop), self._span, job.size, job.etag)
        self._next = self._work.first_task(self.facts, needs)

    def _to(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], f"{self.state} -> {state}"  # noqa: S101
        self.state = state

    def _take_part(self, task: Task[Any], value: Any) -> Exception | None:
        """Take in what a part's task has returned: a file that has failed keeps what S3 has confirmed."""
        assert self._parts is not None  # noqa: S101 - in these states
        try:
            self._parts.took(task, value)
        except AsyncstreamError as error:
            return error
        if self.state is State.STOPPING:
            self._discard_ready()
        return None

    def _advance(self, value: Any, error: Exception | None) -> None:
        """Go to the state that follows, if nothing that is in flight has to end before."""
        match self.state:
            case State.OPENING | State.MOVING | State.COMPLETING if error is not None:
                self.fail(error)
            case State.OPENING if not isinstance(value, Whole):
                self._parts = value
                self._to(State.MOVING)
                self._complete_if_confirmed()
            case State.OPENING:
                self._end_whole(value)
            case State.MOVING:
                self._complete_if_confirmed()
            case State.COMPLETING:
                self._end_whole(Whole(value))
            case State.STOPPING if not self._in_flight:
                self._leave()
            case State.PAUSING:
                self._end("pending", continuation=file_ends.continuation(self.facts))
            case State.ABORTING:
                file_ends.note_failed_abort(self.facts, self._error, error)
                self._end_or_reopen()

    def _complete_if_confirmed(self) -> None:
        if self._parts is not None and self._parts.confirmed:
            self._to(State.COMPLETING)
            self._next = self._work.complete(self.facts)

    def _leave(self) -> None:
        """Leave the upload to the next transfer, or abort it; if there is none, the file ends."""
        facts = self.facts
        if self._ran_out_of_time and not self._is_left:
            self._error = file_ends.no_progress(facts)
        # Also without a part: no request is needed to leave an upload, and one to drop it.
        if self._is_left and facts.upload is not None and facts.cut.first:
            self._to(State.PAUSING)
            self._next = self._work.pause(facts)
        elif facts.upload is not None or facts.first is not None or facts.output is not None:
            self._to(State.ABORTING)
            self._next = self._work.abort(facts)
        else:
            self._end_or_reopen()

    def _end_or_reopen(self) -> None:
        """End a file that failed and left nothing, or open it once more if that may help."""
        facts = self.facts
        if self._is_left and facts.upload is None:
            self._end("pending")
            return
        needs = None if facts.upload is not None or self._stop else self._needs_to_reopen()
        error = self._error
        assert error is not None  # noqa: S101 - or it would not have failed
        if needs is None:
            file_ends.note_upload_left(facts, error)
            self._end("failed", error=error)
            return
        if not isinstance(error, MemoryNeeded):
            self._restarted = str(error)
        drop_tracebacks(error)  # no result has it: see `took`
        job = facts.job
        self._context.on_event(
            progress.PartRetried(job.source, job.destination, self._moved, self._attempts, error)
        )
        self.memory = 0
        self._to(State.OPENING)
        left = facts.upload_left
        # Without a continuation: from here on it is a file like any other.
        self._open(replace(job, continuation=None), needs)
        self.facts.upload_left = left

    def _needs_to_reopen(self) -> Needs | None:
        """Return what to reserve for it, opened once more; None: that would not help."""
        error, usual, most = self._error, self._work.needs, self._work.most_memory
        had = max(self.memory, usual.memory)
        if isinstance(error, MemoryNeeded):
            more = more_memory(error.needs, had, usual.memory, most)
            if more is None:
                self._error = file_ends.too_little_memory(self.facts, error, most)
                return None
            return usual._replace(memory=more)
        stale = self.facts.job.continuation is not None and isinstance(error, SourceChanged)
        starts_over = stale or (isinstance(error, AsyncstreamError) and error.starts_over)
        return usual._replace(memory=had) if starts_over and self._restarted is None else None

    @property
    def _is_left(self) -> bool:
        """Whether it ends here because a next transfer is to continue it."""
        return self._ran_out_of_time and file_ends.fruitless(self.facts) < file_ends.MOST_FRUITLESS

    @property
    def _ran_out_of_time(self) -> bool:
        # What a transform was about to make cannot be kept.
        continued = self._context.deadline.pauses and not self._work.transform
        return continued and isinstance(self._error, DeadlineExceeded)

    def _discard_ready(self) -> None:
        """Discard the tasks that have not started."""
        made = None if self._parts is None else self._parts.take_ready()
        for task in (self._next, made):
            if task is not None:
                task.discard()
                self._let_go(task, self._error)
        self._next = None

    def _let_go(self, task: Task[Any], error: Exception | None) -> None:
        self.room -= task.room
        file_ends.end_span(task, error)

    def _end_whole(self, whole: Whole) -> None:
        if whole.status == "skipped":
            self._end("skipped", etag=whole.etag)
            return
        output, parts = self.facts.output, self._parts or self.facts.cut
        made = output.length if output is not None else None
        self._end("copied", bytes=self.facts.size or 0, etag=whole.etag, parts=parts.planned, made=made)

    def _end(self, status: Status, error: Exception | None = None, **end: Any) -> None:
        now = self._context.deadline.now()
        self.result = file_ends.result(
            self.facts,
            status,
            error,
            attempts=self._attempts,
            seconds=now - self._started,
            restarted=self._restarted,
            **end,
        )
        self.memory = 0
        self._to(State.ENDED)
        self._span.annotate(bytes=self.result.bytes, parts=self.result.parts, attempts=self.result.attempts)
        self._span.end(self.result.error)
