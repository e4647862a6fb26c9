"""`map_concurrent`: any function over any items, on the engines of `transfer`; called by users and handlers.

`mapped` is the one coordinator, for every engine: an async generator that pulls items, starts tasks and hands
over how they ended. Its laws:

1. An item is pulled only when a slot is free, so that lazy and endless items are never read ahead; none is
   pulled while an outcome that is ready waits to be handed over.
2. Every item that was pulled has one outcome, unless the mapping is left early.
3. What one item raises is its outcome. Whatever is no `Exception`, and a function that does not suit the
   engine, ends the mapping.
4. However the mapping ends, what was started has ended before.
"""

import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Sized
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar, overload

from msgspec import Struct

from asyncstream import tracing
from asyncstream.chunks import Deadline
from asyncstream.engines import open_engine
from asyncstream.engines.keeping import borrowed
from asyncstream.errors import ConfigError, DeadlineExceeded
from asyncstream.ports import Engine, Finished, Slots, Span
from asyncstream.tracing.current import current

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_ENGINE = "threads"
DEFAULT_CONCURRENCY = 60
# What engines that have more than one slot can do.
MOST_CONCURRENCY = 1000
# In order, so many items a slot may have begun and not be handed over: all slots stay at work while one item
# takes twice the time of the others, and no more outcomes than that are ever in memory.
OPEN_PER_SLOT = 2

# The span of one item.
BRANCH = "item"

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


@overload
def map_concurrent(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    engine: str = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, R], None, None]: ...


@overload
def map_concurrent(
    fn: Callable[[T], R],
    items: Iterable[T],
    *,
    engine: str = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, R], None, None]: ...


def map_concurrent(
    fn: Callable[[T], Any],
    items: Iterable[T],
    *,
    engine: str = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, Any], None, None]:
    """Call a function with each item, many at once, and hand over how each call ended.

        for outcome in map_concurrent(fetch, urls):
            if outcome.error is None:
                store(outcome.value)

    A generator: nothing begins before the first outcome is asked for. Items are pulled one by one, by the
    thread that asks, each when there is a slot for it: they may be lazy and endless, and a loop that takes
    its time slows them down. While the next item is waited for, no outcome is handed over. With "asyncio" the
    calls go on only while an outcome is waited for: a loop that takes its time is better off on the event
    loop itself, with `map_concurrent_async`.

    Leaving the loop early closes the generator, unless it has a name of its own: then call its `close()`.
    That joins what runs: asyncio cancels it, a thread cannot be stopped and is waited for. So it does when an
    exception ends the loop, Ctrl-C too.

    Threads and event loop stay for the next call. Mappings may be open within each other and in several
    threads: each has an engine of its own.

    Args:
        fn: takes one item. A plain function for "sequential" and "threads", an `async def` for "asyncio". An
            `async def` whose code blocks and never suspends runs on all three. It sees the context
            variables of whoever asked for the first outcome, and `current_span()` is its item's.
        items: what it is called with.
        engine: "threads" (the default, as most functions are plain), "sequential" or "asyncio".
        max_concurrency: calls at once, 1 to 1000; "sequential" always makes one. Default: 60.
        ordered: True (default): outcomes come in the order of the items, and of each slot at most two items
            may be begun and not handed over. False: as they come.
        deadline: seconds, from this call, after which no item begins. Those that run then are cancelled by
            asyncio, and their error is DeadlineExceeded; threads let them end. Default: no end.

    Raises:
        ConfigError: a setting is outside its limits, or `fn` does not suit the engine: a plain function would
            block the event loop. By this call; for a function of which only its result shows it, by the
            first outcome, after one call.
        DeadlineExceeded: after the last outcome, if the deadline left items over. The first of them was
            pulled to see that, and has an outcome with this error; those after it were not.
        RuntimeError: an `async def` suspended under a blocking engine.

    What the items raise is raised once all that were begun have been handed over, and so is what `fn` raises
    that is no Exception, but at once.
    """
    # An engine costs nothing before it runs: this one only tells whether there is such a one, and its ways.
    limit = _checked(fn, open_engine(engine), max_concurrency, deadline)
    work = partial(mapped, fn, items, max_concurrency=max_concurrency, deadline=limit, ordered=ordered)
    return _on_a_kept_engine(engine, work)


