"""The coordinator of mappings: it calls a function with each item and yields the outcomes.

`map_items` is the same for every engine: an async generator that pulls items, starts calls and yields their
outcomes. Its rules:

1. It pulls an item only when a slot is free, so it never reads lazy or endless items ahead. An iterator may
be
   slow, so the mapping first yields every outcome that is ready, and lets the call of the previous item
   start.
2. Every pulled item has exactly one outcome, unless the caller leaves the mapping early.
3. An `Exception` from the call of an item is that item's outcome. Any other `BaseException`, and a function
   that does not suit the engine, ends the mapping.
4. The mapping ends only after all calls that it started have ended.
"""

import inspect
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from functools import partial
from typing import Any, Generic, TypeVar

from msgspec import Struct

from asyncstream.deadline import Deadline
from asyncstream.engines.driver import Suspended
from asyncstream.engines.loop import run_tasks
from asyncstream.errors import ConfigError, DeadlineExceeded
from asyncstream.ports import Engine, Finished, Slots, Span
from asyncstream.tracing.current import current

T = TypeVar("T")
R = TypeVar("R")

# The most items per slot that are started and not yet yielded. With ordered outcomes, all slots stay busy
# while one item takes twice as long as the others. The number also limits the outcomes in memory.
OPEN_PER_SLOT = 2
# The name of an item's trace span.
BRANCH = "item"

# The messages of asyncio, anyio and (for anyio before 4.12) sniffio if no event loop is running. Only the
# text identifies the error: asyncio raises a plain RuntimeError, and older anyio had no type of its own. The
# raising frame does not identify it either: it is the user's function if that calls
# `asyncio.get_running_loop`. Running a loop just to detect such calls would change functions that work
# without one.
_NO_LOOP = (
    "no running event loop",
    "There is no current event loop",
    "Not currently running on any asynchronous event loop",
    "unknown async library, or not in async context",
)

_SIZED = {list, tuple, range, dict, set, frozenset}
_END: Any = object()


class Outcome(Struct, Generic[T, R], frozen=True):
    """The outcome of one item.

    Attributes:
        item: the item that the function was called with.
        index: the number of the item, from 0.
        value: the value that the function returned; None if it failed.
        error: the exception that it raised, or DeadlineExceeded if the deadline passed; None if it succeeded.
        seconds: how long the function took; 0 if it was not called.
    """

    item: T
    index: int
    value: R | None
    error: Exception | None
    seconds: float

    def result(self) -> R:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only if R may be None


async def map_items(
    fn: Callable[[T], Any],
    items: Iterable[T],
    engine: Engine,
    *,
    max_concurrency: int,
    deadline: Deadline,
    span: Span,
    ordered: bool,
) -> AsyncGenerator[Outcome[T, Any], None]:
    """Yield the outcomes of a mapping, on any engine; see `map_concurrent`.

    Args:
        fn: see `map_concurrent`; whether it suits the engine is checked by its result only.
        items: pulled by the code that iterates over this generator.
        engine: runs the calls. An asyncio engine may be shared; other engines must serve this mapping only.
        max_concurrency: the most calls at once, limited by the engine's slots.
        deadline: no call starts after it.
        span: the mapping's trace span. The current span of each call is a branch "item" of it.
        ordered: whether outcomes have the order of the items.
    """
    count = min(max_concurrency, engine.max_slots)
    mapping = _Mapping(fn, items, engine, deadline, span, max_open=count * OPEN_PER_SLOT, ordered=ordered)
    if (known := _length_of(items)) is not None:
        span.expect(BRANCH, known)
    try:
        async with engine.slots(count) as slots, aclosing(run_tasks(slots, mapping)) as outcomes:
            async for outcome in outcomes:
                yield outcome
    finally:
        span.annotate(items=mapping.pulled, failed=mapping.failed)
    if mapping.ended_by is not None:
        raise mapping.ended_by


