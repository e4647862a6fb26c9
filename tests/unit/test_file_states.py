"""A file driven through random ends, without a store or an engine, follows its table of states."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from asyncstream.deadline import Deadline
from asyncstream.errors import AsyncstreamError, DeadlineExceeded, SourceChanged, UploadGone
from asyncstream.locations import S3Object
from asyncstream.objects import CompletedPart, MultipartUpload
from asyncstream.pipeline import progress
from asyncstream.pipeline.body import StopFlag
from asyncstream.pipeline.context import Ends, TransferContext
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.file import TRANSITIONS, File, State
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.plan import PartPlan
from asyncstream.pipeline.tasks import (
    Abort,
    Begin,
    Complete,
    FileDone,
    FileFacts,
    FillPart,
    Needs,
    Parts,
    Pause,
    Resume,
    SendPart,
    Task,
    send_after,
)
from asyncstream.retry import Retrying, RetryPolicy
from asyncstream.tracing.spans import UNTRACED

from .transfers import source, target

LEFT = Continuation(upload_id="id", etag='"etag"', size=30, first=10, step=10)
LATE = DeadlineExceeded("late")
ERRORS = (AsyncstreamError("denied"), SourceChanged("changed"), UploadGone("gone", "NoSuchUpload", 404), LATE)
PARTS = 3


class Segment(SimpleNamespace):
    """Ten bytes; nothing opens them."""

    length = 10

    def discard(self) -> None:
        self.discarded = True


class RandomParts(Parts):
    """Parts that are known from the start or, with `fills`, are made one by one."""

    def __init__(self, file: FileFacts, first: SendPart, fills: bool) -> None:
        super().__init__(file, first, planned=1 if fills else PARTS)
        self._fills = fills
        self._left = PARTS - 1
        self._filling = False

    @property
    def confirmed(self) -> bool:
        return not self._left and not self._filling and super().confirmed

    def make_task(self) -> Task[Any] | None:
        if not self._left or self._filling:
            return None
        number = PARTS + 1 - self._left
        self._left -= 1
        if not self._fills:
            return SendPart(self.file, UNTRACED, never, number=number, segment=Segment())
        self._filling = True
        return FillPart(self.file, UNTRACED, never, Needs(part_bytes=10), number=number)

    def record(self, task: Task[Any], value: Any) -> None:
        if isinstance(task, FillPart):
            self._filling = False
            self.planned += 1
            self.ready = value
        else:
            super().record(task, value)


async def never(task: Any) -> Any:
    raise AssertionError("no task runs here")


class Script:
    """Decides which task ends next, and how.

    Args:
        choices: numbers to choose by; after the last one, the script takes the first possibility.
        pauses: whether the deadline leaves a file pending.
        fills: whether a transform makes the parts.
        continued: whether an earlier transfer left an upload.
        shared: whether that upload has parts of other transfers, too.
    """

    reopens = True

    needs = Needs(part_bytes=10, transform_bytes=5)
    max_memory = 100

    def __init__(
        self, choices: Sequence[int], pauses: bool, fills: bool, continued: bool, shared: bool
    ) -> None:
        self._choices = list(choices)
        self._fills = fills
        self.continuable = not fills
        self.transitions: set[tuple[State, State]] = set()
        self._running: list[Task[Any]] = []
        transitions = self.transitions

        class Watched(File):
            def _to(self, state: State) -> None:
                transitions.add((self.state, state))
                super()._to(state)

        deadline = Deadline(None, lambda: 0.0, pauses=pauses)
        nothing: Any = None
        retrying = Retrying(RetryPolicy(), deadline, nothing)
        ends = Ends({S3Object: cast("Any", self)}, nothing, retrying)
        context = TransferContext(ends, nothing, nothing, progress.ignore)
        left = replace(LEFT, only=(1, PARTS)) if shared else LEFT
        job = Job(source(0), target(0), continuation=left if continued else None)
        self.file = Watched(job, 0, cast("Any", self), context, UNTRACED, StopFlag())

    def is_continuable(self, source: S3Object) -> bool:
        return True

    def first_task(self, file: FileFacts, needs: Needs) -> Task[Any]:
        kind = Begin if file.job.continuation is None else Resume
        return kind(file, UNTRACED, never, needs)

    def complete(self, file: FileFacts) -> Complete:
        return Complete(file, UNTRACED, never)

    def pause(self, file: FileFacts) -> Pause:
        return Pause(file, UNTRACED, never)

    def abort(self, file: FileFacts) -> Abort:
        return Abort(file, UNTRACED, never)

    def play(self) -> None:
        """Drive the file to its end."""
        for _ in range(100):
            if self.file.state is State.ENDED:
                return
            steps: list[Callable[[], None]] = [self._end_one] if self._running else []
            if self.file.next() is not None:
                steps.insert(0, self._start)
            if self.file.idle:
                steps.append(lambda: self.file.fail(LATE))
            self._choose(steps)()
        raise AssertionError("the file does not end")

    def _start(self) -> None:
        task = self.file.next()
        assert task is not None
        self._running.append(self.file.start(task.needs))

    def _end_one(self) -> None:
        task = self._running.pop(self._choose(range(len(self._running))))
        error = self._choose((*[None] * 9, *ERRORS))
        self.file.end_task(task, None if error else self._value(task), error)

    def _value(self, task: Task[Any]) -> Any:
        file = task.file
        match task:
            case Begin() | Resume():
                file.size, file.etag, file.part_plan = 30, '"etag"', PartPlan(30, 10, 10)
                end = self._choose(("parts", "parts", "parts", "whole", "skipped"))
                if end != "parts":
                    return FileDone('"copy"', "skipped" if end == "skipped" else "copied")
                file.upload = MultipartUpload(target(0), "id")
                return RandomParts(file, send_after(task, never, Segment(), 1), self._fills)
            case FillPart():
                return send_after(task, never, Segment(), task.number)
            case SendPart():
                return CompletedPart(task.number, '"part"', 10, {})
            case Abort():
                if file.only is None:
                    file.upload = None
                return None
            case _:
                return FileDone('"copy"')

    def _choose(self, among: Any) -> Any:
        return among[self._choices.pop(0) % len(among) if self._choices else 0]


SCRIPTS = st.builds(
    Script,
    st.lists(st.integers(0, 20), min_size=20, max_size=40),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
TABLE = [(state, following) for state in State for following in State if following in TRANSITIONS[state]]


@settings(max_examples=500)
@given(SCRIPTS)
def test_a_file_ends_once_and_holds_nothing(script: Script) -> None:
    """Only the table's transitions occur: `File` refuses others."""
    script.play()

    assert script.file.result is not None
    assert script.file.next() is None
    assert (script.file.part_bytes, script.file.transform_bytes) == (0, 0)
    assert script.transitions <= set(TABLE)


@pytest.mark.parametrize(("state", "following"), TABLE, ids=lambda state: state.name.lower())
def test_every_transition_of_the_table_occurs(state: State, following: State) -> None:
    def occurs(script: Script) -> bool:
        script.play()
        return (state, following) in script.transitions

    # Any example will do: looking for a shorter one would take most of the time.
    find(SCRIPTS, occurs, settings=settings(max_examples=5000, database=None, phases=[Phase.generate]))


def test_every_state_but_the_last_leads_on() -> None:
    assert set(TRANSITIONS) == set(State)
    assert [state for state, those in TRANSITIONS.items() if not those] == [State.ENDED]