def map_concurrent_async(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> AsyncGenerator[Outcome[T, R], None]:
    """`map_concurrent` on the event loop that is running, where calls go on whatever the caller does.

        async with aclosing(map_concurrent_async(fetch, urls)) as outcomes:
            async for outcome in outcomes:
                ...

    An `async for` that is left early does not close an async generator: `contextlib.aclosing` does.
    Cancelling the task that waits for an outcome cancels all calls, and joins them. Items are pulled on the
    event loop: they must not block it.
    """
    from asyncstream.engines.aio import AsyncioEngine  # noqa: PLC0415 - loads anyio

    engine = AsyncioEngine()
    limit = _checked(fn, engine, max_concurrency, deadline)
    work = partial(mapped, fn, items, max_concurrency=max_concurrency, deadline=limit, ordered=ordered)
    return _on_the_running_loop(engine, work)


def _checked(
    fn: Callable[..., Any], engine: Engine, max_concurrency: int, deadline: float | None
) -> Deadline:
    """The deadline, from now; ConfigError if anything does not do."""
    if not isinstance(max_concurrency, int) or not 1 <= max_concurrency <= MOST_CONCURRENCY:
        raise ConfigError(
            f"max_concurrency={max_concurrency!r}: calls at once, a whole number from 1 to {MOST_CONCURRENCY}"
        )
    if deadline is not None and not deadline > 0:
        raise ConfigError(f"deadline={deadline!r}: seconds from now, more than 0, or None")
    if not engine.blocking and _is_plain(fn):
        raise _unsuited(fn)
    return Deadline(deadline, time.monotonic)


def _is_plain(fn: Any) -> bool:
    """Whether what it returns is known not to be awaited; of a lambda or a C function it is not known."""
    while isinstance(fn, partial):
        fn = fn.func
    if inspect.isclass(fn):
        return True
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    # What decorates an `async def` may be a plain function, and returns what that returns.
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(inspect.unwrap(fn)):
        return False
    return (inspect.isfunction(fn) or inspect.ismethod(fn)) and fn.__name__ != "<lambda>"


def _unsuited(fn: Callable[..., Any]) -> ConfigError:
    return ConfigError(f"{fn!r} is no `async def` and would block the event loop: use the engine 'threads'")


Work = Callable[..., AsyncGenerator[Outcome[Any, Any], None]]


def _on_a_kept_engine(name: str, work: Work) -> Generator[Outcome[Any, Any], None, None]:
    with borrowed(name) as engine, _traced(engine) as span:
        steps, context = engine.steps(work(engine, span=span)), copy_context()
        try:
            while True:
                try:
                    outcome = context.run(engine.run, steps.__anext__)
                except StopAsyncIteration:
                    return
                yield outcome
        finally:
            context.run(engine.run, steps.aclose)


async def _on_the_running_loop(engine: Engine, work: Work) -> AsyncGenerator[Outcome[Any, Any], None]:
    with _traced(engine) as span:
        async with aclosing(engine.steps(work(engine, span=span))) as steps:
            async for outcome in steps:
                yield outcome


@contextmanager
def _traced(engine: Engine) -> Iterator[Span]:
    with tracing.open_trace(engine=engine.name) as span:
        try:
            yield span
        except GeneratorExit:
            span.end()  # left early, which is no failure
            raise


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
    if isinstance(items, Sized):
        span.expect(BRANCH, len(items))
    try:
        async with engine.slots(count) as slots:
            while True:
                outcome = mapping.hand_over()
                if outcome is not None:
                    yield outcome
                mapping.start(slots)
                if outcome is None and mapping.running:
                    mapping.settle(await slots.finished())
                elif outcome is None and not mapping.has_waiting:
                    break
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
        self._waiting: dict[int, Outcome[T, Any]] = {}
        self._handed_over = 0
        self._exhausted = False
        self._unsuited: ConfigError | None = None
        self.pulled = 0
        self.failed = 0
        self.ended_by: Exception | None = None

    @property
    def running(self) -> int:
        """Calls that were started and are not settled."""
        return self.pulled - self._handed_over - len(self._waiting)

    @property
    def has_waiting(self) -> bool:
        """Whether there are outcomes to be handed over."""
        return bool(self._waiting)

    def hand_over(self) -> Outcome[T, Any] | None:
        """The outcome whose turn it is, if it is there."""
        index = self._handed_over if self._ordered else next(iter(self._waiting), -1)
        outcome = self._waiting.pop(index, None)
        if outcome is not None:
            self._handed_over += 1
        return outcome

    def start(self, slots: Slots) -> None:
        """Begin as many items as slots and order allow."""
        while not self._exhausted and slots.free and self.pulled - self._handed_over < self._most_open:
            item = self._pull()
            if item is _END:
                self._exhausted = True
                return
            index, self.pulled = self.pulled, self.pulled + 1
            try:
                self._deadline.check()
            except DeadlineExceeded as error:
                self._exhausted, self.ended_by = True, error
                self._keep(Outcome(item, index, None, error, 0.0))
                return
            span = self._span.branch(BRANCH, index=index)
            slots.start(span, partial(self._outcome_of, item, index, span))

    def settle(self, finished: Finished) -> None:
        """Take in how a call ended; raises what is to end the mapping."""
        error = self._unsuited or finished.error
        if error is not None:
            raise error
        outcome: Outcome[T, Any] = finished.result
        finished.tag.end(outcome.error)
        self._keep(outcome)

    def _pull(self) -> T:
        try:
            return next(self._items, _END)
        except Exception as error:  # noqa: BLE001 - raised when all that was begun is handed over
            self.ended_by = error
            return _END  # type: ignore[no-any-return]

    def _keep(self, outcome: Outcome[T, Any]) -> None:
        self._waiting[outcome.index] = outcome
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
        return Outcome(item, index, value, error, seconds)

    async def _call(self, item: T) -> Any:
        if self._unsuited is not None:
            raise self._unsuited  # called once, it was found out
        made = self._fn(item)
        if inspect.isawaitable(made):
            return await made
        if not self._engine.blocking:
            self._unsuited = _unsuited(self._fn)
        return made
