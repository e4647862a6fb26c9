"""The Protocols of what runs a transfer: engines with their slots, and trace spans."""

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from msgspec import Struct

T = TypeVar("T")

# The types of values that X-Ray indexes.
Annotation = str | int | float | bool

# A function that makes the coroutine: a coroutine itself would stay unawaited if its task never started.
TaskFunction = Callable[[], Coroutine[Any, Any, Any]]


class Finished(Struct):
    """A finished task.

    `tag` identifies it. It has a `result` or an `error`, which the caller may set to None to free memory.
    """

    tag: Any
    result: Any
    error: BaseException | None


class Span(Protocol):
    """One piece of work in a trace. It starts when it is created, and ends once.

    As a context manager, it ends on exit. Every span is created by its parent, so no engine needs to know
    which one is current.
    """

    def expect(self, name: str, count: int) -> None:
        """Announce how many branches of this name the whole trace will have."""

    def branch(self, name: str, **annotations: Annotation) -> "Span":
        """Create a span within this one, one of many. It is sent when it ends, unless sampling leaves it out.

        Only the coordinator creates and ends branches.
        """

    def child(self, name: str, **annotations: Annotation) -> "Span":
        """Create a span within this one, sent together with it. The task that does its work ends it."""

    def annotate(self, **annotations: Annotation) -> None:
        """Add annotations to the span; those of the same name are replaced."""

    def stop(self) -> None:
        """Record the end time now; a later call to `end` finishes the span."""

    def end(self, error: BaseException | None = None) -> None:
        """End the span, with the error that ended it, unless it has ended already."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Slots(Protocol):
    """The slots of a running engine. Each runs one task at a time."""

    def start(self, tag: Any, work: TaskFunction) -> None:
        """Run `work` in a free slot. The caller must have checked `free`."""

    @property
    def free(self) -> bool:
        """Whether a slot is free now."""

    async def wait_end(self) -> Finished:
        """Wait for the next task to end, and return it. At least one task must be running."""

    async def poll_end(self) -> Finished | None:
        """Return a task that has already ended, or None. Tasks that were just started may run first."""


class Engine(Protocol):
    """A way to run tasks: sequential, threads or asyncio."""

    @property
    def name(self) -> str:
        """The name that users select it by."""

    @property
    def max_slots(self) -> int:
        """The largest number of tasks that it can run at once."""

    @property
    def blocking(self) -> bool:
        """Whether its tasks may block the thread they run on, as plain functions do."""

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine to its end from plain code."""

    def steps(self, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Return a generator of the same items. Each item may be requested in another task or `run`.

        Closing it closes `work`, and waits until that is done.
        """

    def close(self) -> None:
        """Stop the threads or the event loop that live across transfers."""

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Return a lock that one of the running coroutines holds at a time; reusable."""

    def slots(self, count: int) -> AbstractAsyncContextManager[Slots]:
        """Run up to `count` tasks at once. On exit, every task is joined; asyncio cancels them first."""

    async def sleep(self, seconds: float) -> None:
        """Wait, in a task."""

    @property
    def computes_at_once(self) -> int:
        """The least number of bytes to process by one call of `compute`; 1 if a call costs nothing."""

    async def compute(self, work: Callable[[], T]) -> T:
        """Run a function that takes CPU time and does no I/O, outside of any event loop."""

    async def decode(self, work: Callable[[], T]) -> T:
        """Run a function as `compute` does, on as few threads as there are processors.

        What it makes is freed by other threads, and the allocator of each thread keeps megabytes of that.
        """

    async def limited(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run work for at most `seconds`. asyncio then cancels it and raises DeadlineExceeded.

        A thread cannot be cancelled.
        """

    async def shielded(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run work for at most `seconds`. Cancelling the caller does not interrupt it.

        Raises TimeoutError if it takes longer.
        """
