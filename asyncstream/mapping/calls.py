"""The one coordinator of mappings: items become calls, and calls outcomes.

`mapped` is the same for every engine: an async generator that pulls items, starts calls and hands over how
they ended. Its laws:

1. An item is pulled only when a slot is free, so that lazy and endless items are never read ahead; none is
   pulled while an outcome that is ready waits to be handed over, nor before the call of the last one has
   begun: items may take their time.
2. Every item that was pulled has one outcome, unless the mapping is left early.
3. What one item raises is its outcome. Whatever is no `Exception`, and a function that does not suit the
   engine, ends the mapping.
4. However the mapping ends, what was started has ended before.
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

# In order, so many items a slot may have begun and not be handed over: all slots stay at work while one item
# takes twice the time of the others, and no more outcomes than that are ever in memory.
OPEN_PER_SLOT = 2
# The span of one item.
BRANCH = "item"

# What asyncio, anyio and, for anyio before 4.12, sniffio say where no event loop runs. Only the text tells:
# asyncio raises a plain RuntimeError, and anyio had no type of its own then. The frame that raised it is the
# function's own if that calls `asyncio.get_running_loop`. A loop that is there only to notice such a call
# would be seen by functions that do without one.
_NO_LOOP = (
    "no running event loop",
    "There is no current event loop",
    "Not currently running on any asynchronous event loop",
    "unknown async library, or not in async context",
)

_SIZED = {list, tuple, range, dict, set, frozenset}
_END: Any = object()


class Outcome(Struct, Generic[T, R], frozen=True):
    """How one item ended.

    Attributes:
        item: what the function was called with.
        index: its number among the items, from 0.
        value: what the function returned; None if it failed.
        error: what it raised, or DeadlineExceeded where the time was up; None if it succeeded.
        seconds: how long the function took; 0 if it was not called.
    """

    item: T
    index: int
    value: R | None
    error: Exception | None
    seconds: float

    def result(self) -> R:
        """The value, or the error, raised."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only if R may be None


async def mapped(
    fn: Callable[[T], Any],
    items: Iterable[T],
    engine: Engine,
    *,
    max_concurrency: int,
    deadline: Deadline,
    span: Span,
    ordered: bool,
) -> AsyncGenerator[Outcome[T, Any], None]:
    """The outcomes of a mapping, on any engine; see `map_concurrent`.

    Args:
        fn: see `map_concurrent`; that it suits the engine is checked here by its result only.
        items: pulled by whoever runs this generator.
        engine: runs the calls. At work for others, too, if it is asyncio; else for this mapping alone.
        max_concurrency: calls at once; no more than the engine can.
        deadline: after which none begins.
        span: the mapping's: a branch "item" of it is the current span of each call.
        ordered: whether outcomes come in the order of the items.
    """
    count = min(max_concurrency, engine.most_slots)
    mapping = _Mapping(fn, items, engine, deadline, span, most_open=count * OPEN_PER_SLOT, ordered=ordered)
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
    """What is known of a mapping between two steps of it. Used by the coordinator, except for `_call`.

    Attributes:
        pulled: items so far.
        failed: of these, with an error.
        ended_by: what is to be raised when all that was begun is handed over.
    """

    def __init__(
        self,
        fn: Callable[[T], Any],
        items: Iterable[T],
        engine: Engine,
        deadline: Deadline,
        span: Span,
        *,
        most_open: int,
        ordered: bool,
    ) -> None:
        self._fn = fn
        self._items = iter(items)
        self._engine = engine
        self._deadline = deadline
        self._span = span
        self._most_open = most_open
        self._ordered = ordered
        # By the number of their items: those that have ended and wait for an earlier one, or for their turn.
        self._ended: dict[int, Outcome[T, Any]] = {}
        self._handed_over = 0
        self._exhausted = False
        self._unsuited: ConfigError | None = None
        self.pulled = 0
        self.failed = 0
        self.ended_by: Exception | None = None

    @property
    def running(self) -> int:
        """Calls that were started and are not settled."""
        return self.pulled - self._handed_over - len(self._ended)

    @property
    def waiting(self) -> bool:
        """Whether there are outcomes to be handed over."""
        return bool(self._ended)

    def hand_over(self) -> Outcome[T, Any] | None:
        """The outcome whose turn it is, if it is there."""
        index = self._handed_over if self._ordered else next(iter(self._ended), -1)
        outcome = self._ended.pop(index, None)
        if outcome is not None:
            self._handed_over += 1
        return outcome

    def start(self, slots: Slots) -> bool:
        """Begin one item, if slots and order allow it and there is one; whether its call has begun."""
        if self._exhausted or not slots.free or self.pulled - self._handed_over >= self._most_open:
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
            return False
        span = self._span.branch(BRANCH, index=index)
        slots.start(span, partial(self._outcome_of, item, index, span))
        return True

    def settle(self, finished: Finished) -> None:
        """Take in how a call ended; raises what is to end the mapping."""
        if isinstance(finished.error, Suspended):
            raise _awaiting(self._fn) from finished.error
        error = self._unsuited or finished.error
        if error is not None:
            raise error
        outcome: Outcome[T, Any] = finished.result
        # Frames of the engine have it, to which the traceback of an error may lead by those that they called:
        # in a cycle, all that the function held would wait for the garbage collector.
        finished.result = None
        finished.tag.end(outcome.error)
        self._keep(outcome)

    def _pull(self) -> T:
        try:
            return next(self._items, _END)
        except Exception as error:  # noqa: BLE001 - raised when all that was begun is handed over
            self.ended_by = error
            return _END  # type: ignore[no-any-return]

    def _keep(self, outcome: Outcome[T, Any]) -> None:
        self._ended[outcome.index] = outcome
        if outcome.error is not None:
            self.failed += 1

    async def _outcome_of(self, item: T, index: int, span: Span) -> Outcome[T, Any]:
        """One task: runs wherever the engine has it run."""
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
        # The coordinator ends it, as soon as an outcome is asked for: that may be long after.
        span.stop()
        try:
            return Outcome(item, index, value, error, seconds)
        finally:
            # Its traceback has this frame: in a cycle it, and all that the function held, would wait for the
            # garbage collector.
            del error

    async def _call(self, item: T) -> Any:
        if self._unsuited is not None:
            raise self._unsuited  # called once, it was found out
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
    """How many there are, if that costs nothing: to ask others than builtins may load a whole query."""
    try:
        return len(items) if type(items) in _SIZED else None  # type: ignore[arg-type]
    except OverflowError:  # a range beyond what `len` can tell
        return None


def unsuited(fn: Callable[..., Any]) -> ConfigError:
    """Of a function that returns no awaitable, where it has to."""
    return ConfigError(
        f"{fn!r} is no `async def` and would block the event loop: use the engine 'threads' of map_concurrent"
    )


def _awaiting(fn: Callable[..., Any]) -> ConfigError:
    """Of a function that needs an event loop, where there is none."""
    return ConfigError(f"{fn!r} awaits, for which there has to be an event loop: use the engine 'asyncio'")