class _Mapping(Generic[T]):
    """The state of a mapping. Only the coordinator uses it, except for `_outcome_of` and `_call`.

    Attributes:
        pulled: the number of items pulled so far.
        failed: the number of outcomes with an error so far.
        ended_by: the error to raise after all outcomes have been yielded.
    """

    def __init__(
        self,
        fn: Callable[[T], Any],
        items: Iterable[T],
        engine: Engine,
        deadline: Deadline,
        span: Span,
        *,
        max_open: int,
        ordered: bool,
    ) -> None:
        self._fn = fn
        self._items = iter(items)
        self._engine = engine
        self._deadline = deadline
        self._span = span
        self._max_open = max_open
        self._ordered = ordered
        # Outcomes not yet yielded, by the index of their item. In an ordered mapping they wait for earlier
        # ones.
        self._ended: dict[int, Outcome[T, Any]] = {}
        self._handed_over = 0
        self._exhausted = False
        self._unsuited: ConfigError | None = None
        self.pulled = 0
        self.failed = 0
        self.ended_by: Exception | None = None

    @property
    def running(self) -> int:
        """The number of calls that are started and not settled."""
        return self.pulled - self._handed_over - len(self._ended)

    def hand_over(self) -> Outcome[T, Any] | None:
        """Return the next outcome to yield; None if it is not ready."""
        index = self._handed_over if self._ordered else next(iter(self._ended), -1)
        outcome = self._ended.pop(index, None)
        if outcome is not None:
            self._handed_over += 1
        return outcome

    def start(self, slots: Slots) -> bool:
        """Pull an item and start its call, if slots, order and items allow; return whether there was one."""
        if self._exhausted or not slots.free or self.pulled - self._handed_over >= self._max_open:
            return False
        item = self._pull()
        if item is _END:
            self._exhausted = True
            return False
        index, self.pulled = self.pulled, self.pulled + 1
        try:
            self._deadline.check()
        except DeadlineExceeded as error:
            self._exhausted, self.ended_by = True, error
            self._keep(Outcome(item, index, None, error, 0.0))
            return True
        span = self._span.branch(BRANCH, index=index)
        slots.start(span, partial(self._outcome_of, item, index, span))
        return True

    def settle(self, finished: Finished) -> None:
        """Record the outcome of a call; raise an error that ends the mapping."""
        if isinstance(finished.error, Suspended):
            raise _awaiting(self._fn) from finished.error
        error = self._unsuited or finished.error
        if error is not None:
            raise error
        outcome: Outcome[T, Any] = finished.result
        # Frames of the engine hold `finished`, and an error's traceback may lead to these frames. Without
        # this, that cycle would keep everything the function held until the garbage collector runs.
        finished.result = None
        finished.tag.end(outcome.error)
        self._keep(outcome)

    def _pull(self) -> T:
        try:
            return next(self._items, _END)
        except Exception as error:  # noqa: BLE001 - raised after all outcomes have been yielded
            self.ended_by = error
            return _END  # type: ignore[no-any-return]

    def _keep(self, outcome: Outcome[T, Any]) -> None:
        self._ended[outcome.index] = outcome
        if outcome.error is not None:
            self.failed += 1

    async def _outcome_of(self, item: T, index: int, span: Span) -> Outcome[T, Any]:
        """Call the function with one item; runs as one task of the engine."""
        before = current.set(span)
        began = time.monotonic()
        value, error = None, None
        try:
            value = await self._engine.limited(self._call(item), self._deadline.left())
        except Exception as raised:  # noqa: BLE001 - an item's failure is its outcome
            error = raised
        finally:
            current.reset(before)
        seconds = time.monotonic() - began
        # The coordinator ends the span when the caller asks for an outcome, which may be much later.
        span.stop()
        try:
            return Outcome(item, index, value, error, seconds)
        finally:
            # The error's traceback has this frame. Without this, that cycle would keep the error and
            # everything the function held until the garbage collector runs.
            del error

    async def _call(self, item: T) -> Any:
        if self._unsuited is not None:
            raise self._unsuited  # an earlier call showed that the function does not suit the engine
        made = self._fn(item)
        if inspect.isawaitable(made):
            try:
                return await made
            except RuntimeError as error:
                if self._engine.blocking and str(error).startswith(_NO_LOOP):
                    self._unsuited = _awaiting(self._fn)
                raise
        if not self._engine.blocking:
            self._unsuited = unsuited(self._fn)
        return made


def _length_of(items: Iterable[Any]) -> int | None:
    """Return the number of items of a builtin type, otherwise None: `len` of a query may load all of it."""
    try:
        return len(items) if type(items) in _SIZED else None  # type: ignore[arg-type]
    except OverflowError:  # a range too long for `len`
        return None


def unsuited(fn: Callable[..., Any]) -> ConfigError:
    """Return the error for a function that returns no awaitable on the asyncio engine."""
    return ConfigError(
        f"{fn!r} is not an `async def` and would block the event loop:"
        " use map_concurrent with engine 'threads'"
    )


def _awaiting(fn: Callable[..., Any]) -> ConfigError:
    """Return the error for a function that needs an event loop on a blocking engine."""
    return ConfigError(f"{fn!r} awaits, which needs an event loop: use the engine 'asyncio'")
